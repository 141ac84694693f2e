"""A shot as an OpenTimelineIO timeline of one clip: the plate by its frame numbers, and what the solve is worth.

Markers are where the camera is interpolated or missing. Editors and review tools read it; ours is under `sfm` in the
clip's metadata.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sfm.errors import require
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

NEEDS = ("opentimelineio", "OpenTimelineIO", "timeline", "OpenTimelineIO")  # as `require` is told
TOLD = (
    "verdict", "reasons", "motion", "zoom", "rms_px", "whitened_rms_px", "likely_slide_px", "frames", "registered",
    "unregistered_frames", "bridged_frames", "unreadable_frames", "missing_frames", "points", "camera", "versions",
)  # fmt: skip


def write_otio(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, solve: Mapping[str, Any] | None = None
) -> None:
    """Write a timeline; solve: what `solve.json` says, of which the clip's metadata has what it is worth.

    Raises `InputError` when `path` cannot be written, `MissingDependencyError` without OpenTimelineIO.
    """
    require(*NEEDS)
    import opentimelineio as otio

    whole = _span(int(shot.frame_numbers[0]), int(shot.frame_numbers[-1]), shot.fps)
    told = {name: solve[name] for name in TOLD if solve and name in solve}
    clip = otio.schema.Clip(shot.name, _media(shot), whole, metadata={"sfm": told or _measured(reconstruction)})
    numbers = shot.frame_numbers
    for name, color, frames in (
        ("no camera", otio.schema.MarkerColor.RED, numbers[~reconstruction.has_camera]),
        ("interpolated camera", otio.schema.MarkerColor.YELLOW, numbers[reconstruction.bridged]),
    ):
        for run in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1) if len(frames) else []:
            clip.markers.append(otio.schema.Marker(name, _span(int(run[0]), int(run[-1]), shot.fps), color))
    track = otio.schema.Track("plate", [clip], kind=otio.schema.TrackKind.Video)
    timeline = otio.schema.Timeline(shot.name, [track])
    timeline.global_start_time = whole.start_time
    with replacing(path) as temporary:
        temporary.write_text(timeline.to_json_string() + "\n", encoding="utf-8")


def _span(first: int, last: int, fps: float):
    """Plate numbers first to last, both of them."""
    from opentimelineio.opentime import RationalTime, TimeRange

    return TimeRange(RationalTime(first, fps), RationalTime(last - first + 1, fps))


def _media(shot: Shot):
    """The movie, or the sequence by its name, padding and step; missing where a solve does not know its plate."""
    import opentimelineio as otio

    first, last = int(shot.frame_numbers[0]), int(shot.frame_numbers[-1])
    source = Path(shot.source).absolute()
    if shot.is_movie:
        return otio.schema.ExternalReference(source.as_uri(), _span(shot.first_frame, last, shot.fps))
    name = re.fullmatch(r"(.*?)(\d+)(\.\w+)", shot.frame_names[0])
    if "#" not in source.name or name is None:
        return otio.schema.MissingReference(shot.name, _span(first, last, shot.fps))
    steps = np.unique(np.diff(shot.frame_numbers))
    step = int(steps[0]) if len(steps) == 1 else 1
    return otio.schema.ImageSequenceReference(
        target_url_base=source.parent.as_uri() + "/", name_prefix=name[1], name_suffix=name[3], start_frame=first,
        frame_step=step, rate=shot.fps, frame_zero_padding=len(name[2]),
        missing_frame_policy=otio.schema.ImageSequenceReference.MissingFramePolicy.hold,
        available_range=_span(first, last + step - 1, shot.fps),  # a picture lasts to the next
    )  # fmt: skip


def _measured(reconstruction: Reconstruction) -> dict[str, Any]:
    """What a reconstruction itself tells, where no `solve.json` does."""
    return {
        "rms_px": reconstruction.rms_px(),
        "frames": len(reconstruction.registered),
        "registered": int(reconstruction.registered.sum()),
    }
