"""The process that decodes images for `pipeline.images._decoder`."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.child import Asker, limit_memory, limit_time
from pipeline.common.choices import Resize
from pipeline.images import _augment, _decode
from pipeline.images._decoder import MEMORY, SECONDS, UNASKED


class _NoRoom(MemoryError):
    """There is not enough memory for the pixels, as things are."""


def main() -> None:
    """Decode what is asked for until nobody asks any more."""
    asker = Asker()
    limit_memory(MEMORY)
    requests = asker.requests()

    def room(count: int) -> AbstractContextManager[object]:
        """Wait until there is memory for so many bytes; it is held until the answer."""
        if count > UNASKED:
            asker.answer({"room": count})
            found, _ = next(requests)
            if not found["room"]:
                raise _NoRoom
        return nullcontext()

    for request, data in requests:
        began = time.process_time()
        limit_time(SECONDS)
        reply: dict[str, Any] = {}
        pixels: memoryview | bytes = b""
        try:
            found = _decoded(request, data, room)
            reply, pixels = {"shape": found.shape}, np.ascontiguousarray(found).data.cast("B")
        except _decode.Rejected as error:
            reply = {"rejected": str(error)}
        except MemoryError:
            reply = {"transient": "not enough memory to decode it"}
        limit_time(0)
        asker.answer({**reply, "seconds": time.process_time() - began}, pixels)


def _decoded(request: dict[str, Any], data: bytes, room: _decode.Room) -> NDArray[np.uint8]:
    """Decode an image, to one view or to all."""
    views = _augment.parse_views(
        request["views"],
        augment=request.get("augment"),
        seed=request.get("augment_seed", 0),
    )
    return _augment.decode_copies(
        data,
        views=views,
        sha256=bytes.fromhex(request["sha256"]),
        size=int(request["size"]),
        resize=Resize(request["resize"]),
        policy=_decode.EARLIER if request["earlier"] else _decode.POLICY,
        room=room,
    )


if __name__ == "__main__":
    main()
