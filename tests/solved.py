"""A reconstruction as a solver would hand it on, made from a synthetic shot: for the tests of what reads one."""

import numpy as np

from sfm.geometry import Camera, Rigid3
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.scene import Reconstruction, Support, Tracks
from sfm.synthetic import SyntheticShot
from sfm.video import Shot


def solve(truth: SyntheticShot, rng: np.random.Generator, error: float = 0.0, lost: tuple[int, ...] = ()):
    """The truth with cameras and points off by `error` (m and rad), and the frames `lost` without a camera."""
    frames, tracks = truth.tracks.num_frames, truth.tracks.num_tracks
    registered = ~np.isin(np.arange(frames), lost)
    turn = rotation_from_rotvec(0.2 * error * rng.standard_normal((frames, 3)))
    rotation = turn @ truth.cams_from_world.rotation
    translation = truth.cams_from_world.translation + error * rng.standard_normal((frames, 3))
    rotation[~registered], translation[~registered] = np.nan, np.nan
    seen = truth.tracks.lengths > 0
    points = np.where(seen[:, None], truth.points * np.exp(error * rng.standard_normal((tracks, 1))), np.nan)
    reconstruction = Reconstruction(
        camera=truth.camera,
        cams_from_world=Rigid3(rotation, translation),
        registered=registered,
        points=points,
        inliers=registered[truth.tracks.frame] & ~truth.outliers & (rng.random(len(truth.tracks)) < 0.9),
        tracks=truth.tracks,
        depth_scale=np.where(registered, 1.0, np.nan),
        support=np.where(seen, rng.choice([Support.TRIANGULATED, Support.PRIOR], tracks), Support.NONE),
        point_sigma=rng.uniform(0.01, 0.2, tracks),
        depth_sigma=0.2,
        point_sigma_across=rng.uniform(0.001, 0.01, tracks),
        center_sigma=np.where(registered[:, None], rng.uniform(0.001, 0.01, (frames, 3)), np.nan),
        rotation_sigma=np.where(registered[:, None], rng.uniform(1e-4, 1e-3, (frames, 3)), np.nan),
    )
    return reconstruction, shot_of(truth.camera, frames)


def following_errors(tracks: Tracks, lag_one: float, sigma_px: float, rng: np.random.Generator) -> np.ndarray:
    """Errors (observations, 2) px, each of a track correlated with the one before (AR(1))."""
    errors = sigma_px * rng.standard_normal((len(tracks), 2))
    for row in np.flatnonzero(np.diff(tracks.track, prepend=-1) == 0):
        errors[row] = lag_one * errors[row - 1] + np.sqrt(1 - lag_one**2) * errors[row]
    return errors


def shot_of(camera: Camera, frames: int, first: int = 1001, fps: float = 24.0) -> Shot:
    """Frames `plate.1001.png` and on."""
    numbers = np.arange(first, first + frames)
    names = tuple(f"plate.{number}.png" for number in numbers)
    return Shot("plate", numbers, names, camera.width, camera.height, fps, "plate.####.png")
