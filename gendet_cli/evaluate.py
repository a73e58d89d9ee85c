"""Recipe: detectors on labelled pictures. First what they say of each, then every figure from that table alone."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gendet_cli import __version__
from gendet_cli.config import EvaluateSettings
from gendet_cli.data.degrade import recipe
from gendet_cli.data.layouts import Record, each_once
from gendet_cli.detector.backbones import backbone_on
from gendet_cli.detector.calibration import printed
from gendet_cli.detector.detector import Manifest, outputs_of, read_manifest, torch_module
from gendet_cli.detector.files import detector_folder
from gendet_cli.detector.runtimes import on_device
from gendet_cli.detector.whole import LogitOfScore, ScoredPixels
from gendet_cli.errors import ReportError, SettingsError, WeightsError
from gendet_cli.evaluation.html import report_html
from gendet_cli.evaluation.predictions import FORMAT, Predictions, table_of
from gendet_cli.evaluation.protocols import Protocol
from gendet_cli.features import Progress, features_of, hashed, store_of
from gendet_cli.plugin.registry import Registry
from gendet_cli.plugin.specs import Backbone

TSNE_PICTURES = 1500
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Opened:
    """A detector ready to score stored features: its manifest, backbone and head (a ``torch.nn.Module``)."""

    manifest: Manifest
    backbone: Backbone
    head: Any


def open_detectors(names: Sequence[str], registry: Registry, settings: EvaluateSettings, note: Note) -> list[Opened]:
    """The detectors called so, in order. Raises SettingsError if two are the same, WeightsError as for one."""
    opened = [open_detector(where, registry, settings, note) for where in names]
    if len({one.manifest.identity for one in opened}) < len(opened):
        raise SettingsError("the same detector twice", hint="name each --detector once")
    return opened


def open_detector(where: str, registry: Registry, settings: EvaluateSettings, note: Note) -> Opened:
    """The detector called ``where`` (name or folder). Raises WeightsError if its backbone's weights are others."""
    folder = detector_folder(where)
    manifest = read_manifest(folder)
    expected = manifest.values["backbone"]
    _, backbone = backbone_on(settings.device, expected["name"], registry, note, allow_network=settings.allow_network)
    if backbone.weights_sha256 != expected["weights_sha256"] or backbone.preprocessing != manifest.preprocessing:
        raise WeightsError(f"{folder}: was trained on other weights of {expected['name']}", hint="train it again")
    head = torch_module(folder, manifest, registry).eval()
    if len(backbone.feature_shape) == 1:
        return Opened(manifest, backbone, head)
    scored = on_device(settings.device, lambda d: ScoredPixels(backbone, head, manifest, d), note)
    return Opened(manifest, scored, LogitOfScore())


def predict(
    records: Sequence[Record],
    protocol: Protocol,
    opened: Sequence[Opened],
    settings: EvaluateSettings,
    *,
    dataset: str,
    split: str,
    leak: str,
    progress: Progress,
    note: Note,
) -> Predictions:
    """What each detector says of ``records`` under every transform of the protocol; features go through the store.

    A picture that cannot be read under one transform is left out under all, told to ``note`` and named in the table's
    metadata; nothing takes its place.

    Args:
        records: those tested, and those of the validation split if there is one.
        protocol: names the transforms.
        opened: the detectors.
        settings: store, device, workers, seed.
        dataset: the layout's name.
        split: that is tested.
        leak: how far the files alone give the class away, or empty; goes into the report.
        progress: told of the features.
        note: told what is left out.
    """
    _tell_of_known_sources(opened, records, note)
    unreadable: dict[str, str] = {}

    def skipped(record: Record, reason: str) -> None:
        if str(record.path) not in unreadable:  # told once, not under every transform
            unreadable[str(record.path)] = reason
            note(f"left out: {record.path}: {reason}")

    readable = hashed(each_once(records, note), settings.features, skipped)
    parts = [
        part for one in opened for part in _scored(one, readable, protocol.transforms, settings, progress, skipped)
    ]
    about = {
        **_of_protocol(protocol),
        "dataset": dataset,
        "split": split,
        "leak": leak,
        "seed": settings.seed,
        "detectors": {one.manifest.identity: _described(one.manifest) for one in opened},
        "unreadable": {_text(path): reason for path, reason in unreadable.items()},
    }
    vectors = [table for one in opened if (table := _vectors(one, readable, protocol, split, settings)) is not None]
    plain = json.loads(json.dumps(about))  # as it is read back, so that the same table gives the same report
    return Predictions(table_of(parts), plain, pa.concat_tables(vectors) if vectors else None)


def _tell_of_known_sources(opened: Sequence[Opened], records: Sequence[Record], note: Note) -> None:
    tested = {record.group for record in records}
    for one in opened:
        if seen := sorted(tested & set(one.manifest.values["training"]["groups"])):
            note(f"{one.manifest.identity} was trained on sources of these names: {', '.join(seen)}")


def _of_protocol(protocol: Protocol) -> dict[str, Any]:
    """What a table needs to keep of its protocol."""
    return {
        "format": FORMAT,
        "gendet_version": __version__,
        "protocol": protocol.name,
        "validation_split": protocol.validation_split,
        "sets": protocol.sets,
        "headline": protocol.headline,
        "conditions": [asdict(condition) for condition in protocol.conditions],
        "transforms": {name: recipe(name) for name in protocol.transforms},
    }


