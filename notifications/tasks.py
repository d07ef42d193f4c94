"""Background jobs over notifications. Each finds its work in the database: a missed or doubled run is harmless."""

from celery import shared_task


@shared_task(ignore_result=True)
def evaluate_rules() -> None:
    """Each second; a missed run tells that much later. Cost: some ten small reads where nothing happened."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from notifications.services.evaluate import EVALUATE_JOB, evaluate  # noqa: PLC0415 -- leaf

    run_background_job(EVALUATE_JOB, every_s=1, work=evaluate)
