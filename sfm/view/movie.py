"""Movies that browsers, QuickTime and editors play: H.264 in MP4 or MOV, by PyAV (extra `[film]`)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from sfm.errors import UsageError, require
from sfm.files import replacing

SUFFIXES = {".mp4": "mp4", ".mov": "mov"}
BT709 = 1  # FFmpeg's number for it: primaries, curve and matrix
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

            def write(rgb: np.ndarray) -> None:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
                container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=BT709)))

            yield write
            container.mux(stream.encode())


def check_movie(path: str | Path) -> None:
    """Whether a movie of that name can be made, before the work starts. Raises as `movie` does."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: a film is an MP4 or a MOV; give it a name that ends in .mp4 or .mov")
    require("av", "av", "film", "writing a film")
