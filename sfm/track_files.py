"""Tracks of another tracker: CSV with the header `frame,track,x,y[,depth]`, NPZ with arrays `frame track xy [depth]`.

Frames are plate numbers, tracks any whole numbers. x and y are px of the full-resolution plate, y down, the top-left
*corner* (0, 0), the first pixel's centre (0.5, 0.5). depth is along the camera's z axis in any unit; empty, NaN, zero,
negative or infinite is unknown.
"""

import csv
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sfm.errors import InputError, UsageError, reason
from sfm.files import replacing
from sfm.scene import Tracks

logger = logging.getLogger(__name__)

COLUMNS = ("frame", "track", "x", "y")


def read_tracks(path: str | Path) -> tuple[Tracks, np.ndarray, np.ndarray | None]:
    """Tracks, the plate number of each of their frames (frames,), and the depth of each observation or None.

    Frame i of the tracks is the i-th plate number that occurs; `align_tracks` puts them on a clip. Tracks are numbered
    in the order of the file's numbers. Raises `InputError` when the file is missing or not such a file.
    """
    return read_numbered_tracks(path)[:3]


def read_numbered_tracks(path: str | Path) -> tuple[Tracks, np.ndarray, np.ndarray | None, np.ndarray]:
    """`read_tracks`, and the number that each track has in the file, (tracks,)."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".npz"):
        raise InputError(f"{path}: tracks are read from .csv and .npz")
    try:
        frame, track, xy, depth = (_read_csv if path.suffix.lower() == ".csv" else _read_npz)(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, csv.Error) as error:
        raise InputError(f"{path}: not a file of tracks ({reason(error)})") from error
    _check(path, frame, track, xy)
    order = np.lexsort((frame, track))
    frame_numbers, frame = np.unique(frame[order].astype(np.int64), return_inverse=True)
    numbers, track = np.unique(track[order].astype(np.int64), return_inverse=True)
    twice = np.flatnonzero((np.diff(frame) == 0) & (np.diff(track) == 0))
    if len(twice):
        at = twice[0]
        raise InputError(f"{path}: track {numbers[track[at]]} is seen twice in frame {frame_numbers[frame[at]]}")
    if depth is not None:
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)[order]
    return Tracks(frame, track, xy[order], len(frame_numbers), len(numbers)), frame_numbers, depth, numbers


def write_tracks(
    path: str | Path, tracks: Tracks, frame_numbers: np.ndarray | None = None, depth: np.ndarray | None = None
) -> None:
    """Write what `read_tracks` reads, by the suffix of path; frame_numbers (frames,): plate numbers, None: from 1.

    Raises `UsageError` for another suffix, `InputError` when the place cannot be written.
    """
    path = Path(path)
    numbers = np.arange(1, tracks.num_frames + 1) if frame_numbers is None else np.asarray(frame_numbers)
    if len(numbers) != tracks.num_frames:
        raise ValueError(f"frame_numbers: got {len(numbers)}, expected {tracks.num_frames}")
    columns = {"frame": numbers[tracks.frame], "track": tracks.track, "xy": tracks.xy}
    if depth is not None:
        columns["depth"] = np.asarray(depth, dtype=float)
    if path.suffix.lower() not in (".csv", ".npz"):
        raise UsageError(f"{path}: tracks are written as .csv or .npz")
    with replacing(path) as temporary, open(temporary, "wb") as file:
        (_write_csv if path.suffix.lower() == ".csv" else np.savez_compressed)(file, **columns)


def align_tracks(tracks: Tracks, frame_numbers: np.ndarray, plate_numbers: np.ndarray) -> tuple[Tracks, np.ndarray]:
    """The tracks on the frames of a clip, and which observations these are, (observations,) bool.

    plate_numbers (frames of the clip,), rising. Observations in frames the clip does not have are left out, with a
    warning. Raises `InputError` when none is left.
    """
    frame_numbers, plate_numbers = np.asarray(frame_numbers), np.asarray(plate_numbers)
    number = frame_numbers[tracks.frame]
    keep = np.isin(number, plate_numbers)
    if not keep.any():
        raise InputError(
            f"the tracks are of frames {frame_numbers.min()}-{frame_numbers.max()}, the clip has "
            f"{plate_numbers.min()}-{plate_numbers.max()}: no frame in common"
        )
    if not keep.all():
        logger.warning(f"{np.count_nonzero(~keep)} of {len(keep)} observations are in frames the clip does not have")
    frame = np.searchsorted(plate_numbers, number[keep])
    return (
        replace(tracks.select(keep), frame=frame, num_frames=len(plate_numbers)),
        keep,
    )


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    with open(path, encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets put a mark before the header
        header = [name.strip().lower() for name in next(csv.reader(file), [])]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise ValueError(f"no column {missing[0]}; its first line must be frame,track,x,y or frame,track,x,y,depth")
        names = [*COLUMNS, "depth"] if "depth" in header else list(COLUMNS)
        at = [header.index(name) for name in names]
        empty_is_nan: Any = {at[-1]: lambda text: float(text.strip() or "nan")} if "depth" in names else None
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # no line at all: `_check` says so
            rows = np.loadtxt(file, delimiter=",", usecols=at, ndmin=2, converters=empty_is_nan)
    return rows[:, 0], rows[:, 1], rows[:, 2:4], rows[:, 4] if "depth" in names else None


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        frame, track, xy = (np.asarray(arrays[name], dtype=float) for name in ("frame", "track", "xy"))
        depth = np.asarray(arrays["depth"], dtype=float) if "depth" in arrays else None
    if frame.ndim != 1 or track.shape != frame.shape or xy.shape != (len(frame), 2):
        raise ValueError(f"frame {frame.shape}, track {track.shape}, xy {xy.shape}; expected (n,), (n,), (n, 2)")
    if depth is not None and depth.shape != frame.shape:
        raise ValueError(f"depth {depth.shape}; expected {frame.shape}")
    return frame, track, xy, depth


def _check(path: Path, frame: np.ndarray, track: np.ndarray, xy: np.ndarray) -> None:
    if not len(frame):
        raise InputError(f"{path}: holds no observation")
    for name, values, wrong, expected in (
        ("frame", frame, ~_is_whole(frame), "whole numbers"),
        ("track", track, ~_is_whole(track), "whole numbers"),
        ("x, y", xy, ~np.isfinite(xy).all(axis=1), "finite numbers; leave out the frames where a track is not seen"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{path}: {name} {values[row]} in observation {row + 1}; expected {expected}")


def _is_whole(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < 2**53)


def _write_csv(file, frame: np.ndarray, track: np.ndarray, xy: np.ndarray, depth: np.ndarray | None = None) -> None:
    columns = [frame, track, xy] if depth is None else [frame, track, xy, depth]
    header = ",".join(COLUMNS if depth is None else (*COLUMNS, "depth"))
    formats = ["%d", "%d", "%.6f", "%.6f"] + ["%.9g"] * (depth is not None)
    np.savetxt(file, np.column_stack(columns), fmt=formats, delimiter=",", header=header, comments="")
