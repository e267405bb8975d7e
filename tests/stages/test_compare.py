"""Every head on every layer; the winner is chosen on validation and tested once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

import pipeline
from pipeline import HeadKind, Listener, heads
from pipeline.common.errors import OutputError
from pipeline.store import Store, open_store

QUICK = (HeadKind.ridge, HeadKind.centroid)


@pytest.fixture
def store(tiny: str, make_photos, tmp_path: Path) -> Path:
    out = tmp_path / "s"
    layers = ["avg", "top"]
    pipeline.extract(make_photos(each=12), out=out, backbone=tiny, weights="random", layers=layers)
    return out


def test_every_layer_pooling_and_kind_is_tried(store: Path, tmp_path: Path) -> None:
    result = pipeline.compare(store, kinds=QUICK, out=tmp_path / "h", report_out=tmp_path / "r")
    tried = {(each.layer, each.pool, each.kind) for each in result.candidates}
    expected = {("avg", None), ("top", "avg"), ("top", "max"), ("top", "flat")}
    expected.add(("avg+top:avg", None))
    assert tried == {(*where, kind.value) for where in expected for kind in QUICK}


def test_the_best_on_validation_is_kept_and_tested(store: Path, tmp_path: Path) -> None:
    result = pipeline.compare(store, kinds=QUICK, out=tmp_path / "h", report_out=tmp_path / "r")
    losses = [each.val_loss for each in result.candidates]
    assert losses == sorted(losses)
    best, saved = result.candidates[0], heads.load(tmp_path / "h")
    assert "+".join(part.name for part in saved.card.inputs).startswith(best.layer)
    assert saved.head.kind.value == best.kind
    assert saved.head.validation_["accuracy"] == best.val_accuracy
    again = pipeline.evaluate(tmp_path / "h", store, out=tmp_path / "r2")
    assert result.evaluation.report.accuracy == again.report.accuracy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h", "photos", "r", "r2", "s"]


def test_the_loss_is_the_log_loss_on_validation_images(store: Path, tmp_path: Path) -> None:
    places = {"out": tmp_path / "h", "report_out": tmp_path / "r"}
    result = pipeline.compare(store, kinds=["centroid"], layers=["avg"], **places)
    codes = pipeline.load_codes(store, split="val", layer="avg")
    probabilities = heads.load(tmp_path / "h").head.predict_proba(codes.X)
    [candidate] = result.candidates
    assert candidate.val_loss == pytest.approx(log_loss(codes.y, probabilities, labels=range(3)))


@pytest.mark.parametrize("memory", [None, "300MB"])
def test_the_codes_of_a_layer_and_pooling_are_read_once(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str | None
) -> None:
    """Those of training and of validation images, for three kinds; and those of the test."""
    read: list[str] = []
    folder_store = type(open_store(store))
    together = folder_store.together

    def counted(self: Store, layers: list[str], *args: object, **more: object) -> object:
        read.append("+".join(layers))
        return together(self, layers, *args, **more)

    monkeypatch.setattr(folder_store, "together", counted)
    monkeypatch.setattr("pipeline.flows.candidates.resident_bytes", lambda: 0)
    kinds = ["svm", "ridge", "centroid"]
    result = pipeline.compare(
        store, kinds=kinds, memory=memory, out=tmp_path / "h", report_out=tmp_path / "r"
    )
    assert len(result.candidates) == 15
    own = ["avg"] * 2 + ["top"] * 3 * 2 + ["avg+top"] * 2
    assert sorted(read[: len(own)]) == sorted(own)


def test_heads_that_lose_are_not_written(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Path] = []
    save = heads.save

    def noted(folder: Path, *args: object, **more: object) -> None:
        saved.append(folder)
        save(folder, *args, **more)

    monkeypatch.setattr("pipeline.heads.save", noted)
    result = pipeline.compare(store, kinds=QUICK, out=tmp_path / "h", report_out=tmp_path / "r")
    assert saved == [tmp_path / "h"]
    best = result.candidates[0]
    arrays = heads.load(tmp_path / "h").head.arrays()
    assert best.bytes == sum(array.nbytes for array in arrays.values())


@pytest.mark.parametrize("kind", ["svm", "knn", "centroid"])
def test_the_winner_is_the_head_that_fit_head_makes(kind: str, store: Path, tmp_path: Path) -> None:
    places = {"out": tmp_path / "h", "report_out": tmp_path / "r"}
    result = pipeline.compare(store, kinds=["softmax", kind], layers=["avg"], **places)
    best = result.candidates[0]
    fit = pipeline.fit_head(store, kind=best.kind, layer="avg", out=tmp_path / "own")
    assert fit.val_accuracy == best.val_accuracy
    one, other = heads.load(tmp_path / "h"), heads.load(tmp_path / "own")
    assert one.card.to_json() == other.card.to_json()
    assert one.head.parameters == other.head.parameters
    for name in ("seen", "judged", "held", "held_scores"):
        np.testing.assert_array_equal(getattr(one.card, name), getattr(other.card, name))
    assert {name: array.tolist() for name, array in one.head.arrays().items()} == {
        name: array.tolist() for name, array in other.head.arrays().items()
    }


def test_a_network_has_its_curves_beside_it(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(heads.MlpConfig.__init__.__kwdefaults__, "epochs", 3)  # of 100
    places = {"out": tmp_path / "h", "report_out": tmp_path / "r"}
    pipeline.compare(store, kinds=["mlp"], layers=["avg"], **places)
    assert (tmp_path / "h" / "curves.png").is_file()
    assert heads.load(tmp_path / "h").card.trained_on["judged"][0] == "chose its epoch"


@pytest.mark.parametrize("count", [1, 2])
def test_without_labelled_test_images_the_winner_is_chosen_and_not_tested(
    tiny: str, make_photos, tmp_path: Path, count: int
) -> None:
    pipeline.extract(make_photos(), out=tmp_path / "s", backbone=tiny, weights="random", test=0)
    told: list[str] = []
    ask = {"layers": ["avg"], "out": tmp_path / "h", "report_out": tmp_path / "r"}
    result = pipeline.compare(
        tmp_path / "s", kinds=QUICK[:count], listener=Listener(tell=told.append), **ask
    )
    assert result.evaluation is None
    assert not (tmp_path / "r").exists()
    assert heads.load(tmp_path / "h").head.kind.value == result.candidates[0].kind
    [note] = told
    assert result.warnings == (note,)
    more = "; its score on validation is a little too good, for it was the best of 2"
    start = "note: no labelled test images: the winner is not tested"
    assert note == start + more * (count == 2)


def test_what_to_know_about_the_test_is_part_of_the_result(
    tiny: str, make_photos, tmp_path: Path
) -> None:
    photos = make_photos(each=9)
    lines = ["path,label,split,group"]
    for path in sorted(photos.rglob("*.png")):
        number, name = int(path.stem), path.relative_to(photos)
        group = "herd" if number in (0, 8) else name
        lines.append(f"{name},{path.parent.name},{('train', 'val', 'test')[number // 3]},{group}")
    (photos / "photos.csv").write_text("\n".join(lines))
    pipeline.extract(photos / "photos.csv", out=tmp_path / "s", backbone=tiny, weights="random")
    places = {"out": tmp_path / "h", "report_out": tmp_path / "r"}
    result = pipeline.compare(tmp_path / "s", kinds=QUICK, layers=["avg"], **places)
    [warning] = result.warnings
    assert warning.startswith("warning: 3 of these 9 images are of groups of which other images")


def test_without_validation_images_folds_judge(tiny: str, make_photos, tmp_path: Path) -> None:
    photos = make_photos(each=12)
    pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random", val=0)
    told: list[str] = []
    result = pipeline.compare(
        tmp_path / "s",
        kinds=["svm", "centroid", "knn"],
        out=tmp_path / "h",
        report_out=tmp_path / "r",
        listener=Listener(tell=told.append),
    )
    assert any("judged by folds of the training images" in line for line in told)
    last = result.candidates[-1]
    assert (last.kind, last.val_accuracy) == ("knn", None)
    assert "no held-out images to judge it by" in last.reason
    assert heads.load(tmp_path / "h").head.validation_["how"] == "3-fold cross-validation"


def test_something_else_in_the_place_of_the_head(store: Path) -> None:
    with pytest.raises(OutputError, match="a head to replace"):
        pipeline.compare(store, out=store)
