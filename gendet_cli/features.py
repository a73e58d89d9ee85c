"""Recipe: pictures of a data set to stored features, through the same reader, preparation and backbone as a scan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gendet_cli.data.degrade import recipe
from gendet_cli.data.layouts import Record
from gendet_cli.data.store import Features, Store, View
from gendet_cli.detector.backbones import require_vector
from gendet_cli.engine.job import Job
from gendet_cli.engine.pool import DecoderPool
from gendet_cli.plugin.specs import Backbone
from gendet_cli.types import Failure, Source

Progress = Callable[[str, int, int], None]
"""(what, done, total)."""


def hash_of(record: Record) -> str:
    """sha256 of a record's file. Raises OSError if it cannot be read."""
    return hashlib.sha256(record.path.read_bytes()).hexdigest()


def features_of(
    records: Sequence[Record],
    backbone: Backbone,
    transform: str,
    folder: Path,
    *,
    workers: int,
    progress: Progress,
    skipped: Callable[[Record, str], None],
) -> Features:
    """Features of ``records`` under ``transform``; only what the store in ``folder`` lacks is computed.

    A picture that cannot be decoded is told to ``skipped`` and left out; nothing takes its place.
    """
    require_vector(backbone)
    key = {
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "preprocessing": [part.to_json() for part in backbone.preprocessing],
        "transform": recipe(transform),
    }
    store = Store(folder, key)
    readable: list[tuple[Record, str]] = []
    for record in records:
        try:
            readable.append((record, hash_of(record)))
        except OSError as error:
            skipped(record, str(error.strerror))
    known = store.known()
    missing = [(digest, record) for digest, record in {d: r for r, d in readable}.items() if digest not in known]

    def computed() -> Iterator[View]:
        job = Job(backbone.preprocessing, transform=transform, evidence=False)
        with DecoderPool(job, workers) as pool:
            outcomes = pool.run(Source(str(record.path), str(record.path)) for _, record in missing)
            for done, (outcome, (digest, record)) in enumerate(zip(outcomes, missing, strict=True), 1):
                progress(f"features, {transform}", done, len(missing))
                if isinstance(outcome, Failure):
                    skipped(record, outcome.reason)
                    continue
                feature = backbone.features(tuple(view[np.newaxis] for view in outcome.views))[0]
                yield View(record, digest, feature)

    store.add(computed())
    return store.read(readable)
