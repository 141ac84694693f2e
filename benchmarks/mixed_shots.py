"""Synthetic shots as they come: good ones, hard ones, hopeless ones; how far a solve of one slides."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from prior_never_hurts import AS_TRACKED, smooth_field

from sfm.geometry import Camera, Sim3
from sfm.pipeline import Options, SolveReport, reconstruct
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.synthetic import Motion, SyntheticShot, make_shot
from sfm.video import Video

Prior = Literal["good", "poor", "none", "inverted"]
MOVES: tuple[Motion, ...] = ("dolly", "handheld", "orbit", "dolly_zoom")
MOTIONS: tuple[Motion, ...] = ("dolly", "dolly", "handheld", "handheld", "orbit", "pan", "static", "zoom", "dolly_zoom")
FRAMES = 24


@dataclass(frozen=True)
class Kind:
    """What is wrong with a shot, and what the solver is told of it."""

    motion: Motion
    lens_known: bool
    prior: Prior
    noise_px: float
    outlier_ratio: float
    num_tracks: int
    track_length: int | None
    path_over_depth: float | None
    moving_part: float
    k1: float  # of a lens claimed to have none, where it is known
    focal_factor: float  # the focal length given, over the true one
    readout: float  # that nobody told

    def __str__(self) -> str:
        """The parts that are out of the ordinary."""
        parts = [self.motion, "lens known" if self.lens_known else "lens unknown", f"prior {self.prior}"]
        parts += [f"{self.noise_px:.2f} px", f"{100 * self.outlier_ratio:.0f} % outliers", f"{self.num_tracks} tracks"]
        parts += [f"{self.track_length} frames each"] if self.track_length else []
        parts += [f"path {self.path_over_depth:.4f} of the depth"] if self.path_over_depth else []
        parts += [f"{100 * self.moving_part:.0f} % on a body"] if self.moving_part else []
        parts += [f"k1 {self.k1:.2f}"] if self.k1 else []
        parts += [f"focal given x {self.focal_factor:.2f}"] if self.focal_factor != 1 else []
        parts += [f"read-out {self.readout:.1f}"] if self.readout else []
        return ", ".join(parts)


def draw_kind(rng: np.random.Generator) -> Kind:
    """One of them: noise, outliers, number of tracks and prior of any sort, and each further trouble now and then."""
    motion = MOTIONS[rng.integers(len(MOTIONS))]
    known = bool(rng.random() < 0.6)
    some = rng.random(6)
    return Kind(
        motion,
        known,
        rng.choice(["good", "good", "good", "poor", "poor", "none", "inverted"]),
        noise_px=float(np.exp(rng.uniform(np.log(0.1), 0))),
        outlier_ratio=float(rng.uniform(0, 0.3)) if some[0] < 0.7 else 0.0,
        num_tracks=round(np.exp(rng.uniform(np.log(25), np.log(400)))),
        track_length=int(rng.integers(8, 20)) if some[1] < 0.4 else None,
        path_over_depth=float(np.exp(rng.uniform(np.log(0.001), np.log(0.1))))
        if some[2] < 0.35 and motion in MOVES
        else None,
        moving_part=float(rng.uniform(0.1, 0.6)) if some[3] < 0.15 else 0.0,
        k1=float(rng.uniform(-0.25, 0.1)) if some[4] < 0.15 else 0.0,
        focal_factor=float(np.exp(rng.uniform(-0.2, 0.2))) if known and some[5] < 0.15 else 1.0,
        readout=float(rng.uniform(0.3, 1.0)) if some[5] > 0.88 else 0.0,
    )


def make_kind(kind: Kind, rng: np.random.Generator) -> tuple[SyntheticShot, DepthPriors | None, Camera | None]:
    """The shot, its depth prior, and the lens that the solver is given."""
    shot = make_shot(
        kind.motion, rng=rng, num_frames=FRAMES, num_tracks=kind.num_tracks, noise_px=kind.noise_px,
        outlier_ratio=kind.outlier_ratio, track_length=kind.track_length, path_over_depth=kind.path_over_depth,
        moving_part=kind.moving_part, distortion=(kind.k1, 0.0, 0.0, 0.0) if kind.k1 else (), readout=kind.readout,
    )  # fmt: skip
    claimed = shot.camera.without_distortion().at(0) if shot.camera.batch else shot.camera.without_distortion()
    claimed = claimed.with_focal_length(claimed.focal_length * kind.focal_factor)
    return shot, prior_like(kind.prior, shot, rng), claimed if kind.lens_known else None


def prior_like(prior: Prior, shot: SyntheticShot, rng: np.random.Generator) -> DepthPriors | None:
    """Good: compressed, 20 % smooth error, 3 % flicker. Poor: twice that error, 10 % flicker."""
    if prior == "none":
        return None
    depth, error, flicker = shot.priors.depth, *((0.2, 0.03) if prior != "poor" else (0.4, 0.1))
    if prior == "inverted":
        depth = np.median(depth) ** 2 / depth
    smooth = error * smooth_field(rng, shot.tracks.xy, (shot.camera.width, shot.camera.height))
    frames = flicker * rng.standard_normal(shot.tracks.num_frames)[shot.tracks.frame]
    return DepthPriors(depth**0.85 * np.exp(smooth + frames), np.full(len(depth), 0.2))


def solve_tracks(
    tracks: Tracks, priors: DepthPriors | None, camera: Camera | None, size: tuple[int, int] = (1920, 1080)
) -> tuple[Reconstruction, SolveReport]:
    """Tracks as a tracker makes them, the lens known or not."""
    black = Video.from_arrays([np.broadcast_to(np.uint8(0), (*size[::-1], 3))] * tracks.num_frames)
    options = Options(mapping=AS_TRACKED)
    return reconstruct(black, "none" if priors is None else priors, camera, options, tracks=tracks)[:2]


def slide_px(solved: Reconstruction, shot: SyntheticShot) -> float:
    """95th percentile distance, over all frames, of points put at their true depth and pixel in the middle frame.

    px of the plate as shot, distortion and zoom in it; infinite where a frame has no camera. The scale is that of the
    points, as in `sfm.evaluation`.
    """
    if not solved.has_camera.all():
        return float("inf")
    middle, true_cams, cams = len(solved.registered) // 2, shot.cams_from_world, solved.cams_from_world
    scale = np.nanmedian(
        cams[middle].apply(solved.points[~shot.moving])[:, 2] / true_cams[middle].apply(shot.points[~shot.moving])[:, 2]
    )
    true_xy = shot.camera.at(middle).img_from_cam(true_cams[middle].apply(shot.points))
    points = shot.points[~shot.moving & _on_plate(true_xy, shot.camera)]
    in_cam, lens = true_cams[middle].apply(points), solved.camera.at(middle)
    rays = lens.cam_from_img(shot.camera.at(middle).img_from_cam(in_cam))
    inserted = cams[middle].inverse().apply(np.column_stack([rays, np.ones(len(rays))]) * in_cam[:, 2:] * scale)
    slides = []
    for frame in range(len(cams.translation)):
        true_xy = shot.camera.at(frame).img_from_cam(true_cams[frame].apply(points))
        xy = solved.camera.at(frame).img_from_cam(cams[frame].apply(inserted))
        slides.append(np.linalg.norm(xy - true_xy, axis=1)[_on_plate(true_xy, shot.camera)])
    slides = np.nan_to_num(np.concatenate(slides), nan=1e4)
    return float(np.quantile(slides, 0.95)) if np.isfinite(scale) and scale > 0 else float("inf")


def focal_error(solved: Reconstruction, shot: SyntheticShot) -> float:
    """Largest relative error of the focal length over the frames."""
    frames = np.arange(len(solved.registered))
    found, true = (camera.at(frames).focal_length[..., 0] for camera in (solved.camera, shot.camera))
    return float(np.abs(found / true - 1).max())


def path_error_pct(solved: Reconstruction, shot: SyntheticShot) -> float:
    """Root mean square error of the camera centres after a similarity, per cent of the true path's extent."""
    found, true = (c.centers_in_world[solved.registered] for c in (solved.cams_from_world, shot.cams_from_world))
    off = Sim3.from_points(found, true).apply(found) - true
    return 100 * float(np.sqrt((off**2).sum(1).mean()) / np.linalg.norm(true[:, None] - true, axis=-1).max())


def _on_plate(xy: np.ndarray, camera: Camera) -> np.ndarray:
    return np.isfinite(xy).all(1) & (xy > 0).all(1) & (xy < [camera.width, camera.height]).all(1)
