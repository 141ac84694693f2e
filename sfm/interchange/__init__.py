"""Cameras of other programs as a `Reconstruction`: to look at, to compare with, to refine, to hand on.

`read_track` tells what a source is by its name; one file a format.
"""

from dataclasses import dataclass
from pathlib import Path

from sfm.errors import InputError, UsageError
from sfm.interchange.camera_pickle import read_camera_pickle
from sfm.interchange.chan import read_chan
from sfm.interchange.tracked_camera import ImportOptions, TrackedCamera, placed_on
from sfm.interchange.usd import read_usd
from sfm.results import load_model
from sfm.scene import Reconstruction
from sfm.video import Shot

__all__ = [
    "ImportOptions",
    "ImportedTrack",
    "TrackedCamera",
    "placed_on",
    "read_camera_pickle",
    "read_chan",
    "read_track",
    "read_usd",
]

READERS = {
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz"), read_usd),
    ".chan": read_chan,
    ".pkl": read_camera_pickle,
    ".pickle": read_camera_pickle,
}
NOT_ASKED = {  # what a source says itself, or has nothing of
    "": ("camera", "pixel_aspect", "fps"), ".chan": ("camera",), ".pkl": ("camera", "pixel_aspect"),
    ".pickle": ("camera", "pixel_aspect"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ImportedTrack:
    """A camera with the points there are, its shot, and the width of the film back where the source tells it."""

    scene: Reconstruction
    shot: Shot
    sensor_mm: float | None = None


def read_track(source: str | Path, options: ImportOptions = ImportOptions(), clip: Shot | None = None) -> ImportedTrack:
    """The camera of a USD file, a `.chan`, a `camera.pkl`, a COLMAP model or a result.

    clip: the shot it belongs to, whose frames and size of the plate it takes; None: the source's own frames. The world
    is the source's, in our axes: its y up is -y. Raises `InputError` when the source is not what it must be, or has no
    frame in common with the clip; `UsageError` for options that say nothing of such a source; `MissingDependencyError`
    for USD without usd-core.
    """
    source, sensor_mm = Path(source), None
    for name in NOT_ASKED.get("" if source.is_dir() else source.suffix.lower(), ()):
        if getattr(options, name) is not None:
            raise UsageError(f"{source}: --{name.replace('_', '-')} does not go with such a source; leave it out")
    if source.is_dir():
        scene, shot = load_model(source)
        if options.size not in (None, (shot.width, shot.height)):
            raise InputError(f"{source}: its plate is {shot.width}x{shot.height}; leave --size out")
    else:
        if not source.is_file():
            raise InputError(f"{source}: no such file")
        if source.suffix.lower() not in READERS:
            known = ", ".join(dict.fromkeys(READERS))
            raise InputError(f"{source}: cameras are read from {known}, a folder with a COLMAP model, or a result")
        size = options.size or ((clip.width, clip.height) if clip is not None else None)
        if size is None:
            raise InputError(f"{source}: does not say how large the plate is; give --size WIDTHxHEIGHT, or --clip")
        found = READERS[source.suffix.lower()](source, size, options)
        sensor_mm = found.sensor_mm
        scene, shot = found.as_scene(source)
    return ImportedTrack(*placed_on(scene, shot, clip, options.frame_offset), sensor_mm)
