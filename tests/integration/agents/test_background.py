import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from agents.models import BackgroundJob
from agents.services.background import RUN_LEASE_S, run_background_job
from agents.tasks import expire_due_commands, reconcile_sessions, sweep_liveness
from tests.factories import CommandFactory


@pytest.mark.django_db
def test_a_job_runs_and_its_health_is_kept():
    ran = []

    assert run_background_job("j", every_s=60, work=lambda: ran.append(1))
    assert not run_background_job("j", every_s=60, work=lambda: ran.append(2))

    job = BackgroundJob.objects.get(name="j")
    assert ran == [1]
    assert (job.last_error, job.last_succeeded_at is not None, job.last_duration_ms is not None) == ("", True, True)


@pytest.mark.django_db
def test_a_failing_job_says_so_and_recovers():
    def fail():
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        run_background_job("j", every_s=60, work=fail)
    assert BackgroundJob.objects.get().last_error == "ValueError: why"

    BackgroundJob.objects.update(last_started_at=timezone.now() - timedelta(minutes=2))
    assert run_background_job("j", every_s=60, work=lambda: None)
    assert BackgroundJob.objects.get().last_error == ""


@pytest.mark.django_db(transaction=True)
def test_of_many_schedulers_at_once_one_runs_the_job():
    BackgroundJob.objects.create(name="j")
    barrier, ran = threading.Barrier(5), []

    def ring():
        barrier.wait()
        try:
            run_background_job("j", every_s=60, work=lambda: ran.append(1))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ring) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ran == [1]


@pytest.mark.django_db
@pytest.mark.parametrize(("ahead_s", "runs"), [(2, False), (3600, True)])
def test_a_start_in_the_far_future_holds_nothing_up(ahead_s, runs):
    ahead = timezone.now() + timedelta(seconds=ahead_s)
    BackgroundJob.objects.create(name="j", last_started_at=ahead)

    assert run_background_job("j", every_s=1, work=lambda: None) is runs
    assert (BackgroundJob.objects.get().last_started_at < timezone.now()) is runs


@pytest.mark.django_db
def test_a_claim_in_the_far_future_holds_nothing_up():
    BackgroundJob.objects.create(name="j", running_until=timezone.now() + timedelta(hours=1))

    assert run_background_job("j", every_s=1, work=lambda: None)


@pytest.mark.django_db
def test_a_job_that_overruns_its_interval_is_not_doubled():
    ran = []

    def slow():
        BackgroundJob.objects.update(last_started_at=timezone.now() - timedelta(seconds=RUN_LEASE_S - 10))
        ran.append(run_background_job("j", every_s=1, work=lambda: None))

    run_background_job("j", every_s=1, work=slow)

    assert ran == [False]
    assert BackgroundJob.objects.get().running_until is None


@pytest.mark.django_db
def test_a_failed_run_gives_its_claim_back():
    def fail():
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        run_background_job("j", every_s=1, work=fail)

    assert BackgroundJob.objects.get().running_until is None


@pytest.mark.django_db
def test_the_claim_of_a_killed_worker_ends_by_itself_and_the_late_one_keeps_off_its_successor():
    claims = []

    def hang():
        ago = timezone.now() - timedelta(seconds=RUN_LEASE_S + 1)
        BackgroundJob.objects.update(last_started_at=ago, running_until=ago + timedelta(seconds=RUN_LEASE_S))
        run_background_job("j", every_s=1, work=lambda: claims.append(BackgroundJob.objects.get().running_until))
        BackgroundJob.objects.update(running_until=claims[0])

    run_background_job("j", every_s=1, work=hang)

    assert BackgroundJob.objects.get().running_until == claims[0]


@pytest.mark.django_db
def test_the_scheduled_jobs_do_their_work():
    overdue = CommandFactory(deadline_at=timezone.now() - timedelta(seconds=1))

    for job in (expire_due_commands, sweep_liveness, reconcile_sessions):
        job()

    overdue.refresh_from_db()
    assert overdue.status == "expired"
    assert sorted(BackgroundJob.objects.values_list("name", flat=True)) == [
        "expire-due-commands",
        "reconcile-sessions",
        "sweep-liveness",
    ]
