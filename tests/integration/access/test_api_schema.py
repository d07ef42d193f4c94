"""The committed OpenAPI document is what the code says."""

from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.utils import translation

COMMITTED = Path(settings.BASE_DIR) / "docs" / "openapi.yaml"


def test_committed_document_is_current_and_clean(tmp_path):
    fresh = tmp_path / "openapi.yaml"

    with translation.override("en"):
        call_command("spectacular", file=str(fresh), validate=True, fail_on_warn=True)

    assert fresh.read_text() == COMMITTED.read_text(), (
        "The API changed: run `python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml`."
    )
