"""`orient`: where an artist wants the scene."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfm.cli.words import Result, Unit, app, say_incomplete
from sfm.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from sfm.scene import Reconstruction
    from sfm.video import Shot

AUTO = "auto"
AXES = "x right, y up, z towards you, of the first camera, as USD, Nuke and Maya show a solve that is not oriented"
TRACKS_HELP = (
    "What was told before and is not told now stays; 'auto' lets it go. Tracks are numbered as in points.csv and "
    f"points.ply, and as locators are named; 'frame 1001,640,360' is the one seen there. X,Y,Z: {AXES}."
)


@app.command(epilog=TRACKS_HELP)
def orient(
    result: Result,
    up: Annotated[str | None, typer.Option(
        metavar="auto|X,Y,Z|'track A, track B'", help="Up; from track A to B. Default: found.",
    )] = None,
    ground: Annotated[str | None, typer.Option(
        metavar="auto|'track A, track B, track C'", help="What is at height 0; three tracks or more on it.",
    )] = None,
    origin: Annotated[str | None, typer.Option(
        metavar="auto|'track N'|X,Y,Z", help="Default: on the ground below the first camera.",
    )] = None,
    scale: Annotated[str | None, typer.Option(
        metavar="auto|'track A, track B = 2.0 m'", help="How far apart two tracks are; m, cm, mm, ft, in or --units.",
    )] = None,
    units: Annotated[Unit | None, typer.Option(
        "--units", "--unit", help="What exports count in from now on. Default: m.",
    )] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Back to the world of the solve.")] = False,
) -> None:  # fmt: skip
    """Turn, move and scale the scene for every export: up, the ground, the origin, a known length."""
    from sfm import results
    from sfm.scene_frame import SceneFrame, is_metric
    from sfm.scene_frame import orient as find
    from sfm.survey_files import UNITS

    now = {"up": up, "ground": ground, "origin": origin, "scale": scale}
    now = {name: words for name, words in now.items() if words is not None}
    if reset:
        if now or units is not None:
            raise UsageError("--reset: takes the frame away; --up, --ground, --origin, --scale and --units make one")
        _say_stale(results.set_scene_frame(result, None))
        print(f"{result}: as it was solved")
        return
    say_incomplete(result)
    before = SceneFrame.load(result)
    unit = units.value if units is not None else "m" if before is None else before.unit
    asked = _Asked(*results.load_model(result, oriented=False), said=[])
    told = {} if before is None else dict(before.told)
    told |= {name: asked.lasting(name, words, UNITS[unit]) for name, words in now.items()}
    told = {name: words for name, words in told.items() if words != AUTO}
    frame = find(asked.scene, **{name: asked.value(name, words) for name, words in told.items()})
    frame = replace(frame, unit=unit, told=told)
    stale = results.set_scene_frame(result, frame)
    print("\n".join([*frame.said, *asked.said]))
    if kept := [f"--{name} '{words}'" for name, words in told.items() if name not in now]:
        print(f"as told before: {', '.join(kept)}")
    solve = results.solve_of(result)
    survey, metric = solve.get("survey"), is_metric(solve)
    _say_scale(result, survey, metric, "scale" in told)
    scaled = "scale" in told or metric or survey is not None
    _say_size(asked.scene.transform(frame.scene_from_world), unit, scaled)
    _say_stale(stale)


def _say_scale(result: Path, survey: dict[str, Any] | None, metric: bool, scaled: bool) -> None:
    """Whose the scale is, and what of a survey's world is left."""
    known = survey is not None and (survey["points"] or survey["distances"])
    if survey is not None and survey["points"]:
        print(f"this replaces the survey's world, its axes and its origin; sfm orient {result} --reset goes back to it")
    if not scaled:
        whose = "the survey's own" if known else "that of the depth prior, metres" if metric else "the solve's own"
        print(f"the scale is {whose}; --scale 'track A, track B = 2.0 m' tells it")
    elif known:
        print("the scale is as it was told, no longer the survey's")


