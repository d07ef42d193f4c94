"""More than a budget takes: it folds into digests, in which everything is counted."""

import pytest
from django.db.models import Sum

from notifications.models import Delivery, DeliveryTotals
from notifications.selectors.deliveries import Lane
from notifications.selectors.targets import frozen_route
from notifications.services import ledger
from notifications.services.claims import claim
from tests.factories import ChannelFactory
from tests.integration.notifications.outbox import AT, BAD, GOOD, fact, far, go, lane_of, later, statuses, told

pytestmark = pytest.mark.django_db
__all__ = ["far"]


def digests():
    return Delivery.objects.filter(kind="digest").order_by("created_at", "id")


def counts_are_complete():
    """Each digest counts exactly what is in it."""
    for digest in digests().annotate(inside=Sum("folded__event_count")):
        assert digest.event_count == digest.inside
    return True


@pytest.mark.parametrize("spread_s", [0, 20])
def test_a_thousand_alerts_for_twenty_a_minute(far, spread_s):
    """All at once, or within twenty seconds: nothing is dropped, everything is delivered, or folded and counted."""
    channel = ChannelFactory(provider="wechat_work")
    begins = {0: 1000} if not spread_s else dict.fromkeys(range(spread_s), 1000 // spread_s)
    for second in range(130):
        if second in begins:
            told(channel, begins[second], prefix=f"{second}-", now=later(second))
        go(lane_of(channel), now=later(second))

    alerts = Delivery.objects.filter(kind="alert")
    assert set(statuses()) == {"delivered", "folded"}
    assert alerts.count() == 1000
    assert alerts.filter(status="folded", folded_into=None).count() == 0
    assert counts_are_complete()
    delivered = alerts.filter(status="delivered").count()
    assert delivered + sum(digests().values_list("event_count", flat=True)) == 1000
    assert set(digests().values_list("status", flat=True)) == {"delivered"}
    assert len(far.sent) == delivered + digests().count()
    # Of all that, nobody reads more than this.
    assert len(far.sent) <= 40
    totals = dict(DeliveryTotals.objects.values_list("status", "count"))
    assert totals == {"delivered": len(far.sent), "folded": 1000 - delivered}


def test_what_finds_room_is_not_folded(far):
    channel = ChannelFactory(per_second=50, per_minute=20)
    told(channel, 20)

    go(lane_of(channel))

    assert statuses() == {"delivered": 20}


def test_the_oldest_go_alone_and_the_digest_is_the_last(far):
    channel = ChannelFactory(per_second=50, per_minute=5)
    told(channel, 8)

    go(lane_of(channel))

    assert [title.split()[-1] for title in far.titles[:4]] == ["t0", "t1", "t2", "t3"]
    digest = digests().get()
    assert (len(far.sent), digest.event_count, digest.status) == (5, 4, "delivered")
    assert far.sent[-1].delivery_id == str(digest.pk)
    folded = Delivery.objects.filter(status="folded").order_by("id")
    assert [(each.title.split()[-1], each.folded_into_id) for each in folded] == [
        (f"t{number}", digest.pk) for number in (4, 5, 6, 7)
    ]
    assert {(each.finished_at, each.next_attempt_at) for each in folded} == {(AT, None)}


def test_while_nothing_may_be_sent_nothing_is_folded(far):
    channel = ChannelFactory(per_second=50, per_minute=2)
    told(channel, 2)
    go(lane_of(channel))
    told(channel, 5, prefix="x", now=later(1))

    go(lane_of(channel), now=later(30))
    assert statuses() == {"delivered": 2, "pending": 5}

    go(lane_of(channel), now=later(60))
    assert statuses(kind="alert") == {"delivered": 3, "folded": 4}
    assert statuses(kind="digest") == {"delivered": 1}


def test_a_digest_that_was_not_tried_takes_in_what_comes_after_it(far):
    channel = ChannelFactory(per_second=1, per_minute=3)
    told(channel, 6)
    go(lane_of(channel))
    assert statuses() == {"delivered": 1, "pending": 2, "folded": 4}

    told(channel, 10, prefix="x", now=later(1))
    go(lane_of(channel), now=later(2))
    go(lane_of(channel), now=later(4))

    digest = digests().get()
    assert (digest.event_count, digest.status) == (14, "delivered")
    assert counts_are_complete()
    assert len(far.sent) == 3


def test_what_was_tried_before_is_not_folded(far):
    """It may have arrived; what it is known by there is its id."""
    channel = ChannelFactory(per_second=50, per_minute=10)
    told(channel, 1)
    far.verdict = BAD
    go(lane_of(channel))
    far.verdict = GOOD
    told(channel, 50, prefix="x", now=later(1))

    go(lane_of(channel), now=later(5))

    assert Delivery.objects.get(title__endswith=" t0", attempt_count=2).status == "delivered"
    assert counts_are_complete()
    assert len(far.sent) == 10


def test_a_digest_that_fails_is_tried_again_and_keeps_what_is_in_it(far):
    channel = ChannelFactory(per_second=50, per_minute=4)
    told(channel, 9)
    go(lane_of(channel), times=3)
    far.verdict = BAD
    go(lane_of(channel))
    assert statuses(kind="digest") == {"pending": 1}

    told(channel, 9, prefix="x", now=later(61))
    far.verdict = GOOD
    go(lane_of(channel), now=later(61))

    first, second = digests()
    assert (first.status, first.attempt_count, first.event_count) == ("delivered", 2, 6)
    assert (second.status, second.event_count) == ("delivered", 7)
    assert counts_are_complete()


def test_events_count_and_not_messages(far):
    channel = ChannelFactory(per_second=50, per_minute=1)
    told(channel, 3, event_count=100)

    go(lane_of(channel))

    assert digests().get().event_count == 300
    assert Delivery.objects.filter(status="folded").count() == 3


def test_counts_of_a_digest_are_complete_however_many_titles_there_are(far, monkeypatch):
    seen = []
    real = ledger.card_of

    def card_of(telling, **place):
        seen.append(telling)
        return real(telling, **place)

    monkeypatch.setattr(ledger, "card_of", card_of)
    channel = ChannelFactory(per_second=50, per_minute=1)
    told(channel, 30)
    told(channel, 5, prefix="same", facts=(fact(task_name="often"),))
    offline = fact(event_type="instance_offline", node_name="n", task_name="")
    told(channel, 4, prefix="off", facts=(offline,), event_type="instance_offline", event_count=2)

    go(lane_of(channel))

    telling = seen[-1]
    assert (telling.kind, telling.event_count, telling.subject_count) == ("digest", 43, 39)
    assert sum(count for _title, count in telling.digest_counts) == 43
    assert [count for _title, count in telling.digest_counts[:2]] == [8, 5]
    assert len(telling.digest_counts) <= 20
    assert telling.digest_counts[-1] == ("Task failed, others", 30 - 12)
    assert (telling.since, telling.until) == (AT, AT)


def test_what_a_deleted_channel_left_folds_as_well(far):
    channel = ChannelFactory(name="gone", per_second=50, per_minute=3, language="zh-hans")
    told(channel, 9)
    Delivery.objects.update(target=frozen_route(channel))
    channel.delete()

    go(Lane(None, "gone"))

    assert statuses(kind="alert") == {"delivered": 2, "folded": 7}
    digest = digests().get()
    assert (digest.channel, digest.channel_name, digest.status) == (None, "gone", "delivered")
    assert {each.target.language for each in far.sent} == {"zh-hans"}


@pytest.mark.parametrize("count", [20, 300])
def test_folding_costs_as_much_for_many_as_for_few(django_assert_num_queries, count):
    channel = ChannelFactory(per_second=50, per_minute=2)
    told(channel, count)

    with django_assert_num_queries(20):
        claim(lane_of(channel), now=AT)

    assert Delivery.objects.filter(status="folded").count() == count - 1
