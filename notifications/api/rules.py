"""Rules: when somebody is told, of what and how often; and what a draft of one would have told."""

from collections.abc import Mapping
from typing import Any, Final

from django.db.models import Q
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.serializers import optional_text
from controlplane.access.actors import actor_of
from controlplane.common.errors import Invalid
from controlplane.common.rest.collections import Collection, detail, detail_query
from controlplane.common.rest.fields import (
    BooleanField,
    FlagField,
    IntegerField,
    TextField,
    TimestampField,
)
from controlplane.common.rest.filters import NAME_MAX as FILTER_NAME_MAX
from controlplane.common.rest.filters import ApiFilter, Filters, exactly
from controlplane.common.rest.sparse import SparseSerializer
from controlplane.common.rest.views import endpoint
from notifications.api.base import (
    NotificationView,
    ServiceScopeSerializer,
    scoped_environments,
    scoped_selector,
    scoped_tasks,
    told_types,
)
from notifications.api.bodies import (
    NAME_MAX,
    ScopeBody,
    UniqueListField,
    WallTimeField,
    ZoneField,
    event_types,
    model_values,
    seconds,
    weekdays,
)
from notifications.api.replaying import ReplayBody, ReplaySerializer, replayed, told_of
from notifications.errors import RuleOfChannel
from notifications.models import Channel, Rule
from notifications.selectors.rules import get_rule, rules
from notifications.services.rules import (
    GRACE_MAX_S,
    REPEAT_MIN_S,
    SECONDS_MAX,
    THRESHOLD_MAX,
    check_rule,
    create_rule,
    delete_rule,
    update_rule,
)

CHANNELS_MAX: Final = 100


class NamedSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()


class RuleSerializer(SparseSerializer):
    """What each field means stands in docs/api.md. What of the scope is empty narrows nothing."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    enabled = serializers.BooleanField()
    channels = NamedSerializer(many=True)
    own_of = serializers.IntegerField(
        source="own_of_id",
        allow_null=True,
        help_text="The channel whose own it is; it changes with that channel alone.",
    )
    event_types = told_types()
    service_scopes = ServiceScopeSerializer(many=True)
    environments = scoped_environments()
    selector = scoped_selector()
    task_pattern = scoped_tasks()
    group_by = serializers.ChoiceField(choices=Rule.GroupBy.choices)
    wait_s = serializers.IntegerField()
    update_s = serializers.IntegerField()
    repeat_s = serializers.IntegerField(allow_null=True)
    tells_resolved = serializers.BooleanField()
    threshold_count = serializers.IntegerField()
    threshold_window_s = serializers.IntegerField()
    missed_start_grace_s = serializers.IntegerField()
    quiet_from = WallTimeField()
    quiet_until = WallTimeField()
    quiet_weekdays = serializers.ListField(
        child=serializers.IntegerField(), help_text="0 is Monday; empty is every day."
    )
    quiet_time_zone = optional_text()
    created_at = TimestampField()
    updated_at = TimestampField()


class RuleFilters(Filters):
    enabled = ApiFilter(FlagField(), exactly("enabled"))
    channel_id = ApiFilter(
        IntegerField(required=False, from_text=True, min_value=1, help_text="Those that tell this channel."),
        exactly("channels"),
    )
    own = ApiFilter(
        FlagField(help_text="Those of a channel's own, or those that are not."), lambda own: Q(own_of__isnull=not own)
    )
    q = ApiFilter(
        TextField(
            required=False, allow_blank=True, max_length=FILTER_NAME_MAX, help_text="Sought in names, in any case."
        ),
        exactly("name__icontains"),
    )


RULES: Collection[Rule] = Collection(
    name="rules", item=RuleSerializer, filters=RuleFilters, orderings={"name": ("name",)}, default="name"
)


class RuleDraftBody(ScopeBody):
    """What a rule tells of, and how."""

    event_types = event_types()
    group_by = serializers.ChoiceField(choices=Rule.GroupBy.choices, required=False)
    wait_s = seconds(required=False, max_value=SECONDS_MAX)
    update_s = seconds(required=False, max_value=SECONDS_MAX)
    repeat_s = seconds(required=False, allow_null=True, min_value=REPEAT_MIN_S, max_value=SECONDS_MAX)
    tells_resolved = BooleanField(required=False)
    threshold_count = seconds(required=False, min_value=1, max_value=THRESHOLD_MAX)
    threshold_window_s = seconds(required=False, min_value=1, max_value=SECONDS_MAX)
    missed_start_grace_s = IntegerField(required=False, min_value=1, max_value=GRACE_MAX_S)
    quiet_from = WallTimeField(required=False)
    quiet_until = WallTimeField(required=False)
    quiet_weekdays = weekdays("The day on which they begin; empty is every day.", required=False)
    quiet_time_zone = ZoneField(required=False)


class RuleBody(RuleDraftBody):
    name = TextField(max_length=NAME_MAX)
    enabled = BooleanField(required=False)
    channel_ids = UniqueListField(
        child=IntegerField(min_value=1), required=False, max_length=CHANNELS_MAX, help_text="Whom it tells."
    )


class RuleChangesBody(RuleBody):
    """What is left out stays as it is."""

    name = TextField(required=False, max_length=NAME_MAX)
    event_types = event_types(required=False)


class RuleReplayBody(ReplayBody):
    rule = RuleDraftBody(help_text="A draft; nothing of it is stored.")


def _values(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body in the names of the model. Raises Invalid for a channel that does not exist."""
    values = model_values(body)
    if "channel_ids" in values:
        wanted = values.pop("channel_ids")
        found = Channel.objects.in_bulk(wanted)
        for number, key in enumerate(wanted):
            if key not in found:
                raise Invalid(f"channel {key} was not found", field=f"channel_ids.{number}")
        values["channels"] = [found[key] for key in wanted]
    return values


