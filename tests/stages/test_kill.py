from __future__ import annotations

import sys
from pathlib import Path

import pytest

import pipeline
from tests.torture import kills


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no kill -9")
def test_after_kill_9_only_the_missing_rows_are_computed(tmp_path: Path) -> None:
    photos, killed, whole = tmp_path / "photos", tmp_path / "killed", tmp_path / "whole"
    kills.make_images(photos, 400)
    assert kills.kill_after_shards(kills.start(photos, killed), killed, 1)
    committed = kills.shards(killed)
    assert committed >= 1
    rows = pipeline.verify(killed).rows
    assert rows > 0

    resumed = kills.finish(photos, killed)
    assert resumed["computed"] == 400 - rows
    assert resumed["ok"] == 400

    assert kills.finish(photos, whole)["computed"] == 400
    assert kills.pack(killed, tmp_path / "a.h5") == kills.pack(whole, tmp_path / "b.h5")
