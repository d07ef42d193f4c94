"""Below /api/v1."""

from django.urls import include, path

from tasks_app.api import commands, fan_outs, metrics, removal, views

of_service = [
    path("", views.ServiceView.as_view()),
    path("/dashboard", views.ServiceDashboardView.as_view()),
    path("/tasks", views.ServiceTasksView.as_view()),
    path("/tasks/<name:task_name>", views.ServiceTaskView.as_view()),
    path("/tasks/<name:task_name>/events", views.ServiceTaskEventsView.as_view()),
    path("/tasks/<name:task_name>/commands", commands.ServiceTaskCommandsView.as_view()),
    path("/instances", views.ServiceInstancesView.as_view()),
    path("/instances/<name:instance_id>", views.ServiceInstanceView.as_view()),
    path("/metric-windows", views.ServiceMetricWindowsView.as_view()),
    path("/events", views.ServiceEventsView.as_view()),
    path("/commands", commands.ServiceCommandsView.as_view()),
    path("/export", removal.ServiceExportView.as_view(), name="api-service-export"),
    path("/forget", removal.ServiceForgetView.as_view()),
    path("/sessions", views.ServiceSessionsView.as_view()),
]

urlpatterns = [
    path("services", views.ServicesView.as_view()),
    path("services/<name:service_name>", include(of_service)),
    path("metrics/durations", metrics.DurationsView.as_view()),
    path("metrics/durations/series", metrics.DurationSeriesView.as_view()),
    path("events", views.EventsView.as_view()),
    path("instances/<name:instance_id>/export", removal.InstanceExportView.as_view(), name="api-instance-export"),
    path("instances/<name:instance_id>/forget", removal.InstanceForgetView.as_view()),
    path("removals", removal.RemovalsView.as_view()),
    path("removals/<name:removal_id>", removal.RemovalView.as_view()),
    path("fan-outs", fan_outs.FanOutsView.as_view()),
    path("fan-outs/<name:fan_out_id>", fan_outs.FanOutView.as_view()),
    path("fan-outs/<name:fan_out_id>/targets", fan_outs.FanOutTargetsView.as_view()),
    path("instances/<name:instance_id>/commands", commands.InstanceCommandsView.as_view()),
]
