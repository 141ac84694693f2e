"""A survey as people write it: a CSV of points, distances in a CSV or in words; put on the tracks of a shot.

Points: `track,X,Y,Z[,sigma]`, or in place of the track `frame,x,y`: the plate number, and where in it the point is
seen. Distances: `track_a,track_b,distance[,sigma]`, or "track 12, track 87 = 2.0 m +- 0.01". A track is called as in
the file it came from, one of the tracker's by its number.
"""

import csv
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sfm.errors import InputError, UsageError, reason
from sfm.scene import Tracks
from sfm.survey import Survey
from sfm.video import Shot

POINT_SIGMA = 0.01  # in the survey's unit: a centimetre, as far as a mark on set and its picture are the same point
LENGTH_SIGMA = 0.005  # of a distance, as a tape between two corners gives it
REACH_PX = 3.0  # of an HD plate, from where a point is seen to a track
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}
# a world with this axis up, to ours
AXES = {"y": np.diag([1.0, -1.0, -1.0]), "z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])}
_NUMBER = r"(\d+\.?\d*|\.\d+)\s*(mm|cm|m|ft|in)?"
_WORDS = re.compile(rf"(?:track\s+)?(.+?)\s*,\s*(?:track\s+)?(.+?)\s*=\s*{_NUMBER}(?:\s*(?:\+-|\+/-|±)\s*{_NUMBER})?")

logger = logging.getLogger(__name__)

Up = Literal["y", "z"]


@dataclass(frozen=True, slots=True)
class SurveyedPoint:
    """A point by the name of its track, or by where it is seen: plate number, x, y px."""

    name: str
    seen: tuple[int, float, float] | None
    position: tuple[float, float, float]
    sigma: float


@dataclass(frozen=True, slots=True)
class MeasuredDistance:
    """A distance between two tracks, by their names."""

    one: str
    two: str
    length: float
    sigma: float


@dataclass(frozen=True, slots=True)
class WrittenSurvey:
    """A survey by names of tracks; up: the axis of its world that points up."""

    points: tuple[SurveyedPoint, ...] = ()
    distances: tuple[MeasuredDistance, ...] = ()
    up: Up = "y"

    def on(self, tracks: Tracks, shot: Shot, names: Mapping[str, int]) -> Survey:
        """The survey on the tracks of a shot. names: of those called otherwise than by their number.

        Raises `InputError` where a track or a place that it names is none.
        """

        def index(name: str) -> int:
            if name in names:
                return names[name]
            if name.isdecimal() and int(name) < tracks.num_tracks:
                return int(name)
            raise InputError(f"survey: no track {name!r}; there are 0 to {tracks.num_tracks - 1}{_some(names)}")

        at = [index(point.name) if point.seen is None else _seen_at(tracks, shot, point) for point in self.points]
        if len(set(at)) < len(at):
            raise InputError("survey: two of its points are the same track")
        pairs = [(index(one.one), index(one.two)) for one in self.distances]
        if same := [one for one, (a, b) in zip(self.distances, pairs, strict=True) if a == b]:
            raise InputError(f"survey: a distance from track {same[0].one} to itself")
        positions = np.array([point.position for point in self.points]).reshape(-1, 3) @ AXES[self.up].T
        return Survey(
            np.array(at, int), positions, np.array([point.sigma for point in self.points]),
            np.array(pairs, int).reshape(-1, 2), np.array([one.length for one in self.distances]),
            np.array([one.sigma for one in self.distances]),
        )  # fmt: skip


def read_survey(points: str | Path | None, distances: Sequence[str] = (), up: Up = "y") -> WrittenSurvey:
    """A CSV of points, and distances: each a CSV, or words.

    Raises `InputError` for a file that is not one, `UsageError` for words that say no distance.
    """
    known = () if points is None else tuple(_points(Path(points)))
    lengths = [one for text in distances for one in (_distances(Path(text)) if _is_file(text) else [_in_words(text)])]
    return WrittenSurvey(known, tuple(lengths), up)


def _is_file(text: str) -> bool:
    """Whether a distance is told by a file, there or not, and not in words."""
    return "=" not in text and bool(Path(text).suffix or Path(text).exists())


def _rows(path: Path, needed: Sequence[Sequence[str]]) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of every line; `needed`: sets of columns of which one must be there."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [[field.strip() for field in row] for row in csv.reader(file)]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a survey ({reason(error)})") from error
    header = rows[0] if rows else []
    if not any(set(columns) <= set(header) for columns in needed):
        wanted = " or ".join(",".join(columns) for columns in needed)
        raise InputError(f"{path}: its first line must be {wanted}, and perhaps sigma; x and X differ")
    return [(k, dict(zip(header, row, strict=False))) for k, row in enumerate(rows[1:], 2) if any(row)]


