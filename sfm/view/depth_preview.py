"""Depth maps for the eye: three coloured plates and a movie of plate beside depth, near red to far blue."""

import logging
from pathlib import Path

import cv2
import numpy as np

from sfm.depth import DepthKind, DepthModel
from sfm.files import replacing
from sfm.video import Video
from sfm.view.palette import TURBO, UNKNOWN, depth_colors, depth_limits

MAX_WIDTH = 640  # px of the plate, and of the depth beside it
MOVIE = "preview.mp4"

logger = logging.getLogger(__name__)


def write_previews(model: DepthModel, video: Video, folder: str | Path) -> list[Path]:
    """Write `preview_<plate number>.png` of the first, middle and last frame with a map, and `preview.mp4`.

    All frames share one scale of colours, so that what flickers in the maps flickers in the movie. Returns the files.
    """
    folder, numbers = Path(folder), video.shot.frame_numbers
    known = [index for index, depth_map in enumerate(model.maps(video)) if depth_map is not None]
    chosen = np.unique([known[0], known[len(known) // 2], known[-1]]).tolist()
    maps = [np.asarray(m, np.float32) for m in model.maps(video.only(chosen)) if m is not None]
    limits = _limits(np.concatenate([m.ravel() for m in maps]), model.kind)
    files = [folder / f"preview_{int(numbers[index]):04d}.png" for index in chosen]
    for file, depth_map in zip(files, maps, strict=True):
        _write_png(file, map_colors(depth_map, model.kind, limits))
    return [*files, *_write_movie(model, video, folder / MOVIE, limits)]


def map_colors(depth_map: np.ndarray, kind: DepthKind, limits: tuple[float, float]) -> np.ndarray:
    """RGB (h, w, 3) uint8 of a map (h, w): near red, far blue, grey where unknown.

    Even steps are those of log depth, for maps of disparity those of disparity; limits: farthest and nearest value of
    disparity, nearest and farthest of depth.
    """
    if kind in ("metric", "depth"):
        return depth_colors(depth_map.ravel(), limits).reshape(*depth_map.shape, 3)
    known = np.isfinite(depth_map) & ((depth_map > 0) | (kind == "affine_disparity"))
    nearness = (np.where(known, depth_map, limits[0]) - limits[0]) / (limits[1] - limits[0])
    level = np.round(255 * np.clip(nearness, 0.1, 0.92)).astype(np.uint8)  # turbo's ends are too dark to see
    return np.where(known[..., None], TURBO[level], UNKNOWN)


def _limits(values: np.ndarray, kind: DepthKind) -> tuple[float, float]:
    if kind in ("metric", "depth"):
        return depth_limits(values)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = np.quantile(values, [0.02, 0.98])
    return float(low), float(max(high, low + 1e-6 * max(abs(low), 1e-3)))


def _write_png(file: Path, rgb: np.ndarray) -> None:
    _, data = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))
    with replacing(file) as temporary:
        temporary.write_bytes(data.tobytes())


def _write_movie(model: DepthModel, video: Video, file: Path, limits: tuple[float, float]) -> list[Path]:
    """Plate beside depth; nothing but a warning where OpenCV cannot write movies."""
    shot = video.shot
    scale = min(1.0, MAX_WIDTH / shot.width)
    width, height = (max(2 * round(side * scale / 2), 2) for side in (shot.width, shot.height))
    unfinished = file.with_name(f".{file.name}")  # OpenCV tells the kind of movie by the name
    movie = cv2.VideoWriter(str(unfinished), cv2.VideoWriter_fourcc(*"mp4v"), shot.fps, (2 * width, height))
    if not movie.isOpened():
        logger.warning(f"{file}: this OpenCV writes no movies; left out")
        return []
    try:
        with replacing(file) as temporary:
            for (_, rgb), depth_map in zip(video, model.maps(video), strict=True):
                plate = _fitted(rgb, width, height)
                depth = None if depth_map is None else map_colors(np.asarray(depth_map, np.float32), model.kind, limits)
                movie.write(np.hstack([plate, _fitted(depth, width, height)])[..., ::-1])
            movie.release()
            unfinished.replace(temporary)
    finally:
        movie.release()
        unfinished.unlink(missing_ok=True)
    return [file]


def _fitted(rgb: np.ndarray | None, width: int, height: int) -> np.ndarray:
    """A picture at that size, grey where there is none."""
    if rgb is None:
        return np.broadcast_to(UNKNOWN, (height, width, 3)).copy()
    return cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=cv2.INTER_AREA)
