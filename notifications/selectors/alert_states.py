"""Alerts as the engine has them: those that some facts touch, with the members that these are about and the newest.

However many members an alert has, of the others no more than their number is read.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from django.db.models import Case, Count, F, Max, Q, QuerySet, When, Window
from django.db.models.functions import RowNumber

from controlplane.common.changes import subject_of
from notifications.engine.alerts import AlertState, Member, Status, newest
from notifications.engine.facts import Fact
from notifications.engine.kinds import CHANNEL_FAILING, ENDING_ROUTINE
from notifications.engine.telling import FACTS_MAX
from notifications.models import Alert, AlertMember, Channel
from notifications.selectors.news import TaskTrouble

OPEN: Final = ~Q(status=Alert.Status.RESOLVED)
OF_OPEN: Final = ~Q(alert__status=Alert.Status.RESOLVED)
GOES_ON: Final = Q(ended_at__isnull=True)
AUDIBLE: Final = Q(silence__isnull=True)
# So much trouble of tasks is looked after at once; where there is more, by turns.
TROUBLES_MAX: Final = 2000
_TROUBLES_READ_MAX: Final = 20_000

Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be loaded. `keys` are of alerts that facts join, `ended` types and subjects whose trouble may be over,
    `subjects` those of which members are needed. `everything` that is open, where a silence begins or ends; `stale`
    what waits for a threshold. What was told before `told_since` is of no interest any more."""

    until: datetime
    told_since: datetime
    keys: Collection[Key] = ()
    ended: Collection[tuple[str, str]] = ()
    subjects: Collection[str] = ()
    everything: bool = False
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """`told_before` is when the last alert of a key was told that is over, where none is open."""

    alerts: list[AlertState] = field(default_factory=list)
    told_before: dict[Key, datetime] = field(default_factory=dict)


def load(wanted: Wanted) -> Loaded:
    """The alerts that are due, joined, ended or wanted besides. Seven queries at most."""
    ids = _ids(wanted)
    alerts = {row.pk: _state(row) for row in Alert.objects.filter(pk__in=ids).order_by("id")} if ids else {}
    if alerts:
        _count(alerts)
        _add_members(alerts, wanted)
    found = {(alert.rule_id, alert.key) for alert in alerts.values() if alert.status is not Status.RESOLVED}
    return Loaded(list(alerts.values()), _told_before(set(wanted.keys) - found, wanted.told_since))


def _ids(wanted: Wanted) -> set[int]:
    which = Q(due_at__lte=wanted.until)
    if wanted.everything:
        which |= OPEN
    elif wanted.stale:
        which |= Q(status=Alert.Status.WAITING, due_at=None)
    found = set(Alert.objects.filter(which).values_list("pk", flat=True))
    if wanted.keys and not wanted.everything:
        rows = Alert.objects.filter(OPEN, rule__in={rule for rule, _key in wanted.keys})
        rows = rows.filter(key__in={key for _rule, key in wanted.keys})
        keys = set(wanted.keys)
        found |= {pk for pk, rule, key in rows.values_list("pk", "rule", "key") if (rule, key) in keys}
    if wanted.ended and not wanted.everything:
        members = AlertMember.objects.filter(
            OF_OPEN,
            GOES_ON,
            subject__in={subject for _type, subject in wanted.ended},
            alert__event_type__in={event_type for event_type, _subject in wanted.ended},
        )
        found |= set(members.order_by().values_list("alert", flat=True))
    return found


def _state(row: Alert) -> AlertState:
    return AlertState(
        rule_id=row.rule_id,
        event_type=row.event_type,
        key=row.key,
        opened_at=row.opened_at,
        last_at=row.last_at,
        id=row.pk,
        status=Status(row.status),
        event_count=row.event_count,
        told_count=row.told_count,
        silenced_count=row.silenced_count,
        news_count=row.news_count,
        recent=[datetime.fromisoformat(each) for each in row.recent],
        due_at=row.due_at,
        told_at=row.told_at,
        told_times=row.told_times,
        resolved_at=row.resolved_at,
    )


def _count(alerts: dict[int, AlertState]) -> None:
    counted = (
        AlertMember.objects.filter(alert__in=alerts)
        .order_by()
        .values("alert")
        .annotate(
            members=Count("pk"),
            audible=Count("pk", filter=AUDIBLE),
            going_on=Count("pk", filter=AUDIBLE & GOES_ON),
            kept_quiet=Count("pk", filter=~AUDIBLE & GOES_ON),
        )
    )
    for row in counted:
        alert = alerts[row["alert"]]
        alert.member_count, alert.audible_count = row["members"], row["audible"]
        alert.open_count, alert.quiet_count = row["going_on"], row["kept_quiet"]


def _add_members(alerts: dict[int, AlertState], wanted: Wanted) -> None:
    rows = AlertMember.objects.filter(alert__in=alerts).order_by()
    if wanted.everything:
        which = GOES_ON
        if wanted.subjects:
            which |= Q(subject__in=set(wanted.subjects))
        _take(alerts, rows.filter(which))
    elif wanted.subjects:
        _take(alerts, rows.filter(subject__in=set(wanted.subjects)))
    _take(alerts, newest_members(alerts))


