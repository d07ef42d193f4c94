"""Whom an order of the console is for, as it stands in queries and in hidden fields of forms."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext

from agents.labels import parse
from agents.models import FanOut
from agents.selectors.fan_outs import get_fan_out
from controlplane.common.errors import Invalid
from tasks_app.services.fan_outs import Aim

PARAMETERS = ("selector", "group", "retry", "instance")


@dataclass(frozen=True, slots=True)
class Asked:
    """An aim, what it is called, and the parameters that name it."""

    aim: Aim
    parameters: list[tuple[str, str]]

    @property
    def words(self) -> str:
        if self.aim.retry_of is not None:
            return gettext("where it failed")
        if self.aim.group_name:
            return gettext("group %s") % self.aim.group_name
        return str(self.aim.selector) if self.aim.selector is not None else gettext("chosen instances")

    @property
    def fan_out(self) -> FanOut | None:
        """The fan-out that is to be repeated."""
        return self.aim.retry_of


def asked_in(given: QueryDict) -> Asked:
    """Whom these parameters mean. Raises Invalid, SelectorInvalid, GroupUnknown or FanOutUnknown."""
    parameters = [(name, value) for name in PARAMETERS for value in given.getlist(name) if value.strip()]
    names = {name for name, _value in parameters}
    if len(names) != 1:
        raise Invalid(gettext("Say whom it is for: a selector, a group or instances, and only one of these."))
    (name,) = names
    values = [value for _name, value in parameters]
    match name:
        case "selector":
            return Asked(Aim.by_selector(parse(values[0])), parameters[:1])
        case "group":
            return Asked(Aim.by_group(values[0]), parameters[:1])
        case "retry":
            return Asked(Aim.again(get_fan_out(_id_of(values[0]))), parameters[:1])
    return Asked(Aim.by_ids([_id_of(value) for value in dict.fromkeys(values)]), parameters)


def _id_of(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise Invalid(gettext("“%s” is no id.") % value[:64]) from error


def posted(request: HttpRequest, *names: str) -> list[tuple[str, Any]]:
    """What was posted under these names, for hidden fields of the next page."""
    return [(name, value) for name in names for value in request.POST.getlist(name)]
