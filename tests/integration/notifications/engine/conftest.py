import pytest

from agents.models import (
    BackgroundJob,
    Command,
    Event,
    Instance,
    InstanceFacts,
    InstanceLabels,
    Replica,
    Service,
    Session,
)
from notifications.models import (
    Alert,
    AlertMember,
    Attempt,
    Channel,
    Delivery,
    RoutineNews,
    Rule,
    RuleCursor,
    Silence,
)

# In the order in which they can be emptied.
_TABLES = (
    Attempt,
    Delivery,
    AlertMember,
    Alert,
    Silence,
    Rule.channels.through,
    Rule,
    Channel,
    RuleCursor,
    RoutineNews,
    Event,
    Command,
    Session,
    Replica,
    InstanceLabels,
    InstanceFacts,
    Instance,
    Service,
    BackgroundJob,
)


@pytest.fixture
def db(django_db_setup, django_db_blocker):
    """The database without a transaction around the test: the stream shows what is committed, and so it is to others.

    Only what these tests write is taken away again, which takes a hundredth of the time of emptying every table. It has
    the name of pytest-django's own, by which that knows that a database is wanted.
    """
    with django_db_blocker.unblock():
        yield
        for model in _TABLES:
            rows = model._base_manager.all()
            rows._raw_delete(rows.db)
