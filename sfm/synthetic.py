"""Exact shots with a chosen motion, noise and outliers: the truth that tests and benchmarks compare with."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3
from sfm.scene import DepthPriors, Tracks

Motion = Literal["dolly", "orbit", "handheld", "pan", "static", "zoom", "dolly_zoom"]


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticShot:
    """Truth and what a tracker and a depth model would say of it.

    camera, cams_from_world (frames,), points (tracks, 3) in metres: the truth; tracks, priors: the measurements;
    outliers (observations,) bool: observations made wrong on purpose; moving (tracks,) bool: on the body that moves,
    its points as they are in the first frame.
    """

    camera: Camera
    cams_from_world: Rigid3
    points: np.ndarray
    tracks: Tracks
    priors: DepthPriors
    outliers: np.ndarray
    moving: np.ndarray


def make_shot(
    motion: Motion = "handheld",
    *,
    rng: np.random.Generator,
    num_frames: int = 24,
    num_tracks: int = 300,
    noise_px: float = 0.0,
    outlier_ratio: float = 0.0,
    depth_error: float = 0.0,
    depth_flicker: float = 0.0,
    depth_unit: float = 1.0,
    track_length: int | None = None,
    path_over_depth: float | None = None,
    distortion: tuple[float, ...] = (),
    moving_part: float = 0.0,
    readout: float = 0.0,
    fov_deg: float = 50.0,
) -> SyntheticShot:
    """A set of points 3 to 12 m away in front of an HD camera that moves as told.

    noise_px: standard deviation of each tracked coordinate; outlier_ratio: part of the observations moved by 10 to 40
    px; depth_error: relative error of the prior, fixed to the point, as a network's is; depth_flicker: relative error
    common to all of a frame; depth_unit: prior depth is true depth divided by it; track_length: frames a track lasts
    before the tracker loses it (None: the whole shot); path_over_depth: largest distance between two camera
    centres over the median depth of the points (None: the motion's own); distortion: the lens's, in OpenCV's order;
    moving_part: part of the tracks on a rigid body as wide as half the picture, that walks across it and turns;
    readout: frames a rolling shutter takes from the top row to the bottom one, the cameras being those of the middle
    rows; fov_deg: horizontal field of view (of the first frame of a zoom).
    """
    base = replace(Camera.from_fov_deg(fov_deg, 1920, 1080), distortion=np.array(distortion))
    signs = np.sign(np.cumsum(rng.standard_normal((2, 3)), axis=0)) if motion == "handheld" else np.ones((2, 3))
    cams_from_world, zoom = _move(motion, np.linspace(0, 1, num_frames), signs)
    camera = base if (zoom == 1).all() else base.with_focal_length(base.focal_length * zoom[:, None])
    points = _scatter(base, num_tracks, rng)
    moving = np.arange(num_tracks) < round(moving_part * num_tracks)
    part = 1.0
    if path_over_depth is not None:
        centers = cams_from_world.centers_in_world
        extent = np.linalg.norm(centers[:, None] - centers[None], axis=-1).max()
        part = path_over_depth * float(np.median(points[:, 2])) / extent
        cams_from_world = Rigid3(cams_from_world.rotation, part * cams_from_world.translation)
    frame, track = (a.ravel() for a in np.meshgrid(np.arange(num_frames), np.arange(num_tracks)))
    if track_length is not None:
        birth = rng.integers(-track_length // 2, max(num_frames - track_length // 2, 1), num_tracks)
        keep = (frame >= birth[track]) & (frame < birth[track] + track_length)
        frame, track = frame[keep], track[keep]
    points, in_world = _with_body(points, moving, num_frames, rng)
    in_cam = cams_from_world[frame].apply(in_world[frame, track])
    xy = camera.at(frame).img_from_cam(in_cam)
    for _ in range(20 if readout else 0):  # the row decides when it is read, and when it is read where it is seen
        time = frame + readout * (np.clip(np.nan_to_num(xy[:, 1]), 0, base.height) / base.height - 0.5)
        by_row, _ = _move(motion, time / max(num_frames - 1, 1), signs)
        in_cam = Rigid3(by_row.rotation, part * by_row.translation).apply(in_world[frame, track])
        xy = camera.at(frame).img_from_cam(in_cam)
    seen = np.isfinite(xy).all(1) & (xy > 0).all(1) & (xy < [base.width, base.height]).all(1)
    frame, track, xy, depth = frame[seen], track[seen], xy[seen], in_cam[seen, 2]
    xy = xy + noise_px * rng.standard_normal(xy.shape)
    outliers = rng.random(len(xy)) < outlier_ratio
    angle = rng.uniform(0, 2 * np.pi, outliers.sum())
    xy[outliers] += rng.uniform(10, 40, (outliers.sum(), 1)) * np.column_stack([np.cos(angle), np.sin(angle)])
    error = (
        depth_error * rng.standard_normal(num_tracks)[track] + depth_flicker * rng.standard_normal(num_frames)[frame]
    )
    priors = DepthPriors(depth / depth_unit * np.exp(error), np.full(len(depth), max(depth_error, 0.01)))
    colors = rng.integers(0, 256, (num_tracks, 3))
    return SyntheticShot(
        camera, cams_from_world, points, Tracks(frame, track, xy, num_frames, num_tracks, colors), priors, outliers,
        moving,
    )  # fmt: skip


def _scatter(camera: Camera, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points that fill the first camera's frame and a margin, 3 to 12 m deep."""
    size = np.array([camera.width, camera.height])
    cam_points = camera.cam_from_img(rng.uniform(-0.15, 1.15, (count, 2)) * size)
    depth = rng.uniform(3.0, 12.0, (count, 1))
    return np.column_stack([cam_points, np.ones(count)]) * depth


def _with_body(
    points: np.ndarray, moving: np.ndarray, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points with the moving ones put on the body, (tracks, 3), and where all are at each frame, (frames, tracks, 3).

    The body is 1.2 m wide and 1.6 m high, 2.5 m away; it walks 0.6 m, bobs, and turns by 25 degrees.
    """
    if not moving.any():
        return points, np.broadcast_to(points, (frames, *points.shape))
    side = rng.choice([-1.0, 1.0])
    body = rng.uniform([-0.6, -0.8, -0.25], [0.6, 0.8, 0.25], (int(moving.sum()), 3))
    u = np.linspace(0, 1, frames)
    turn = Rigid3.from_rotvec(np.outer(side * np.radians(25) * u, [0, 1, 0]), np.zeros((frames, 3))).rotation
    middle = np.column_stack([side * (0.6 * u - 0.3), 0.04 * np.sin(2 * np.pi * 2.5 * u), 2.5 - 0.1 * u])
    everywhere = np.repeat(points[None], frames, axis=0)
    everywhere[:, moving] = np.einsum("fij,pj->fpi", turn, body) + middle[:, None]
    return everywhere[0], everywhere


def _move(motion: Motion, u: np.ndarray, signs: np.ndarray) -> tuple[Rigid3, np.ndarray]:
    """Cameras of a motion, the one at u = 0 the world, and zoom factors. u (frames,): 0 first frame, 1 last one.

    signs (2, 3): which way a handheld camera sways and turns first.
    """
    frames = len(u)
    center, rotvec, zoom = np.zeros((frames, 3)), np.zeros((frames, 3)), np.ones(frames)
    if motion == "dolly":
        center = np.outer(u, [0.05, -0.02, 0.3])
        rotvec = np.outer(u, np.radians([0.3, -0.5, 0.2]))
    elif motion == "orbit":
        angle = u * np.radians(20)
        center = np.column_stack([6 * np.sin(angle), 0 * u, 6 - 6 * np.cos(angle)])
        rotvec = np.outer(angle, [0, -1, 0])
    elif motion == "handheld":
        since = np.r_[0.0, u]
        waves = np.stack([np.sin(2 * np.pi * f * since + p) for f, p in ((1.0, 0.3), (2.3, 1.1), (3.1, 2.0))], axis=1)
        center = 0.05 * waves * signs[0]
        rotvec = np.radians(0.6) * waves[:, [2, 0, 1]] * signs[1]
        center, rotvec = center[1:] - center[0], rotvec[1:] - rotvec[0]
    elif motion == "pan":
        rotvec = np.outer(u, np.radians([1.0, 12.0, 0.5]))
    elif motion == "zoom":
        zoom = np.exp(0.3 * u)
    elif motion == "dolly_zoom":  # what is 5 m away stays as large
        center = np.outer(u, [0.03, -0.01, 1.2])
        rotvec = np.outer(u, np.radians([0.3, -0.5, 0.2]))
        zoom = (5 - center[:, 2]) / 5
    cam_from_first = Rigid3.from_rotvec(rotvec, np.zeros((frames, 3)))
    translation = -np.einsum("fij,fj->fi", cam_from_first.rotation, center)
    return Rigid3(cam_from_first.rotation, translation), zoom
