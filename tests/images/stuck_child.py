"""In place of the process that decodes: what its data say happens to it."""

from __future__ import annotations

import os
import signal
import time

from pipeline.common.child import Asker, limit_memory, limit_time


def main() -> None:
    asker = Asker()
    for _, data in asker.requests():
        if data == b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if data == b"killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if data == b"loop":
            limit_time(0.1)
            while True:
                pass
        if data == b"hang":
            time.sleep(600)
        if data == b"memory":
            limit_memory(32 << 20)
            try:
                bytearray(1 << 30)
            except MemoryError:
                asker.answer({"transient": "not enough memory", "seconds": 0.0})
                continue
        asker.answer({"shape": [1, 1, 3], "seconds": 0.5}, b"\1\2\3")