def _points(path: Path) -> list[SurveyedPoint]:
    found = []
    for line, row in _rows(path, (("track", "X", "Y", "Z"), ("frame", "x", "y", "X", "Y", "Z"))):
        try:
            name, seen = row.get("track", ""), None
            if not name:
                seen = (int(row["frame"]), _finite(row["x"]), _finite(row["y"]))
            position = (_finite(row["X"]), _finite(row["Y"]), _finite(row["Z"]))
            sigma = _finite(row.get("sigma") or POINT_SIGMA)
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}, line {line}: {reason(error)}; expected numbers") from error
        if not sigma > 0:
            raise InputError(f"{path}, line {line}: sigma {sigma:g}; expected a positive number")
        found.append(SurveyedPoint(name, seen, position, sigma))
    return found


def _distances(path: Path) -> list[MeasuredDistance]:
    found = []
    for line, row in _rows(path, (("track_a", "track_b", "distance"),)):
        try:
            length = _finite(row["distance"])
            sigma = _finite(row.get("sigma") or LENGTH_SIGMA * length)
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}, line {line}: {reason(error)}; expected numbers") from error
        if not (length > 0 and sigma > 0):
            raise InputError(f"{path}, line {line}: expected a positive distance and sigma")
        found.append(MeasuredDistance(row["track_a"], row["track_b"], length, sigma))
    return found


def _in_words(text: str) -> MeasuredDistance:
    """
    >>> _in_words("track 12, track 87 = 2.0 m +- 1 cm")
    MeasuredDistance(one='12', two='87', length=2.0, sigma=0.01)
    """
    said = _WORDS.fullmatch(text.strip())
    if said is None:
        raise UsageError(f"--distance {text!r}: expected 'track 12, track 87 = 2.0 m +- 0.01', or a CSV")
    one, two, length, unit, sigma, sigma_unit = said.groups()
    scale = UNITS[unit or "m"]
    length = float(length) * scale
    sigma = LENGTH_SIGMA * length if sigma is None else float(sigma) * (UNITS[sigma_unit] if sigma_unit else scale)
    if not (length > 0 and sigma > 0):
        raise UsageError(f"--distance {text!r}: expected a positive distance and sigma")
    return MeasuredDistance(one, two, length, sigma)


def _finite(text: str | float) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number


def _seen_at(tracks: Tracks, shot: Shot, point: SurveyedPoint) -> int:
    """The track nearest to where a point is seen."""
    assert point.seen is not None
    number, *xy = point.seen
    frame = np.flatnonzero(shot.frame_numbers == number)
    if not len(frame):
        raise InputError(f"survey: frame {number} is not in {shot.name}")
    rows = tracks.in_frame(int(frame[0]))
    away = np.linalg.norm(tracks.xy[rows] - xy, axis=1)
    reach = REACH_PX * max(1.0, shot.width / 1920)
    if not len(rows) or away.min() > reach:
        raise InputError(
            f"survey: no track within {reach:.3g} px of {xy[0]:g}, {xy[1]:g} in frame {number}; track it: --hand-tracks"
        )
    nearest = int(tracks.track[rows[away.argmin()]])
    logger.info(f"survey: {xy[0]:g}, {xy[1]:g} in frame {number} is track {nearest}, {away.min():.2f} px away")
    return nearest


def _some(names: Mapping[str, int]) -> str:
    return f" and {', '.join(list(names)[:5])}{' ...' if len(names) > 5 else ''}" if names else ""
