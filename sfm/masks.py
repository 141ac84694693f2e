"""Pictures that say where nothing may be tracked: the actor, the sky, a burned-in time code."""

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from sfm.errors import InputError
from sfm.video import Video

logger = logging.getLogger(__name__)

Mask = Callable[[int], np.ndarray | None]  # frame index -> (height, width), zero where nothing may be tracked


def load_masks(folder: str | Path, video: Video) -> Mask:
    """Masks of a folder, one image a frame, named like the frame (`shot.1001.png` or `shot.1001.jpg.png`): black is
    not tracked. A frame without a mask is tracked everywhere.

    Raises `InputError` when the folder holds no mask of this shot; a mask of another size raises when it is read.
    """
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
        if paths[index] is None:
            return None
        image = cv2.imread(str(paths[index]), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        if image is None or image.shape != (shot.height, shot.width):
            got = "unreadable" if image is None else f"{image.shape[1]}x{image.shape[0]}"
            raise InputError(f"{paths[index]}: mask is {got}, the plate is {shot.width}x{shot.height}")
        return (image > 0).astype(np.uint8)  # of 16 bits the lower eight count too

    return read
