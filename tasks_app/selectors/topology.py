"""What is known of the topology of an instance."""

from uuid import UUID

from tasks_app.models import AppSnapshot


def has_topology(instance_id: UUID) -> bool:
    """Whether any sync of this instance was ever stored."""
    return AppSnapshot.objects.filter(pk=instance_id).exists()
