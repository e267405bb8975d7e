"""A small store without images or networks: rows are made of their numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.space import Space
from pipeline.store import Header, Row, Scan, Table, Writer

SPACE = Space(
    backbone="tiny",
    weights_sha256={"fc": "a" * 64, "map": "b" * 64},
    layers={"fc": (5,), "map": (2, 2, 3)},
    pooling={"fc": "none", "map": "none"},
    size=32,
    resize="crop",
    kernel="bicubic",
    colour="RGB",
    alpha="over white",
    exif="upright",
    depth16="high byte",
    preprocessing="tf",
)
HEADER = Header(
    space=SPACE,
    weights={"source": "random", "file_sha256": None},
    batch_size=32,
    engine="tensorflow",
    precision="float32",
    versions={"numpy": "2"},
)
PROBE = {"fc": np.ones((8, 5), np.float32), "map": np.ones((8, 2, 2, 3), np.float32)}


def digest(i: int) -> bytes:
    """The content hash of image i."""
    return hashlib.sha256(str(i).encode()).digest()


def codes(i: int) -> dict[str, np.ndarray]:
    """The codes of image i."""
    return {
        "fc": np.arange(i, i + 5, dtype=np.float32),
        "map": np.arange(i, i + 12, dtype=np.float32).reshape(2, 2, 3),
    }


def row(i: int, *, reason: str = "", path: bytes | None = None) -> Row:
    """The row of image i, rejected if there is a reason."""
    return Row(
        path=path or f"{i}.jpg".encode(),
        sha256=digest(i),
        stat=(i + 1, 10, 20),
        codes=None if reason else codes(i),
        reason=reason,
    )


def scan(numbers: list[int], *, classes: tuple[str, ...] = ("a", "b"), **more: Any) -> Scan:
    """Say that the source has these images, the even ones of class a; every fifth is for test."""
    n = len(numbers)
    return Scan(
        paths=[f"{i}.jpg".encode() for i in numbers],
        classes=classes,
        labels=np.array([i % 2 for i in numbers], np.int32),
        splits=np.array([3 if i % 5 == 0 else 1 for i in numbers], np.uint8),
        sha256=np.frombuffer(b"".join(map(digest, numbers)), np.uint8).reshape(n, 32),
        stat=np.array([(i + 1, 10, 20) for i in numbers], np.int64).reshape(n, 3),
        **more,
    )


def make(folder: Path, numbers: list[int], *, shards: int = 1, header: Header = HEADER) -> Table:
    """Write a finished store with these images."""
    with Writer(folder) as writer:
        if writer.header is None:
            writer.create(header, PROBE)
        for part in np.array_split(numbers, shards):
            for i in part.tolist():
                writer.append(row(i))
            writer.end_batch()
            writer.flush()
        return writer.finish(scan(numbers))
