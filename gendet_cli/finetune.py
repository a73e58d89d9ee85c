"""Recipe: a data set to a detector that was trained end to end, from pictures as they are decoded.

Calibrated like any other: by networks that saw no picture of the source they score, so ``folds`` + 1 trainings.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gendet_cli.config import TrainSettings
from gendet_cli.data.folds import whole_group_folds
from gendet_cli.data.layouts import Record
from gendet_cli.data.matrix import Matrix
from gendet_cli.data.store import Features
from gendet_cli.detector.backbones import open_backbone
from gendet_cli.detector.runtimes import TorchRunner, on_device, torch_device
from gendet_cli.engine.job import Job
from gendet_cli.engine.pool import DecoderPool
from gendet_cli.errors import SettingsError
from gendet_cli.model import parallel
from gendet_cli.model.finetuning import PixelFit
from gendet_cli.model.training import seeded
from gendet_cli.plugin.registry import Registry
from gendet_cli.plugin.specs import Backbone, MethodSpec, Runtime
from gendet_cli.types import Failure, Preprocessing, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64Array = NDArray[np.float64]

Progress = Callable[[str, int, int], None]


def finetune(
    records: Sequence[Record],
    settings: TrainSettings,
    spec: MethodSpec,
    chosen: Any,
    registry: Registry,
    *,
    progress: Progress,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Train ``spec`` on ``records``, write the detector into ``settings.out``, return its manifest.

    Raises:
        SettingsError: the folder is in use, or the data cannot be learnt from.
        WeightsError: the weights to start from are not there.
    """
    from gendet_cli.train import manifest_of, prepare_folder, warn, write_detector

    if parallel.place()[1] > 1:
        raise SettingsError(f"{spec.name} trains in one process", hint="run it without torchrun")
    if settings.tensorboard:
        raise SettingsError(f"{spec.name} writes no log of its training", hint="leave --tensorboard out")
    device, pixels = _pixels(spec, chosen, settings, registry, note)
    work = settings.out / "work"
    prepare_folder(settings, work)
    warn(records, note)
    pictures = Pictures.readable(records, pixels.preprocessing, settings.workers, progress, note)
    trainer = Trainer(spec, chosen, settings, pixels.dimension, work=work, device=device, progress=progress)
    held_out_as = "training:0" if settings.copies else "raw"  # as the held-out pictures of every other method
    held_out = _cross_fit(trainer, pictures, settings.folds, held_out_as, note)
    head = trainer.fit("final", pictures).to("cpu")
    manifest = manifest_of(settings, spec, chosen, pixels, [pictures.rows], held_out)
    manifest["training"] |= trainer.facts
    del manifest["training"]["copies"]  # every epoch draws its own
    complete = write_detector(settings.out, head, pixels.feature_shape, manifest)
    shutil.rmtree(work)
    return complete


def scores_once(
    records: Sequence[Record],
    tested: Sequence[Record],
    transform: str,
    settings: TrainSettings,
    spec: MethodSpec,
    chosen: Any,
    registry: Registry,
    *,
    progress: Progress,
    note: Callable[[str], None],
) -> dict[str, float]:
    """Logit by sha256 of the pictures ``tested`` after ``transform``, by one network trained on ``records``.

    Raises:
        WeightsError: the weights to start from are not there.
    """
    device, pixels = _pixels(spec, chosen, settings, registry, note)
    train, test = (
        Pictures.readable(part, pixels.preprocessing, settings.workers, progress, note) for part in (records, tested)
    )
    settings.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(spec, chosen, settings, pixels.dimension, work=settings.out, device=device, progress=progress)
    head = trainer.fit(f"{spec.name}, seed {settings.seed}", train)
    logit = trainer.logits(spec.name, head, test, transform)
    return dict(zip(test.rows.sha256, logit.tolist(), strict=True))


def _pixels(
    spec: MethodSpec, chosen: Any, settings: TrainSettings, registry: Registry, note: Callable[[str], None]
) -> tuple[str, Backbone]:
    """(device, the identity backbone that gives the method its views)."""
    assert spec.pixels is not None
    device = on_device(settings.device, lambda name: str(torch_device(name)), note)
    return device, open_backbone(f"pixels:{spec.pixels(chosen)}", Runtime("torch", device), registry)


