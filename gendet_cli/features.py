"""Recipe: pictures of a data set to stored features, through the same reader, preparation and backbone as a scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from gendet_cli.data.degrade import recipe
from gendet_cli.data.hashes import Hashes
from gendet_cli.data.layouts import Record
from gendet_cli.data.store import Features, Store, View
from gendet_cli.detector.backbones import require_vector
from gendet_cli.engine.job import Job
from gendet_cli.engine.pool import DecoderPool
from gendet_cli.plugin.specs import Backbone
from gendet_cli.types import Failure, Prepared, Source

Progress = Callable[[str, int, int], None]
"""(what, done, total)."""

Skipped = Callable[[Record, str], None]
"""(record, why it has no feature)."""

BATCH = 32
"""Pictures handed to the backbone together; changes no feature, and fills a GPU's batch."""

FLOAT16_RELATIVE = 2e-3
"""What rounding to float16 may change in a feature, relative to its largest element."""


def features_of(
    records: Sequence[Record],
    backbone: Backbone,
    transform: str,
    folder: Path,
    *,
    workers: int,
    progress: Progress,
    skipped: Skipped,
    share: tuple[int, int] = (0, 1),
    wait: Callable[[], None] = lambda: None,
) -> Features:
    """Features of ``records`` under ``transform``; only what the store in ``folder`` lacks is computed.

    A picture that cannot be decoded is told to ``skipped`` and left out; nothing takes its place. Of several processes
    each computes its ``share`` (rank, processes), and ``wait`` returns when all have.
    """
    store = store_of(folder, backbone, transform)
    rank, processes = share
    if rank:
        wait()  # the first process hashes, the others find what it remembered
    readable = hashed(records, folder, skipped)
    if not rank:
        wait()
    known = store.known()
    wait()  # nobody writes before everybody has looked
    twins: dict[str, list[Record]] = {}
    for record, digest in readable:
        twins.setdefault(digest, []).append(record)
    missing = [(records[0], digest) for digest, records in twins.items() if digest not in known]
    digest_of = dict(missing)
    told: set[str] = set()

    def all_skipped(record: Record, reason: str) -> None:
        told.add(digest_of[record])
        for twin in twins[digest_of[record]]:
            skipped(twin, reason)

    store.add(computed(missing[rank::processes], backbone, transform, workers, progress, all_skipped))
    wait()
    if processes > 1 and rank == 0:  # the others' words are not heard
        there = store.known() | told
        for record in (record for _, digest in missing if digest not in there for record in twins[digest]):
            skipped(record, "could not be read by another process; `gendet data check` says why")
    return store.read(readable)


def store_of(folder: Path, backbone: Backbone, transform: str) -> Store:
    """The store of one backbone, its weights and preprocessing, and one transform with its constants.

    Raises:
        SettingsError: the backbone's features are no vectors.
    """
    require_vector(backbone)
    key = {
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "preprocessing": [part.to_json() for part in backbone.preprocessing],
        "transform": recipe(transform),
    }
    return Store(folder, key)


def hashed(
    records: Sequence[Record], folder: Path, skipped: Skipped, *, anew: bool = False
) -> list[tuple[Record, str]]:
    """Every record that can be read, with the sha256 of its file: as remembered, or of its bytes read ``anew``."""
    hashes, readable = Hashes(folder, empty=anew), []
    for record in records:
        try:
            readable.append((record, hashes.of(record.path)))
        except OSError as error:
            skipped(record, str(error.strerror))
    if not anew:
        hashes.save()
    return readable


def computed(
    records: Sequence[tuple[Record, str]],
    backbone: Backbone,
    transform: str,
    workers: int,
    progress: Progress,
    skipped: Skipped,
) -> Iterator[View]:
    """Views of (record, sha256), as they become known."""
    job = Job(backbone.preprocessing, transform=transform, evidence=False)
    done = 0
    with DecoderPool(job, workers) as pool:
        outcomes = pool.run(Source(str(record.path), str(record.path)) for record, _ in records)
        pairs = zip(records, outcomes, strict=True)
        while batch := list(islice(pairs, BATCH)):
            pictures = [(entry, outcome) for entry, outcome in batch if isinstance(outcome, Prepared)]
            for (record, digest), outcome in batch:
                if isinstance(outcome, Failure):
                    skipped(record, outcome.reason)
                elif outcome.sha256 != digest:
                    skipped(record, "changed while it was read, or without its time of change: touch it, try again")
            yield from _views(pictures, backbone)
            done += len(batch)
            progress(f"features, {transform}", done, len(records))


def _views(pictures: Sequence[tuple[tuple[Record, str], Prepared]], backbone: Backbone) -> Iterator[View]:
    """The hash is that of the bytes that were decoded, whatever was remembered of the file."""
    if pictures:
        columns = zip(*(picture.views for _, picture in pictures), strict=True)
        features = backbone.features(tuple(np.stack(column) for column in columns))
        for ((record, _), picture), feature in zip(pictures, features, strict=True):
            yield View(record, picture.sha256, feature)


def verify(
    records: Sequence[Record],
    backbone: Backbone,
    transform: str,
    folder: Path,
    *,
    sample: int,
    workers: int,
    progress: Progress,
) -> list[str]:
    """What is wrong with a store: damaged shards, doubled or missing rows, features that are not what is computed now.

    Args:
        records: what should be in it; their files are hashed anew.
        backbone: of the store.
        transform: of the store.
        folder: of all stores.
        sample: how many rows, spread evenly, are computed again.
        workers: decoding processes.
        progress: told of the sample.
    """
    store = store_of(folder, backbone, transform)
    if problems := store.damage():
        return problems
    if not store.known():
        return [f"{store.folder}: no feature is stored; run it without --verify first"]

    def unreadable(record: Record, reason: str) -> None:
        problems.append(f"{record.path}: {reason}")

    stored = store.everything()
    place = {digest: row for row, digest in enumerate(stored.sha256)}
    readable = hashed(records, folder, unreadable, anew=True)
    problems += [f"{record.path}: no feature" for record, digest in readable if digest not in place]
    present = [(record, digest) for record, digest in readable if digest in place]
    chosen = present[:: max(1, len(present) // sample)][:sample] if sample else []
    for view in computed(chosen, backbone, transform, workers, progress, unreadable):
        found = stored.x[np.array([place[view.sha256]])][0]
        if not _close(found, view.feature):
            problems.append(f"{view.record.path}: the stored feature is not what is computed now")
    return problems


def _close(stored: Any, now: Any) -> bool:
    return bool(np.abs(stored - now).max() <= FLOAT16_RELATIVE * np.abs(now).max())
