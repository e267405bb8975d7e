"""One run over a source: what is known of each image, and the network once it is needed."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, images, store
from pipeline.common.choices import Folders, Precision, choose
from pipeline.common.errors import Interrupted, OutputError, ResourceError
from pipeline.common.files import free_bytes, in_words
from pipeline.common.listener import SILENT, Listener
from pipeline.common.mapped import let_go, zeros
from pipeline.common.names import BLOCK, one_by_one
from pipeline.common.space import Space, check_probe
from pipeline.flows.adding import KeptImages
from pipeline.flows.alike import Alike
from pipeline.flows.codes_config import CodesConfig
from pipeline.flows.computing import BatchCodes, computed
from pipeline.flows.headers import differences_of, header_of, mismatch, same_weights
from pipeline.flows.recalling import Recall
from pipeline.flows.sources import SourceOptions


def _processors() -> int:
    """
    Return how many processors this process may use.

    `joblib.cpu_count` knows the quotas of control groups too, but takes 0.15 s to import, for
    which every command would wait.
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


# Decoding uses a core as well as the network does: with one thread for each, whichever is behind
# gets more of them. Beyond this many Python itself is in the way.
WORKERS = min(32, _processors())
# So many photos tell whether a store is of a source.
_TRIED = 64
# A network that computes for this share of the time is what the rest waits for.
_BUSY = 0.8


def _as_typed(how: SourceOptions) -> dict[str, Any]:
    """Return what decides which images of a source are meant, as the store's table keeps it."""
    limit = how.get("limit")
    return {
        "limit": None if limit is None else str(limit),
        "follow_links": how.get("follow_links", False),
        "folders": choose(Folders, how.get("folders", Folders.auto), what="folders").value,
    }


