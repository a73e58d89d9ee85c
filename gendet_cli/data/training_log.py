"""The log of a training: one CSV file a head, a line an epoch; and the same for TensorBoard where that is asked for."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendet_cli.errors import SettingsError

FIXED = ("epoch", "stage", "loss")


class TrainingLog:
    """``<folder>/<head>.csv`` with columns epoch, stage, loss and what the method measures.

    Args:
        folder: made if it is not there.
        head: the head's name, e.g. ``final`` or ``fold-0``.
        tensorboard: whether event files are written beside it.

    Raises:
        SettingsError: TensorBoard was asked for and is not installed.
    """

    def __init__(self, folder: Path, head: str, *, tensorboard: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{head}.csv"
        self._lines: list[dict[str, str]] | None = None
        self._events: Any = _events(folder / head) if tensorboard else None

    def write(self, epoch: int, stage: str, loss: float, measures: Mapping[str, float]) -> None:
        """Add an epoch's line. Lines of this epoch and later ones, left by a run that was killed, are replaced."""
        if self._lines is None:
            self._lines = [line for line in self._earlier() if int(line["epoch"]) < epoch]
        values = {"loss": loss, **measures}
        shown = {name: "" if math.isnan(value) else f"{value:.6g}" for name, value in values.items()}
        self._lines.append({"epoch": str(epoch), "stage": stage, **shown})
        columns = [*FIXED, *sorted({name for line in self._lines for name in line} - set(FIXED))]
        with self._path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, restval="")
            writer.writeheader()
            writer.writerows(self._lines)
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(f"{stage}/{name}", value, epoch)
            self._events.flush()

    def _earlier(self) -> list[dict[str, str]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError("TensorBoard is not installed", hint="pip install 'gendet[tensorboard]'") from error
    return SummaryWriter(str(folder))
