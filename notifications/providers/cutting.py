"""Making a card small enough for its provider, and saying what was left out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from django.utils.translation import ngettext

from notifications.engine.cards import Card, Line

VALUE_CHARS: Final = (2000, 500, 120, 40)
TITLE_CHARS: Final = 200


def cut_to_fit(card: Card, encode: Callable[[Card], bytes], max_bytes: int) -> bytes:
    """The encoded card, of which as little as possible is left out: items first, then the ends of long values."""
    for chars in VALUE_CHARS:
        shortened = _with_values_of(card, chars)
        count = len(shortened.items)
        while True:
            encoded = encode(_with_items(shortened, count))
            if len(encoded) <= max_bytes:
                return encoded
            if count == 0:
                break
            count = count // 2
    # Nothing but its title and where to look: every provider has room for that.
    return encode(replace(_with_values_of(card, VALUE_CHARS[-1]), lines=(), metrics=(), items=()))


def _with_items(card: Card, count: int) -> Card:
    left = len(card.items) - count
    if not left:
        return card
    more = ngettext("… and %d more", "… and %d more", left) % left
    return replace(card, items=(*card.items[:count], more))


def _with_values_of(card: Card, chars: int) -> Card:
    def shortened(lines: tuple[Line, ...]) -> tuple[Line, ...]:
        return tuple(replace(line, value=cut(line.value, chars)) for line in lines)

    return replace(
        card,
        title=cut(card.title, TITLE_CHARS),
        lines=shortened(card.lines),
        metrics=shortened(card.metrics),
        items=tuple(cut(item, chars) for item in card.items),
    )


def cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"
