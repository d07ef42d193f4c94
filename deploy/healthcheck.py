"""The container's health check: does its web process answer? Exit status 0 or 1, the reason on stdout.

It asks by a name that ALLOWED_HOSTS holds, since any other is refused. It imports no Django: it runs every few seconds.
"""

import http.client
import os
import sys

ANSWER_WITHIN_S = 4


def main() -> int:
    port = int(os.environ.get("PORT", "8000"))
    host = os.environ.get("ALLOWED_HOSTS", "").strip("[] ").split(",")[0].strip('" ').lstrip(".") or "localhost"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/healthz", headers={"Host": "localhost" if host == "*" else host})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer: {error}")
        return 1
    finally:
        connection.close()
    print(f"/healthz: {status}")
    return 0 if status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
