"""Runs a network on torch or onnxruntime, always at one batch shape, so that a picture's score is its own.

On the CPU the shape is one picture: with CLIP that costs nothing (measured: 0.210 s a picture at 1, 0.218 at 8) and
makes a row independent of its neighbours by construction. On a GPU it is :data:`GPU_BATCH`, the last one padded.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gendet_cli.errors import SettingsError, WeightsError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from gendet_cli.types import Float32Array

    Outputs = tuple[NDArray[np.float32], ...]

T = TypeVar("T")
GPU_BATCH = 32


def cuda_is_there() -> bool:
    """Whether a CUDA driver is installed that sees a device. Cheap: asks the driver, loads no framework."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
        count = ctypes.c_int()
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except OSError:
        return False


def choose_device(asked: str) -> str:
    """``auto`` becomes ``cuda`` where a device is there, else ``cpu``; anything else must be there.

    Raises:
        SettingsError: the name is not ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, or there is no CUDA device.
    """
    if asked == "auto":
        return "cuda" if cuda_is_there() else "cpu"
    kind, _, index = asked.partition(":")
    if kind not in ("cpu", "cuda") or (index and (kind == "cpu" or not index.isdigit())):
        raise SettingsError(f"unknown device {asked!r}", hint="use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not cuda_is_there():
        raise SettingsError(
            f"device {asked} was asked for, but no CUDA device is there", hint="use --device cpu or auto"
        )
    return asked


def on_device(asked: str, open_: Callable[[str], T], note: Callable[[str], None]) -> T:
    """What ``open_`` makes on the device ``asked`` for.

    With ``auto``, a GPU whose driver is there but which the framework cannot use is told to ``note`` and the CPU is
    taken; a device asked for by name is never replaced.

    Raises:
        SettingsError: the device asked for cannot be used.
    """
    device = choose_device(asked)
    try:
        return open_(device)
    except SettingsError as error:
        if asked != "auto" or device == "cpu":
            raise
        note(f"{error.message}; the CPU is used ({error.hint})")
        return open_("cpu")


def batch_shape(device: str) -> int:
    """How many pictures one run of a network takes on ``device``."""
    return 1 if device == "cpu" else GPU_BATCH


def _in_fixed_batches(run: Callable[[Float32Array], Outputs], inputs: Float32Array, size: int) -> Outputs:
    """``run`` over ``inputs`` (B, ...), ``size`` at a time; the last chunk is padded with zeros and cut again."""
    import numpy as np

    parts = []
    for start in range(0, len(inputs), size):
        chunk = inputs[start : start + size]
        padding = np.zeros((size - len(chunk), *chunk.shape[1:]), np.float32)
        parts.append([output[: len(chunk)] for output in run(np.concatenate([chunk, padding]))])
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


class OnnxRunner:
    """A session of onnxruntime over one graph with one input.

    Args:
        model: the serialised graph.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        initializers: float32 tensors for those initializers that the graph declares as external, by name.

    Raises:
        SettingsError: onnxruntime cannot use the device; there is no fall back.
        WeightsError: the graph cannot be loaded.
    """

    def __init__(self, model: bytes, device: str, initializers: Mapping[str, Float32Array] | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._kept = dict(initializers or {})  # onnxruntime reads these buffers in place while the session lives
        if self._kept:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in self._kept.values()]
            options.add_external_initializers(list(self._kept), values)
        kind, _, index = device.partition(":")
        provider: Any = "CPUExecutionProvider"
        if kind == "cuda":
            onnxruntime.preload_dlls()
            provider = ("CUDAExecutionProvider", {"device_id": int(index or 0), "use_tf32": 0})
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # onnxruntime raises classes of its own that it does not export
            raise WeightsError(
                f"onnxruntime cannot load the graph: {error}", hint="check the detector's files"
            ) from error
        if kind == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise SettingsError(
                f"onnxruntime cannot use {device}",
                hint="install CUDA and cuDNN for onnxruntime-gpu, or use --device cpu",
            )
        self._input = self._session.get_inputs()[0].name
        self.rank = len(self._session.get_inputs()[0].shape)
        self._batch = batch_shape(device)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, inputs: Float32Array, outputs: list[str] | None = None) -> Outputs:
        """``inputs`` (B, ...) float32 -> the named outputs (all by default), each (B, ...) float32."""
        return _in_fixed_batches(
            lambda chunk: tuple(self._session.run(outputs, {self._input: chunk})), inputs, self._batch
        )


def torch_device(name: str) -> torch.device:
    """The torch device called ``name``. Raises SettingsError if this torch cannot use it."""
    import torch

    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f"torch cannot use {name}", hint="install a CUDA build of torch, or use --device cpu")
    return torch.device(name)


class TorchRunner:
    """A frozen ``torch.nn.Module`` with one tensor in and one tensor or a tuple out, in evaluation mode.

    Raises:
        SettingsError: torch cannot use the device.
    """

    def __init__(self, module: torch.nn.Module, device: str) -> None:
        self._device = torch_device(device)
        self._module = module.eval().requires_grad_(False).to(self._device)
        self._batch = batch_shape(device)

    def _run(self, chunk: Float32Array) -> Outputs:
        import torch

        with torch.inference_mode():
            out = self._module(torch.from_numpy(chunk).to(self._device))
        return tuple(tensor.cpu().numpy() for tensor in (out if isinstance(out, tuple) else (out,)))

    def run(self, inputs: Float32Array) -> Outputs:
        """``inputs`` (B, ...) float32 -> the module's outputs, each (B, ...) float32."""
        return _in_fixed_batches(self._run, inputs, self._batch)
