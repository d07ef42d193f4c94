"""What the tags of a node are as labels: `gpu` is gpu="", `team=x` is team="x". The registry takes any texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from agents.labels.rules import LABELS_MAX, problem_of_count, problem_of_key, problem_of_value


@dataclass(frozen=True, slots=True)
class TagLabels:
    """`labels` by key, and `left_out`: why each other tag, as it is written, is none, as a sentence."""

    labels: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def read_tags(tags: Sequence[object]) -> TagLabels:
    """Of two tags with one key the later counts; beyond LABELS_MAX labels the last ones, by key, are left out."""
    written: dict[str, tuple[str, str]] = {}
    read = TagLabels()
    for tag in tags:
        if not isinstance(tag, str):
            continue
        key, _sign, value = (part.strip() for part in tag.partition("="))
        if problem := problem_of_key(key) or problem_of_value(value):
            read.left_out[tag] = problem
            continue
        former, former_value = written.get(key, (tag, value))
        if former_value != value:
            read.left_out[former] = _("“%(tag)s” comes after it and has the same key.") % {"tag": tag}
        # One that comes again is the later one.
        read.left_out.pop(tag, None)
        written[key] = (tag, value)
    for number, key in enumerate(sorted(written)):
        tag, value = written[key]
        if number < LABELS_MAX:
            read.labels[key] = value
        else:
            read.left_out[tag] = problem_of_count(len(written))
    return read