def newest_members(alert_ids: Iterable[int]) -> "QuerySet[AlertMember]":
    """Of each alert the members that a message speaks of: those that go on first, then the newest."""
    place = Window(
        RowNumber(),
        partition_by=F("alert"),
        order_by=[
            Case(When(AUDIBLE & GOES_ON, then=0), When(AUDIBLE, then=1), default=2),
            F("last_at").desc(),
            F("subject").asc(),
        ],
    )
    ranked = AlertMember.objects.filter(alert__in=list(alert_ids)).order_by().annotate(place=place)
    return AlertMember.objects.filter(pk__in=ranked.filter(place__lte=FACTS_MAX).values("pk")).order_by()


def _take(alerts: dict[int, AlertState], rows: "QuerySet[AlertMember]") -> None:
    for row in rows:
        known = alerts[row.alert_id].members
        if row.subject not in known:
            known[row.subject] = member_of(row)


def member_of(row: AlertMember) -> Member:
    return Member(
        fact=fact_of(row.told),
        first_at=row.first_at,
        last_at=row.last_at,
        event_count=row.event_count,
        silence_id=row.silence_id,
        ended_at=row.ended_at,
    )


def fact_of(told: dict[str, Any]) -> Fact:
    return msgspec.convert(told, Fact)


def _told_before(keys: set[Key], since: datetime) -> dict[Key, datetime]:
    if not keys:
        return {}
    rows = Alert.objects.filter(
        rule__in={rule for rule, _key in keys}, key__in={key for _rule, key in keys}, told_at__gte=since
    )
    latest = rows.order_by().values_list("rule", "key").annotate(latest=Max("told_at"))
    return {(rule, key): at for rule, key, at in latest if (rule, key) in keys}


def newest_facts(alert_ids: Collection[int]) -> dict[int, tuple[Fact, ...]]:
    """What messages say of these alerts now. One query."""
    members: defaultdict[int, list[Member]] = defaultdict(list)
    for row in newest_members(alert_ids):
        members[row.alert_id].append(member_of(row))
    return {alert: newest(_spoken_of(found)) for alert, found in members.items()}


def _spoken_of(members: list[Member]) -> list[Member]:
    audible = [each for each in members if each.silence_id is None]
    return [each for each in audible if each.is_open] or audible or members


def subjects_of(alert_ids: Collection[int], *, limit: int) -> dict[int, list[tuple[UUID | None, int | None]]]:
    """The instance and the service of the members that messages about these alerts speak of; `limit` at most of all.

    One query. Where some go on, it is those.
    """
    rows = AlertMember.objects.filter(AUDIBLE, alert__in=alert_ids).order_by("alert", "id")
    found: defaultdict[int, list[tuple[UUID | None, int | None, bool]]] = defaultdict(list)
    for alert, instance, service, ended in rows.values_list("alert", "instance_id", "service_id", "ended_at")[:limit]:
        found[alert].append((instance, service, ended is None))
    return {
        alert: [(instance, service) for instance, service, goes_on in each if goes_on]
        or [(instance, service) for instance, service, _goes_on in each]
        for alert, each in found.items()
    }


def troubles_of_tasks(*, turn: int) -> set[TaskTrouble]:
    """The open trouble of tasks, which routine ends: TROUBLES_MAX at most, others by turns. One query."""
    rows = AlertMember.objects.filter(OF_OPEN, GOES_ON, alert__event_type__in=ENDING_ROUTINE, service__isnull=False)
    columns = rows.order_by("id").values_list("alert__event_type", "service_id", "task_name", "last_at")
    found = list(dict.fromkeys(TaskTrouble(*each) for each in columns[:_TROUBLES_READ_MAX]))
    turns = -(-len(found) // TROUBLES_MAX) or 1
    start = (turn % turns) * TROUBLES_MAX
    return set(found[start : start + TROUBLES_MAX])


def gone(*, at: datetime) -> list[Fact]:
    """The ends of trouble whose subjects nobody waits for any more: archived, forgotten or deleted. Three queries."""
    of_instance = Q(instance_id__isnull=False) & (
        Q(instance__created_at__isnull=True) | Q(instance__archived_at__isnull=False)
    )
    of_service = Q(service_id__isnull=False) & (
        Q(service__created_at__isnull=True) | Q(service__archived_at__isnull=False)
    )
    forgotten = Q(instance_id__isnull=True, subject__startswith="instance:")
    rows = AlertMember.objects.filter(OF_OPEN, GOES_ON).order_by()
    found = list(rows.filter(of_instance | of_service | forgotten).values_list("alert__event_type", "told"))
    failing = list(rows.filter(alert__event_type=CHANNEL_FAILING).values_list("alert__event_type", "told"))
    if failing:
        known = {subject_of(channel) for channel in Channel.objects.only("id").order_by()}
        found += [each for each in failing if fact_of(each[1]).portal_subject not in known]
    return [_gone(fact_of(told), event_type, at) for event_type, told in found]


def _gone(fact: Fact, event_type: str, at: datetime) -> Fact:
    name = f"gone:{fact.event_id}"
    return replace(fact, event_id=name, event_type=event_type, ends=True, occurred_at=at, received_at=at)
