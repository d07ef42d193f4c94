"""The form of a silence: for once, or a maintenance window that comes again each week."""

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSingleTimeWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
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
from notifications.models import Silence
from notifications.silencing import DURATIONS, REASON_MAX

ONCE, WEEKLY = "once", "weekly"
WEEK_MIN: Final = 7 * 24 * 60


class SilenceForm(ServedForm, ScopeFields):
    PLACES = {"event_types": TYPES_FIELDS[0], "ends_at": "lasts"}

    reason = forms.CharField(
        label=_("Reason"), max_length=REASON_MAX, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2})
    )
    when = forms.ChoiceField(
        label=_("When"),
        choices=((ONCE, _("Once")), (WEEKLY, _("Each week, as a maintenance window"))),
        widget=UnfoldAdminRadioSelectWidget,
    )
    lasts = forms.ChoiceField(
        label=_("For"),
        required=False,
        choices=(("", _("Until the time below")), *DURATIONS),
        widget=UnfoldAdminSelectWidget,
        help_text=_("From when it begins."),
    )
    starts_at = forms.SplitDateTimeField(
        label=_("Begins"),
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text=_("Empty means now. Of a weekly one: no round begins before."),
    )
    ends_at = forms.SplitDateTimeField(
        label=_("Ends"),
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text=_("Of a weekly one: no round begins after; empty means for ever."),
    )
    weekdays = weekdays_field(label=_("Weekdays"))
    start_time = forms.TimeField(label=_("Each begins at"), required=False, widget=UnfoldAdminSingleTimeWidget)
    duration_min = forms.IntegerField(
        label=_("Each lasts (min)"),
        required=False,
        min_value=1,
        max_value=WEEK_MIN,
        widget=UnfoldAdminIntegerFieldWidget,
    )
    time_zone = zone_field(help_text=_("Of the weekly times."))
    types_tasks = TypesField("tasks")
    types_instances = TypesField("instances")
    types_commands = TypesField("commands")
    types_portal = TypesField("portal")

    class Meta:
        model = Silence
        fields = ("reason", "starts_at", "ends_at", "weekdays", "start_time", "duration_min", "time_zone")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row = self.instance
        # What the form holds is put into the row before it is asked for its values.
        self._began = row.starts_at if row.pk else None
        given = self.initial.get("event_types", row.event_types)
        chosen = given.split(",") if isinstance(given, str) else given
        stored = {
            **types_initial(chosen),
            **{name: getattr(row, name) for name in SCOPE_FIELDS},
            "when": WEEKLY if row.recurs else ONCE,
            "lasts": "" if row.pk else DURATIONS[0][0],
        }
        self.initial = {**stored, **self.initial}
        environments: Any = self.fields["environments"]
        environments.choices = environment_choices(self.initial.get("environments") or [])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("when") == WEEKLY:
            if cleaned.get("start_time") is None and "start_time" not in self.errors:
                self.add_error("start_time", _("Say when each round begins."))
        elif not cleaned.get("lasts") and cleaned.get("ends_at") is None and "ends_at" not in self.errors:
            self.add_error("lasts", _("Say for how long, or until when."))
        return cleaned

    def values(self) -> dict[str, Any]:
        data = self.cleaned_data
        is_weekly = data["when"] == WEEKLY
        starts_at = data["starts_at"] or self._began or timezone.now()
        ends_at = data["ends_at"]
        if not is_weekly and data["lasts"]:
            ends_at = starts_at + timedelta(hours=int(data["lasts"]))
        return {
            **{name: data[name] for name in SCOPE_FIELDS},
            "reason": data["reason"],
            "event_types": chosen_types(data),
            "starts_at": starts_at,
            "ends_at": ends_at,
            "weekdays": data["weekdays"] if is_weekly else [],
            "start_time": data["start_time"] if is_weekly else None,
            "duration_min": data["duration_min"] if is_weekly else None,
            "time_zone": data["time_zone"] if is_weekly else "",
        }


class SilenceDraftForm(SilenceForm):
    """What is typed so far: why does not matter yet, nor until when."""

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data, instance=Silence())
        self.fields["reason"].required = False

    def draft(self) -> Silence:
        """The silence of a valid form, which is stored nowhere."""
        values = self.values()
        return Silence(**{**values, "reason": values["reason"] or "draft"})
