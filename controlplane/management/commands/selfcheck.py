"""`manage.py selfcheck`: what is wrong with the portal, with what to do about it, and an exit status for programs."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from controlplane.system.findings import SEVERITIES, Finding
from controlplane.system.selfcheck import Look


class Command(BaseCommand):
    help = "Look for what is wrong with the portal. Exit status: 0 nothing so bad as --fail-on, 1 otherwise."
    # It says itself what the settings lack, and works where the database does not.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fail-on", choices=SEVERITIES, default="error", help="The mildest that makes it fail.")
        parser.add_argument("--json", action="store_true", help="Write findings as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        found = Look(timezone.now()).findings
        if options["json"]:
            self.stdout.write(_json(found))
        else:
            self._tell(found)
        failing = SEVERITIES[: SEVERITIES.index(options["fail_on"]) + 1]
        if any(each.severity in failing for each in found):
            sys.exit(1)

    def _tell(self, found: list[Finding]) -> None:
        if not found:
            self.stdout.write("Nothing is wrong.")
        for each in found:
            since = f" (since {each.since:%Y-%m-%d %H:%M:%S %Z})" if each.since else ""
            self.stdout.write(f"{each.severity.upper()} {each.code}: {each.title}{since}")
            self.stdout.write(f"  {each.detail}")
            self.stdout.write(f"  {each.fix}{f'  ->  {each.do}' if each.do else ''}")


def _json(found: list[Finding]) -> str:
    return json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False, cls=DjangoJSONEncoder)
