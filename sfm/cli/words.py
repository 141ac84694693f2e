"""What several commands have in common: the app they belong to, options that mean the same everywhere."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sfm.errors import UsageError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Camera and scene from a movie shot whose camera hardly moves.",
)


class DepthKind(StrEnum):
    """What depth maps hold."""

    metric = "metric"
    depth = "depth"
    disparity = "disparity"
    affine_disparity = "affine_disparity"


class Up(StrEnum):
    """The axis of a world that points up."""

    y = "y"
    z = "z"


class Unit(StrEnum):
    """What lengths are written in."""

    m = "m"
    cm = "cm"


Result = Annotated[Path, typer.Argument(metavar="OUT", help="A result of sfm reconstruct, or a COLMAP model.")]


DEPTH_HELP = (
    "A folder with a depth map per frame, or a network: a name, a hub id, a folder, a file .onnx .tflite .pt, or "
    "package.module:factory. auto: maps beside the clip, else a network that is here or can be had."
)
KIND_HELP = (
    "What the maps hold, where they do not say; metric: metres, whole numbers mm; disparity is 1 / depth, affine with "
    "an unknown offset."
)
FLIP_HELP = "Ask a network for mirrored frames too, and leave out what it sees differently there."
LENS, DEPTH, FRAMES = "Lens (fixed when given)", "Depth prior", "Frames"
TRACKS, SURVEY, RUN = "Tracks", "Measured on set", "Run"
PLATES = "Plates"


def option(panel: str, help: str, *names: str, **settings: Any) -> Any:
    """An option under a heading of the help."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **settings)


FirstFrame = Annotated[
    str | None, option(FRAMES, "Plate number of a movie's first frame. Default: 1.", metavar="N|timecode")
]
Colorspace = Annotated[str | None, option(
    PLATES, "linear ACEScg logc3 slog3 cineon rec709 sRGB raw, or OCIO's. Default: by the format.", metavar="NAME",
)]  # fmt: skip
Ocio = Annotated[str | None, option(PLATES, "Where NAME is found. Default: $OCIO, else ACES.", metavar="CONFIG")]
ClipName = Annotated[str | None, option(FRAMES, "The clip of a timeline, .otio or .edl.", "--clip", metavar="NAME")]
Handles = Annotated[int, option(FRAMES, "Frames more at either end of it.", min=0, metavar="N")]


def check_loudness(quiet: bool, verbose: bool, debug: bool) -> None:
    """Raise `UsageError` where more than one is asked for."""
    if quiet + verbose + debug > 1:
        raise UsageError("--quiet, --verbose and --debug: choose one")


def calm_opencv(debug: bool = False) -> None:
    """Keep OpenCV and its FFmpeg from writing to stderr what our own one-line errors say better."""
    if not debug:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        import cv2

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def say_incomplete(result: Path) -> None:
    """Of a result that has lost its numbers, what it is read as."""
    from sfm import console
    from sfm.results import incomplete

    if incomplete(result):
        console.note(
            f"{result}: incomplete, its solve.json is gone: frames are numbered as named in sparse/0, at 24 frames/s, "
            "and neither the plate nor what the solve was told is known"
        )


def names(formats: list[str]) -> list[str]:
    """Names out of lists of them, each perhaps several with commas between."""
    named = [name.strip() for names in formats for name in names.split(",") if name.strip()]
    if formats and not named:
        raise UsageError("--format: names no format")
    return named
