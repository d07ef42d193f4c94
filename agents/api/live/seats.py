"""How many streams a process holds, in all and for one user."""

import threading
from collections import Counter

from django.conf import settings
from rest_framework import exceptions, status

from controlplane.common.gauges import publish_gauge

RETRY_AFTER_S = 10


class NoSeat(exceptions.APIException):
    """This process holds as many streams as it may."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "too many streams are open; try again later"
    retry_after_s = RETRY_AFTER_S


class NoSeatForUser(exceptions.APIException):
    """The user, whose tokens count too, has as many streams open here as one may."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_detail = "too many streams of this user are open"
    retry_after_s = RETRY_AFTER_S


class Seats:
    """Counts of one process; requests take them in any thread."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        with self._lock:
            return self._taken.total()

    def take(self, user_id: int) -> None:
        """Raises NoSeatForUser and NoSeat."""
        with self._lock:
            if self._taken[user_id] >= settings.STREAMS_PER_USER_MAX:
                raise NoSeatForUser
            if self._taken.total() >= settings.STREAMS_MAX:
                raise NoSeat
            self._taken[user_id] += 1

    def leave(self, user_id: int) -> None:
        with self._lock:
            self._taken[user_id] -= 1
            if self._taken[user_id] <= 0:
                del self._taken[user_id]


seats = Seats()
publish_gauge("event_streams", lambda: seats.taken)
