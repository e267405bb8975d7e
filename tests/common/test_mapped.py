"""Long columns: on disk where there is room, and in memory where there is none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.common import mapped


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system takes no room ahead")
def test_a_long_column_is_in_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    column = mapped.zeros((1 << 17, 3), np.int64)
    assert mapped.file_of(column) is not None
    assert mapped.file_of(column[5:]) is mapped.file_of(column)
    assert not any(tmp_path.iterdir())
    assert not column.any()
    column[:] = np.arange(3 << 17).reshape(-1, 3)
    mapped.let_go(column)
    np.testing.assert_array_equal(column, np.arange(3 << 17).reshape(-1, 3))


def test_a_short_one_is_in_memory() -> None:
    column = mapped.zeros((10, 32), np.uint8)
    assert mapped.file_of(column) is None
    mapped.let_go(column)
    assert (column.shape, column.dtype) == ((10, 32), np.uint8)


def test_without_room_on_disk_it_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    column = mapped.zeros((1 << 17, 3), np.int64)
    assert mapped.file_of(column) is None
    assert column.shape == (1 << 17, 3)
