"""Contents are found in shards as in a dict, in a tenth of its memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.common.names import Names
from pipeline.store import _lookup
from pipeline.store._lookup import Lookup
from pipeline.store._shard import Index, Meaning


def _digest(i: int) -> bytes:
    return hashlib.sha256(str(i).encode()).digest()


def _index(number: int, digests: Sequence[bytes], *, rejected: Sequence[int] = ()) -> Index:
    """A shard of these contents, of which some rows have a reason instead of codes."""
    good = np.array([row not in rejected for row in range(len(digests))], bool)
    return Index(
        name=f"{number:06d}.h5",
        paths=Names.of([b""] * len(digests)),
        reasons={row: f"reason {row}" for row in rejected},
        sha256=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        stat=np.zeros((len(digests), 3), np.int64),
        code_row=np.where(good, np.cumsum(good) - 1, -1).astype(np.int32),
        meaning=Meaning("", ""),
    )


def _found(lookup: Lookup, digests: Sequence[bytes]) -> list[tuple[int, int] | None]:
    """Ask one by one and all together, which must agree."""
    alone = [lookup.place(digest) for digest in digests]
    shard, code = lookup.places(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32))
    together = zip(shard.tolist(), code.tolist(), strict=True)
    assert [place or (-1, -1) for place in alone] == list(together)
    assert [lookup.place(digest) for digest in digests] == alone, "sorted in by now"
    return alone


@pytest.mark.parametrize("recent", [1, 7, 1000])
def test_every_content_is_found_where_it_is(recent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lookup, "_RECENT", recent)
    rng = np.random.default_rng(0)
    lookup, expected = Lookup(), {}
    for number, count in enumerate((5, 1, 0, 30, 2, 2, 80)):
        digests = [_digest(int(i)) for i in rng.choice(500, count, replace=False)]
        lookup.add(_index(number, digests))
        # What comes twice is where it came last.
        expected |= {digest: (number, row) for row, digest in enumerate(digests)}
    asked = [_digest(i) for i in range(500)]
    assert _found(lookup, asked) == [expected.get(digest) for digest in asked]


def test_a_rejected_content_has_its_reason() -> None:
    lookup = Lookup([_index(0, [_digest(i) for i in range(4)], rejected=[0, 2])])
    places = [lookup.place(_digest(i)) for i in range(4)]
    assert places == [(0, -1), (0, 0), (0, -3), (0, 1)]
    assert [lookup.reason(*place) for place in places if place and place[1] < 0] == [
        "reason 0",
        "reason 2",
    ]


def test_contents_whose_hashes_begin_alike_are_told_apart() -> None:
    alike = [b"8 bytes." + _digest(i)[8:] for i in range(5)]
    lookup = Lookup([_index(0, [*alike[:3], _digest(9)])])
    assert _found(lookup, alike) == [(0, 0), (0, 1), (0, 2), None, None]


def test_nothing_is_found_in_no_shards() -> None:
    assert _found(Lookup(), [_digest(1)]) == [None]
