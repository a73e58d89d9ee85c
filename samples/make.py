"""Makes the sample pictures and index.csv again: python samples/make.py SOURCES AUTOENCODER [--out FOLDER].

SOURCES holds each package of :data:`PICTURES` unpacked in a folder of its name (README.md says how); AUTOENCODER holds
``taef2_encoder.pth`` and ``taef2_decoder.pth``. Same inputs and same libraries, same bytes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

MAX_SIDE_PX = 512
QUALITY = 90
MIN_PSNR_DB = 20
WIDTH, LATENT, POOL = 64, 32, 256
AUTOENCODER_SHA256 = {
    "taef2_encoder.pth": "10a4e1021e89d7551eaf161352da8dbd0b1aa83872ae28b150c1df1ce2f147b6",
    "taef2_decoder.pth": "0a44a31e1ae59eb9dbf9359d24942fd3ef5928162c1800d97a28c61d51be0ab5",
}
CC_BY_2 = "CC-BY-2.0 (https://creativecommons.org/licenses/by/2.0/)"
CC0 = "CC0-1.0"
PUBLIC_DOMAIN = "public domain"
STORY = "usr/share/games/wesnoth/1.16/data/core/images/story/"
SUPERTUX = "usr/share/games/supertux2/images/background/"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to ship: the file made, its kind, where it comes from and under which terms."""

    file: str
    kind: str
    package: str
    path: str
    author: str
    licence: str
    source_sha256: str


