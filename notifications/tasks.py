"""Background jobs of notifications. Each finds its work in the database: a missed or doubled run is harmless."""

from celery import shared_task


@shared_task(ignore_result=True)
def evaluate_rules() -> None:
    """Each second; a missed run tells that much later. Cost: some ten small reads where nothing happened."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from notifications.services.evaluate import EVALUATE_JOB, evaluate  # noqa: PLC0415 -- leaf

    run_background_job(EVALUATE_JOB, every_s=1, work=evaluate)


@shared_task(ignore_result=True)
def send_deliveries() -> None:
    """Each second; a missed run sends that much later. It begins threads and waits for none. Cost: two reads of a small
    partial index."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from notifications.services import sending  # noqa: PLC0415 -- leaf

    run_background_job(sending.SEND_JOB, every_s=1, work=sending.send_deliveries)


@shared_task(ignore_result=True)
def clean_deliveries() -> None:
    """Every five seconds; a missed run leaves old deliveries that much longer. Cost: one read while it rests, else up
    to STEP_MAX_S of small deletes."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from notifications.services import retention  # noqa: PLC0415 -- leaf

    run_background_job(retention.CLEAN_JOB, every_s=5, work=retention.clean_deliveries)


@shared_task(ignore_result=True)
def find_missed_starts() -> None:
    """Every thirty seconds; a missed run tells of missed starts that much later. Cost: nothing where no rule asks, else
    some ten queries for each of a hundred tasks."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from notifications.services.missed import find_missed_starts as find  # noqa: PLC0415 -- leaf

    run_background_job("find-missed-starts", every_s=30, work=find)
