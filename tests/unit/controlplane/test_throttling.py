"""The token bucket, with the caller's own clock."""

from controlplane.common.throttling import TokenBucket


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
