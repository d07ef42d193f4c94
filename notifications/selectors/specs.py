"""Rules and silences as the engine has them."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.db.models import Prefetch, Q

from notifications.engine.matching import GroupBy, RuleSpec, Scope, SilenceSpec, scope_of
from notifications.engine.quiet import Quiet
from notifications.models import Channel, Rule, Silence
from notifications.models import Scope as ScopeModel

# So late a fact may come and still be kept quiet by the silence of its time.
_LATE: Final = timedelta(days=7)
_GROUPS: Final[dict[str, GroupBy]] = {"event": "event", "type": "type", "service": "service", "task": "task"}


def rule_specs() -> list[RuleSpec]:
    """The rules that are enabled, with those of their channels that are. Two queries."""
    channels = Prefetch("channels", Channel.objects.filter(enabled=True).only("id").order_by(), to_attr="told_channels")
    rows = Rule.objects.filter(enabled=True).prefetch_related(channels).order_by("id")
    return [rule_spec(row, [channel.pk for channel in row.told_channels]) for row in rows]


def rule_spec(rule: Rule, channel_ids: Collection[int]) -> RuleSpec:
    """One rule, stored or a draft, whose id is 0."""
    is_alone = rule.own_of_id is not None or rule.group_by == Rule.GroupBy.EVENT
    return RuleSpec(
        id=rule.pk or 0,
        name=rule.name,
        event_types=frozenset(rule.event_types),
        scope=scope_of_row(rule),
        channel_ids=frozenset(channel_ids),
        group_by=_GROUPS[rule.group_by],
        is_alone=is_alone,
        wait=timedelta(seconds=0 if is_alone else rule.wait_s),
        update=timedelta(seconds=rule.update_s),
        repeat=timedelta(seconds=rule.repeat_s) if rule.repeat_s else None,
        tells_resolved=rule.tells_resolved,
        threshold_count=rule.threshold_count,
        threshold_window=timedelta(seconds=rule.threshold_window_s),
        grace_s=rule.missed_start_grace_s,
        quiet=_quiet(rule),
    )


def _quiet(rule: Rule) -> Quiet | None:
    if rule.quiet_from is None or rule.quiet_until is None:
        return None
    return Quiet(rule.quiet_from, rule.quiet_until, _zone(rule.quiet_time_zone), frozenset(rule.quiet_weekdays))


def silence_specs(*, since: datetime) -> list[SilenceSpec]:
    """The silences that matter from `since` on, those included whose end is yet to be told of. One query."""
    live = Q(ends_at=None) | Q(ends_at__gt=since - _LATE) | Q(told_until=None)
    ended = Q(cancelled_at=None) | Q(cancelled_at__gt=since - _LATE) | Q(told_until=None)
    return [silence_spec(row) for row in Silence.objects.filter(live, ended).order_by("id")]


def silence_spec(silence: Silence) -> SilenceSpec:
    """One silence, stored or a draft, whose id is 0."""
    return SilenceSpec(
        id=silence.pk or 0,
        reason=silence.reason,
        starts_at=silence.starts_at,
        ends_at=silence.ends_at,
        scope=scope_of_row(silence),
        event_types=frozenset(silence.event_types),
        weekdays=frozenset(silence.weekdays),
        start_time=silence.start_time,
        duration_min=silence.duration_min,
        time_zone=_zone(silence.time_zone).key,
        cancelled_at=silence.cancelled_at,
        applied_at=silence.applied_at,
        told_until=silence.told_until,
    )


def scope_of_row(row: ScopeModel) -> Scope:
    return scope_of(
        services=row.service_scopes,
        environments=row.environments,
        selector=row.selector,
        task_pattern=row.task_pattern,
    )


def _zone(name: str) -> ZoneInfo:
    """The zone; the portal's where it has no name, or one that this machine does not know."""
    try:
        return ZoneInfo(name or settings.TIME_ZONE)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(settings.TIME_ZONE)
