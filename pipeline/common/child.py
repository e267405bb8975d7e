"""Processes of their own for what may crash, hang or take too much memory; whoever asks survives.

A child reads requests from its standard input, a line of JSON and the bytes that it announces, and
answers each on its standard output: how long JSON and bytes are, and then these.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import IO, Any

from pipeline.common.memory import address_space_bytes

LARGEST_ANSWER = 512 << 20
_PIPE = 1 << 20
_FRAME = struct.Struct("<QQ")
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from importlib import import_module; import_module(sys.argv[2]).main(*sys.argv[3:])"
)
# Sent by the kernel to a child that has computed for so long as it may.
_OUT_OF_TIME = 27


class ChildEnded(Exception):
    """
    A child gave no answer, and is gone.

    Attributes
    ----------
    code : int or None
        Its exit code, below 0 for a signal; None where it is not known.
    signal : int or None
        What ended it; None if it went by itself.
    out_of_time : bool
        Whether it computed longer than it may.
    silent : bool
        Whether it was ended because it did not answer for too long.
    """

    def __init__(self, code: int | None, *, silent: bool) -> None:
        super().__init__("no answer")
        self.code = code
        self.signal = -code if code is not None and code < 0 else None
        self.out_of_time = self.signal == _OUT_OF_TIME
        self.silent = silent


class Child:
    """
    A process that answers requests.

    Parameters
    ----------
    module : str
        Its `main` is run there.
    *arguments : str
        Of `main`.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            stderr=subprocess.DEVNULL,
            pipesize=_PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"},
        )
        self.stop = weakref.finalize(self, _stop, self._process)
        self._ready = _ready(self._process.stdout)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def stopped(self) -> bool:
        """Whether it was ended by `stop`, or after it gave no answer."""
        return not self.stop.alive

    def kill(self) -> None:
        """End the process; a thread that waits for its answer learns of it."""
        self._process.kill()

    def send(self, request: Mapping[str, Any], data: bytes = b"") -> None:
        """
        Send a request.

        Raises
        ------
        ChildEnded
            If nobody is there to read it.
        """
        pipe = self._process.stdin
        line = json.dumps({**request, "bytes": len(data)}).encode() + b"\n"
        try:
            for part in (line, data):
                rest = memoryview(part)
                while rest and pipe is not None:
                    rest = rest[pipe.write(rest) :]
        except (OSError, ValueError) as error:  # ValueError of a pipe that is closed
            raise self._ended(silent=False) from error

    def receive(self, patience: float) -> tuple[dict[str, Any], bytearray]:
        """
        Wait for an answer.

        Parameters
        ----------
        patience : float
            Seconds without a byte after which the child is ended.

        Returns
        -------
        dict
        bytearray

        Raises
        ------
        ChildEnded
            If there is none.
        """
        pipe = self._process.stdout
        try:
            if pipe is None or pipe.closed:
                raise EOFError
            receive = partial(_receive, pipe, wait=partial(self._ready, 1000 * patience))
            length, size = _FRAME.unpack(receive(_FRAME.size))
            answer = json.loads(receive(length))
            return dict(answer), receive(size)
        except TimeoutError as error:
            raise self._ended(silent=True) from error
        except (OSError, EOFError, ValueError, RecursionError) as error:
            raise self._ended(silent=False) from error

    def _ended(self, *, silent: bool) -> ChildEnded:
        code = None
        if not silent:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(5)
        self.stop()
        return ChildEnded(code, silent=silent)


class Asker:
    """Whoever asks, as a child sees it; Ctrl-C is for them, and what libraries print for nobody."""

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._in = sys.stdin.buffer
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def requests(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield what is asked, until nobody asks any more."""
        for line in self._in:
            request = json.loads(line)
            yield request, self._in.read(request["bytes"])

    def answer(self, reply: Mapping[str, Any], data: bytes | memoryview = b"") -> None:
        """Answer a request."""
        text = json.dumps(reply).encode()
        self._out.write(_FRAME.pack(len(text), len(data)) + text)
        self._out.write(data)
        self._out.flush()


def limit_memory(most: int) -> None:
    """Have this process take no more bytes than now and these, where the system can hold it to."""
    bound = address_space_bytes() + most
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def limit_time(seconds: float) -> None:
    """Have the kernel end this process when it has computed so long; 0 for no limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _receive(pipe: IO[bytes], count: int, *, wait: Callable[[], Sequence[Any]]) -> bytearray:
    """Read just so many bytes; `wait` returns nothing where none come."""
    if not 0 <= count <= 2 * LARGEST_ANSWER:
        raise EOFError
    data = bytearray(count)
    view = memoryview(data)
    done = 0
    while done < count:
        if not wait():
            raise TimeoutError
        part: int = pipe.readinto(view[done : done + _PIPE])  # type: ignore[attr-defined]
        if not part:
            raise EOFError
        done += part
    return data


def _ready(pipe: IO[bytes] | None) -> Callable[[float], Sequence[Any]]:
    """Return what waits some milliseconds for a pipe, and returns nothing if it has no bytes."""
    if pipe is None or not hasattr(select, "poll"):  # Windows cannot wait with a limit
        return lambda milliseconds: (pipe,)
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return poll.poll


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a child process and leave nothing of it."""
    if process.poll() is None:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
