"""`import`: a camera of another program as a result."""

from pathlib import Path
from typing import Annotated

import typer

from sfm.cli.words import app, calm_opencv
from sfm.errors import UsageError

SOURCE = "A USD stage, a .chan, StudioSfM's camera.pkl, a COLMAP model, or a result."


@app.command("import")
def import_track(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help=SOURCE)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the result.")],
    size: Annotated[str | None, typer.Option(
        metavar="WIDTHxHEIGHT", help="Of the plate, px; most files do not say it.",
    )] = None,
    clip: Annotated[str | None, typer.Option(
        metavar="INPUT", help="The plate it belongs to, as for reconstruct: gives size, frames and rate.",
    )] = None,
    camera: Annotated[str | None, typer.Option(metavar="/PATH", help="Which camera of a USD stage.")] = None,
    pixel_aspect: Annotated[float | None, typer.Option(
        metavar="A", help="Width over height of a pixel. Default: as the film back says.",
    )] = None,
    frame_offset: Annotated[int, typer.Option(metavar="N", help="Add to the source's frame numbers.")] = 0,
    fps: Annotated[float | None, typer.Option(min=0.01, metavar="FPS", help="Default: the source's, 24.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an older result.")] = False,
) -> None:  # fmt: skip
    """Make a result of another program's camera: to view, export, compare, or start from."""
    calm_opencv()
    from sfm import console, results
    from sfm.interchange import ImportOptions, read_track
    from sfm.video import open_video

    if clip is not None and (size is not None or fps is not None):
        name = "size" if size is not None else "fps"
        raise UsageError(f"--{name} and --clip: the clip has its own; give one of them")
    results.check_output(output, force)
    asked = {"source": str(source), "size": size, "clip": clip, "camera": camera, "pixel_aspect": pixel_aspect}
    options = ImportOptions(_size(size), pixel_aspect, camera, frame_offset, fps)
    told = console.error_console()
    with console.logging_to(told, console.loudness(False, False, False)):
        track = read_track(source, options, open_video(clip).shot if clip is not None else None)
        asked |= {"frame_offset": frame_offset, "sensor_mm": track.sensor_mm}
        solve = results.write_imported(output, track.scene, track.shot, asked, force)
    points = f"{solve['points']['total']:,} points" if solve["points"]["total"] else "no points"
    print(f"{output}: {solve['registered']} of {solve['frames']} frames have a camera, {points}")


def _size(words: str | None) -> tuple[int, int] | None:
    if words is None:
        return None
    width, _, height = words.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size {words}: expected WIDTHxHEIGHT in px, 1920x1080")
    return int(width), int(height)
