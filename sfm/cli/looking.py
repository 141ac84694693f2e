"""`view`, `evaluate` and `doctor`: what there is, and how good it is."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sfm.cli.words import Result, app


class ColorBy(StrEnum):
    """What the colour of a point means in `view`."""

    plate = "plate"
    depth = "depth"
    residual = "residual"
    support = "support"


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
def doctor() -> None:
    """Say what is installed, and what a missing extra would give."""
    from sfm.doctor import diagnosis

    lines, healthy = diagnosis()
    print("\n".join(lines))
    if not healthy:
        raise typer.Exit(1)