class Pictures:
    """Labelled pictures that can be read, decoded in child processes each time they are asked for.

    Args:
        records: one per row.
        rows: their labels, groups and hashes; no features.
        preprocessing: of the one view.
        workers: decoding processes.
    """

    def __init__(
        self, records: Sequence[Record], rows: Features, preprocessing: tuple[Preprocessing, ...], workers: int
    ) -> None:
        self.records, self.rows, self._preprocessing, self._workers = records, rows, preprocessing, workers

    @classmethod
    def readable(
        cls,
        records: Sequence[Record],
        preprocessing: tuple[Preprocessing, ...],
        workers: int,
        progress: Progress,
        note: Callable[[str], None],
    ) -> Pictures:
        """Those of ``records`` that can be decoded; what is left out is told to ``note``."""
        found: list[Record] = []
        digests: list[str] = []
        outcomes = _decoded(records, preprocessing, "raw", workers)
        for done, (outcome, record) in enumerate(zip(outcomes, records, strict=True), 1):
            progress("reading pictures", done, len(records))
            if isinstance(outcome, Failure):
                note(f"left out: {record.path}: {outcome.reason}")
            else:
                found.append(record)
                digests.append(outcome.sha256)
        if not found:
            raise SettingsError("none of the pictures can be read", hint="check the data set")
        label, group, content = (
            np.array([getattr(record, name) for record in found]) for name in ("label", "group", "content")
        )
        rows = Features(Matrix.of([np.empty((len(found), 0), np.float32)]), label, group, content, np.array(digests))
        return cls(found, rows, preprocessing, workers)

    def take(self, mask: Any) -> Pictures:
        """The rows where ``mask`` (N,) is true."""
        records = [record for record, kept in zip(self.records, mask, strict=True) if kept]
        return Pictures(records, self.rows.take(mask), self._preprocessing, self._workers)

    def views(self, transform: str, order: Sequence[int]) -> Iterator[torch.Tensor]:
        """One view (3, size, size) per row of ``order``, after ``transform``.

        Raises:
            SettingsError: a picture that could be read before cannot be read any more.
        """
        chosen = [self.records[row] for row in order]
        for outcome in _decoded(chosen, self._preprocessing, transform, self._workers):
            if isinstance(outcome, Failure):
                raise SettingsError(
                    f"{outcome.source.name}: could be read before, and now: {outcome.reason}",
                    hint="leave the data set alone while training; go on with --resume",
                )
            yield torch.from_numpy(outcome.views[0][0].copy())


def _decoded(
    records: Sequence[Record], preprocessing: tuple[Preprocessing, ...], transform: str, workers: int
) -> Iterator[Any]:
    job = Job(preprocessing, transform=transform, evidence=False)
    with DecoderPool(job, workers) as pool:
        yield from pool.run(Source(str(record.path), str(record.path)) for record in records)


class Trainer:
    """Trains one network after another with the same method, settings and seed, each with its own checkpoint.

    Attributes:
        facts: what the method says of its last training, for the manifest.
    """

    def __init__(
        self,
        spec: MethodSpec,
        chosen: Any,
        settings: TrainSettings,
        dimension: int,
        *,
        work: Path,
        device: str,
        progress: Progress,
    ) -> None:
        self._spec, self._chosen, self._settings, self._dimension = spec, chosen, settings, dimension
        self._work, self._device, self._progress = work, device, progress
        self.facts: dict[str, Any] = {}

    def fit(self, name: str, pictures: Pictures) -> torch.nn.Module:
        """A network trained on ``pictures``."""
        torch.set_num_threads(self._chosen.threads)  # with the order of additions, the bits depend on it
        torch.use_deterministic_algorithms(self._device == "cpu")  # not every kernel of a GPU has such a form
        head = seeded(lambda: self._spec.build(self._chosen, self._dimension), self._settings.seed, "head")

        def tell(epoch: str, done: int, total: int, loss: float) -> None:
            self._progress(f"{name}: {epoch}, loss {loss:.4f}", done, total)

        fit = PixelFit(
            views=pictures.views,
            is_fake=torch.from_numpy(pictures.rows.is_fake.astype(np.float32)),
            data_sha256=pictures.rows.digest(),
            settings=self._chosen,
            head=head,
            seed=self._settings.seed,
            checkpoint=self._work / f"{name}.safetensors",
            progress=tell,
            device=self._device,
            allow_network=self._settings.allow_network,
        )
        try:
            self.facts = dict(self._spec.fit(fit) or {})  # type: ignore[arg-type]
        except ValueError as error:
            raise SettingsError(str(error), hint="--resume needs the same settings; or use another --out") from error
        return head.eval()

    def logits(self, name: str, head: torch.nn.Module, pictures: Pictures, transform: str) -> Float64Array:
        """Logits (N,) of ``pictures`` after ``transform``."""
        runner = TorchRunner(head, self._device)
        logit = []
        for view in pictures.views(transform, range(len(pictures.records))):
            logit.append(float(runner.run(view.numpy()[None])[1][0]))
            self._progress(f"{name}: scores", len(logit), len(pictures.records))
        return np.array(logit)


def _cross_fit(
    trainer: Trainer, pictures: Pictures, folds: int, transform: str, note: Callable[[str], None]
) -> Float64Array:
    """Logits (N,) after ``transform``, each from a network that saw no picture of the same source."""
    rows = pictures.rows
    fold = whole_group_folds(rows.label, rows.group, folds, note)
    logit = np.full(len(fold), np.nan)
    for index in range(folds):
        name = f"fold-{index}"
        unseen = set(rows.sha256[fold == index])
        held_out = np.array([digest in unseen for digest in rows.sha256])  # a file that is there twice, too
        head = trainer.fit(name, pictures.take(~held_out))
        logit[fold == index] = trainer.logits(name, head, pictures.take(fold == index), transform)
    return logit