class _OneRuleView(NotificationView):
    def rule(self) -> Rule:
        return get_rule(self.params["rule_id"])

    def changeable(self) -> Rule:
        """Raises RuleOfChannel for one that is a channel's own."""
        rule = self.rule()
        if rule.own_of_id is not None:
            raise RuleOfChannel(f"this rule belongs to channel {rule.own_of_id} and changes with it")
        return rule


class RulesView(NotificationView):
    @endpoint("Rules", query=RULES.query, responds=RULES.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return RULES.answer(self, rules())

    @endpoint(
        "Make a rule",
        body=RuleBody,
        responds=RuleSerializer,
        refusals=(409,),
        example={
            "name": "production is away",
            "event_types": ["instance_offline"],
            "selector": "portal/environment=prod",
            "group_by": "service",
            "repeat_s": 3600,
        },
    )
    def post(self) -> HttpResponseBase:
        """What is left out has its default."""
        made = create_rule(_values(self.body), actor=actor_of(self.request))
        return detail(self, RuleSerializer, get_rule(made.pk))


class RuleView(_OneRuleView):
    @endpoint("One rule", query=detail_query(RuleSerializer), responds=RuleSerializer, refusals=(404,), tagged=True)
    def get(self) -> HttpResponseBase:
        return detail(self, RuleSerializer, self.rule())

    @endpoint(
        "Change a rule",
        body=RuleChangesBody,
        responds=RuleSerializer,
        refusals=(404, 409),
        example={"enabled": False},
    )
    def patch(self) -> HttpResponseBase:
        """One that is a channel's own is changed with that channel: 409."""
        rule = self.changeable()
        update_rule(rule, _values(self.body), actor=actor_of(self.request))
        return detail(self, RuleSerializer, self.rule())

    @endpoint("Delete a rule", responds=RuleSerializer, refusals=(404, 409))
    def delete(self) -> HttpResponseBase:
        """Answers what it was. Its alerts go with it; what was sent stays in the ledger."""
        rule = self.changeable()
        gone = dict(RuleSerializer(rule).data)
        delete_rule(rule, actor=actor_of(self.request))
        return Response(gone)


class RuleReplayView(NotificationView):
    @endpoint(
        "What a rule would have told",
        body=RuleReplayBody,
        responds=ReplaySerializer,
        example={"days": 7, "rule": {"event_types": ["task_failed"], "group_by": "service"}},
    )
    def post(self) -> HttpResponseBase:
        """Runs a draft over the stored events of the last `days`. Nothing is stored or sent."""
        draft = Rule(name="draft", **model_values(self.body["rule"]))
        with told_of("rule"):
            check_rule(draft)
        return replayed(draft, days=self.body["days"])
