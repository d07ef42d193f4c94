"""docs/api.md has an example for every operation, and what reads the examples reads them right."""

import re
from pathlib import Path

import pytest
import yaml

from tests.examples import Call, Example, differences, examples

DOCUMENT = yaml.safe_load((Path(__file__).resolve().parents[3] / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
CALLS = [call for example in examples("api.md") for call in example.calls]


def fits(call: Call, method: str, template: str) -> bool:
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
    return call.method == method.upper() and re.fullmatch(pattern, call.path) is not None


@pytest.mark.parametrize(
    ("method", "template"),
    [(method, template) for template, operations in DOCUMENT["paths"].items() for method in operations],
)
def test_every_operation_has_an_example(method, template):
    assert [call for call in CALLS if fits(call, method, template)] != []


def test_calls_of_an_example_are_read_with_their_method_path_and_status():
    script = (
        'curl -s "$PORTAL/a?b=c"\n'
        "# 409\n"
        'curl -s -d \'{"kind": "ping",\n  "args": {}}\' \\\n  "$PORTAL/b/$COMMAND"\n'
        'curl -s -X DELETE "$PORTAL/c"\n'
    )

    calls = Example("page.md", 1, script, None).calls

    assert calls == [Call("GET", "/a", None), Call("POST", "/b/$COMMAND", 409), Call("DELETE", "/c", None)]


@pytest.mark.parametrize(
    ("shown", "answered"),
    [
        ({"a": 1}, {"a": 2.5}),
        ({"a": None}, {"a": "text"}),
        ({"a": "text"}, {"a": None}),
        ({"a": {}}, {"a": {"anything": 1}}),
        ({"a": []}, {"a": [1, 2]}),
        (["query", 0], ["query", "kind", 1]),
        ([{"a": 1}], [{"a": 1}, {"a": 2}]),
    ],
)
def test_answers_of_the_same_shape_do_not_differ(shown, answered):
    assert list(differences(shown, answered)) == []


@pytest.mark.parametrize(
    ("shown", "answered", "difference"),
    [
        ({"a": 1}, {}, "$: a is not answered"),
        ({"a": 1}, {"a": 1, "b": 2}, "$: b is not shown"),
        ({"a": {"b": "text"}}, {"a": {"b": 1}}, "$.a.b: 1 is no text"),
        ({"a": True}, {"a": 1}, "$.a: 1 is no boolean"),
        ([{"a": 1}], [{"a": 1}, {"b": 1}], "$[1]: a is not answered"),
        ([1], [], "$: nothing is answered"),
    ],
)
def test_answers_of_another_shape_differ(shown, answered, difference):
    assert next(differences(shown, answered)) == difference
