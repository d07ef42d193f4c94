"""Stands in for curl where it is not installed: the options that the documents use, sent by requests.

As the real one in the tests, it writes the body to standard output, then the status to standard error.
"""

import argparse
import sys
import time
from http.cookiejar import MozillaCookieJar
from pathlib import Path
from urllib.parse import quote

import requests

TIMEOUT_S = 60.0
# The exit status of curl when --max-time is over.
TIME_IS_OVER = 28


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    options.add_argument("-s", "--silent", action="store_true")
    options.add_argument("-N", "--no-buffer", action="store_true")
    options.add_argument("-G", "--get", action="store_true")
    options.add_argument("-X", "--request")
    options.add_argument("-H", "--header", action="append", default=[])
    options.add_argument("-d", "--data", action="append", default=[])
    options.add_argument("--data-urlencode", action="append", default=[])
    options.add_argument("-b", "--cookie")
    options.add_argument("-c", "--cookie-jar")
    options.add_argument("-o", "--output")
    options.add_argument("--max-time", type=float)
    options.add_argument("url")
    return options


def main(arguments: list[str]) -> int:
    asked = parser().parse_args(arguments)
    jar = MozillaCookieJar()
    if asked.cookie and Path(asked.cookie).exists():
        jar.load(asked.cookie, ignore_discard=True)
    session = requests.Session()
    session.trust_env = False
    session.cookies = jar  # type: ignore[assignment] # requests takes any jar
    data = "&".join([*asked.data, *map(_encoded, asked.data_urlencode)])
    # What curl says of a body unless it is told otherwise.
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if data and not asked.get else {}
    headers |= {name: value.strip() for name, _colon, value in (text.partition(":") for text in asked.header)}
    response = session.request(
        asked.request or ("POST" if data and not asked.get else "GET"),
        f"{asked.url}{'&' if '?' in asked.url else '?'}{data}" if data and asked.get else asked.url,
        data=None if asked.get else data.encode(),
        headers=headers,
        timeout=asked.max_time or TIMEOUT_S,
        stream=True,
        allow_redirects=False,
    )
    timed_out = _write(response, asked.output, until=time.monotonic() + (asked.max_time or TIMEOUT_S))
    print(response.status_code, file=sys.stderr)
    if asked.cookie_jar:
        jar.save(asked.cookie_jar, ignore_discard=True)
    return TIME_IS_OVER if timed_out else 0


def _encoded(text: str) -> str:
    name, _equals, value = text.partition("=")
    return f"{name}={quote(value, safe='')}"


def _write(response: requests.Response, output: str | None, *, until: float) -> bool:
    """Whether the body was not at its end when the time was over."""
    with Path(output).open("wb") if output else sys.stdout.buffer as file:
        try:
            # Byte by byte: more at once would be waited for.
            for chunk in response.iter_content(1):
                file.write(chunk)
                if time.monotonic() >= until:
                    return True
        except requests.ConnectionError:
            # Nothing came for so long.
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
