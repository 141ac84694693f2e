"""`evaluate` and `doctor`: how good a result is, and what is installed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sfm.cli.words import Result, app, say_incomplete
from sfm.errors import UsageError

if TYPE_CHECKING:
    from sfm.scene import Reconstruction
    from sfm.video import Shot


@app.command()
def evaluate(
    result: Result,
    truth: Annotated[Path | None, typer.Argument(metavar="[GT.json]", help="True cameras.")] = None,
    true_depth: Annotated[Path | None, typer.Argument(metavar="[DEPTH.npz]", help="True depth.")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="Another track instead of the truth: all that import reads.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one line of JSON.")] = False,
) -> None:
    """Measure a result against the truth, or compare it with another track."""
    from sfm.console import DIFFERENCES, MEASURES
    from sfm.results import load_model

    if (truth is None) == (against is None):
        raise UsageError("evaluate: give the truth, or another track as --against OTHER")
    scene, shot = load_model(result)
    say_incomplete(result)
    if against is not None:
        measures, words = _against(scene, shot, against), DIFFERENCES
    else:
        from sfm.evaluation import GroundTruth
        from sfm.evaluation import evaluate as measure

        assert truth is not None
        measures, words = measure(scene, shot, GroundTruth.load(truth, true_depth)).as_dict(), MEASURES
    if as_json:
        print(json.dumps(measures))
        return
    for name, value in measures.items():
        if value is not None:
            print(f"{name:<16}{value:>10}  {words[name]}")


def _against(scene: "Reconstruction", shot: "Shot", other: Path) -> dict[str, float | int | None]:
    from sfm.comparison import compare
    from sfm.interchange import read_track

    # what does not say how large its plate is was made for this one
    clip = None if other.is_dir() else shot
    track = read_track(other, clip=clip)
    return compare(scene, shot, track.scene, track.shot).as_dict()


@app.command()
def doctor() -> None:
    """Say what is installed, and what a missing extra would give."""
    from sfm.doctor import diagnosis

    lines, healthy = diagnosis()
    print("\n".join(lines))
    if not healthy:
        raise typer.Exit(1)
