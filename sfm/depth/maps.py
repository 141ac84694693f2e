"""Depth maps somebody else made: a folder with one file per frame."""

import json
import logging
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfm.depth.model import DEPTH_KINDS, DepthKind
from sfm.errors import InputError
from sfm.images import read_exr, read_raw
from sfm.video import Shot, Video, frame_ranges

# what is known of a folder of maps that sfm made
ABOUT = "depth.json"
NETWORK_SUFFIXES = (".onnx", ".tflite", ".pt", ".pth")  # files of networks, which others read
# of a folder that holds several formats the one with most frames counts, among equals the first here
MAP_SUFFIXES = (".npy", ".npz", ".exr", ".pfm", ".tif", ".tiff", ".png")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MapFolder:
    """Precomputed maps: `.npy .npz .exr .pfm .tif .png` (16 bit), one per frame, any resolution.

    A map belongs to the frame whose file it is called after (`shot.1001.npy` to `shot.1001.jpg`); where no name fits,
    the last number in its name is the plate number. Maps of a movie may count from 0 or 1 whatever its first frame is.
    Zero, negative, NaN, infinite and Blender's 1e10 are unknown. What the maps hold is said by `told_kind`, else by the
    `depth.json` that `sfm depth` leaves with them, else they are depth in an unknown unit. Whole numbers that are said
    to be metric count millimetres, as depth cameras write them.
    """

    folder: str | Path
    told_kind: DepthKind | None = None

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def kind(self) -> DepthKind:
        """What the maps hold."""
        return self.told_kind or self.about().get("kind", "depth")

    @property
    def sigma(self) -> float:
        """Relative standard deviation expected: of the network that made them, 0.3 where nobody says."""
        return float(self.about().get("sigma", 0.3))

    @property
    def field_of_view_deg(self) -> float:
        """Horizontal field of view the network saw, NaN where it said nothing."""
        return float(self.about().get("field_of_view_deg") or "nan")

    def about(self) -> dict[str, Any]:
        """What `sfm depth` wrote about the maps; empty for maps of somebody else."""
        try:
            about = json.loads((Path(self.folder) / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not _is_description(about):
            raise InputError(f"{Path(self.folder) / ABOUT}: not written by sfm depth; remove it, or say --depth-kind")
        return about

    def maps(self, video: Video) -> Iterator[np.ndarray | None]:
        """One map per frame, None where there is none; the pictures themselves are not read.

        Raises `InputError` when called if the folder has no map for any frame, and while iterating if a file is not a
        depth map. Frames without a map, or with one that cannot be read, are logged.
        """
        files = _match(Path(self.folder), video.shot)
        missing = [number for number, file in zip(video.shot.frame_numbers, files, strict=True) if file is None]
        if missing:
            logger.warning(
                f"{self.folder}: no depth map for {len(missing)} of {len(files)} frames: {frame_ranges(missing)}"
            )
        return self._read(files, video.shot)

    def _read(self, files: list[Path | None], shot: Shot) -> Iterator[np.ndarray | None]:
        damaged, metric = [], self.kind == "metric"
        for number, file in zip(shot.frame_numbers, files, strict=True):
            depth_map = None if file is None else read_map(file)
            if file is not None and depth_map is None:
                damaged.append(number)
            if depth_map is not None and metric and depth_map.dtype.kind in "iu":
                depth_map = depth_map / 1000
            yield depth_map
        there = sum(file is not None for file in files)
        if len(damaged) == there:
            raise InputError(f"{self.folder}: none of its {there} depth maps can be read")
        if damaged:
            told = f"{len(damaged)} of {there} depth maps cannot be read, skipped: {frame_ranges(damaged)}"
            logger.warning(f"{self.folder}: {told}")


def _is_description(about: Any) -> bool:
    """Whether JSON says of maps what it may say, in words and numbers."""
    if not isinstance(about, dict) or about.get("kind", "depth") not in DEPTH_KINDS:
        return False
    return all(isinstance(about.get(key), int | float | None) for key in ("sigma", "field_of_view_deg"))


def holds_maps_of(folder: Path, shot: Shot | None) -> bool:
    """Whether a folder has a map for a frame of the shot, by its names."""
    if shot is None or not folder.is_dir():
        return False
    try:
        return any(_match(folder, shot))
    except InputError:
        return False


def read_map(path: Path) -> np.ndarray | None:
    """One depth map (height, width) as stored; None when the file cannot be read.

    Of an `.npz` the array `depth` or the only one; of an `.exr` the first channel Z, V, Y or R there is, with or
    without layer. Raises `InputError` when it holds anything but one number per pixel.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif suffix == ".npz":
            # opened here: of a damaged archive NumPy leaves the file open
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                values = arrays[_array_name(path, arrays.files)]
        elif suffix == ".exr":
            values = _exr_depth(path, read_exr(path, outside=np.nan))
        else:
            values = read_raw(path)
    except (OSError, ValueError, EOFError, KeyError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None
    return None if values is None else _single_channel(path, values)


def _match(folder: Path, shot: Shot) -> list[Path | None]:
    """The map file of every frame."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of depth maps")
    files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in MAP_SUFFIXES and not f.name.startswith(".")]
    if (folder / ABOUT).is_file():  # then pictures of the maps stand beside them
        files = [f for f in files if not f.name.startswith("preview_")]
    matches = [_match_format([f for f in files if f.suffix.lower() == suffix], shot) for suffix in MAP_SUFFIXES]
    best = max(matches, key=lambda match: sum(file is not None for file in match))
    if any(best):
        return best
    if not files:
        networks = [f.name for f in sorted(folder.iterdir()) if f.suffix.lower() in NETWORK_SUFFIXES]
        meant = f"; for the network in it give {folder / networks[0]}" if networks else ""
        raise InputError(f"{folder}: no depth maps in it (read are {' '.join(MAP_SUFFIXES)}){meant}")
    raise InputError(
        f"{folder}: none of its {len(files)} depth maps ({files[0].name} ...) is named after a frame of the shot "
        f"({shot.frame_names[0]} ...)"
    )


