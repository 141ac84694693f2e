"""A plate with its tracks drawn on it: coloured by depth with tails, or by residual with the error vectors enlarged.

The picture every matchmove package shows first: tracks that stick are green, what is near is red.
"""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from sfm.scene import Reconstruction
from sfm.scene_frame import AS_SOLVED, World
from sfm.video import Shot
from sfm.view.palette import BACKGROUND, MAX_RESIDUAL_PX, depth_colors, depth_limits, residual_colors
from sfm.view.picture import FAINT, INK, draw_color_bar, draw_dots, draw_lines, draw_rings, draw_text, write_png

MIN_WIDTH = 1280  # px; smaller plates are enlarged, so that marks do not hide them
TAIL_FRAMES = 10
VECTOR_GAIN = 20  # residual vectors are drawn this many times too long
DIM = 0.72  # the plate behind the marks


def write_overlay(
    reconstruction: Reconstruction,
    shot: Shot,
    image_rgb: np.ndarray,
    frame_index: int,
    path: str | Path,
    color_by: Literal["depth", "residual"] = "depth",
    world: World = AS_SOLVED,
) -> None:
    """Write a PNG of one frame, image_rgb (height, width, 3) uint8 of any size, with its tracks and a legend below.

    `depth`: each track near red to far blue, its way over the last ten frames behind it. `residual`: green at 0, yellow
    at 1, red from 2 px on, the vector to the reprojection drawn 20 times too long. Grey rings are observations that are
    not used: outliers, and tracks without a point.

    Raises `InputError` when `path` cannot be written, `ValueError` for a picture that is not (height, width, 3) uint8.
    """
    write_png(path, overlay_picture(reconstruction, shot, image_rgb, frame_index, color_by, world))


def overlay_name(color_by: Literal["depth", "residual"], number: int) -> str:
    """What the overlay of a frame is called in a result; number: its plate number."""
    return f"overlay_{color_by}_{number:04d}.png"


def overlay_picture(
    reconstruction: Reconstruction,
    shot: Shot,
    image_rgb: np.ndarray,
    frame_index: int,
    color_by: Literal["depth", "residual"] = "depth",
    world: World = AS_SOLVED,
) -> np.ndarray:
    """What `write_overlay` writes, (height, width, 3) uint8."""
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ValueError(f"image_rgb: got {image_rgb.shape} {image_rgb.dtype}, expected (height, width, 3) uint8")
    plate = _backdrop(image_rgb)
    scale = plate.shape[1] / reconstruction.camera.width
    here = reconstruction.tracks.in_frame(frame_index)
    errors = reconstruction.reprojection_errors(here)
    used = reconstruction.inliers[here] & np.isfinite(errors)
    unit = plate.shape[1] / MIN_WIDTH
    draw_rings(plate, scale * reconstruction.tracks.xy[here[~used]], FAINT, 2.5 * unit)
    here = here[used]
    draw = _draw_depth if color_by == "depth" else _draw_residuals
    footer = np.tile(BACKGROUND, (round(84 * unit), plate.shape[1], 1))
    draw(plate, footer, reconstruction, here, scale, unit, world)
    caption = f"{len(here):,} tracks used   {np.count_nonzero(~used):,} not used"
    width = draw_text(footer, (20 * unit, 36 * unit), shot.frame_names[frame_index], 21 * unit)
    draw_text(footer, (44 * unit + width, 36 * unit), caption, 18 * unit, FAINT)
    if len(here):
        plain, verdicts = _rms(errors[used]), _rms(reconstruction.whitened_errors(here))
        told = f"{error_told(verdicts, reconstruction.camera.width, plain)}{sliding(verdicts, plain)}"
        draw_text(footer, (20 * unit, 64 * unit), told, 18 * unit, FAINT)
    return np.concatenate([plate, footer])


def error_told(verdicts: float, width: int, plain: float | None = None) -> str:
    """An error in words, px of a plate so wide: the verdict's; plain: the same in every direction."""
    told = f"verdict's error {verdicts * 1920 / width:.2f} px (HD)"
    return told if plain is None else f"{told}, in every direction {plain * 1920 / width:.2f} px (HD)"


def sliding(verdicts: float, plain: float) -> str:
    """What long vectors are where most of the sum of squares is not the verdict's."""
    return ": most of it is tracks sliding along edges" if plain**2 > 2 * verdicts**2 else ""


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def _backdrop(image_rgb: np.ndarray) -> np.ndarray:
    height, width = image_rgb.shape[:2]
    factor = max(1.0, MIN_WIDTH / width)
    if factor > 1:
        size = round(width * factor), round(height * factor)
        image_rgb = cv2.resize(image_rgb, size, interpolation=cv2.INTER_CUBIC)
    return np.round(DIM * image_rgb).astype(np.uint8)


