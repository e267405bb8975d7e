"""Codes of any images through a store that several processes use at once: each computed once."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, heads, images, store
from pipeline.common.choices import Pool
from pipeline.common.errors import SourceError, SpaceMismatch, StoreLocked, StoreNotFound, counted
from pipeline.common.files import cache_directory, canonical_json, sha256_file
from pipeline.common.listener import SILENT
from pipeline.common.names import one_by_one
from pipeline.flows.codes_config import CodesConfig
from pipeline.flows.extraction import WORKERS, Run
from pipeline.flows.headers import asked, differences_of, same_weights
from pipeline.flows.recalling import Recall

_POLL_SECONDS = 0.1
_BAD_TOLD = 3


class KeptCodes:
    """
    The network of the last request, kept between calls; neither pickled nor copied.

    A pickle of what holds it stays small, and another process loads a network only if it computes.
    """

    def __init__(self) -> None:
        self._request: CodesConfig | None = None
        self._network: backbones.Network | None = None

    def __call__(self, request: CodesConfig) -> backbones.Network:
        """Load the network of a request, unless it is the last one's."""
        if self._network is None or self._request != request:
            self._network, self._request = request.load(SILENT.tell), request
        return self._network

    def __reduce__(self) -> tuple[type[KeptCodes], tuple[()]]:
        return KeptCodes, ()


