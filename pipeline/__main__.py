"""`python -m pipeline`, and the command `pipeline`."""

import _signal as signal  # type: ignore[import-not-found]  # `signal` itself takes milliseconds
import os
import sys

TYPE_CHECKING = False  # typing's own costs milliseconds in which Ctrl-C would show a traceback
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


def main() -> "NoReturn":
    """Run the command line; Ctrl-C before a command begins ends it at once and quietly."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from pipeline.cli import main as run

    run()


def _leave(number: int, frame: "FrameType | None") -> None:
    """End the process: nothing was begun, and libraries that are imported swallow exceptions."""
    os._exit(130)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
