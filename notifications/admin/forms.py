"""Fields that the forms of channels, rules and silences share."""

from collections.abc import Iterable
from typing import Any, Final

from django import forms
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from agents.labels.selector import TEXT_MAX_CHARS
from agents.models.service import Environment
from agents.selectors.services import other_environments
from controlplane.console.zones import offered_names
from notifications.words import TYPE_GROUPS

SERVICES_MAX: Final = 500
PATTERN_MAX: Final = 500
LINE_MAX: Final = 400


class LinesField(forms.CharField):
    """One entry a line; blank lines say nothing."""

    def __init__(self, *, rows: int = 3, placeholder: str = "", **kwargs: Any) -> None:
        attrs = {"rows": rows, "spellcheck": "false", "placeholder": placeholder}
        super().__init__(**{"required": False, "widget": UnfoldAdminTextareaWidget(attrs=attrs), **kwargs})

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return [self.read(line.strip()) for line in text.splitlines() if line.strip()]

    def read(self, line: str) -> Any:
        """What a line stands for. Raises ValidationError."""
        return line

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(self.write(each) for each in value) if isinstance(value, list) else value

    def write(self, value: Any) -> str:
        return str(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), (data or "").replace("\r\n", "\n").strip())


class ServicesField(LinesField):
    """Services as `environment/name`, one a line; each is told once."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs = {
            "label": _("Services"),
            "help_text": _("One a line, as environment/name; none means all."),
            "placeholder": "prod/billing",
            **kwargs,
        }
        super().__init__(**kwargs)

    def clean(self, value: Any) -> Any:
        found = list({(each["environment"], each["name"]): each for each in super().clean(value)}.values())
        if len(found) > SERVICES_MAX:
            raise forms.ValidationError(gettext("%d services at most.") % SERVICES_MAX)
        return found

    def read(self, line: str) -> dict[str, str]:
        environment, slash, name = line[:LINE_MAX].partition("/")
        if not slash or not environment.strip() or not name.strip():
            raise forms.ValidationError(gettext("Write “%s” as environment/name.") % line[:80])
        return {"name": name.strip(), "environment": environment.strip()}

    def write(self, value: Any) -> str:
        return f"{value['environment']}/{value['name']}"


class PairsField(LinesField):
    """Names and values, as `name=value`; `separator` stands between."""

    def __init__(self, *, separator: str = "=", **kwargs: Any) -> None:
        self.separator = separator
        super().__init__(**kwargs)

    def clean(self, value: Any) -> Any:
        found = super().clean(value)
        names = [each["key"] for each in found]
        if len(set(names)) != len(names):
            raise forms.ValidationError(gettext("Each name once."))
        return found

    def read(self, line: str) -> dict[str, str]:
        key, found, value = line.partition(self.separator)
        if not found or not key.strip():
            raise forms.ValidationError(
                gettext("Write “%(line)s” as name%(sign)svalue.") % {"line": line[:80], "sign": self.separator}
            )
        return {"key": key.strip(), "value": value.strip()}

    def write(self, value: Any) -> str:
        return f"{value['key']}{self.separator}{value['value']}"


class TypesField(forms.MultipleChoiceField):
    """Event types of one group as boxes to tick."""

    def __init__(self, group: str, **kwargs: Any) -> None:
        title, types = next((title, types) for name, title, types in TYPE_GROUPS if name == group)
        super().__init__(
            label=title,
            choices=[(each.value, each.label) for each in types],
            required=False,
            widget=UnfoldAdminCheckboxSelectMultipleWidget,
            **kwargs,
        )


TYPES_FIELDS: Final = tuple(f"types_{name}" for name, _title, _types in TYPE_GROUPS)


def types_initial(event_types: Iterable[str]) -> dict[str, list[str]]:
    """The event types by the fields that offer them."""
    given = set(event_types)
    return {f"types_{name}": [each.value for each in types if each in given] for name, _title, types in TYPE_GROUPS}


def chosen_types(cleaned: dict[str, Any]) -> list[str]:
    """The event types that were ticked, in the order in which they are offered."""
    return [each for name in TYPES_FIELDS for each in cleaned.get(name, ())]


def weekdays_field(**kwargs: Any) -> forms.TypedMultipleChoiceField:
    return forms.TypedMultipleChoiceField(
        **{
            "choices": [(day, WEEKDAYS[day]) for day in range(7)],
            "coerce": int,
            "required": False,
            "widget": UnfoldAdminCheckboxSelectMultipleWidget,
            **kwargs,
        }
    )


def zone_field(**kwargs: Any) -> forms.ChoiceField:
    choices = [("", _("That of the portal")), *((name, name) for name in offered_names())]
    return forms.ChoiceField(
        **{
            "label": _("Time zone"),
            "choices": choices,
            "required": False,
            "widget": UnfoldAdminSelectWidget,
            **kwargs,
        }
    )


class ScopeFields(forms.Form):
    """The fields of `Scope`, by their names."""

    service_scopes = ServicesField()
    environments = forms.MultipleChoiceField(
        label=_("Environments"),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("None ticked means all."),
    )
    selector = forms.CharField(
        label=_("Selector of instances"),
        required=False,
        max_length=TEXT_MAX_CHARS,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 2, "spellcheck": "false", "placeholder": "region in (eu,us),!canary"}
        ),
        help_text=_("What is of no instance fails it."),
    )
    task_pattern = forms.CharField(
        label=_("Task names"),
        required=False,
        max_length=PATTERN_MAX,
        widget=UnfoldAdminTextInputWidget(attrs={"spellcheck": "false", "placeholder": "sync-*, report-?"}),
        help_text=_("With * and ?, several by commas. What is of no task fails it."),
    )


SCOPE_FIELDS: Final = ("service_scopes", "environments", "selector", "task_pattern")


def environment_choices(chosen: Iterable[str]) -> list[tuple[str, Any]]:
    """The environments to choose from: the portal's own, those of services, and those chosen before. One query."""
    known = [(each.value, each.label) for each in Environment]
    names = {name for name, _label in known}
    others = dict.fromkeys([*other_environments(), *chosen])
    return [*known, *((name, name) for name in others if name not in names)]


def problems_of(form: forms.BaseForm) -> list[str]:
    """What is wrong with a form, each with the name of its field."""
    return [
        f"{form.fields[name].label}: {error}" if name in form.fields else str(error)
        for name, errors in form.errors.items()
        for error in errors
    ]
