"""`report` and `film`: a result to be shown to others."""

from pathlib import Path
from typing import Annotated

import typer

from sfm.cli.words import app, calm_opencv
from sfm.errors import UsageError

Solved = Annotated[Path, typer.Argument(metavar="OUT", help="A result of sfm reconstruct.")]


@app.command()
def report(result: Solved) -> None:
    """Make report.html, report.json and the pictures of a result again."""
    calm_opencv()
    from sfm import console
    from sfm.results import renew_report

    with console.logging_to(console.error_console(), console.Loudness.NORMAL):
        files, notes = renew_report(result)
    for note in notes:
        console.note(note)
    for file in files:
        print(file)


@app.command()
def film(
    result: Solved,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="An .mp4 or .mov: plate, tracks, set.")
    ] = None,
    contact: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A contact sheet, .png, with it or instead.")
    ] = None,
    overlay_only: Annotated[
        bool, typer.Option("--overlay-only", help="The plate with its tracks alone, at the plate's size.")
    ] = False,
    height: Annotated[int, typer.Option(help="Of a panel, px.", min=120, max=2160, metavar="PX")] = 540,
) -> None:
    """Make a film of a result: plate, tracks coloured by depth, and the points turning in 3D."""
    if output is None and contact is None:
        raise UsageError("--output: where should the film go? --contact FILE.png makes a contact sheet")
    calm_opencv()
    from sfm import console
    from sfm.results import load_result
    from sfm.scene_frame import SceneFrame, World
    from sfm.video import reopen
    from sfm.view.film import write_contact_sheet, write_film

    scene, shot, solve = load_result(result)
    world = World.of(solve, SceneFrame.load(result))
    video, told = reopen(shot), console.error_console()
    with console.stages(told, console.Loudness.NORMAL) as progress:
        if output is not None:
            write_film(
                scene, video, output, height=height, overlay_only=overlay_only, world=world,
                report=console.pace(progress, "film"),
            )  # fmt: skip
        if contact is not None:
            progress("contact sheet", 0.0, "")
            write_contact_sheet(scene, video, contact, world)
    for place in (output, contact):
        if place is not None:
            print(place)
