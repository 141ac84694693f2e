"""Frames of a movie file or an image sequence, streamed in order; the plate's frame numbers kept.

Sequences are numbered by their file names (film's 1001), movies from 1 or from what is told. What is tracked is a
picture of 8 bits of the plate (`sfm.tone`).
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

from sfm.errors import InputError, UsageError
from sfm.files import fingerprint
from sfm.footage import Footage, Pictures, frame_ranges, open_footage
from sfm.geometry.transform import frozen_array
from sfm.images import Header
from sfm.movies import DEFAULT_FPS, MOVIE_SUFFIXES
from sfm.tone import Tone, find_tone

MEASURED = 9  # frames of a shot that its tone curve is measured on

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """What identifies the frames of a shot.

    name: stem of the clip; frame_numbers (frames,) int: plate numbers, rising; frame_names: the file names, for movies
    `<clip stem>.<number>.png`; width, height px; fps; source: the movie, or the sequence as a pattern `open_video`
    reads; missing: plate numbers asked for that the sequence does not have; first_frame: number of a movie's first
    frame, which may come before the shot's; pixel_aspect: width over height of what a stored pixel shows, None where
    the file does not say; timecode: HH:MM:SS:FF of the shot's first frame, empty where the file does not say; tone: how
    plates became pictures, None where nobody noted it.
    """

    name: str
    frame_numbers: np.ndarray
    frame_names: tuple[str, ...]
    width: int
    height: int
    fps: float
    source: str
    missing: tuple[int, ...] = ()
    first_frame: int = 1
    pixel_aspect: float | None = None
    timecode: str = ""
    tone: Tone | None = None

    def __post_init__(self):
        numbers = frozen_array("frame_numbers", self.frame_numbers, (None,), np.int64)
        if len(self.frame_names) != len(numbers):
            raise ValueError(f"frame_names: got {len(self.frame_names)}, expected {len(numbers)}")
        object.__setattr__(self, "frame_numbers", numbers)
        object.__setattr__(self, "frame_names", tuple(self.frame_names))
        object.__setattr__(self, "missing", tuple(self.missing))

    @property
    def is_movie(self) -> bool:
        """The frames come from one movie file, numbered by us, not from files that carry their numbers."""
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
        """Inverse of `as_dict`; older results lack some."""
        tone = data.get("tone")
        return cls(**{**data, "tone": None if tone is None else Tone(**tone)})


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """Which frames of a clip make the shot."""

    frames: str | None = None  # plate numbers to keep: "1001-1072", "1001-", "-1072", "1001-1020,1040-1072"; None: all
    step: int = 1  # keep every step-th plate number from the first one
    fps: float | None = None  # frames per second; None: the file's own, 24 where it says none
    first_frame: int | str | None = None  # of a movie, "timecode": what that stands for; None: 1
    colorspace: str | None = None  # of the plates, see `sfm.tone.find_tone`; None: by format and header
    ocio: str | None = None  # configuration that has it; None: $OCIO, else ACES studio's
    tone: Tone | None = None  # measured before: takes the place of both


class Video:
    """The frames of a shot; nothing is held in memory.

    Iterating yields `(index, rgb)` in order: rgb (height, width, 3) uint8, None where a frame cannot be decoded. Every
    iteration decodes from the start; the frames it could not decode are in `unreadable` (indices) and are logged once.
    """

    def __init__(self, shot: Shot, source: Footage):
        self.shot = shot
        self.tone = shot.tone or Tone()
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
        return video_of(Pictures(name, fps, frames), VideoOptions(tone=Tone(why="pictures in memory")))

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.shot.frame_numbers)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray | None]]:
        return ((index, None if plate is None else self.tone.picture(plate)) for index, plate in self.plates())

    def plates(self) -> Iterator[tuple[int, np.ndarray | None]]:
        """As iterating, but the plates themselves, of the type that they are stored in (`sfm.images.read_plate`)."""
        self.unreadable = []
        try:
            for index, plate in enumerate(self._source.stream(self.shot.frame_numbers.tolist())):
                if plate is None:
                    self.unreadable.append(index)
                yield index, self._checked(index, plate)
        finally:
            self._report()

    def read(self, index: int) -> np.ndarray | None:
        """One frame (height, width, 3) uint8 RGB, None where it cannot be decoded. Slow on movies: iterate instead."""
        number = int(self.shot.frame_numbers[index])
        plate = self._checked(index, next(iter(self._source.stream([number]))))
        return None if plate is None else self.tone.picture(plate)

    def header(self, index: int) -> Header:
        """What the file of a frame says of it."""
        return self._source.header_of(int(self.shot.frame_numbers[index]))

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
        found, shown = [], "" if self.tone.as_is else f":{self.tone}"
        for number in self.shot.frame_numbers.tolist():
            file = self._source.file(number)
            if file is None:
                picture = next(iter(self._source.stream([number])))
                found.append(hashlib.sha256(b"" if picture is None else picture.tobytes()).hexdigest())
                continue
            if file not in known:
                known[file] = fingerprint(file)
            found.append(f"{known[file]}:{number - self._source.first_frame + 1}{shown}")
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
    turned upright as their metadata says; of more than 8 bits they need PyAV to keep them.

    Raises `InputError` when there is nothing to read at path, it is no movie or sequence, fewer than 2 frames are left,
    or the options ask for frames outside the clip; iterating raises it where frames differ in size.
    """
    return video_of(open_footage(Path(path), options.first_frame), options)


