"""What commands propose as their last line can be typed as it stands, and works."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import pipeline
from pipeline.cli import app, next_step

Photos = Callable[..., Path]


def run(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, f"{words}\n{done.output}\n{done.exception}"
    return done


def proposed(done: Result) -> list[str]:
    """Read the last line of stderr as a shell does."""
    start, *words = shlex.split(done.stderr.splitlines()[-1])
    assert start == "next:"
    assert words[0] == "pipeline"
    assert "next: " not in done.stdout
    return words[1:]


@pytest.fixture
def photos(tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Work beside a folder of photos whose name needs quotes."""
    make_photos("my photos", each=24)
    monkeypatch.chdir(tmp_path)
    return "my photos"


@pytest.fixture
def extracted(photos: str) -> Result:
    return run("extract", photos, "--out", "a store", "--backbone", "tiny", "--weights", "random")


def test_from_photos_to_answers(extracted: Result) -> None:
    words = proposed(extracted)
    assert words == ["fit-head", "a store", "--kind", "svm"]
    said = []
    while words[0] not in said:
        said.append(words[0])
        words = proposed(run(*words))
    assert said == ["fit-head", "evaluate", "predict", "show"][: len(said)]
    assert "predict" in said or "evaluate" in said


def test_predict_proposes_to_sort_and_then_to_look(svm: Path, tmp_path: Path) -> None:
    photos = str(tmp_path / "photos")
    words = proposed(run("predict", str(svm), photos))
    assert words == ["predict", str(svm), photos, "--sort-into", "sorted"]
    words[-1] = str(tmp_path / "sorted")
    words = proposed(run(*words))
    assert words == ["show", str(tmp_path / "sorted")]
    words = proposed(run(*words, "--out", str(tmp_path / "s.png")))
    assert words == ["extract", str(tmp_path / "sorted")]
    table = str(tmp_path / "a.csv")
    assert proposed(run("predict", str(svm), photos, "--csv", table)) == ["show", table]
    (tmp_path / "bad.png").write_bytes(b"no image")
    done = run("predict", str(svm), str(tmp_path / "bad.png"), code=3)
    assert run(*proposed(done))


def test_photos_without_labels_are_grouped_and_named(
    photos: str, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(path) for path in sorted(Path(photos).rglob("*.png"))]
    pipeline.extract(paths, out="holiday", backbone=tiny, weights="random")
    words = proposed(run("info", "holiday"))
    assert words == ["group", "holiday"]
    words = proposed(run(*words))
    assert words == ["relabel", "holiday", "artifacts/reports/holiday-groups/groups.csv"]
    words = proposed(run(*words))
    assert words == ["fit-head", "holiday", "--kind", "svm"]
    assert proposed(run(*words))[0] == "evaluate"
    labelled = proposed(run("group", "holiday", "--out", "other"))
    assert labelled == ["audit", "holiday"]  # and not to lose the labels


def test_an_extract_that_is_not_done_is_proposed_again(
    photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["extract", photos, "--out", "s", "--backbone", "tiny", "--weights", "random"]
    assert proposed(run(*words, "--dry-run")) == words
    from pipeline.images import _files

    def busy(*_: object) -> None:
        raise _files.Unreadable("cannot be read: busy", transient=True)

    with monkeypatch.context() as patch:
        patch.setattr(_files, "_read", busy)
        assert proposed(run(*words, code=1)) == words
    assert proposed(run("info", "s")) == ["repair", "s"]
    assert run(*proposed(run("repair", "s"))).stdout.splitlines()[-1].startswith("ok 72")
    (Path(photos) / "class_0" / "bad.png").write_bytes(b"no image")
    done = run(*words, "--max-rejected", "0", code=3)
    assert proposed(done)[0] == "fit-head"


def test_looking_after_a_store(extracted: Result) -> None:
    assert run(*proposed(run("verify", "a store")))
    words = proposed(run("pack", "a store", "p.h5"))
    assert words == ["verify", "p.h5"]
    assert proposed(run(*words)) == ["info", "p.h5"]
    assert proposed(run("repair", "a store")) == ["verify", "a store"]
    assert proposed(run("relabel", "a store", "--rename", "class_0=x"))[0] == "fit-head"
    Path("a store/probe.h5").write_bytes(b"damaged")
    words = proposed(run("verify", "a store", code=5))
    assert words == ["repair", "a store"]
    run(*words)
    run("verify", "a store")
    shard = next(Path("a store/shards").iterdir())
    shard.write_bytes(b"damaged")
    words = proposed(run("repair", "a store"))
    assert words[0] == "extract"
    assert run(*words).stdout.splitlines()[-1] == "ok 72  rejected 0  pending 0  of 72"


def test_an_audit_proposes_what_leaves_its_findings_out(extracted: Result) -> None:
    one = next(Path("my photos/class_0").iterdir())
    shutil.copy(one, "my photos/class_1/again.png")
    run("extract", "my photos", "--out", "a store", "--backbone", "tiny", "--weights", "random")
    words = proposed(run("audit", "a store"))
    assert words[:3] == ["audit", "a store", "--fix"]
    words = proposed(run(*words))
    assert words[0] == "extract"
    assert run(*words).stdout.splitlines()[-1].startswith("ok ")


def test_heads_of_a_store_of_several_layers(cached: Path, tmp_path: Path) -> None:
    words = proposed(run("show", str(cached), "--out", str(tmp_path / "s.png")))
    assert words == ["compare", str(cached)]
    best, report = str(tmp_path / "best"), str(tmp_path / "report")
    assert run(*proposed(run(*words, "--kind", "centroid", "--kind", "knn", "--out", best)))
    words = proposed(run("info", best))
    assert words == ["evaluate", best, str(cached)]
    exported = run("export", best, "--format", "joblib", "--out", str(tmp_path / "x.joblib"))
    assert proposed(exported) == words
    for each in (words, ["learning-curve", str(cached), "--seed", "0"]):
        assert proposed(run(*each, "--out", report))[0] in ("compare", "audit", "predict")


def test_without_test_images_a_head_is_judged_by_validation(
    photos: str, tiny: str, svm: Path
) -> None:
    pipeline.extract(photos, out="s", backbone=tiny, weights="random", test=0.0)
    words = proposed(run("fit-head", "s", "--kind", "centroid", "--out", "h"))
    assert words == ["evaluate", "h", "s", "--split", "val"]
    run(*words)
    pipeline.extract(photos, out="t", backbone=tiny, weights="random", test=0.0, val=0.0)
    words = proposed(run("fit-head", "t", "--kind", "centroid", "--out", "h"))
    assert words == ["predict", "h", photos]
    run(*words)


def test_json_stays_json(svm: Path, cached: Path, tmp_path: Path) -> None:
    for words in (
        ["evaluate", str(svm), str(cached), "--out", str(tmp_path / "r")],
        ["info", str(svm)],
        ["verify", str(cached)],
        ["group", str(cached), "--out", str(tmp_path / "g")],
        ["predict", str(svm), str(tmp_path / "photos")],
    ):
        done = run(*words, "--json")
        assert json.loads(done.stdout)
        assert "next: " not in done.stderr


def test_what_cannot_be_read_twice_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_step, "typed", ["predict", "h", "-"])
    assert next_step.same() is None


def test_nothing_heavy_is_imported_for_it() -> None:
    program = "import sys; import pipeline.cli.next_step; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
