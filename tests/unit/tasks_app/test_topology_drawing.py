"""The tasks of a service as boxes in columns, joined where one feeds another."""

from tasks_app.models import Task
from tasks_app.selectors.topology import NODES_MAX, draw


def task(name, source=None, *sinks):
    kind, source_name = source or ("", "")
    emit = [{"kind": sink_kind, "name": sink_name} for sink_kind, sink_name in sinks]
    return Task(pk=len(name), name=name, source_kind=kind, source_name=source_name, emit=emit)


def boxes_of(drawing):
    return {box.name or box.kind: (box.role, box.column) for box in drawing.boxes}


def test_tasks_that_share_a_queue_are_joined_by_one_box():
    drawing = draw(
        [
            task("collect", ("interval", "every 4 s"), ("memory", "orders")),
            task("ship", ("memory", "orders"), ("http", "carrier")),
        ]
    )

    assert boxes_of(drawing) == {
        "every 4 s": ("source", 0),
        "collect": ("task", 1),
        "orders": ("queue", 2),
        "ship": ("task", 3),
        "carrier": ("sink", 4),
    }
    assert len(drawing.lines) == 4
    assert not any(line.is_back for line in drawing.lines)


def test_connectors_of_another_kind_or_without_a_name_are_not_joined():
    drawing = draw(
        [
            task("one", ("cron", ""), ("redis", "orders")),
            task("two", ("cron", ""), ("kafka", "orders")),
            task("three", ("memory", "orders")),
        ]
    )

    assert sorted(box.role for box in drawing.boxes) == ["sink", "sink", "source", "source", "source"] + ["task"] * 3


def test_the_name_of_a_connector_may_stand_in_its_settings():
    first = task("one", None, ("sqs", ""))
    first.emit[0]["config"] = {"queue": "jobs"}
    second = task("two", ("sqs", ""))
    second.source_config = {"queue": "jobs"}

    assert boxes_of(draw([first, second]))["jobs"] == ("queue", 2)


def test_a_ring_ends_and_its_last_line_leads_back():
    drawing = draw(
        [
            task("ping", ("memory", "a"), ("memory", "b")),
            task("pong", ("memory", "b"), ("memory", "a")),
            task("own", ("memory", "c"), ("memory", "c")),
        ]
    )

    assert [line.is_back for line in drawing.lines].count(True) == 2
    columns = [boxes_of(drawing)[name][1] for name in ("ping", "b", "pong", "a")]
    assert columns == list(range(columns[0], columns[0] + 4))


def test_boxes_lie_inside_the_drawing_and_on_no_other():
    drawing = draw([task(f"task-{n}", ("memory", f"in-{n % 3}"), ("memory", f"out-{n % 4}")) for n in range(20)])

    places = {(box.x, box.y) for box in drawing.boxes}
    assert len(places) == len(drawing.boxes) == 20 + 3 + 4
    assert all(0 <= x <= drawing.width - 184 and 0 <= y <= drawing.height - 46 for x, y in places)


def test_what_is_no_topology_is_drawn_as_far_as_it_goes():
    odd = Task(pk=1, name="odd", emit=["text", {"kind": None}, {"kind": "http", "name": "x" * 200, "config": [1]}])

    drawing = draw([odd])

    assert {box.role for box in drawing.boxes} == {"task", "sink"}
    assert max(len(box.title) for box in drawing.boxes) <= 24


def test_nothing_is_drawn_of_nothing_and_of_too_much():
    huge = draw([task(f"t{n}", ("memory", f"in-{n}")) for n in range(NODES_MAX)])

    assert draw([]).is_empty
    assert huge.is_too_large
    assert huge.boxes == []


def test_a_long_chain_is_drawn_as_one():
    chain = [task(f"t{n}", ("memory", f"q{n}"), ("memory", f"q{n + 1}")) for n in range(NODES_MAX // 2 - 1)]

    drawing = draw(chain[::-1])

    assert len({box.column for box in drawing.boxes}) == len(drawing.boxes)
