"""Where frames come from: numbered image files, one movie file, or pictures in memory. Plate numbers are the keys.

Image files carry their numbers (film's 1001), a movie's frames count from 1. They are told apart by their time stamps,
not by counting decoded frames: a decoder that drops damaged frames does not shift the rest. It may also hand out a
damaged picture without a word; nothing here can tell.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import fileseq
import numpy as np

from sfm.errors import InputError
from sfm.images import IMAGE_SUFFIXES, read_rgb

MOVIE_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mxf", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"),
    *(".3gp", ".ts", ".mts", ".m2ts", ".dv", ".gif", ".y4m"),
)
DEFAULT_FPS = 24.0
# a decoder stuck in a damaged stretch recovers at the next key frame; past the end each attempt costs 0.1 ms
GRAB_ATTEMPTS = 1000

logger = logging.getLogger(__name__)


class Footage(Protocol):
    """Frames by plate number.

    name: stem of the clip; label: what to call it in messages, a path or pattern that opens it again; numbers: plate
    numbers of the frames there are, rising; expected: the same with the gaps; fps.
    """

    name: str
    label: str
    numbers: list[int]
    expected: list[int]
    fps: float

    def frame_name(self, number: int) -> str:
        """The frame's file name; for a movie the name its frame would have as a file."""
        ...

    def file(self, number: int) -> Path | None:
        """The file the frame is in; None where it is in memory."""
        ...

    def stream(self, numbers: Sequence[int]) -> Iterator[np.ndarray | None]:
        """Decode the frames with these rising plate numbers in order; None where that is not possible."""
        ...


class ImageSequence:
    """Numbered image files of a folder."""

    fps = DEFAULT_FPS

    def __init__(self, folder: Path, base: str, suffix: str, files: dict[int, Path], asked: Sequence[int] = ()):
        self.name = base.rstrip("._- ") or folder.resolve().name
        self.numbers = sorted(files)
        self.expected = list(asked) or list(range(self.numbers[0], self.numbers[-1] + 1))
        self.label = str(folder / f"{base}{fileseq.framesToFrameRange(self.expected)}#{suffix}")
        self._files = files

    def frame_name(self, number: int) -> str:
        """The file's own name."""
        return self._files[number].name

    def file(self, number: int) -> Path:
        """The frame's own."""
        return self._files[number]

    def stream(self, numbers: Sequence[int]) -> Iterator[np.ndarray | None]:
        """Read file after file."""
        return (read_rgb(self._files[number]) for number in numbers)


class Movie:
    """A movie file, decoded by OpenCV's FFmpeg to 8 bits and turned upright as its metadata says."""

    def __init__(self, path: Path):
        self.name, self.label = path.stem, str(path)
        capture = self._capture()
        if not capture.isOpened():
            raise InputError(f"{path}: not a movie OpenCV can read (damaged, cut short, or an unknown codec)")
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else DEFAULT_FPS
        if self.fps != fps:
            logger.warning(f"{path}: no frame rate in the file; assuming {DEFAULT_FPS:g} fps")
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        self._times, self._timed = self._time_stamps(announced)
        if not len(self._times):
            raise InputError(f"{path}: no frame of this movie can be decoded")
        numbers = 1 + self._places(announced)
        self.numbers = numbers.tolist()
        self.expected = list(range(1, self.numbers[-1] + 1))

    def frame_name(self, number: int) -> str:
        """`<clip stem>.<4 digits>.png`."""
        return f"{self.name}.{number:04d}.png"

    def file(self, number: int) -> Path:
        """The movie."""
        return Path(self.label)

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

    def _places(self, announced: int) -> np.ndarray:
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


class Pictures:
    """Pictures in memory, numbered from 1."""

    def __init__(self, name: str, fps: float, frames: Sequence[np.ndarray | None]):
        self.name, self.label, self.fps = name, name, fps
        self.numbers = self.expected = list(range(1, len(frames) + 1))
        self._frames = frames

    def frame_name(self, number: int) -> str:
        """`<name>.<4 digits>.png`."""
        return f"{self.name}.{number:04d}.png"

    def file(self, number: int) -> None:
        """None of them is in one."""

    def stream(self, numbers: Sequence[int]) -> Iterator[np.ndarray | None]:
        """Hand them out."""
        return (self._frames[number - 1] for number in numbers)


