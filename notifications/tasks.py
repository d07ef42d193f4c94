"""Background jobs of notifications. Each finds its work in the database: a missed or doubled run is harmless."""

from celery import shared_task


@shared_task(ignore_result=True)
def find_missed_starts() -> None:
    """Every thirty seconds; a missed run tells of missed starts that much later. Cost: nothing where no rule asks, else
    some ten queries for each of a hundred tasks."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from notifications.services.missed import find_missed_starts as find  # noqa: PLC0415 -- leaf

    run_background_job("find-missed-starts", every_s=30, work=find)
