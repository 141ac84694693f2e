"""Movies that browsers, QuickTime and editors play: H.264 in MP4 or MOV, by PyAV (extra `[film]`)."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from sfm.errors import InputError, UsageError, require
from sfm.files import replacing

logger = logging.getLogger(__name__)

SUFFIXES = {".mp4": "mp4", ".mov": "mov"}
BT709 = 1  # FFmpeg's number for it: primaries, curve and matrix
LIMITED = 1  # FFmpeg's for its "tv" range
QUALITY = "18"  # x264's crf: hardly to be told from what was drawn


@contextmanager
def movie(path: str | Path, width: int, height: int, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields `write(rgb)` of pictures (height, width, 3) uint8; the file appears when the block ends well.

    H.264 stores colour at half the size: width and height must be even. Raises `UsageError` for a name that is none of
    a movie, `InputError` where it cannot be written, `MissingDependencyError` without PyAV.
    """
    path = Path(path)
    check_movie(path)
    import av

    with replacing(path) as temporary:
        kind = SUFFIXES[path.suffix.lower()]
        with av.open(str(temporary), "w", format=kind, options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", Fraction(fps).limit_denominator(1001))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"preset": "veryfast", "crf": QUALITY}
            codec = stream.codec_context
            codec.color_primaries = codec.color_trc = codec.colorspace = BT709
            codec.color_range = LIMITED

            def write(rgb: np.ndarray) -> None:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
                container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=BT709)))

            yield write
            container.mux(stream.encode())


def check_movie(path: str | Path) -> None:
    """Whether a movie of that name can be made, before the work starts. Raises as `movie` does."""
    check_name(path)
    require("av", "av", "film", "writing a film")


def check_name(path: str | Path) -> None:
    """Raise `UsageError` unless a path is called like a movie that can be written."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: a film is an MP4 or a MOV; give it a name that ends in .mp4 or .mov")


def write_movie(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write frames (height, width, 3) uint8 RGB, all of one size, as they come: one is held at a time.

    Without PyAV OpenCV writes MPEG-4 part 2, which QuickTime and browsers refuse, and a warning says so. A plate of odd
    width or height gets its last column or row twice. Raises `UsageError` for a name that is no movie's, `InputError`
    where it cannot be written, a frame has another size or there is none.
    """
    check_name(path)
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path}: no frame to make a movie of")
    height, width = (side + side % 2 for side in first.shape[:2])
    how = movie if _has_h264() else _by_opencv
    with how(path, width, height, fps) as write:
        for rgb in chain([first], frames):
            if rgb.shape != first.shape:
                sizes = [f"{picture.shape[1]} x {picture.shape[0]}" for picture in (rgb, first)]
                raise InputError(f"{path}: a frame of {sizes[0]} px in a movie of {sizes[1]}")
            write(cv2.copyMakeBorder(rgb, 0, height - rgb.shape[0], 0, width - rgb.shape[1], cv2.BORDER_REPLICATE))


def _has_h264() -> bool:
    try:
        import av
    except ImportError:
        return False
    return "libx264" in av.codecs_available


@contextmanager
def _by_opencv(path: str | Path, width: int, height: int, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """As `movie`, without PyAV."""
    logger.warning(
        f"{path}: as MPEG-4 part 2, which QuickTime and browsers do not play; H.264 needs the package av (extra [film])"
    )
    with replacing(path) as temporary:
        unfinished = temporary.with_name(f".{temporary.name}{Path(path).suffix}")  # OpenCV tells the kind by the name
        writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
        try:
            if not writer.isOpened():
                raise InputError(f"{path}: this OpenCV writes no movies; install the package av, or write pictures")
            yield lambda rgb: writer.write(rgb[..., ::-1])  # pyright: ignore[reportReturnType]
            writer.release()
            unfinished.replace(temporary)
        finally:
            writer.release()
            unfinished.unlink(missing_ok=True)
