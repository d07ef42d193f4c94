"""Background jobs over what is stored. Each finds its work in the database: a missed or doubled run is harmless."""

from celery import shared_task


@shared_task(ignore_result=True)
def make_partitions() -> None:
    """Every five seconds; missed runs matter after PARTITIONS_AHEAD_WEEKS, and then only make rows wait in the DEFAULT
    partition. Cost: six reads of catalogue and index; nothing on SQLite."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from controlplane.common.partitions import PARTITIONS_JOB  # noqa: PLC0415 -- leaf
    from tasks_app.services import storage  # noqa: PLC0415 -- leaf

    run_background_job(PARTITIONS_JOB, every_s=5, work=storage.make_partitions)


@shared_task(ignore_result=True)
def remove_forgotten() -> None:
    """Every five seconds; a missed run leaves what is being forgotten that much longer. Cost: one read of a partial
    index, else up to STEP_MAX_S of small deletes."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from tasks_app.services import removal  # noqa: PLC0415 -- leaf

    run_background_job(removal.REMOVAL_JOB, every_s=5, work=removal.remove_forgotten)


@shared_task(ignore_result=True)
def apply_retention() -> None:
    """Every five seconds; a missed run leaves old rows that much longer. Cost: one read while it rests, else up to
    STEP_MAX_S of small deletes."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from tasks_app.services import storage  # noqa: PLC0415 -- leaf

    run_background_job(storage.RETENTION_JOB, every_s=5, work=storage.apply_retention)
