"""What deliveries are written with: ids, cards, and the totals of their ends."""

import itertools
import random
import time
from typing import Any, Final
from uuid import UUID

import msgspec
from django.conf import settings

from controlplane.common.bulk import upsert
from controlplane.common.clean import clean_json, clean_text
from notifications.engine.cards import Card
from notifications.engine.rendering import card_of
from notifications.engine.telling import Telling
from notifications.models import Delivery, DeliveryTotals
from notifications.selectors.targets import zone_of

TITLE_MAX_CHARS: Final = 500
_COUNTER_BITS, _CHANCE_BITS = 28, 46
_counter = itertools.count(random.getrandbits(20))


def next_delivery_id() -> UUID:
    """An id of version 7, ascending in the order of calls: what is made at the same time goes out in this order."""
    milliseconds = time.time_ns() // 1_000_000
    tail = (next(_counter) % (1 << _COUNTER_BITS)) << _CHANCE_BITS | random.getrandbits(_CHANCE_BITS)
    high, low = tail >> 62, tail & ((1 << 62) - 1)
    return UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


def frozen_card(telling: Telling, *, language: str, time_zone: str) -> tuple[str, dict[str, Any]]:
    """The title and the JSON of a card, as a delivery keeps them."""
    zone = zone_of(time_zone)
    made = card_of(telling, language=language, zone=zone, portal_url=settings.PORTAL_URL)
    card = clean_json(msgspec.to_builtins(made))
    if not isinstance(card, dict):
        raise TypeError("A card is an object.")
    return clean_text(made.title, TITLE_MAX_CHARS), card


def card_in(delivery: Delivery) -> Card:
    return msgspec.convert(delivery.card, Card)


def count_ended(provider: str, status: str, count: int = 1) -> None:
    """Add to the totals, within the transaction of the ends."""
    columns = ("provider", "status", "count")
    rows = [(provider, str(status), count)]
    upsert(DeliveryTotals, columns, rows, key=columns[:2], assignments="count = t.count + v.count")
