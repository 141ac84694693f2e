"""Depth where the tracks are: the waist of the method; right of it nobody sees a map.

The maps are read bilinearly at the keypoints (StudioSfM, CVPR 2022, arXiv 2204.02509). A prior at a depth edge says
little about which side the point is on, so its sigma grows with the spread of the four values around it; so it does
for the sky, however far a network puts it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from sfm.depth.model import DepthModel, one_per_frame
from sfm.errors import InputError
from sfm.scene import DepthPriors, Tracks, in_the_sky
from sfm.video import Shot, Video

# renderers write huge numbers where there is nothing (Blender 1e10); tiny ones would overflow when inverted
SMALLEST_VALUE, LARGEST_VALUE = 1e-9, 1e9

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DepthOptions:
    """How maps are sampled."""

    max_aspect_error: float = 0.02  # a map whose aspect ratio is further off than this belongs to another shot
    edge_radius_px: float = 10.0  # half side of the square around a keypoint in which the map is searched for an edge
    edge_sigma: float = 0.5  # added (in quadrature) to sigma per unit of log spread between the four neighbours
    nearest_to_farthest: float = 10.0  # ratio of depths at which affine disparity starts, until the shot tells
    min_known: float = 0.05  # below this share of the observations with a depth the model is useless
    warn_unknown: float = 0.2  # above this share of the observations without a depth, say so


def sample_depth(
    model: DepthModel,
    video: Video,
    tracks: Tracks,
    options: DepthOptions = DepthOptions(),
    progress: Callable[[int], None] | None = None,
) -> DepthPriors:
    """Read the model's maps at every observation of the tracks.

    Pixel centres are at half-integers in both pictures, so `x_map = x * map_width / plate_width` whatever the map's
    resolution. Disparity is interpolated as disparity, then inverted; of affine disparity the unknown offset is first
    set so that the depths of the shot have a plausible range (`DepthPriors.free_shift`). NaN where the frame has no
    map, where the point lies outside the plate, or where any of the four neighbours with weight is unknown (zero,
    negative, not finite or above 1e9). Its limit: half a map pixel from the border the nearest pixel's value counts.

    progress: called with the number of frames done. Returns depth, relative sigma and relief of each observation.
    Raises `InputError` when a map has another aspect ratio than the plate, when the maps are fewer or more than the
    frames, or when almost no observation gets a depth.
    """
    if tracks.num_frames != len(video):
        raise ValueError(f"tracks: got {tracks.num_frames} frames, expected the {len(video)} of the video")
    depth, beside, around = np.full(len(tracks), np.nan), np.zeros((2, len(tracks))), np.zeros((2, len(tracks)))
    by_frame = np.argsort(tracks.frame, kind="stable")
    ends = np.cumsum(np.bincount(tracks.frame, minlength=len(video)))
    for frame, depth_map in enumerate(one_per_frame(model, video)):
        if depth_map is not None:
            _check_aspect(model.name, video.shot, frame, depth_map, options)
            at = by_frame[ends[frame - 1] if frame else 0 : ends[frame]]
            xy = tracks.xy[at] / (video.shot.width, video.shot.height)
            values = _logarithm(np.asarray(depth_map)) if model.kind != "affine_disparity" else _finite(depth_map)
            depth[at], beside[:, at] = _sample(np.asarray(depth_map, float), values, xy)
            around[:, at] = _lowest_and_highest(values, xy, options.edge_radius_px / video.shot.width)
        if progress is not None:
            progress(frame + 1)
    if model.kind == "affine_disparity":
        offset = _offset(depth, options.nearest_to_farthest)
        depth, beside, around = offset(depth), np.log(offset(beside)), np.log(offset(around))
    if model.kind in ("disparity", "affine_disparity"):
        depth = 1 / depth
    _check_known(model.name, depth, options)
    spread, relief = beside[1] - beside[0], around[1] - around[0]
    sigma = np.sqrt(model.sigma**2 + (options.edge_sigma * spread) ** 2 + in_the_sky(depth) ** 2)
    return DepthPriors(depth, sigma, np.maximum(relief, 0), free_shift=model.kind == "affine_disparity")


def _offset(disparity: np.ndarray, ratio: float) -> Callable[[np.ndarray], np.ndarray]:
    """Adds to affine disparity what makes the nearest of the known `ratio` times as near as the farthest."""
    known = np.isfinite(disparity)
    if not known.any():
        return lambda values: np.ones_like(values)
    low, high = np.quantile(disparity[known], [0.01, 0.99])
    span = max(high - low, 1e-9 * max(abs(high), 1.0))
    floor = span / (ratio - 1)
    return lambda values: np.maximum(values - low + floor, 0.1 * floor)


def _check_aspect(name: str, shot: Shot, frame: int, depth_map: np.ndarray, options: DepthOptions) -> None:
    if depth_map.ndim != 2 or not depth_map.size:
        raise InputError(f"{name}: the map of {shot.frame_names[frame]} has shape {depth_map.shape}, expected 2 axes")
    height, width = depth_map.shape
    off = abs(width * shot.height / shot.width - height)
    if off > max(1.0, options.max_aspect_error * height):  # a small map is off by rounding alone
        raise InputError(
            f"{name}: the depth map of {shot.frame_names[frame]} is {width} x {height}, the frame {shot.width} x "
            f"{shot.height}: another aspect ratio; maps for the wrong shot?"
        )


def _logarithm(depth_map: np.ndarray) -> np.ndarray:
    """Logarithms of a map (h, w) float32, NaN where it is unknown."""
    depth_map = depth_map.astype(float)  # before any arithmetic: half floats overflow at 65504
    valid = (depth_map >= SMALLEST_VALUE) & (depth_map <= LARGEST_VALUE)
    return np.where(valid, np.log(np.where(valid, depth_map, 1)), np.nan).astype(np.float32)


def _finite(depth_map: np.ndarray) -> np.ndarray:
    """A map that may be negative (h, w) float32, NaN where it is unknown."""
    depth_map = np.asarray(depth_map, float)
    return np.where(np.abs(depth_map) <= LARGEST_VALUE, depth_map, np.nan).astype(np.float32)


def _sample(depth_map: np.ndarray, values: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The map read at xy (n, 2), 0..1 over the plate, and the least and most of `values` (h, w) of its neighbours."""
    size = np.array(depth_map.shape[::-1])
    inside = np.all((xy >= 0) & (xy <= 1), axis=1)
    centre = np.clip(xy * size - 0.5, 0, size - 1)
    low = np.minimum(centre.astype(int), np.maximum(size - 2, 0))
    high = np.minimum(low + 1, size - 1)
    right, down = (centre - low).T
    weight = np.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
    rows = np.stack([low[:, 1], low[:, 1], high[:, 1], high[:, 1]])
    columns = np.stack([low[:, 0], high[:, 0], low[:, 0], high[:, 0]])
    corner, used = values[rows, columns], weight > 0
    known = inside & np.all(np.isfinite(corner) | ~used, axis=0)
    # a neighbour without weight says nothing: the heaviest stands in for it
    heaviest = np.take_along_axis(corner, weight.argmax(axis=0)[None], axis=0)
    corner = np.where(known, np.where(used, corner, heaviest), 0.0)
    mean = (weight * np.where(used & known, depth_map[rows, columns], 0.0)).sum(axis=0)
    return np.where(known, mean, np.nan), np.stack([corner.min(axis=0), corner.max(axis=0)])


