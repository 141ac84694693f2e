"""Tracks of a rolling shutter as a global one would have seen them: every row taken back to the middle row's time.

An observation at height y of frame i was read at i + readout (y / height - 1/2), so it sees the camera elsewhere on its
path than the frame's own camera (Forssén and Ringaby 2010; Hedborg et al. 2012). `from_motion` needs nothing but the
tracks and is where a solve starts; `from_path` knows the cameras. Limit: the camera's path is smooth between frames and
the read-out time is given; a zoom's focal length is that of the frame.
"""

from dataclasses import replace

import numpy as np

from sfm.geometry.path import cams_at
from sfm.scene import Reconstruction, Tracks


def from_motion(tracks: Tracks, times: np.ndarray) -> Tracks:
    """Tracks moved along their own motion in the picture, at the velocity between the sightings before and after.

    times (observations,): when each was read, in frames from its frame's middle row (`row_times`).
    """
    row, taken = np.arange(len(tracks)), tracks.frame + times
    before = row - np.r_[False, np.diff(tracks.track) == 0].astype(int)[: len(row)]
    after = row + np.r_[np.diff(tracks.track) == 0, False].astype(int)[: len(row)]
    span = np.where(after > before, taken[after] - taken[before], 1.0)  # a lone sighting does not move
    velocity = (tracks.xy[after] - tracks.xy[before]) / span[:, None]
    return replace(tracks, xy=tracks.xy - times[:, None] * velocity)


def from_path(scene: Reconstruction, seen: Tracks, times: np.ndarray) -> Tracks:
    """Tracks less the way their points move in the picture between the frame's camera and that of their own row.

    scene: solved on such tracks before; where it has no camera or point they stay as they are there. seen: the tracks
    as read, free of lens distortion like the scene; times (observations,) as in `from_motion`.
    """
    known = np.flatnonzero(scene.registered)
    cams = cams_at(known, scene.cams_from_world[known], seen.frame + times)
    by_row = scene.camera.at(seen.frame).img_from_cam(cams.apply(scene.points[seen.track]))
    xy = seen.xy - (by_row - scene.reprojections())
    return replace(seen, xy=np.where(np.isfinite(xy), xy, scene.tracks.xy))
