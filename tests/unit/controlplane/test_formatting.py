"""Ages, durations, states and long values as the console writes them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import translation

from controlplane.console.formatting import (
    JSON_SHOWN_MAX_CHARS,
    LOOKS,
    STATE_WORDS,
    age,
    age_words,
    badge,
    cut,
    duration,
    pretty_json,
)

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0.4, "just now", "刚刚"),
        (1, "1 s ago", "1 秒前"),
        (59.9, "59 s ago", "59 秒前"),
        (60, "1 min ago", "1 分钟前"),
        (3599, "59 min ago", "59 分钟前"),
        (3600, "1 h ago", "1 小时前"),
        (86400, "1 d ago", "1 天前"),
        (400 * 86400, "400 d ago", "400 天前"),
        (-5, "in 5 s", "5 秒后"),
        (-7200, "in 2 h", "2 小时后"),
    ],
)
def test_age_is_said_in_both_languages(seconds, english, chinese):
    moment = NOW - timedelta(seconds=seconds)

    with translation.override("en"):
        assert age_words(moment, NOW) == english
    with translation.override("zh-hans"):
        assert age_words(moment, NOW) == chinese


def test_age_carries_the_exact_time():
    assert 'title="2026-11-21 08:00:00 UTC"' in age(NOW)
    assert age(None) == "–"


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.25, "0.2 ms"),
        (43.2, "43 ms"),
        (1000, "1.0 s"),
        (119_000, "119.0 s"),
        (120_000, "2.0 min"),
        (7_200_000, "2.0 h"),
        (10**15, "11574074.1 d"),
    ],
)
def test_duration_picks_its_unit(milliseconds, words):
    assert duration(milliseconds) == words


def test_state_is_never_told_by_colour_alone():
    for family, looks in LOOKS.items():
        for value, look in looks.items():
            shown = badge(family, value)
            assert look.icon in shown
            assert str(STATE_WORDS.get(family, {}).get(value, value)) in shown


def test_unknown_state_is_shown_as_it_is():
    assert "new-state" in badge("command", "new-state")
    assert "<b>" not in badge("nonsense", "<b>")


def test_long_values_are_cut():
    assert cut("short") == "short"
    assert cut("") == "–"
    assert "x" * 80 + "…" in cut("x" * 5000)
    assert len(cut("x" * 100_000)) < 2000
    assert len(pretty_json("x" * 2 * JSON_SHOWN_MAX_CHARS)) < JSON_SHOWN_MAX_CHARS + 100
