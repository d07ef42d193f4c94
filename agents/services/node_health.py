"""What the components of a node make of its health, and what of them changed.

Of the statuses that components report, `ok`, `healthy`, `up` and their like are good, `warning` and its like are half
good, `error`, `down` and their like are bad, in any case; the portal does not know what any other means.

| components | health of the instance |
| --- | --- |
| none | unknown |
| all bad | error |
| some bad or half good | degraded |
| all good | ok |
| good ones, and some that the portal does not know | unknown |
"""

from collections.abc import Mapping
from typing import Any, Final

from agents.models.instance import Health
from controlplane.common.clean import clean_text

Components = Mapping[str, Mapping[str, Any]]

_GOOD: Final = "ok okay healthy up online running ready active normal good green pass passing success alive"
_HALF_GOOD: Final = "warn warning degraded yellow starting partial slow"
_BAD: Final = (
    "error err fail failed failing failure critical crit down unhealthy offline dead stopped crashed red bad fatal "
    "unavailable unreachable timeout"
)
_VERDICTS: Final[Mapping[str, Health]] = {
    **dict.fromkeys(_GOOD.split(), Health.OK),
    **dict.fromkeys(_HALF_GOOD.split(), Health.DEGRADED),
    **dict.fromkeys(_BAD.split(), Health.ERROR),
}
# What an event tells of: so many components, and so much of what each says.
CHANGES_MAX = 50
_STATUS_CHARS = 100
_NAME_CHARS = 200


def verdict_of(status: object) -> Health:
    """What one component's status means."""
    word = status.strip().lower() if isinstance(status, str) else ""
    return _VERDICTS.get(word, Health.UNKNOWN)


def health_of(components: Components) -> Health:
    """The health of a node, by the table above."""
    verdicts = {verdict_of(each.get("status")) for each in components.values()}
    if verdicts == {Health.ERROR}:
        return Health.ERROR
    if verdicts & {Health.ERROR, Health.DEGRADED}:
        return Health.DEGRADED
    return Health.OK if verdicts == {Health.OK} else Health.UNKNOWN


def changed_components(before: Components, after: Components) -> dict[str, dict[str, str | None]]:
    """Name to `{"old", "new"}` of each component whose status changed; None stands for a component that is not there.

    One that is new and good is no news. At most CHANGES_MAX, those that are bad now first.
    """
    changed: dict[str, tuple[object, object]] = {}
    for name in {**before, **after}:
        old = before[name].get("status") if name in before else None
        new = after[name].get("status") if name in after else None
        if old != new and not (name not in before and verdict_of(new) == Health.OK):
            changed[name] = (old, new)
    ordered = sorted(changed.items(), key=lambda item: (verdict_of(item[1][1]) != Health.ERROR, item[0]))
    return {
        clean_text(name, _NAME_CHARS): {"old": _told(old), "new": _told(new)}
        for name, (old, new) in ordered[:CHANGES_MAX]
    }


def _told(status: object) -> str | None:
    return None if status is None else clean_text(str(status), _STATUS_CHARS)
