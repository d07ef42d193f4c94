"""Who does something: a person, a program with a token, or the portal itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` is what history shows; `user_id` is set where a user account stands behind it."""

    name: str
    user_id: int | None = None


SYSTEM = Actor("system")
