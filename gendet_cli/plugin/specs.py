"""What a plugin offers: backbones and methods, as small values with the expensive part behind a call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gendet_cli.errors import ExportError
from gendet_cli.types import Preprocessing

if TYPE_CHECKING:
    from gendet_cli.model.finetuning import PixelFit
    from gendet_cli.model.training import Fit
    from gendet_cli.types import Float32Array

__all__ = ["Backbone", "BackboneSpec", "Kind", "MethodFamily", "MethodSpec", "Runtime"]


Kind = Literal["onnx", "torch"]


def _either(variant: str) -> tuple[Kind, ...]:
    return "onnx", "torch"


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a model is to be run with.

    Attributes:
        kind: ``onnx`` (onnxruntime, never imports torch) or ``torch``.
        device: ``cpu``, ``cuda`` or ``cuda:N``. A device that is not there is an error, never replaced.
        allow_network: whether weights may be downloaded.
    """

    kind: Kind = "onnx"
    device: str = "cpu"
    allow_network: bool = False


class Backbone(ABC):
    """A frozen feature extractor E: views -> feature.

    Attributes:
        name: full name, e.g. ``clip:ViT-B-16-quickgelu/openai``.
        dimension: length D of a feature.
        weights_sha256: digest of the weights; a detector refuses a backbone whose digest is another.
        preprocessing: how pixels become views; one entry per part (joined backbones have several).
    """

    name: str
    dimension: int
    weights_sha256: str
    preprocessing: tuple[Preprocessing, ...]

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one picture's feature: (D,), unless the backbone hands on something else than a vector."""
        return (self.dimension,)

    @abstractmethod
    def features(self, views: tuple[Float32Array, ...]) -> Float32Array:
        """Features of a batch.

        Args:
            views: per entry of ``preprocessing`` an array (B, V, 3, size, size), float32, normalised.

        Returns:
            float32 (B, D). A row depends on its own picture alone, to the last bit.
        """

    def onnx_models(self) -> tuple[Any, ...]:
        """Per part an ``onnx.ModelProto``: ``views`` (batch, V, 3, size, size) -> ``feature`` (batch, D_part).

        Raises:
            ExportError: this backbone has no graph.
        """
        raise ExportError(
            f"the backbone {self.name} has no ONNX graph", hint="implement onnx_models() in the plugin that offers it"
        )


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """A family of backbones that a plugin offers.

    Attributes:
        name: the part of a backbone's name before the colon.
        summary: one line for ``gendet plugins``.
        open: (variant, runtime) -> backbone; the variant is the part after the colon, or ``""`` for the default.
            Heavy libraries are imported here, not at the top of the plugin.
        runtimes: variant -> the runtimes ``open`` accepts for it, the preferred one first.
    """

    name: str
    summary: str
    open: Callable[[str, Runtime], Backbone]
    runtimes: Callable[[str], tuple[Kind, ...]] = _either


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A way to turn features, or pictures, into a detector's head.

    Attributes:
        name: as given to ``gendet train --method``.
        summary: one line for ``gendet plugins``.
        settings: makes this method's settings dataclass; called without arguments it gives the defaults.
        build: (settings, dimension D) -> untrained ``torch.nn.Module`` head: (B, D) -> (discrepancy (B,), logit (B,)).
        fit: trains the head that ``build`` made on the features of a :class:`gendet_cli.model.training.Fit`, or on the
            pictures of a :class:`gendet_cli.model.finetuning.PixelFit`. It may return a mapping of plain values, which
            the detector's manifest then holds under ``training``.
        has_discrepancy: whether the head's first output is the mean squared teacher/student difference.
        pixels: settings -> variant of the backbone ``pixels`` that the head reads, e.g. ``native-crops-224``; then the
            head is a whole network on (B, 3, size, size), RGB in [0, 1], and is trained end to end. None: the head
            reads the stored features of whatever backbone is chosen.
    """

    name: str
    summary: str
    settings: Callable[..., Any]
    build: Callable[[Any, int], Any]
    fit: Callable[[Fit], Any] | Callable[[PixelFit], Any]
    has_discrepancy: bool = True
    pixels: Callable[[Any], str] | None = None


@dataclass(frozen=True, slots=True)
class MethodFamily:
    """Methods that differ by a variant, written ``name:variant``.

    Attributes:
        name: the part of a method's name before the colon.
        summary: one line for ``gendet plugins``.
        example: a method's full name, for error messages.
        method: variant -> the method, whose name is ``name:variant``. Raises SettingsError for an unknown variant.
    """

    name: str
    summary: str
    example: str
    method: Callable[[str], MethodSpec]
