"""GET /api/v1/system: the state of the portal for programs of administrators."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response

from controlplane.access.policy import environments_of
from controlplane.common.errors import Forbidden
from controlplane.common.rest.views import ApiView, endpoint
from controlplane.system.findings import SEVERITIES
from controlplane.system.report import system_report
from controlplane.system.selfcheck import Look

JOB_STATES = ("ok", "failing", "overdue", "never", "off")
PROCESS_STATES = ("running", "silent", "stopped", "lost")
SERVERS = ("database", "redis", "channels", "broker")
DISKS = ("database", "data")


def _time(help_text: str = "") -> serializers.DateTimeField:
    return serializers.DateTimeField(allow_null=True, help_text=help_text)


def _number(help_text: str = "") -> serializers.FloatField:
    return serializers.FloatField(allow_null=True, help_text=help_text)


def _count(help_text: str = "") -> serializers.IntegerField:
    return serializers.IntegerField(allow_null=True, help_text=help_text)


class SystemVersionsSerializer(serializers.Serializer[Any]):
    portal = serializers.CharField()
    commit = serializers.CharField(help_text="Empty where the portal does not run from a checkout.")
    python = serializers.CharField()
    django = serializers.CharField()
    database = serializers.CharField()
    environment = serializers.CharField()


class FindingSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    severity = serializers.ChoiceField(choices=SEVERITIES)
    title = serializers.CharField()
    detail = serializers.CharField()
    fix = serializers.CharField(help_text="What to do.")
    do = serializers.CharField(help_text="The exact command or variable; empty where there is no one line.")
    since = _time("Null where it is not known.")


class IngestQueueSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    waiting = serializers.IntegerField()
    oldest_ms = serializers.FloatField()
    last_lag_ms = serializers.FloatField()
    written = serializers.IntegerField()
    poisoned = serializers.IntegerField()
    retries = serializers.IntegerField()
    failing_since = _time()


class SystemProcessSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.CharField()
    host = serializers.CharField()
    pid = serializers.IntegerField()
    state = serializers.ChoiceField(choices=PROCESS_STATES)
    started_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField()
    connections = _count("Sockets of agents; null where the process holds none.")
    streams = _count("Pages and programs that listen to live events.")
    frames_per_s = _number("Frames of agents, between the last two pulses.")
    waiting = _count("Records that wait to be stored.")
    oldest_ms = _number("For how long the oldest of them has waited.")
    lag_ms = _number("For how long the last that was stored had waited.")
    database_ms = _number("One round trip to the database.")
    redis_ms = _number("One round trip to Redis.")
    queues = IngestQueueSerializer(many=True)


class SystemServerSerializer(serializers.Serializer[Any]):
    name = serializers.ChoiceField(choices=SERVERS)
    ok = serializers.BooleanField()
    in_process = serializers.BooleanField(help_text="There is no server for it.")
    latency_ms = _number()
    skew_s = _number("How far its clock is ahead of the portal's.")
    waiting = _count("Messages that wait in the broker.")
    error = serializers.CharField()


class SystemJobSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    is_own = serializers.BooleanField(help_text="Whether it is part of the portal; others were made by people.")
    schedule = serializers.CharField()
    state = serializers.ChoiceField(choices=JOB_STATES)
    last_started_at = _time()
    last_succeeded_at = _time()
    next_at = _time()
    duration_ms = _count()
    last_failed_at = _time()
    last_error = serializers.CharField()


class TableSerializer(serializers.Serializer[Any]):
    table = serializers.CharField(help_text="Empty for the whole database.")
    size_bytes = serializers.IntegerField(help_text="With its indexes and partitions.")
    rows = _count("An estimate.")
    at = serializers.DateTimeField(help_text="When it was measured.")
    since = _time("From when on its growth is told.")
    bytes_per_day = _number("Null before there are two samples.")


class DiskSerializer(serializers.Serializer[Any]):
    name = serializers.ChoiceField(choices=DISKS)
    path = serializers.CharField()
    total_bytes = serializers.IntegerField()
    free_bytes = serializers.IntegerField()
    free_share = serializers.FloatField()
    days_left = _number("At the pace at which the database grows; null where it does not.")


class RetentionSerializer(serializers.Serializer[Any]):
    setting = serializers.CharField(help_text="The environment variable; empty where it cannot be set.")
    days = serializers.IntegerField()
    removes = serializers.CharField()
    job = serializers.CharField()
    tables = serializers.ListField(child=serializers.CharField())
    ran_at = _time("When its job last had nothing left to remove.")
    last_removed_at = _time()
    last_removed_rows = _count()
    removed_rows = serializers.IntegerField(help_text="Since counted_since; those of dropped partitions are estimates.")
    counted_since = _time()


class VariableSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    value = serializers.CharField(help_text="What is in effect; *** where it is secret.")
    is_set = serializers.BooleanField(help_text="Whether the environment sets it.")
    is_secret = serializers.BooleanField()


class SystemSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    versions = SystemVersionsSerializer()
    up_since = _time("When the oldest process that runs was started.")
    findings = FindingSerializer(many=True, help_text="What the self-check found, the worst first.")
    processes = SystemProcessSerializer(many=True)
    servers = SystemServerSerializer(many=True)
    jobs = SystemJobSerializer(many=True)
    tables = TableSerializer(many=True)
    disks = DiskSerializer(many=True)
    retention = RetentionSerializer(many=True)
    configuration = VariableSerializer(many=True)


class SystemView(ApiView):
    """State of the portal itself, with its self-check and its configuration. It holds no secret."""

    @endpoint("State of the portal", responds=SystemSerializer)
    def get(self) -> Response:
        # Names of agents, tokens and people of all environments are in it.
        if environments_of(self.request) is not None:
            raise Forbidden(
                "This token is narrowed to environments, and the state of the portal belongs to all of them."
            )
        return Response(SystemSerializer(system_report(Look(timezone.now()))).data)
