"""REST: DRF and its OpenAPI document."""

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "controlplane.access.authentication.ApiTokenAuthentication",
        "controlplane.access.authentication.ConsoleSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["controlplane.access.permissions.IsConsoleUser"],
    "DEFAULT_RENDERER_CLASSES": ["controlplane.common.rest.renderers.ApiRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "controlplane.common.rest.schema.EndpointSchema",
    "EXCEPTION_HANDLER": "controlplane.common.rest.errors.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Control plane API",
    "DESCRIPTION": "Services, instances, sessions, commands and events of every agent that this portal holds.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_PERMISSIONS": ["controlplane.access.permissions.IsConsoleUser"],
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "controlplane.common.rest.plain.add_plain_views",
    ],
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "agentToken": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of agents, made in the console under Agents, Agent tokens.",
            }
        }
    },
    "ENUM_NAME_OVERRIDES": {
        "Role": "controlplane.access.api.serializers.ROLE_NAMES",
        "Connectivity": "agents.models.instance.Connectivity",
        "Dialect": "agents.models.instance.Dialect",
        "Health": "agents.models.instance.Health",
        "CommandKind": "agents.models.command.CommandKind",
        "CommandStatus": "agents.models.command.Command.Status",
        "ServiceCommandKind": "tasks_app.api.orders.SERVICE_KINDS",
        "TaskCommandKind": "tasks_app.api.orders.TASK_CHOICES",
        "EventKind": "agents.models.event.EventKind",
        "TargetModeEnum": "tasks_app.api.orders.TARGET_MODES",
        "FanOutMode": "agents.models.fan_out.FanOut.Mode",
        "TaskEventKind": "agents.selectors.events.WIRE_EVENT_KINDS",
        "SessionStatus": "agents.models.session.Session.Status",
        "InstanceViewStatus": "agents.api.serializers.INSTANCE_VIEW_STATUSES",
        "ServiceViewStatus": "tasks_app.api.serializers.SERVICE_VIEW_STATUSES",
        "AlertStatus": "notifications.models.alert.Alert.Status",
        "AlertEventType": "notifications.models.scope.EventType",
        "DeliveryKind": "notifications.models.delivery.Delivery.Kind",
        "DeliveryStatus": "notifications.models.delivery.Delivery.Status",
        "ChannelProvider": "notifications.models.channel.Provider",
        "SettingsProvider": "notifications.api.settings.PROVIDERS",
        "TaskViewStatus": "tasks_app.api.serializers.TASK_VIEW_STATUSES",
    },
}