def frame_ranges(numbers: Sequence[int] | np.ndarray, of: Sequence[int] | np.ndarray | None = None) -> str:
    """Plate numbers in as few words as possible. of: numbers that follow each other, None: all do.

    >>> frame_ranges([1004, 1005, 1006, 1033])
    '1004-1006, 1033'
    >>> frame_ranges([1004, 1007, 1013], of=[1001, 1004, 1007, 1010, 1013])
    '1004-1007, 1013'
    """
    numbers = np.unique(np.asarray(numbers, dtype=int))
    place = numbers if of is None else np.searchsorted(of, numbers)
    runs = np.split(numbers, np.flatnonzero(np.diff(place) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs if len(run))


def open_footage(path: Path) -> Footage:
    """Find out what is at path: a movie, a folder of images, a pattern. Raises `InputError` when none of them."""
    suffix = path.suffix.lower()
    if path.is_dir():
        return _sequence_in_folder(path)
    if path.is_file() and suffix in MOVIE_SUFFIXES:
        return Movie(path)
    if path.is_file() and suffix in IMAGE_SUFFIXES:
        hint = re.sub(r"\d+$", lambda digits: "#" * len(digits[0]), path.stem) + path.suffix
        raise InputError(f"{path}: one frame; a shot needs at least 2: give its folder or a pattern such as {hint}")
    if path.is_file():
        raise InputError(f"{path}: neither a movie ({' '.join(MOVIE_SUFFIXES[:6])} ...) nor an image sequence")
    # fileseq wants a padding token after a range; shot.1001-1072.jpg is how people write it
    pattern = re.sub(r"(\d+-\d+)(\.\w+)$", r"\1#\2", str(path))
    if not re.search(r"#|@|%0?\d*d|\$F", Path(pattern).name):
        raise InputError(f"{path}: no such file or folder")
    try:
        return _sequence_of_pattern(path, fileseq.FileSequence(pattern, pad_style=fileseq.PAD_STYLE_HASH1))
    except fileseq.FileSeqException as error:
        raise InputError(
            f"{path}: not a frame pattern such as shot.####.jpg or shot.1001-1072.jpg ({error})"
        ) from error


def _sequence_in_folder(folder: Path) -> ImageSequence:
    sequences = _sequences(folder)
    if not sequences:
        some = any(file.suffix.lower() in IMAGE_SUFFIXES for file in folder.iterdir())
        wrong = "its images are not numbered; expected names such as shot.1001.jpg" if some else "no images in it"
        raise InputError(f"{folder}: {wrong} (read are {' '.join(IMAGE_SUFFIXES)})")
    (base, suffix), files = max(sequences.items(), key=lambda item: len(item[1]))
    sequence = ImageSequence(folder, base, suffix, files)
    if len(sequences) > 1:
        others = (f"{base}#{suffix} ({len(f)})" for (base, suffix), f in sequences.items() if f is not files)
        logger.warning(f"{folder}: several sequences; reading {sequence.label} ({len(files)}), not {', '.join(others)}")
    return sequence


def _sequence_of_pattern(path: Path, pattern: fileseq.FileSequence) -> ImageSequence:
    folder, digits = Path(pattern.dirname() or "."), pattern.zfill()
    if not folder.is_dir():
        raise InputError(f"{path}: no such folder {folder}")
    files = _sequences(folder).get((pattern.basename(), pattern.extension()), {})
    if digits > 1:  # a lone # or %d means whatever padding the files have
        prefix = len(pattern.basename())
        files = {n: f for n, f in files.items() if f.stem[prefix:] == str(n).zfill(digits)}
    if not files:
        raise InputError(f"{path}: no file matches this pattern")
    asked = [int(n) for n in pattern.frameSet() or ()]
    if asked:
        files = {n: f for n, f in files.items() if n in set(asked)}
    if not files:
        raise InputError(f"{path}: no file matches this pattern in the range {frame_ranges(asked)}")
    return ImageSequence(folder, pattern.basename(), pattern.extension(), files, sorted(asked))


def _sequences(folder: Path) -> dict[tuple[str, str], dict[int, Path]]:
    """Numbered images of a folder by (text before the number, suffix), then by number."""
    found: dict[tuple[str, str], dict[int, Path]] = {}
    for file in sorted(folder.iterdir()):
        numbered = re.fullmatch(r"(.*?)(\d+)", file.stem)
        if file.suffix.lower() not in IMAGE_SUFFIXES or file.name.startswith(".") or not numbered or not file.is_file():
            continue
        files = found.setdefault((numbered[1], file.suffix), {})
        number = int(numbered[2])
        twin = files.setdefault(number, file)
        if twin is not file:
            raise InputError(f"{folder}: frame {number} is there twice, {twin.name} and {file.name}; remove one")
    return found


def _grab(capture: cv2.VideoCapture) -> bool:
    """Go to the next frame that decodes; False at the end."""
    return any(capture.grab() for _ in range(GRAB_ATTEMPTS))
