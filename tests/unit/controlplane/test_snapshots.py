"""What a row holds and what changed of it, as history tells it."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User

from agents.models import Instance, Node
from agents.models.event import EventKind
from controlplane.access.models import ApiToken
from controlplane.common import snapshots
from controlplane.common.changes import ChangeKind
from controlplane.common.snapshots import NOTHING, VALUE_MAX_CHARS, Difference, Value, difference, snapshot


def token(**fields):
    return ApiToken(name="ci", prefix="opt_x", secret_hash="h" * 64, user=User(username="ann"), **fields)


def test_only_fields_that_changed_are_told():
    before, after = snapshot(token(scope="read")), snapshot(token(scope="admin"))

    assert difference(before, after) == Difference({"scope": "read"}, {"scope": "admin"}, [])


@pytest.mark.parametrize(("old", "new"), [({"a": 1}, {"a": True}), ([1], [1.0]), ({"a": [0]}, {"a": [False]})])
def test_json_that_python_takes_for_the_same_is_told(old, new):
    found = difference({"config": Value(old, old)}, {"config": Value(new, new)})

    assert (str(found.before), str(found.after)) == (str({"config": old}), str({"config": new}))


def test_json_in_another_order_is_the_same():
    old, new = {"a": 1, "b": 2}, {"b": 2, "a": 1}

    assert not difference({"config": Value(old, old)}, {"config": Value(new, new)})


def test_same_row_has_no_difference():
    assert not difference(snapshot(token()), snapshot(token()))


def test_what_is_made_is_told_without_what_is_empty():
    made = difference(NOTHING, snapshot(token(expires_at=datetime(2026, 1, 2, tzinfo=UTC))))

    assert made.before == {}
    assert made.after == {"name": "ci", "user": "ann", "scope": "read", "expires_at": "2026-01-02T00:00:00+00:00"}


def test_what_is_deleted_is_told_as_it_was():
    gone = difference(snapshot(token(environments=["prod"])), NOTHING)

    assert gone.before == {"name": "ci", "user": "ann", "scope": "read", "environments": ["prod"]}
    assert gone.after == {}


@pytest.mark.parametrize(
    "name", ["password", "secret_hash", "api_token", "webhook_secret", "key", "api_key", "url_encrypted"]
)
def test_fields_with_the_name_of_a_secret_are_withheld(name):
    assert snapshots._SECRET.search(name)


@pytest.mark.parametrize("name", ["keyword", "passing_grade", "name", "expires_at", "monkeys"])
def test_other_names_are_told(name):
    assert not snapshots._SECRET.search(name)


def test_a_new_password_is_said_and_not_told():
    changed = difference({"password": Value("old", True, True)}, {"password": Value("new", True, True)})

    assert changed == Difference({}, {}, ["password"])


def test_long_text_is_cut_and_unstorable_text_is_cleaned():
    told = difference(NOTHING, snapshot(ApiToken(name="x\x00" * 1000, user=User()))).after["name"]

    assert told == "x\ufffd" * (VALUE_MAX_CHARS // 2) + "…"


def test_large_json_is_told_as_the_beginning_of_its_text():
    told = snapshot(token(environments=["e" * 1000]))["environments"].told

    assert told == '["' + "e" * (VALUE_MAX_CHARS - 2) + "…"


def test_every_kind_of_change_is_a_kind_of_event():
    assert {kind.value for kind in ChangeKind} <= set(EventKind.values)


def test_secrets_in_json_are_compared_and_never_told():
    def config(password, interval=5):
        return {
            "db": {"password": password, "host": "x"},
            "apiKey": password,
            "urls": [f"redis://:{password}@cache:6379"],
            "interval": interval,
            "empty_token": "",
        }

    instance = Instance()

    def node(*given):
        return snapshot(Node(instance=instance, config=config(*given)))

    changed = difference(node("hunter2"), node("hunter3", 6))

    told = {
        "db": {"password": "…", "host": "x"},
        "apiKey": "…",
        "urls": ["redis://:…@cache:6379"],
        "interval": 5,
        "empty_token": "",
    }
    assert changed.before == {"config": told}
    assert changed.after == {"config": {**told, "interval": 6}}
    assert changed.withheld == ["config.db.password", "config.apiKey", "config.urls.0"]
    assert difference(node("a"), node("a", 6)).withheld == []
