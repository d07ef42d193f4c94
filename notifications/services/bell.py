"""The bell of whoever sends: rung after a commit that left something in the outbox.

It is heard in this process alone, where that sends at all; elsewhere the next run of the background job finds it.
"""

import threading
from typing import Final

bell: Final = threading.Event()


def ring() -> None:
    bell.set()
