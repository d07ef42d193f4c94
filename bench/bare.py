"""`python -m bench.bare PORT`: one Django view that does one UPDATE, under the flags of the portal's web part.

What it takes in requests a second is what uvicorn, Django and PostgreSQL leave to a registry: no middleware, no
permissions, no history, no answer to speak of.
"""

import os
import sys

import django


def main(port: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "controlplane.settings"
    django.setup()
    from django.conf import settings  # noqa: PLC0415 -- after the settings are known

    from controlplane.runtime.parts import WebPart  # noqa: PLC0415
    from controlplane.runtime.preflight import bind_listener  # noqa: PLC0415

    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = "bench.bare_urls"
    settings.ASGI_APPLICATION = "bench.bare_urls.application"
    with bind_listener("127.0.0.1", port) as listener:
        WebPart(listener).run(lambda: print("ready", flush=True))


if __name__ == "__main__":
    main(int(sys.argv[1]))
