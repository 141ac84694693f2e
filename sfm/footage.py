"""Where frames come from: numbered image files, one movie file, or pictures in memory. Plate numbers are the keys.

Image files carry their numbers (film's 1001), a movie's frames count from 1 or from what is told.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import fileseq
import numpy as np

from sfm.errors import InputError, UsageError
from sfm.images import IMAGE_SUFFIXES, Header, read_header, read_plate
from sfm.movies import DEFAULT_FPS, MOVIE_SUFFIXES, open_movie

logger = logging.getLogger(__name__)


class Footage(Protocol):
    """Frames by plate number.

    name: stem of the clip; label: what to call it in messages, a path or pattern that opens it again; numbers: plate
    numbers of the frames there are, rising; expected: the same with the gaps; first_frame: of a movie the number of its
    first frame, else 1; fps.
    """

    name: str
    label: str
    numbers: list[int]
    expected: list[int]
    first_frame: int
    fps: float

    def frame_name(self, number: int) -> str:
        """The frame's file name; for a movie the name its frame would have as a file."""
        ...

    def file(self, number: int) -> Path | None:
        """The file the frame is in; None where it is in memory."""
        ...

    def header_of(self, number: int) -> Header:
        """What the frame's file says of it."""
        ...

    def stream(self, numbers: Sequence[int]) -> Iterator[np.ndarray | None]:
        """Decode the plates with these rising numbers in order, as `read_plate` does; None where that cannot be."""
        ...


class ImageSequence:
    """Numbered image files of a folder."""

    first_frame = 1

    def __init__(self, folder: Path, base: str, suffix: str, files: dict[int, Path], asked: Sequence[int] = ()):
        self.name = base.rstrip("._- ") or folder.resolve().name
        self.numbers = sorted(files)
        self.expected = list(asked) or list(range(self.numbers[0], self.numbers[-1] + 1))
        self.label = str(folder / f"{base}{fileseq.framesToFrameRange(self.expected)}#{suffix}")
        self._files = files
        self.fps = self.header_of(self.numbers[0]).fps or DEFAULT_FPS

    def frame_name(self, number: int) -> str:
        """The file's own name."""
        return self._files[number].name

    def file(self, number: int) -> Path:
        """The frame's own."""
        return self._files[number]

    def header_of(self, number: int) -> Header:
        """What the file says."""
        return read_header(self._files[number])

    def stream(self, numbers: Sequence[int]) -> Iterator[np.ndarray | None]:
        """Read file after file."""
        return (read_plate(self._files[number]) for number in numbers)


class Pictures:
    """Pictures in memory, numbered from 1."""

    first_frame = 1

    def __init__(self, name: str, fps: float, frames: Sequence[np.ndarray | None]):
        self.name, self.label, self.fps = name, name, fps
        self.numbers = self.expected = list(range(1, len(frames) + 1))
        self._frames = frames

    def frame_name(self, number: int) -> str:
        """`<name>.<4 digits>.png`."""
        return f"{self.name}.{number:04d}.png"

    def file(self, number: int) -> None:
        """None of them is in one."""

    def header_of(self, number: int) -> Header:
        """Nothing."""
        return Header()

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


def plate_numbers(names: Sequence[str]) -> np.ndarray:
    """The numbers that the names of frames end with, (frames,), where these rise; else counted from 1."""
    numbers = [plate_number(name) for name in names]
    rising = all(a < b for a, b in zip([-1, *numbers], numbers, strict=False))
    return np.array(numbers) if rising else np.arange(1, len(names) + 1)


def plate_number(name: str) -> int:
    """The number that the name of a frame ends with, -1 without any; of 19 digits and more it is none."""
    digits = re.findall(r"\d+", Path(name).stem)[-1:]
    return int(digits[0]) if digits and len(digits[0]) < 19 else -1


def open_footage(path: Path, first_frame: int | str | None = None) -> Footage:
    """Find out what is at path: a movie, a folder of images, a pattern. Raises `InputError` when none of them.

    first_frame: as for `open_movie`; `UsageError` where images carry their numbers.
    """
    if path.is_file() and path.suffix.lower() in MOVIE_SUFFIXES:
        return open_movie(path, first_frame)
    sequence = _sequence(path)
    if first_frame is not None:
        raise UsageError(
            f"--first-frame {first_frame}: for movies; these plates carry their numbers, from {sequence.numbers[0]} on"
        )
    return sequence


def _sequence(path: Path) -> ImageSequence:
    suffix = path.suffix.lower()
    if path.is_dir():
        return _sequence_in_folder(path)
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
