"""Who does something: a person, a program with a token, or the portal itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` is what history shows; `user_id` is set where a user account stands behind it.

    `address` is the peer's, `token` the name of the API token that was shown, `via` the surface: `console` or `api`.
    Each is empty where there is none.
    """

    name: str
    user_id: int | None = None
    address: str = ""
    token: str = ""
    via: str = ""

    def origin(self) -> dict[str, object]:
        """From where they act, for the details of an event; without what is empty."""
        facts: dict[str, object] = {"address": self.address, "via": self.via, "token": self.token}
        return {name: value for name, value in facts.items() if value}


SYSTEM = Actor("system")
