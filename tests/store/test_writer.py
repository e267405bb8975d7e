from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.common.errors import (
    OutputError,
    ResourceError,
    StoreDamaged,
    StoreError,
    StoreIncomplete,
    StoreLocked,
    StoreNotFound,
)
from tests.store.helpers import HEADER, PROBE, codes, digest, make, row, scan


def test_what_is_written_is_read(tmp_path: Path) -> None:
    make(tmp_path / "s", list(range(10)), shards=3)
    opened = store.open_store(tmp_path / "s")
    everything = np.arange(10)
    np.testing.assert_array_equal(
        store.read_rows(opened, "map", everything), [codes(i)["map"] for i in range(10)]
    )
    np.testing.assert_array_equal(opened.labels, [0, 1] * 5)
    assert opened.paths(everything)[3] == b"3.jpg"
    assert opened.classes == ("a", "b")
    assert list(opened.layers) == ["fc", "map"]
    np.testing.assert_array_equal(opened.probe("fc"), PROBE["fc"])


@given(
    order=st.permutations(range(12)),
    wanted=st.lists(st.integers(0, 11), max_size=20),
    shards=st.integers(1, 12),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_rows_come_in_the_order_asked_for_wherever_they_lie(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], wanted: list[int], shards: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    make(folder, list(order), shards=shards)
    read = store.read_rows(store.open_store(folder), "fc", np.array(wanted, np.int64))
    expected = [codes(order[i])["fc"] for i in wanted]
    np.testing.assert_array_equal(read, np.array(expected, np.float32).reshape(-1, 5))


def test_codes_are_found_by_content_not_by_name(tmp_path: Path) -> None:
    make(tmp_path / "s", [1, 2])
    with store.Writer(tmp_path / "s") as writer:
        assert writer.known(digest(1))
        assert not writer.known(digest(3))
        renamed = scan([2, 1])
        table = writer.finish(renamed)
    assert table.count(store.Status.ok) == 2
    opened = store.open_store(tmp_path / "s")
    np.testing.assert_array_equal(store.read_rows(opened, "fc", np.array([0])), [codes(2)["fc"]])


def test_same_content_twice_is_stored_once(tmp_path: Path) -> None:
    with store.Writer(tmp_path / "s") as writer:
        writer.create(HEADER, PROBE)
        writer.append(row(1))
        writer.append(row(1, path=b"copy.jpg"))
        table = writer.finish(scan([1, 1]))
    assert table.row.tolist() == [0, 0]
    assert store.verify_folder(tmp_path / "s").rows == 1


def test_rejected_images_are_rows_with_reasons(tmp_path: Path) -> None:
    with store.Writer(tmp_path / "s") as writer:
        writer.create(HEADER, PROBE)
        writer.append(row(1))
        writer.append(row(2, reason="truncated"))
        table = writer.finish(scan([1, 2, 3], rejected={2: "no such file"}))
    assert [table.count(status) for status in store.Status] == [1, 2, 0]
    assert table.reasons == {1: "truncated", 2: "no such file"}
    with store.Writer(tmp_path / "s") as writer:
        assert writer.known(digest(2)), "a rejected image is not decoded again"
    listed = (tmp_path / "s" / "rejected.csv").read_text()
    assert listed == "path,reason\n2.jpg,truncated\n3.jpg,no such file\n"


def test_images_without_codes_make_the_store_unfinished(tmp_path: Path) -> None:
    with store.Writer(tmp_path / "s") as writer:
        writer.create(HEADER, PROBE)
        writer.append(row(1))
        table = writer.finish(scan([1, 2]))
    assert table.count(store.Status.pending) == 1
    with pytest.raises(StoreIncomplete, match=r"1 of 2 images .* run the same extract command"):
        store.open_store(tmp_path / "s")
    make(tmp_path / "s", [1, 2])
    assert store.open_store(tmp_path / "s").usable.all()


def test_transient_failures_stay_pending_though_the_content_is_known(tmp_path: Path) -> None:
    with store.Writer(tmp_path / "s") as writer:
        writer.create(HEADER, PROBE)
        writer.append(row(1))
        table = writer.finish(scan([1], pending={0: "Input/output error"}))
    assert table.count(store.Status.pending) == 1
    assert table.reasons == {0: "Input/output error"}


def test_shards_and_table_say_which_content_a_file_had(tmp_path: Path) -> None:
    make(tmp_path / "s", [1, 2, 3], shards=2)
    with store.Writer(tmp_path / "s") as writer:
        assert writer.table is not None
        for pieces in (writer.seen(), writer.table.pieces("paths", "stat", "sha256")):
            seen = list(pieces)
            assert b" ".join(path for paths, _, _ in seen for path in paths) == b"1.jpg 2.jpg 3.jpg"
            stat = np.concatenate([stat for _, stat, _ in seen])
            assert stat.tolist() == [[2, 10, 20], [3, 10, 20], [4, 10, 20]]
            sha256 = np.concatenate([sha256 for _, _, sha256 in seen])
            assert [row.tobytes() for row in sha256] == [digest(i) for i in (1, 2, 3)]
        assert writer.knows(sha256).all()
        assert not writer.knows(np.frombuffer(digest(4), np.uint8)[None]).any()


def test_a_time_stamp_of_just_now_proves_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, ns=(0, 0))
    times = [path.stat() for path in (old, new)]
    fresh = (1, times[1].st_mtime_ns, times[1].st_ctime_ns)
    assert store.lasting(fresh) == (0, 0, 0)
    assert store.lasting((1, 5, 6)) == (1, 5, 6)
    assert store.lasting(None) == (0, 0, 0)


