"""Pictures that say where nothing may be tracked: the actor, the sky, a burned-in time code."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from sfm.errors import InputError
from sfm.images import read_alpha, read_raw
from sfm.video import Video

logger = logging.getLogger(__name__)

Mask = Callable[[int], np.ndarray | None]  # frame index -> (height, width), zero where nothing may be tracked
Polarity = Literal["black", "white"]
ALPHA, AUTO = "alpha", "auto"
MASK_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
WINDOW_EDGE = 1 / 100  # of the width: as far as a tracked patch reaches


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How to read masks."""

    untracked: Polarity = "black"  # the colour that is not tracked; all that is not black counts as white
    dilate_px: int = 0  # by how much the untracked area grows, for mattes drawn tightly


class Masked:
    """A mask that remembers what it cut: parts (of the picture) by index of the frames that had one."""

    def __init__(self, mask: Mask):
        self.parts: dict[int, float] = {}
        self._mask = mask

    def __call__(self, index: int) -> np.ndarray | None:
        """The mask of a frame (height, width), None where it has none."""
        image = self._mask(index)
        if image is not None:
            self.parts[index] = 1 - np.count_nonzero(image) / image.size
        return image


def load_masks(where: str | Path | None, video: Video, options: MaskOptions = MaskOptions()) -> Mask:
    """Where nothing may be tracked: what is drawn, and what is outside a plate's data window.

    where: a folder with one image a frame, named like the frame (`shot.1001.png` or `shot.1001.jpg.png`); "alpha": the
    plates' own; "auto": a folder beside the clip that is called after it (`sh010_mask`), else the alpha; None: nothing
    is drawn. Where all of a mask has one colour and its alpha differs, the alpha is the mask and opaque is white. A
    frame without a mask is tracked everywhere. Raises `InputError` when there is no mask of this shot or the options
    are none there are; a mask of another size raises when it is read.
    """
    if options.untracked not in get_args(Polarity):
        raise InputError(f"mask polarity {options.untracked!r}: expected black or white, the colour not tracked")
    if options.dilate_px < 0:
        raise InputError(f"mask dilation of {options.dilate_px} px: expected 0 or more")
    drawn = _nothing if where is None else _drawn(where, video, options)

    def read(index: int) -> np.ndarray | None:
        mask, window = drawn(index), video.header(index).window
        return mask if window is None else _inside(window, mask, video)

    return read


def _drawn(where: str | Path, video: Video, options: MaskOptions) -> Mask:
    if where not in (ALPHA, AUTO):
        return _of_folder(Path(where), video, options)
    there = [] if where == ALPHA else [folder for folder in _beside(video) if folder.is_dir()]
    if there:
        logger.info("masks: those beside the clip, %s", there[0])
        return _of_folder(there[0], video, options)
    file = video.file(0)
    if file is None or video.shot.is_movie or read_alpha(file) is None:
        looked = "" if where == ALPHA else f", nor a folder {' or '.join(str(f) for f in _beside(video)[:2])}"
        raise InputError(f"--masks {where}: {video.shot.frame_names[0]} has no alpha{looked}; give a folder of masks")
    logger.info("masks: the plates' alpha; %s", "transparent is not tracked" if options.untracked == "black" else
                "opaque is not tracked")  # fmt: skip

    def read(index: int) -> np.ndarray | None:
        alpha = read_alpha(video.file(index) or Path())
        return None if alpha is None else _grown(alpha > 0, options)

    return read


def _beside(video: Video) -> list[Path]:
    """Folders where masks of a clip are looked for."""
    source, shot = Path(video.shot.source), video.shot
    clip = source.with_suffix("") if shot.is_movie else source.parent
    names = dict.fromkeys((clip.name, shot.name))
    return [clip.parent / f"{name}_{ending}" for name in names if name for ending in ("mask", "masks")]


def _of_folder(folder: Path, video: Video, options: MaskOptions) -> Mask:
    shot = video.shot
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of masks")
    by_stem = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in MASK_SUFFIXES}
    paths = [by_stem.get(Path(name).stem) or by_stem.get(name) for name in shot.frame_names]
    if not any(paths):
        raise InputError(
            f"{folder}: no mask is named like a frame of the shot, e.g. {Path(shot.frame_names[0]).stem}.png"
        )
    if missing := sum(p is None for p in paths):
        logger.warning("%s: %d of %d frames have no mask; they are tracked everywhere", folder, missing, len(paths))

    def read(index: int) -> np.ndarray | None:
        if (path := paths[index]) is None:
            return None
        image = read_raw(path)
        if image is None or image.shape[:2] != (shot.height, shot.width):
            got = "unreadable" if image is None else f"{image.shape[1]}x{image.shape[0]}"
            raise InputError(f"{path}: mask is {got}, the plate is {shot.width}x{shot.height}")
        return _grown(_is_white(image), options)

    return read


def _nothing(index: int) -> None:
    """No mask."""


def _grown(white: np.ndarray, options: MaskOptions) -> np.ndarray:
    """Zero where nothing may be tracked, which grows."""
    untracked = (white == (options.untracked == "white")).astype(np.uint8)
    if options.dilate_px:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * options.dilate_px + 1,) * 2)
        untracked = cv2.dilate(untracked, kernel)
    return 1 - untracked


def _inside(window: tuple[int, int, int, int], mask: np.ndarray | None, video: Video) -> np.ndarray:
    """The mask, zero outside the data window too, and along its edge, which stands still while the picture moves."""
    width, height = video.shot.width, video.shot.height
    edge = int(np.ceil(width * WINDOW_EDGE))
    x0, y0, x1, y1 = window
    columns, rows = np.arange(width), np.arange(height)
    across = (columns >= (x0 and x0 + edge)) & (columns < (x1 if x1 == width else x1 - edge))
    down = (rows >= (y0 and y0 + edge)) & (rows < (y1 if y1 == height else y1 - edge))
    inside = (down[:, None] & across).astype(np.uint8)
    return inside if mask is None else np.where(inside > 0, mask, 0).astype(np.uint8)


def _is_white(image: np.ndarray) -> np.ndarray:
    """Where a mask is not black (height, width) bool; of 16 bits the lower eight count too."""
    channels = image.reshape(*image.shape[:2], -1)
    colour, alpha = channels[..., :3], channels[..., 3:]
    if (colour == colour[0, 0]).all() and (alpha != alpha[:1, :1]).any():
        return alpha[..., 0] > 0
    return np.any(colour > 0, axis=2)
