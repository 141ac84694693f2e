"""The `sfm` command: the only place that reads argv and exits. One file a family of commands.

Exit codes: 0 done, 1 unexpected, 2 usage, 3 input unreadable, 4 no solution, 5 below --fail-below, 130 interrupted. An
error is one line on stderr; a traceback comes only with --debug. What is heavy is imported by the command that needs
it: help is instant.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from sfm.cli.words import app
from sfm.errors import SfmError

from sfm.cli import solving  # isort: skip (help lists commands in this order)
from sfm.cli import viewing  # isort: skip
from sfm.cli import looking  # isort: skip
from sfm.cli import showing  # isort: skip
from sfm.cli import orienting  # isort: skip
from sfm.cli import delivering  # isort: skip
from sfm.cli import importing  # isort: skip
from sfm.cli import inserting  # isort: skip

__all__ = [
    "app",
    "delivering",
    "importing",
    "inserting",
    "looking",
    "main",
    "orienting",
    "showing",
    "solving",
    "viewing",
]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit with its code."""
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for name in ("SIGTERM", "SIGHUP"):  # a render farm's way of interrupting; what is half written is taken away
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        code = app(args, prog_name="sfm", standalone_mode=False)
        if code == 130:
            raise KeyboardInterrupt
    except (KeyboardInterrupt, typer.Abort):
        code = _complain("interrupted", 130)
    except BrokenPipeError:  # `sfm evaluate ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if "--debug" in args:
            import traceback

            traceback.print_exc()
        code = _complain(*_explain(error))
    sys.exit(code or 0)


def _explain(error: Exception) -> tuple[str, int]:
    """What to tell of an error, and the exit code."""
    if isinstance(error, SfmError):
        return str(error), error.exit_code
    message = getattr(error, "format_message", None)
    if message is not None:  # typer's own, about arguments it cannot read
        asked = getattr(getattr(getattr(error, "ctx", None), "command", None), "name", "")
        if "unexpected extra argument" in message() and asked in ("reconstruct", "depth"):
            return "more than one INPUT: give the folder of frames, or a pattern in quotes, e.g. 'shot.####.jpg'", 2
        command = getattr(getattr(error, "ctx", None), "command_path", "sfm")
        return f"{message()} ({command} --help lists what there is)", 2
    return f"unexpected {type(error).__name__}: {error} (run again with --debug to see where)", 1


def _complain(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _version(asked: bool) -> None:
    if asked:
        from sfm import __version__

        print(f"sfm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass
