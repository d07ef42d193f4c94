"""What exists for a requester: rows of the environments that it may see, and no others."""

from collections.abc import Collection
from typing import TypeAlias

from django.db.models import Q

# None where all exist, as for people; some API tokens are narrowed.
Environments: TypeAlias = Collection[str] | None


def within(environments: Environments, path: str) -> Q:
    """Matches what is of these environments; `path` leads to the name of the environment."""
    return Q() if environments is None else Q(**{f"{path}__in": sorted(environments)})
