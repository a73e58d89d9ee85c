"""Weights as files: where they lie, whether they are what they should be, how they are read. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendet_cli.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCALE_SUFFIX = ".scale"


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file. Raises WeightsError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot read ({error.strerror})", hint="reinstall gendet, or name another --detector"
        ) from error


def detector_folder(where: str) -> Path:
    """The folder of a detector: ``weights/<where>`` for a bare name that ships, else ``where`` itself.

    Raises:
        WeightsError: it is none.
    """
    if where.endswith(".onnx"):
        raise WeightsError(
            f"{where} is one file, and the detector's folder is needed here",
            hint="name the folder that `gendet train` wrote, or a detector that ships",
        )
    if where == Path(where).name and _shipped(where).is_dir():  # a folder nearby must not pass for it
        return weights_folder(where)
    if not Path(where).is_dir():
        return weights_folder(where)
    if not (Path(where) / "detector.json").is_file():
        raise WeightsError(f"{where}: no detector.json in it", hint="name a folder that `gendet train` wrote")
    return Path(where)


def _shipped(name: str) -> Path:
    return Path(str(importlib.resources.files("gendet_weights"))) / name


def weights_folder(name: str) -> Path:
    """The folder ``weights/<name>`` that ships with gendet. Raises WeightsError if there is none."""
    folder = _shipped(name)
    if not name or not folder.is_dir():
        raise WeightsError(
            f"no weights called {name!r} ship with gendet",
            hint="use --detector gendet, a folder that `gendet train` wrote, or a FILE.onnx",
        )
    return folder


def require_hash(path: Path, sha256: str) -> None:
    """Raises WeightsError unless the file at ``path`` has this sha256."""
    found = sha256_of(path)
    if found != sha256:
        raise WeightsError(
            f"{path}: sha256 is {found}, not the recorded {sha256}",
            hint="the file was changed or damaged: reinstall it",
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises WeightsError if the file is missing or is not one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: {error}", hint="name a folder that `gendet train` wrote") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path}: not a JSON object", hint="name a folder that `gendet train` wrote")
    return values


def read_weights(path: Path, sha256: str) -> dict[str, NDArray[np.float32]]:
    """Tensors of a safetensors file as float32.

    An int8 tensor ``x`` stands for ``x * x.scale``, the scale being a float32 tensor that broadcasts over it
    (one value per output channel).

    Raises:
        WeightsError: the file is missing or its sha256 is another.
    """
    import numpy as np
    from safetensors.numpy import load_file

    require_hash(path, sha256)
    stored: Mapping[str, NDArray[Any]] = load_file(path)
    return {
        name: tensor.astype(np.float32) * stored.get(name + SCALE_SUFFIX, np.float32(1))
        for name, tensor in stored.items()
        if not name.endswith(SCALE_SUFFIX)
    }
