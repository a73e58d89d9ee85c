"""The trees of GenImage and of UniversalFakeDetect, as their authors publish them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gendet_cli.data.layouts import Label, Layout, Places, Record, listing, pictures
from gendet_cli.errors import SettingsError

GENIMAGE_SUBSETS = {
    "midjourney": "Midjourney",
    "sdv4": "SD V1.4",
    "sdv5": "SD V1.5",
    "stable_diffusion_v_1_4": "SD V1.4",
    "stable_diffusion_v_1_5": "SD V1.5",
    "adm": "ADM",
    "glide": "GLIDE",
    "wukong": "Wukong",
    "vqdm": "VQDM",
    "biggan": "BigGAN",
}
"""What a folder's name ends with (``imagenet_ai_0419_sdv4``), and the subset's name in the paper's Table 3."""

UFD_GAN_SETS = (
    *("progan", "cyclegan", "biggan", "stylegan", "gaugan", "stargan"),
    *("deepfake", "seeingdark", "san", "crn", "imle"),
)
UFD_DIFFUSION_SETS = {
    "guided": "imagenet",
    "ldm_200": "laion",
    "ldm_200_cfg": "laion",
    "ldm_100": "laion",
    "glide_100_27": "laion",
    "glide_50_27": "laion",
    "glide_100_10": "laion",
    "dalle": "laion",
}
"""Set -> the folder whose ``0_real`` it is measured against."""

UFD_SETS = (*UFD_GAN_SETS, *UFD_DIFFUSION_SETS)
CLASSES: dict[str, Label] = {"0_real": "real", "1_fake": "fake"}

GENIMAGE_TREE = "<root>/<generator folder, e.g. imagenet_ai_0419_sdv4>/{train,val}/{ai,nature}/*, ai being fake"
UFD_TREE = (
    "<root>/{train,val,test}/<set>/[<class>/]{0_real,1_fake}/*, and the diffusion sets <root>/<set>/1_fake/* with the"
    " reals <root>/{laion,imagenet}/0_real/* (also below <root>/diffusion_datasets)"
)


def genimage_subset(folder: str) -> str:
    """The paper's name of a generator's folder, or the folder's own name."""
    name = folder.lower()
    return next((subset for end, subset in GENIMAGE_SUBSETS.items() if name.endswith(end)), folder)


def _genimage(places: Places, split: str) -> list[Record]:
    assert places.root is not None
    records: list[Record] = []
    for folder in _generators(places.root, split):
        subset = genimage_subset(folder.name)
        for name, label in (("nature", "real"), ("ai", "fake")):
            place = folder / split / name
            paths = pictures(place) if place.is_dir() else []
            if not paths:
                raise SettingsError(f"{place}: no picture; {listing(folder / split)}", hint=f"expected {GENIMAGE_TREE}")
            group = folder.name if label == "fake" else f"nature/{folder.name}"
            records += [Record(path, label, group, split, "", subset) for path in paths]  # type: ignore[arg-type]
    if not records:
        raise SettingsError(f"no GenImage there: {listing(places.root)}", hint=f"expected {GENIMAGE_TREE}")
    return records


def _generators(root: Path, split: str) -> Iterator[Path]:
    """Folders that have the split, directly below ``root`` or one deeper, where an archive was unpacked in its own."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        inner = folder if _has_splits(folder) else next(filter(_has_splits, sorted(folder.glob("*/"))), None)
        if inner is None:
            continue
        if (inner / split).is_dir():
            yield inner
        elif split == "val":  # many have only the validation part of a generator, none only the part for training
            raise SettingsError(f"{inner}: no folder {split}; {listing(inner)}", hint=f"expected {GENIMAGE_TREE}")


def _has_splits(folder: Path) -> bool:
    return any((folder / split).is_dir() for split in ("train", "val"))


def _universalfakedetect(places: Places, split: str) -> list[Record]:
    assert places.root is not None
    records = list(_sets_of(places.root / split, split))
    if split == "test":
        records += _diffusion(places.root)
    if not records:
        raise SettingsError(
            f"no UniversalFakeDetect there: {listing(places.root)}; {listing(places.root / split)}",
            hint=f"expected {UFD_TREE}",
        )
    return records


def _sets_of(folder: Path, split: str) -> Iterator[Record]:
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        found = {name: sorted(place.rglob(name)) for name in CLASSES} if place.is_dir() else {}
        if not any(found.values()) or place.name in UFD_DIFFUSION_SETS or place.name in UFD_DIFFUSION_SETS.values():
            continue
        absent = [name for name, folders in found.items() if not any(map(pictures, folders))]
        if absent:
            raise SettingsError(
                f"{place}: no picture in {', '.join(absent)}; {listing(place)}", hint=f"expected {UFD_TREE}"
            )
        for name, label in CLASSES.items():
            for part in found[name]:
                source = "/".join(part.parent.relative_to(folder).parts)
                group = source if label == "fake" else f"real/{source}"
                yield from (Record(path, label, group, split, "", place.name) for path in pictures(part))


def _diffusion(root: Path) -> Iterator[Record]:
    """The diffusion sets, each with a record of every real picture it shares."""
    for name, shared in UFD_DIFFUSION_SETS.items():
        fake, real = (_below(root, set_name, part) for set_name, part in ((name, "1_fake"), (shared, "0_real")))
        if fake is None:
            continue
        if real is None:
            raise SettingsError(f"{fake}: no reals {shared}/0_real; {listing(root)}", hint=f"expected {UFD_TREE}")
        found = {"real": pictures(real), "fake": pictures(fake)}
        if not all(found.values()):
            raise SettingsError(f"{fake} or {real}: no picture", hint=f"expected {UFD_TREE}")
        yield from (Record(path, "real", f"real/{shared}", "test", "", name) for path in found["real"])
        yield from (Record(path, "fake", name, "test", "", name) for path in found["fake"])


def _below(root: Path, name: str, part: str) -> Path | None:
    places = (base / name / part for base in (root, root / "diffusion_datasets", root / "test"))
    return next((place for place in places if place.is_dir()), None)


GENIMAGE = Layout("genimage", "GENDET_GENIMAGE", GENIMAGE_TREE, ("train", "val"), _genimage)
UNIVERSALFAKEDETECT = Layout(
    "universalfakedetect", "GENDET_UNIVERSALFAKEDETECT", UFD_TREE, ("train", "val", "test"), _universalfakedetect
)
