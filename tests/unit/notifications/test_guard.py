"""Whom a webhook may call, and that nobody else is called, whatever names and redirects say."""

import ipaddress
import socket

import pytest
import requests

from controlplane.common.errors import Invalid
from notifications.providers import guard
from notifications.providers.guard import AddressRefused, call, check_url
from tests.sinks import http_sink

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
def sink():
    with http_sink() as made:
        yield made


@pytest.fixture
def names(monkeypatch):
    """Names and what they resolve to, in turn; the last answer stays."""
    known = {}

    def resolve(host, port, *args, **more):
        answers = known.get(host)
        if answers is None:
            return found(host, port, *args, **more)
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port)) for each in addresses]

    found = socket.getaddrinfo
    monkeypatch.setattr(guard.socket, "getaddrinfo", resolve)
    return known


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "2130706433",
        "0x7f.1", "224.0.0.1", "255.255.255.255",
    ],
)  # fmt: skip
def test_nothing_private_may_be_called(host):
    with pytest.raises(AddressRefused):
        check_url(f"https://{host}/hook")
    with pytest.raises(AddressRefused):
        call("POST", f"https://{host}/hook", timeout_s=1)


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a.example/", "file:///etc/passwd", "gopher://a/", "https://", "https://a b/", "https://a\0/",
     "x" * 5000, "https://a.example:99999/", "https://[::1", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_no_url_is_refused(url):
    with pytest.raises(Invalid):
        check_url(url)


def test_plain_http_is_for_networks_that_are_named(names, settings, sink):
    names["hooks.example"] = [["93.184.215.14"]]
    with pytest.raises(AddressRefused, match="NOTIFY_ALLOW_PRIVATE"):
        check_url("http://hooks.example/")
    check_url("https://hooks.example/")

    settings.NOTIFY_ALLOW_PRIVATE = LOOPBACK
    check_url(sink.url)

    assert call("POST", sink.url, body=b"{}", timeout_s=2).status == 200


def test_a_name_of_which_one_address_is_private_is_refused(names):
    names["mixed.example"] = [["93.184.215.14", "10.0.0.1"]]

    with pytest.raises(AddressRefused):
        check_url("https://mixed.example/")


def test_the_address_that_was_checked_is_the_one_that_is_called(names, settings, sink):
    """A name that says something else by the time of the connection."""
    settings.NOTIFY_ALLOW_PRIVATE = (ipaddress.ip_network("127.0.0.1/32"),)
    names["rebound.example"] = [["127.0.0.1"], ["127.0.0.2"]]

    answer = call("POST", sink.url.replace("127.0.0.1", "rebound.example"), body=b"", timeout_s=2)

    assert answer.status == 200
    assert sink.received[0].headers["Host"].startswith("rebound.example:")
    with pytest.raises(AddressRefused):
        call("POST", sink.url.replace("127.0.0.1", "rebound.example"), body=b"", timeout_s=2)


def test_redirects_are_not_followed(settings, sink):
    settings.NOTIFY_ALLOW_PRIVATE = LOOPBACK
    sink.answers = [(302, b"", {"Location": "http://169.254.169.254/latest/meta-data"})]

    assert call("POST", sink.url, body=b"", timeout_s=2).status == 302
    assert len(sink.received) == 1


def test_a_long_answer_is_read_in_part(settings, sink):
    settings.NOTIFY_ALLOW_PRIVATE = LOOPBACK
    sink.answers = [(200, b"x" * 1_000_000, {"Retry-After": "7"})]

    answer = call("GET", sink.url, timeout_s=2)

    assert (len(answer.body), answer.retry_after_s) == (guard.RESPONSE_MAX_BYTES, 7.0)


def test_proxies_of_the_environment_are_passed_over(settings, sink, monkeypatch):
    settings.NOTIFY_ALLOW_PRIVATE = LOOPBACK
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert call("POST", sink.url, body=b"", timeout_s=2).status == 200


def test_a_name_that_is_not_known_is_saved_and_not_called(names, monkeypatch):
    def unknown(*_args, **_more):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(guard.socket, "getaddrinfo", unknown)

    check_url("https://later.example/")
    with pytest.raises(requests.ConnectionError):
        call("POST", "https://later.example/", timeout_s=1)
