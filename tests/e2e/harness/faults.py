"""A portal on servers of its own that may be stopped and killed, and a look into its database."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.e2e.harness.crowd import Crowd, Streamer
from tests.e2e.harness.portal import ProductionPortal
from tests.e2e.harness.waiting import eventually
from tests.servers import POSTGRES_OPTIONS, PostgresServer, ValkeyServer

# A hello must come within this long, so that a silent socket is seen to be closed.
HELLO_TIMEOUT_S = 3
# Full of padded events after some seconds of a database that is away. Not bounded by a low INGEST_QUEUE_SIZE: an agent
# with its share of that makes the batch be written before its time, which would hide how long events wait.
QUEUE_BYTES = 2 * 1024 * 1024


class FaultPortal(ProductionPortal):
    """Two web processes, worker and beat on a private PostgreSQL and a private Valkey."""

    def __init__(self, work_dir: Path, postgres: PostgresServer, redis: ValkeyServer) -> None:
        self.postgres = postgres
        self.redis = redis
        self._reading: psycopg.Connection[tuple[Any, ...]] | None = None
        super().__init__(work_dir, database_url=postgres.url, redis_url=redis.url)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "AGENT_HELLO_TIMEOUT_S": str(HELLO_TIMEOUT_S),
            "INGEST_QUEUE_BYTES": str(QUEUE_BYTES),
        }

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What the database answers, read by a connection of the test's own."""
        try:
            return self._connection().execute(query, parameters).fetchall()
        except psycopg.OperationalError:
            # The server was stopped and started since the last look.
            self.close()
            return self._connection().execute(query, parameters).fetchall()

    def _connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._reading is None:
            self._reading = psycopg.connect(self.environment["DATABASE_URL"], connect_timeout=10, autocommit=True)
        return self._reading

    def close(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def value(self, query: str, *parameters: object) -> Any:
        return self.rows(query, *parameters)[0][0]

    def stored_numbers(self, agents: Sequence[Streamer]) -> dict[Streamer, list[int]]:
        """The numbers of the events of each agent that are stored, ascending; one that is stored twice comes twice."""
        rows = self.rows(
            "SELECT instance_id::text, array_agg(number ORDER BY number) FROM ("
            " SELECT instance_id, split_part(event_id, '-', 2)::int AS number FROM agents_event"
            " WHERE kind = 'task.succeeded' AND instance_id = ANY(%s::uuid[])) AS numbers GROUP BY instance_id",
            [agent.instance_id for agent in agents],
        )
        numbers = dict(rows)
        return {agent: numbers.get(agent.instance_id, []) for agent in agents}

    def lost_numbers(self, agents: Sequence[Streamer]) -> dict[Streamer, list[int]]:
        """The numbers of the events of each agent that were written and are not stored, ascending.

        AssertionError where an event is stored twice.
        """
        lost = {}
        for agent, stored in self.stored_numbers(agents).items():
            assert len(stored) == len(set(stored)), f"events of {agent.instance_id} are stored twice"
            lost[agent] = sorted(set(range(len(agent.written))) - set(stored))
        return lost

    def wait_until_stored(self, numbers: dict[Streamer, int]) -> None:
        """Until this event of each agent is stored; of those before it, what is not stored by then is lost."""
        ids = [agent.event_id(number) for agent, number in numbers.items()]
        query = "SELECT count(DISTINCT event_id) FROM agents_event WHERE event_id = ANY(%s)"
        eventually(lambda: self.value(query, ids) == len(ids), "the last event of each agent is stored", timeout_s=60)

    def urls_from(self, index: int) -> list[str]:
        """All addresses, this one first."""
        return self.urls[index:] + self.urls[:index]

    def streamers(self, count: int, *, service: str, first: int, every_s: float, padding: int = 0) -> list[Streamer]:
        """Agents that dial the web process `first`, and the others when it is gone."""
        return [
            Streamer(self.urls_from(first), self.ingest_token, service=service, every_s=every_s, padding=padding)
            for _ in range(count)
        ]

    @contextmanager
    def crowd(self, agents: Sequence[Streamer], *, streamed: int) -> Iterator[Crowd]:
        """Runs agents; the block begins when so many events of each are stored."""
        with Crowd(agents) as crowd:
            self.wait_until_stored(dict.fromkeys(agents, streamed - 1))
            yield crowd

    def wait_until_all_stored(self, crowd: Crowd) -> None:
        """Stops the streams and waits for the last event of each."""
        crowd.stop_streaming()
        eventually(lambda: all(agent.rests for agent in crowd.agents), "the streams end", timeout_s=60)
        self.wait_until_stored({agent: len(agent.written) - 1 for agent in crowd.agents})

    def wait_for_jobs(self, *names: str) -> None:
        """Until each of these background jobs has run well from its start to its end."""
        began = self.value("SELECT now()")
        query = (
            "SELECT count(*) FROM agents_backgroundjob"
            " WHERE name = ANY(%s) AND last_started_at > %s AND last_succeeded_at >= last_started_at"
        )
        eventually(lambda: self.value(query, list(names), began) == len(names), f"{names} run", timeout_s=90)


@contextmanager
def fault_portal() -> Iterator[FaultPortal]:
    # Outside pytest's own folder, which every other pytest of the same user closes to the user that PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="portal-faults-") as folder, _portal_below(Path(folder)) as portal:
        yield portal


@contextmanager
def _portal_below(folder: Path) -> Iterator[FaultPortal]:
    for name in ("postgres", "valkey", "portal"):
        (folder / name).mkdir()
    # The time of each commit, so that the delay from an agent to the disk can be read from the rows.
    settings = POSTGRES_OPTIONS | {"track_commit_timestamp": "on"}
    with PostgresServer(folder / "postgres", settings) as postgres, ValkeyServer(folder / "valkey") as redis:
        portal = FaultPortal(folder / "portal", postgres, redis)
        try:
            portal.create_database()
            portal.start()
            yield portal
            portal.stop()
        finally:
            portal.kill()
            portal.close()
