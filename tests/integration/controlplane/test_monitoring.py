"""The dashboard, the alerts and the documents speak of what the portal exports, and of nothing else."""

import json
import re
from pathlib import Path

import pytest
import yaml
from django.utils import timezone

from controlplane.celery import app as celery_app
from controlplane.prometheus import views
from controlplane.prometheus.kept import Keeper
from tasks_app.services.ingest import store_reports
from tests import frames
from tests.factories import BackgroundJobFactory, ReplicaFactory, SessionFactory
from tests.integration.controlplane.test_prometheus import published
from tests.integration.scraping import CONFIGURED, scrape
from tests.integration.tasks_app.test_ingest import enrolled, reports

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
CONFIGURATION = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
# What Prometheus adds by itself: a metric of each target, and labels of each sample.
ITS_OWN_METRICS: dict[str, set[str]] = {"up": set()}
ITS_OWN_LABELS = {"job", "instance"}
OPERATORS = {"and", "or", "unless", "offset", "bool"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"(?<![\w.])([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?(?!\s*\(|[\w:])")


@pytest.fixture
def exported(client, settings, monkeypatch):
    """The labels of each metric that a portal with everything in it exports."""
    settings.INGEST_TOKENS = (CONFIGURED,)
    monkeypatch.setattr(views, "keeper", Keeper())
    agent = enrolled()
    metrics = [{"name": "rows", "kind": kind, "value": 1, "labels": {}} for kind in ("counter", "gauge")]
    store_reports(reports(agent, agent.metrics(frames.window(avg_duration_ms=1, custom_metrics=metrics))))
    SessionFactory()
    ReplicaFactory(ingest=published())
    for name in celery_app.conf.beat_schedule:
        BackgroundJobFactory(name=name, last_succeeded_at=timezone.now(), last_duration_ms=1)
    samples = scrape(client)
    return {name: {label for labels, _ in found for label in labels} for name, found in samples.items()}


def asked(expression):
    """The metrics of an expression of PromQL, each with the labels that are matched, and the labels of groupings."""
    bare = re.sub(r"\[[^\]]*\]|\boffset\s+\w+", "", re.sub(r'"[^"]*"', '""', expression))
    grouped = {label.strip() for labels in GROUPING.findall(bare) for label in labels.split(",") if label.strip()}
    metrics = {}
    for name, matchers in SELECTOR.findall(GROUPING.sub("", bare)):
        if name not in OPERATORS:
            metrics.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
    return metrics, grouped


def faults(expression, exported):
    """What an expression asks for that is not exported."""
    metrics, grouped = asked(expression)
    known = exported | ITS_OWN_METRICS
    unknown = [name for name in metrics if name not in known]
    unknown += [
        f"{name}{{{label}}}"
        for name, labels in metrics.items()
        for label in sorted(labels - known.get(name, labels) - ITS_OWN_LABELS)
    ]
    there = set().union(*(known.get(name, set()) for name in metrics)) | ITS_OWN_LABELS
    return unknown + sorted(grouped - there)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("time() - portal_background_job_duration_seconds > 120", []),
        ('sum by (status) (rate(portal_commands_open{status=~"a|b"}[5m] offset 1h)) / 1e3', []),
        ("portal_commands_closed", ["portal_commands_closed"]),
        ('portal_commands_open{queue="x"}', ["portal_commands_open{queue}"]),
        ("sum by (queue) (portal_commands_open)", ["queue"]),
        ('absent(portal_build_info) and on() up{job="portal"} == 1', []),
        ("rate(portal_commands_open[5m]) or portal_made_up", ["portal_made_up"]),
    ],
)
def test_the_check_finds_what_is_not_exported(exported, expression, found):
    assert faults(expression, exported) == found


def test_each_alert_asks_for_what_is_exported(exported):
    assert {rule["alert"]: faults(rule["expr"], exported) for rule in RULES} == {rule["alert"]: [] for rule in RULES}


def test_each_alert_names_labels_that_its_expression_has(exported):
    for rule in RULES:
        metrics, grouped = asked(rule["expr"])
        labels = grouped or set().union(*((exported | ITS_OWN_METRICS)[name] for name in metrics))
        texts = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels, rule["alert"]


def test_each_alert_says_how_bad_it_is_and_what_it_means():
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]


def test_each_panel_asks_for_what_is_exported(exported):
    found = {f"{title} {target['refId']}": faults(target["expr"], exported) for title, target in TARGETS}

    assert {name: fault for name, fault in found.items() if fault} == {}


def test_each_legend_names_labels_that_its_expression_has(exported):
    for title, target in TARGETS:
        metrics, grouped = asked(target["expr"])
        labels = grouped or set().union(*(exported[name] for name in metrics))
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, title


def test_the_variables_of_the_dashboard_are_labels_that_are_exported(exported):
    datasource, *variables = DASHBOARD["templating"]["list"]

    assert (datasource["name"], datasource["type"], datasource["query"]) == ("datasource", "datasource", "prometheus")
    for variable in variables:
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
        assert faults(series, exported) == []
        assert label in exported[asked(series)[0].popitem()[0]]


def test_the_dashboard_can_be_imported_into_any_grafana():
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]

    assert rows == ["Fleet", "Tasks", "Commands", "Ingest", "Portal", "Notifications"]
    assert len(set(ids)) == len(ids)
    assert {json.dumps(panel["datasource"], sort_keys=True) for panel in PANELS} == {
        '{"type": "prometheus", "uid": "${datasource}"}'
    }


def test_the_example_loads_the_alerts_and_scrapes_the_portal_under_the_name_that_they_expect():
    (job,) = CONFIGURATION["scrape_configs"]

    assert CONFIGURATION["rule_files"] == ["alerts.yml"]
    assert (job["job_name"], job["metrics_path"], job["authorization"]["type"]) == ("portal", "/metrics", "Bearer")


def test_nothing_is_exported_under_a_label_that_prometheus_keeps_for_itself(exported):
    assert [name for name, labels in exported.items() if labels & ITS_OWN_LABELS] == []


def test_each_metric_is_explained(exported):
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")

    assert [name for name in sorted(exported) if f"`{name}`" not in operations] == []
    explained = set(re.findall(r"`((?:portal|onestep_task|onestep_control_plane)_[a-z_]+)`", operations))
    assert explained - set(exported) == set()
