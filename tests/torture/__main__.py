"""Run all faults and print what was tried and what survived: `python -m tests.torture [SHARE]`."""

from __future__ import annotations

import re
import subprocess
import sys

# What each part tries; a share of less than 1 tries so much of the numbers.
PARTS: list[tuple[str, tuple[str | float, ...]]] = [
    ("calls", (2000,)),
    ("kills", ("--engine", "tensorflow", "--rounds", 25)),
    ("kills", ("--engine", "openvino", "--rounds", 50)),
    ("power", (1000,)),
    ("flips", (1.0,)),
    ("foreign", (10000, 2000)),
]
LINE = re.compile(r"== (.*): (\d+) tried, (\d+) survived")


def main(share: float = 1.0) -> None:
    """Run the parts one after the other, and go on after one that fails."""
    rows, failed = [], []
    for part, arguments in PARTS:
        words = [word if isinstance(word, str) else _shared(word, share) for word in arguments]
        command = [sys.executable, "-m", f"tests.torture.{part}", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in process.stdout or ():
            print(line, end="", flush=True)
            rows += LINE.findall(line)
        if process.wait():
            failed.append(part)
    width = max((len(name) for name, *_ in rows), default=0)
    print(f"\n{'fault':<{width}}  tried  survived")
    for name, tried, survived in rows:
        print(f"{name:<{width}}  {tried:>5}  {survived:>8}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _shared(number: float, share: float) -> str:
    return str(max(1, round(number * share))) if isinstance(number, int) else str(number * share)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
