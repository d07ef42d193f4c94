"""API tokens: everybody's own, and everybody's for administrators. Made here, shown once, revoked here."""

from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.response import Response

from controlplane.access.actors import actor_of
from controlplane.access.issuing import (
    Requester,
    TokenWish,
    get_visible_token,
    issue_token,
    visible_tokens,
    withdraw_token,
)
from controlplane.access.models import ApiToken
from controlplane.access.policy import environments_of, logged_in_recently, role_of_request, token_of
from controlplane.common.errors import Forbidden
from controlplane.common.rest.collections import Collection, detail, detail_query
from controlplane.common.rest.fields import TextField
from controlplane.common.rest.filters import Filters, any_of, named
from controlplane.common.rest.tokens import ORDERINGS, TokenBody, TokenIdField, TokenSerializer, state_filter
from controlplane.common.rest.views import ApiView, endpoint

USERNAME_MAX = 150


class ApiTokenSerializer(TokenSerializer):
    user = serializers.CharField(source="user.username", help_text="Whom it acts as.")
    scope = serializers.ChoiceField(choices=ApiToken.Scope.choices)


class NewApiTokenSerializer(ApiTokenSerializer):
    secret = serializers.CharField(help_text="Shown here and never again.")


class ApiTokenBody(TokenBody):
    user = TextField(required=False, max_length=USERNAME_MAX, help_text="Whom it acts as; yourself unless said.")
    scope = serializers.ChoiceField(choices=ApiToken.Scope.choices, default=ApiToken.Scope.READ.value)


class ApiTokenFilters(Filters):
    user = named("user__username", "Exact name of the user whom it acts as.")
    scope = any_of("scope", ApiToken.Scope)
    state = state_filter()


API_TOKENS: Collection[ApiToken] = Collection(
    name="tokens",
    item=ApiTokenSerializer,
    filters=ApiTokenFilters,
    orderings=ORDERINGS,
    default="-created_at",
)


class TokenView(ApiView):
    path_fields: ClassVar = {"token_id": TokenIdField()}

    @property
    def requester(self) -> Requester:
        user, role = self.request.user, role_of_request(self.request)
        if not isinstance(user, User) or role is None:
            raise Forbidden(self.refusal)
        return Requester(
            user,
            role,
            actor_of(self.request),
            token_of(self.request),
            environments_of(self.request),
            logged_in_recently(self.request),
        )


class ApiTokensView(TokenView):
    """Everybody sees and makes one's own; administrators those of all users, though only superusers for superusers.

    A token makes no stronger one: at most its own scope, its own environments, and no later end. In a session, one of
    scope `admin` takes a recent login.
    """

    @endpoint("API tokens", query=API_TOKENS.query, responds=API_TOKENS.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return API_TOKENS.answer(self, visible_tokens(self.requester))

    @endpoint(
        "Make an API token",
        body=ApiTokenBody,
        responds=NewApiTokenSerializer,
        refusals=(409,),
        example={"name": "nightly", "scope": "command", "environments": ["dev"], "expires_at": "2099-01-01T00:00:00Z"},
    )
    def post(self) -> HttpResponseBase:
        body: dict[str, Any] = dict(self.body)
        token, secret = issue_token(self.requester, TokenWish(username=body.pop("user", None), **body))
        return Response({**ApiTokenSerializer(token).data, "secret": secret})


class ApiTokenView(TokenView):
    @endpoint(
        "One API token",
        query=detail_query(ApiTokenSerializer),
        responds=ApiTokenSerializer,
        refusals=(404,),
        tagged=True,
    )
    def get(self) -> HttpResponseBase:
        return detail(self, ApiTokenSerializer, get_visible_token(self.requester, self.params["token_id"]))


class ApiTokenRevokeView(TokenView):
    """Refused from the next request on. One that was revoked before stays as it is."""

    @endpoint("Revoke an API token", responds=ApiTokenSerializer, refusals=(404,))
    def post(self) -> HttpResponseBase:
        return Response(ApiTokenSerializer(withdraw_token(self.requester, self.params["token_id"])).data)
