"""The identity as a backbone: a picture's feature is its view, for methods that are trained end to end.

``pixels:native-crops-224`` cuts the centre 224 px without resizing, ``pixels:resize-crop-224`` shrinks the whole
picture. Values lie in [0, 1]; what a network subtracts and divides by belongs to the network.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, get_args

from gendet_cli.plugin.api import Backbone, BackboneSpec, Preprocessing, Runtime, SettingsError, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "pixels"
OPSET = 18
IR_VERSION = 10
Rule = Literal["native-crops", "resize-crop"]


class Pixels(Backbone):
    """One view (3, size, size), RGB, float32 in [0, 1].

    Args:
        rule: as in :class:`gendet_cli.types.Preprocessing`.
        size_px: side of the view.
    """

    def __init__(self, rule: Rule, size_px: int) -> None:
        self.name = f"{NAME}:{rule}-{size_px}"
        self.dimension = 3 * size_px * size_px
        self.weights_sha256 = hashlib.sha256(b"").hexdigest()  # there are none
        self.preprocessing = (Preprocessing(rule, size_px, 1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """(3, size, size)."""
        size_px = self.preprocessing[0].size_px
        return (3, size_px, size_px)

    def features(self, views: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
        """Views ((B, 1, 3, size, size),) -> the views themselves (B, 3, size, size)."""
        return views[0][:, 0]

    def onnx_models(self) -> tuple[Any, ...]:
        """A graph of one Identity node."""
        from onnx import TensorProto, helper

        shape: list[str | int | None] = ["batch", *self.feature_shape]
        view, feature = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("views", "feature"))
        graph = helper.make_graph([helper.make_node("Identity", ["views"], ["feature"])], NAME, [view], [feature])
        opset = [helper.make_opsetid("", OPSET)]
        return (helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opset),)


def open_pixels(variant: str, runtime: Runtime) -> Backbone:
    """``<rule>-<size>``. Raises SettingsError for anything else."""
    rule, _, size = variant.rpartition("-")
    if rule not in get_args(Rule) or not size.isdigit() or int(size) < 1:
        raise SettingsError(f"{NAME} has no variant {variant!r}", hint=f"for example {NAME}:native-crops-224")
    return Pixels(rule, int(size))  # type: ignore[arg-type]


@hookimpl
def gendet_backbones() -> list[BackboneSpec]:
    """The one backbone of this plugin."""
    return [BackboneSpec(NAME, "the picture itself, for methods that are trained end to end", open_pixels)]
