"""Routes of logins and of API tokens, below api/v1/."""

from django.urls import path

from controlplane.access.api.tokens import ApiTokenRevokeView, ApiTokensView, ApiTokenView
from controlplane.access.api.views import AuthLoginView, AuthLogoutAllView, AuthLogoutView, AuthSessionView

urlpatterns = [
    path("auth/session", AuthSessionView.as_view()),
    path("auth/login", AuthLoginView.as_view()),
    path("auth/logout", AuthLogoutView.as_view()),
    path("auth/logout-all", AuthLogoutAllView.as_view()),
    path("tokens", ApiTokensView.as_view()),
    path("tokens/<name:token_id>", ApiTokenView.as_view()),
    path("tokens/<name:token_id>/revoke", ApiTokenRevokeView.as_view()),
]
