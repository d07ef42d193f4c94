"""Load processes: each holds a part of the fleet and does what the bench asks of it."""

import asyncio
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import uvloop

from bench import rest
from bench.agent import Log, Target
from bench.fleet import Connected, Driven, Fleet, Marks
from bench.rest import Answered, Call, RestClient

T = TypeVar("T")
_END_WITHIN_S = 5


class Pending(Generic[T]):
    """Work that load processes have begun."""

    def __init__(self, connections: Sequence["multiprocessing.connection.Connection[Any, Any]"]) -> None:
        self._connections = connections

    def results(self) -> list[T]:
        """What each process brought back; waits for all, then raises what the first of them raised."""
        found = [connection.recv() for connection in self._connections]
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return found


class Load:
    """A fleet of agents dealt over `count` processes, the first of which can also call the REST API.

    A process does one thing at a time; what is to run beside a drive needs a Load of its own.
    """

    def __init__(self, count: int) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._count = count
        self._processes = [self._start() for _ in range(count)]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process, _connection in self._processes if process.pid is not None]

    def fleet(self, run: str, size: int, *, service_count: int, first: int = 0) -> None:
        """Replace the fleet by `size` agents that are not connected yet."""
        parts = [range(first + number, first + size, self._count) for number in range(self._count)]
        self._begin("fleet", [(run, part, service_count) for part in parts]).results()

    def connect(
        self, targets: Sequence[Target], *, at_once: int = 100, sync: bool = True, give_up_s: float = 60
    ) -> tuple[Connected, Marks]:
        return self.begin_connect(targets, at_once=at_once, sync=sync, give_up_s=give_up_s)()

    def begin_connect(
        self, targets: Sequence[Target], *, at_once: int, sync: bool = True, give_up_s: float = 60
    ) -> "functools.partial[tuple[Connected, Marks]]":
        """Start dialling; calling what comes back waits for the end."""
        arguments = [(targets, -(-at_once // self._count), sync, give_up_s)] * self._count
        pending: Pending[tuple[Connected, Marks]] = self._begin("connect", arguments)
        return functools.partial(_merge_connected, pending)

    def drive(self, kind: str, *, records: int = 1, seconds: float, rate: float | None = None) -> Driven:
        return self.begin_drive(kind, records=records, seconds=seconds, rate=rate)()

    def begin_drive(
        self, kind: str, *, records: int = 1, seconds: float, rate: float | None = None
    ) -> "functools.partial[Driven]":
        """Start sending; calling what comes back waits for the end. `rate` is frames a second of all processes."""
        share = None if rate is None else rate / self._count
        pending: Pending[Driven] = self._begin("drive", [(kind, records, seconds, share)] * self._count)
        return functools.partial(_merge_driven, pending)

    def begin_flood(self, *, records: int, seconds: float) -> "functools.partial[Driven]":
        """Start sending events as fast as the sockets take them; calling what comes back waits for the end."""
        pending: Pending[Driven] = self._begin("flood", [(records, seconds)] * self._count)
        return functools.partial(_merge_driven, pending)

    def take_log(self) -> Log:
        """What happened to the agents' sockets since the last call."""
        whole = Log.empty()
        pending: Pending[Log] = self._begin("take_log", [()] * self._count)
        for log in pending.results():
            whole.errors.update(log.errors)
            whole.closes.update(log.closes)
            whole.refusals.update(log.refusals)
            whole.commands.extend(log.commands)
        return whole

    def disconnect(self) -> None:
        self._begin("disconnect", [()] * self._count).results()

    def begin_rest(
        self, target: Target, calls: Sequence[Call], *, clients: int, seconds: float, rate: float | None = None
    ) -> Pending[list[Answered]]:
        """Start sending REST calls: in closed loop, or `rate` a second. One list of answers comes back."""
        connection = self._processes[0][1]
        connection.send(("rest", (target, list(calls), clients, seconds, rate)))
        return Pending([connection])

    def close(self) -> None:
        for process, connection in self._processes:
            # A signal to the whole group may have ended it already.
            with contextlib.suppress(OSError):
                connection.send(None)
            process.join(_END_WITHIN_S)
            if process.is_alive():
                process.kill()
                process.join()

    def _begin(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> Pending[Any]:
        for (_process, connection), each in zip(self._processes, arguments, strict=True):
            connection.send((method, each))
        return Pending([connection for _process, connection in self._processes])

    def _start(self) -> tuple[Any, "multiprocessing.connection.Connection[Any, Any]"]:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_main, args=(there,), daemon=True)
        process.start()
        there.close()
        return process, here


def _merge_connected(pending: Pending[tuple[Connected, Marks]]) -> tuple[Connected, Marks]:
    results = pending.results()
    return (
        functools.reduce(Connected.merged, (connected for connected, _marks in results)),
        functools.reduce(Marks.merged, (marks for _connected, marks in results)),
    )


def _merge_driven(pending: Pending[Driven]) -> Driven:
    return functools.reduce(Driven.merged, pending.results())


class _Worker:
    """What a load process can do; every method is called by its name from `Load`."""

    def __init__(self) -> None:
        self._fleet = Fleet("", (), 1)

    async def fleet(self, run: str, indices: Sequence[int], service_count: int) -> None:
        self._fleet.close()
        self._fleet = Fleet(run, indices, service_count)

    async def connect(
        self, targets: Sequence[Target], at_once: int, sync: bool, give_up_s: float
    ) -> tuple[Connected, Marks]:
        return await self._fleet.connect(targets, at_once=at_once, sync=sync, give_up_s=give_up_s)

    async def drive(self, kind: str, records: int, seconds: float, rate: float | None) -> Driven:
        return await self._fleet.drive(kind, records, seconds, rate)

    async def flood(self, records: int, seconds: float) -> Driven:
        return await self._fleet.flood(records, seconds)

    async def take_log(self) -> Log:
        return self._fleet.take_log()

    async def disconnect(self) -> None:
        self._fleet.close()

    async def rest(
        self, target: Target, calls: Sequence[Call], clients: int, seconds: float, rate: float | None
    ) -> list[Answered]:
        connections = [RestClient(target.host, target.port, target.token) for _ in range(clients)]
        try:
            if rate is None:
                return await rest.closed_loop(connections, calls, seconds)
            return await rest.open_loop(connections, calls, seconds, rate)
        finally:
            for connection in connections:
                connection.close()


def _main(connection: "multiprocessing.connection.Connection[Any, Any]") -> None:
    # Ctrl-C is for the bench, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(_serve(connection))


async def _serve(connection: "multiprocessing.connection.Connection[Any, Any]") -> None:
    worker = _Worker()
    loop = asyncio.get_running_loop()
    while (request := await loop.run_in_executor(None, _receive, connection)) is not None:
        method, arguments = request
        answer: object
        try:
            answer = await getattr(worker, method)(*arguments)
        except Exception as error:  # noqa: BLE001 -- raised again where the work was asked for
            answer = error
        connection.send(answer)


def _receive(connection: "multiprocessing.connection.Connection[Any, Any]") -> Any:
    try:
        return connection.recv()
    except EOFError:
        return None