def test_the_second_writer_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    with store.Writer(tmp_path / "s") as writer:
        writer.create(HEADER, PROBE)
        with (
            pytest.raises(StoreLocked, match=f"process {os.getpid()} on"),
            store.Writer(tmp_path / "s"),
        ):
            pass
        writer.append(row(1))
        writer.finish(scan([1]))
    assert store.open_store(tmp_path / "s").usable.all()


def test_a_leftover_lock_file_locks_nobody_out(tmp_path: Path) -> None:
    make(tmp_path / "s", [1])
    (tmp_path / "s" / "LOCK").write_text("process 1 on nowhere")
    make(tmp_path / "s", [1, 2])


def test_nothing_is_left_of_a_store_that_was_never_created(tmp_path: Path) -> None:
    with store.Writer(tmp_path / "deep" / "s"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"thesis\.tex"), store.Writer(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    with (
        pytest.raises(OutputError, match="choose another with --out"),
        store.Writer(tmp_path / "s"),
    ):
        pass


@pytest.mark.parametrize("failing", range(1, 40))
def test_a_full_disk_at_any_write_loses_nothing_that_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Fail the k-th sync or rename, for each k, and see that what was there is still right."""
    make(tmp_path / "s", [1, 2])
    count = 0

    def fail(real):  # type: ignore[no-untyped-def]
        def call(*args: object) -> object:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail(os.fsync))
        patch.setattr(os, "replace", fail(os.replace))
        try:
            make(tmp_path / "s", [1, 2, 3, 4], shards=4)
            failure = None
        except ResourceError as error:
            failure = error
    if count < failing:
        assert failure is None
    else:
        assert failure.exit_code == 4
        assert "make room and run the same command again" in str(failure)
    assert not list((tmp_path / "s").rglob("*.tmp"))
    opened = store.FolderStore(tmp_path / "s")
    rows = np.flatnonzero(opened.usable)
    numbers = [int(path.split(b".")[0]) for path in opened.paths(rows)]
    np.testing.assert_array_equal(
        store.read_rows(opened, "fc", rows), [codes(i)["fc"] for i in numbers]
    )
    make(tmp_path / "s", [1, 2, 3, 4])
    assert store.verify_folder(tmp_path / "s").damage == ()


def test_what_a_killed_process_left_half_written_is_cleaned(tmp_path: Path) -> None:
    make(tmp_path / "s", [1])
    half = tmp_path / "s" / "shards" / ".000001-abc.h5.0a1b2c3d.tmp"
    half.write_bytes(b"half")
    make(tmp_path / "s", [1, 2])
    assert not half.exists()


def test_a_damaged_shard_is_named_and_its_rows_can_be_computed_again(tmp_path: Path) -> None:
    make(tmp_path / "s", [1, 2, 3], shards=3)
    shard = sorted((tmp_path / "s" / "shards").iterdir())[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(StoreDamaged, match=shard.name), store.Writer(tmp_path / "s"):
        pass
    opened = store.open_store(tmp_path / "s")
    with pytest.raises(StoreDamaged, match=shard.name):
        store.read_rows(opened, "fc", np.arange(3))
    shard.unlink()
    with pytest.raises(StoreDamaged, match="is missing; run the same extract command again"):
        store.read_rows(store.open_store(tmp_path / "s"), "fc", np.arange(3))
    make(tmp_path / "s", [1, 2, 3])
    np.testing.assert_array_equal(
        store.read_rows(store.open_store(tmp_path / "s"), "fc", np.arange(3)),
        [codes(i)["fc"] for i in (1, 2, 3)],
    )


def test_a_shard_of_another_store_does_not_slip_in(tmp_path: Path) -> None:
    make(tmp_path / "s", [1])
    alien = tmp_path / "alien"
    other = store.Header(**{**vars(HEADER), "space": HEADER.space.of_layer("fc")})
    with store.Writer(alien) as writer:
        writer.create(other, PROBE)
        writer.append(row(7))
        writer.commit()
    [shard] = (alien / "shards").iterdir()
    (tmp_path / "s" / "shards" / shard.name.replace("000000", "000001")).write_bytes(
        shard.read_bytes()
    )
    with (
        pytest.raises(StoreDamaged, match="is of another store; `pipeline repair"),
        store.Writer(tmp_path / "s"),
    ):
        pass


@given(names=st.lists(st.binary(min_size=1, max_size=30), max_size=8, unique=True))
@settings(max_examples=30, deadline=None)
def test_names_on_disk_are_bytes_and_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    numbers = list(range(len(names)))
    with store.Writer(folder) as writer:
        writer.create(HEADER, PROBE)
        for i, name in enumerate(names):
            writer.append(row(i, path=name))
        known = scan(numbers)
        table = writer.finish(store.Scan(**{**vars(known), "paths": names}))
    assert table.paths == names
    assert store.open_store(folder).paths(np.arange(len(names))) == names


def test_class_names_may_be_any_folder_name(tmp_path: Path) -> None:
    names = ("caf\xe9", os.fsdecode(b"\xff\xfe"))
    with store.Writer(tmp_path) as writer:
        writer.create(HEADER, PROBE)
        writer.append(row(1))
        writer.finish(scan([1], classes=names))
    assert store.open_store(tmp_path).classes == names


def test_no_store_there(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="found nothing; `pipeline extract PHOTOS` makes one"):
        store.open_store(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "space": 3}'])
def test_a_header_that_is_no_header(tmp_path: Path, text: str) -> None:
    make(tmp_path, [1])
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(StoreDamaged, match=r"store\.json is damaged"):
        store.open_store(tmp_path)


def test_a_space_that_was_edited_by_hand_is_refused(tmp_path: Path) -> None:
    make(tmp_path, [1])
    header = tmp_path / "store.json"
    plain = json.loads(header.read_text())
    plain["space"]["size"] = 64
    header.write_text(json.dumps(plain))
    with pytest.raises(StoreDamaged, match="its checksum differs"):
        store.open_store(tmp_path)
    del plain["checksum"]  # as in stores of earlier versions
    header.write_text(json.dumps(plain))
    with pytest.raises(StoreDamaged, match="space_id"):
        store.open_store(tmp_path)


def test_shards_that_changed_places_are_never_read(tmp_path: Path) -> None:
    make(tmp_path, [1, 2], shards=2)
    first, second = sorted((tmp_path / "shards").iterdir())
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    with pytest.raises(StoreDamaged, match="SHA-256"):
        store.read_rows(store.open_store(tmp_path), "fc", np.arange(2))
    assert len(store.verify_folder(tmp_path).damage) == 2


def test_a_creation_that_failed_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ResourceError, match="make room"):
            make(tmp_path / "s", [1])
    assert list(tmp_path.iterdir()) == []
    make(tmp_path / "s", [1])


@pytest.mark.parametrize("left", [["LOCK"], ["LOCK", "probe.h5"], [".probe.h5.0a1b2c3d.tmp"]])
def test_what_a_run_killed_at_its_very_beginning_left_is_no_hindrance(
    tmp_path: Path, left: list[str]
) -> None:
    for name in left:
        (tmp_path / name).write_bytes(b"half")
    make(tmp_path, [1])
    assert store.open_store(tmp_path).usable.all()


def test_a_lost_folder_of_shards_is_filled_again(tmp_path: Path) -> None:
    make(tmp_path, [1, 2])
    for path in (tmp_path / "shards").iterdir():
        path.unlink()
    (tmp_path / "shards").rmdir()
    make(tmp_path, [1, 2])
    assert store.verify_folder(tmp_path).rows == 2


def test_a_lost_probe_is_noticed_by_the_next_run(tmp_path: Path) -> None:
    make(tmp_path, [1])
    (tmp_path / "probe.h5").unlink()
    with pytest.raises(StoreDamaged, match="probe"), store.Writer(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_another_library_forked_does_not_keep_the_lock(tmp_path: Path) -> None:
    with store.Writer(tmp_path / "s") as writer:
        writer.create(HEADER, PROBE)
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        writer.append(row(1))
        writer.finish(scan([1]))
    try:
        make(tmp_path / "s", [1, 2])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "Input/output error"), "later format"])
def test_a_store_that_cannot_be_read_this_time_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: object
) -> None:
    make(tmp_path / "s", [1, 2])
    header = tmp_path / "s" / "store.json"
    good = header.read_bytes()
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*.h5")}
    with monkeypatch.context() as patch:
        if isinstance(failure, OSError):
            patch.setattr(
                "pipeline.store._header.read_json", lambda path: (_ for _ in ()).throw(failure)
            )
        else:
            header.write_text(json.dumps(json.loads(good) | {"format": 2}))
        with pytest.raises(StoreError) as caught, store.Writer(tmp_path / "s"):
            pass
    assert not isinstance(caught.value, StoreDamaged)
    assert {path: path.read_bytes() for path in (tmp_path / "s").rglob("*.h5")} == before
    header.write_bytes(good)
    make(tmp_path / "s", [1, 2, 3])
    assert store.verify_folder(tmp_path / "s").damage == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_a_store_whose_creation_ended_after_its_last_rename_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    from pipeline.common import files

    real = files.sync_directory

    def end(path: Path) -> None:
        if (path / "store.json").exists():
            raise error
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_directory", end)
        with pytest.raises((KeyboardInterrupt, ResourceError)):
            make(tmp_path / "s", [1])
    make(tmp_path / "s", [1])
    assert store.verify_folder(tmp_path / "s").damage == ()


def test_a_killed_creation_leaves_nothing_that_the_next_run_keeps(tmp_path: Path) -> None:
    for name in (".probe.h5.0a1b2c3d.tmp", ".store.json.0a1b2c3d.tmp"):
        (tmp_path / name).write_bytes(b"half")
    make(tmp_path, [1])
    assert not list(tmp_path.glob(".*"))


def test_new_folders_are_synced_with_those_above_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("pipeline.common.files.sync_directory", synced.append)
    make(tmp_path / "a" / "b", [1])
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)


def test_the_index_of_a_shard_is_not_read_before_its_bytes_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, [1, 2])
    [shard] = (tmp_path / "shards").iterdir()
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")

    def never(*args: object) -> None:
        raise AssertionError("HDF5 was shown bytes that were not compared")

    monkeypatch.setattr("pipeline.store._shard_file.open_bytes", never)
    monkeypatch.setattr("pipeline.store._shard_file.open_hdf5", never)
    assert len(store.verify_folder(tmp_path).damage) == 1
    with pytest.raises(StoreDamaged, match="pipeline repair"), store.Writer(tmp_path):
        pass


def test_rows_of_a_batch_that_was_begun_are_let_go(tmp_path: Path) -> None:
    with store.Writer(tmp_path) as writer:
        writer.create(HEADER, PROBE)
        for i in range(6):
            writer.append(row(i))
            if i == 3:
                writer.end_batch()
        table = writer.finish(scan(list(range(6))), interrupted=True)
    assert table.count(store.Status.ok) == 4


def test_rows_of_the_same_bytes_are_handed_out_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard has the codes of one content once, however many images have it."""
    make(tmp_path / "s", [1, 2, 1, 1, 2, 1, 1])
    monkeypatch.setattr("pipeline.store._reader.ROWS", 3)
    opened = store.open_store(tmp_path / "s")
    pieces = list(opened.blocks("fc", np.arange(7)))
    assert [len(positions) for positions, _ in pieces] == [3, 3, 1]
    for positions, block in pieces:
        expected = [codes([1, 2, 1, 1, 2, 1, 1][place])["fc"] for place in positions]
        np.testing.assert_array_equal(block, expected)


def test_rows_without_codes_fill_a_shard_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.store._buffer.ROWS", 4)
    with store.Writer(tmp_path / "s") as writer:
        writer.create(HEADER, PROBE)
        for i in range(10):
            writer.append(row(i, reason="truncated"))
            writer.end_batch()
        writer.finish(scan(list(range(10))))
    assert len(list((tmp_path / "s" / "shards").iterdir())) == 3
