"""`manage.py translations`: collect the texts of the portal, keep the Chinese file in step, compile it.

Django's makemessages needs GNU gettext; Babel does the same in Python, so that any machine can run this.
"""

import io
import re
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import templatize

LOCALE = "zh_Hans"
SOURCES = ("agents", "controlplane", "notifications", "tasks_app", "templates")
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
_PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?[#0\- +]*(?:\d+)?(?:\.\d+)?([sdifgr%])")
# The files say nothing of when they were written, so that the same texts make the same bytes.
NO_DATE = datetime(2000, 1, 1, tzinfo=UTC)
HEADER = "# Simplified Chinese texts of the portal. Written by `manage.py translations`; fill in the msgstr lines.\n#"


class Command(BaseCommand):
    help = "Collects all texts into locale/, keeps translations, compiles them. --check only reports what is wrong."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="Change nothing; fail where the files are not in step."
        )

    def handle(self, *args: Any, check: bool = False, **options: Any) -> None:
        folder = Path(settings.BASE_DIR) / "locale" / LOCALE / "LC_MESSAGES"
        po, mo = folder / "django.po", folder / "django.mo"
        old = _read(po)
        catalog = _updated(old)
        if check:
            problems = [*_faults(catalog), *_out_of_step(old, catalog)]
            if not mo.exists() or mo.read_bytes() != _compiled(catalog):
                problems.append(f"{mo.name} is not what {po.name} compiles to: run manage.py translations.")
            if problems:
                raise CommandError("\n".join(problems))
            self.stdout.write(f"{len(catalog)} texts, all translated.")
            return
        folder.mkdir(parents=True, exist_ok=True)
        po.write_bytes(_written(catalog))
        mo.write_bytes(_compiled(catalog))
        faults = list(_faults(catalog))
        for fault in faults:
            self.stderr.write(fault)
        self.stdout.write(f"{len(catalog)} texts, {len(faults)} to be mended.")


def _empty() -> Catalog:
    return Catalog(
        locale=LOCALE,
        header_comment=HEADER,
        project="controlplane",
        version="1",
        msgid_bugs_address="-",
        last_translator="-",
        language_team="-",
        creation_date=NO_DATE,
        revision_date=NO_DATE,
        fuzzy=False,
    )


def _read(po: Path) -> Catalog:
    if not po.exists():
        return Catalog(locale=LOCALE)
    with po.open("rb") as file:
        return read_po(file, locale=LOCALE)


def _updated(old: Catalog) -> Catalog:
    """The texts of the code as it is, with the translations of the old catalog; nothing is guessed."""
    catalog = _empty()
    for place, message, context, comments in _texts():
        known = old.get(message[0] if isinstance(message, tuple) else message, context)
        catalog.add(
            message,
            known.string if known else None,
            locations=[(place, 0)],
            auto_comments=comments,
            context=context,
            flags=[flag for flag in known.flags if flag == "fuzzy"] if known else [],
        )
    return catalog


def _texts() -> Iterator[tuple[str, Any, str | None, list[str]]]:
    base = Path(settings.BASE_DIR)
    for source in SOURCES:
        for path in sorted((base / source).rglob("*")):
            if "migrations" in path.parts or path.suffix not in {".py", ".html", ".txt"}:
                continue
            text = path.read_text(encoding="utf-8")
            code = text if path.suffix == ".py" else _unindented(templatize(text, origin=str(path)))
            found = extract("python", io.BytesIO(code.encode()), KEYWORDS, ("Translators",), {"encoding": "utf-8"})
            for _line, message, comments, context in found:
                yield path.relative_to(base).as_posix(), message, context, comments


def _unindented(code: str) -> str:
    """What templatize makes of a template is Python but for its indentation."""
    return "\n".join(line.strip() for line in code.splitlines())


def _faults(catalog: Catalog) -> Iterator[str]:
    for message in catalog:
        if not message.id:
            continue
        name = message.id[0] if isinstance(message.id, tuple) else message.id
        sources = _forms(message.id)
        strings = _forms(message.string)
        if not all(strings):
            yield f"Not translated: {name!r} ({', '.join(place for place, _line in message.locations)})"
        elif message.fuzzy:
            yield f"Fuzzy: {name!r}"
        elif any(_placeholders(text) not in [_placeholders(source) for source in sources] for text in strings):
            yield f"Other placeholders than the English text: {name!r}"


def _forms(text: Any) -> tuple[str, ...]:
    """One text, or the forms of a plural."""
    return tuple(text) if isinstance(text, (tuple, list)) else (text or "",)


def _placeholders(text: str) -> list[tuple[str, str]]:
    return sorted(_PLACEHOLDER.findall(text))


def _out_of_step(old: Catalog, catalog: Catalog) -> Iterator[str]:
    before = {(message.id, message.context) for message in old if message.id}
    after = {(message.id, message.context) for message in catalog if message.id}
    for text, _context in after - before:
        yield f"Not in the file yet: {text!r}"
    for text, _context in before - after:
        yield f"In the file, but no longer in the code: {text!r}"


def _written(catalog: Catalog) -> bytes:
    buffer = io.BytesIO()
    # Without line numbers: they would change with every edit of the code.
    write_po(buffer, catalog, width=110, sort_output=True, include_lineno=False)
    return buffer.getvalue()


def _compiled(catalog: Catalog) -> bytes:
    buffer = io.BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()
