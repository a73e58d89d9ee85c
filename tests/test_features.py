"""``gendet features``: a store is made once and goes on where it stopped; --verify finds what is wrong with it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gendet_cli.cli import main
from gendet_cli.data.hashes import Hashes
from gendet_cli.data.layouts import Record
from gendet_cli.detector.files import sha256_of
from gendet_cli.features import computed, features_of, store_of, verify
from gendet_cli.plugin.specs import Backbone
from gendet_cli.types import Preprocessing

SAMPLES = sorted((Path(__file__).parent.parent / "samples").glob("*.jpg"))[:6]


class Colours(Backbone):
    """Mean colours, as in the README."""

    name, dimension, weights_sha256 = "colours", 6, "0" * 64
    preprocessing = (Preprocessing("resize-crop", 64, 1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),)
    calls = 0

    def features(self, views):
        type(self).calls += len(views[0])
        pixels = views[0].reshape(len(views[0]), 3, -1)
        return pixels.repeat(2, axis=1).mean(axis=2)


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return [
        Record(Path(shutil.copy(path, folder)), "fake" if n % 2 else "real", f"g{n}", "train")
        for n, path in enumerate(SAMPLES)
    ]


def made(records: list[Record], folder: Path, **options: object) -> object:
    return features_of(
        records, Colours(), "raw", folder, workers=1, progress=lambda *_: None, skipped=lambda *_: None, **options
    )


def problems(records: list[Record], folder: Path) -> list[str]:
    return verify(records, Colours(), "raw", folder, sample=3, workers=1, progress=lambda *_: None)


def test_nothing_is_computed_twice_and_what_is_missing_is_added(records: list[Record], tmp_path: Path) -> None:
    store = tmp_path / "store"
    Colours.calls = 0
    first = made(records[:4], store)
    assert Colours.calls == 4
    whole = made(records, store)
    assert Colours.calls == len(records)
    assert np.array_equal(whole.x[:4], first.x[:])
    assert whole.label.tolist() == [record.label for record in records]
    assert problems(records, store) == []


def test_processes_share_the_work(records: list[Record], tmp_path: Path) -> None:
    Colours.calls = 0
    part = made(records, tmp_path / "a", share=(1, 2))
    assert Colours.calls == len(records) // 2
    whole = made(records, tmp_path / "a", share=(0, 1))
    assert len(part.x) == len(records) // 2
    assert len(whole.x) == len(records)


def test_verify_finds_missing_wrong_doubled_and_damaged(records: list[Record], tmp_path: Path) -> None:
    store = tmp_path / "store"
    made(records[:4], store)
    assert [text for text in problems(records, store) if "no feature" in text]
    made(records, store)
    folder = store_of(store, Colours(), "raw").folder
    shard = min(folder.glob("shard-*.parquet"))
    table = pq.read_table(shard)
    doubled = folder / "shard-0.parquet"
    pq.write_table(table, doubled)
    assert any("there twice" in text for text in problems(records, store))
    doubled.write_bytes(shard.read_bytes()[:-50])
    assert any("shard-0" in text for text in problems(records, store))
    doubled.unlink()
    values = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False) + np.float16(1)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), 6)
    pq.write_table(table.set_column(table.column_names.index("feature"), "feature", column), shard)
    for copy in folder.glob("mapped-*"):
        copy.unlink()
    assert any("not what is computed now" in text for text in problems(records, store))


def test_verify_of_a_store_that_is_not_there_makes_none(records: list[Record], tmp_path: Path) -> None:
    assert "without --verify" in problems(records, tmp_path / "nothing")[0]
    assert not (tmp_path / "nothing").exists()


def test_every_one_of_equal_files_that_cannot_be_read_is_told(records: list[Record], tmp_path: Path) -> None:
    empty = [Record(tmp_path / f"empty{number}.jpg", "fake", "g", "train") for number in range(3)]
    for record in empty:
        record.path.write_bytes(b"")
    for share, name in (((0, 1), "alone"), ((0, 4), "first")):  # the first of four tells what the others could not read
        told: list[Record] = []
        features_of(
            [*records, *empty],
            Colours(),
            "raw",
            tmp_path / name,
            workers=1,
            progress=lambda *_: None,
            skipped=lambda record, _, told=told: told.append(record),
            share=share,
        )
        assert [record for record in told if record in empty] == empty
    assert len(told) > len(empty)


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    hashes = Hashes(tmp_path)
    first = hashes.of(file)
    hashes.save()
    os.utime(file, ns=(1, 1))
    file.write_bytes(b"two")
    assert Hashes(tmp_path).of(file) != first
    stat = file.stat()
    again = Hashes(tmp_path)
    second = again.of(file)
    again.save()
    file.write_bytes(b"six")  # same size, and its time is put back: taken on trust, as git does
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Hashes(tmp_path).of(file) == second
    with pytest.raises(FileNotFoundError):
        hashes.of(tmp_path / "gone")


def test_the_command_tells_of_unreadable_pictures_and_unknown_transforms(tmp_path: Path, capsys) -> None:
    for label in ("real", "fake"):
        (tmp_path / label).mkdir()
        shutil.copy(SAMPLES[0 if label == "real" else 1], tmp_path / label)
    (tmp_path / "fake" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = ["--dataset", "folders", "--real", str(tmp_path / "real"), "--fake", str(tmp_path / "fake")]
    store = ["--features", str(tmp_path / "store")]
    assert main(["features", *data, *store]) == 3
    assert "broken.png" in capsys.readouterr().err
    assert main(["features", *data, *store, "--transform", "tea"]) == 2


def test_computed_keeps_a_pictures_own_feature(records: list[Record]) -> None:
    pairs = [(record, sha256_of(record.path)) for record in records]
    views = list(computed(pairs, Colours(), "raw", 1, lambda *_: None, lambda *_: None))
    assert [view.sha256 for view in views] == [digest for _, digest in pairs]
    alone = list(computed(pairs[3:4], Colours(), "raw", 1, lambda *_: None, lambda *_: None))
    assert np.array_equal(views[3].feature, alone[0].feature)


def test_a_file_that_changed_behind_its_time_is_stored_under_its_own_hash(
    records: list[Record], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    made(records, store)
    victim = records[0].path
    stat = victim.stat()
    data = bytearray(victim.read_bytes())
    data[-40] ^= 1  # in the last of the compressed pixels: it still decodes, to another picture
    victim.write_bytes(data)
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    told: list[str] = []
    options = {"workers": 1, "progress": lambda *_: None, "skipped": lambda record, reason: told.append(reason)}
    features_of(records, Colours(), "aligned", store, **options)
    assert any("changed" in reason for reason in told)
    aligned = store_of(store, Colours(), "aligned").everything()
    assert sha256_of(victim) in aligned.sha256.tolist()
    assert any("no feature" in text for text in problems(records, store))  # hashed anew, it is another file


def test_a_feature_beyond_float16_is_refused(records: list[Record], tmp_path: Path) -> None:
    from gendet_cli.data.store import Store, View
    from gendet_cli.errors import SettingsError

    with pytest.raises(SettingsError, match="float16"):
        Store(tmp_path, {}).add([View(records[0], "0" * 64, np.array([7e4, 1.0], np.float32))])
