"""The object over the plate: behind what the depth maps put in front of it, with its shadow on the ground."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from sfm.depth.aligned import AlignedDepth, AlignedMap
from sfm.errors import UsageError
from sfm.files import replacing
from sfm.images import write_exr
from sfm.insertion.placing import Placement
from sfm.insertion.rendering import Layer, Light, Renderer
from sfm.movies import MOVIE_SUFFIXES
from sfm.scene import Reconstruction
from sfm.video import Video
from sfm.view.movie import SUFFIXES, check_name, write_movie

DISPLAY_GAMMA = 2.2
DOUBT = 2.0  # sigmas of its depth by which something must be nearer to hide the object
MIN_DOUBT = 0.02  # of log depth
ON_GROUND = 3.0  # sigmas within which what the map shows is the ground itself, which hides nothing
FAR = np.float32(50)  # log depth where the map knows nothing: that hides nothing
SOFT_PX = 0.7  # standard deviation that softens the edge of what is in front, px of the plate


@dataclass(frozen=True, slots=True)
class InsertOptions:
    """How the object is shown."""

    light: Light = field(default_factory=Light)
    shadow: float = 0.8  # strength, 0 none, 1 as the lamp casts it


@dataclass(frozen=True, slots=True)
class Insertion:
    """What was written: plate numbers of frames that passed through for want of a camera, of frames that could not be
    decoded, of frames where nothing could hide the object for want of a depth map, and of those that see none of it, or
    next to none.
    """

    place: Path
    without_camera: list[int]
    unreadable: list[int]
    without_depth: list[int]
    unseen: list[int]


def insert(
    output: str | Path,
    reconstruction: Reconstruction,
    video: Video,
    placement: Placement,
    aligned: AlignedDepth | None = None,
    *,
    frames: Sequence[int] | None = None,
    options: InsertOptions = InsertOptions(),
    progress: Callable[[int, int], None] | None = None,
) -> Insertion:
    """Write the shot with an object in it: as a movie, or into a folder of pictures that carry the plates' numbers.

    output: `.mp4`, `.mov`, or a folder that holds nothing yet: `NAME.NUMBER.exr` of EXR plates, half float, linear as
    they are, else `.png` of 8 or 16 bits; aligned: None hides nothing; frames: rising indices, None for all. A movie
    has as many frames as were asked for, at the shot's rate. Frames without a camera are the plate as it is, those that
    cannot be decoded black in a movie and no picture. Raises `UsageError` for another output.
    """
    check_insertion(output)
    output, wanted = Path(output), list(range(len(video))) if frames is None else list(frames)
    done = Insertion(output, [], [], [], [])
    renderer = Renderer(placement, reconstruction, options.light)
    plates = _plates(video, wanted, deep=not _is_movie(output))
    maps = _maps(aligned, video, wanted)

    def composited() -> Iterator[tuple[int, np.ndarray | None]]:
        for count, ((frame, plate), aligned_map) in enumerate(zip(plates, maps, strict=True), start=1):
            number = int(video.shot.frame_numbers[frame])
            if plate is None:
                done.unreadable.append(number)
            elif not reconstruction.has_camera[frame]:
                done.without_camera.append(number)
            else:
                if aligned is not None and aligned_map is None:
                    done.without_depth.append(number)
                layer = renderer.layer(frame)
                if layer is None or _hidden(layer, aligned_map, plate):
                    done.unseen.append(number)
                plate = plate if layer is None else composite(plate, layer, aligned_map, options.shadow)
            yield frame, plate
            if progress is not None:
                progress(count, len(wanted))

    if _is_movie(output):
        black = np.zeros((video.shot.height, video.shot.width, 3), np.uint8)
        write_movie(output, (black if plate is None else plate for _, plate in composited()), video.shot.fps)
    else:
        _write_pictures(output, video, composited())
    return done


def check_insertion(output: str | Path) -> None:
    """Raise `UsageError` unless `insert` can write there: in place of a movie, into no folder that holds anything."""
    output = Path(output)
    if output.suffix.lower() in MOVIE_SUFFIXES and not output.is_dir():
        check_name(output)
    elif output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output}: holds something already; choose another folder for the pictures")


def composite(plate: np.ndarray, layer: Layer, aligned: AlignedMap | None, shadow: float = 0.8) -> np.ndarray:
    """A plate (h, w, 3) with a layer over it: uint8 and uint16 as shown with a gamma of 2.2, float linear."""
    height, width = layer.alpha.shape
    part = slice(layer.top, layer.top + height), slice(layer.left, layer.left + width)
    seen, ground = visible(layer, aligned, plate.shape[:2])
    kept = 1 - shadow * (1 - layer.light) * ground
    cover = layer.alpha * seen
    below = _linear(plate[part]) * kept[..., None]
    mixed = below * (1 - cover[..., None]) + layer.color * seen[..., None]
    changed = (cover > 0) | (kept < 1 - 1e-4)
    out = plate.copy()
    out[part] = np.where(changed[..., None], _as_shown(mixed, plate.dtype), plate[part])
    return out


def visible(layer: Layer, aligned: AlignedMap | None, plate_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel of a layer (h, w) nothing in front hides, 0..1, and where the map shows the ground, 0..1.

    plate_size: height and width px. What hides is nearer than the object beyond doubt of the map, and not the ground
    that the object stands on, which maps hardly tell from it where they meet.
    """
    if aligned is None:
        return np.ones(layer.alpha.shape), np.isfinite(layer.ground).astype(float)
    log_scene, doubt = _on_plate(aligned, layer, plate_size)
    log_ground = np.log(np.where(layer.ground > 0, layer.ground, np.nan))
    off_ground = np.abs(log_scene - log_ground) / np.maximum(ON_GROUND / DOUBT * doubt, 1e-9)
    is_ground = np.nan_to_num(np.clip(2 * (1 - off_ground), 0, 1))
    log_object = np.log(_spread_out(layer.depth))
    nearer = (log_object - log_scene - doubt) / doubt  # 0 where it begins to hide, 1 where it surely does
    hidden = np.nan_to_num(np.clip(nearer, 0, 1)) * (1 - is_ground)
    hidden = cv2.GaussianBlur(hidden, (0, 0), SOFT_PX)
    return 1 - hidden, is_ground


