"""Percentiles, verdicts and tables."""

import json

import pytest

from bench.report import Raw, Row, as_json, markdown_table, number, text_table
from bench.stats import milliseconds, percentile


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.999, 100), (1.0, 100)]
)
def test_percentile_is_the_nearest_rank(share, expected):
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_percentile_of_one_sample_is_that_sample():
    assert percentile([7.0], 0.99) == 7.0


def test_percentile_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_milliseconds_of_nothing_are_nothing():
    assert milliseconds([]) == {}


def test_milliseconds_are_rounded():
    assert milliseconds([0.0123456]) == {"p50_ms": 12.35, "p95_ms": 12.35, "p99_ms": 12.35, "max_ms": 12.35}


@pytest.mark.parametrize(
    ("bound", "measured", "passed"),
    [
        ("at least", 10, True),
        ("at least", 9.99, False),
        ("at most", 10, True),
        ("at most", 10.01, False),
        ("at most", float("nan"), False),
        ("at least", float("nan"), False),
        ("none", 1, True),
    ],
)
def test_target_decides(bound, measured, passed):
    assert Row("rate", "/s", measured, bound, 10).passed is passed


def test_a_problem_fails_what_would_have_passed():
    row = Row("rate", "/s", 100, "at least", 10, problem="1 event lost")

    assert not row.passed
    assert row.verdict == "FAIL: 1 event lost"


def test_ratio_is_the_share_of_the_raw_limit():
    assert Row("rate", "/s", 50, raw=Raw("bare", 200)).ratio == 0.25
    assert Row("rate", "/s", 50).ratio is None


@pytest.mark.parametrize(
    ("value", "expected"), [(12345.6, "12,346"), (100, "100"), (99.96, "100"), (0.12345, "0.123"), (3, "3")]
)
def test_numbers_have_three_digits(value, expected):
    assert number(value) == expected


ROWS = [Row("events", "/s", 20000, "at least", 15000, Raw("COPY", 40000)), Row("a | b", "s", 2, "at most", 1)]


def test_text_table_shows_target_raw_limit_and_verdict():
    lines = text_table(ROWS).splitlines()

    assert "≥ 15,000 /s" in lines[2]
    assert "40,000 /s: COPY" in lines[2]
    assert lines[2].endswith("pass")
    assert lines[3].endswith("FAIL")


def test_markdown_table_has_the_same_columns_in_every_line():
    lines = markdown_table(ROWS).splitlines()

    assert {line.replace("\\|", "").count("|") for line in lines} == {7}


def test_json_has_verdict_and_ratio():
    found = json.loads(json.dumps(as_json(ROWS)))

    assert [(row["passed"], row["ratio"]) for row in found] == [(True, 0.5), (False, None)]
