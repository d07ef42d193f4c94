"""What the settings of the registry make of the environment."""

import pytest

from tests.unit.controlplane.test_access_settings import read

NAMES = (
    "ONLINE_THRESHOLD_SECONDS",
    "OFFLINE_THRESHOLD_SECONDS",
    "SCHEDULER_INTERVAL_SECONDS",
    "NODE_ID_PREFIX",
    "AUTH_MODE",
)


def test_defaults_are_those_of_the_contract(tmp_path):
    assert read(NAMES, tmp_path) == [120, 180, 30, "A", "disabled"]


@pytest.mark.parametrize(
    ("environment", "begins"),
    [
        (
            {"ONLINE_THRESHOLD_SECONDS": "181"},
            "ONLINE_THRESHOLD_SECONDS (181) must not exceed OFFLINE_THRESHOLD_SECONDS (180)",
        ),
        ({"OFFLINE_THRESHOLD_SECONDS": "soon"}, "OFFLINE_THRESHOLD_SECONDS must be a whole number"),
        ({"AUTH_MODE": "on"}, "AUTH_MODE must be one of disabled, token, not 'on'."),
        ({"NODE_ID_PREFIX": "n1"}, "NODE_ID_PREFIX must be"),
        ({"NODE_ID_PREFIX": "a/b"}, "NODE_ID_PREFIX must be"),
        ({"SCHEDULER_INTERVAL_SECONDS": "0"}, "SCHEDULER_INTERVAL_SECONDS must be at least 1"),
        ({"METRIC_NODES_JSON_PATH": "/tmp"}, "METRIC_NODES_JSON_PATH must name a file, not the folder '/tmp'."),
        ({"METRIC_NODES_JSON_PATH": "/no/where/"}, "METRIC_NODES_JSON_PATH must name a file"),
    ],
)
def test_what_cannot_be_stops_the_start_and_names_itself(tmp_path, environment, begins):
    assert read((), tmp_path, **environment).startswith(begins)


def test_background_job_that_judges_nodes_rings_as_often_as_is_set():
    from controlplane.celery import app
    from controlplane.settings.registry import SCHEDULER_INTERVAL_SECONDS

    assert app.conf.beat_schedule["judge-nodes"]["schedule"] == SCHEDULER_INTERVAL_SECONDS
