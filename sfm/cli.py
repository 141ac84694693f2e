"""The `sfm` command: the only place that reads argv and exits.

Exit codes: 0 done, 1 unexpected, 2 usage, 3 input unreadable, 4 no solution, 5 below --fail-below, 130 interrupted. An
error is one line on stderr; a traceback comes only with --debug. What is heavy is imported by the command that needs
it: help is instant.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sfm.errors import SfmError, UsageError

if TYPE_CHECKING:
    from sfm.export import FilmOptions

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


class MaskPolarity(StrEnum):
    """The colour of a mask that is not tracked."""

    black = "black"
    white = "white"


class MapFormat(StrEnum):
    """What `depth` writes."""

    npz = "npz"
    exr = "exr"


class Unit(StrEnum):
    """What lengths are written in."""

    m = "m"
    cm = "cm"


class ColorBy(StrEnum):
    """What the colour of a point means in `view`."""

    plate = "plate"
    depth = "depth"
    residual = "residual"
    support = "support"


class Kind(StrEnum):
    """What the camera may have done."""

    auto = "auto"
    static = "static"
    nodal = "nodal"
    free = "free"


class Gate(StrEnum):
    """The verdict that `reconstruct` must reach."""

    PASS = "PASS"
    REVIEW = "REVIEW"


DOWNLOAD_HELP = (
    "An interrupted run goes on where it stopped. sfm depth download NAME [-o DIR] fetches a network, to be carried to "
    "a machine that cannot reach the hub; a NAME that is none lists those there are."
)
Result = Annotated[Path, typer.Argument(metavar="OUT", help="A result of sfm reconstruct, or a COLMAP model.")]


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
        if "unexpected extra argument" in message():
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


DEPTH_HELP = (
    "A folder with a depth map per frame, or a network: a name, a hub id, a folder, a file .onnx .tflite .pt, or "
    "package.module:factory. auto: maps beside the clip, else a network that is here or can be had."
)
KIND_HELP = "What the maps hold, where they do not say; disparity is 1 / depth, affine with an unknown offset."
FLIP_HELP = "Ask a network for mirrored frames too, and leave out what it sees differently there."
LENS, DEPTH, FRAMES, TRACKS, RUN = "Lens (fixed when given)", "Depth prior", "Frames", "Tracks", "Run"


def _option(panel: str, help: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **settings)


@app.command()
def reconstruct(
    clip: Annotated[str, typer.Argument(metavar="INPUT", help="A movie, a folder of frames, or shot.####.exr")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the result.")],
    camera: Annotated[str | None, _option(LENS, "In px of the full-size plate.", metavar="FX,FY,CX,CY")] = None,
    focal_px: Annotated[float | None, _option(LENS, "Focal length in px, centred.", metavar="PX")] = None,
    focal_mm: Annotated[
        float | None, _option(LENS, "Focal length; needs --sensor-mm or --sensor.", metavar="MM")
    ] = None,
    sensor_mm: Annotated[float | None, _option(LENS, "Width of sensor the plate shows.", metavar="MM")] = None,
    sensor: Annotated[
        str | None, _option(LENS, "The camera instead, by name: 'ARRI Alexa Mini', 'full frame'.", metavar="NAME")
    ] = None,
    distortion: Annotated[
        str | None, _option(LENS, "OpenCV's, of a lens that is given.", metavar="K1,K2[,P1,P2[,K3[,K4,K5,K6]]]")
    ] = None,
    pixel_aspect: Annotated[
        float, _option(LENS, "Width over height of a pixel; 2 for 2x anamorphic, not desqueezed.", metavar="A")
    ] = 1.0,
    refine_focal: Annotated[
        bool, _option(LENS, "Refine what is given; nothing given is always refined.", "--refine-focal")
    ] = False,
    refine_principal_point: Annotated[
        bool,
        _option(LENS, "Of a cropped plate, a shifted lens: look for it too.", "--refine-principal-point"),
    ] = False,
    readout_ms: Annotated[
        float, _option(LENS, "A rolling shutter's read-out, top row to bottom row; 0: a global one.", metavar="MS")
    ] = 0.0,
    depth: Annotated[str, _option(DEPTH, DEPTH_HELP, metavar="DIR|MODEL|auto|none")] = "auto",
    depth_kind: Annotated[DepthKind | None, _option(DEPTH, KIND_HELP)] = None,
    flip_check: Annotated[bool, _option(DEPTH, FLIP_HELP, "--flip-check")] = False,
    no_cache: Annotated[bool, _option(DEPTH, "Do not keep a network's maps for the next run.", "--no-cache")] = False,
    depth_weight: Annotated[
        float | None, _option(DEPTH, "0: only start from it. Default: estimated.", min=0, metavar="W")
    ] = None,
    frames: Annotated[str | None, _option(FRAMES, "Plate numbers to solve.", metavar="1001-1072")] = None,
    step: Annotated[int, _option(FRAMES, "Solve every N-th frame.", min=1, metavar="N")] = 1,
    fps: Annotated[
        float | None, _option(FRAMES, "Default: the movie's own, 24 for images.", min=0.01, metavar="FPS")
    ] = None,
    masks: Annotated[Path | None, _option(TRACKS, "An image per frame; black is not tracked.", metavar="DIR")] = None,
    mask_polarity: Annotated[MaskPolarity, _option(TRACKS, "What is not tracked.")] = MaskPolarity.black,
    mask_dilate: Annotated[int, _option(TRACKS, "Grow what is not tracked.", min=0, metavar="PX")] = 0,
    max_bridge: Annotated[
        int, _option(FRAMES, "Interpolate cameras across so many frames without any; 0: none.", min=0, metavar="N")
    ] = 12,
    max_tracks: Annotated[int | None, _option(TRACKS, "At a time. Default: 2000.", min=8, metavar="N")] = None,
    tracks: Annotated[Path | None, _option(TRACKS, "Your own instead: .csv or .npz.", metavar="FILE")] = None,
    motion: Annotated[
        Kind, _option(RUN, "What the camera did, where you know better: stood still, only turned, moved.")
    ] = Kind.auto,
    seed: Annotated[int, _option(RUN, "The same seed gives the same result.", min=0)] = 0,
    force: Annotated[bool, _option(RUN, "Replace an older result, once the new one is done.", "--force")] = False,
    formats: Annotated[
        list[str] | None,
        _option(RUN, "For other programs, as sfm export writes: usd, vfx.", "--export", metavar="NAME,..."),
    ] = None,
    fail_below: Annotated[Gate | None, _option(RUN, "Exit with 5 on a worse verdict; the result is kept.")] = None,
    quiet: Annotated[bool, _option(RUN, "Say nothing but errors.", "--quiet")] = False,
    verbose: Annotated[bool, _option(RUN, "Say what is decided, and why.", "--verbose")] = False,
    debug: Annotated[bool, _option(RUN, "Say everything; errors with a traceback.", "--debug")] = False,
) -> None:
    """Solve a shot: cameras and points from a clip."""
    _check_loudness(quiet, verbose, debug)
    if tracks is not None and (masks is not None or max_tracks is not None):
        raise UsageError("--tracks: takes the tracker's place, which --masks and --max-tracks are for")
    if masks is None and (mask_dilate or mask_polarity is not MaskPolarity.black):
        raise UsageError("--mask-polarity and --mask-dilate: say how to read masks; give these with --masks")
    if depth.lower() == "none" and (depth_weight or depth_kind or flip_check):
        raise UsageError("--depth none: --depth-weight, --depth-kind and --flip-check are for a depth prior")
    asked = {name: value for name, value in locals().items() if name not in ("quiet", "verbose", "debug", "force")}
    _calm_opencv(debug)
    from sfm import arguments, console, pipeline, results
    from sfm import export as exporters
    from sfm.masks import MaskOptions
    from sfm.video import VideoOptions, open_video

    words = arguments.LensWords(camera, focal_px, focal_mm, sensor_mm, sensor, distortion, pixel_aspect)
    arguments.check_lens(words, refine_focal, refine_principal_point)
    mask_options = MaskOptions(mask_polarity.value, mask_dilate)
    options = arguments.options(
        depth_weight,
        refine_focal,
        max_tracks,
        seed,
        pixel_aspect=pixel_aspect,
        masks=mask_options,
        max_bridge=max_bridge,
        refine_principal_point=refine_principal_point,
    )
    arguments.check_readout(readout_ms)
    exported = exporters.named(_names(formats or []))
    results.check_output(output, force)
    told, loudness = console.error_console(), console.loudness(quiet, verbose, debug)
    with console.logging_to(told, loudness) as log, console.stages(told, loudness) as progress:
        video = open_video(clip, VideoOptions(frames, step, fps))
        lens = arguments.lens(video.shot, words)
        film = exporters.FilmOptions(arguments.told_sensor_mm(asked))
        options = options if lens is not None else arguments.starting_as_filmed(options, video)
        options = replace(options, readout=arguments.readout(readout_ms, video.shot.fps, step))
        given = arguments.own_tracks(tracks, video.shot) if tracks is not None else {}
        if "depth" in given:
            given = arguments.with_depth_asked_for(given, depth, depth_kind is not None or flip_check)
        if "depth" not in given:
            kept = None if no_cache else console.pace(progress)
            kind = depth_kind.value if depth_kind else None
            given["depth"] = arguments.depth_model(depth, kind, video, flip_check, kept)
            asked["depth_model"] = arguments.identified(given["depth"])
        reconstruction, report, _ = pipeline.reconstruct(
            video, camera=lens, options=options, masks=masks, progress=progress, **given
        )
        progress("writing", 0.0, str(output))
        asked["stages"] = options
        solve = results.write_result(
            output, reconstruction, report, video, asked, log=log(), force=force, formats=exported, film=film
        )
    if not quiet:
        console.summarize(console.output_console(), solve, str(output))
    worse = {None: (), Gate.REVIEW: ("FAIL",), Gate.PASS: ("FAIL", "REVIEW")}[fail_below]
    if solve["verdict"] in worse:
        raise typer.Exit(_complain(f"{output}: verdict {solve['verdict']}, below the {fail_below} asked for", 5))


def _check_loudness(quiet: bool, verbose: bool, debug: bool) -> None:
    if quiet + verbose + debug > 1:
        raise UsageError("--quiet, --verbose and --debug: choose one")


def _calm_opencv(debug: bool = False) -> None:
    """Keep OpenCV and its FFmpeg from writing to stderr what our own one-line errors say better."""
    if not debug:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        import cv2

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@app.command("depth", epilog=DOWNLOAD_HELP)
def write_depth(
    words: Annotated[list[str], typer.Argument(metavar="INPUT | download NAME", help="A clip as for reconstruct.")],
    output: Annotated[Path | None, _option(DEPTH, "Folder for the maps.", "--output", "-o", metavar="DIR")] = None,
    model: Annotated[str, _option(DEPTH, "As --depth of reconstruct.", metavar="MODEL|auto")] = "auto",
    map_format: Annotated[MapFormat, _option(DEPTH, "Half precision where it suffices.", "--format")] = MapFormat.npz,
    kind: Annotated[DepthKind | None, _option(DEPTH, KIND_HELP)] = None,
    flip_check: Annotated[bool, _option(DEPTH, FLIP_HELP, "--flip-check")] = False,
    frames: Annotated[str | None, _option(FRAMES, "Plate numbers.", metavar="1001-1072")] = None,
    step: Annotated[int, _option(FRAMES, "Every N-th frame.", min=1, metavar="N")] = 1,
    force: Annotated[bool, _option(RUN, "Throw away the maps that are there, of any model.", "--force")] = False,
    no_preview: Annotated[bool, _option(RUN, "No pictures and no movie of the maps.", "--no-preview")] = False,
    quiet: Annotated[bool, _option(RUN, "Say nothing but errors.", "--quiet")] = False,
    verbose: Annotated[bool, _option(RUN, "Say what is decided, and why.", "--verbose")] = False,
    debug: Annotated[bool, _option(RUN, "Say everything; errors with a traceback.", "--debug")] = False,
) -> None:
    """Compute depth maps once, to look at, to keep and to carry; or download a network."""
    _check_loudness(quiet, verbose, debug)
    _calm_opencv(debug)
    from sfm import arguments, console

    clip, name = arguments.depth_words(words, output)
    told, loudness = console.error_console(), console.loudness(quiet, verbose, debug)
    with console.logging_to(told, loudness), console.stages(told, loudness) as progress:
        if clip is None:
            written = [arguments.download(name, output)]
        else:
            from sfm.depth.writing import write_maps
            from sfm.video import VideoOptions, open_video
            from sfm.view.depth_preview import write_previews

            video = open_video(clip, VideoOptions(frames, step))
            source = arguments.depth_model(model, kind.value if kind else None, None, flip_check)
            if source is None or output is None:
                raise UsageError("--model none: nothing to compute maps with")
            maps = write_maps(source, video, output, map_format.value, force=force, progress=console.pace(progress))
            written = [output]
            if not no_preview:
                progress("preview", 0.0, "")
                written += write_previews(maps, video, output)
    if not quiet:
        print("\n".join(map(str, written)))


@app.command()
def view(
    result: Result,
    screenshot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a PNG instead of opening a window; needs no display.")
    ] = None,
    color_by: Annotated[ColorBy, typer.Option(help="What the colour of a point means at first.")] = ColorBy.plate,
) -> None:
    """Look at a result: points, camera path and frusta."""
    from sfm.results import load_model
    from sfm.view import window

    reconstruction, shot = load_model(result)
    options = window.ViewOptions(color_by=color_by.value)
    if screenshot is None:
        window.show(reconstruction, shot, options)
    else:
        window.screenshot(reconstruction, shot, screenshot, options)
        print(screenshot)


@app.command()
def evaluate(
    result: Result,
    truth: Annotated[Path, typer.Argument(metavar="GT.json", help="True cameras.")],
    true_depth: Annotated[Path | None, typer.Argument(metavar="[DEPTH.npz]", help="True depth.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one line of JSON.")] = False,
) -> None:
    """Measure a result against the truth."""
    from sfm.console import MEASURES
    from sfm.evaluation import GroundTruth
    from sfm.evaluation import evaluate as measure
    from sfm.results import load_model

    measures = measure(*load_model(result), GroundTruth.load(truth, true_depth)).as_dict()
    if as_json:
        print(json.dumps(measures))
        return
    for name, value in measures.items():
        if value is not None:
            print(f"{name:<16}{value:>10}  {MEASURES[name]}")


@app.command()
def export(
    result: Result,
    formats: Annotated[list[str], typer.Option(
        "--format", metavar="NAME,...", help="usd abc nk chan blender fbx ma csv colmap ply tum nerfstudio; vfx: most.",
    )],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: OUT.")] = None,
    sensor_mm: Annotated[float | None, typer.Option(
        metavar="MM", help="Width of the film back. Default: as the solve was told, else 36 mm, said to be assumed.",
    )] = None,
    unit: Annotated[Unit, typer.Option(help="Lengths in the files; a unit of the solve is a metre.")] = Unit.m,
) -> None:  # fmt: skip
    """Write a result for another program."""
    from sfm import export as exporters
    from sfm.results import add_to_result, load_model

    scene, shot = load_model(result)
    film = _film(result, sensor_mm, unit)
    written = exporters.export(scene, shot, output or result, _names(formats), film)
    if output is None:
        add_to_result(result, written.values())
    for place in written.values():
        print(place)


def _names(formats: list[str]) -> list[str]:
    named = [name.strip() for names in formats for name in names.split(",") if name.strip()]
    if formats and not named:
        raise UsageError("--format: names no format")
    return named


def _film(result: Path, sensor_mm: float | None, unit: Unit) -> "FilmOptions":
    """What the solve was told of the film back, unless it is told now."""
    from sfm.arguments import told_sensor_mm
    from sfm.export import FilmOptions
    from sfm.results import options_of

    return FilmOptions(told_sensor_mm(options_of(result)) if sensor_mm is None else sensor_mm, unit.value)


@app.command()
def undistort(
    result: Annotated[Path, typer.Argument(metavar="OUT", help="A result of sfm reconstruct.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to.")],
    formats: Annotated[list[str], typer.Option(
        "--format", metavar="NAME,...", help="The solve on the undistorted plate, as for export.",
    )] = ["vfx"],  # noqa: B006
    sensor_mm: Annotated[float | None, typer.Option(metavar="MM", help="As for export, of the plate before.")] = None,
    unit: Annotated[Unit, typer.Option(help="As for export.")] = Unit.m,
) -> None:  # fmt: skip
    """Write undistorted plates, STMaps there and back, and the camera that goes with them."""
    _calm_opencv()
    from sfm import console
    from sfm.results import load_result
    from sfm.undistortion import write_undistorted
    from sfm.video import reopen

    scene, shot, _ = load_result(result)
    film, told = _film(result, sensor_mm, unit), console.error_console()
    with console.stages(told, console.loudness(False, False, False)) as progress:
        written = write_undistorted(
            output, scene, reopen(shot), _names(formats), film,
            lambda part: progress("undistorting", part, f"{len(shot.frame_numbers)} frames"),
        )  # fmt: skip
    for place in written.values():
        print(place)


@app.command()
def doctor() -> None:
    """Say what is installed, and what a missing extra would give."""
    from sfm.doctor import diagnosis

    lines, healthy = diagnosis()
    print("\n".join(lines))
    if not healthy:
        raise typer.Exit(1)
