"""Movie files: frames told apart by their time stamps, to 8 bits by OpenCV, to 16 by PyAV where the file holds more.

A decoder that drops damaged frames does not shift the rest. It may also hand out a damaged picture without a word;
nothing here can tell.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sfm.errors import InputError, UsageError, require
from sfm.images import Header
from sfm.timecode import frames_of, later

MOVIE_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mxf", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"),
    *(".3gp", ".ts", ".mts", ".m2ts", ".dv", ".gif", ".y4m"),
)
DEFAULT_FPS = 24.0
FROM_TIMECODE = "timecode"
# a decoder stuck in a damaged stretch recovers at the next key frame; past the end each attempt costs 0.1 ms
GRAB_ATTEMPTS = 1000

logger = logging.getLogger(__name__)


def open_movie(path: Path, first_frame: int | str | None = None) -> "Movie":
    """A movie, its frames counted from `first_frame`: a number, "timecode" for the one its time code stands for at its
    rate, None for 1.

    With PyAV time code and exact rate are known too, and more than 8 bits are kept. Raises `InputError` where it cannot
    be read, `UsageError` where its first frame is to be told by a time code it does not have.
    """
    said = _said(path)
    movie = DeepMovie(path, said[1]) if said is not None and said[0] > 8 else Movie(path, said and said[1])
    movie.count_from(_first(path, first_frame, movie))
    if said is None and movie.bits > 8:
        logger.warning(f"{path}: {movie.bits} bits, of which OpenCV decodes 8; PyAV keeps them: pip install av")
    return movie


class Movie:
    """A movie file, decoded by OpenCV's FFmpeg to 8 bits and turned upright as its metadata says."""

    def __init__(self, path: Path, said: Header | None = None):
        self.name, self.label, self.bits = path.stem, str(path), 8
        announced, fps, self.header = self._announced(said)
        self.fps = fps if 0 < fps < 1000 else DEFAULT_FPS
        if self.fps != fps:
            logger.warning(f"{path}: no frame rate in the file; assuming {DEFAULT_FPS:g} fps")
        self._times, self._timed = self._time_stamps(announced)
        if not len(self._times):
            raise InputError(f"{path}: no frame of this movie can be decoded")
        self._places = self._among(announced)
        self.count_from(1)

    def count_from(self, first: int) -> None:
        """Give the first frame its plate number."""
        self.first_frame = first
        self.numbers = (first + self._places).tolist()
        self.expected = list(range(first, self.numbers[-1] + 1))

    def frame_name(self, number: int) -> str:
        """`<clip stem>.<4 digits>.png`."""
        return f"{self.name}.{number:04d}.png"

    def file(self, number: int) -> Path | None:
        """The movie."""
        return Path(self.label)

    def header_of(self, number: int) -> Header:
        """What the movie says, with the frame's own time code."""
        said = self.header
        code = later(said.timecode, number - self.first_frame, self.fps)
        return Header(said.pixel_aspect, said.fps, code)

    def stream(self, numbers: Sequence[int]) -> Iterator[np.ndarray | None]:
        """Decode from the key frame before the first number on; frames between the numbers are passed over."""
        places = np.searchsorted(self.numbers, numbers)
        capture, place = self._start(int(places[0]))
        more = True
        for wanted in places:
            while place < wanted and more:
                more = _grab(capture)
                place = self._place(capture, place) if more else place
            decoded, picture = capture.retrieve() if place == wanted else (False, None)
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if decoded and picture is not None else None

    def _announced(self, said: Header | None) -> tuple[int, float, Header]:
        """Frames there should be, rate, and what else the header says."""
        capture = self._capture()
        if not capture.isOpened():
            raise InputError(
                f"{self.label}: not a movie OpenCV can read (damaged, cut short, without pictures, or an unknown codec)"
            )
        fps, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        wide, high = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
        layout = int(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)).to_bytes(4, "little", signed=True)
        self.bits = layout[3] if layout[:2] == b"Y3" else 8  # FFmpeg's name for deep planar formats ends with the bits
        return count, fps, said or Header(wide / high if wide and high else None, fps)

    def _capture(self) -> cv2.VideoCapture:
        return cv2.VideoCapture(self.label, cv2.CAP_FFMPEG)

    def _time_stamps(self, announced: int) -> tuple[np.ndarray, bool]:
        """Time of every frame in ms, rising, and whether these are real; else they only count the frames.

        The packets carry the times and need no decoding. Where there are not as many of them as the header announces
        (trimmed, cut short, damaged, or a header that guesses) only decoding tells which frames there are.
        """
        for packets in (True, False):
            capture, times = self._capture(), []
            if packets:
                capture.set(cv2.CAP_PROP_FORMAT, -1)
            while _grab(capture):
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
            timed = len(np.unique(times)) == len(times)
            if packets and timed and len(times) == announced:
                break
        return (np.sort(times), True) if timed else (np.arange(len(times), dtype=float), False)

    def _among(self, announced: int) -> np.ndarray:
        """Index of every frame in the movie as it was written: frames lost from a constant rate leave gaps."""
        count = len(self._times)
        if count >= announced:
            return np.arange(count)
        logger.warning(
            f"{self.label}: the header announces {announced} frames, {count} can be decoded (trimmed, cut short or "
            "damaged); if the frame numbers matter, convert it to an image sequence"
        )
        steps = (self._times - self._times[0]) * self.fps / 1000
        places = np.rint(steps).astype(int)
        constant_rate = self._timed and np.abs(steps - places).max() < 0.25 and np.all(np.diff(places) > 0)
        return places if constant_rate and places[-1] < announced else np.arange(count)

    def _start(self, place: int) -> tuple[cv2.VideoCapture, int]:
        """A capture with a frame grabbed at or before place, and where that is; -1 with none grabbed yet."""
        capture = self._capture()
        if self._timed and place > 0 and capture.set(cv2.CAP_PROP_POS_FRAMES, place) and capture.grab():
            reached = self._place(capture, -1)
            if reached <= place:  # seeking is approximate in some formats and may overshoot
                return capture, reached
        return self._capture(), -1

    def _place(self, capture: cv2.VideoCapture, before: int) -> int:
        """Which frame is grabbed, given the one before it."""
        if not self._timed:
            return before + 1
        return int(np.abs(self._times - capture.get(cv2.CAP_PROP_POS_MSEC)).argmin())


