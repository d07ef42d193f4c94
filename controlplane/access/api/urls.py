"""Below /api/v1."""

from django.urls import path

from controlplane.access.api import tokens

urlpatterns = [
    path("tokens", tokens.ApiTokensView.as_view()),
    path("tokens/<name:token_id>", tokens.ApiTokenView.as_view()),
    path("tokens/<name:token_id>/revoke", tokens.ApiTokenRevokeView.as_view()),
]
