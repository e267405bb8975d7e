"""One holder at a time, whatever happens to the lock file."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from pipeline.common.locks import NAME, Locked, locked


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(Locked, match=f"process {os.getpid()} on"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass


def test_who_waits_gets_it(tmp_path: Path) -> None:
    order = []

    def wait() -> None:
        with locked(tmp_path, seconds=20):
            order.append("second")

    with locked(tmp_path):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_deleting_the_file_while_holding_it_lets_nobody_in_twice(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(15):
            with locked(tmp_path, seconds=60) as path:
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()
                path.unlink(missing_ok=True)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 45
    assert max(most) == 1


def test_two_names_are_two_locks(tmp_path: Path) -> None:
    with locked(tmp_path), locked(tmp_path, name="other"):
        pass


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_a_folder_that_is_none(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=NAME), locked(tmp_path / place):
        pass


def test_a_pipe_in_place_of_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(FileExistsError, match="is no file"), locked(tmp_path):
        pass
