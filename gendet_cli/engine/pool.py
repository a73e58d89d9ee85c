"""Decoding in child processes, several at a time, with the results in the order of the inputs."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from gendet_cli.engine.child import Child
from gendet_cli.engine.job import Job
from gendet_cli.types import Failure, Prepared, Source

__all__ = ["TIME_LIMIT_S", "DecoderPool"]

TIME_LIMIT_S = 30.0


class DecoderPool:
    """``workers`` decoding children, alive from ``__enter__`` to ``__exit__``.

    Args:
        job: how every picture is read.
        workers: number of children, at least 1; each takes up to 1.5 GiB for a moment.
        time_limit_s: seconds a picture may take before its child is killed and the picture fails.

    Raises:
        PluginError: on entering, a plugin that was asked for is missing or broken.
        StartError: on entering or later, a child does not start.
    """

    def __init__(self, job: Job, workers: int, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._job, self._workers, self._time_limit_s = job, workers, time_limit_s
        self._children: list[Child] = []
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()

    def __enter__(self) -> DecoderPool:
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="decoder")
        starts = [self._threads.submit(Child, self._job, self._time_limit_s) for _ in range(self._workers)]
        errors = [error for start in starts if (error := start.exception()) is not None]
        self._children = [start.result() for start in starts if start.exception() is None]
        if errors:
            self.__exit__(type(errors[0]), errors[0], None)
            raise errors[0]
        for child in self._children:
            self._idle.put(child)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in self._children:
            child.close()

    def run(self, sources: Iterable[Source | Failure]) -> Generator[Prepared | Failure]:
        """An outcome per source, in the same order; failures pass through in their place.

        Sources are pulled as they are needed: at most ``2 * workers + 2`` are under way or wait for their turn, so
        memory does not grow with their number. When the generator is closed while pictures are under way, the children
        are killed and the pool is of no more use.
        """
        window = 2 * self._workers + 2
        pending: deque[Future[Prepared | Failure] | Failure] = deque()
        try:
            for source in sources:
                pending.append(source if isinstance(source, Failure) else self._threads.submit(self._ask, source))
                while pending and (len(pending) >= window or _is_done(pending[0])):
                    yield _result(pending.popleft())
            while pending:
                yield _result(pending.popleft())
        except BaseException:
            if pending:
                self._kill()
            raise

    def _ask(self, source: Source) -> Prepared | Failure:
        child = self._idle.get()
        try:
            return child.ask(source)
        finally:
            self._idle.put(child)

    def _kill(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.kill()


def _is_done(entry: Future[Prepared | Failure] | Failure) -> bool:
    return isinstance(entry, Failure) or entry.done()


def _result(entry: Future[Prepared | Failure] | Failure) -> Prepared | Failure:
    return entry if isinstance(entry, Failure) else entry.result()
