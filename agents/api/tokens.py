"""Agent tokens: what agents show at the door. Made here, shown once, revoked here."""

from django.db import IntegrityError, transaction
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.fleet import FleetView
from agents.models import AgentToken
from agents.selectors.tokens import agent_tokens, get_agent_token
from agents.services.tokens import OFFERED_DIALECTS, create_agent_token, revoke_agent_token
from controlplane.access.actors import actor_of
from controlplane.access.issuing import environments_for
from controlplane.common.errors import Conflict
from controlplane.common.rest.collections import Collection, detail, detail_query
from controlplane.common.rest.fields import TextField
from controlplane.common.rest.filters import Filters
from controlplane.common.rest.tokens import ORDERINGS, TokenBody, TokenSerializer, state_filter
from controlplane.common.rest.views import endpoint

ENVIRONMENT_MAX_CHARS = 64
ENVIRONMENTS_MAX = 20


class AgentTokenSerializer(TokenSerializer):
    dialects = serializers.ListField(
        child=serializers.CharField(), help_text="What it may speak; empty means every dialect."
    )
    created_by = serializers.CharField(source="created_by.username", allow_null=True)


class NewAgentTokenSerializer(AgentTokenSerializer):
    secret = serializers.CharField(help_text="Shown here and never again.")


class AgentTokenBody(TokenBody):
    dialects = serializers.ListField(
        child=serializers.ChoiceField(choices=[(each.value, each.label) for each in OFFERED_DIALECTS]),
        default=list,
        max_length=len(OFFERED_DIALECTS),
        help_text="What it may speak; empty means every dialect.",
    )
    # Nodes of the registry bring names of their own, also before the first of them registers.
    environments = serializers.ListField(
        child=TextField(max_length=ENVIRONMENT_MAX_CHARS),
        required=False,
        max_length=ENVIRONMENTS_MAX,
        help_text="What it is narrowed to. Empty means all; absent, what the API token shown here is narrowed to.",
    )


class AgentTokenFilters(Filters):
    state = state_filter()


AGENT_TOKENS: Collection[AgentToken] = Collection(
    name="agent-tokens",
    item=AgentTokenSerializer,
    filters=AgentTokenFilters,
    orderings=ORDERINGS,
    default="-created_at",
)


class AgentTokensView(FleetView):
    @endpoint("Agent tokens", query=AGENT_TOKENS.query, responds=AGENT_TOKENS.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return AGENT_TOKENS.answer(self, agent_tokens(environments=self.environments))

    @endpoint(
        "Make an agent token",
        body=AgentTokenBody,
        responds=NewAgentTokenSerializer,
        refusals=(409,),
        example={"name": "rack-7", "dialects": ["onestep"], "environments": ["prod"]},
    )
    def post(self) -> HttpResponseBase:
        body = self.body
        try:
            with transaction.atomic():
                token, secret = create_agent_token(
                    name=body["name"],
                    dialects=list(dict.fromkeys(body["dialects"])),
                    environments=environments_for(self.environments, body.get("environments")),
                    expires_at=body["expires_at"],
                    actor=actor_of(self.request),
                )
        except IntegrityError as exc:
            raise Conflict(f"a token named {body['name']} exists already", code="name_taken") from exc
        return Response({**AgentTokenSerializer(token).data, "secret": secret})


class OneTokenView(FleetView):
    def token(self) -> AgentToken:
        return get_agent_token(self.params["token_id"], environments=self.environments)


class AgentTokenView(OneTokenView):
    @endpoint(
        "One agent token",
        query=detail_query(AgentTokenSerializer),
        responds=AgentTokenSerializer,
        refusals=(404,),
        tagged=True,
    )
    def get(self) -> HttpResponseBase:
        return detail(self, AgentTokenSerializer, self.token())


class AgentTokenRevokeView(OneTokenView):
    """No agent connects with it any more, and the sessions that it opened are cut. Doing it again changes nothing."""

    @endpoint("Revoke an agent token", responds=AgentTokenSerializer, refusals=(404,))
    def post(self) -> HttpResponseBase:
        revoke_agent_token(self.token(), actor=actor_of(self.request))
        return Response(AgentTokenSerializer(self.token()).data)
