from __future__ import annotations

import pytest

from pipeline.common.listener import SILENT, Listener


def test_what_is_left_out_is_silent() -> None:
    SILENT.tell("found 3 images")
    SILENT.progress(1, 3)
    SILENT.show(object())


def test_it_calls_what_it_was_given() -> None:
    told: list[object] = []
    listener = Listener(
        tell=told.append, progress=lambda *steps: told.append(steps), show=told.append
    )
    listener.tell("found 3 images")
    listener.progress(1, 3)
    listener.show(3.5)
    assert told == ["found 3 images", (1, 3), 3.5]


def test_names_that_it_has_not_are_refused() -> None:
    with pytest.raises(TypeError, match="say"):
        Listener(say=print)  # type: ignore[call-arg]
