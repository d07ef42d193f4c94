"""What each role may do, in words, drawn from the permission table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from controlplane.access.admin import ROLE_WORDS
from controlplane.access.console import MODELS, ModelRules
from controlplane.access.roles import Role
from controlplane.access.table import API_ROUTES, Door, Rule

Words = str | Promise

# Least first: who is in a row may do what the rows before it may.
LADDER: Final[tuple[Rule, ...]] = (Role.VIEWER, Role.OPERATOR, Role.ADMIN, Door.SUPERUSER)
VERBS: Final[Mapping[str, Words]] = {"view": _("see"), "add": _("add"), "change": _("change"), "delete": _("delete")}
# Pages below a row, by the last part of their path; those that only show are part of seeing it.
PAGE_WORDS: Final[Mapping[str, Words]] = {
    "send": _("send commands"),
    "labels": _("set labels"),
    "configure": _("configure"),
    "archive": _("archive"),
    "restore": _("restore"),
    "forget": _("forget"),
    "cancel": _("cancel"),
    "revoke": _("revoke"),
    "password": _("give a new password"),
}


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that may be done, and the least that it takes."""

    what: Words
    least: Rule


@dataclass(frozen=True, slots=True)
class Subject:
    """What the rights of one model are about, with its rights by verb and the rest."""

    label: str
    name: str
    verbs: Mapping[str, Rule]
    rights: list[Right]

    def of(self, rule: Rule) -> list[Words]:
        """What somebody in this role may do who could not with less."""
        own = [Right(words, self.verbs[verb]) for verb, words in VERBS.items()]
        return list(dict.fromkeys(str(right.what) for right in (*own, *self.rights) if right.least is rule))


def subjects() -> list[Subject]:
    """Each model of the console, in the order of its name in the language of the reader. No query."""
    found = [_subject(label, rules) for label, rules in MODELS.items()]
    return sorted(found, key=lambda each: each.name)


def _subject(label: str, rules: ModelRules) -> Subject:
    model = apps.get_model(label)
    verbs = {verb: getattr(rules, verb) for verb in VERBS}
    rights = [*_rights_of_pages(rules), *_rights_of_actions(model, rules)]
    return Subject(label, str(capfirst(model._meta.verbose_name_plural)), verbs, rights)


def _rights_of_pages(rules: ModelRules) -> Iterator[Right]:
    for page, by_verb in rules.pages.items():
        # What a page shows is open to those who see the row; what it takes is the right.
        least = by_verb.get("POST")
        if least is not None:
            yield Right(PAGE_WORDS.get(page, page.replace("_", " ")), least)


def _rights_of_actions(model: Any, rules: ModelRules) -> Iterator[Right]:
    site_admin = admin.site._registry[model]  # noqa: SLF001 -- public only from Django 6 on
    for name, least in rules.actions.items():
        stem = name.removesuffix("_selected")
        if stem != name and (stem in rules.pages or stem in VERBS):
            # The same for several at once.
            continue
        found = site_admin.get_action(name)
        words = str(found[2]) if found is not None else name.replace("_", " ")
        words = words % {"verbose_name_plural": model._meta.verbose_name_plural}
        yield Right(words[:1].lower() + words[1:], least)


def rule_words(rule: Rule) -> str:
    if isinstance(rule, Role):
        return str(ROLE_WORDS[rule.value])
    return {
        Door.SUPERUSER: gettext("Superuser"),
        Door.STAFF: gettext("Everybody who may log in here"),
        Door.NOBODY: "–",
    }.get(rule, rule.value)


def role_summaries() -> list[dict[str, Any]]:
    """For each rung of the ladder what it adds, by model, and how many calls of the API."""
    all_of_them = subjects()
    return [
        {
            "rule": rule,
            "name": rule_words(rule),
            "adds": [(each, words) for each in all_of_them if (words := each.of(rule))],
            "calls": [
                f"{verb} /{route}"
                for route, verbs in sorted(API_ROUTES.items())
                for verb, least in verbs.items()
                if least is rule
            ],
        }
        for rule in LADDER
    ]


def roles_page(request: HttpRequest) -> HttpResponse:
    """Everybody who may log in may read what that lets them do. No query of its own."""
    request.current_app = admin.site.name
    context = {
        **admin.site.each_context(request),
        "title": gettext("What each role may do"),
        "is_fullwidth": "1",
        "summaries": role_summaries(),
        "verbs": list(VERBS.values()),
        "matrix": [(each, [rule_words(each.verbs[verb]) for verb in VERBS]) for each in subjects()],
    }
    return TemplateResponse(request, "admin/system/roles.html", context)
