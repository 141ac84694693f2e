"""Depth-guided structure from motion for shots whose camera hardly moves."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfm.errors import InputError, MissingDependencyError, NoSolutionError, NotEnoughTracksError, SfmError
    from sfm.geometry import Camera, Rigid3, Sim3
    from sfm.interchange import read_track
    from sfm.pipeline import Options, SolveReport, reconstruct, reconstruct_tracks
    from sfm.results import load_result
    from sfm.scene import DepthPriors, Reconstruction, Support, Tracks
    from sfm.scene_frame import SceneFrame, orient
    from sfm.track_files import read_tracks, write_tracks
    from sfm.video import Shot, VideoOptions, open_video

__version__ = "0.1.0"

__all__ = [
    "Camera",
    "DepthPriors",
    "InputError",
    "MissingDependencyError",
    "NoSolutionError",
    "NotEnoughTracksError",
    "Options",
    "Reconstruction",
    "Rigid3",
    "SceneFrame",
    "SfmError",
    "Shot",
    "Sim3",
    "SolveReport",
    "Support",
    "Tracks",
    "VideoOptions",
    "load_result",
    "open_video",
    "orient",
    "read_track",
    "read_tracks",
    "reconstruct",
    "reconstruct_tracks",
    "write_tracks",
]

_HOMES = (
    "errors", "geometry", "scene", "video", "track_files", "pipeline", "scene_frame", "results", "interchange",
)  # fmt: skip


def __getattr__(name: str):
    """A public name, imported when it is first asked for: `sfm --help` must not wait for SciPy and OpenCV."""
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"sfm.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'sfm' has no attribute {name!r}")
