"""docs/access.md says what the permission table says."""

from pathlib import Path

from django.conf import settings

from controlplane.access.document import document


def test_document_is_in_step_with_the_table():
    written = (Path(settings.BASE_DIR) / "docs" / "access.md").read_text(encoding="utf-8")

    assert written == document(), "run `manage.py access`"
