"""The commands in one program: errors become exit codes here."""

from __future__ import annotations

import faulthandler
import functools
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any, NoReturn, ParamSpec, get_type_hints

import typer
from typer.core import TyperGroup

from pipeline._version import __version__
from pipeline.cli import next_step
from pipeline.common.errors import Interrupted, PipelineError
from pipeline.common.files import FULL
from pipeline.common.memory import ran_out
from pipeline.common.text import printable

TOO_MANY_REJECTED = 3
_OUT_OF_MEMORY = (
    "out of memory; end other programs, or ask for less: --batch-size or --size of extract, "
    "pooled codes or --memory of fit-head"
)
_NO_RESOURCES = 4
DAMAGED = 5
P = ParamSpec("P")


class _Overview(TyperGroup):
    """The list of commands as plain text: importing rich takes longer than everything else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what was typed, for commands that propose it again."""
        next_step.typed[:] = args
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write usage, options and commands; each command's own help has boxes and colours."""
        super(TyperGroup, self).format_help(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the first line of each command's help, whole."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, (one.help or "").partition("\n")[0]) for name, one in self.commands.items()]
            )


app = typer.Typer(
    cls=_Overview,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Cache CNN codes of your images once, then train heads on them in seconds.",
)


def main() -> NoReturn:
    """Run the command line; the one place that turns errors into exit codes."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        # File names may hold bytes that are no text.
        getattr(sys, name).reconfigure(errors="backslashreplace")
    # What Pillow warns about becomes a reason or a documented rule.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        number = getattr(signal, name, None)
        # nohup has SIGHUP ignored, and means it.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    if not os.environ.get("PIPELINE_DEBUG"):
        _silence_libraries()
    try:
        app(prog_name="pipeline")
    except PipelineError as error:
        _fail(error, str(error), error.exit_code)
    except OSError as error:
        if ran_out(error):  # ENOMEM
            _fail(error, _OUT_OF_MEMORY, _NO_RESOURCES)
        if error.errno in FULL:
            _fail(error, f"{error.strerror}; make room and run it again", _NO_RESOURCES)
        _fail(error, f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1)
    except Exception as error:
        if ran_out(error):
            _fail(error, _OUT_OF_MEMORY, _NO_RESOURCES)
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        _fail(error, f"unexpected {said}; this is a bug: PIPELINE_DEBUG=1 shows where", 1)
    sys.exit(0)


def _silence_libraries() -> None:
    """
    Keep what C libraries write to descriptor 2 off the terminal.

    TensorFlow's notices and libtiff's complaints about a damaged file (which becomes a reason)
    would tear the progress bar. Our own lines go to a copy of the descriptor, and so does
    Python's traceback should a library crash.
    """
    try:
        kept = os.dup(2)
    except OSError:  # started without stderr
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(kept, "w", buffering=1, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    faulthandler.enable(sys.stderr)


def _terminate(number: int, frame: FrameType | None) -> None:
    """End like Ctrl-C; what is sent again while work is being saved changes nothing."""
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise KeyboardInterrupt


def _fail(error: BaseException, message: str, code: int) -> NoReturn:
    if os.environ.get("PIPELINE_DEBUG"):
        raise error
    try:
        typer.echo(f"error: {printable(message)}", err=True)
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the terminal is gone; Python would end with a code of its own
        os._exit(code)
    sys.exit(code)


def command(function: Callable[P, None]) -> None:
    """Register a command; Ctrl-C in it becomes our own error before typer sees it."""
    # Evaluated once here; as text, typer evaluates each of them four times.
    function.__annotations__ = get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; run the same command again") from None

    app.command(name=function.__name__.strip("_").replace("_", "-"))(run)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", is_eager=True, callback=_version
        ),
    ] = False,
) -> None:
    pass
