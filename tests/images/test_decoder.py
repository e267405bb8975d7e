"""Decoding in processes of their own: what happens to one becomes a reason, and the run goes on."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.common.choices import Resize
from pipeline.common.errors import ResourceError
from pipeline.images import ONE_VIEW, POLICY, Loaded, _decoder, _room, files, stream

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="this system has no signals")
SHA256 = bytes(32)


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> _decoder.Decoders:
    """Processes to which happens what they are told."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    monkeypatch.setattr(_decoder, "_MODULE", "tests.images.stuck_child")
    monkeypatch.setattr(_decoder, "_idle", _decoder._Idle())
    return _decoder.Decoders(size=8, resize=Resize.crop, views=ONE_VIEW, policy=POLICY)


@pytest.mark.parametrize(
    ("what", "reason", "transient"),
    [
        (b"crash", "crash: the decoder ended with SIGSEGV", False),
        (b"loop", "timeout: not decoded in 30 s of computing", False),
        (b"killed", "the decoder was ended by the system", True),
        (b"memory", "not enough memory", True),
    ],
)
def test_what_happens_to_a_decoder_is_the_reason(
    decoders: _decoder.Decoders, what: bytes, reason: str, transient: bool
) -> None:
    lost = decoders(what, SHA256)
    assert (lost.pixels, lost.reason, lost.transient) == (None, reason, transient)
    good = decoders(b"good", SHA256)
    assert good.pixels is not None
    assert good.pixels.tolist() == [[[1, 2, 3]]]
    assert good.seconds == 0.5


def test_no_image_is_blamed_where_no_decoder_starts(
    decoders: _decoder.Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_decoder, "_MODULE", "no.such.module")
    with pytest.raises(ResourceError, match="the process that decodes images ended with code 1"):
        decoders(b"good", SHA256)
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with pytest.raises(ResourceError, match="cannot start the process that decodes images"):
        decoders(b"good", SHA256)


def test_a_decoder_that_says_nothing_is_given_up(
    decoders: _decoder.Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decoders(b"good", SHA256).pixels is not None
    monkeypatch.setattr(_decoder, "_PATIENCE", 0.1)
    lost = decoders(b"hang", SHA256)
    assert (lost.reason, lost.transient) == ("not decoded within 0 s", True)


def test_who_stops_does_not_wait(decoders: _decoder.Decoders) -> None:
    found: list[_decoder.Decoded] = []
    thread = threading.Thread(target=lambda: found.append(decoders(b"hang", SHA256)))
    thread.start()
    while not decoders._busy:
        pass
    decoders.stop()
    thread.join()
    assert found[0].pixels is None
    assert decoders(b"hang", SHA256).pixels is None  # nor does who comes too late


def test_decoders_are_kept_for_the_next_stream(
    decoders: _decoder.Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decoders(b"good", SHA256).pixels is not None
    monkeypatch.setattr("subprocess.Popen", None)
    assert decoders(b"good", SHA256).pixels is not None


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (12, 9), (40 * number, 0, 0)).save(folder / f"{number}.png")
    return folder


def load(folder: Path) -> list[Loaded]:
    found = files([folder])
    return list(stream(found, range(len(found)), size=8, resize=Resize.crop, workers=2))


def test_an_image_for_which_there_is_no_memory_waits_for_another_run(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGBA", (3000, 3000)).save(photos / "large.png")
    assert load(photos)[-1].pixels is not None
    monkeypatch.setattr(_room, "available_bytes", lambda: 100 << 20)  # it needs 16 bytes a pixel
    *others, large = load(photos)
    assert (large.pixels, large.transient) == (None, True)
    assert large.reason == "not enough memory to decode it"
    assert all(each.pixels is not None for each in others)


def test_closing_a_stream_ends_what_is_being_decoded(photos: Path) -> None:
    found = files([photos])
    rows = np.tile(np.arange(len(found)), 50)
    with closing(stream(found, rows, size=8, resize=Resize.crop, workers=2)) as loaded:
        assert next(loaded).pixels is not None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]


class TestRoom:
    def test_images_together_take_no_more_than_there_is(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_room, "available_bytes", lambda: 200)  # half of it is for pixels
        room = _room.Room()
        began, ended = threading.Event(), threading.Event()

        def second() -> None:
            with room.of(60) as enough:
                assert enough
                began.set()
            ended.set()

        with room.of(60) as enough:
            assert enough
            thread = threading.Thread(target=second)
            thread.start()
            assert not began.wait(0.1)
        assert ended.wait(60)
        thread.join()

    def test_one_that_takes_more_is_decoded_alone_if_it_fits(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_room, "available_bytes", lambda: 200)
        room = _room.Room()
        for count, fits in ((150, True), (250, False), (40, True)):
            with room.of(count) as enough:
                assert enough is fits


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_takes_children_of_its_own(decoders: _decoder.Decoders) -> None:
    assert decoders(b"good", SHA256).pixels is not None
    kept = _decoder._idle.take()
    assert kept is not None
    _decoder._idle._children.append((os.getpid() + 1, kept))
    assert _decoder._idle.take() is None
    kept.stop()
