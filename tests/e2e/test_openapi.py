"""Every operation of the committed OpenAPI document answers as the document says, on a portal that holds a fleet."""

import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import ignored_auth

from tests.e2e.harness.document import Credentials, committed, example_body, path_values, required_query
from tests.e2e.harness.example_fleet import ENVIRONMENT, ExampleFleet, example_fleet
from tests.e2e.harness.portal import Portal

CALL_TIMEOUT_S = 60
# Failed logins of generated requests count for this address, and lock nobody else out.
STRANGER = {"X-Forwarded-For": "192.0.2.7"}
# One in so many requests keeps the names that were made up for it.
STRAYS = 4
CONFIG = {
    "seed": 20260102,
    "generation": {
        "deterministic": True,
        "max-examples": 12,
        "unique-inputs": True,
        "no-shrink": True,
        "database": "none",
        "with-security-parameters": False,
    },
    "phases": {"coverage": {"unexpected-methods": []}},
    "checks": {
        # A verb that a path does not have is 404, as clients of the reference control plane know it.
        "unsupported_method": {"enabled": False},
        # Fields that each are right may contradict one another: an order that needs a reason, a stretch that ends
        # before it begins.
        "positive_data_acceptance": {"enabled": False},
    },
}
schema = committed(CONFIG)
OPERATIONS = [result.ok() for result in schema.get_all_operations()]


@pytest.fixture(scope="module", autouse=True)
def _same_requests_whatever_else_is_loaded() -> Iterator[None]:
    """Hypothesis also draws on the constants of all local modules, which would make a failure hard to see again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(providers, "_get_local_constants", Constants)
        providers.CONSTANTS_CACHE.cache.clear()
        yield
        providers.CONSTANTS_CACHE.cache.clear()


@pytest.fixture(scope="module")
def shop(portal: Portal) -> Iterator[ExampleFleet]:
    with example_fleet(portal) as living:
        yield living


@pytest.fixture(scope="module")
def credentials(shop: ExampleFleet) -> Credentials:
    return Credentials(shop)


@pytest.mark.parametrize("operation", OPERATIONS, ids=[operation.label for operation in OPERATIONS])
def test_operation_succeeds_as_documented(
    shop: ExampleFleet, credentials: Credentials, operation: APIOperation
) -> None:
    case = operation.Case(
        path_parameters=path_values(operation, shop),
        query=required_query(operation, shop),
        **example_body(operation),
    )

    answer = call(case, credentials.of(operation), shop)

    assert 200 <= answer.status_code < 300, answer.text


@schema.parametrize()
def test_any_request_is_answered_as_documented(shop: ExampleFleet, credentials: Credentials, case: Case) -> None:
    find_on_the_fleet(case, shop)
    shown = credentials.of(case.operation)

    call(case, shown | {"headers": shown.get("headers", {}) | STRANGER}, shop, excluded_checks=[ignored_auth])


def call(case: Case, shown: dict[str, Any], shop: ExampleFleet, **options: Any) -> Response:
    """The answer, once every check of schemathesis has passed."""
    return case.call_and_validate(shop.portal.urls[0], timeout=CALL_TIMEOUT_S, **shown, **options)


def find_on_the_fleet(case: Case, shop: ExampleFleet) -> None:
    """Ask a good request about what exists, so that most have more to answer than 404; a bad one stays as it is."""
    if zlib.crc32(repr((case.path_parameters, case.query)).encode()) % STRAYS == 0:
        return
    if case.path_parameters and is_good(case, ParameterLocation.PATH):
        case.path_parameters = path_values(case.operation, shop)
    if "environment" in case.query and is_good(case, ParameterLocation.QUERY):
        case.query["environment"] = ENVIRONMENT


def is_good(case: Case, location: ParameterLocation) -> bool:
    return case.meta is None or not case.meta.is_negative_at(location)
