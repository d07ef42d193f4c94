"""What is stored as a code or in English is told in the words of the reader."""

from datetime import timedelta

import pytest
from django.utils import timezone, translation

from agents import words
from agents.models import Command, Event, Replica
from agents.models.event import EventKind
from agents.selectors.overview import process_state
from agents.services.commands import cancel_command
from agents.services.deadlines import expire_due_commands
from agents.services.replicas import start_replica, stop_replica
from agents.services.sessions import end_sessions, reconcile_dead_replicas
from controlplane.common.actors import Actor
from tests.factories import CommandFactory, EventFactory, InstanceFactory, SessionFactory
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db


def chinese(path):
    client = console_as()
    client.cookies["django_language"] = "zh-hans"
    return text_of(client.get(path))


@pytest.mark.parametrize("code", ["closed_1012", "closed_4999", "replica_lost", "portal_stopped", "closed_early"])
def test_reasons_of_ended_sessions_are_told_in_words_with_the_code_in_the_title(code):
    session = SessionFactory()
    end_sessions(type(session).objects.all(), reason=code)
    event = Event.objects.get(kind=EventKind.SESSION_CLOSED)

    for path in (
        url("agents_session_changelist"),
        url("agents_session_change", session.pk),
        url("agents_event_changelist"),
        url("agents_event_change", event.pk),
        url("agents_instance_change", session.instance_id),
    ):
        page = chinese(path)
        with translation.override("zh-hans"):
            assert words.end_words(code) in page
        assert f">{code}<" not in page
    assert f'title="{code}"' in page
    with translation.override("zh-hans"):
        assert not words.end_words(code).isascii()


def test_stored_texts_of_the_portal_are_translated_and_those_of_agents_are_not():
    late = CommandFactory(kind="ping", status="accepted", deadline_at=timezone.now() - timedelta(hours=1))
    expire_due_commands()
    late.refresh_from_db()
    told = CommandFactory(status="failed", error_code="boom", error_message="Cancel")

    assert late.error_message.isascii()
    for path in (url("agents_command_changelist"), url("agents_command_change", late.pk)):
        assert late.error_message not in chinese(path)
    with translation.override("zh-hans"):
        assert not words.error_text(late).isascii()
        assert words.error_text(told) == "Cancel"


def test_a_command_that_somebody_cancelled_is_no_error():
    command = CommandFactory(status=Command.Status.PENDING)
    cancel_command(command.pk, actor=Actor("ann"))
    page = text_of(console_as().get(url("agents_command_change", command.pk)))

    assert "It was cancelled before it was sent." in page
    assert "c-error" not in page
    assert ">command_cancelled<" not in page


def test_events_of_commands_name_the_command_in_words():
    EventFactory(kind=EventKind.COMMAND_QUEUED, message="sync_now", task_name="")

    page = text_of(console_as().get(url("agents_event_changelist")))

    assert '<span title="sync_now">Sync now</span>' in page


def test_processes_that_were_killed_are_told_from_those_that_were_stopped():
    stopped, killed = start_replica(Replica.Kind.WEB), start_replica(Replica.Kind.WEB)
    stop_replica(stopped.pk)
    Replica.objects.filter(pk=killed.pk).update(last_seen_at=timezone.now() - timedelta(hours=1))
    reconcile_dead_replicas()

    states = [process_state(Replica.objects.get(pk=row.pk), now=timezone.now()) for row in (stopped, killed)]

    assert states == ["stopped", "lost"]
    assert "Lost" in text_of(console_as().get(url("agents_replica_changelist")))


def test_cards_of_events_leave_routine_out():
    instance = InstanceFactory()
    common = {"instance": instance, "service": instance.service}
    shown = [
        EventFactory(kind=kind, **common)
        for kind in (EventKind.TASK_FAILED, EventKind.TASK_RETRIED, EventKind.SESSION_OPENED, EventKind.COMMAND_QUEUED)
    ]
    routine = [EventFactory(kind=kind, **common) for kind in (EventKind.TASK_STARTED, EventKind.TASK_SUCCEEDED)]
    client = console_as()

    for path in (
        url("index"),
        url("agents_service_change", instance.service_id),
        url("agents_instance_change", instance.pk),
    ):
        page = text_of(client.get(path))
        # An instance has its sessions and commands themselves on its timeline.
        told = shown[:2] if "/instance/" in path else shown
        assert [event for event in told if url("agents_event_change", event.pk) not in page] == [], path
        assert [event for event in routine if url("agents_event_change", event.pk) in page] == [], path
