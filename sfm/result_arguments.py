"""What arguments of the command line mean for a shot that is solved: which of its frames, which depth maps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from fileseq import FileSeqException, FrameSet

from sfm.depth import DepthKind, DepthModel
from sfm.depth.reopening import opened_depth, reopened_depth
from sfm.errors import UsageError
from sfm.footage import frame_ranges
from sfm.results import solve_of
from sfm.video import Shot, Video


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
