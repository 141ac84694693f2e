"""What the command line shows: progress of the stages, log lines, the summary of a solve.

Progress and messages go to stderr, results to stdout. On a terminal every stage is a bar with what it has found so far;
elsewhere it is one plain line when it ends.
"""

import io
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sfm.summary import in_words

VERDICT_STYLE = {"PASS": "bold green", "REVIEW": "bold yellow", "FAIL": "bold red"}
PRODUCED = {
    "solve.json": "verdict and numbers",
    "reconstruction.npz": "everything, for sfm view and Python",
    "sparse/0": "COLMAP model",
    "points.ply": "coloured points",
    "trajectory.tum": "camera path",
    "report.html": "all of it on a page, and its numbers in report.json",
    "top_view.png": "the set from above and from the side",
    "overlay_*.png": "tracks on a few plates, by depth and by residual",
}
MEASURES = {
    "coverage": "frames with a camera of their own tracks, %",
    "bridged": "frames with an interpolated camera, %, not compared",
    "points": "tracks with a point",
    "rpe_rot_deg": "error of the rotation between two frames, mean, degrees",
    "ate_pct": "error of the camera path, RMS, % of its diameter",
    "rpe_dir_deg": "error of the direction of motion between two frames, median, degrees",
    "auc10": "pairs of frames right within 0 to 10 degrees, area under the curve, 1 is best",
    "focal_err_pct": "error of the focal length, %",
    "slide_px": "slide of points inserted at their true depth, 95th percentile, px",
    "slide_med_px": "the same, median, px",
    "depth_logstd": "spread of the log depth of the points",
    "path_over_depth": "path of a camera that only turns, over the depth of the scene",
}

DIFFERENCES = {
    "frames": "frames with a camera in both",
    "scale": "units of the other in one of ours",
    "path_pct": "distance of the camera paths, RMS, % of the other's diameter",
    "rotation_deg": "difference of the rotations, mean, degrees",
    "max_rotation_deg": "the same, largest",
    "focal_pct": "difference of the focal length, %",
    "px": "distance of our points through either camera, median, px",
    "p95_px": "the same, 95th percentile",
    "worst_px": "the same, RMS of the frame that differs most",
    "worst_frame": "plate number of that frame",
}


class Loudness(IntEnum):
    """What is told, each level with all before it; the values are logging's."""

    QUIET = logging.ERROR
    NORMAL = logging.WARNING
    VERBOSE = logging.INFO
    DEBUG = logging.DEBUG


def loudness(quiet: bool, verbose: bool, debug: bool) -> Loudness:
    """From the three flags, of which one is set at most."""
    return Loudness.QUIET if quiet else Loudness.VERBOSE if verbose else Loudness.DEBUG if debug else Loudness.NORMAL


def error_console() -> Console:
    """A console on stderr that neither wraps nor interprets what it is given."""
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def output_console() -> Console:
    """The same on stdout."""
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def note(text: str) -> None:
    """One line on stderr of what should be known of a result that is there."""
    error_console().print(f"note: {text}", style="yellow")


@contextmanager
def logging_to(console: Console, loudness: Loudness) -> Iterator[Callable[[], str]]:
    """Show the library's log on a console; yields a function that gives the whole of it as text so far."""
    text = io.StringIO()
    record = logging.StreamHandler(text)
    record.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    record.setLevel(min(loudness, logging.INFO))
    shown = _ConsoleHandler(console)
    shown.setLevel(loudness)
    logger, warned = logging.getLogger("sfm"), [logging.getLogger(name) for name in ("py.warnings", "matplotlib")]
    before = logger.level
    logger.setLevel(min(loudness, logging.INFO))
    logging.captureWarnings(True)  # of NumPy and the like: for the log file, they mean nothing to an artist
    for handler in (record, shown):
        logger.addHandler(handler)
    for other in warned:
        other.addHandler(record)
    try:
        yield text.getvalue
    finally:
        logging.captureWarnings(False)
        for other in warned:
            other.removeHandler(record)
        logger.setLevel(before)
        for handler in (record, shown):
            logger.removeHandler(handler)


class _ConsoleHandler(logging.Handler):
    """Log lines between the progress bars: what went wrong is named, the rest is only told."""

    def __init__(self, console: Console):
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            style = "yellow" if record.levelno < logging.ERROR else "red"
            self.console.print(f"{record.levelname.lower()}: {record.getMessage()}", style=style)
        else:
            self.console.print(f"  {record.getMessage()}", style="dim")


@contextmanager
def stages(console: Console, loudness: Loudness) -> Iterator[Callable[[str, float, str], None]]:
    """Yields `progress(stage, part 0..1, what it found so far)`."""
    if loudness == Loudness.QUIET:
        yield lambda stage, part, text: None
    elif console.is_terminal:
        yield from _bars(console)
    else:
        yield from _lines(console)


def _bars(console: Console) -> Iterator[Callable[[str, float, str], None]]:
    columns = (
        TextColumn("{task.description:<13}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=console, refresh_per_second=8) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(stage: str, part: float, text: str) -> None:
            if stage not in tasks:
                for task in tasks.values():
                    bars.update(task, completed=1.0)
                tasks[stage] = bars.add_task(stage, total=1.0, text=text)
            bars.update(tasks[stage], completed=part, text=text)

        yield progress
        for task in tasks.values():
            bars.update(task, completed=1.0)


def _lines(console: Console) -> Iterator[Callable[[str, float, str], None]]:
    last: dict[str, Any] = {}

    def finish() -> None:
        if last:
            seconds = time.monotonic() - last["start"]
            console.print(f"{last['stage']} {last['text']} ({seconds:.1f} s)")

    def progress(stage: str, part: float, text: str) -> None:
        if stage != last.get("stage"):
            finish()
            last.update(stage=stage, start=time.monotonic())
        last["text"] = text

    yield progress
    finish()


def pace(progress: Callable[[str, float, str], None], stage: str = "depth") -> Callable[[int, int], None]:
    """`report(frames done, frames in all)` that tells a stage's progress with its speed and what is left of it.

    The first report is the start: what was done by then cost nothing.
    """
    start: list[float] = []

    def report(done: int, count: int) -> None:
        now = time.monotonic()
        if not start:
            start.extend((now, done))
        text, new, seconds = f"{done} of {count} frames", done - start[1], now - start[0]
        if new and seconds:
            text += f", {new / seconds:.2g} frames/s"
            text += f", {_duration((count - done) * seconds / new)} left" if done < count else ""
        progress(stage, done / count, text)

    return report


def _duration(seconds: float) -> str:
    """
    >>> _duration(7), _duration(150), _duration(7200)
    ('7 s', '2 min', '2 h')
    """
    return (
        f"{seconds:.0f} s"
        if seconds < 60
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.0f} h"
    )


def summarize(console: Console, solve: dict[str, Any], folder: str, exported: Iterable[str] = ()) -> None:
    """The end of a solve: verdict, the numbers in words, what was written, with what was exported by file name."""
    console.print(f"{solve['verdict']:<13}", style=VERDICT_STYLE[solve["verdict"]], end="")
    console.print(f"\n{'':<13}".join(solve["reasons"]))
    for name, text in (*in_words(solve).items(), ("written", f"{folder}/")):
        console.print(f"{name:<13}{text}")
    produced = PRODUCED | {place: "exported" for place in exported if place not in PRODUCED}
    for name, what in produced.items():
        console.print(f"{'':<13}{name:<20}{what}")
