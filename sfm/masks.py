"""Pictures that say where nothing may be tracked: the actor, the sky, a burned-in time code."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from sfm.errors import InputError
from sfm.images import read_raw
from sfm.video import Video

logger = logging.getLogger(__name__)

Mask = Callable[[int], np.ndarray | None]  # frame index -> (height, width), zero where nothing may be tracked
Polarity = Literal["black", "white"]


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How to read masks."""

    untracked: Polarity = "black"  # the colour that is not tracked; all that is not black counts as white
    dilate_px: int = 0  # by how much the untracked area grows, for mattes drawn tightly


def load_masks(folder: str | Path, video: Video, options: MaskOptions = MaskOptions()) -> Mask:
    """Masks of a folder, one image a frame, named like the frame (`shot.1001.png` or `shot.1001.jpg.png`).

    Where all of a mask has one colour and its alpha differs, the alpha is the mask and opaque is white. A frame without
    a mask is tracked everywhere. Raises `InputError` when the folder holds no mask of this shot or the options are none
    there are; a mask of another size raises when it is read.
    """
    if options.untracked not in get_args(Polarity):
        raise InputError(f"mask polarity {options.untracked!r}: expected black or white, the colour not tracked")
    if options.dilate_px < 0:
        raise InputError(f"mask dilation of {options.dilate_px} px: expected 0 or more")
    folder, shot = Path(folder), video.shot
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of masks")
    by_stem = {
        p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff")
    }
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
        untracked = (_is_white(image) == (options.untracked == "white")).astype(np.uint8)
        if options.dilate_px:
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * options.dilate_px + 1,) * 2)
            untracked = cv2.dilate(untracked, kernel)
        return 1 - untracked

    return read


def _is_white(image: np.ndarray) -> np.ndarray:
    """Where a mask is not black (height, width) bool; of 16 bits the lower eight count too."""
    channels = image.reshape(*image.shape[:2], -1)
    colour, alpha = channels[..., :3], channels[..., 3:]
    if (colour == colour[0, 0]).all() and (alpha != alpha[:1, :1]).any():
        return alpha[..., 0] > 0
    return np.any(colour > 0, axis=2)
