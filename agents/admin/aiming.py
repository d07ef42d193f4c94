"""Whom an order of the console is for, as it stands in queries and in hidden fields of forms."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext

from agents.labels import parse
from agents.models import FanOut, Service
from agents.selectors.fan_outs import RETRIABLE_STATES, get_fan_out
from controlplane.common.errors import Invalid, NotFound
from tasks_app.services.fan_outs import Aim

PARAMETERS = ("service", "selector", "group", "retry", "only", "instance")
# Of these one is named, and `instance` may narrow a service, `only` a repetition.
_WAYS = (
    frozenset({"service"}),
    frozenset({"service", "instance"}),
    frozenset({"selector"}),
    frozenset({"group"}),
    frozenset({"retry"}),
    frozenset({"retry", "only"}),
    frozenset({"instance"}),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """An aim, what it is called, and the parameters that name it."""

    aim: Aim
    parameters: list[tuple[str, str]]
    only: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        if self.aim.retry_of is not None:
            return gettext("where it failed")
        if self.aim.service is not None:
            name = str(self.aim.service)
            if self.aim.instance_ids is not None:
                return gettext("chosen instances of %s") % name
            return gettext("all online of %s") % name
        if self.aim.group_name:
            return gettext("group %s") % self.aim.group_name
        return str(self.aim.selector) if self.aim.selector is not None else gettext("chosen instances")

    @property
    def name(self) -> str:
        """What may be typed to confirm an order that stops instances, beside their number; empty where it has none."""
        if self.aim.service is not None:
            return self.aim.service.name
        return self.aim.group_name

    @property
    def scope(self) -> dict[str, object]:
        """Columns of the fan-outs that were for the same; empty where instances were named one by one."""
        aim = self.aim
        if aim.retry_of is not None:
            return {"pk": aim.retry_of.pk}
        if aim.service is not None:
            return {"service": aim.service}
        if aim.group_name:
            return {"group_name": aim.group_name}
        return {"selector": str(aim.selector), "group_name": ""} if aim.selector is not None else {}

    @property
    def fan_out(self) -> FanOut | None:
        """The fan-out that is to be repeated."""
        return self.aim.retry_of


def asked_in(given: QueryDict) -> Asked:
    """Whom these parameters mean. Raises Invalid, NotFound, SelectorInvalid, GroupUnknown or FanOutUnknown."""
    parameters = [(name, value) for name in PARAMETERS for value in given.getlist(name) if value.strip()]
    if {name for name, _value in parameters} not in _WAYS:
        raise Invalid(gettext("Say whom it is for: a selector, a group or instances, and only one of these."))
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        values.setdefault(name, []).append(value)
    instance_ids = [_id_of(value) for value in dict.fromkeys(values.get("instance", ()))]
    if "service" in values:
        return Asked(Aim.by_service(_service_of(values["service"][0]), instance_ids or None), parameters)
    if "selector" in values:
        return Asked(Aim.by_selector(parse(values["selector"][0])), parameters[:1])
    if "group" in values:
        return Asked(Aim.by_group(values["group"][0]), parameters[:1])
    if "retry" in values:
        only = _states_in(values.get("only", []))
        return Asked(Aim.again(get_fan_out(_id_of(values["retry"][0])), only), parameters, only)
    return Asked(Aim.by_ids(instance_ids), parameters)


def _service_of(value: str) -> Service:
    is_key = value.isascii() and value.isdigit() and len(value) < 19
    found = Service.objects.filter(pk=int(value)).first() if is_key else None
    if found is None:
        raise NotFound(gettext("There is no such service."))
    return found


def _states_in(values: list[str]) -> tuple[str, ...]:
    for value in values:
        if value not in RETRIABLE_STATES:
            raise Invalid(gettext("“%s” is no state in which a command is given again.") % value[:64])
    return tuple(dict.fromkeys(values))


def _id_of(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise Invalid(gettext("“%s” is no id.") % value[:64]) from error


def posted(request: HttpRequest, *names: str) -> list[tuple[str, Any]]:
    """What was posted under these names, for hidden fields of the next page."""
    return [(name, value) for name in names for value in request.POST.getlist(name)]
