"""Nodes of the registry as its readers find them."""

from django.utils import timezone

from agents.models import InstanceFacts, Node
from agents.models.instance import Connectivity, Dialect
from tests.factories import InstanceFactory


def make_node(number, *, facts=None, connectivity=Connectivity.ONLINE, labels=(), archived=False):
    now = timezone.now()
    instance = InstanceFactory(
        dialect=Dialect.ARGUS,
        external_id=f"A{number}",
        connectivity=connectivity,
        archived_at=now if archived else None,
    )
    if facts is not None:
        InstanceFacts.objects.create(instance=instance, facts=facts, changed_at=now)
    return Node.objects.create(
        instance=instance,
        number=number,
        name=f"node-{number}",
        type="agent",
        version="1.0",
        label=list(labels),
        registered_at=now,
        updated_at=now,
    )
