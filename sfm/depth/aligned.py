"""Depth maps in the unit and the place of a solve: what a network saw everywhere, held to what the tracks know.

One law for the shot (the offset of affine disparity, an exponent where the model squeezes depth), one scale a frame,
and a smooth correction by the points that each frame sees. The limit: between and beyond the points a map is as good as
the model that made it, and its edges are where that put them.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from sfm.depth.correction import MapErrors, Smoothness, corrected, smoothness_of
from sfm.depth.model import DepthModel
from sfm.depth.sampling import LARGEST_VALUE, SMALLEST_VALUE
from sfm.depth_law import depth_exponent, disparity_offset, outlier_limit, spread_within
from sfm.errors import InputError
from sfm.scene import Reconstruction, Support
from sfm.video import Video

logger = logging.getLogger(__name__)

LAW_FRAMES = 16  # evenly spaced, which the law is read from
SMOOTHNESS_FRAMES = 2  # of these, which tell how smooth errors are
MAX_POINTS = 600  # of a frame that correct its map
MIN_POINTS = 8  # of a frame; with fewer its map has no scale of its own
EXPONENTS = 0.5, 2.5
INFORMED = 0.5  # of the error expected of a map: points known better tell what its numbers mean
MIN_KNOWN = 0.1  # of the points: with fewer by parallax the maps made the scene
MIN_SPREAD = 0.05  # of log depth: flatter scenes tell no exponent
MIN_CORRELATION = 0.3  # of ranks: below, maps contradict the solve
MAX_WIDTH = 960  # px that a map is enlarged to, for smooth edges; larger maps stay as they are
EDGE_REACH = 2.5  # pixels of the model's map to either side of an edge that networks blur
EDGE = 0.12  # of log depth across that, from where on it is an edge
EDGE_SLOPES = 2.5  # times the least slope around: a floor that runs to the horizon is none
FAR = np.float32(1e3)  # log depth beyond any
EDGE_SIGMA = 0.5  # of the step, that a point beside it may be off by


@dataclass(frozen=True, slots=True, eq=False)
class AlignedMap:
    """Depth of one frame: depth (h, w) along z in the solve's unit, sigma (h, w) of log depth, both NaN where unknown;
    edge (h, w): step of log depth that the pixel is beside, 0 on a surface.

    Of the plate's aspect ratio and any size: pixel centres are at half-integers. Edges are sharp, and where the model
    put them.
    """

    depth: np.ndarray
    sigma: np.ndarray
    edge: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class _LogMap:
    """A model's map enlarged, its edges made sharp: log depth (h, w), the steps of it, and beside an edge log depth at
    its other side; NaN where unknown.
    """

    depth: np.ndarray
    edge: np.ndarray
    across: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class AlignedDepth:
    """A model's maps, aligned to a reconstruction of the same shot."""

    reconstruction: Reconstruction
    model: DepthModel
    offset: float  # added to affine disparity
    exponent: float  # of depth
    level: float  # log scale of a frame whose own points do not tell
    smoothness: Smoothness

    def maps(self, video: Video, frames: Sequence[int]) -> Iterator[AlignedMap | None]:
        """The aligned map of each of these frames (rising indices of the shot), None without a map or a camera."""
        if not len(frames):
            return
        for frame, depth_map in zip(frames, self.model.maps(video.only(frames)), strict=True):
            aligned = None
            if depth_map is not None and self.reconstruction.has_camera[frame]:
                aligned = self.align(frame, depth_map)
            yield aligned

    def align(self, frame: int, depth_map: np.ndarray) -> AlignedMap:
        """The model's map (h, w) of a frame with a camera, aligned."""
        log_map = _prepared(self._log_depth(np.asarray(depth_map, float)), self.reconstruction.camera.width)
        if not np.isfinite(log_map.depth).any():
            return AlignedMap(log_map.depth, log_map.depth, log_map.edge)
        errors = _errors(self.reconstruction, frame, log_map)
        if len(errors) < MIN_POINTS:
            doubt = np.hypot(self.smoothness.spread, self.smoothness.noise)
            sigma = np.where(np.isfinite(log_map.depth), doubt, np.nan)
            return AlignedMap(np.exp(log_map.depth + self.level), sigma, log_map.edge)
        correction, sigma = corrected(errors, self.smoothness, log_map.depth)
        return AlignedMap(np.exp(log_map.depth + correction), sigma, log_map.edge)

    def _log_depth(self, depth_map: np.ndarray) -> np.ndarray:
        return self.exponent * _log_depth(depth_map, self.model.kind, self.offset)