class SharedStore:
    """
    A store that hands out codes of one layer and computes those that it lacks.

    Reading takes no lock. Whoever computes waits until nobody else does, looks again what is still
    missing, and adds shards; the table with labels and splits, if there is one, stays as it is.

    Parameters
    ----------
    folder : Path
        Need not exist. A store of several layers serves, if the one asked for is among them.
    request : CodesConfig
        Of one layer.
    kept : KeptCodes
        Loads the network when first needed.
    """

    def __init__(self, folder: Path, request: CodesConfig, kept: KeptCodes) -> None:
        self.folder, self.layer = folder, request.layers[0]
        self._request, self._kept = request, kept

    def open(self, found: images.Source) -> store.ByContent:
        """
        Open the store as it is now; one that is not there yet is made, without any codes.

        Raises
        ------
        SpaceMismatch
            If it holds codes of another space.
        BackboneError
            If the backbone, the layer or the weights are not to be had.
        OutputError
            If the folder cannot be written or holds other files.
        """
        try:
            opened = store.ByContent(self.folder)
        except StoreNotFound:
            with self._alone() as writer:
                if writer.header is None:
                    self._run(found, writer).prepare(0)
            opened = store.ByContent(self.folder)
        self._check(opened.header)
        return opened

    def codes(
        self, found: images.Source, opened: store.ByContent, *, how: Pool, skip: bool = False
    ) -> NDArray[np.float32]:
        """
        Return the codes of images, read where they are known, else computed.

        Parameters
        ----------
        found : Source
        opened : ByContent
            From `open`.
        how : Pool
            How maps become vectors.
        skip : bool, default False
            Whether images that cannot be used get rows of NaN, and a warning.

        Returns
        -------
        float32 array of shape (n, d)
            In the order of the source.

        Raises
        ------
        SourceError
            If images cannot be used; the first of them are named.
        ResourceError
            If the disk is full; what was committed stays.
        """
        digests, reasons = self._digests(found, opened)
        missing = {digest: row for row, digest in digests.items() if not opened.known(digest)}
        if missing:
            self._compute(found, missing)
            opened = self.open(found)
        for row, digest in digests.items():
            known = opened.known(digest)
            reason = opened.reason(digest) if known else "changed while it was read"
            if reason is not None:
                reasons[row] = reason
        if reasons and not skip:
            raise _unusable(found, reasons)
        if reasons:
            warnings.warn(f"{_unusable(found, reasons)}; their rows are NaN", stacklevel=3)
        usable = {row: digest for row, digest in digests.items() if row not in reasons}
        rows = np.fromiter(usable, np.int64, len(usable))
        pooled = np.full((len(found), self.width(opened, how=how)), np.nan, np.float32)
        for positions, block in opened.blocks(self.layer, list(usable.values())):
            pooled[rows[positions]] = heads.pool(block, how)
        return pooled

    def width(self, opened: store.ByContent, *, how: Pool) -> int:
        """Return how many numbers there are for one image."""
        shape = opened.header.space.layers[self.layer]
        return int(heads.pool(np.zeros((1, *shape), np.float32), how).shape[1])

    def _digests(
        self, found: images.Source, opened: store.ByContent
    ) -> tuple[dict[int, bytes], dict[int, str]]:
        """Hash the contents of all rows in order, or say why they cannot be read."""
        recall = Recall(found, np.ones(len(found), bool), known=_all)
        hints: dict[int, bytes | None] = dict.fromkeys(range(len(found)))
        for seen in opened.seen():
            rows, _, sha256 = recall.look(seen)
            hints |= {
                row: digest.tobytes() for row, digest in zip(one_by_one(rows), sha256, strict=True)
            }
        stream = images.stream(
            found,
            one_by_one(np.flatnonzero(recall.todo)),
            size=self._request.size,
            resize=self._request.resize,
            workers=WORKERS,
            known=lambda digest: True,
        )
        reasons = {}
        with closing(stream):
            for loaded in stream:
                hints[loaded.row] = loaded.sha256
                if loaded.sha256 is None:
                    reasons[loaded.row] = loaded.reason or "could not be read"
        return {row: hint for row, hint in hints.items() if hint is not None}, reasons

    def _compute(self, found: images.Source, missing: dict[bytes, int]) -> None:
        """Add what is still missing once nobody else writes."""
        with self._alone() as writer:
            unknown = [row for digest, row in missing.items() if not writer.known(digest)]
            rows = np.sort(np.array(unknown, np.int64))
            run = self._run(found, writer)
            try:
                if len(rows):
                    run.prepare(len(rows))
                    run.fill(rows)
            except KeyboardInterrupt:
                writer.commit(interrupted=True)
                raise
            writer.commit()

    @contextmanager
    def _alone(self) -> Iterator[store.Writer]:
        """Write to the store, as soon as no other process or thread does."""
        with ExitStack() as stack:
            while True:
                try:
                    writer = stack.enter_context(store.Writer(self.folder))
                    break
                except StoreLocked:
                    time.sleep(_POLL_SECONDS)
            yield writer

    def _run(self, found: images.Source, writer: store.Writer) -> Run:
        request = self._adapted(writer.header)
        return Run(found=found, writer=writer, request=request, load=self._kept)

    def _adapted(self, header: store.Header | None) -> CodesConfig:
        """Ask for what a store has besides: its other layers, and its own width of numbers."""
        if header is None or self.layer not in header.space.layers:
            return self._request
        request = self._request.of_store(header)
        return replace(request, layers=tuple(header.space.layers), dtype=header.dtype)

    def _check(self, header: store.Header) -> None:
        """Refuse a store of another space, as far as that can be seen without a network."""
        differences = differences_of(header, self._adapted(header))
        if not same_weights(header.weights, self._request.weights):
            differences.append(
                f"weights: {header.weights['source']} there, {self._request.weights} asked for"
            )
        if differences:
            raise SpaceMismatch(
                f"expected codes of the space of {self.folder}, found another "
                f"({'; '.join(differences)}); name another folder with store="
            )


def default_folder(request: CodesConfig) -> Path:
    """
    Return a store in the user's cache that belongs to this request alone.

    Whatever decides a number is in the name, also what a space leaves out: the engine and the
    precision.
    """
    path = Path(request.weights).expanduser()
    key = asked(request) | {
        "weights": sha256_file(path) if path.is_file() else request.weights,
        "preprocessing": request.backbone.preprocessing.value,
        "engine": request.engine.value,
        "precision": request.precision.value,
    }
    digest = hashlib.sha256(canonical_json(key)).hexdigest()[:16]
    return cache_directory() / "stores" / f"{request.backbone.name}-{digest}"


def _all(sha256: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Take what a store says of its own shards as known."""
    return np.ones(len(sha256), bool)


def _unusable(found: images.Source, reasons: Mapping[int, str]) -> SourceError:
    """Name the first images that cannot be used, and why."""
    first = [
        f"{images.printable(found.paths[row])} ({reasons[row]})"
        for row in sorted(reasons)[:_BAD_TOLD]
    ]
    if others := len(reasons) - len(first):
        first.append(f"and {counted(others, 'other')}")
    return SourceError(
        f"expected images that can be used, found {len(reasons)} of {len(found)} that cannot: "
        f"{', '.join(first)}; leave them out of X and y"
    )
