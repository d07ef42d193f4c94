"""What stands in exported files, and how many are made at once."""

import asyncio
import csv
import io
import json

import pytest
from rest_framework import serializers

from controlplane.common.rest import streaming
from controlplane.common.rest.exports import Export, cell, csv_parts, ndjson_parts
from controlplane.common.rest.streaming import FileStream, TooManyExports, take_slot


class RowSerializer(serializers.Serializer):
    name = serializers.CharField()
    more = serializers.JSONField()


ROWS = [{"name": '订单,\r\n"1"', "more": {"键": [1, None]}}, {"name": "=1+1", "more": None}]


def export(rows=ROWS, **fields):
    return Export("rows", RowSerializer, iter([rows] if rows else []), **fields)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        ("", ""),
        ("plain", "plain"),
        (-5, "-5"),
        (1.5, "1.5"),
        (True, "true"),
        ({"a": "支付"}, '{"a": "支付"}'),
        (["=1"], '["=1"]'),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("＝1", "'＝1"),
        ("a=1", "a=1"),
    ],
)
def test_cells_hold_no_formula(value, written):
    assert cell(value) == written


def test_csv_is_read_back_by_spreadsheets():
    raw = b"".join(csv_parts(export()))

    assert raw.startswith(b"\xef\xbb\xbfname,more\r\n")
    assert list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""))) == [
        ["name", "more"],
        ['订单,\r\n"1"', '{"键": [1, null]}'],
        ["'=1+1", ""],
    ]


def test_csv_of_nothing_has_its_head():
    assert b"".join(csv_parts(export([]))) == b"\xef\xbb\xbfname,more\r\n"


def test_ndjson_has_a_record_a_line():
    lines = b"".join(ndjson_parts(export())).splitlines()

    assert [json.loads(line) for line in lines] == ROWS


def test_ndjson_of_nothing_is_empty():
    assert b"".join(ndjson_parts(export([]))) == b""


@pytest.mark.parametrize("parts", [csv_parts, ndjson_parts])
def test_text_that_is_not_unicode_costs_its_looks_only(parts):
    assert b"".join(parts(export([{"name": "\ud800", "more": 1}])))


def test_only_wanted_fields_are_written():
    assert b"".join(csv_parts(export(fields=["more"]))).splitlines()[0] == b"\xef\xbb\xbfmore"
    assert json.loads(b"".join(ndjson_parts(export(fields=["name"]))).splitlines()[1]) == {"name": "=1+1"}


def test_context_is_made_of_each_batch():
    class Wide(serializers.Serializer):
        size = serializers.SerializerMethodField()

        def get_size(self, row):
            return self.context["size"]

    exported = Export("rows", Wide, [[1, 2], [3]], context_of=lambda batch: {"size": len(batch)})

    assert [[record["size"] for record in records] for records in exported.records()] == [[2, 2], [1]]


@pytest.fixture
def limits(monkeypatch):
    monkeypatch.setattr(streaming, "PER_USER", 1)
    monkeypatch.setattr(streaming, "PER_PROCESS", 2)


def test_places_are_counted_by_user_and_in_all(limits):
    mine, yours = take_slot("me"), take_slot("you")

    with pytest.raises(TooManyExports):
        take_slot("third")
    yours()
    with pytest.raises(TooManyExports):
        take_slot("me")
    mine()
    mine()
    take_slot("me")()


@pytest.mark.django_db(transaction=True)
async def test_error_is_the_last_line_where_one_can_tell():
    def parts():
        yield b"one\n"
        raise RuntimeError("It broke.")

    stream = FileStream(parts(), lambda: None, stands=lambda: True, hang_up=lambda: None, on_error=b"error\n")

    assert [part async for part in stream] == [b"one\n", b"error\n"]


@pytest.mark.django_db(transaction=True)
async def test_error_is_raised_where_nobody_could_tell():
    def parts():
        yield b"one\n"
        raise RuntimeError("It broke.")

    stream = FileStream(parts(), lambda: None, stands=lambda: True, hang_up=lambda: None, on_error=None)

    assert await anext(stream) == b"one\n"
    with pytest.raises(RuntimeError):
        await anext(stream)


@pytest.mark.django_db(transaction=True)
async def test_many_streams_are_read_side_by_side():
    streams = [
        FileStream(iter([b"a", b"b"]), lambda: None, stands=lambda: True, hang_up=lambda: None, on_error=None)
        for _ in range(9)
    ]

    read = await asyncio.gather(*(_all(stream) for stream in streams))

    assert read == [[b"a", b"b"]] * 9


@pytest.mark.django_db(transaction=True)
async def test_client_that_does_not_read_is_cut_off(monkeypatch):
    monkeypatch.setattr(streaming, "TAKEN_WITHIN_S", 0.01)
    hung_up = []
    stream = FileStream(
        iter([b"a", b"b"]), lambda: None, on_error=None, stands=lambda: True, hang_up=lambda: hung_up.append(1)
    )

    async def send_to_nobody():
        async for _piece in stream:
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.ensure_future(send_to_nobody()), 10)

    assert hung_up == [1]


@pytest.mark.django_db(transaction=True)
async def test_file_ends_with_the_login(monkeypatch):
    monkeypatch.setattr(streaming, "RECHECK_S", 0)
    answers = iter([True, False])
    stream = FileStream(
        iter([b"a", b"b"]), lambda: None, on_error=b"error\n", stands=lambda: next(answers), hang_up=lambda: None
    )

    assert await _all(stream) == [b"a", b"error\n"]


@pytest.mark.django_db(transaction=True)
async def test_large_parts_are_given_in_pieces(monkeypatch):
    monkeypatch.setattr(streaming, "PIECE_BYTES", 2)
    stream = FileStream(
        iter([b"abcde", b"", b"f"]), lambda: None, on_error=None, stands=lambda: True, hang_up=lambda: None
    )

    assert await _all(stream) == [b"ab", b"cd", b"e", b"f"]


async def _all(stream):
    return [part async for part in stream]