def _scored(
    one: Opened,
    readable: Sequence[tuple[Record, str]],
    transforms: Sequence[str],
    settings: EvaluateSettings,
    progress: Progress,
    skipped: Callable[[Record, str], None],
) -> list[dict[str, Any]]:
    """Per transform the columns of the pictures that have a score under all of them."""
    scores = {name: _scores(one, readable, name, settings, progress, skipped) for name in transforms}
    kept = [(r, digest) for r, digest in readable if all(digest in by_digest for by_digest in scores.values())]
    if not kept:
        raise SettingsError("no picture could be scored", hint="check that the pictures can be read")
    text = {
        "path": [_text(str(record.path)) for record, _ in kept],
        "sha256": [digest for _, digest in kept],
        **{
            name: [getattr(record, name) for record, _ in kept]
            for name in ("split", "subset", "group", "label", "content")
        },
    }
    parts = []
    for name, by_digest in scores.items():
        discrepancy, logit = np.array([by_digest[digest] for _, digest in kept]).T
        parts.append(
            {
                **text,
                "detector": [one.manifest.identity] * len(kept),
                "transform": [name] * len(kept),
                "discrepancy": discrepancy,
                "logit": logit,
                "log10_lr": printed(one.manifest.calibration, logit),
            }
        )
    return parts


def _scores(
    one: Opened,
    readable: Sequence[tuple[Record, str]],
    transform: str,
    settings: EvaluateSettings,
    progress: Progress,
    skipped: Callable[[Record, str], None],
) -> dict[str, tuple[float, float]]:
    """By sha256 of the file: discrepancy (NaN for methods without a student) and logit."""
    features = features_of(
        [record for record, _ in readable],
        one.backbone,
        transform,
        settings.features,
        workers=settings.workers,
        progress=progress,
        skipped=skipped,
    )
    discrepancy, logit = outputs_of(one.head, features.x)
    if not one.manifest.values["has_discrepancy"]:
        discrepancy = np.full_like(logit, np.nan)
    return dict(zip(features.sha256, zip(discrepancy.tolist(), logit.tolist(), strict=True), strict=True))


def _vectors(
    one: Opened, readable: Sequence[tuple[Record, str]], protocol: Protocol, split: str, settings: EvaluateSettings
) -> pa.Table | None:
    """D itself for up to :data:`TSNE_PICTURES` tested pictures under the headline's condition, drawn by the seed."""
    import torch

    if not hasattr(one.head, "discrepancy"):
        return None
    condition = next(c for c in protocol.conditions if c.name == protocol.headline)
    tested = list({digest: record for record, digest in readable if record.split == split}.items())
    chosen = random.Random(settings.seed).sample(tested, min(len(tested), TSNE_PICTURES))
    parts = []
    for is_fake, transform in ((False, condition.other), (True, condition.fake)):
        pairs = [(record, digest) for digest, record in chosen if (record.label == "fake") == is_fake]
        stored = store_of(settings.features, one.backbone, transform).read(pairs)
        with torch.inference_mode():
            x = one.head.normalise(torch.from_numpy(stored.x[:]))
            d = one.head.discrepancy(x).flatten(1).numpy().astype(np.float16)  # (n, T * 196)
        lists = pa.array(list(d), pa.list_(pa.float16()))  # detectors differ in the length of D
        identity = [one.manifest.identity] * len(d)
        parts.append(
            pa.table(
                {"detector": identity, "group": list(stored.group), "label": list(stored.label), "discrepancy": lists}
            )
        )
    return pa.concat_tables(parts)


def _described(manifest: Manifest) -> dict[str, Any]:
    """What the figures need to know of a detector, and what a reader wants to."""
    values = manifest.values
    known = ("name", "method", "has_discrepancy", "settings", "seed", "calibration", "thresholds", "training")
    return {
        **{key: values[key] for key in known},
        "sha256": manifest.sha256,
        "backbone": {key: values["backbone"][key] for key in ("name", "weights_sha256")},
    }


def _text(path: str) -> str:
    """A path as text that UTF-8 can hold."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def write(
    folder: Path,
    predictions: Predictions,
    figures: Mapping[str, Any],
    paper: Sequence[Mapping[str, Any]],
    *,
    plots: bool,
) -> list[Path]:
    """Predictions, figures, plots and the HTML report into ``folder``. Raises ReportError if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = predictions.write(folder)
        drawn = _draw(folder / "plots", predictions, figures) if plots else []
        texts = {
            "figures.json": json.dumps(figures, indent=1, allow_nan=False, ensure_ascii=False) + "\n",
            "report.html": report_html(figures, paper, drawn),
        }
        for name, text in texts.items():
            write_whole(folder / name, text)
    except OSError as error:
        raise ReportError(f"{folder}: {error.strerror}", hint="name a writable --out") from error
    return [*files, *(folder / name for name in texts)]


def _draw(folder: Path, predictions: Predictions, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, what it shows, SVG) of every plot, each also a PNG."""
    from gendet_cli.evaluation import plots

    folder.mkdir(exist_ok=True)
    return plots.draw(folder, predictions, figures)


def write_whole(path: Path, text: str) -> None:
    """``text`` into ``path``, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
