"""Background jobs over agents. Each finds its work in the database: a missed or doubled run is harmless."""

from celery import shared_task


@shared_task(ignore_result=True)
def expire_due_commands() -> None:
    """Each second; a missed run closes overdue commands that much later. Cost: one read of a small partial index."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from agents.services.deadlines import expire_due_commands as expire  # noqa: PLC0415 -- leaf

    run_background_job("expire-due-commands", every_s=1, work=expire)


@shared_task(ignore_result=True)
def sweep_liveness() -> None:
    """Every five seconds; a missed run makes offline verdicts that much later. Cost: one scan of the instances."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from agents.services.liveness import sweep_offline  # noqa: PLC0415 -- leaf

    run_background_job("sweep-liveness", every_s=5, work=sweep_offline)


@shared_task(ignore_result=True)
def judge_nodes() -> None:
    """Every SCHEDULER_INTERVAL_SECONDS; a missed run makes verdicts on nodes that much later. Cost: one scan of the
    instances."""
    from django.conf import settings  # noqa: PLC0415 -- beside the imports below

    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from agents.services.liveness import judge_nodes as judge  # noqa: PLC0415 -- leaf

    run_background_job("judge-nodes", every_s=settings.SCHEDULER_INTERVAL_SECONDS, work=judge)


@shared_task(ignore_result=True)
def reconcile_sessions() -> None:
    """Every five seconds; a missed run leaves sessions of dead processes open that much longer."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from agents.services.sessions import reconcile_dead_replicas  # noqa: PLC0415 -- leaf

    run_background_job("reconcile-sessions", every_s=5, work=reconcile_dead_replicas)


@shared_task(ignore_result=True)
def measure_tables() -> None:
    """Every five seconds, at work once an hour; a missed run leaves a gap in the growth of tables. Cost: one read of an
    index while it rests, else a look at every file of the database."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from agents.services.sizes import SIZES_JOB, measure_sizes  # noqa: PLC0415 -- leaf

    run_background_job(SIZES_JOB, every_s=5, work=measure_sizes)
