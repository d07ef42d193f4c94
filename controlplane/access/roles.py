"""Roles: what a person may do on the console and in the API, by membership of a group."""

import enum
from collections.abc import Iterable

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User


class Role(enum.StrEnum):
    """Each role may do what the ones before it may. The values are the names of the groups."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {role: rank for rank, role in enumerate(Role)}


def role_of(user: AbstractBaseUser | AnonymousUser) -> Role | None:
    """The highest role of a user; superusers are admins, and a user in none of the three groups has no role.

    Costs one query, except for superusers, anonymous users and those whose role is remembered.
    """
    if not user.is_authenticated or not user.is_active or not isinstance(user, User):
        return None
    if user.is_superuser:
        return Role.ADMIN
    if _REMEMBERED in user.__dict__:
        remembered: Role | None = user.__dict__[_REMEMBERED]
        return remembered
    return _highest(user.groups.filter(name__in=list(Role)).values_list("name", flat=True))


def roles_of(user: User) -> list[Role]:
    """Every role that the user was given, the highest first; superusers are admins whatever their groups. One query."""
    given = set(user.groups.filter(name__in=list(Role)).values_list("name", flat=True))
    return [role for role in reversed(Role) if role in given or (role is Role.ADMIN and user.is_superuser)]


def remember_role(user: User, groups: Iterable[str | None]) -> None:
    """Keep with this very object what its groups, by name, make of it: `role_of` then asks nobody."""
    user.__dict__[_REMEMBERED] = _highest(groups)


_REMEMBERED = "_remembered_role"


def _highest(groups: Iterable[str | None]) -> Role | None:
    names = set(groups)
    return max((role for role in _RANKS if role in names), key=_RANKS.__getitem__, default=None)
