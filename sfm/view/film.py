"""The film of a solve, three panels as the method is known by, and a contact sheet.

The plate; the plate with its tracks, near red to far blue in Turbo, each with its way behind it; the points turning in
3D in the same colours. All frames share one scale of colours, so that what flickers in the film flickers in the solve.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from sfm.errors import InputError, UsageError
from sfm.scene import Reconstruction
from sfm.scene_frame import AS_SOLVED, World
from sfm.threads import each_in_threads, in_threads
from sfm.video import Shot, Video
from sfm.view.movie import check_movie, movie
from sfm.view.overlay import DIM, draw_depth_legend, draw_depth_tracks, error_told
from sfm.view.palette import BACKGROUND, UNKNOWN, depth_limits
from sfm.view.picture import FAINT, INK, draw_lines, draw_text, write_png
from sfm.view.turntable import Turntable

FOOTER = 0.1  # of a panel's height
WARNING = (255, 166, 64)
SHEET_COLUMNS, SHEET_ROWS, SHEET_WIDTH, SHEET_GAP, SHEET_CAPTION = 4, 4, 480, 12, 34  # width of a picture; px


def write_film(
    reconstruction: Reconstruction,
    video: Video,
    path: str | Path,
    *,
    height: int = 540,
    overlay_only: bool = False,
    world: World = AS_SOLVED,
    report: Callable[[int, int], None] = lambda done, count: None,
) -> None:
    """Write an MP4 or MOV with a picture for every frame of the shot, at its rate.

    height: of a panel, px; overlay_only: the plate with its tracks alone, at the plate's size; world: of the
    reconstruction; report: told how many frames of how many are done. Frames without a camera, and such that cannot be
    decoded, are shown as that. A side that is odd is one px shorter: H.264 has none.

    Raises `InputError` where there is no camera to draw or the film cannot be written, `UsageError` for a name that is
    none of a movie, `MissingDependencyError` without PyAV.
    """
    check_movie(path)
    shot = video.shot
    draw = _OverlayOnly(reconstruction, shot) if overlay_only else _Panels(reconstruction, shot, height, world)
    count = len(video)
    report(0, count)
    with movie(path, *draw.size, shot.fps) as write:
        for done, picture in enumerate(each_in_threads(lambda item: draw.picture(*item), video), 1):
            write(picture)
            report(done, count)


def write_contact_sheet(
    reconstruction: Reconstruction, video: Video, path: str | Path, world: World = AS_SOLVED
) -> None:
    """Write a PNG of sixteen frames spread over the shot with their tracks by depth, each with its numbers.

    Raises `InputError` where there is no camera to draw or `path` cannot be written, `UsageError` where it is no PNG.
    """
    if Path(path).suffix.lower() != ".png":
        raise UsageError(f"{path}: a contact sheet is a PNG; give it a name that ends in .png")
    shot = video.shot
    frames = np.unique(np.linspace(0, len(video) - 1, SHEET_COLUMNS * SHEET_ROWS).round().astype(int)).tolist()
    draw = _Tracks(reconstruction, shot, SHEET_WIDTH, round(SHEET_WIDTH * shot.height / shot.width))
    columns = min(SHEET_COLUMNS, len(frames))
    rows = -(-len(frames) // columns)
    step = np.array([SHEET_WIDTH + SHEET_GAP, draw.height + SHEET_CAPTION + SHEET_GAP])
    head = 56
    size = np.array([columns, rows]) * step + [SHEET_GAP, head]
    sheet = np.tile(BACKGROUND, (size[1], size[0], 1))
    _head(sheet[:head], draw, world)
    cells = in_threads(lambda item: draw.picture(item[0], item[1][1]), zip(frames, video.only(frames), strict=True))
    for place, (frame, cell) in enumerate(zip(frames, cells, strict=True)):
        left, top = np.array([place % columns, place // columns]) * step + [SHEET_GAP, head]
        sheet[top : top + draw.height, left : left + SHEET_WIDTH] = cell
        caption = f"{shot.frame_numbers[frame]}   {draw.told(frame)}"
        draw_text(sheet, (left, top + draw.height + 22), caption, 16, FAINT)
    write_png(path, sheet)


class _Tracks:
    """Plates with the tracks that are used, at one size and in one scale of colours."""

    def __init__(self, reconstruction: Reconstruction, shot: Shot, width: int, height: int):
        if not reconstruction.has_camera.any():
            raise InputError("the reconstruction has no registered frame: there is nothing to draw")
        self.reconstruction, self.shot, self.width, self.height = reconstruction, shot, width, height
        used = np.flatnonzero(reconstruction.inliers)
        self.limits = depth_limits(reconstruction.points_in_cam(used)[:, 2])
        self._errors = reconstruction.frame_rms_px(whitened=True)
        self._count = np.bincount(reconstruction.tracks.frame[used], minlength=reconstruction.tracks.num_frames)

    def plate(self, rgb: np.ndarray | None) -> np.ndarray:
        """The plate at this size, grey where it cannot be decoded."""
        if rgb is None:
            panel = np.tile(UNKNOWN, (self.height, self.width, 1))
            draw_text(panel, (self.width / 2, self.height / 2), "cannot be decoded", self.height / 16, INK, align=0.5)
            return panel
        shrinks = self.width < rgb.shape[1]
        return cv2.resize(rgb, (self.width, self.height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)

    def picture(self, frame: int, rgb: np.ndarray | None) -> np.ndarray:
        """The plate with its tracks, and a word where the camera is not one of its own."""
        panel = self.plate(rgb)
        if rgb is not None:
            panel = np.round(DIM * panel).astype(np.uint8)
        here = self.reconstruction.tracks.in_frame(frame)
        draw_depth_tracks(panel, self.reconstruction, here[self.reconstruction.inliers[here]], self.limits)
        self.warn(panel, frame)
        return panel

    def warn(self, panel: np.ndarray, frame: int) -> None:
        """Say on a panel that a frame has no camera, or an interpolated one."""
        if not self.reconstruction.registered[frame]:
            draw_text(panel, (0.03 * self.width, 0.1 * self.height), self._without(frame), self.height / 16, WARNING)

    def told(self, frame: int) -> str:
        """The numbers of a frame."""
        if not self._count[frame]:
            return self._without(frame)
        return f"{self._count[frame]:,} tracks used   {error_told(self._errors[frame], self.shot.width)}"

    def _without(self, frame: int) -> str:
        return "camera interpolated" if self.reconstruction.bridged[frame] else "no camera"


class _OverlayOnly:
    """The plate with its tracks at the plate's size."""

    def __init__(self, reconstruction: Reconstruction, shot: Shot):
        self._tracks = _Tracks(reconstruction, shot, shot.width, shot.height)
        self.size = shot.width // 2 * 2, shot.height // 2 * 2

    def picture(self, frame: int, rgb: np.ndarray | None) -> np.ndarray:
        return self._tracks.picture(frame, rgb)[: self.size[1], : self.size[0]]


