"""One picture's way through the stages before scoring: read, decode, inspect, transform, prepare."""

from __future__ import annotations

from dataclasses import replace

from gendet_cli.data import degrade
from gendet_cli.engine.job import Job
from gendet_cli.intake.decode import Decoded, DecodeError, decode
from gendet_cli.intake.prepare import prepare_all
from gendet_cli.intake.read import read
from gendet_cli.plugin.registry import Registry
from gendet_cli.types import Evidence, Failure, Prepared, Sample, Source

__all__ = ["MEMORY_LIMIT_BYTES", "Stages"]

MEMORY_LIMIT_BYTES = 3 << 29
"""Address space of a decoding child: 1.5 GiB."""

NO_MEMORY = f"needs more than {MEMORY_LIMIT_BYTES / (1 << 30):g} GiB to decode; make a smaller copy first"


class Stages:
    """The stages as a job sets them up.

    Raises:
        PluginError: a plugin the job asks for is missing or broken.
        KeyError: nobody knows the job's transform.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._transform = degrade.transform(job.transform)
        self._registry = Registry(job.plugins) if job.evidence else None

    def run(self, source: Source) -> Prepared | Failure:
        """A picture ready to be scored, or why it is not. Width and height are those before the transform."""
        found = read(source)
        if isinstance(found, Failure):
            return found
        data, sha256 = found
        try:
            decoded = decode(data)
        except DecodeError as error:
            return Failure(source, NO_MEMORY if error.out_of_memory else str(error), sha256, error.format)
        try:
            return self._finish(Sample(source, data, sha256, decoded.format, decoded.image))
        except MemoryError:
            return Failure(source, NO_MEMORY, sha256, decoded.format)
        except Exception as error:  # noqa: BLE001  whatever one picture does to a later stage costs its row alone
            return _later_failure(source, sha256, decoded, error)

    def _finish(self, sample: Sample) -> Prepared:
        evidence = self._registry.inspect(sample) if self._registry else ()
        image = self._transform(sample.image, sample.sha256)
        return Prepared(
            sample.source,
            sample.sha256,
            sample.format,
            sample.image.width,
            sample.image.height,
            tuple(self._shown(entry) for entry in evidence),
            prepare_all(image, self._job.preprocessing),
        )

    def _shown(self, entry: Evidence) -> Evidence:
        return replace(entry, value="present") if entry.private and not self._job.show_private else entry


def _later_failure(source: Source, sha256: str, decoded: Decoded, error: Exception) -> Failure:
    said = " ".join(str(error).split())[:160]
    return Failure(source, f"decoded, but not prepared: {type(error).__name__}: {said}", sha256, decoded.format)
