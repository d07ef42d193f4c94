"""The committed OpenAPI document is complete: every operation is there, and says all that a program must know."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from controlplane.access.table import API_ROUTES, Door

DOCUMENT = yaml.safe_load((Path(__file__).resolve().parents[3] / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
CONVERTED = re.compile(r"<\w+:(\w+)>")
PARAMETER = r"{\1}"
# What a program calls: all but the document and its page.
ROUTES = {
    f"{method} /{CONVERTED.sub(PARAMETER, route)}": rule
    for route, rules in API_ROUTES.items()
    if route.startswith("api/v1/")
    for method, rule in rules.items()
}
every_operation = pytest.mark.parametrize("label", OPERATIONS)


def test_every_route_of_the_permission_table_is_described():
    described = {label for label in OPERATIONS if " /api/v1/" in label}

    assert described == set(ROUTES)


def test_operation_ids_are_unique():
    counts = Counter(operation["operationId"] for operation in OPERATIONS.values())

    assert [name for name, count in counts.items() if count > 1] == []


@every_operation
def test_operation_has_name_summary_tag_and_security(label):
    operation = OPERATIONS[label]

    assert [key for key in ("operationId", "summary", "tags") if not operation.get(key)] == []
    assert "security" in operation


@every_operation
def test_operation_describes_every_answer(label):
    answers = OPERATIONS[label]["responses"]

    assert [status for status, answer in answers.items() if not answer["description"]] == []


@pytest.mark.parametrize("label", ROUTES)
def test_operation_names_the_refusals_that_it_must_have(label):
    method, path = label.split()
    # The registry has the statuses of its contract, and its probes ask nobody for anything.
    is_of_registry = path.startswith("/api/v1/master/")
    expected = {"503"} if is_of_registry else {"422", "503"}
    if is_of_registry and ROUTES[label] is Door.ANYBODY:
        expected = set()
    if ROUTES[label] is not Door.ANYBODY:
        expected |= {"401", "403"}
    if "{" in path:
        expected |= {"404"}
    if method != "GET":
        expected |= {"413"}

    assert expected - set(OPERATIONS[label]["responses"]) == set()


@every_operation
def test_operation_with_a_body_shows_one(label):
    bodies = OPERATIONS[label].get("requestBody", {}).get("content", {})

    shown = [("examples" in body or "example" in body["schema"]) for body in bodies.values()]

    assert all(shown)
