"""`export` and `undistort`: a result for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sfm.cli.words import Result, Unit, app, calm_opencv, names, say_incomplete

if TYPE_CHECKING:
    from sfm.export import FilmOptions


@app.command()
def export(
    result: Result,
    formats: Annotated[list[str], typer.Option(
        "--format", metavar="NAME,...",
        help="usd abc nk chan blender fbx ma jsx csv json points stmap otio colmap ply tum nerfstudio; vfx: most.",
    )],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: OUT.")] = None,
    sensor_mm: Annotated[float | None, typer.Option(
        metavar="MM", help="Width of the film back. Default: as the solve was told, else 36 mm, said to be assumed.",
    )] = None,
    units: Annotated[Unit | None, typer.Option(
        "--units", "--unit",
        help="Lengths in the files; a unit of the solve is a metre. Default: as orient was told, else m.",
    )] = None,
) -> None:  # fmt: skip
    """Write a result for another program."""
    from sfm import console
    from sfm import export as exporters
    from sfm.results import add_to_result, load_model, solve_of

    scene, shot = load_model(result)
    say_incomplete(result)
    film = film_options(result, sensor_mm, units)
    written = exporters.export(scene, shot, output or result, names(formats), film, solve=solve_of(result))
    if output is None or output.resolve() == result.resolve():
        add_to_result(result, (result / place.relative_to(output or result) for place in written.values()))
    for place in written.values():
        print(place)
    if note := exporters.lens_note(scene, written):
        console.note(note)


@app.command()
def undistort(
    result: Annotated[Path, typer.Argument(metavar="OUT", help="A result of sfm reconstruct.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to.")],
    formats: Annotated[list[str], typer.Option(
        "--format", metavar="NAME,...", help="The solve on the undistorted plate, as for export.",
    )] = ["vfx"],  # noqa: B006
    sensor_mm: Annotated[float | None, typer.Option(metavar="MM", help="As for export, of the plate before.")] = None,
    units: Annotated[Unit | None, typer.Option("--units", "--unit", help="As for export.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace plates undistorted before, once these are done.")]
    = False,
) -> None:  # fmt: skip
    """Write undistorted plates, STMaps there and back, and the camera that goes with them."""
    calm_opencv()
    from sfm import console
    from sfm.results import load_result
    from sfm.undistortion import nothing_to_undo, write_undistorted
    from sfm.video import reopen

    scene, shot, _ = load_result(result)
    film, told = film_options(result, sensor_mm, units), console.error_console()
    with console.stages(told, console.loudness(False, False, False)) as progress:
        written = write_undistorted(
            output, scene, reopen(shot), names(formats), film,
            lambda part: progress("undistorting", part, f"{len(shot.frame_numbers)} frames"), force=force,
        )  # fmt: skip
    for place in written.values():
        print(place)
    if nothing_to_undo(scene.camera):
        console.note("no distortion, and the principal point is in the middle: nothing to undo, these are the plates")


def film_options(result: Path, sensor_mm: float | None, units: Unit | None) -> "FilmOptions":
    """What the solve was told of the film back and `orient` of units, unless it is told now."""
    from sfm.export import FilmOptions
    from sfm.lens_arguments import told_sensor_mm
    from sfm.results import solve_of
    from sfm.scene_frame import SceneFrame

    told = told_sensor_mm(solve_of(result).get("options", {})) if sensor_mm is None else sensor_mm
    frame = SceneFrame.load(result)
    unit = "m" if frame is None else frame.unit
    return FilmOptions(told, unit if units is None else units.value)
