"""/metrics as Prometheus reads it."""

import gzip

from prometheus_client.parser import text_string_to_metric_families

CONFIGURED = "from-env"


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def scrape_text(client, secret=CONFIGURED):
    """The text of an answer that must be good."""
    answer = client.get("/metrics", headers=bearer(secret) | {"Accept-Encoding": "gzip"})
    assert answer.status_code == 200, answer.content
    assert answer.headers["Content-Encoding"] == "gzip"
    return gzip.decompress(answer.content).decode()


def scrape(client, secret=CONFIGURED):
    """Name of each sample to its labels and value; every family must have a text of help and a type."""
    families = list(text_string_to_metric_families(scrape_text(client, secret)))
    assert all(family.documentation and family.type != "unknown" for family in families)
    found = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(samples, name, **labels):
    """The one sample of this name that has these labels, among others."""
    (found,) = (value for given, value in samples[name] if given.items() >= labels.items())
    return found
