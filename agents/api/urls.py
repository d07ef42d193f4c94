"""Below /api/v1."""

from django.urls import path

from agents.api import archive, checks, groups, history, inventory, labels, tokens, views
from agents.api.live.views import UiStreamView

urlpatterns = [
    path("instances", views.InstancesView.as_view()),
    path("instances/labels", labels.BulkLabelsView.as_view()),
    path("instances/<name:instance_id>", views.InstanceView.as_view()),
    path("instances/<name:instance_id>/archive", archive.InstanceArchiveView.as_view()),
    path("instances/<name:instance_id>/restore", archive.InstanceRestoreView.as_view()),
    path("services/<name:service_name>/archive", archive.ServiceArchiveView.as_view()),
    path("services/<name:service_name>/restore", archive.ServiceRestoreView.as_view()),
    path("instances/<name:instance_id>/labels", labels.InstanceLabelsView.as_view()),
    path("instances/<name:instance_id>/facts", inventory.InstanceFactsView.as_view()),
    path("inventory", inventory.InventoryView.as_view()),
    path("inventory/versions", inventory.VersionsView.as_view()),
    path("inventory/capabilities", inventory.CapabilitiesView.as_view()),
    path("inventory/suspects", inventory.SuspectsView.as_view()),
    path("sessions", views.SessionsView.as_view()),
    path("commands", views.CommandsView.as_view()),
    path("commands/<name:command_id>", views.CommandView.as_view()),
    path("commands/<name:command_id>/cancel", views.CommandCancelView.as_view()),
    path("groups", groups.GroupsView.as_view()),
    path("groups/<name:group_name>", groups.GroupView.as_view()),
    path("selectors/check", checks.SelectorCheckView.as_view()),
    path("ui/stream", UiStreamView.as_view()),
    path("history", history.HistoryView.as_view(), name="history"),
    path("history/<name:event_id>", history.HistoryEventView.as_view()),
    path("agent-tokens", tokens.AgentTokensView.as_view()),
    path("agent-tokens/<name:token_id>", tokens.AgentTokenView.as_view()),
    path("agent-tokens/<name:token_id>/revoke", tokens.AgentTokenRevokeView.as_view()),
]
