import csv
import hashlib
from pathlib import Path

import pytest

from gendet_cli.intake.decode import decode

FOLDER = Path(__file__).parent.parent / "samples"
OTHER_FILES = {"GPL-3.txt", "README.md", "index.csv", "make.py"}
with (FOLDER / "index.csv").open(encoding="utf-8", newline="") as stream:
    ROWS = list(csv.DictReader(stream))


def test_the_index_names_every_picture_and_no_other() -> None:
    files = {path.name for path in FOLDER.iterdir() if path.is_file()} - OTHER_FILES
    assert files == {row["file"] for row in ROWS}
    assert len(files) == len(ROWS)


def test_the_folder_is_small_and_holds_each_kind() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 1_000_000
    assert {row["kind"] for row in ROWS} == {"photograph", "art", "autoencoded"}
    assert {Path(row["file"]).suffix for row in ROWS} == {".jpg", ".png", ".webp"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_picture_is_what_the_index_says(row: dict[str, str]) -> None:
    data = (FOLDER / row["file"]).read_bytes()
    image = decode(data).image
    assert hashlib.sha256(data).hexdigest() == row["sha256"]
    assert image.size == (int(row["width_px"]), int(row["height_px"]))
    assert max(image.size) <= 512
    assert all(row[column].strip() for column in ("package", "origin", "author", "licence"))


def test_an_autoencoded_picture_has_the_origin_and_licence_of_its_neighbour() -> None:
    plain = {Path(row["file"]).stem: row for row in ROWS if row["kind"] != "autoencoded"}
    autoencoded = [row for row in ROWS if row["kind"] == "autoencoded"]
    for row in autoencoded:
        original = plain[Path(row["file"]).stem.removesuffix("-autoencoded")]
        assert all(row[column] == original[column] for column in ("package", "origin", "author", "licence"))
    assert len(autoencoded) == 4
