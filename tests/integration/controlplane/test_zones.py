"""In which zone the console writes times, and that nothing else does."""

from datetime import UTC, datetime

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.test import RequestFactory
from django.utils import timezone

from controlplane.console.formatting import exact, offset_words
from controlplane.console.zones import BROWSER_COOKIE, CHOSEN_COOKIE, ViewerZone, offered_names, zone_named
from tests.factories import UserFactory
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
PAGE = "/admin/time-zone/"


def zone_meta(response):
    return f'data-zone="{response}"'


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "2026-11-03 12:00:00 UTC"),
        ("Asia/Shanghai", "2026-11-03 20:00:00 UTC+8"),
        ("America/St_Johns", "2026-11-03 08:30:00 UTC−3:30"),
    ],
)
def test_exact_times_tell_their_zone(zone, words):
    with timezone.override(zone):
        assert exact(NOON) == words


def test_winter_and_summer_differ():
    with timezone.override("Europe/Berlin"):
        words = [offset_words(timezone.localtime(NOON.replace(month=month))) for month in (1, 7)]

    assert words == ["UTC+1", "UTC+2"]


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Base", "../../etc/passwd", "/etc/passwd", "Europe/Berlin\x00", "a" * 5000, "posixrules/..", "utc+8"],
)
def test_nonsense_is_no_zone(name):
    assert zone_named(name) is None


@pytest.mark.parametrize("cookie", [BROWSER_COOKIE, CHOSEN_COOKIE])
def test_nonsense_in_a_cookie_changes_nothing(cookie):
    client = console_as()
    client.cookies[cookie] = "..%2F..%2Fetc%2Fpasswd"

    assert zone_meta("UTC") in text_of(client.get("/admin/"))


def test_pages_are_written_in_the_zone_of_the_browser():
    client = console_as()
    client.cookies[BROWSER_COOKIE] = "Asia%2FShanghai"

    page = text_of(client.get("/admin/"))

    assert zone_meta("Asia/Shanghai") in page
    assert "Asia/Shanghai (UTC+8)" in page
    assert timezone.get_current_timezone_name() == "UTC"


def test_what_was_chosen_by_hand_goes_before_the_browser_until_it_is_given_back():
    client = console_as()
    client.cookies[BROWSER_COOKIE] = "Asia%2FShanghai"

    answer = client.post(PAGE, {"zone": "America/Bogota", "next": url("agents_event_changelist")})
    chosen = text_of(client.get("/admin/"))
    client.post(PAGE, {"zone": ""})
    given_back = text_of(client.get("/admin/"))

    assert answer["Location"] == url("agents_event_changelist")
    assert (answer.cookies[CHOSEN_COOKIE]["path"], answer.cookies[CHOSEN_COOKIE]["httponly"]) == ("/admin/", True)
    assert zone_meta("America/Bogota") in chosen
    assert zone_meta("Asia/Shanghai") in given_back


def test_a_zone_that_is_none_is_refused_and_leads_nowhere_else():
    answer = console_as().post(PAGE, {"zone": "Mars/Base", "next": "https://evil.example/"})

    assert CHOSEN_COOKIE not in answer.cookies
    assert answer["Location"] == PAGE
    assert console_as().post(PAGE, {"zone": "UTC", "next": "https://evil.example/"})["Location"] == "/admin/"


def test_the_page_offers_every_zone_of_a_place():
    page = text_of(console_as().get(PAGE))

    assert all(f'value="{name}"' in page for name in offered_names())
    assert len(offered_names()) > 300


def test_the_api_does_not_follow_the_zone_of_a_browser():
    client = console_as("superuser")
    client.cookies[BROWSER_COOKIE] = "Asia%2FShanghai"
    UserFactory()

    body = client.get("/api/v1/history").json()

    assert "+08:00" not in str(body)


def test_no_probe_takes_a_thread_for_the_zone():
    """They pass the middleware on the event loop; one that knows no coroutines would send them to a thread."""

    async def answered(request):
        return timezone.get_current_timezone_name()

    middleware = ViewerZone(answered)
    request = RequestFactory().get(PAGE)
    request.COOKIES[CHOSEN_COOKIE] = "Asia%2FShanghai"
    outside = RequestFactory().get("/api/v1/instances")
    outside.COOKIES[CHOSEN_COOKIE] = "Asia%2FShanghai"

    assert iscoroutinefunction(middleware)
    assert async_to_sync(middleware)(request) == "Asia/Shanghai"
    assert async_to_sync(middleware)(outside) == timezone.get_default_timezone_name()
    assert timezone.get_current_timezone_name() == timezone.get_default_timezone_name()