def _lowest_and_highest(values: np.ndarray, xy: np.ndarray, radius: float) -> np.ndarray:
    """Of the values in a square around xy (n, 2), 0..1 over the plate, (2, n); radius in plate widths."""
    size = np.array(values.shape[::-1])
    valid = np.isfinite(values)
    side = 2 * int(np.ceil(radius * size[0])) + 1
    square = np.ones((side, side), np.uint8)
    nothing = np.float32(2 * LARGEST_VALUE)
    highest = cv2.dilate(np.where(valid, values, -nothing), square)
    lowest = cv2.erode(np.where(valid, values, nothing), square)
    column, row = np.clip(xy * size, 0, size - 1).astype(int).T
    found = np.stack([lowest[row, column], highest[row, column]]).astype(float)
    return np.where(found[1] >= found[0], found, 0.0)  # where the map knows nothing it shows no edge either


def _check_known(name: str, depth: np.ndarray, options: DepthOptions) -> None:
    known = np.isfinite(depth)
    share = known.mean() if len(known) else 1.0
    if share < options.min_known:
        raise InputError(
            f"{name}: only {known.sum()} of {len(known)} observations get a depth; are the maps empty, or zero where "
            "unknown almost everywhere?"
        )
    summary = f"{name}: depth for {known.sum()} of {len(known)} observations"
    if share < 1 - options.warn_unknown:
        logger.warning(f"{summary}; {1 - share:.0%} are unknown")
    elif len(known):
        low, middle, high = np.percentile(depth[known], [5, 50, 95])
        logger.info(f"{summary}, {low:.3g} to {high:.3g}, median {middle:.3g}")
