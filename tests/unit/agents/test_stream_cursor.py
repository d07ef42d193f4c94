"""Cursors of the live stream as text."""

import pytest

from agents.selectors.stream import Cursor, Position


def test_cursor_comes_back_from_its_text():
    cursor = Cursor("0a1b2c3d", Position(2**63 - 1, 12), 1_767_323_045)

    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "0a1b2c3d-1-2",
        "0a1b2c3d-1-2-3-4",
        "0A1B2C3D-1-2-3",
        "0a1b2c3d-1--2-3",
        "0a1b2c3d- 1-2-3",
        "0a1b2c3d-1-2-3\n",
        "0a1b2c3d-١-2-3",
        f"0a1b2c3d-{2**63}-2-3",
        f"0a1b2c3d-1-{2**63}-3",
        "0a1b2c3d-1-2-1234567890123",
        "\x00",
        "\ud800",
    ],
)
def test_text_that_is_no_cursor_is_none(text):
    assert Cursor.parse(text) is None


def test_positions_are_ordered_by_transaction_and_then_by_id():
    assert sorted([Position(2, 1), Position(1, 9), Position(1, 2)]) == [Position(1, 2), Position(1, 9), Position(2, 1)]
