"""Routes of logins, below api/v1/."""

from django.urls import path

from controlplane.access.api.views import AuthLoginView, AuthLogoutAllView, AuthLogoutView, AuthSessionView

urlpatterns = [
    path("auth/session", AuthSessionView.as_view()),
    path("auth/login", AuthLoginView.as_view()),
    path("auth/logout", AuthLogoutView.as_view()),
    path("auth/logout-all", AuthLogoutAllView.as_view()),
]
