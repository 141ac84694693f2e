"""The set drawn to scale from above and from the side, with its cameras: a plan that needs no 3D package."""

from pathlib import Path

import cv2
import numpy as np

from sfm.scene import Reconstruction
from sfm.scene_frame import AS_SOLVED, World
from sfm.video import Shot
from sfm.view.layout import TRIM, Layout, lay_out
from sfm.view.palette import BACKGROUND, FRUSTUM, PATH, ColorMode, point_colors
from sfm.view.picture import FAINT, INK, draw_dots, draw_lines, draw_text, write_png

WIDTH, MARGIN, GAP, FOOTER = 1600, 70, 50, 70  # px
MAX_HEIGHT = 1000  # px of both views together
POINT_RADIUS = 2.0  # px
OVERSAMPLING = 2
RULE = np.array([58, 62, 68], dtype=np.uint8)  # line below each view
# right and down on paper, and towards the reader, in the axes of the levelled first camera (x right, y down, z forward)
FROM_ABOVE = (np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), np.array([0.0, -1.0, 0.0]))
FROM_THE_SIDE = (np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), np.array([1.0, 0.0, 0.0]))


def write_top_view(
    reconstruction: Reconstruction,
    shot: Shot,
    path: str | Path,
    color_by: ColorMode = "plate",
    world: World = AS_SOLVED,
) -> None:
    """Write `top_view` as a PNG. Raises `InputError` when no frame is registered or `path` cannot be written."""
    write_png(path, top_view(reconstruction, shot, color_by, world))


def top_view(
    reconstruction: Reconstruction, shot: Shot, color_by: ColorMode = "plate", world: World = AS_SOLVED
) -> np.ndarray:
    """The points, camera path and frusta from above and, at the same scale below it, from the side: uint8 (h, w, 3).

    The first camera looks to the right. Its limit: level is guessed from how the cameras are held, unless the world is
    upright; a shot held at one tilt throughout gives a tilted plan.

    Raises `InputError` when no frame is registered.
    """
    layout = lay_out(reconstruction, upright=world.upright)
    points = layout.level.apply(reconstruction.points[layout.shown])
    colors = point_colors(reconstruction, color_by)[layout.shown]
    frusta, steps = layout.level.apply(layout.frusta).reshape(-1, 2, 3), layout.level.apply(layout.path)
    low, high = _extent(points, frusta.reshape(-1, 3))
    size = high - low
    scale = min((WIDTH - 2 * MARGIN) / size[2], MAX_HEIGHT / (size[0] + size[1]))

    panels = []
    for title, (on_paper, to_reader) in (("from above", FROM_ABOVE), ("from the side", FROM_THE_SIDE)):
        height = round(scale * float(on_paper[1] @ size)) + GAP
        panel = np.tile(BACKGROUND, (OVERSAMPLING * height, OVERSAMPLING * WIDTH, 1))
        middle = np.array([WIDTH, height + GAP / 2]) / 2

        def place(xyz: np.ndarray, on_paper=on_paper, middle=middle) -> np.ndarray:
            return OVERSAMPLING * (scale * (xyz - (low + high) / 2) @ on_paper.T + middle)

        order = np.argsort(points @ to_reader)
        draw_dots(panel, place(points[order]), colors[order], OVERSAMPLING * POINT_RADIUS)
        draw_lines(panel, place(frusta), FRUSTUM, OVERSAMPLING * 1.2)
        draw_lines(panel, place(steps), PATH, OVERSAMPLING * 2.5)
        draw_text(panel, (OVERSAMPLING * 30, OVERSAMPLING * 36), title, OVERSAMPLING * 20, FAINT)
        panel[-OVERSAMPLING:] = RULE
        panels.append(panel)
    panels.append(_footer(reconstruction, shot, layout, scale, world))
    tall = np.concatenate(panels)
    return cv2.resize(tall, (WIDTH, len(tall) // OVERSAMPLING), interpolation=cv2.INTER_AREA)


def _extent(points: np.ndarray, frusta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Opposite corners of the box all frusta and nearly all points lie in."""
    corners = frusta
    if len(points):
        corners = np.concatenate([frusta, np.quantile(points, [TRIM, 1 - TRIM], axis=0)])
    return corners.min(axis=0), corners.max(axis=0)


def _footer(reconstruction: Reconstruction, shot: Shot, layout: Layout, scale: float, world: World) -> np.ndarray:
    """What is drawn in numbers, and the scale bar."""
    footer = np.tile(BACKGROUND, (OVERSAMPLING * FOOTER, OVERSAMPLING * WIDTH, 1))
    baseline, size = OVERSAMPLING * 42, OVERSAMPLING * 18
    length = np.linalg.norm(layout.path[:, 1] - layout.path[:, 0], axis=1).sum()
    registered, bridged = np.count_nonzero(reconstruction.registered), np.count_nonzero(reconstruction.bridged)
    text = (
        f"{registered} of {len(reconstruction.registered)} cameras{f', {bridged} interpolated' if bridged else ''}   "
        f"{np.count_nonzero(layout.shown):,} of {np.count_nonzero(reconstruction.has_point):,} points shown   "
        f"path {100 * length / layout.depth:.1f} % of the median depth"
    )
    width = draw_text(footer, (OVERSAMPLING * 30, baseline), shot.name, OVERSAMPLING * 21)
    draw_text(footer, (OVERSAMPLING * 54 + width, baseline), text, size, FAINT)

    bar = round_length(0.15 * WIDTH / scale)
    right, y = OVERSAMPLING * (WIDTH - 30), OVERSAMPLING * 36
    left, tick = right - OVERSAMPLING * scale * bar, OVERSAMPLING * 6
    ends = [[[left, y], [right, y]], [[left, y - tick], [left, y + tick]], [[right, y - tick], [right, y + tick]]]
    draw_lines(footer, np.array(ends), np.array(INK), OVERSAMPLING * 2)
    draw_text(footer, (left - OVERSAMPLING * 14, baseline), world.length(bar), size, align=1)
    return footer


def round_length(length: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not longer."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(power * max(step for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))
