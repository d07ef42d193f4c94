"""`manage.py access`: write the permission table into docs/access.md."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from controlplane.access.document import document


class Command(BaseCommand):
    help = "Writes the permission table into docs/access.md."

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(settings.BASE_DIR) / "docs" / "access.md"
        path.write_text(document(), encoding="utf-8")
        self.stdout.write(f"{path} is written.")
