import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.common.clean import BIGINT_MAX, NESTING_MAX, clean_json, clean_text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


def test_clean_text_replaces_what_postgres_refuses():
    assert clean_text("a\x00b\ud800c") == "a\ufffdb\ufffdc"


def test_clean_text_cuts_at_the_limit():
    assert clean_text("abcdef", 3) == "abc"


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (BIGINT_MAX, BIGINT_MAX),
        (BIGINT_MAX + 1, float(BIGINT_MAX + 1)),
        (10**400, None),
        (True, True),
        ({"k\x00": ["v\x00", 1.5]}, {"k\ufffd": ["v\ufffd", 1.5]}),
    ],
)
def test_clean_json_makes_single_values_storable(value, cleaned):
    assert clean_json(value) == cleaned


def test_clean_json_cuts_deep_nesting():
    value: object = "bottom"
    for _ in range(NESTING_MAX + 5):
        value = [value]

    assert "bottom" not in json.dumps(clean_json(value))


@given(json_values)
def test_clean_json_is_strict_json_and_stable(value):
    cleaned = clean_json(value)

    text = json.dumps(cleaned, allow_nan=False, ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text
    assert clean_json(cleaned) == cleaned
