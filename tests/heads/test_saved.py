"""Heads on disk: what is written is read; what is damaged is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import replace

import h5py
import numpy as np
import pytest

from pipeline.common import files, hdf5
from pipeline.common.choices import HeadKind
from pipeline.common.errors import HeadDamaged, HeadError, HeadLocked, HeadNotFound, OutputError
from pipeline.common.locks import locked
from pipeline.heads import Card, Part, build, check_target, load, save
from pipeline.heads import _saved as saved_module

KINDS = list(HeadKind)
TUNED = {"top/kernel": np.ones((4, 24), np.float32), "top/bias": np.zeros(24, np.float32)}
UNFINISHED = ("unfinished-0123456789ab.h5", ".unfinished-0123456789ab.h5.0123abcd.tmp")


@pytest.fixture
def saved(tmp_path, heads, card):
    """A folder with a saved svm."""
    save(tmp_path / "head", heads[HeadKind.svm], card)
    return tmp_path / "head"


def same_card(one: Card, other: Card) -> bool:
    return np.array_equal(one.probe, other.probe) and replace(one, probe=None) == replace(
        other, probe=None
    )


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind, heads, card, three_classes, tmp_path):
    save(tmp_path / "a" / "b", heads[kind], card)
    again = load(tmp_path / "a" / "b")
    X = three_classes.X_test
    assert np.array_equal(again.head.decision(X), heads[kind].decision(X))
    assert again.head.parameters == heads[kind].parameters
    assert again.head.history_ == heads[kind].history_
    assert again.head.validation_ == heads[kind].validation_
    assert again.directory == tmp_path / "a" / "b"
    assert same_card(again.card, card)
    assert again.card.space.space_id == card.space.space_id


def test_head_json_says_it_all(saved):
    description = json.loads((saved / "head.json").read_text())
    assert {
        *("format", "kind", "parameters", "classes", "layer", "pool", "shape", "space"),
        *("space_id", "weights", "batch_size", "scores", "seed", "versions", "trained_on"),
        *(
            "history",
            "validation",
            "calibration",
            "payload",
            "payload_sha256",
            "checksum",
            "engine",
            "precision",
            "arrays",
        ),
    } == set(description)
    assert description["payload"] == f"weights-{description['payload_sha256'][:12]}.h5"
    assert sorted(path.name for path in saved.iterdir()) == ["head.json", description["payload"]]


def test_codes_of_unknown_origin(heads, card, tmp_path):
    save(tmp_path, heads[HeadKind.svm], replace(card, space=None, probe=None, pool=None))
    again = load(tmp_path).card
    assert (again.space, again.probe, again.pool) == (None, None, None)


class TestSeveralLayers:
    """A head on the codes of several layers says so, and other heads say nothing of it."""

    @pytest.fixture
    def joined(self, card):
        """Describe the heads of `heads` as taking 8 numbers of one layer and 4 * 4 of another."""
        shapes = {"avg": (8,), "map": (2, 2, 4)}
        space = replace(
            card.space,
            weights_sha256=dict.fromkeys(shapes, "0" * 64),
            layers=shapes,
            pooling=dict.fromkeys(shapes, "none"),
        )
        also = (Part(layer="map", pool="flat", shape=(2, 2, 4)),)
        return replace(card, pool=None, shape=(8,), also=also, space=space)

    def test_round_trip(self, heads, joined, tmp_path):
        save(tmp_path, heads[HeadKind.svm], joined)
        again = load(tmp_path).card
        assert same_card(again, joined)
        assert [part.name for part in again.inputs] == ["avg", "map:flat"]
        assert again.taken == (24,)

    def test_its_codes_are_joined_in_order(self, heads, joined, tmp_path, three_classes):
        save(tmp_path, heads[HeadKind.svm], joined)
        again, X = load(tmp_path), three_classes.X_test
        codes = {"map": X[:, 8:].reshape(-1, 2, 2, 4), "avg": X[:, :8]}
        found = again.decision(again.card.take(codes))
        assert np.array_equal(found, heads[HeadKind.svm].decision(X))
        views = {name: block.reshape(10, -1, *block.shape[1:]) for name, block in codes.items()}
        assert np.array_equal(again.card.take(views), X.reshape(10, -1, 24))

    def test_earlier_versions_know_that_they_cannot_read_it(self, heads, joined, tmp_path, saved):
        save(tmp_path / "joined", heads[HeadKind.svm], joined)
        description = json.loads((tmp_path / "joined" / "head.json").read_text())
        assert description["format"] == 3
        assert description["also"] == [{"layer": "map", "pool": "flat", "shape": [2, 2, 4]}]
        alone = json.loads((saved / "head.json").read_text())
        assert alone["format"] == 1
        assert "also" not in alone

    @pytest.mark.parametrize(
        ("also", "said"),
        [
            ([], "a probe of shape (8, 24)"),
            (3, "not iterable"),
            ([{"layer": "map", "pool": "flat"}], "'shape'"),
            ([{"layer": "map", "pool": "most", "shape": [2, 2, 4]}], "'most' is not a valid Pool"),
            ([{"layer": "map", "pool": "avg", "shape": [2, 2, 4]}], "a probe of shape (8, 24)"),
            ([{"layer": "map", "pool": None, "shape": [4, 4]}], "codes of shape (4, 4)"),
            ([{"layer": "avg", "pool": None, "shape": [16]}], "two layers of one name"),
            ([{"layer": "other", "pool": None, "shape": [16]}], "no layer other in its space"),
            ([{"layer": "map", "pool": "flat", "shape": [0, 2, 4]}], "codes of shape (0, 2, 4)"),
        ],
    )
    def test_nonsense_with_a_right_checksum(self, heads, joined, tmp_path, also, said):
        save(tmp_path, heads[HeadKind.svm], joined)
        rewrite(tmp_path, also=also)
        with pytest.raises(HeadDamaged, match=re.escape(said)):
            load(tmp_path)

    def test_fine_tuned_layers_have_one_layer_below_them(self, heads, joined, tmp_path):
        tuned = replace(joined, tuned_to="avg")
        with pytest.raises(HeadError, match="several layers below fine-tuned ones"):
            save(tmp_path, heads[HeadKind.svm], tuned, tuned={"a/b": np.ones(3, np.float32)})


class TestFineTuned:
    """A head whose codes go through layers of its own first: they take what a layer below gives."""

    @pytest.fixture
    def tuned(self, card):
        """Describe the heads of `heads` as standing on layers that take maps of 2 * 2 * 4."""
        space = replace(
            card.space,
            weights_sha256={"map": "0" * 64},
            layers={"map": (2, 2, 4)},
            pooling={"map": "none"},
        )
        below = {"layer": "map", "shape": (2, 2, 4), "tuned_to": "avg", "probe": None}
        return replace(card, pool=None, space=space, **below)

    def test_round_trip(self, heads, tuned, tmp_path):
        save(tmp_path, heads[HeadKind.softmax], tuned, tuned=TUNED)
        again = load(tmp_path)
        assert again.tuned.keys() == TUNED.keys()
        for name, array in TUNED.items():
            np.testing.assert_array_equal(again.tuned[name], array)
        assert (again.card.tuned_to, again.card.taken) == ("avg", (2, 2, 4))
        assert json.loads((tmp_path / "head.json").read_text())["format"] == 2

    def test_codes_of_the_store_go_through_its_layers_first(self, heads, tuned, tmp_path):
        save(tmp_path, heads[HeadKind.softmax], tuned, tuned=TUNED)
        maps = np.arange(2 * 16, dtype=np.float32).reshape(2, 2, 2, 4)

        def above(codes):
            return codes.mean(axis=(1, 2)) @ TUNED["top/kernel"] + TUNED["top/bias"]

        found = replace(load(tmp_path), above=above).decision(maps)
        assert np.array_equal(found, heads[HeadKind.softmax].decision(above(maps)))

    def test_the_weights_and_where_they_end_belong_together(self, heads, card, tuned, tmp_path):
        for described, weights in ((tuned, None), (card, TUNED)):
            with pytest.raises(
                HeadError, match="fine-tuned layers and their end, found one of two"
            ):
                save(tmp_path / "head", heads[HeadKind.softmax], described, tuned=weights)
        assert not (tmp_path / "head").exists()


def test_attachments_are_written_beside(heads, card, tmp_path):
    save(tmp_path, heads[HeadKind.svm], card, attachments={"curves.png": b"png"})
    assert (tmp_path / "curves.png").read_bytes() == b"png"


def test_a_new_head_replaces_the_old_one_and_its_payload(saved, heads, card):
    (saved / ".head.json.0123abcd.tmp").write_text("left by a process that was killed")
    (saved / "notes.txt").write_text("mine")
    save(saved, heads[HeadKind.mlp], card)
    assert load(saved).head.kind is HeadKind.mlp
    assert len(list(saved.glob("weights-*.h5"))) == 1
    assert not list(saved.glob(".*.tmp"))
    assert (saved / "notes.txt").exists()


def test_only_fitted_heads_with_their_classes_are_saved(heads, card, tmp_path):
    with pytest.raises(HeadError, match="call fit first"):
        save(tmp_path / "head", build(HeadKind.svm), card)
    with pytest.raises(HeadError, match="names of 3 classes, found 2"):
        save(tmp_path / "head", heads[HeadKind.svm], replace(card, classes=("cat", "dog")))
    assert not (tmp_path / "head").exists()


def test_a_file_in_the_way(heads, card, tmp_path):
    (tmp_path / "head").write_text("")
    with pytest.raises(OutputError, match="choose another"):
        save(tmp_path / "head", heads[HeadKind.svm], card)


def test_a_target_is_new_or_a_head(saved, tmp_path):
    check_target(saved)
    check_target(tmp_path / "new")
    (tmp_path / "photos").mkdir()
    check_target(tmp_path / "photos")
    (tmp_path / "photos" / "cat.jpg").write_text("")
    for taken in (tmp_path / "photos", tmp_path / "photos" / "cat.jpg"):
        with pytest.raises(OutputError, match="choose another"):
            check_target(taken)


def test_a_target_that_cannot_be_made_is_refused_before_the_fit(tmp_path):
    (tmp_path / "file").write_text("")
    check_target(tmp_path / "new" / "heads" / "svm")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(OutputError, match=r"cannot write .*/file/new .*choose another place"):
        check_target(tmp_path / "file" / "new" / "head")


def test_a_first_save_that_was_killed_leaves_a_target(heads, card, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.heads._saved.write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(tmp_path, heads[HeadKind.svm], card, attachments={"curves.png": b"png"})
    monkeypatch.undo()
    check_target(tmp_path)
    with pytest.raises(HeadNotFound):
        load(tmp_path)
    save(tmp_path, heads[HeadKind.svm], card)
    assert load(tmp_path).head.kind is HeadKind.svm


class TestInterrupted:
    """At whatever call the process stops, the old head or the new one is there, whole."""

    @pytest.mark.parametrize("name", ["os.replace", "os.fsync", "pathlib.Path.unlink"])
    @pytest.mark.parametrize("nth", range(7))
    def test_a_call_fails(self, name, nth, saved, heads, card, monkeypatch, three_classes):
        old = heads[HeadKind.svm].decision(three_classes.X)
        new = heads[HeadKind.softmax].decision(three_classes.X)
        module, attribute = name.rsplit(".", 1)
        owner = os if module == "os" else type(saved).__mro__[1]
        real, calls = getattr(owner, attribute), []

        def failing(*arguments, **keywords):
            calls.append(arguments)
            if len(calls) == nth + 1:
                raise KeyboardInterrupt
            return real(*arguments, **keywords)

        monkeypatch.setattr(owner, attribute, failing)
        with suppress(KeyboardInterrupt):
            save(saved, heads[HeadKind.softmax], card, attachments={"curves.png": b"png"})
        monkeypatch.undo()

        found = load(saved).head
        expected = old if found.kind is HeadKind.svm else new
        assert np.array_equal(found.decision(three_classes.X), expected)
        save(saved, heads[HeadKind.softmax], card)
        assert np.array_equal(load(saved).head.decision(three_classes.X), new)
        assert len(list(saved.iterdir())) == (3 if (saved / "curves.png").exists() else 2)

    def test_the_disk_gives_back_something_else(self, saved, heads, card, monkeypatch):
        def write(path, data):
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

        monkeypatch.setattr("pipeline.heads._saved.write_durably", write)
        with pytest.raises(HeadDamaged, match="SHA-256"):
            save(saved, heads[HeadKind.softmax], card)
        assert load(saved).head.kind is HeadKind.svm


def test_a_folder_that_was_made_for_nothing_is_removed(heads, card, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved_module, "write_durably", full)
    for name in ("there", "new"):
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path / name, heads[HeadKind.svm], card)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())


class TestDamaged:
    def test_nothing_there(self, tmp_path):
        with pytest.raises(HeadNotFound, match=r"no head\.json; make one with `pipeline fit-head"):
            load(tmp_path / "nowhere")
        (tmp_path / "file").write_text("")
        with pytest.raises(HeadNotFound):
            load(tmp_path / "file")

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "is not JSON"),
            (b"{", "is not JSON"),
            (b"[]", "expected a JSON object"),
            (b"{}", "the checksum of head.json differs"),
            (b"\xff\xfe", "is not JSON"),
            (b"null", "expected a JSON object"),
            (b'{"format": 1}', "the checksum of head.json differs"),
            (b"[" * 100_000, "is not JSON"),
            (b"\0" * 64, "is not JSON"),
        ],
    )
    def test_garbage(self, saved, content, said):
        (saved / "head.json").write_bytes(content)
        with pytest.raises(HeadDamaged, match="fit it again or restore a copy") as caught:
            load(saved)
        assert said in str(caught.value)
        assert caught.value.exit_code == 5

    def test_a_folder_in_its_place(self, saved):
        (saved / "head.json").unlink()
        (saved / "head.json").mkdir()
        with pytest.raises(HeadDamaged, match=r"head\.json is no file"):
            load(saved)

    def test_no_payload(self, saved):
        next(saved.glob("weights-*")).unlink()
        with pytest.raises(HeadDamaged):
            load(saved)

    def test_every_truncation(self, saved):
        for path in list(saved.iterdir()):
            content = path.read_bytes()
            for size in range(0, len(content) - 1, max(1, len(content) // 50)):
                path.write_bytes(content[:size])
                with pytest.raises(HeadDamaged):
                    load(saved)
            path.write_bytes(content)

    def test_another_heads_payload(self, saved, heads, card, tmp_path):
        save(tmp_path / "other", heads[HeadKind.softmax], card)
        theirs = next((tmp_path / "other").glob("weights-*"))
        shutil.copy(theirs, next(saved.glob("weights-*")))
        with pytest.raises(HeadDamaged, match="SHA-256"):
            load(saved)

    def test_a_later_format(self, saved):
        rewrite(saved, format=6)
        with pytest.raises(HeadError, match=r"1 to 5, found 6 .* version of the pipeline"):
            load(saved)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"kind": "forest"}, "'forest' is not a valid HeadKind"),
            ({"kind": "mlp"}, "'config'"),
            ({"parameters": {}}, "'C'"),
            ({"parameters": None}, "no attribute 'get'"),
            ({"classes": ["a"]}, "1 classes and 3 scores"),
            ({"classes": 3}, "not iterable"),
            ({"space": {}}, "not a space: 'layers'"),
            ({"space_id": "0"}, "space and space_id do not belong together"),
            ({"space": None, "space_id": None, "shape": [25]}, "(25,) for 24 weights"),
            ({"shape": "wide"}, "invalid literal"),
            ({"batch_size": None}, "not the card of a head"),
            ({"payload": "../../etc/passwd"}, "'../../etc/passwd' is no name of a payload"),
            ({"payload": None}, "'None' is no name of a payload"),
            ({"payload": "weights-000000000000.h5"}, "weights-000000000000.h5 is missing"),
            ({"payload_sha256": None}, "the SHA-256 of weights-"),
            ({"calibration": {"slope": -1.0}}, "expected a slope above 0, found -1.0"),
            ({"calibration": {"slope": 0.0}}, "expected a slope above 0, found 0.0"),
            ({"calibration": {"slope": "steep"}}, "expected a slope above 0, found 'steep'"),
            ({"calibration": {}}, "'slope'"),
            ({"calibration": 3}, "not subscriptable"),
        ],
    )
    def test_nonsense_with_a_right_checksum(self, saved, changes, said):
        rewrite(saved, **changes)
        with pytest.raises(HeadDamaged, match=re.escape(said)):
            load(saved)

    @pytest.mark.parametrize("calibration", [None, {"slope": 0.5, "loss": 1.0}])
    def test_a_calibration_that_may_be(self, saved, calibration):
        rewrite(saved, calibration=calibration)
        assert load(saved).head.calibration_ == calibration

    def test_a_number_that_is_none(self, saved):
        text = (saved / "head.json").read_text()
        (saved / "head.json").write_text(text.replace('"batch_size": 8', '"batch_size": NaN'))
        with pytest.raises(HeadDamaged, match="is none"):
            load(saved)

    @pytest.mark.parametrize("which", ["head.json", "weights-*.h5"])
    def test_flipped_bits(self, saved, heads, card, which, three_classes):
        rng = np.random.default_rng(0)
        path = next(saved.glob(which))
        whole = path.read_bytes()
        expected = heads[HeadKind.svm].decision(three_classes.X)
        refused = 0
        for _ in range(300):
            bad = bytearray(whole)
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
            path.write_bytes(bytes(bad))
            try:
                found = load(saved)
            except HeadError:
                refused += 1
            else:  # white space, or a letter of an escape in another case
                assert np.array_equal(found.head.decision(three_classes.X), expected)
                assert same_card(found.card, card)
        assert refused == 300 if which.startswith("weights") else refused > 200


class TestHostile:
    """A payload that vouches for itself and still wants more than it should."""

    @pytest.mark.parametrize(
        "fill",
        [
            lambda f: f.__setitem__("arrays/coef", h5py.ExternalLink("/etc/passwd", "/")),
            lambda f: f.__setitem__("arrays/coef", h5py.SoftLink("/nowhere")),
            lambda f: f.create_dataset("arrays/coef", (10**9, 10**6), "f8"),
            lambda f: f.create_dataset(
                "arrays/coef", (4000, 4000), "f8", chunks=True, compression="gzip", fillvalue=1
            ),
            lambda f: f.create_dataset("arrays/coef", data=["text"]),
            lambda f: f.create_dataset("arrays/coef", data=np.ones((2, 24))),
            lambda f: f.create_group("arrays/coef/more"),
            lambda f: f.create_dataset("arrays", data=np.ones(3)),
            lambda f: None,
        ],
    )
    def test_payload(self, saved, fill):
        content = hdf5.hdf5_bytes(fill)
        path = saved / "weights-000000000000.h5"
        path.write_bytes(content)
        # As in heads of earlier versions, whose arrays are not listed.
        rewrite(saved, payload=path.name, payload_sha256=files.sha256_file(path), arrays=None)
        with pytest.raises(HeadDamaged):
            load(saved)


def give_hashes(directory, which, hashes):
    """Append hashes of four images, and scores of them for three classes, to a payload."""
    description = json.loads((directory / "head.json").read_text())
    data, places = (directory / description["payload"]).read_bytes(), description["arrays"]
    places |= {which: ["<u8", [4], len(data)]}
    places |= {"held_scores": ["<f8", [4, 3], len(data) + 32]} if which == "held" else {}
    data += np.array(hashes, "<u8").tobytes() + np.zeros((4, 3)).tobytes()
    digest = hashlib.sha256(data).hexdigest()
    name = f"weights-{digest[:12]}.h5"
    (directory / name).write_bytes(data)
    rewrite(directory, payload=name, payload_sha256=digest, arrays=places)


def rewrite(directory, **changes):
    """Change head.json and let its checksum be right."""
    description = {**json.loads((directory / "head.json").read_text()), **changes}
    del description["checksum"]
    digest = hashlib.sha256(files.canonical_json(description)).hexdigest()
    (directory / "head.json").write_text(json.dumps({**description, "checksum": digest}))


class TestSeveralAtOnce:
    def test_two_that_save_to_one_place_wait_for_each_other(
        self, heads, card, tmp_path, monkeypatch
    ):
        inside = threading.Event()
        real = saved_module.write_json

        def slow(path, value):
            inside.set()
            time.sleep(0.3)
            real(path, value)

        monkeypatch.setattr(saved_module, "write_json", slow)
        first = threading.Thread(target=save, args=(tmp_path, heads[HeadKind.knn], card))
        first.start()
        inside.wait()
        save(tmp_path, heads[HeadKind.centroid], card)
        first.join()
        assert load(tmp_path).head.kind is HeadKind.centroid
        assert len(list(tmp_path.iterdir())) == 2

    def test_who_waits_too_long_is_told(self, saved, heads, card, monkeypatch):
        monkeypatch.setattr(saved_module, "_PATIENCE", 0.05)
        with locked(saved), pytest.raises(HeadLocked, match=r"alone in .* it locked by process"):
            save(saved, heads[HeadKind.svm], card)
        assert load(saved).head.kind is HeadKind.svm

    def test_what_another_trains_in_the_folder_stays(self, saved, heads, card):
        for name in UNFINISHED:
            (saved / name).write_bytes(b"an hour of epochs")
        save(saved, heads[HeadKind.ridge], card)
        assert all((saved / name).exists() for name in UNFINISHED)

    def test_a_head_that_is_replaced_while_it_is_read(self, saved, heads, card, monkeypatch):
        """The payload that the old head.json names is gone: the new head is read instead."""
        real, done = saved_module._read, []

        def replaced(directory, description):
            if not done:
                done.append(True)
                save(saved, heads[HeadKind.softmax], card)
            return real(directory, description)

        monkeypatch.setattr(saved_module, "_read", replaced)
        assert load(saved).head.kind is HeadKind.softmax


class TestUnreadable:
    @pytest.mark.parametrize("name", ["head.json", "weights"])
    def test_is_not_damaged(self, saved, monkeypatch, name):
        def read(path):
            if path.name.startswith(name):
                raise OSError(errno.EIO, "Input/output error")
            return path.read_bytes()

        monkeypatch.setattr(files, "read_bytes", read)
        monkeypatch.setattr("pipeline.heads._payload.read_bytes", read)
        with pytest.raises(HeadError, match=r"this time \(input/output error\)") as caught:
            load(saved)
        assert caught.value.exit_code == 1


class TestCrafted:
    """What a head.json with a right checksum may say, and what is refused."""

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"arrays": {}}, "'coef'"),
            ({"arrays": {"arrays/coef": ["<f8", [3, 24], 10**9]}}, "behind the end of the file"),
            ({"arrays": {"arrays/coef": ["<f8", [3, -24], 0]}}, "an array of shape [3, -24] at 0"),
            ({"arrays": {"arrays/coef": ["<f8", [3, True], 0]}}, "an array of shape [3, True] at"),
            ({"arrays": {"arrays/coef": ["O", [3, 24], 0]}}, "an array of 'O' and shape [3, 24]"),
            ({"arrays": {"arrays/coef": "everywhere"}}, "too many values"),
            ({"arrays": {"elsewhere": ["<f8", [1], 0]}}, "an unknown array 'elsewhere'"),
            ({"arrays": 3}, "expected the places of arrays"),
            ({"classes": ["a", "a", "b"]}, "two classes of one name"),
            ({"classes": ["a", "b", "\ud800"]}, "surrogates not allowed"),
            ({"weights": {"source": 3, "file_sha256": None}}, "weights whose name is no text"),
            ({"weights": {}}, "a backbone without weights"),
            ({"trained_on": {"store": 3}}, "a store or a layer whose name is no text"),
            ({"validation": {"accuracy": "good", "images": 3, "how": "?"}}, "a validation that is"),
            ({"validation": {"accuracy": 0.5, "images": "3", "how": "?"}}, "a validation that is"),
            ({"validation": {"accuracy": True, "images": 3, "how": "?"}}, "a validation that is"),
            ({"validation": {"accuracy": 0.5, "images": 3, "how": 4}}, "a validation that is none"),
            ({"history": {"loss": ["high"]}}, "the history of loss has values that are no numbers"),
            ({"history": {"loss": [1, 2], "val_loss": [1]}}, "histories of different length"),
            ({"batch_size": 10**30}, "a batch of 1000"),
            ({"batch_size": 0}, "a batch of 0"),
            ({"batch_size": "8"}, "'batch_size' is not what such a head has"),
            ({"layer": "another"}, "no layer another in its space"),
            ({"pool": "median"}, "'median' is not a valid Pool"),
            ({"engine": "abacus"}, "'abacus' is not a valid Engine"),
            ({"unknown": 1}, "'unknown' is not what such a head has"),
        ],
    )
    def test_is_damaged(self, saved, changes, said):
        rewrite(saved, **changes)
        with pytest.raises(HeadDamaged, match=re.escape(said)):
            load(saved)

    @pytest.mark.parametrize(
        ("kind", "array", "said"),
        [
            ("svm", "bias", "expected coef (k, d), bias (k,) and scale (d,), found (3, 24), (2,)"),
            ("softmax", "intercept", "expected mean (d,) and intercept (k,)"),
            ("knn", "labels", "expected scale (d,), codes (n, d) and labels (n,), found"),
            ("centroid", "scale", "expected scale (d,) and centres (k, d), found"),
            ("mlp", "bias_0", "expected layers of widths (24, 16, 3), found"),
        ],
    )
    def test_arrays_that_do_not_fit_together(self, heads, kind, array, said):
        """One row is missing; whoever writes a head by hand gets this far with checksums."""
        head = heads[HeadKind(kind)]
        arrays = head.arrays() | {array: head.arrays()[array][1:]}
        with pytest.raises(HeadError, match=re.escape(said)):
            type(head).from_arrays(head.parameters, arrays)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"n_classes": 1}, "expected labels below 1"),
            ({"k_used": 0}, "expected 1 to 120 neighbours, found 0"),
            ({"k_used": 121}, "expected 1 to 120 neighbours, found 121"),
        ],
    )
    def test_neighbours_that_there_are_not(self, heads, changes, said):
        knn = heads[HeadKind.knn]
        with pytest.raises(HeadError, match=said):
            type(knn).from_arrays(knn.parameters | changes, knn.arrays())
        every = type(knn).from_arrays(knn.parameters | {"k_used": 120}, knn.arrays())
        assert every.parameters["k_used"] == 120

    @pytest.mark.parametrize(
        "changes",
        [
            {"history": {"loss": [1, 0.5], "val_loss": [1, 2]}},
            {"validation": {"accuracy": 1, "images": 3, "how": "?"}},
            {"trained_on": {"store": None}},
        ],
    )
    def test_is_read(self, saved, changes):
        rewrite(saved, **changes)
        found = load(saved)
        kept = {
            "history": found.head.history_,
            "validation": found.head.validation_,
            "trained_on": found.card.trained_on,
        }
        [(name, value)] = changes.items()
        assert kept[name] == value

    @pytest.mark.parametrize(
        "change",
        [
            {"size": "224"},
            {"size": -1},
            {"resize": "stretch"},
            {"views": 0},
            {"pooling": {}},
            {"layers": {"fc": [0]}},
            {"weights_sha256": {"fc": 3}},
        ],
    )
    def test_a_space_that_there_is_not(self, saved, change):
        plain = json.loads((saved / "head.json").read_text())["space"] | change
        digest = hashlib.sha256(files.canonical_json(plain)).hexdigest()
        rewrite(saved, space=plain, space_id=digest)
        with pytest.raises(HeadDamaged, match="not a space"):
            load(saved)

    @pytest.mark.parametrize("which", ["seen", "judged", "held"])
    def test_hashes_that_are_out_of_order(self, saved, which):
        """A card is searched by halving: of these it would deny some that are there."""
        for hashes, fits in (([2, 5, 5, 9], True), ([2, 9, 5, 5], False)):
            give_hashes(saved, which, hashes)
            if fits:
                assert getattr(load(saved).card, which).tolist() == hashes
                continue
            with pytest.raises(HeadDamaged, match="expected hashes of images in ascending order"):
                load(saved)

    def test_no_byte_of_the_payload_is_shown_to_hdf5(self, saved, monkeypatch):
        monkeypatch.setattr("h5py.File", None)
        monkeypatch.setattr("subprocess.Popen", None)
        assert load(saved).head.kind is HeadKind.svm
