"""The committed OpenAPI document is what the code says."""

from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import translation

from tests.integration.api_client import api_as

COMMITTED = Path(settings.BASE_DIR) / "docs" / "openapi.yaml"


def test_committed_document_is_current_and_clean(tmp_path):
    fresh = tmp_path / "openapi.yaml"

    with translation.override("en"):
        call_command("spectacular", file=str(fresh), validate=True, fail_on_warn=True)

    assert fresh.read_text() == COMMITTED.read_text(), (
        "The API changed: run `python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml`."
    )


@pytest.mark.django_db
@pytest.mark.parametrize("version", ["2", '1"\r\nX-Injected: 1', "\x00", "用户"])
def test_query_does_not_get_into_the_name_of_the_file(version):
    api = api_as("viewer")

    response = api.client.get("/api/schema/", {"version": version}, headers=api.headers)

    assert (response.status_code, response["Content-Disposition"]) == (200, 'inline; filename="Control plane API.yaml"')