def _draw_depth(plate, footer, reconstruction: Reconstruction, here: np.ndarray, scale, unit, world: World) -> None:
    limits = depth_limits(reconstruction.points_in_cam(here)[:, 2])
    draw_depth_tracks(plate, reconstruction, here, limits)
    draw_depth_legend(footer, limits, footer.shape[1] - 140 * unit, unit, world)


def draw_depth_tracks(
    plate: np.ndarray, reconstruction: Reconstruction, here: np.ndarray, limits: tuple[float, float]
) -> None:
    """Tracks on a plate (height, width, 3) uint8 of any size, with tails.

    Drawn far to near, so that what is near lies on top; tails under all of them. here: their observations in the frame,
    which have a point and a camera; limits: nearest and farthest depth with a colour of their own.
    """
    scale, unit = plate.shape[1] / reconstruction.camera.width, plate.shape[1] / MIN_WIDTH
    depth = reconstruction.points_in_cam(here)[:, 2]
    order = np.argsort(-depth)
    here, depth = here[order], depth[order]
    colors = depth_colors(depth, limits)
    tails = plate.copy()
    for age in range(TAIL_FRAMES, 0, -1):
        segments, which = _tail(reconstruction, here, age)
        draw_lines(tails, scale * segments, colors[which], (2.6 - 1.6 * age / TAIL_FRAMES) * unit)
    cv2.addWeighted(tails, 0.75, plate, 0.25, 0, dst=plate)
    draw_dots(plate, scale * reconstruction.tracks.xy[here], colors, 3.2 * unit, rim_px=unit)


def draw_depth_legend(footer: np.ndarray, limits: tuple[float, float], right: float, unit: float, world: World) -> None:
    """The colours of depth and what they stand for, the bar ending at `right` px; unit: px of the type's size."""
    ramp, left = depth_colors(np.geomspace(*limits, 64), limits), right - 230 * unit
    near, far = (world.length(limit) for limit in limits)
    draw_text(footer, (left - 14 * unit, 36 * unit), f"depth  {near.split()[0]}", 18 * unit, INK, align=1)
    draw_color_bar(footer, (left, 20 * unit, right, 38 * unit), ramp)
    draw_text(footer, (right + 14 * unit, 36 * unit), far, 18 * unit)


def _tail(reconstruction: Reconstruction, here: np.ndarray, age: int) -> tuple[np.ndarray, np.ndarray]:
    """The step (n, 2, 2) each track made `age` frames ago, px, and which of `here` made one.

    Observations are sorted by track and frame: the one a frame earlier, if there is one, stands just before.
    """
    tracks = reconstruction.tracks
    start, end = here - age, here - age + 1
    which = np.flatnonzero(start >= 0)
    start, end = start[which], end[which]
    unbroken = (tracks.track[start] == tracks.track[here[which]]) & (
        tracks.frame[start] == tracks.frame[here[which]] - age
    )
    segments = np.stack([tracks.xy[start], tracks.xy[end]], axis=1)
    return segments[unbroken], which[unbroken]


def _draw_residuals(plate, footer, reconstruction: Reconstruction, here: np.ndarray, scale, unit, _: World) -> None:
    """Tracks from the best to the worst, so that what is wrong lies on top."""
    tracks = reconstruction.tracks
    vectors = reconstruction.reprojections(here) - tracks.xy[here]
    errors = np.linalg.norm(vectors, axis=1)
    order = np.argsort(errors)
    here, vectors, colors = here[order], vectors[order], residual_colors(errors[order])
    xy = scale * tracks.xy[here]
    segments = np.stack([xy, xy + scale * VECTOR_GAIN * vectors], axis=1)
    draw_lines(plate, segments, colors, 1.6 * unit, rim_px=0.9 * unit)
    draw_dots(plate, xy, colors, 2.6 * unit, rim_px=unit)

    ramp = residual_colors(np.linspace(0, MAX_RESIDUAL_PX, 64))
    left, right = footer.shape[1] - 270 * unit, footer.shape[1] - 100 * unit
    draw_color_bar(footer, (left, 20 * unit, right, 38 * unit), ramp)
    draw_text(footer, (right + 14 * unit, 36 * unit), f"{MAX_RESIDUAL_PX:g}+ px", 18 * unit)
    draw_text(footer, (left - 14 * unit, 36 * unit), "0", 18 * unit, align=1)
    end = left - 60 * unit
    one_px = scale * VECTOR_GAIN
    draw_lines(footer, np.array([[[end - one_px, 29 * unit], [end, 29 * unit]]]), np.array(INK), 2 * unit)
    label = f"vectors ×{VECTOR_GAIN}, 1 px"
    draw_text(footer, (end - one_px - 12 * unit, 36 * unit), label, 18 * unit, FAINT, align=1)
