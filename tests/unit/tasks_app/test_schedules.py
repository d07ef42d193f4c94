"""The starts that an agent would make, held against the agent's own sources."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks_app.schedules import ScheduleInvalid, parse_cron, schedule_of, wall_of

AGENT = Path(__file__).parents[3] / ".agents/current/bin/python"
ZONES = ("UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns")
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "SAT"]


@pytest.fixture(scope="module")
def agent():
    """Asks the agent's Python."""
    if not AGENT.exists():
        pytest.skip("no agent is installed; make agents")
    script = Path(__file__).with_name("schedules_of_agent.py")
    with subprocess.Popen([AGENT, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(**asked):
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def field(least, most, names=()):
    # Just outside the bounds too: both must refuse the same.
    value = st.integers(max(0, least - 1), most + 1).map(str)
    if names:
        value = value | st.sampled_from(names)
    step = st.integers(0, 12).map(str)
    part = st.one_of(
        value,
        st.just("*"),
        st.builds("{}-{}".format, value, value),
        st.builds("{}/{}".format, value | st.just("*"), step),
        st.builds("{}-{}/{}".format, value, value, step),
        st.sampled_from(["", "x", "07", "+1", "-1", "1-", "*-3", "1/", "1_0"]),
    )
    return st.just("*") | st.lists(part, min_size=1, max_size=3).map(",".join)


def expressions():
    usual = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12, MONTHS), field(0, 6, WEEKDAYS))
    alias = st.sampled_from(["@hourly", "@DAILY", " @weekly ", "@monthly", "@yearly", "@annually", "* * * *", ""])
    return usual.map(" ".join) | alias


moments = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 -- hypothesis adds the zone
slowly = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ours(expression, zone, since, count):
    """As the agent would go on from `since`, as instants."""
    wall, cron, found = since.astimezone(ZoneInfo(zone)).replace(tzinfo=None), parse_cron(expression), []
    for _ in range(count):
        wall = cron.next_after(wall)
        if wall is None:
            break
        found.append(wall.replace(tzinfo=ZoneInfo(zone)).isoformat())
    return found


@slowly
@given(expression=expressions())
def test_expressions_are_refused_as_the_agent_refuses_them(agent, expression):
    told = agent(expression=expression, timezone="UTC", since="2026-01-01T00:00:00+00:00", count=0)

    try:
        parse_cron(expression)
    except ScheduleInvalid:
        assert told is None
    else:
        assert told == []


def often(field_):
    return field_.filter(lambda text: not {"x", "", "*-3"} & set(text.split(",")))


@slowly
@given(
    minute=often(field(0, 59)),
    hour=often(field(0, 23)),
    # Together never so seldom that the agent looks through years of minutes.
    day=st.sampled_from(["*", "*/2", "1-7", "13,31", "5/9", "*/1"]),
    weekday=st.sampled_from(["*", "7", "sun", "1-5", "thu", "*/3", "0/2", "tue-SAT/2", "7/3"]),
    zone=st.sampled_from(ZONES),
    since=moments,
)
def test_next_starts_are_those_of_the_agent(agent, *, minute, hour, day, weekday, zone, since):
    expression = f"{minute} {hour} {day} * {weekday}"
    told = agent(expression=expression, timezone=zone, since=since.isoformat(), count=4)

    try:
        found = ours(expression, zone, since, 4)
    except ScheduleInvalid:
        found = None

    assert found == told


@slowly
@given(seconds=st.integers(60, 90_000), zone=st.sampled_from(ZONES), since=moments)
def test_intervals_are_those_of_the_agent(agent, seconds, zone, since):
    told = agent(seconds=seconds, timezone=zone, since=since.isoformat(), count=6)
    schedule = schedule_of("interval", {"seconds": seconds, "timezone": zone})
    first = since.astimezone(ZoneInfo(zone)).replace(fold=0)

    slots = schedule.slots(first.astimezone(UTC) - timedelta(days=2), phase=wall_of(first.isoformat(), schedule.zone))
    walls = {slot.scheduled_at for slot in islice(slots, 10_000 if seconds < 200 else 3000)}

    assert {datetime.fromisoformat(each) for each in told} <= walls


def slots(expression, zone, since, until, **more):
    schedule = schedule_of("cron", {"expression": expression, "timezone": zone, **more})
    due = takewhile(
        lambda slot: slot.due_at < datetime.fromisoformat(until), schedule.slots(datetime.fromisoformat(since))
    )
    return [(slot.scheduled_at.strftime("%H:%M"), slot.due_at.strftime("%H:%M")) for slot in due]


def test_hour_that_a_clock_leaves_out_is_made_up_for_at_once():
    found = slots("*/30 * * * *", "America/New_York", "2026-03-08T06:30:00Z", "2026-03-08T07:31:00Z")

    assert found == [("06:30", "06:30"), ("07:00", "07:00"), ("07:30", "07:00"), ("07:00", "07:00"), ("07:30", "07:30")]


def test_start_in_the_hour_left_out_is_found_when_asked_from_the_change_on():
    found = slots("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z")

    assert found == [("01:30", "01:00")]


def test_hour_that_comes_twice_starts_the_first_time_only():
    found = slots("30 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z")

    assert found == [("23:30", "23:30"), ("00:30", "00:30"), ("02:30", "02:30")]


def test_day_that_never_comes_has_no_start():
    assert list(schedule_of("cron", {"expression": "0 0 30 2 *", "timezone": "UTC"}).slots(datetime.now(UTC))) == []


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"seconds": 5},
        {"seconds": 0, "timezone": "UTC"},
        {"seconds": float("nan"), "timezone": "UTC"},
        {"seconds": 1e300, "timezone": "UTC"},
        {"seconds": 1e-9, "timezone": "UTC"},
        {"seconds": True, "timezone": "UTC"},
        {"seconds": 5, "timezone": "Mars/Olympus"},
        {"seconds": 5, "timezone": "../../etc/passwd"},
        {"seconds": 5, "timezone": "America"},
    ],
)
def test_interval_that_cannot_be_told_says_so(config):
    with pytest.raises(ScheduleInvalid):
        schedule_of("interval", config)


@pytest.mark.parametrize(("name", "hours"), [("UTC", 0), ("+08", 8), ("UTC-03:00", -3), ("Asia/Shanghai", 8)])
def test_zones_are_known_by_name_and_by_distance(name, hours):
    zone = schedule_of("interval", {"seconds": 5, "timezone": name}).zone

    assert datetime(2026, 1, 1, tzinfo=zone).utcoffset() == timedelta(hours=hours)


def test_other_sources_have_no_schedule():
    assert schedule_of("memory_queue", {}) is None


@pytest.mark.parametrize(
    ("told", "wall"),
    [
        ("2026-03-08T02:30:00-05:00", "2026-03-08T02:30:00"),
        ("2026-03-08T12:00:00+00:00", "2026-03-08T08:00:00"),
        ("2026-03-08T12:00:00", "2026-03-08T12:00:00"),
        ("0001-01-01T00:00:00+10:00", None),
        ("soon", None),
    ],
)
def test_wall_of_keeps_what_the_agent_wrote(told, wall):
    found = wall_of(told, ZoneInfo("America/New_York"))

    assert (found and found.isoformat()) == wall
