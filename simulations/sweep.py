"""Many runs of one scenario, over seeds and sizes: in processes of this machine, or on a cluster.

A run is a pure function of its job, so that it does not matter where it is played. Whoever dies
while playing one costs that one only.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from simulations.plan import Options
from simulations.run import Run
from simulations.scenarios import SCENARIOS

WAITING_PER_WORKER: Final = 2
"""Jobs that a cluster is given in advance, for each of its workers."""
CONNECT_LIMIT_S: Final = 10.0


class SweepError(Exception):
    """The runs cannot be played where they should be; the text says why."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run: the name of a scenario, the number of hosts, the seed."""

    scenario: str
    nodes: int
    seed: int

    @property
    def command(self) -> str:
        """What to type to see this run alone."""
        return Options(self.nodes, self.seed).command(self.scenario)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: its report as JSON values, or why there is none."""

    job: Job
    report: dict[str, Any] | None
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was played to its end and everything held."""
        return self.report is not None and bool(self.report["ok"])

    @property
    def reason(self) -> str:
        """Why it failed: the first thing that did not hold, in one line."""
        if self.report is None:
            return self.error.strip().rpartition("\n")[2]
        for check in self.report["checks"]:
            if not check["ok"]:
                return f"{check['name']}: {check['detail']}"
        for target in self.report["targets"]:
            if not target["ok"]:
                return f"{target['name']}: {target['measured']:g}, not {target['target']}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """The report, or as much of one as there is."""
        if self.report is not None:
            return self.report
        job = self.job
        return {
            "scenario": job.scenario,
            "nodes": job.nodes,
            "seed": job.seed,
            "trace_hash": None,
            "checks": [{"name": "the run comes to its end", "ok": False, "detail": self.error}],
            "ok": False,
        }


Player: TypeAlias = Callable[[Job], Outcome]


def play(job: Job) -> Outcome:
    """Play one job in this process. A bug in the run becomes an outcome, with its traceback."""
    try:
        report = Run(SCENARIOS[job.scenario], job.nodes, job.seed).play()
    except Exception:
        return Outcome(job, None, traceback.format_exc())
    return Outcome(job, report.to_json())


def jobs(scenario: str, nodes: Sequence[int], seeds: range) -> list[Job]:
    """Every size with every seed, the sizes first."""
    return [Job(scenario, size, seed) for size in nodes for seed in seeds]


def sweep_here(
    todo: Sequence[Job], processes: int, player: Player = play
) -> Generator[Outcome, None, None]:
    """Play jobs in `processes` fresh interpreters, each with its own pool; outcomes as they come.

    A pool of its own, because a worker that dies breaks its whole pool. When the caller stops, by
    an exception or by closing the iterator, the workers are ended at once.
    """
    before = multiprocessing.active_children()
    waiting = deque(todo)
    pools: dict[Future[Outcome], tuple[ProcessPoolExecutor, Job]] = {}

    def begin(pool: ProcessPoolExecutor) -> None:
        if waiting:
            job = waiting.popleft()
            pools[pool.submit(player, job)] = pool, job
        else:
            pool.shutdown(wait=False)

    try:
        for _ in range(min(processes, len(todo))):
            begin(_pool())
        while pools:
            done, _ = wait(pools, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda future: pools[future][1].seed):
                pool, job = pools.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    outcome = Outcome(job, None, "the process that played it died")
                    pool.shutdown(wait=False)
                    pool = _pool()
                begin(pool)
                yield outcome
    finally:
        for pool, _ in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        if pools:
            for process in multiprocessing.active_children():
                if process not in before:
                    process.terminate()


def sweep_cluster(
    todo: Sequence[Job], address: str, player: Player = play
) -> Generator[Outcome, None, None]:
    """Play jobs on the workers of the Dask scheduler at `address`; outcomes as they come.

    The workers need this package, of the same version. Dask itself gives the job of a worker that
    died to another one, and gives it up after a few. Raises `SweepError` if the extra `cluster` is
    not installed, or nobody answers at `address`.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        message = "--dask needs Dask, which is not installed: pip install 'aegisray[cluster]'"
        raise SweepError(message) from None
    try:
        client = Client(address, timeout=CONNECT_LIMIT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SweepError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        waiting, playing = deque(todo), {}
        coming = as_completed(loop=client.loop)

        def begin() -> None:
            job = waiting.popleft()
            future = client.submit(player, job, pure=False)
            playing[future.key] = job
            coming.add(future)

        try:
            for _ in range(min(len(todo), workers * (1 + WAITING_PER_WORKER))):
                begin()
            for future in coming:
                job = playing.pop(future.key)
                failure = future.exception()
                if waiting:
                    begin()
                if failure is None:
                    yield future.result()
                else:
                    yield Outcome(job, None, f"{type(failure).__name__}: {failure}")
        finally:
            client.cancel(coming.futures)


def _pool() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, _ignore_interrupts)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; whoever started the workers ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