def _match_format(files: list[Path], shot: Shot) -> list[Path | None]:
    by_stem = {file.stem: file for file in files}
    matched = [by_stem.get(Path(name).stem) for name in shot.frame_names]
    if any(matched):
        return matched
    by_number: dict[int, Path] = {}
    for file in files:
        for digits in re.findall(r"\d+", file.stem)[-1:]:
            twin = by_number.setdefault(int(digits), file)
            if twin is not file and int(digits) in shot.frame_numbers:
                raise InputError(f"{file}: a second depth map for frame {int(digits)}, beside {twin.name}; remove one")
    first, begin = 0, shot.first_frame
    if shot.is_movie and by_number and (0 in by_number or not any(int(n) in by_number for n in shot.frame_numbers)):
        start = min(by_number)
        first = begin - start if start in (0, 1) else 0
        if first:
            folder = by_number[start].parent
            logger.warning(
                f"{folder}: maps count from {start}, the movie from {begin}: map {start} is taken for frame {begin}"
            )
    found = [by_number.get(int(number) - first) for number in shot.frame_numbers]
    if any(found) and shot.is_movie and len(files) != len(shot.frame_numbers):
        logger.warning(
            f"{files[0].parent}: {len(files)} depth maps ({files[0].name} ...) for {len(found)} frames, told apart by"
            " number alone: are they of this clip?"
        )
    return found


def _array_name(path: Path, names: list[str]) -> str:
    if "depth" in names:
        return "depth"
    if len(names) != 1:
        raise InputError(f"{path}: holds arrays {', '.join(names) or '(none)'}; expected one, or one called depth")
    return names[0]


def _exr_depth(path: Path, channels: dict[str, np.ndarray] | None) -> np.ndarray | None:
    if channels is None:
        return None
    for wanted in ("Z", "V", "Y", "R"):
        for name in sorted(channels, key=len):
            if name == wanted or name.endswith(f".{wanted}"):
                if wanted != "R":
                    return channels[name]
                layer = [channels[name[:-1] + c] for c in "RGB" if name[:-1] + c in channels]
                return np.stack(layer, axis=-1)
    if len(channels) == 1:
        return next(iter(channels.values()))
    raise InputError(f"{path}: no depth in this EXR (channels {', '.join(channels)}); expected Z, V, Y or R")


def _single_channel(path: Path, values: np.ndarray) -> np.ndarray:
    """The map itself, checked: two axes (others of length one dropped), equal channels, more than 8 bits."""
    if values.dtype.kind not in "fiu":
        raise InputError(f"{path}: values of type {values.dtype}; expected numbers")
    if values.dtype.itemsize == 1:
        raise InputError(f"{path}: 8-bit values, a picture rather than a depth map; expected 16-bit or float")
    if values.ndim == 3 and values.shape[-1] in (2, 3, 4):
        if not np.array_equal(values, np.broadcast_to(values[..., :1], values.shape), equal_nan=True):
            raise InputError(f"{path}: {values.shape[-1]} channels that differ, a picture rather than a depth map")
        values = values[..., 0]
    squeezed = values.squeeze() if values.ndim > 2 else values
    if squeezed.ndim != 2 or not squeezed.size:
        raise InputError(f"{path}: shape {values.shape}; expected (height, width)")
    return squeezed
