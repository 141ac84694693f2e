"""Frames of a movie file or an image sequence, streamed in order; the plate's frame numbers kept.

Sequences are numbered by their file names (film's 1001), movies from 1. A movie's frames are told apart by their time
stamps, not by counting: a decoder that drops a damaged frame does not shift the rest. The decoder may also hand out a
damaged frame without a word; nothing here can tell.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import fileseq
import numpy as np

from sfm.errors import InputError
from sfm.files import fingerprint
from sfm.footage import DEFAULT_FPS, MOVIE_SUFFIXES, Footage, Pictures, frame_ranges, open_footage
from sfm.geometry.transform import frozen_array

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """What identifies the frames of a shot.

    name: stem of the clip; frame_numbers (frames,) int: plate numbers, rising; frame_names: the file names, for movies
    `<clip stem>.<number>.png`; width, height px; fps; source: the movie, or the sequence as a pattern `open_video`
    reads; missing: plate numbers asked for that the sequence does not have.
    """

    name: str
    frame_numbers: np.ndarray
    frame_names: tuple[str, ...]
    width: int
    height: int
    fps: float
    source: str
    missing: tuple[int, ...] = ()

    def __post_init__(self):
        numbers = frozen_array("frame_numbers", self.frame_numbers, (None,), np.int64)
        if len(self.frame_names) != len(numbers):
            raise ValueError(f"frame_names: got {len(self.frame_names)}, expected {len(numbers)}")
        object.__setattr__(self, "frame_numbers", numbers)
        object.__setattr__(self, "frame_names", tuple(self.frame_names))
        object.__setattr__(self, "missing", tuple(self.missing))

    @property
    def is_movie(self) -> bool:
        """The frames come from one movie file, numbered from 1 by us, not from files that carry their numbers."""
        return Path(self.source).suffix.lower() in MOVIE_SUFFIXES

    def as_dict(self) -> dict:
        """Plain numbers, strings and lists, for JSON."""
        return asdict(self) | {
            "frame_numbers": self.frame_numbers.tolist(),
            "frame_names": list(self.frame_names),
            "missing": list(self.missing),
        }

    @classmethod
    def from_dict(cls, data: dict) -> "Shot":
        """Inverse of `as_dict`."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """Which frames of a clip make the shot."""

    frames: str | None = None  # plate numbers to keep: "1001-1072", "1001-", "-1072", "1001-1020,1040-1072"; None: all
    step: int = 1  # keep every step-th plate number from the first one
    fps: float | None = None  # frames per second; None: the movie's own, 24 for image sequences


class Video:
    """The frames of a shot; nothing is held in memory.

    Iterating yields `(index, rgb)` in order: rgb (height, width, 3) uint8, None where a frame cannot be decoded. Every
    iteration decodes from the start; the frames it could not decode are in `unreadable` (indices) and are logged once.
    """

    def __init__(self, shot: Shot, source: Footage):
        self.shot = shot
        self.unreadable: list[int] = []
        self._source = source
        self._reported: set[int] = set()  # plate numbers

    @classmethod
    def from_arrays(
        cls, frames: Sequence[np.ndarray | None], name: str = "frames", fps: float = DEFAULT_FPS
    ) -> "Video":
        """A video of pictures in memory, each (height, width, 3) uint8 RGB, numbered from 1.

        >>> video = Video.from_arrays([np.zeros((90, 160, 3), np.uint8)] * 3)
        >>> len(video), video.shot.width, video.shot.frame_names[0]
        (3, 160, 'frames.0001.png')
        """
        return _video(Pictures(name, fps, frames), VideoOptions())

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.shot.frame_numbers)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray | None]]:
        self.unreadable = []
        try:
            for index, rgb in enumerate(self._source.stream(self.shot.frame_numbers.tolist())):
                if rgb is None:
                    self.unreadable.append(index)
                yield index, self._checked(index, rgb)
        finally:
            self._report()

    def read(self, index: int) -> np.ndarray | None:
        """One frame (height, width, 3) uint8 RGB, None where it cannot be decoded. Slow on movies: iterate instead."""
        number = int(self.shot.frame_numbers[index])
        return self._checked(index, next(iter(self._source.stream([number]))))

    def file(self, index: int) -> Path | None:
        """The file a frame is in, None where it is in memory."""
        return self._source.file(int(self.shot.frame_numbers[index]))

    def only(self, indices: Sequence[int]) -> "Video":
        """The same shot with some of its frames, by rising index. Frames told of as unreadable are not told of again.

        >>> Video.from_arrays([np.zeros((90, 160, 3), np.uint8)] * 3).only([0, 2]).shot.frame_names
        ('frames.0001.png', 'frames.0003.png')
        """
        names = tuple(self.shot.frame_names[index] for index in indices)
        shot = replace(self.shot, frame_numbers=self.shot.frame_numbers[list(indices)], frame_names=names)
        part = Video(shot, self._source)
        part._reported = self._reported
        return part

    def fingerprints(self) -> list[str]:
        """What tells the picture of every frame from others: by the file it is in, and its number there."""
        known: dict[Path, str] = {}
        found = []
        for number in self.shot.frame_numbers.tolist():
            file = self._source.file(number)
            if file is None:
                picture = next(iter(self._source.stream([number])))
                found.append(hashlib.sha256(b"" if picture is None else picture.tobytes()).hexdigest())
                continue
            if file not in known:
                known[file] = fingerprint(file)
            found.append(f"{known[file]}:{number}")
        return found

    def _checked(self, index: int, rgb: np.ndarray | None) -> np.ndarray | None:
        shot = self.shot
        if rgb is not None and rgb.shape[:2] != (shot.height, shot.width):
            raise InputError(
                f"{shot.frame_names[index]}: {rgb.shape[1]} x {rgb.shape[0]} px, but the shot starts with "
                f"{shot.width} x {shot.height}; all frames of a shot must have the same size"
            )
        return rgb

    def _report(self) -> None:
        new = set(self.shot.frame_numbers[self.unreadable].tolist()) - self._reported
        if new:
            self._reported.update(new)
            which = frame_ranges(sorted(new))
            logger.warning(f"{self.shot.name}: {len(new)} of {len(self)} frames cannot be decoded, skipped: {which}")


def open_video(path: str | Path, options: VideoOptions = VideoOptions()) -> Video:
    """Open a movie file, a folder of numbered images, or a pattern of them.

    Patterns are those of film (`fileseq`): `shot.%04d.jpg`, `shot.####.exr`, `shot.@@@@.png`, `shot.1001-1072.jpg`,
    `shot.1001-1072#.jpg`. Of a folder that holds several sequences the longest is taken, with a warning. Movies are
    decoded to 8 bits, turned upright as their metadata says.

    Raises `InputError` when there is nothing to read at path, it is no movie or sequence, fewer than 2 frames are left,
    or the options ask for frames outside the clip; iterating raises it where frames differ in size.
    """
    if options.step < 1:
        raise InputError(f"step {options.step}: expected 1 or more")
    if options.fps is not None and not 0 < options.fps < 1e5:
        raise InputError(f"fps {options.fps}: expected a positive number of frames per second")
    return _video(open_footage(Path(path)), options)


def reopen(shot: Shot) -> Video:
    """The frames of a shot that was solved before. Raises `InputError` where they are gone, or others."""
    video = open_video(shot.source, VideoOptions(frame_ranges(shot.frame_numbers).replace(" ", ""), fps=shot.fps))
    now = video.shot
    if not np.array_equal(now.frame_numbers, shot.frame_numbers) or (now.width, now.height) != (
        shot.width,
        shot.height,
    ):
        raise InputError(f"{shot.source}: not the frames that were solved: some are gone, or of another size")
    return video


def to_gray(rgb: np.ndarray) -> np.ndarray:
    """Luma (height, width) uint8 of an RGB picture (height, width, 3) uint8."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def _video(source: Footage, options: VideoOptions) -> Video:
    numbers, missing = _select(source, options)
    if len(numbers) < 2:
        raise InputError(f"{source.label}: {('no', 'one')[len(numbers)]} frame; a shot needs at least 2")
    first = next((rgb for rgb in source.stream(numbers) if rgb is not None), None)
    if first is None:
        raise InputError(f"{source.label}: none of its {len(numbers)} frames can be decoded")
    if missing:
        logger.warning(f"{source.name}: {len(missing)} plate numbers have no frame: {frame_ranges(missing)}")
    height, width = first.shape[:2]
    names = tuple(source.frame_name(number) for number in numbers)
    fps = options.fps or source.fps
    return Video(Shot(source.name, np.array(numbers), names, width, height, fps, source.label, tuple(missing)), source)


def _select(source: Footage, options: VideoOptions) -> tuple[list[int], list[int]]:
    """Plate numbers to read, and those asked for that are not there."""
    first, last = min(source.expected, default=0), max(source.expected, default=0)
    asked = set(source.expected)
    if options.frames is not None:
        text = options.frames.strip()
        text = f"{first}{text}" if text.startswith("-") else f"{text}{last}" if text.endswith("-") else text
        if any(int(low) > int(high) for low, high in re.findall(r"(\d+)-(\d+)", text)):
            raise InputError(f"frames {options.frames}: runs backwards; expected plate numbers such as 1001-1072")
        try:
            asked = {int(frame) for frame in fileseq.FrameSet(text)}
        except (fileseq.FileSeqException, ValueError) as error:
            raise InputError(f"frames {options.frames!r}: expected plate numbers such as 1001-1072") from error
        if not asked or min(asked) < first or max(asked) > last:
            raise InputError(f"frames {options.frames}: outside {source.name}, which has {first}-{last}")
    wanted = [number for number in sorted(asked) if (number - min(asked)) % options.step == 0]
    there = set(source.numbers)
    return [n for n in wanted if n in there], [n for n in wanted if n not in there]
