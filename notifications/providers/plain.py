"""A card as text, for providers without any markup."""

from notifications.engine.cards import Card


def text_of(card: Card, *, with_link: bool = True) -> str:
    """Everything but the title, a line each."""
    lines = [f"{line.name}: {line.value}" for line in (*card.lines, *card.metrics)]
    lines += [f"- {item}" for item in card.items]
    if card.link and with_link:
        lines.append(card.link)
    return "\n".join(line.replace("\0", " ") for line in lines)
