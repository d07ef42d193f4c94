"""How answers are written: compact, indented where it is asked for, and in UTF-8 either way."""

import pytest
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from controlplane.common.rest.renderers import ApiRenderer

INDENTED = "application/json; indent=2"


@pytest.mark.parametrize(
    ("media_type", "written"),
    [("application/json", '{"name":"订单"}'), (INDENTED, '{\n  "name": "订单"\n}')],
    ids=["compact", "indented"],
)
def test_text_is_written_as_it_is(media_type, written):
    assert ApiRenderer().render({"name": "订单"}, media_type, {}).decode() == written


@pytest.mark.parametrize("media_type", ["application/json", INDENTED])
def test_half_a_surrogate_pair_is_escaped(media_type):
    assert b'"\\ud83d"' in ApiRenderer().render({"name": "\ud83d"}, media_type, {})


def test_marked_and_lazy_texts_are_texts():
    told = {"marked": mark_safe("a"), "lazy": gettext_lazy("b")}

    assert ApiRenderer().render(told) == b'{"marked":"a","lazy":"b"}'


def test_nothing_is_written_as_nothing():
    assert ApiRenderer().render(None) == b""
