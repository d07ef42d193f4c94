"""Below /api/v1."""

from django.urls import path

from notifications.api import alerts, deliveries, rules, settings, silences

CHANNELS = "settings/notifications/channels"

urlpatterns = [
    path(CHANNELS, settings.NotificationChannelsView.as_view()),
    path(f"{CHANNELS}/<name:channel_id>", settings.NotificationChannelView.as_view()),
    path(f"{CHANNELS}/<name:channel_id>/enabled", settings.NotificationChannelEnabledView.as_view()),
    path(f"{CHANNELS}/<name:channel_id>/test", settings.NotificationChannelTestView.as_view()),
    path("settings/notifications/services", settings.NotificationServicesView.as_view()),
    path("rules", rules.RulesView.as_view()),
    path("rules/replay", rules.RuleReplayView.as_view()),
    path("rules/<name:rule_id>", rules.RuleView.as_view()),
    path("alerts", alerts.AlertsView.as_view()),
    path("alerts/<name:alert_id>", alerts.AlertView.as_view()),
    path("alerts/<name:alert_id>/members", alerts.AlertMembersView.as_view()),
    path("deliveries", deliveries.DeliveriesView.as_view(), name="deliveries"),
    path("deliveries/<name:delivery_id>", deliveries.DeliveryView.as_view()),
    path("deliveries/<name:delivery_id>/retry", deliveries.DeliveryRetryView.as_view()),
    path("silences", silences.SilencesView.as_view()),
    path("silences/replay", silences.SilenceReplayView.as_view()),
    path("silences/<name:silence_id>", silences.SilenceView.as_view()),
    path("silences/<name:silence_id>/end", silences.SilenceEndView.as_view()),
]
