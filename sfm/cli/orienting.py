"""`orient`: where an artist wants the scene."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from sfm.cli.words import Result, Unit, app
from sfm.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from sfm.scene import Reconstruction

AXES = "x right, y up, z towards you, of the first camera, as USD, Nuke and Maya show a solve that is not oriented"
TRACKS_HELP = f"Tracks are numbered as in points.ply, and as locators are named. X,Y,Z: {AXES}."


@app.command(epilog=TRACKS_HELP)
def orient(
    result: Result,
    up: Annotated[str, typer.Option(metavar="auto|X,Y,Z|'track A, track B'", help="Up; from track A to B.")] = "auto",
    ground: Annotated[str, typer.Option(
        metavar="auto|'track A, track B, track C'", help="What is at height 0; three tracks or more on it.",
    )] = "auto",
    origin: Annotated[str | None, typer.Option(
        metavar="'track N'|X,Y,Z", help="Default: on the ground below the first camera.",
    )] = None,
    scale: Annotated[str | None, typer.Option(
        metavar="'track A, track B = 2.0 m'", help="How far apart two tracks are: m, cm, mm, ft or in.",
    )] = None,
    units: Annotated[Unit, typer.Option("--units", "--unit", help="What exports count in from now on.")] = Unit.m,
    reset: Annotated[bool, typer.Option("--reset", help="Back to the world of the solve.")] = False,
) -> None:  # fmt: skip
    """Turn, move and scale the scene for every export: up, the ground, the origin, a known length."""
    from sfm import results
    from sfm.scene_frame import orient as find
    from sfm.survey_files import UNITS

    if reset:
        if (up, ground, origin, scale) != ("auto", "auto", None, None):
            raise UsageError("--reset: takes the frame away; --up, --ground, --origin and --scale make one")
        _say_stale(results.set_scene_frame(result, None))
        print(f"{result}: as it was solved")
        return
    scene, _ = results.load_model(result, oriented=False)
    meters = UNITS[units.value]
    frame = find(
        scene,
        _direction(scene, up),
        None if ground == "auto" else _points(scene, "--ground", ground, at_least=3),
        None if origin is None else _place(scene, origin, meters),
        1.0 if scale is None else _scale(scene, scale, meters),
    )
    stale = results.set_scene_frame(result, replace(frame, unit=units.value))
    print("\n".join(frame.said))
    if scale is None:
        print("the scale is the solve's own; --scale 'track A, track B = 2.0 m' tells it")
    _say_stale(stale)


def _say_stale(exports: list[str]) -> None:
    if exports:
        print(f"written before and not as it stands now, export again: {', '.join(exports)}")


def _direction(scene: "Reconstruction", words: str) -> "np.ndarray | None":
    if words == "auto":
        return None
    if "track" not in words:
        vector = _vector("--up", words)
    else:
        ends = _points(scene, "--up", words, at_least=2, at_most=2)
        vector = ends[1] - ends[0]
    if not (vector**2).sum() > 0:
        raise UsageError(f"--up {words}: no direction; expected X,Y,Z or two tracks one above the other")
    return vector


def _place(scene: "Reconstruction", words: str, meters: float) -> "np.ndarray":
    if "track" in words:
        return _points(scene, "--origin", words, at_least=1, at_most=1)[0]
    return meters * _vector("--origin", words)


def _scale(scene: "Reconstruction", words: str, meters: float) -> float:
    import numpy as np

    from sfm.survey_files import UNITS

    told = re.fullmatch(r"(.+)=\s*(\d+\.?\d*|\.\d+)\s*(m|cm|mm|ft|in)?\s*", words)
    if told is None:
        raise UsageError(f"--scale {words}: expected 'track A, track B = 2.0 m', in m, cm, mm, ft or in")
    a, b = _points(scene, "--scale", told[1], at_least=2, at_most=2)
    length, apart = float(told[2]) * UNITS.get(told[3], meters), float(np.linalg.norm(b - a))
    if not (length > 0 and apart > 0):
        raise UsageError(f"--scale {words}: expected two tracks apart, and a length above 0")
    return length / apart


def _points(
    scene: "Reconstruction", option: str, words: str, at_least: int, at_most: int | None = None
) -> "np.ndarray":
    """Points (n, 3) of the tracks that words such as `track 12, track 87` name."""
    import numpy as np

    wanted = [re.fullmatch(r"\s*(?:track\s*)?(\d+)\s*", part) for part in words.split(",")]
    tracks = [int(found[1]) for found in wanted if found is not None]
    if len(tracks) != len(wanted) or len(tracks) < at_least or (at_most is not None and len(tracks) > at_most):
        names = ", ".join(f"track {letter}" for letter in "ABC"[:at_least])
        raise UsageError(f"{option} {words}: expected '{names}'{' or more' if at_most is None else ''}")
    there = scene.has_point
    if missing := [track for track in tracks if track >= len(there) or not there[track]]:
        known = np.flatnonzero(there)
        nearest = known[np.argmin(np.abs(known - missing[0]))] if len(known) else "none"
        raise UsageError(
            f"{option}: track {missing[0]} has no point; the nearest number that has one is {nearest} "
            "(track_id in points.ply)"
        )
    return scene.points[tracks]


def _vector(option: str, words: str) -> "np.ndarray":
    """X,Y,Z with y up, in the solve's axes."""
    import numpy as np

    try:
        numbers = [float(word) for word in words.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        raise UsageError(f"{option} {words}: expected X,Y,Z or tracks by number, as 'track 12'")
    return np.array(numbers) * [1, -1, -1]
