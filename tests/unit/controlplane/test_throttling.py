"""The token bucket, with the caller's own clock."""

from controlplane.common.throttling import SenderThrottle, TokenBucket


def test_a_burst_passes_at_once_and_then_so_many_a_second():
    bucket = TokenBucket(per_s=2, burst=3, now=100)

    assert [bucket.take(100) for _ in range(5)] == [0, 0, 0, 0.5, 1.0]


def test_asking_takes_nothing():
    bucket = TokenBucket(per_s=1, burst=1, now=0)

    assert [bucket.wait_s(0, cost=3) for _ in range(2)] == [2, 2]
    assert bucket.take(0) == 0


def test_a_rest_fills_it_to_its_burst_and_no_further():
    bucket = TokenBucket(per_s=10, burst=2, now=0)
    bucket.take(0, cost=12)

    assert bucket.wait_s(0.5) == 0.6
    assert [bucket.take(1000) for _ in range(3)] == [0, 0, 0.1]


def test_each_sender_has_its_own_burst_and_the_longest_unheard_is_forgotten():
    now = [0.0]
    throttle = SenderThrottle(per_s=2, burst=2, senders_max=2, clock=lambda: now[0])

    assert [throttle.wait_s("a"), throttle.wait_s("a"), throttle.wait_s("b")] == [0, 0, 0]
    assert throttle.wait_s("a") == 0.5
    # A refusal costs nothing.
    now[0] = 0.5
    assert [throttle.wait_s("a"), throttle.lets_pass("a")] == [0, False]
    throttle.wait_s("b")
    throttle.wait_s("c")
    assert (len(throttle), throttle.lets_pass("a")) == (2, True)
