"""What arguments of the command line mean for a shot that is solved: which of its frames, tracks, which depth maps."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fileseq import FileSeqException, FrameSet

from sfm.depth import DepthKind, DepthModel
from sfm.depth.reopening import opened_depth, reopened_depth
from sfm.errors import UsageError
from sfm.footage import frame_ranges
from sfm.results import solve_of
from sfm.scene import Reconstruction
from sfm.video import Shot, Video

REACH = 0.01  # of the plate's width, from where a track is said to be to the track
_TRACK = re.compile(r"\s*(?:frame\s+(\d+)\s*,\s*(\d+\.?\d*)\s*,\s*(\d+\.?\d*)|(?:track\s*)?(\d+))\s*(?:[,;]|$)")


def frames_of(shot: Shot, text: str | None) -> list[int]:
    """Indices of the frames of a shot that plate numbers such as 1001-1040 name, rising; None for all.

    Raises `UsageError` where these are no numbers, or none of the shot's.
    """
    if text is None:
        return list(range(len(shot.frame_numbers)))
    try:
        asked = {int(number) for number in FrameSet(text.strip())}
    except (FileSeqException, ValueError) as error:
        raise UsageError(f"--frames {text}: expected plate numbers such as 1001-1040") from error
    found = [index for index, number in enumerate(shot.frame_numbers.tolist()) if number in asked]
    if not found:
        raise UsageError(f"--frames {text}: none of the shot's, which are {frame_ranges(shot.frame_numbers)}")
    return found


def frame_of(shot: Shot, number: int | None) -> int | None:
    """Index of the frame with a plate number, None of None. Raises `UsageError` where the shot has no such frame."""
    if number is None:
        return None
    found = np.flatnonzero(shot.frame_numbers == number)
    if not len(found):
        raise UsageError(f"--frame {number}: none of the shot's, which are {frame_ranges(shot.frame_numbers)}")
    return int(found[0])


def tracks_named(
    scene: Reconstruction, shot: Shot, option: str, words: str, count: tuple[int, int | None]
) -> tuple[list[int], list[str]]:
    """Tracks that have a point, as `track 12, frame 1001,640,360` names them, and in words which are seen there.

    count: at least, and at most, None for any number. A place is a plate number and px: the nearest track within 1 % of
    the width is meant. Raises `UsageError` where these are other words, or name no such track.
    """
    at_least, at_most = count
    found, said, end = [], [], 0
    while end < len(words) and (one := _TRACK.match(words, end)):
        end = one.end()
        number, x, y, track = one.groups()
        if track is None:
            place = f"frame {number},{x},{y}"
            track, away = _track_at(scene, shot, f"{option} {place}", int(number), np.array([x, y], float))
            said.append(f"{place} is track {track}, {away:.1f} px away")
        found.append(int(track))
    if end < len(words) or len(found) < at_least or (at_most is not None and len(found) > at_most):
        names = ", ".join(f"track {letter}" for letter in "ABC"[:at_least])
        more = " or more" if at_most is None else ""
        raise UsageError(f"{option} {words}: expected '{names}'{more}; 'frame 1001,640,360' for the track seen there")
    there = scene.has_point
    if missing := [track for track in found if track >= len(there) or not there[track]]:
        known = np.flatnonzero(there)
        nearest = known[np.argmin(np.abs(known - missing[0]))] if len(known) else "none"
        raise UsageError(
            f"{option}: track {missing[0]} has no point; the nearest number that has one is {nearest} "
            "(points.csv of sfm export lists them); or say where it is seen: 'frame 1001,640,360'"
        )
    return found, said


def _track_at(scene: Reconstruction, shot: Shot, option: str, number: int, xy: np.ndarray) -> tuple[int, float]:
    """The track with a point that is seen nearest to a place of a frame, and how far from it, px."""
    frame = np.flatnonzero(shot.frame_numbers == number)
    if not len(frame):
        raise UsageError(f"{option}: no such frame; the shot has {frame_ranges(shot.frame_numbers)}")
    tracks = scene.tracks
    used = scene.inliers & scene.has_point[tracks.track] & (tracks.frame == frame[0])
    if not used.any():
        raise UsageError(f"{option}: no track with a point is seen in this frame")
    away = np.where(used, np.linalg.norm(tracks.xy - xy, axis=1), np.inf)
    nearest = int(away.argmin())
    if away[nearest] > REACH * shot.width:
        x, y = tracks.xy[nearest]
        raise UsageError(
            f"{option}: no track within {REACH * shot.width:.0f} px; the nearest is track {tracks.track[nearest]}, "
            f"at {x:.0f},{y:.0f}"
        )
    return int(tracks.track[nearest]), float(away[nearest])


def depth_of_result(
    result: Path, video: Video, depth: str | None, kind: DepthKind | None, kept: Callable[[int, int], None]
) -> DepthModel | None:
    """The maps a shot was solved with, found again, or those given; None for "none".

    kept: told of frames done and in all while a network's maps are computed. Raises `InputError` where there are none.
    """
    if depth is None:
        return reopened_depth(solve_of(result).get("options", {}), video, kept)
    return None if depth.lower() == "none" else opened_depth(depth, kind, video, kept)


def light_of(text: str | None) -> tuple[float, float] | None:
    """Azimuth and elevation of a lamp, degrees, of `AZ,EL`. Raises `UsageError` where these are no such angles."""
    if text is None:
        return None
    try:
        azimuth, elevation = (float(part) for part in text.split(","))
    except ValueError:
        azimuth = elevation = float("nan")
    if not (abs(azimuth) <= 360 and 0 <= elevation <= 90):
        raise UsageError(f"--light {text}: expected two angles in degrees, such as -75,45, the second from 0 to 90")
    return azimuth, elevation