class Run:
    """One run of extract: what is known of each image, and the network once it is needed."""

    def __init__(
        self,
        *,
        found: images.Source,
        writer: store.Writer,
        request: CodesConfig,
        listener: Listener = SILENT,
        load: Callable[[CodesConfig], backbones.Network] | None = None,
        how: SourceOptions | None = None,
        asked: Mapping[str, Any] | None = None,
        kept: KeptImages | None = None,
        added: str = "",
    ) -> None:
        self._asked = _as_typed(how or {}) | dict(asked or {})
        self.found, self.writer, self.request = found, writer, request
        self._listener = listener
        self._load_network = load or (lambda request: request.load(listener.tell))
        self.computed = 0
        self.seconds = 0.0
        self._spent = dict.fromkeys(("forward", "waiting", "read", "decode"), 0.0)
        self._network: backbones.Network | None = None
        self._loading = self._before = 0.0
        self._sha256 = zeros((len(found), 32), np.uint8)
        self._stat = zeros((len(found), 3), np.int64)
        self._rejected: dict[int, str] = {}
        self._pending: dict[int, str] = {}
        self._alike = Alike(writer.table)
        self._kept, self._added = kept, added
        if kept is not None:
            self._sha256[: len(kept)], self._stat[: len(kept)] = kept.sha256, kept.stat
            self._rejected |= kept.rejected
        self._under_way: set[bytes] = set()  # contents whose codes are being computed
        self._noted = 0
        self.gone = 0

    @property
    def profile(self) -> dict[str, float]:
        """Where the time went so far, in seconds, see `Extraction`."""
        spent = self._spent | {"write": self.writer.seconds}
        return {name: round(seconds, 6) for name, seconds in spent.items()}

    def check_header(self) -> None:
        """Compare an old store with what is asked for, as far as that needs no network."""
        header = self.writer.header
        if header is None:
            return
        self.request = self.request.of_store(header)
        if differences := differences_of(header, self.request):
            raise mismatch(self.writer.folder, differences)
        if not same_weights(header.weights, self.request.weights):
            self._load()

    def recall(self) -> NDArray[np.int64]:
        """
        Find the images that must be read; the others are known by name, size and times.

        Until they are read again, they are what they were in the last run. How many images of the
        last run are in the source no more, `gone` says then.
        """
        wanted = np.ones(len(self.found), bool)
        if self._kept is not None:
            wanted[: len(self._kept)] = False
            wanted[list(self._kept.pending)] = True
        recall = Recall(self.found, wanted, known=self.writer.knows)
        if self.writer.table is not None:
            for seen in self.writer.table.pieces("paths", "stat", "sha256"):
                rows, stat, sha256 = recall.look(store.Seen(*seen), old=True)
                self._sha256[rows], self._stat[rows] = sha256, stat
                let_go(self._sha256, self._stat)
        if recall.open.any():
            for part in self.writer.seen():
                rows, stat, sha256 = recall.look(part)
                self._sha256[rows], self._stat[rows] = sha256, stat
                let_go(self._sha256, self._stat)
        self.gone = recall.gone
        return np.flatnonzero(recall.todo)

    def check_source(self, todo: NDArray[np.int64]) -> None:
        """
        See that an old store is of these photos, wherever they lie now, and not of others.

        Raises
        ------
        OutputError
            If it knows none of the photos that are tried.
        """
        table = self.writer.table
        same = table is None or table.source.get("location") == self.found.location
        if self._kept is not None:
            return
        if table is None or same or not len(table) or len(todo) < len(self.found):
            return
        sizes = np.unique(
            np.concatenate([np.unique(stat[:, 0]) for (stat,) in table.pieces("stat")])
        )
        alike = (
            row
            for row in one_by_one(todo)
            if (stat := self.found.stat(row)) and np.isin(stat[0], sizes, assume_unique=True)
        )
        tried = {*islice(alike, _TRIED), *todo[:: max(1, len(todo) // _TRIED)].tolist()}
        read = 0
        for _, contents in self.found.contents(sorted(tried)):
            try:
                digest = hashlib.sha256(contents().data).digest()
            except images.Unreadable:
                continue
            read += 1
            if self.writer.known(digest):
                return
        if read:
            raise OutputError(
                f"expected photos that {self.writer.folder} knows, which is of "
                f"{table.source.get('location')}, found none of them in {self.found.location}; "
                "add them with --add, or choose another place with --out"
            )

    def prepare(self, count: int) -> None:
        """Make a new store, or see that the disk has room for the rest of an old one."""
        if self.writer.header is None:
            network = self._load()
            header = header_of(network, self._space(network), dtype=self.request.dtype)
            self.writer.create(header, network.reference)
        needed, free = self.bytes_for(count), free_bytes(self.writer.folder)
        if needed > free:
            raise ResourceError(
                f"{count} images need up to {in_words(needed)} in {self.writer.folder}, which "
                f"has {in_words(free)} free; make room, choose another place with --out, or "
                "cache pooled codes (--layer NAME:avg) or half as wide ones (--dtype float16)"
            )

    def bytes_for(self, count: int) -> int:
        """Return how much the codes of some images take on disk."""
        header = self.writer.header
        shapes = header.space.layers if header is not None else self._load().shapes
        numbers = sum(math.prod(shape) for shape in shapes.values())
        width = np.dtype(self.request.dtype.value).itemsize
        return count * self.request.views.count * width * numbers

    def try_out(self, todo: NDArray[np.int64]) -> float:
        """Read and compute a few images from all over the source, and keep nothing of them."""
        self._load()
        started = time.monotonic()
        for loaded, _, _ in self._results(todo, anew=True):
            self._count(loaded)
        self._measure(time.monotonic() - started)
        return self.seconds

    def compute(self, todo: NDArray[np.int64], *, val: float, test: float) -> None:
        """Read the rest of the images and add their codes to the store."""
        # From now on the store says that it is unfinished, so that nobody fits a head on a part.
        self.writer.finish(self.scan(val=val, test=test, unfinished=True))
        try:
            self.fill(todo)
        except KeyboardInterrupt:
            scan = self.scan(val=val, test=test, unfinished=True)
            table = self.writer.finish(scan, interrupted=True)
            raise Interrupted(
                f"interrupted: {table.count(store.Status.ok)} of {len(table)} images have their "
                "codes; run the same command again to go on"
            ) from None

    def fill(self, todo: NDArray[np.int64]) -> None:
        """Add the codes of some images to the shards, and leave the table as it is."""
        total, done = len(self.found), len(self.found) - len(todo)
        started, loading = time.monotonic(), self._loading
        try:
            for loaded, codes, ends in self._results(todo):
                self._note(loaded, codes)
                if ends:
                    self.writer.end_batch()
                done += 1
                self._listener.progress(done, total)
        finally:
            # A store that goes on loads its network only now.
            self._measure(time.monotonic() - started - (self._loading - loading))

    def _results(
        self, rows: NDArray[np.int64], *, anew: bool = False
    ) -> Iterator[tuple[images.Loaded, BatchCodes | None, bool]]:
        """Read, decode and compute some rows, all at the same time; those known only if `anew`."""
        stream = images.stream(
            self.found,
            one_by_one(rows),
            size=self.request.size,
            resize=self.request.resize,
            workers=WORKERS,
            known=(lambda digest: False) if anew else self.writer.known,
            views=self.request.views,
            policy=self.request.policy,
        )
        with closing(stream):
            yield from computed(stream if anew else self._once(stream), network=self._load)

    def _once(self, stream: Iterable[images.Loaded]) -> Iterator[images.Loaded]:
        """
        Have each content computed where it first comes, however fast images are read.

        What is in a batch, and in which place, then follows from the source alone.
        """
        for loaded in stream:
            digest = loaded.sha256
            if loaded.pixels is None or digest is None:
                yield loaded
            elif digest in self._under_way or self.writer.known(digest):
                yield replace(loaded, pixels=None)
            else:
                self._under_way.add(digest)
                yield loaded

    def scan(self, *, val: float, test: float, unfinished: bool = False) -> store.Scan:
        """Say what is known of every image, splits included."""
        found = self.found
        splits = images.split(
            self._sha256,
            given=found.splits,
            groups=found.groups,
            val=val,
            test=test,
            labels=found.labels,
        )
        if self._kept is not None:
            splits = self._kept.fix(splits, self._sha256, found.groups, given=found.splits)
        return store.Scan(
            paths=found.paths,
            classes=found.classes,
            labels=found.labels,
            splits=splits,
            sha256=self._sha256,
            stat=self._stat,
            rejected=self._rejected,
            pending=self._pending,
            source=self._source(val, test),
            groups=found.groups,
            unfinished=unfinished,
        )

    def _source(self, val: float, test: float) -> dict[str, Any]:
        """Say where the images came from; of what is added, behind what was there."""
        here = {"layout": self.found.layout, "val": val, "test": test, **self._asked}
        if self._kept is None:
            return {"location": self.found.location, **here, **self._alike.source}
        before = dict(self._kept.source)
        here = {"location": self._added, **here}
        others = [each for each in before.get("added", ()) if each["location"] != self._added]
        again = self._added == before["location"]
        added = {} if again and not others else {"added": others if again else [*others, here]}
        return before | added | self._alike.source

    def _note(self, loaded: images.Loaded, codes: BatchCodes | None) -> None:
        """Write down what became of an image."""
        row = loaded.row
        self._count(loaded)
        self._noted += 1
        if self._noted % BLOCK == 0:
            let_go(self._sha256, self._stat)
        if loaded.sha256 is not None:
            self._sha256[row] = np.frombuffer(loaded.sha256, np.uint8)
            self._stat[row] = store.lasting(loaded.stat)
            if codes is not None or loaded.reason is not None:
                self._append(loaded, codes)
            return
        self._sha256[row] = self._stat[row] = 0
        outcome = self._pending if loaded.transient else self._rejected
        outcome[row] = loaded.reason or "could not be read"

    def _count(self, loaded: images.Loaded) -> None:
        self._spent["read"] += loaded.read_seconds
        self._spent["decode"] += loaded.decode_seconds

    def _measure(self, seconds: float) -> None:
        """Say how long the network was at work in a time that ends now."""
        network = self._network
        forward = network.seconds - self._before if network is not None else 0.0
        self.seconds = seconds
        self._spent["forward"] = forward
        self._spent["waiting"] = max(0.0, seconds - forward)

    def _append(self, loaded: images.Loaded, codes: BatchCodes | None) -> None:
        """Add a row to the store: codes, or the reason why there are none."""
        reason = loaded.reason or ""
        if codes is not None and not all(np.isfinite(block).all() for block in codes.values()):
            codes, reason = None, "the network gave NaN or infinite codes"
        row = store.Row(
            path=self.found.paths[loaded.row],
            sha256=loaded.sha256 or b"",
            stat=store.lasting(loaded.stat),
            codes=codes,
            reason=reason,
        )
        if self.writer.append(row) and codes is not None:
            self.computed += 1
            self._alike.look(loaded, codes)
        self._under_way.discard(row.sha256)

    def _load(self) -> backbones.Network:
        """Load the network when first needed, and see that it is what made the store."""
        if self._network is not None:
            return self._network
        started = time.monotonic()
        network = self._load_network(self.request)
        if (header := self.writer.header) is not None:
            if differences := header.space.differences(self._space(network)):
                raise mismatch(self.writer.folder, differences)
            exact = network.precision == Precision.float32.value
            for layer, kept in self.writer.probe().items():
                check_probe(kept, network.probed[layer], layer=layer, exact=exact)
        self._network, self._before = network, network.seconds
        self._loading = time.monotonic() - started
        return network

    def _space(self, network: backbones.Network) -> Space:
        reading = {"resize": self.request.resize.value, **self.request.policy}
        return network.space(reading | self.request.views.policy)


def bottleneck(profile: Mapping[str, float]) -> str:
    """Name what the rest waited for."""
    if profile["forward"] >= _BUSY * (profile["forward"] + profile["waiting"]):
        return "forward"
    return max(("read", "decode", "write"), key=lambda name: profile[name])
