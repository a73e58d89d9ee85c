import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendet_cli.intake.prepare import MAX_ASPECT, prepare, prepare_all
from gendet_cli.types import Preprocessing

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CLIP = Preprocessing("resize-crop", 224, 1, CLIP_MEAN, CLIP_STD)
SIZES = [(224, 224), (640, 427), (427, 640), (33, 47), (1, 1), (225, 224), (1000, 251), (5, 40), (301, 299)]


def noise(width_px: int, height_px: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def native(size_px: int, views: int) -> Preprocessing:
    """Crops whose values are the pixels' own, 0 to 1."""
    return Preprocessing("native-crops", size_px, views, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def crops(image: Image.Image, size_px: int, views: int) -> np.ndarray:
    values = prepare(image, native(size_px, views)) * 255
    return np.rint(values).astype(np.uint8).transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def clip_transform():
    transform = pytest.importorskip("open_clip.transform")
    return transform.image_transform(224, is_train=False, mean=CLIP_MEAN, std=CLIP_STD)


@pytest.mark.parametrize("size", SIZES)
def test_resize_crop_gives_the_bits_of_open_clip(size: tuple[int, int], clip_transform):
    image = noise(*size)
    expected = clip_transform(image).numpy()
    views = prepare(image, CLIP)
    assert views.shape == (1, 3, 224, 224)
    assert views.dtype == np.float32
    assert views.flags.c_contiguous
    assert views[0].tobytes() == expected.tobytes()


def test_resize_crop_on_real_pictures(clip_transform):
    if "GENDET_DATA" not in os.environ:
        pytest.skip("GENDET_DATA is not set")
    pictures = sorted(Path(os.environ["GENDET_DATA"], "images", "dev").rglob("*.jpg"))[::40][:25]
    assert pictures
    for path in pictures:
        with Image.open(path) as picture:
            image = picture.convert("RGB")
        assert prepare(image, CLIP)[0].tobytes() == clip_transform(image).numpy().tobytes(), path.name


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (3, 10_001), (90, 10)])
def test_extreme_aspects_are_cut_to_the_centre(size: tuple[int, int]):
    """As if only the central part had been there."""
    image = noise(*size)
    width_px, height_px = (min(side, MAX_ASPECT * min(size)) for side in size)
    left, top = (size[0] - width_px) // 2, (size[1] - height_px) // 2
    part = image.crop((left, top, left + width_px, top + height_px))
    assert (prepare(image, CLIP) == prepare(part, CLIP)).all()


def test_cutting_does_not_change_the_centre():
    smooth = Image.linear_gradient("L").resize((3000, 240)).convert("RGB")
    whole = smooth.resize((int(224 * 3000 / 240), 224), Image.Resampling.BICUBIC)
    left = round((whole.width - 224) / 2)
    expected = np.asarray(whole.crop((left, 0, left + 224, 224)), np.float32) / 255
    plain = Preprocessing("resize-crop", 224, 1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert np.abs(prepare(smooth, plain)[0].transpose(1, 2, 0) - expected).max() < 0.02


@pytest.mark.parametrize(
    ("views", "corners"),
    [
        (1, [(80, 60)]),
        (2, [(30, 60), (130, 60)]),
        (4, [(30, 20), (130, 20), (30, 100), (130, 100)]),
        (3, [(30, 20), (130, 20), (80, 100)]),
    ],
)
def test_native_crops_lie_around_the_centres_of_cells(views: int, corners: list[tuple[int, int]]):
    image = noise(200, 160)
    pixels = np.asarray(image)
    found = crops(image, 40, views)
    assert len(found) == len(corners)
    for crop, (left, top) in zip(found, corners, strict=True):
        assert (crop == pixels[top : top + 40, left : left + 40]).all()


def test_native_crops_stay_inside():
    image = noise(50, 45)
    pixels = np.asarray(image)
    first, _, _, last = crops(image, 40, 4)
    assert (first == pixels[:40, :40]).all()
    assert (last == pixels[5:, 10:]).all()


def test_small_pictures_are_mirrored():
    image = noise(3, 100)
    (crop,) = crops(image, 8, 1)
    row = np.asarray(image)[46]
    assert (crop[0] == row[[1, 0, 0, 1, 2, 2, 1, 0]]).all()
    (crop,) = crops(noise(1, 1), 8, 1)
    assert (crop == np.asarray(noise(1, 1))[0, 0]).all()


def test_normalisation_is_per_channel_in_rgb_order():
    image = Image.new("RGB", (4, 4), (255, 0, 51))
    preprocessing = Preprocessing("native-crops", 4, 1, (0.5, 0.25, 0.2), (0.5, 0.5, 0.1))
    assert prepare(image, preprocessing)[0, :, 0, 0].tolist() == pytest.approx([1.0, -0.5, 0.0], abs=1e-6)


def test_prepare_all_keeps_the_order_of_the_parts():
    parts = prepare_all(noise(300, 200), (CLIP, native(64, 4)))
    assert [part.shape for part in parts] == [(1, 3, 224, 224), (4, 3, 64, 64)]