class DeepMovie(Movie):
    """A movie of more than 8 bits, decoded by PyAV to 16 and turned upright."""

    def stream(self, numbers: Sequence[int]) -> Iterator[np.ndarray | None]:
        """As of any movie, uint16."""
        places = np.searchsorted(self.numbers, numbers)
        decoded = self._decoded(int(places[0]))
        place, frame = next(decoded, (None, None))
        for wanted in places:
            while place is not None and place < wanted:
                place, frame = next(decoded, (None, None))
            yield _picture(frame) if place == wanted else None

    def _announced(self, said: Header | None) -> tuple[int, float, Header]:
        import av

        with av.open(self.label) as container:
            stream = container.streams.video[0]
            self.bits = max(part.bits for part in stream.format.components)
            return stream.frames, float(stream.average_rate or 0), said or Header()

    def _time_stamps(self, announced: int) -> tuple[np.ndarray, bool]:
        """Of the packets, but those an edit list leaves out, in ms."""
        import av

        with av.open(self.label) as container:
            packets = container.demux(video=0)
            times = [_ms(p) for p in packets if p.pts is not None and not p.is_discard]
        unique = np.unique(times)
        return unique, len(unique) == len(times)

    def _decoded(self, place: int) -> Iterator[tuple[int, Any]]:
        """Frames from the key frame before a place on, each with its place. What cannot be decoded is left out."""
        import av

        with av.open(self.label) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if place:
                container.seek(int(self._times[place] / 1000 / stream.time_base), stream=stream)
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    if frame.pts is not None:
                        yield int(np.abs(self._times - _ms(frame)).argmin()), frame


def _picture(frame: Any) -> np.ndarray:
    """(height, width, 3) RGB uint16."""
    return np.rot90(frame.to_ndarray(format="rgb48le"), frame.rotation // 90)


def _ms(timed: Any) -> float:
    return float(1000 * timed.pts * timed.time_base)


def _grab(capture: cv2.VideoCapture) -> bool:
    """Go to the next frame that decodes; False at the end."""
    return any(capture.grab() for _ in range(GRAB_ATTEMPTS))


def _said(path: Path) -> tuple[int, Header] | None:
    """Bits of a movie and what its header says; None without PyAV or where that cannot open it."""
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path}: no pictures in this movie, only {container.streams[0].type}")
            stream = container.streams.video[0]
            tags = [stream.metadata, container.metadata, *(s.metadata for s in container.streams)]
            codes = [value for tag in tags for key, value in tag.items() if key.lower() == "timecode"]
            aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
            said = Header(float(aspect) if aspect else None, float(stream.average_rate or 0), (codes or [""])[0])
            return max((part.bits for part in stream.format.components), default=8), said
    except (av.FFmpegError, IndexError, AttributeError):  # damaged, or of a codec nobody knows
        return None


def _first(path: Path, asked: int | str | None, movie: Movie) -> int:
    """Number of a movie's first frame. Time of day is no frame number, so that a time code counts where asked to."""
    code = movie.header.timecode
    counted = frames_of(code, movie.fps)
    if asked is None and counted and counted < 100_000:
        logger.info(
            f"{path}: its frames count from 1; its time code {code} would be frame {counted}: --first-frame timecode"
        )
    if asked != FROM_TIMECODE:
        return 1 if asked is None else int(asked)
    if counted is None:
        require("av", "av", "film", "reading a movie's time code")
        told = f"its time code {code} is none at {movie.fps:g} fps" if code else "there is none in the file"
        raise UsageError(f"--first-frame timecode: {path}: {told}")
    return counted
