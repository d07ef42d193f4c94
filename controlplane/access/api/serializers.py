"""Shapes of logins. Source: contract 5."""

from rest_framework import serializers

from controlplane.access.logins import SessionInfo
from controlplane.access.roles import Role
from controlplane.common.rest.fields import BodySerializer, TextField

CREDENTIAL_MAX_LENGTH = 255
ROLE_NAMES = tuple(role.value for role in Role)


class LoginBody(BodySerializer):
    username = TextField(
        max_length=CREDENTIAL_MAX_LENGTH, help_text="Blanks around it and the case of its letters do not matter."
    )
    password = TextField(
        max_length=CREDENTIAL_MAX_LENGTH, style={"input_type": "password"}, help_text="Blanks around it do not count."
    )


class SessionInfoSerializer(serializers.Serializer[SessionInfo]):
    auth_configured = serializers.BooleanField(help_text="Whether there is anybody who could log in.")
    bootstrap_required = serializers.BooleanField(help_text="Whether the first user has to be made on the server.")
    authenticated = serializers.BooleanField(help_text="Whether somebody is logged in by the cookie.")
    username = serializers.CharField(allow_null=True)
    role = serializers.ChoiceField(choices=ROLE_NAMES, allow_null=True, help_text="The first of `roles`.")
    roles = serializers.ListField(child=serializers.ChoiceField(choices=ROLE_NAMES), help_text="The highest first.")