PICTURES = (
    Picture(
        "temple.jpg",
        "photograph",
        "scikit-learn 1.9.1",
        "sklearn/datasets/images/china.jpg",
        "danielbuechele (Flickr)",
        CC_BY_2,
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    Picture(
        "flower.webp",
        "photograph",
        "scikit-learn 1.9.1",
        "sklearn/datasets/images/flower.jpg",
        "vultilion (Flickr; the package's README credits danielbuechele and links vultilion)",
        CC_BY_2,
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
    Picture(
        "cat.png",
        "photograph",
        "scikit-image 0.26.0",
        "skimage/data/chelsea.png",
        "Stefan van der Walt",
        CC0,
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    ),
    Picture(
        "coffee.jpg",
        "photograph",
        "scikit-image 0.26.0",
        "skimage/data/coffee.png",
        "Rachel Michetti",
        CC0,
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ),
    Picture(
        "rocket.jpg",
        "photograph",
        "scikit-image 0.26.0",
        "skimage/data/rocket.jpg",
        "SpaceX",
        PUBLIC_DOMAIN,
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ),
    Picture(
        "castle.jpg",
        "art",
        "wesnoth-1.16-data 1:1.16.9-1",
        STORY + "landscape-castle.jpg",
        "the Battle for Wesnoth project",
        "GPL-2.0-or-later",
        "4b0123c6033dec7dce26e6ac83eafa2c59807cf8eaaec57351ee67b175d83f7b",
    ),
    Picture(
        "penguin.jpg",
        "art",
        "supertux-data 0.6.3-2",
        SUPERTUX + "misc/oiltux.jpg",
        "SuperTux Devel Team",
        "GPL-3.0-or-later",
        "d33ee84aa3f990b67aa100307e70df7472596527e4d91c3be9c3ac19fd7ac61f",
    ),
    Picture(
        "ghost-forest.jpg",
        "art",
        "supertux-data 0.6.3-2",
        SUPERTUX + "ghostforest/ghostforest.jpg",
        "SuperTux Devel Team",
        "GPL-3.0-or-later",
        "a21c0c8a7a8286a3909e964bb6e35031eaffb0c398453e63611462ce6f130629",
    ),
)
AUTOENCODED = ("temple.jpg", "cat.png", "coffee.jpg", "castle.jpg")
COLUMNS = ("file", "kind", "package", "origin", "author", "licence", "width_px", "height_px", "sha256")


class Block(nn.Module):
    """relu(conv(relu(conv(relu(conv(x))))) + x) at 64 channels; with ``pool`` x first gains a pooled term."""

    def __init__(self, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU(), conv())
        self.pool = (
            nn.Sequential(
                nn.Conv2d(WIDTH, POOL, 1, bias=False),
                nn.GroupNorm(4, POOL),
                nn.ReLU(),
                nn.Conv2d(POOL, WIDTH, 1, bias=False),
            )
            if pool
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 64, H, W) to the same shape."""
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    """3 tanh(x / 3): keeps latents in (-3, 3)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same shape."""
        return torch.tanh(x / 3) * 3


def conv(channels_in: int = WIDTH, channels_out: int = WIDTH, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """A 3 x 3 convolution with padding 1."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, stride=stride, bias=bias)


def encoder() -> nn.Sequential:
    """TAEF2's encoder: (B, 3, H, W) in [0, 1] to (B, 32, H / 8, W / 8)."""
    layers: list[nn.Module] = [conv(3), Block()]
    for pool in (False, False, True):
        layers += [conv(stride=2, bias=False), Block(pool), Block(pool), Block(pool)]
    return nn.Sequential(*layers, conv(channels_out=LATENT))


def decoder() -> nn.Sequential:
    """TAEF2's decoder: (B, 32, H / 8, W / 8) to (B, 3, H, W), about [0, 1]."""
    layers: list[nn.Module] = [Clamp(), conv(LATENT), nn.ReLU()]
    for pool, blocks in ((True, 3), (False, 3), (False, 3)):
        layers += [*(Block(pool) for _ in range(blocks)), nn.Upsample(scale_factor=2), conv(bias=False)]
    return nn.Sequential(*layers, Block(), conv(channels_out=3))


def load(network: nn.Sequential, folder: Path, name: str) -> nn.Sequential:
    """``network`` with the weights of ``folder / name``, whose hash must be the known one."""
    require_hash(folder / name, AUTOENCODER_SHA256[name])
    state = torch.load(folder / name, map_location="cpu", weights_only=True)
    network.load_state_dict({key: tensor.float() for key, tensor in state.items()}, strict=True)
    return network.eval()


def require_hash(path: Path, sha256: str) -> None:
    """Stops unless the file has this sha256."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path}: sha256 is {found}, not {sha256}")


def shrunk(path: Path) -> Image.Image:
    """The RGB picture at no more than 512 px on its longer side."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
    return picture


@torch.inference_mode()
def round_trip(picture: Image.Image, encode: nn.Module, decode: nn.Module) -> Image.Image:
    """``picture`` cropped to multiples of 8, encoded and decoded; stops if the result is not that picture."""
    width_px, height_px = (side - side % 8 for side in picture.size)
    before = np.asarray(picture.crop((0, 0, width_px, height_px)), np.float32) / 255  # (H, W, 3)
    latent = encode(torch.from_numpy(before).permute(2, 0, 1)[None])  # (1, 32, H / 8, W / 8)
    after = decode(latent)[0].permute(1, 2, 0).clamp(0, 1).numpy()  # (H, W, 3)
    if latent.shape != (1, LATENT, height_px // 8, width_px // 8) or after.shape != before.shape:
        raise SystemExit(f"wrong shapes: {tuple(latent.shape)}, {after.shape}")
    psnr_db = -10 * math.log10(float(np.mean((after - before) ** 2)))
    if psnr_db <= MIN_PSNR_DB:
        raise SystemExit(f"PSNR of the round trip is {psnr_db:.1f} dB, not above {MIN_PSNR_DB}")
    print(f"round trip: {width_px} x {height_px}, PSNR {psnr_db:.1f} dB")
    return Image.fromarray((after * 255).round().astype(np.uint8))


def save(picture: Image.Image, path: Path) -> None:
    """Write by the file's ending: JPEG and WebP at quality 90, PNG as small as it gets."""
    options: dict[str, dict[str, Any]] = {".png": {"optimize": True}, ".webp": {"quality": QUALITY, "method": 6}}
    picture.save(path, **options.get(path.suffix, {"quality": QUALITY}))


def row(picture: Picture, file: str, kind: str, folder: Path) -> dict[str, str | int]:
    """A line of the index."""
    path = folder / file
    with Image.open(path) as image:
        width_px, height_px = image.size
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    values = (file, kind, picture.package, picture.path, picture.author, picture.licence, width_px, height_px, sha256)
    return dict(zip(COLUMNS, values, strict=True))


def make(sources: Path, autoencoder: Path, out: Path) -> None:
    """All pictures and the index into ``out``."""
    encode, decode = (
        load(encoder(), autoencoder, "taef2_encoder.pth"),
        load(decoder(), autoencoder, "taef2_decoder.pth"),
    )
    rows = []
    for picture in PICTURES:
        source = sources / picture.package.split()[0] / picture.path
        require_hash(source, picture.source_sha256)
        small = shrunk(source)
        save(small, out / picture.file)
        rows.append(row(picture, picture.file, picture.kind, out))
        if picture.file in AUTOENCODED:
            file = f"{Path(picture.file).stem}-autoencoded.jpg"
            save(round_trip(small, encode, decode), out / file)
            rows.append(row(picture, file, "autoencoded", out))
    with (out / "index.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda line: str(line["kind"]), reverse=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    parser.add_argument("autoencoder", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    make(arguments.sources, arguments.autoencoder, arguments.out)
