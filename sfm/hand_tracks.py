"""Tracks that a person made, beside the tracker's: as `track_files` reads them, from 3DEqualizer, or from Nuke.

3DE's text export (`.txt`): number of points; then for each its name, its colour, how many frames, and as many lines
`frame x y`. Nuke's Tracker4 (`.nk`, or nodes pasted into a file): the curves track_x and track_y of every track, their
keys and no interpolation. Both count y upwards from the plate's bottom, in px of the plate, from its corner.
"""

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sfm.errors import InputError
from sfm.scene import Tracks
from sfm.track_files import align_tracks, read_numbered_tracks
from sfm.video import Shot

SIGMA_PX = 0.3

logger = logging.getLogger(__name__)

_NUKE_ROW = re.compile(r'"([^"\n]*)"\s*\{\s*curve\s([^{}]*)\}\s*\{\s*curve\s([^{}]*)\}')


@dataclass(frozen=True, slots=True, eq=False)
class HandTracks:
    """Tracks on the frames of a clip, and their names (tracks,)."""

    tracks: Tracks
    names: tuple[str, ...]


def read_hand_tracks(path: str | Path, shot: Shot, sigma_px: float = SIGMA_PX) -> HandTracks:
    """Tracks of a `.csv`, `.npz`, `.txt` or `.nk` file on a clip; sigma_px: standard deviation of their coordinates.

    Frames of 3DE and Nuke that are no plate numbers but may count from the clip's first, from 1, are taken to. Raises
    `InputError` when the file is not such a file or of other frames.
    """
    path = Path(path)
    readers = {".txt": _read_3de, ".nk": _read_nuke}
    if path.suffix.lower() in readers:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        names, frame, track, xy = readers[path.suffix.lower()](path, text)
        frame_numbers, frame = np.unique(_plate_numbers(frame, shot), return_inverse=True)
        flipped = np.column_stack([xy[:, 0], shot.height - xy[:, 1]])
        tracks = Tracks(frame, track, flipped, len(frame_numbers), len(names))
    else:
        tracks, frame_numbers, _, numbers = read_numbered_tracks(path)
        names = [str(number) for number in numbers]
    tracks, _ = align_tracks(tracks, frame_numbers, shot.frame_numbers)
    return HandTracks(replace(tracks, sigma_px=np.full(tracks.num_tracks, sigma_px)), tuple(names))


def beside(tracks: Tracks, hand: Tracks) -> Tracks:
    """Tracks of the tracker, then those made by hand, on the same frames."""
    count = tracks.num_tracks
    whitening, sigma = tracks.whitening, tracks.sigma_px
    if len(whitening):
        whitening = np.concatenate([whitening, np.broadcast_to(np.eye(2), (hand.num_tracks, 2, 2))])
    return Tracks(
        np.r_[tracks.frame, hand.frame], np.r_[tracks.track, count + hand.track], np.r_[tracks.xy, hand.xy],
        tracks.num_frames, count + hand.num_tracks, np.concatenate([tracks.colors, hand.colors]), whitening,
        np.r_[sigma if len(sigma) else np.full(count, np.nan), hand.sigma_px],
    )  # fmt: skip


def _plate_numbers(frame: np.ndarray, shot: Shot) -> np.ndarray:
    numbers = shot.frame_numbers
    if not np.isin(frame, numbers).any() and frame.min() >= 1 and frame.max() <= numbers[-1] - numbers[0] + 1:
        logger.warning(f"frames {frame.min()}-{frame.max()} are taken to count from the clip's first, {numbers[0]}")
        return frame + int(numbers[0]) - 1
    return frame


def _read_3de(path: Path, text: str) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Names, and frame, track and xy of every sighting."""
    lines = text.splitlines()
    place, names, rows = 0, [], []

    def wanted(what: str, words: int) -> list[str]:
        nonlocal place
        place += 1
        line = lines[place - 1].split() if place <= len(lines) else []
        if len(line) != words:
            raise InputError(f"{path}, line {place}: expected {what}, as 3DEqualizer exports 2D tracks")
        return line

    def whole(what: str) -> int:
        (word,) = wanted(what, 1)
        if not word.lstrip("-").isdecimal():
            raise InputError(f"{path}, line {place}: {word}, expected {what}")
        return int(word)

    for _ in range(whole("the number of points")):
        place += 1
        names.append(lines[place - 1].strip() if place <= len(lines) else "")
        whole("a colour")
        for _ in range(whole("the number of frames")):
            row = wanted("frame x y", 3)
            try:
                rows.append((int(row[0]), len(names) - 1, float(row[1]), float(row[2])))
            except ValueError as error:
                raise InputError(f"{path}, line {place}: {error}; expected frame x y") from error
    if any(line.strip() for line in lines[place:]):
        raise InputError(f"{path}, line {place + 1}: more than the points announced")
    return names, *_columns(path, rows)


def _read_nuke(path: Path, text: str) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """As `_read_3de`, of all Tracker4 nodes."""
    names, rows = [], []
    for name, of_x, of_y in _NUKE_ROW.findall(text):
        x, y = _keys(of_x), _keys(of_y)
        rows += [(frame, len(names), x[frame], y[frame]) for frame in sorted(x.keys() & y.keys())]
        names.append(name)
    if not names or "Tracker4" not in text:
        raise InputError(f"{path}: holds no Tracker4 node with tracks")
    return names, *_columns(path, rows)


def _keys(curve: str) -> dict[int, float]:
    """Values by frame of a curve's script: `x1001 2.5 2.6 x1005 3` has frames 1001, 1002 and 1005; slopes and
    interpolations of keys are passed over."""
    found, frame = {}, 1
    for word in curve.split():
        if re.fullmatch(r"x-?\d+(\.0*)?", word):
            frame = int(float(word[1:]))
        elif re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", word):
            found[frame] = float(word)
            frame += 1
    return found


def _columns(path: Path, rows: list[tuple[int, int, float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not rows:
        raise InputError(f"{path}: holds no sighting")
    table = np.array(rows, dtype=float)
    if not np.isfinite(table).all():
        raise InputError(f"{path}: x, y: expected finite numbers")
    if len(np.unique(table[:, :2], axis=0)) < len(table):
        raise InputError(f"{path}: a track is seen twice in a frame")
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:]
