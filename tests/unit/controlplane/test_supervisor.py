"""The supervisor with parts that do one thing: it needs no database."""

import os
import signal
import threading
import time

import pytest

from controlplane.runtime import supervisor
from controlplane.runtime.supervisor import PartStatus, Supervisor, part_statuses

WAIT_S = 10


@pytest.fixture(autouse=True)
def quick_and_contained(monkeypatch):
    """Short pauses; the signal handlers and the running supervisor of the test process are given back."""
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_S", 0.05)
    monkeypatch.setattr(supervisor, "_running", None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # Under nohup it is ignored, and the supervisor leaves it so.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Steady:
    """Works until it is stopped."""

    def __init__(self):
        self.stopped = threading.Event()

    def run(self, ready):
        ready()
        self.stopped.wait(WAIT_S)

    def stop(self):
        self.stopped.set()


class Crashing(Steady):
    def run(self, ready):
        ready()
        raise OSError("no such thing")


class Ending(Steady):
    def run(self, ready):
        ready()


class Exiting(Steady):
    def run(self, ready):
        raise SystemExit(3)


class Deaf(Steady):
    def __init__(self):
        super().__init__()
        self.asked = threading.Event()

    def stop(self):
        """Hears nothing of it."""
        self.asked.set()


def run(parts, *, ready_when="a", on_ready=lambda: None):
    return Supervisor(parts, on_ready=on_ready, ready_when=ready_when).run()


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def terminate_when_running(name, *, crashes):
    """An `on_ready` that ends the supervisor once the part runs after so many crashes."""

    def watch():
        while not any(s.name == name and s.state == "running" and s.crashes == crashes for s in part_statuses()):
            threading.Event().wait(0.01)
        terminate()

    return lambda: threading.Thread(target=watch, daemon=True).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_stops_every_part(number):
    parts = [Steady(), Steady()]

    code = run([("a", lambda: parts[0]), ("b", lambda: parts[1])], on_ready=lambda: os.kill(os.getpid(), number))

    assert code == 0
    assert [part.stopped.is_set() for part in parts] == [True, True]
    assert {status.state for status in part_statuses()} == {"stopped"}


@pytest.mark.parametrize(
    ("broken", "error"), [(Crashing, "OSError"), (Ending, "ended by itself"), (Exiting, "SystemExit")]
)
def test_crashed_part_is_started_again_and_its_crash_is_told(broken, error):
    seen = []

    def third_life():
        seen.extend(part_statuses())
        return Steady()

    lives = iter([broken, broken, third_life])

    def make():
        return next(lives)()

    code = run(
        [("a", make), ("other", Steady)],
        ready_when="other",
        on_ready=terminate_when_running("a", crashes=2),
    )

    assert code == 0
    assert [(status.crashes, status.error) for status in seen if status.name == "a"] == [(2, error)]
    assert part_statuses()[0] == PartStatus("a", "stopped", 2, error)


def test_part_that_cannot_even_be_made_is_tried_again():
    attempts = []

    def make():
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("not yet")
        return Steady()

    assert run([("a", make)], on_ready=terminate) == 0
    assert len(attempts) == 2


def test_other_parts_run_on_while_one_crashes():
    steady = []

    def make_steady():
        steady.append(Steady())
        return steady[-1]

    lives = iter([Crashing(), Crashing(), Steady()])

    run(
        [("a", make_steady), ("b", lambda: next(lives))],
        ready_when="b",
        on_ready=terminate_when_running("b", crashes=2),
    )

    assert len(steady) == 1


def test_pause_before_a_restart_doubles_up_to_its_bound(monkeypatch, caplog):
    monkeypatch.setattr(supervisor, "MAX_BACKOFF_S", 0.2)
    lives = iter([Crashing(), Crashing(), Crashing(), Crashing(), Steady()])

    run([("a", lambda: next(lives))], on_ready=terminate_when_running("a", crashes=4))

    pauses = [record.args[-1] for record in caplog.records if record.msg.startswith("part.crashed")]
    assert pauses == [0.05, 0.1, 0.2, 0.2]


def test_part_that_ran_well_starts_over_with_the_first_pause(monkeypatch, caplog):
    monkeypatch.setattr(supervisor, "STEADY_AFTER_S", 0)
    lives = iter([Crashing(), Crashing(), Steady()])

    run([("a", lambda: next(lives))], on_ready=terminate_when_running("a", crashes=2))

    pauses = [record.args[-1] for record in caplog.records if record.msg.startswith("part.crashed")]
    assert pauses == [0.05, 0.05]


@pytest.mark.parametrize(("name", "code"), [("web", 1), ("worker", 0)])
def test_part_that_does_not_stop_is_left_behind_in_time(monkeypatch, name, code):
    """Only a web part that did not drain makes the end a failure."""
    monkeypatch.setattr(supervisor, "STOP_WITHIN_S", 0.2)
    deaf = Deaf()

    assert run([(name, lambda: deaf)], ready_when=name, on_ready=terminate) == code

    assert not deaf.stopped.is_set()
    deaf.stopped.set()


def test_second_signal_ends_at_once(monkeypatch):
    monkeypatch.setattr(supervisor, "STOP_WITHIN_S", 60)
    deaf = Deaf()

    def again():
        # The first was seen once the part is asked to stop: two at once would count as one.
        deaf.asked.wait(WAIT_S)
        terminate()

    def twice():
        threading.Thread(target=again, daemon=True).start()
        terminate()

    began = time.monotonic()
    code = run([("web", lambda: deaf)], ready_when="web", on_ready=twice)

    deaf.stopped.set()
    assert code == 1
    assert time.monotonic() - began < supervisor.STOP_WITHIN_S
