"""Recipe: names to rows. Find, decode in child processes, score, one outcome per input, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gendet_cli.config import ScanSettings
from gendet_cli.detector.detector import Detector
from gendet_cli.detector.runtimes import batch_shape
from gendet_cli.engine.job import Job
from gendet_cli.engine.pool import DecoderPool
from gendet_cli.intake.find import Census, find
from gendet_cli.types import Failure, Outcome, Prepared, Source


def scan(
    inputs: Iterable[str],
    detector: Detector,
    settings: ScanSettings,
    *,
    listing: Iterable[bytes] | None,
    census: Census,
    is_done: Callable[[str], bool],
    plugins: tuple[str, ...] | None,
) -> Iterator[Outcome]:
    """One outcome per input, in the order given, lazily.

    Args:
        inputs: files, folders, globs, and ``-`` for the names in ``listing``.
        detector: what scores.
        settings: batch size, workers, privacy.
        listing: lines of names for ``-``.
        census: counts what was found and passed over.
        is_done: whether an earlier run already holds the row of this name (asked once per input).
        plugins: the pinned plugins, or None.
    """
    job = Job(detector.manifest.preprocessing, evidence=True, plugins=plugins, show_private=settings.show_private)
    found = find(inputs, listing=listing, census=census)
    pending: Iterable[Source | Failure] = (entry for entry in found if not is_done(_name(entry)))
    with DecoderPool(job, settings.workers) as pool:
        yield from score_in_order(
            pool.run(pending), detector, settings.batch_size or batch_shape(detector.runtime.device)
        )


def count(inputs: Iterable[str]) -> int:
    """How many inputs a scan will come upon; walks the folders once, for the time left."""
    return sum(1 for _ in find(inputs, listing=None, census=Census()))


def _name(entry: Source | Failure) -> str:
    return entry.source.name if isinstance(entry, Failure) else entry.name


def score_in_order(pictures: Iterable[Prepared | Failure], detector: Detector, batch_size: int) -> Iterator[Outcome]:
    """Scores up to ``batch_size`` pictures together; failures keep their place."""
    waiting: list[Prepared | Failure] = []
    for picture in pictures:
        if not waiting and isinstance(picture, Failure):
            yield picture
            continue
        waiting.append(picture)
        if len(waiting) >= batch_size:
            yield from _scored(waiting, detector)
            waiting = []
    yield from _scored(waiting, detector)


def _scored(waiting: list[Prepared | Failure], detector: Detector) -> Iterator[Outcome]:
    findings = iter(detector.find([picture for picture in waiting if isinstance(picture, Prepared)]))
    for picture in waiting:
        yield next(findings) if isinstance(picture, Prepared) else picture
