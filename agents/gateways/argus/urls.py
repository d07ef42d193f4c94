"""The registry's URLs, below api/v1/master. Each stands in controlplane/access/table.py with who may call it."""

from django.urls import path

from agents.gateways.argus import views

urlpatterns = [
    path("nodes", views.nodes),
    path("nodes.sd.json", views.discovery),
    path("nodes/statistics", views.statistics),
    path("nodes/<name:node_id>", views.node),
    path("nodes/<name:node_id>/status", views.node_status),
    path("nodes/<name:node_id>/config", views.node_config),
]
