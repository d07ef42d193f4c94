"""What is written of an event before it is stored has the columns and defaults of the table."""

from dataclasses import fields

from django.utils import timezone

from agents.models import Event
from agents.services.events import NewEvent


def test_a_new_event_has_the_columns_of_an_event_and_their_defaults():
    now = timezone.now()
    given = {"event_id": "e", "kind": "task.started", "level": "info", "occurred_at": now, "received_at": now}
    new, model = NewEvent(**given), Event(**given)

    columns = {field.attname for field in Event._meta.concrete_fields} - {"id"}

    assert {field.name for field in fields(NewEvent)} == columns
    assert {name: getattr(new, name) for name in columns} == {name: getattr(model, name) for name in columns}
