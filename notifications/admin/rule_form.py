"""The form of a rule, and a draft of one made of what is typed into it."""

from typing import Any, Final

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSingleTimeWidget,
)

from controlplane.console.editing import ServedForm
from notifications.admin.forms import (
    SCOPE_FIELDS,
    TYPES_FIELDS,
    ScopeFields,
    TypesField,
    chosen_types,
    environment_choices,
    types_initial,
    weekdays_field,
    zone_field,
)
from notifications.models import Channel, Rule
from notifications.services.rules import GRACE_MAX_S, REPEAT_MIN_S, SECONDS_MAX, THRESHOLD_MAX

# More would not be found among boxes to tick.
CHANNELS_OFFERED: Final = 300
_PLAIN: Final = (
    "name", "enabled", "group_by", "wait_s", "update_s", "repeat_s", "tells_resolved", "threshold_count",
    "threshold_window_s", "missed_start_grace_s", "quiet_from", "quiet_until", "quiet_weekdays", "quiet_time_zone",
)  # fmt: skip


def _number(least: int, most: int, **kwargs: Any) -> forms.IntegerField:
    return forms.IntegerField(min_value=least, max_value=most, widget=UnfoldAdminIntegerFieldWidget, **kwargs)


class RuleForm(ServedForm, ScopeFields):
    PLACES = {"event_types": TYPES_FIELDS[0], "channel_ids": "channels"}

    types_tasks = TypesField("tasks")
    types_instances = TypesField("instances")
    types_commands = TypesField("commands")
    types_portal = TypesField("portal")
    channels = forms.ModelMultipleChoiceField(
        label=_("Channels"),
        queryset=Channel.objects.none(),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("Whom it tells; none ticked tells nobody, and alerts are made all the same."),
    )
    wait_s = _number(
        0, SECONDS_MAX, label=_("Wait (s)"), help_text=_("So long further events of the group are waited for.")
    )
    update_s = _number(
        0, SECONDS_MAX, label=_("Tell what is new every (s)"), help_text=_("While it goes on and more comes to it.")
    )
    repeat_s = _number(
        REPEAT_MIN_S,
        SECONDS_MAX,
        label=_("Repeat every (s)"),
        required=False,
        help_text=_("While it goes on; empty tells it once."),
    )
    threshold_count = _number(1, THRESHOLD_MAX, label=_("From so many events on"))
    threshold_window_s = _number(1, SECONDS_MAX, label=_("Within (s)"))
    missed_start_grace_s = _number(
        1, GRACE_MAX_S, label=_("A start is missed after (s)"), help_text=_("Counts where missed starts are told.")
    )
    quiet_from = forms.TimeField(label=_("Quiet from"), required=False, widget=UnfoldAdminSingleTimeWidget)
    quiet_until = forms.TimeField(
        label=_("Quiet until"),
        required=False,
        widget=UnfoldAdminSingleTimeWidget,
        help_text=_("What happens meanwhile is told at their end, as one message."),
    )
    quiet_weekdays = weekdays_field(
        label=_("Quiet on"), help_text=_("The day on which it begins; none ticked means all.")
    )
    quiet_time_zone = zone_field()

    class Meta:
        model = Rule
        fields = (
            "name", "enabled", "group_by", "wait_s", "update_s", "repeat_s", "tells_resolved", "threshold_count",
            "threshold_window_s", "missed_start_grace_s", "quiet_from", "quiet_until", "quiet_weekdays",
            "quiet_time_zone",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row = self.instance
        given = self.initial.get("event_types", row.event_types)
        chosen = given.split(",") if isinstance(given, str) else given
        # Fields that are declared here do not know the defaults of the model.
        stored = {name: getattr(row, name) for name in (*_PLAIN, *SCOPE_FIELDS) if name != "enabled"}
        self.initial = {**types_initial(chosen), **stored, **self.initial}
        offered: Any = self.fields["channels"]
        offered.queryset = Channel.objects.order_by("name")[:CHANNELS_OFFERED]
        # A sliced queryset cannot be narrowed, which is what the field does to look its values up.
        keys = list(offered.queryset.values_list("pk", flat=True))
        offered.queryset = Channel.objects.filter(pk__in=keys).order_by("name")
        if row.pk:
            self.initial.setdefault("channels", list(row.channels.values_list("pk", flat=True)))
        environments: Any = self.fields["environments"]
        environments.choices = environment_choices(self.initial.get("environments") or [])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if not chosen_types(cleaned) and not any(name in self.errors for name in TYPES_FIELDS):
            self.add_error(TYPES_FIELDS[0], _("Choose what it tells of."))
        return cleaned

    def values(self) -> dict[str, Any]:
        data = self.cleaned_data
        return {
            **{name: data[name] for name in (*_PLAIN, *SCOPE_FIELDS)},
            "event_types": chosen_types(data),
            "channels": list(data["channels"]),
        }


class DraftForm(RuleForm):
    """What is typed so far: a name does not matter yet."""

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data, instance=Rule())
        self.fields["name"].required = False

    def draft(self) -> Rule:
        """The rule of a valid form, which is stored nowhere."""
        values = {name: value for name, value in self.values().items() if name != "channels"}
        return Rule(**{**values, "name": values["name"] or "draft"})

    @property
    def chosen_channels(self) -> list[Channel]:
        """Whom it would tell."""
        return list(self.cleaned_data["channels"])
