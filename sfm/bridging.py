"""Cameras for short runs of frames that could not be registered: blurred, flashed, black.

A camera is interpolated between those before and after, and flagged: it is likely, not measured. How likely is told by
the shot itself: as many registered frames in a row are taken out wherever they can be, and interpolated alike.
"""

import logging
from dataclasses import replace

import numpy as np

from sfm.geometry.path import cams_at
from sfm.geometry.transform import Rigid3
from sfm.scene import Reconstruction

logger = logging.getLogger(__name__)

_KNOTS = 4  # registered frames on either side that a path is laid through
_TRIALS = 24  # runs taken out to measure with, spread over the shot
_DEGREES = (1, 3)  # of the path: which misses less is chosen; a shaking camera has no smooth path across many frames


def bridge(scene: Reconstruction, max_frames: int = 12) -> Reconstruction:
    """Cameras interpolated across runs of at most `max_frames` frames that are not registered, between two that are.

    `registered` stays false there, `bridged` says so, and `bridge_error_px` how far, by the median over the trials,
    the points seen in a frame are off in the picture; NaN where no registered run is long enough to try. The ends of
    the shot are not continued. A zoom's focal lengths are there already: the adjustment interpolates them. Limit: what
    the camera did in the run is unknown, and frames count as evenly spaced, whatever files are missing between them.
    """
    known = np.flatnonzero(scene.registered)
    rotation, translation = scene.cams_from_world.rotation.copy(), scene.cams_from_world.translation.copy()
    bridged, error = np.zeros_like(scene.registered), np.full(len(scene.registered), np.nan)
    tried: dict[int, tuple[int, np.ndarray]] = {}
    for before, after in zip(known[:-1].tolist(), known[1:].tolist(), strict=True):
        run, length = np.arange(before + 1, after), after - before - 1
        if not 0 < length <= max_frames:
            continue
        if length not in tried:
            tried[length] = _choose(scene, length)
        degree, error[run] = tried[length]
        cams = _across(scene, run, degree)
        rotation[run], translation[run], bridged[run] = cams.rotation, cams.translation, True
        logger.info("frames of index %d-%d: cameras interpolated, about %.2f px off", run[0], run[-1], error[run].max())
    cams = Rigid3(rotation, translation)
    return replace(scene, cams_from_world=cams, bridged=bridged, bridge_error_px=error)


def _across(scene: Reconstruction, run: np.ndarray, degree: int) -> Rigid3:
    """Cameras of consecutive frames from the registered ones around them."""
    known = np.flatnonzero(scene.registered)
    knots = np.r_[known[known < run[0]][-_KNOTS:], known[known > run[-1]][:_KNOTS]]
    return cams_at(knots, scene.cams_from_world[knots], run, degree)


def _choose(scene: Reconstruction, length: int) -> tuple[int, np.ndarray]:
    """The degree that misses less on runs of this length, and by how much it misses each frame of it, (length,) px."""
    whole = np.convolve(scene.registered, np.ones(length + 2, int), "valid") == length + 2
    starts = np.flatnonzero(whole) + 1
    if not len(starts):
        return _DEGREES[0], np.full(length, np.nan)
    starts = starts[np.unique(np.linspace(0, len(starts) - 1, _TRIALS).astype(int))]
    runs = starts[:, None] + np.arange(length)
    misses = {d: np.median([_missed_px(scene, run, d) for run in runs], axis=0) for d in _DEGREES}
    best = min(misses, key=lambda degree: misses[degree].sum())
    return best, misses[best]


def _missed_px(scene: Reconstruction, run: np.ndarray, degree: int) -> np.ndarray:
    """Median distance in the picture between the points of each frame of a run under its own camera and under the
    interpolated one, (frames,) px; infinite where that looks away."""
    cams, missed = _across(scene, run, degree), np.zeros(len(run))
    for k, frame in enumerate(run.tolist()):
        points = scene.points[scene.tracks.track[scene.inliers & (scene.tracks.frame == frame)]]
        camera = scene.camera.at(frame)
        own, found = (camera.img_from_cam(c.apply(points)) for c in (scene.cams_from_world[frame], cams[k]))
        missed[k] = np.median(np.nan_to_num(np.linalg.norm(found - own, axis=1), nan=np.inf))
    return missed
