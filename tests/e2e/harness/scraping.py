"""/metrics of a process, as Prometheus reads it."""

import requests
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[str, list[tuple[dict[str, str], float]]]


def scrape(url: str, token: str) -> Samples:
    """Name of each sample to its labels and value; AssertionError with the body of anything but a 200."""
    answer = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=60)
    assert answer.status_code == 200, f"GET /metrics: {answer.status_code} {answer.text[:500]}"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found