def _say_size(scene: "Reconstruction", unit: str, scaled: bool) -> None:
    """How large things are now, for an artist to see whether that can be."""
    import numpy as np

    from sfm.survey_files import UNITS

    centers = scene.cams_from_world[scene.has_camera].centers_in_world / UNITS[unit]
    path = np.linalg.norm(np.diff(centers, axis=0), axis=1).sum()
    height = f"{_four_digits(-centers[0, 1])} {unit} above 0"
    taken = "" if scaled else ", a unit of the solve being taken for a metre"
    stands = path <= 1e-9 * np.nanmax(np.abs(np.r_[centers, scene.points / UNITS[unit]]))  # rounding moves it too
    moves = "and none moves from there" if stands else f"its path {_four_digits(path)} {unit} long"
    print(f"lengths in {unit}{taken}: the first camera is {height}, {moves}")


def _four_digits(length: float) -> str:
    """A length with four digits that count, 28840 and not 2.884e+04; what rounding left of 0 is 0."""
    return f"{float(f'{round(length, 12):.4g}') + 0.0:.15g}"


def _say_stale(exports: list[str]) -> None:
    if exports:
        print(f"written before and not as it stands now, export again: {', '.join(exports)}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What words mean in a solve; said: where the tracks were found that they tell by a place."""

    scene: "Reconstruction"
    shot: "Shot"
    said: list[str]

    def lasting(self, name: str, words: str, meters: float) -> str:
        """The same words, tracks by number and lengths in metres, as they are kept."""
        if words.strip() == AUTO:
            return AUTO
        if name == "scale":
            pair, length = self._length(words, meters)
            return f"{self._tracks(name, pair, (2, 2))} = {f'{length:.9f}'.rstrip('0').rstrip('.')} m"
        if name == "ground" or "track" in words or "frame" in words:
            return self._tracks(name, words, {"up": (2, 2), "ground": (3, None), "origin": (1, 1)}[name])
        unit = meters if name == "origin" else 1.0
        return ",".join(f"{unit * number:.12g}" for number in _numbers(f"--{name}", words))

    def value(self, name: str, words: str) -> Any:
        """What `scene_frame.orient` takes, of words that last."""
        import numpy as np

        if name == "scale":
            pair, length = self._length(words, 1.0)
            a, b = self._points(pair)
            if not np.linalg.norm(b - a) > 0:
                raise UsageError(f"--scale {words}: expected two tracks apart, and a length above 0")
            return length / float(np.linalg.norm(b - a))
        if "track" not in words:
            found = np.array(_numbers(f"--{name}", words)) * [1, -1, -1]  # with y up, in the solve's axes
        elif name == "origin":
            return self._points(words)[0]
        elif name == "ground":
            return self._points(words)
        else:
            a, b = self._points(words)
            found = b - a
        if name == "up" and not (found**2).sum() > 0:
            raise UsageError(f"--up {words}: no direction; expected X,Y,Z or two tracks one above the other")
        return found

    def _tracks(self, name: str, words: str, count: tuple[int, int | None]) -> str:
        from sfm.result_arguments import tracks_named

        tracks, said = tracks_named(self.scene, self.shot, f"--{name}", words, count)
        self.said.extend(said)
        return ", ".join(f"track {track}" for track in tracks)

    def _points(self, words: str) -> "np.ndarray":
        return self.scene.points[[int(number) for number in re.findall(r"\d+", words)]]

    @staticmethod
    def _length(words: str, meters: float) -> tuple[str, float]:
        """Which tracks, and how far apart, m."""
        from sfm.survey_files import UNITS

        told = re.fullmatch(r"(.+)=\s*(\d+\.?\d*|\.\d+)\s*(m|cm|mm|ft|in)?\s*", words)
        if told is None:
            raise UsageError(f"--scale {words}: expected 'track A, track B = 2.0 m', in m, cm, mm, ft or in")
        length = float(told[2]) * UNITS.get(told[3], meters)
        if not length > 0:
            raise UsageError(f"--scale {words}: expected two tracks apart, and a length above 0")
        return told[1], length


def _numbers(option: str, words: str) -> list[float]:
    import math

    try:
        numbers = [float(word) for word in words.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{option} {words}: expected X,Y,Z or tracks by number, as 'track 12'")
    return numbers
