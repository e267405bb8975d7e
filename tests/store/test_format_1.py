"""What the first version wrote, without checksums over whole files, is read as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline import heads, store
from pipeline.common.errors import StoreDamaged

KEPT = Path(__file__).parents[1] / "data" / "format-1"
EXPECTED = np.load(KEPT / "expected.npz")
HEADS = sorted(path.name for path in (KEPT / "heads").iterdir())


@pytest.mark.parametrize("name", ["store", "packed.h5"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_stores_and_packed_files(name: str, split: str) -> None:
    for layer in ("block2b_add:avg", "block5c_add"):
        codes = pipeline.load_codes(KEPT / name, split=split, layer=layer)
        np.testing.assert_array_equal(codes.X, EXPECTED[f"{split}/{layer}"])
        np.testing.assert_array_equal(codes.y, EXPECTED[f"{split}/y"])
        assert [path.encode() for path in codes.paths] == EXPECTED[f"{split}/paths"].tolist()
        assert codes.classes == ("blue", "green", "red")
        assert store.open_store(KEPT / name).probe(layer).shape[0] == 8


@pytest.mark.parametrize(("name", "noted"), [("store", "table.h5"), ("packed.h5", "packed.h5")])
def test_verify_says_what_it_cannot_judge(name: str, noted: str) -> None:
    found = pipeline.verify(KEPT / name)
    assert found.damage == ()
    [note] = found.notes
    assert noted in note
    assert "no checksum as a whole" in note


@pytest.mark.parametrize("kind", HEADS)
def test_heads(kind: str, tmp_path: Path) -> None:
    saved = heads.load(KEPT / "heads" / kind)
    codes = EXPECTED["test/block2b_add:avg"]
    right = (saved.head.predict(codes) == EXPECTED["test/y"]).mean()
    assert right == pytest.approx(1.0 if kind != "mlp" else right)
    report = pipeline.evaluate(KEPT / "heads" / kind, KEPT / "store", out=tmp_path / "r").report
    assert report.accuracy == right


def test_a_head_gives_the_answer_it_gave(tmp_path: Path) -> None:
    [answer] = pipeline.predict(KEPT / "heads" / "softmax", KEPT / "green.png").predictions
    assert answer.label == "green"


def test_an_image_that_was_read_otherwise_then_is_rejected(tmp_path: Path) -> None:
    """Its head knows the high byte of 16-bit values; today the bits in use count."""
    Image.fromarray(np.full((8, 8), 700, np.uint16)).save(tmp_path / "deep.png")
    [answer] = pipeline.predict(KEPT / "heads" / "softmax", tmp_path / "deep.png").predictions
    assert answer.label is None
    assert str(answer.reason).startswith("read by an earlier version in another way")


def test_adding_to_such_a_store_gives_it_the_checksums(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(KEPT / "store", folder)
    with store.Writer(folder) as writer:
        table = writer.table
        assert table is not None
        columns = ("paths", "classes", "labels", "splits", "sha256", "stat", "source")
        again = writer.finish(store.Scan(**{name: getattr(table, name) for name in columns}))
    assert again.count(store.Status.ok) == 60
    assert pipeline.verify(folder).notes == ()
    data = bytearray((folder / "table.h5").read_bytes())
    data[-1] ^= 1
    (folder / "table.h5").write_bytes(bytes(data))
    with pytest.raises(StoreDamaged, match="seal"):
        store.open_store(folder)


def test_repair_of_such_a_store_says_what_its_shards_lack(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(KEPT / "store", folder)
    assert pipeline.repair(folder).command is None
    (folder / "store.json").unlink()
    with pytest.raises(StoreDamaged, match=r"shards of earlier versions do not\); restore a copy"):
        pipeline.repair(folder)