def reopen(shot: Shot) -> Video:
    """The frames of a shot that was solved before. Raises `InputError` where they are gone, or others."""
    frames = frame_ranges(shot.frame_numbers).replace(" ", "")
    first = shot.first_frame if shot.is_movie else None
    video = open_video(shot.source, VideoOptions(frames, fps=shot.fps, first_frame=first, tone=shot.tone))
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


def video_of(source: Footage, options: VideoOptions) -> Video:
    """The frames of footage that is open; raises as `open_video` does."""
    _check(options)
    numbers, missing = _select(source, options)
    if len(numbers) < 2:
        raise InputError(f"{source.label}: {('no', 'one')[len(numbers)]} frame; a shot needs at least 2")
    first = next((plate for plate in source.stream(numbers) if plate is not None), None)
    if first is None:
        raise InputError(f"{source.label}: none of its {len(numbers)} frames can be decoded")
    if missing:
        logger.warning(f"{source.name}: {len(missing)} plate numbers have no frame: {frame_ranges(missing)}")
    height, width = first.shape[:2]
    names = tuple(source.frame_name(number) for number in numbers)
    said = source.header_of(numbers[0])
    shot = Shot(
        source.name, np.array(numbers), names, width, height, options.fps or source.fps, source.label, tuple(missing),
        source.first_frame, said.pixel_aspect, said.timecode, options.tone or _tone(source, numbers, said, options),
    )  # fmt: skip
    return Video(shot, source)


def _check(options: VideoOptions) -> None:
    if options.step < 1:
        raise InputError(f"step {options.step}: expected 1 or more")
    if options.fps is not None and not 0 < options.fps < 1e5:
        raise InputError(f"fps {options.fps}: expected a positive number of frames per second")


def _tone(source: Footage, numbers: list[int], said: Header, options: VideoOptions) -> Tone:
    """What the plates stand for, measured over the shot."""
    tone = find_tone(options.colorspace, options.ocio, Path(source.frame_name(numbers[0])).suffix.lower(), said)
    if not tone.as_is:
        some = [numbers[k] for k in np.linspace(0, len(numbers) - 1, min(MEASURED, len(numbers))).astype(int)]
        plates = (next(iter(source.stream([number]))) for number in some)
        tone = tone.measured(plate for plate in plates if plate is not None)
    logger.info(f"{source.name}: {tone.told()}")
    return tone


def _select(source: Footage, options: VideoOptions) -> tuple[list[int], list[int]]:
    """Plate numbers to read, and those asked for that are not there."""
    first, last = min(source.expected, default=0), max(source.expected, default=0)
    asked = set(source.expected)
    if options.frames is not None:
        text = options.frames.strip()
        text = f"{first}{text}" if text.startswith("-") else f"{text}{last}" if text.endswith("-") else text
        if any(int(low) > int(high) for low, high in re.findall(r"(\d+)-(\d+)", text)):
            raise UsageError(f"frames {options.frames}: runs backwards; expected plate numbers such as 1001-1072")
        try:
            asked = {int(frame) for frame in fileseq.FrameSet(text)}
        except (fileseq.FileSeqException, ValueError) as error:
            raise UsageError(f"frames {options.frames!r}: expected plate numbers such as 1001-1072") from error
        if not asked or min(asked) < first or max(asked) > last:
            raise InputError(f"frames {options.frames}: outside {source.name}, which has {first}-{last}"
                             f"{_counted_from(first, last, asked)}")  # fmt: skip
    wanted = [number for number in sorted(asked) if (number - min(asked)) % options.step == 0]
    there = set(source.numbers)
    return [n for n in wanted if n in there], [n for n in wanted if n not in there]


def _counted_from(first: int, last: int, asked: set[int]) -> str:
    """What frames that were counted from 1, as an editor's are, are called here; empty where that cannot be meant."""
    if not asked or min(asked) < 1 or max(asked) > last - first + 1:
        return ""
    return f"; counted from 1 these are {frame_ranges([number + first - 1 for number in asked])}"
