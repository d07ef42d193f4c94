"""Without asgiref's lock the locals still belong to their thread and task, and go with work that moves between them."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone
from django.utils.translation import get_language, override, trans_real

from controlplane.common.locals import LOCALS, unlock_locals


@pytest.fixture(autouse=True)
def unlocked(monkeypatch):
    for module, name in LOCALS:
        monkeypatch.setattr(module, name, Local())
    unlock_locals()


def test_each_local_is_without_its_lock():
    assert [name for module, name in LOCALS if isinstance(getattr(module, name), Local)] == []


def test_it_may_be_called_again():
    before = trans_real._active

    unlock_locals()

    assert trans_real._active is before


def test_threads_do_not_see_the_language_of_each_other():
    barrier = threading.Barrier(2)

    def seen(language):
        with override(language), timezone.override("Asia/Shanghai" if language == "zh-hans" else "Europe/Berlin"):
            barrier.wait(timeout=10)
            return get_language(), str(timezone.get_current_timezone())

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(seen, ("zh-hans", "en")))

    assert found == [("zh-hans", "Asia/Shanghai"), ("en", "Europe/Berlin")]


def test_tasks_do_not_see_the_language_of_each_other():
    async def seen(language, *others):
        with override(language):
            await asyncio.sleep(0)
            return get_language()

    async def both():
        return await asyncio.gather(seen("zh-hans"), seen("en"))

    assert asyncio.run(both()) == ["zh-hans", "en"]


def test_the_language_goes_with_work_into_a_thread_and_back():
    async def inside():
        return await sync_to_async(get_language)(), get_language()

    with override("zh-hans"):
        assert async_to_sync(inside)() == ("zh-hans", "zh-hans")
