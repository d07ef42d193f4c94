"""Where sessions are kept, and how long."""

import hashlib
import threading
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.db import connections
from django.utils import timezone

from controlplane import tasks
from controlplane.access import cleaning
from controlplane.access.cleaning import clean_logins
from controlplane.access.models import ConsoleSession, FailedLogin, SuccessfulLogin
from controlplane.access.sessions import SessionStore, end_sessions
from tests.factories import UserFactory
from tests.integration.access.logging_in import Visitor

pytestmark = pytest.mark.django_db
COOKIE = "onestep_cp_console_session"


def test_only_the_hash_of_a_key_is_stored_and_whose_it_is():
    user = UserFactory(username="ann")

    key = Visitor().login("ann").cookies[COOKIE].value

    row = ConsoleSession.objects.get()
    assert row.session_key == hashlib.sha256(key.encode()).hexdigest()
    assert row.user_id == user.pk
    assert key not in repr(vars(row))


def test_what_is_stored_is_no_key():
    UserFactory(username="ann")
    Visitor().login("ann")
    thief = Visitor()

    thief.client.cookies[COOKIE] = ConsoleSession.objects.get().session_key

    assert not thief.is_logged_in()


@pytest.mark.parametrize("value", ["", "x", "short", "x" * 10_000, "ÿ" * 32, "\x7f" * 32])
def test_any_cookie_is_read(value):
    UserFactory()
    visitor = Visitor()
    visitor.client.cookies[COOKIE] = value

    assert not visitor.is_logged_in()


def test_expired_session_says_nothing():
    UserFactory(username="ann")
    visitor = Visitor()
    visitor.login("ann")

    ConsoleSession.objects.update(expire_date=timezone.now())

    assert not visitor.is_logged_in()


def test_sessions_last_as_long_as_set(settings):
    settings.SESSION_COOKIE_AGE = 60
    UserFactory(username="ann")

    Visitor().login("ann")

    left = ConsoleSession.objects.get().expire_date - timezone.now()
    assert timedelta(seconds=50) < left <= timedelta(seconds=60)


def test_session_of_a_user_who_is_gone_or_disabled_says_nothing():
    UserFactory(username="ann")
    visitor = Visitor()
    visitor.login("ann")

    User.objects.update(is_active=False)
    disabled = visitor.is_logged_in()
    User.objects.all().delete()

    assert (disabled, visitor.is_logged_in()) == (False, False)


def test_a_new_password_ends_sessions():
    user = UserFactory(username="ann")
    visitor = Visitor()
    visitor.login("ann")

    user.set_password("another password")
    user.save()

    assert not visitor.is_logged_in()


def test_session_that_was_ended_meanwhile_is_not_brought_back():
    user = UserFactory(username="ann")
    key = Visitor().login("ann").cookies[COOKIE].value
    late = SessionStore(key)
    late["x"] = 1

    assert end_sessions(user.pk) == 1

    with pytest.raises(UpdateError):
        late.save()
    assert not ConsoleSession.objects.exists()


def test_session_that_another_login_ended_before_it_was_answered_is_no_error_and_stays_ended():
    begun = SessionStore()
    begun.create()
    ConsoleSession.objects.all().delete()

    begun["x"] = 1
    begun.save()

    assert not ConsoleSession.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_logins_at_the_same_moment_leave_somebody_logged_in(monkeypatch):
    UserFactory(username="ann")
    visitors, statuses, barrier = [Visitor() for _ in range(4)], [], threading.Barrier(4, timeout=30)
    cycle = SessionStore.cycle_key

    def cycle_together(self):
        cycle(self)
        # By now each has a session of its own.
        if SESSION_KEY in self:
            barrier.wait()

    def log_in(visitor):
        try:
            statuses.append(visitor.login("ann").status_code)
        finally:
            connections.close_all()

    monkeypatch.setattr(SessionStore, "cycle_key", cycle_together)
    threads = [threading.Thread(target=log_in, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 4
    assert any(visitor.is_logged_in() for visitor in visitors)


def test_asynchronous_store_keeps_the_same_rows():
    store = SessionStore()
    store["x"] = 1

    async def life():
        await store.acreate()
        await store.asave()
        again = SessionStore(store.session_key)
        loaded = await again.aload()
        known = await again.aexists(store.session_key)
        await again.adelete()
        return loaded, known, await again.aexists(store.session_key)

    assert async_to_sync(life)() == ({"x": 1}, True, False)
    assert not SessionStore("no such key").load()


def rows_of_ages(*ages_s):
    now = timezone.now()
    for number, age_s in enumerate(ages_s):
        moment = now - timedelta(seconds=age_s)
        ConsoleSession.objects.create(session_key=f"{number}", session_data="", expire_date=moment)
        for model in (FailedLogin, SuccessfulLogin):
            row = model.objects.create(username="x", user_agent="", http_accept="", path_info="")
            model.objects.filter(pk=row.pk).update(attempt_time=moment)


def left():
    return tuple(model.objects.count() for model in (ConsoleSession, FailedLogin, SuccessfulLogin))


def test_expired_sessions_and_old_histories_are_cleaned(settings):
    kept_s = settings.RETENTION_LOGINS_DAYS * 86400
    rows_of_ages(-60, 60, kept_s - 60, kept_s + 60)

    clean_logins()

    assert left() == (1, 3, 3)


def test_one_run_cleans_a_batch_and_the_next_goes_on(settings, monkeypatch):
    monkeypatch.setattr(cleaning, "BATCH_SIZE", 2)
    rows_of_ages(*[settings.RETENTION_LOGINS_DAYS * 86400 + 60] * 3)

    assert (clean_logins(), left()) == (6, (1, 1, 1))
    assert (clean_logins(), left()) == (3, (0, 0, 0))
    assert clean_logins() == 0


def test_background_job_cleans():
    rows_of_ages(60)

    tasks.clean_logins()

    assert left() == (0, 1, 1)