def _hidden(layer: Layer, aligned: AlignedMap | None, plate: np.ndarray) -> bool:
    """Whether nothing, or next to nothing, of the object is seen."""
    seen = layer.alpha * visible(layer, aligned, plate.shape[:2])[0]
    return bool(seen.sum() <= 0.02 * layer.alpha.sum())


def _on_plate(aligned: AlignedMap, layer: Layer, plate_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Log depth of the scene and doubt about it at the pixels of a layer."""
    known = np.isfinite(aligned.depth)
    log_map = np.where(known, np.log(np.where(known, aligned.depth, 1)), FAR).astype(np.float32)
    sigma = np.where(known, aligned.sigma, 1).astype(np.float32)
    scale = np.array(log_map.shape[::-1]) / plate_size[::-1]
    x = ((np.arange(layer.alpha.shape[1]) + layer.left + 0.5) * scale[0] - 0.5).astype(np.float32)
    y = ((np.arange(layer.alpha.shape[0]) + layer.top + 0.5) * scale[1] - 0.5).astype(np.float32)
    at = np.meshgrid(x, y)
    scene, doubt = (
        cv2.remap(a, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for a in (log_map, sigma)
    )
    return scene.astype(float), np.maximum(DOUBT * doubt, MIN_DOUBT).astype(float)


def _spread_out(depth: np.ndarray) -> np.ndarray:
    """Depth of the object, that of what is seen of it nearby where a pixel shows none."""
    known = np.isfinite(depth)
    grown = cv2.dilate(
        np.where(known, depth, 0).astype(np.float32), np.ones((9, 9), np.uint8)
    )  # as wide as SOFT_PX blurs
    return np.where(known, depth, np.where(grown > 0, grown, np.nan))


def _linear(shown: np.ndarray) -> np.ndarray:
    if shown.dtype.kind == "f":
        return shown.astype(float)
    return (shown / np.iinfo(shown.dtype).max) ** DISPLAY_GAMMA


def _as_shown(linear: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return linear.astype(dtype)
    return np.rint(np.iinfo(dtype).max * np.clip(linear, 0, 1) ** (1 / DISPLAY_GAMMA)).astype(dtype)


def _is_movie(output: Path) -> bool:
    return output.suffix.lower() in SUFFIXES and not output.is_dir()


def _maps(aligned: AlignedDepth | None, video: Video, frames: list[int]) -> Iterator[AlignedMap | None]:
    return iter([None] * len(frames)) if aligned is None else aligned.maps(video, frames)


def _plates(video: Video, frames: list[int], deep: bool) -> Iterator[tuple[int, np.ndarray | None]]:
    """Frames with their plates (h, w, 3) RGB: the pictures that are tracked; with deep the plates themselves.

    Plates of whole numbers that are no picture, log ones, are the tracked picture all the same.
    """
    part, tone = video.only(frames), video.tone
    stored = part.plates() if deep else iter(part)
    for frame, (_, plate) in zip(frames, stored, strict=True):
        shown = plate is None or not deep or plate.dtype.kind == "f" or tone.as_is
        yield frame, plate if shown or plate is None else tone.picture(plate)


def _write_pictures(folder: Path, video: Video, pictures: Iterator[tuple[int, np.ndarray | None]]) -> None:
    with replacing(folder) as temporary:
        temporary.mkdir()
        for frame, plate in pictures:
            name = f"{video.shot.name}.{int(video.shot.frame_numbers[frame]):04d}"
            if plate is None:
                continue
            if plate.dtype.kind == "f":
                write_exr(temporary / f"{name}.exr", {c: plate[..., k] for k, c in enumerate("RGB")})
            else:
                encoded = cv2.imencode(".png", np.ascontiguousarray(plate[..., ::-1]))[1]
                (temporary / f"{name}.png").write_bytes(encoded.tobytes())