def align_depth(reconstruction: Reconstruction, video: Video, model: DepthModel) -> AlignedDepth:
    """Read from some frames of a shot what the maps of a model mean in a reconstruction of it.

    Raises `InputError` where no frame has both a map and enough points, or the maps do not rise with depth.
    """
    registered = np.flatnonzero(reconstruction.registered)
    frames = registered[np.unique(np.linspace(0, len(registered) - 1, LAW_FRAMES).round().astype(int))]
    read = zip(frames, model.maps(video.only(frames.tolist())), strict=True)
    maps = {int(frame): np.asarray(depth_map, float) for frame, depth_map in read if depth_map is not None}
    offset = _offset(reconstruction, maps, model.sigma) if model.kind == "affine_disparity" else 0.0
    width = reconstruction.camera.width
    logs = {frame: _prepared(_log_depth(found, model.kind, offset), width) for frame, found in maps.items()}
    sampled = [errors for frame, log_map in logs.items() if len(errors := _errors(reconstruction, frame, log_map))]
    sampled = [errors for errors in sampled if len(errors) >= MIN_POINTS]
    if not sampled:
        raise InputError(f"{model.name}: no frame has both a depth map and {MIN_POINTS} points to align it to")
    prior, depth = _beside_medians([_informed(errors, model.sigma) for errors in sampled])
    correlation = _rank_correlation(prior, depth)
    if np.ptp(np.quantile(depth, [0.05, 0.95])) > 2 * MIN_SPREAD and correlation < MIN_CORRELATION:
        raise InputError(
            f"{model.name}: its maps do not rise with the depth of the points (rank correlation {correlation:.2f}); "
            "say what they hold with --depth-kind, or give others"
        )
    exponent = 1.0
    if spread_within(depth, np.inf) >= MIN_SPREAD:
        exponent = depth_exponent(prior, depth, outlier_limit(model.sigma), EXPONENTS)
    sampled = [_raised(errors, exponent) for errors in sampled]
    level = float(np.median([np.median(errors.error) for errors in sampled]))
    some = sampled[:: -(-len(sampled) // SMOOTHNESS_FRAMES)]
    smoothness = smoothness_of(some)
    logger.info(
        "depth maps aligned: exponent %.2f, errors of %.3f reach %.2f plate widths and %.2f of log depth, %.3f rest",
        exponent, smoothness.spread, smoothness.reach, smoothness.depth_reach, smoothness.noise,
    )  # fmt: skip
    return AlignedDepth(reconstruction, model, offset, exponent, level, smoothness)


def _log_depth(depth_map: np.ndarray, kind: str, offset: float) -> np.ndarray:
    """Log depth of a map as stored, in its own unit, NaN where unknown."""
    if kind == "affine_disparity":
        known = np.abs(depth_map) <= LARGEST_VALUE
        # what is beyond the farthest point is as far as a disparity can still tell
        values = np.maximum(np.where(known, depth_map, 0) + offset, SMALLEST_VALUE)
    else:
        known = (depth_map >= SMALLEST_VALUE) & (depth_map <= LARGEST_VALUE)
        values = np.where(known, depth_map, 1)
    sign = 1 if kind in ("metric", "depth") else -1
    return np.where(known, sign * np.log(values), np.nan)


def seen_points(reconstruction: Reconstruction, frame: int) -> np.ndarray:
    """Tracks with a point that a frame with a camera sees: its own; of a bridged one those seen before and after."""
    tracks, inliers = reconstruction.tracks, reconstruction.inliers
    if reconstruction.registered[frame]:
        return tracks.track[inliers & (tracks.frame == frame)]
    registered = np.flatnonzero(reconstruction.registered)
    before, after = registered[registered < frame][-1:], registered[registered > frame][:1]
    around = [tracks.track[inliers & (tracks.frame == there)] for there in (*before, *after)]
    return np.intersect1d(around[0], around[1]) if len(around) == 2 else np.zeros(0, int)


def _points_in(reconstruction: Reconstruction, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a frame sees points (n, 2) px, their depths and sigmas of log depth.

    Where parallax knows hardly any the maps made the scene, and it is what they are aligned to, right or wrong: sigmas
    are 0.
    """
    tracks = seen_points(reconstruction, frame)
    tracks = tracks[np.isfinite(reconstruction.point_sigma[tracks])]
    in_cam = reconstruction.cams_from_world[frame].apply(reconstruction.points[tracks])
    xy = reconstruction.camera.at(frame).img_from_cam(in_cam)
    size = reconstruction.camera.width, reconstruction.camera.height
    keep = np.flatnonzero((in_cam[:, 2] > 0) & ((xy >= 0) & (xy <= size)).all(axis=1))
    sigma = reconstruction.point_sigma[tracks[keep]]
    known = (reconstruction.support[reconstruction.has_point] == Support.TRIANGULATED).mean() > MIN_KNOWN
    return xy[keep], in_cam[keep, 2], sigma if known else np.zeros_like(sigma)


def _errors(reconstruction: Reconstruction, frame: int, log_map: _LogMap) -> MapErrors:
    """What a map of log depth is wrong by at the points a frame sees."""
    xy, depth, sigma = _points_in(reconstruction, frame)
    camera, (height, width) = reconstruction.camera, log_map.depth.shape
    at = xy * (width / camera.width, height / camera.height) - 0.5
    # not between pixels: across a sharp edge there is nothing between
    prior, edge, across = (
        map_coordinates(a, at.T[::-1], order=0, mode="nearest") for a in (log_map.depth, log_map.edge, log_map.across)
    )
    if np.isfinite(prior).any():
        # a map's edge is some pixels off: a point beside it that the other side fits says nothing of either
        level = np.nanmedian(np.log(depth) - prior)
        other_side = (edge > 0) & (np.abs(np.log(depth) - across - level) < np.abs(np.log(depth) - prior - level))
        prior = np.where(other_side, np.nan, prior)
    use = np.flatnonzero(np.isfinite(prior))
    use = use[np.unique(np.linspace(0, len(use) - 1, min(MAX_POINTS, len(use))).round().astype(int))]
    place = np.column_stack([xy / camera.width, prior])[use]
    return MapErrors(place, (np.log(depth) - prior)[use], np.hypot(sigma, EDGE_SIGMA * edge)[use])


def _prepared(log_depth: np.ndarray, plate_width: int) -> _LogMap:
    """Log depth (h, w) as the model gave it, enlarged towards the plate, then its edges made sharp."""
    height, width = log_depth.shape
    larger = max(min(plate_width, MAX_WIDTH) / width, 1.0)
    size = round(larger * width), round(larger * height)
    known = np.isfinite(log_depth)
    weight = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    values = cv2.resize(np.where(known, log_depth, 0).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    with np.errstate(divide="ignore", invalid="ignore"):
        enlarged = np.where(weight > 0.5, values / weight, np.nan).astype(np.float32)
    # of the small map: enlarging flattens the border
    slope = np.hypot(*np.gradient(np.where(known, log_depth, 0))).astype(np.float32) / larger
    return _sharpened(enlarged, cv2.resize(slope, size), int(np.ceil(EDGE_REACH * larger)))


def _sharpened(log_depth: np.ndarray, slope: np.ndarray, reach: int) -> _LogMap:
    """Blurred edges put where they are half way: pixels to either side take the nearer side's depth.

    slope: of log depth a pixel, (h, w); reach: how far, px.
    """
    known = np.isfinite(log_depth)
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    low = cv2.erode(np.where(known, log_depth, FAR), square)
    high = cv2.dilate(np.where(known, log_depth, -FAR), square)
    steady = cv2.erode(np.where(known, slope, FAR), square)
    step = np.where(known, high - low, 0)
    is_edge = (step > EDGE) & (step > EDGE_SLOPES * 2 * reach * steady)
    snapped = np.where(log_depth - low < high - log_depth, low, high)
    sharp = np.where(is_edge, snapped, log_depth).astype(float)
    return _LogMap(sharp, np.where(is_edge, step, 0).astype(float), np.where(is_edge, low + high - sharp, sharp))


def _offset(reconstruction: Reconstruction, maps: dict[int, np.ndarray], expected: float) -> float:
    """What to add to affine disparity so that its logarithm follows the points' depth. expected: relative error."""
    sampled = []
    for frame, depth_map in maps.items():
        xy, depth, sigma = _points_in(reconstruction, frame)
        camera = reconstruction.camera
        at = xy * (depth_map.shape[1] / camera.width, depth_map.shape[0] / camera.height) - 0.5
        disparity = map_coordinates(depth_map, at.T[::-1], order=1, mode="nearest")
        known = np.isfinite(disparity) & (np.abs(disparity) <= LARGEST_VALUE)
        informed = known & (sigma < INFORMED * expected)
        known = informed if informed.sum() >= MIN_POINTS else known
        if known.sum() >= MIN_POINTS:
            sampled.append((disparity[known], np.log(depth[known])))
    if not sampled:
        return 0.0
    return disparity_offset(sampled, outlier_limit(expected))


def _beside_medians(sampled: list[MapErrors]) -> tuple[np.ndarray, np.ndarray]:
    """Log depth by the maps and by the points, each frame's beside its median."""
    prior = [errors.place[:, 2] - np.median(errors.place[:, 2]) for errors in sampled]
    depth = [errors.place[:, 2] + errors.error for errors in sampled]
    return np.concatenate(prior), np.concatenate([part - np.median(part) for part in depth])


def _informed(errors: MapErrors, expected: float) -> MapErrors:
    """Those at points known well enough to judge maps of an expected relative error; all where these are few."""
    known = errors.sigma < INFORMED * expected
    if known.sum() < MIN_POINTS:
        return errors
    return MapErrors(errors.place[known], errors.error[known], errors.sigma[known])


def _raised(errors: MapErrors, exponent: float) -> MapErrors:
    prior = exponent * errors.place[:, 2]
    depth = errors.place[:, 2] + errors.error
    return MapErrors(np.column_stack([errors.place[:, :2], prior]), depth - prior, errors.sigma)


def _rank_correlation(one: np.ndarray, two: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (one, two)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