class _Panels:
    """Three panels side by side over a line of numbers and scales."""

    def __init__(self, reconstruction: Reconstruction, shot: Shot, height: int, world: World):
        height = height // 2 * 2
        width = max(2 * round(height * shot.width / shot.height / 2), 2)
        self._tracks = _Tracks(reconstruction, shot, width, height)
        self._world, seconds = world, len(shot.frame_numbers) / shot.fps
        self._turntable = Turntable(reconstruction, width, height, seconds, world)
        self._footer_height = max(2 * round(FOOTER * height / 2), 2)
        self.size = 3 * width, height + self._footer_height

    def picture(self, frame: int, rgb: np.ndarray | None) -> np.ndarray:
        tracks = self._tracks
        turned = self._turntable.picture(frame, frame / tracks.shot.fps, tracks.limits)
        tracks.warn(turned, frame)
        panels = np.hstack([tracks.plate(rgb), tracks.picture(frame, rgb), turned])
        return np.vstack([panels, self._footer(frame)])

    def _footer(self, frame: int) -> np.ndarray:
        tracks, footer = self._tracks, np.tile(BACKGROUND, (self._footer_height, self.size[0], 1))
        width, unit = tracks.width, self._footer_height / 56
        margin, base = 20 * unit, 36 * unit
        name = f"{tracks.shot.name}   frame {tracks.shot.frame_numbers[frame]}"
        draw_text(footer, (margin, base), name, 21 * unit)
        count, _, error = tracks.told(frame).partition("   ")  # apart: the legend needs its room in a narrow panel
        draw_text(footer, (width - margin, base), error, 18 * unit, FAINT, align=1)
        draw_text(footer, (width + margin, base), count, 18 * unit, FAINT)
        draw_depth_legend(footer, tracks.limits, 2 * width - 130 * unit, unit, self._world)
        length, px = self._turntable.scale_bar()
        left = 2 * width + margin
        draw_lines(footer, np.array([[[left, base - 6 * unit], [left + px, base - 6 * unit]]]), np.array(INK), 3 * unit)
        scale = f"{self._world.length(length)} in the middle of the set"
        draw_text(footer, (left + px + margin, base), scale, 18 * unit, FAINT)
        return footer


def _head(strip: np.ndarray, draw: _Tracks, world: World) -> None:
    scene, shot = draw.reconstruction, draw.shot
    width = draw_text(strip, (SHEET_GAP, 36), shot.name, 21)
    frames = f"{np.count_nonzero(scene.registered)} of {len(scene.registered)} frames have a camera"
    error = error_told(scene.rms_px(whitened=True), shot.width, scene.rms_px())
    draw_text(strip, (SHEET_GAP + width + 24, 36), f"{frames}   {error}", 18, FAINT)
    draw_depth_legend(strip, draw.limits, strip.shape[1] - 130, 1.0, world)
