"""Plain classifiers trained end to end: any timm network (GenDet's Table 3), and CNNDet.

``cnndet`` is Wang et al. 2020 ("CNN-generated images are surprisingly easy to spot... for now"): an ImageNet ResNet-50
with one output, binary cross-entropy, Adam (1e-4), Gaussian blur and JPEG each with probability p (0.5; 0.1 is the
paper's other variant), random 224-px crops and flips, a centre crop at test. Its falling learning rate and early
stopping are left out: the number of epochs is a setting. Its released weights (``blur_jpg_prob0.5.pth``) are read with
``--set weights=FILE --set epochs=0``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendet_cli.plugin.api import LoopSettings, MethodFamily, MethodSpec, WeightsError, hookimpl

if TYPE_CHECKING:
    from gendet_cli.plugin.api import PixelFit

AUGMENT = ("training", "none", "cnndet")
YES_NO = ("yes", "no")
MIN_SIZE_PX = 32


@dataclass(frozen=True)
class FinetuneSettings(LoopSettings):
    """Settings of ``finetune:<timm model>`` and ``cnndet``, besides the loop's.

    Attributes:
        augment: ``training``: shrunk and saved as JPEG like the training of stored features, a new draw each epoch;
            ``cnndet``: blur and JPEG of Wang et al.; ``none``. Random crops and flips come on top of each.
        p: probability of cnndet's blur, and of its JPEG.
        size_px: side of the square that is cut, without resizing.
        from_scratch: ``yes`` starts from random weights; ``no`` asks for pretrained ones.
        weights: file of a state dict of this very network to start from, its one-output classifier included.
        weights_sha256: what that file must hash to; empty: not checked.
    """

    augment: str = "training"
    p: float = 0.5
    size_px: int = 224
    from_scratch: str = "no"
    weights: str = ""
    weights_sha256: str = ""

    def problems(self) -> list[str]:
        """What is wrong with the values, a line each."""
        rules = {
            f"augment is {self.augment!r}, not one of {', '.join(AUGMENT)}": self.augment in AUGMENT,
            f"from_scratch is {self.from_scratch!r}, not yes or no": self.from_scratch in YES_NO,
            "p lies in [0, 1]": 0 <= self.p <= 1,
            f"size_px must be at least {MIN_SIZE_PX}": self.size_px >= MIN_SIZE_PX,
            "weights and from_scratch=yes exclude each other": not (self.weights and self.from_scratch == "yes"),
        }
        return super().problems() + [rule for rule, holds in rules.items() if not holds]


def transform(settings: FinetuneSettings, epoch: int) -> str:
    """What is done to the pictures of an epoch, as :func:`gendet_cli.data.degrade.transform` names it."""
    crop = f"crop-{settings.size_px}:{epoch}"
    degradation = {"training": f"training:{epoch}+", "none": "", "cnndet": f"cnndet-{settings.p:g}:{epoch}+"}
    return degradation[settings.augment] + crop


def build(model: str, settings: FinetuneSettings, dimension: int) -> Any:
    """Timm's ``model`` with one output and its normalisation, random weights."""
    from gendet_cli.plugin.api import finetuning, pretrained

    network = pretrained.new_network(model, settings.size_px)
    return finetuning.NetworkHead(network, *pretrained.normalisation(model))


def fit(model: str, training: PixelFit) -> dict[str, Any]:
    """Start from the weights the settings ask for, then train."""
    from gendet_cli.plugin.api import finetuning

    started = _start(model, training)
    finetuning.train_network(training, partial(transform, training.settings))
    return started


def _start(model: str, training: PixelFit) -> dict[str, Any]:
    """Put the first weights into the head; what they are, for the manifest."""
    from gendet_cli.plugin.api import finetuning, pretrained

    settings, network = training.settings, training.head.network
    if settings.weights:
        state, digest = pretrained.read_state(Path(settings.weights), settings.weights_sha256)
        try:
            finetuning.put_weights(network, state)  # type: ignore[arg-type]
        except ValueError as error:
            raise WeightsError(
                f"{settings.weights}: not the weights of {model} with one output: {error}",
                hint="name a state dict of this network",
            ) from error
        return {"pretrained": True, "weights_sha256": digest}
    if settings.from_scratch == "yes":
        return {"pretrained": False}
    state = pretrained.pretrained_state(model, settings.size_px, allow_network=training.allow_network)
    finetuning.put_weights(network, state, leave=pretrained.classifier_of(model))  # type: ignore[arg-type]
    return {"pretrained": True}


def method(name: str, model: str, summary: str, defaults: Callable[..., FinetuneSettings]) -> MethodSpec:
    """A method that trains timm's ``model``."""
    return MethodSpec(
        name, summary, defaults, partial(build, model), partial(fit, model), has_discrepancy=False, pixels=_view
    )


def _view(settings: FinetuneSettings) -> str:
    return f"native-crops-{settings.size_px}"


def finetune(variant: str) -> MethodSpec:
    """``finetune:<timm model>``. Raises SettingsError if timm knows no such model."""
    from gendet_cli.plugin.api import pretrained

    pretrained.require_model(variant)
    return method(f"finetune:{variant}", variant, f"timm's {variant}, end to end", FinetuneSettings)


@hookimpl
def gendet_methods() -> list[MethodSpec | MethodFamily]:
    """Any timm network, and CNNDet."""
    cnndet = partial(FinetuneSettings, optimizer="adam", weight_decay=0.0, augment="cnndet")
    return [
        MethodFamily("finetune", "a timm network trained end to end", "finetune:resnet50", finetune),
        method("cnndet", "resnet50", "ResNet-50, blur and JPEG augmentation (Wang et al. 2020)", cnndet),
    ]
