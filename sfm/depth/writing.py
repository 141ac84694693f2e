"""Maps of a depth model computed once and kept: a file per frame, and `depth.json`, which says what they are.

A map is a half-float `.npz` (array `depth`, and `about` as JSON) or `.exr` (channel Z, attribute `about`), single
precision where half would lose what the network saw. What is there already is kept, so that an interrupted run goes on.
"""

import json
import logging
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sfm.depth.maps import ABOUT, MapFolder, read_map
from sfm.depth.model import DepthModel, field_of_view_deg, one_per_frame
from sfm.errors import InputError, UsageError
from sfm.files import replacing
from sfm.images import exr_text, write_exr
from sfm.video import Video

MapFormat = Literal["npz", "exr"]
# maps that differ in any of these are not of one kind
IDENTITY = ("model", "revision", "kind", "settings", "clip", "format")
HALF_ERROR = 1e-3  # what half precision may cost: of the depth, of affine disparity of its range

logger = logging.getLogger(__name__)


def write_maps(
    model: DepthModel,
    video: Video,
    folder: str | Path,
    map_format: MapFormat = "npz",
    *,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> MapFolder:
    """Compute the maps that a folder lacks, one per frame, called after the frames, and return it as a depth model.

    A map is kept when it can be read, was made by the same model with the same settings, and its frame has not changed
    since. Each file appears whole or not at all. Frames that cannot be decoded get none.

    force: throw away what `write_maps` left in the folder before. progress: called with frames done and frames in all.
    Raises `UsageError` for a folder that holds anything else, or maps of another model without force; `InputError`
    where it cannot be written or the model gives no map at all.
    """
    folder = Path(folder)
    about = _about(model, video, map_format)
    _claim(folder, about, force)
    _write_json(folder, about)
    files = [folder / f"{Path(name).stem}.{map_format}" for name in video.shot.frame_names]
    labels = [about | {"frame": mark} for mark in video.fingerprints()]
    kept = [_kept(file, label) for file, label in zip(files, labels, strict=True)]
    angles = [found["field_of_view_deg"] for found in kept if found is not None]
    missing = [index for index, found in enumerate(kept) if found is None]
    tell = progress or (lambda done, count: None)
    tell(len(files) - len(missing), len(files))
    part = video.only(missing)
    for done, depth_map in enumerate(one_per_frame(model, part) if missing else (), start=1):
        if depth_map is not None:
            label = labels[missing[done - 1]] | {"field_of_view_deg": _angle(model)}
            _write(files[missing[done - 1]], _checked(model.name, depth_map), label)
            angles.append(label["field_of_view_deg"])
        tell(len(files) - len(missing) + done, len(files))
    if not angles:
        raise InputError(f"{model.name}: gave no depth map for any of the {len(files)} frames")
    told = [angle for angle in angles if angle is not None]
    _write_json(folder, about | {"field_of_view_deg": float(np.median(told)) if told else None})
    logger.info(f"{folder}: {len(files) - len(missing)} depth maps kept, {len(missing)} computed by {model.name}")
    return MapFolder(folder)


def about_map(file: Path) -> dict[str, Any] | None:
    """What `write_maps` noted in a map; None for a map of somebody else, and for a file that cannot be read."""
    try:
        if file.suffix.lower() == ".npz":
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                text = str(arrays["about"])
        else:
            text = exr_text(file, "about")
        about = json.loads(text)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ):
        return None
    return about if isinstance(about, dict) and about.keys() >= {*IDENTITY, "frame"} else None


def _about(model: DepthModel, video: Video, map_format: MapFormat) -> dict[str, Any]:
    from sfm import __version__

    about = {
        "model": model.name,
        "revision": getattr(model, "revision", ""),
        "kind": model.kind,
        "sigma": model.sigma,
        "field_of_view_deg": None,
        "settings": getattr(model, "settings", {}),
        "clip": video.shot.name,
        "format": map_format,
        "sfm": __version__,
    }
    return json.loads(json.dumps(about))  # as it is read back: lists for tuples


def _angle(model: DepthModel) -> float | None:
    angle = field_of_view_deg(model)
    return angle if math.isfinite(angle) else None


def _claim(folder: Path, about: dict[str, Any], force: bool) -> None:
    """Find out whether maps may be written to a folder; with force take out those of before."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; choose a folder for the depth maps")
    there = [f for f in sorted(folder.iterdir()) if f.name[0] != "." and f.suffix != ".tmp"] if folder.is_dir() else []
    if not there:
        return
    try:
        before = MapFolder(folder).about()
    except InputError as error:
        raise UsageError(str(error)) from error
    if not before.keys() >= set(IDENTITY):
        raise UsageError(f"{folder}: holds files that sfm depth did not write; choose another folder")
    maps = [file for file in there if file.suffix in (".npz", ".exr")]
    if foreign := [file.name for file in maps if about_map(file) is None and _readable(file)]:
        raise UsageError(f"{folder}: holds maps sfm did not write ({', '.join(foreign[:3])}); move them away first")
    other = [key for key in IDENTITY if before[key] != about[key]]
    if other and not force:
        raise UsageError(
            f"{folder}: holds maps of {before['clip']} by {before['model']}, of another {' and '.join(other)}; "
            "--force replaces them"
        )
    if force:
        for file in [*maps, *folder.glob("preview_*.png"), *folder.glob("preview.mp4")]:
            file.unlink()


def _readable(file: Path) -> bool:
    try:
        return read_map(file) is not None
    except InputError:
        return True  # numbers, though no map


def _kept(file: Path, label: dict[str, Any]) -> dict[str, Any] | None:
    """What is noted in a map that need not be computed again; None for one that must."""
    found = about_map(file) if file.is_file() else None
    if found is None or any(found[key] != label[key] for key in (*IDENTITY, "frame")) or not _readable(file):
        return None
    return found


def _checked(name: str, depth_map: np.ndarray) -> np.ndarray:
    depth_map = np.asarray(depth_map)
    if depth_map.ndim != 2 or not depth_map.size or depth_map.dtype.kind not in "fiu":
        raise InputError(f"{name}: gave {depth_map.dtype} of shape {depth_map.shape}; expected (height, width) numbers")
    return depth_map


def _write(file: Path, depth_map: np.ndarray, label: dict[str, Any]) -> None:
    values, text = _compact(depth_map, label["kind"] == "affine_disparity"), json.dumps(label)
    with replacing(file) as temporary:
        if file.suffix == ".npz":
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, depth=values, about=np.array(text))
        else:
            write_exr(temporary, {"Z": values}, text)


def _compact(depth_map: np.ndarray, affine: bool) -> np.ndarray:
    """In half precision where that says the same, else in single."""
    values = np.ascontiguousarray(depth_map, np.float32)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    known = np.isfinite(values)
    error = np.abs(half[known].astype(np.float32) - values[known])
    scale = np.ptp(values[known]) if affine and known.any() else np.abs(values[known])
    return half if np.all(error <= HALF_ERROR * scale) else values


def _write_json(folder: Path, about: dict[str, Any]) -> None:
    with replacing(folder / ABOUT) as temporary:
        temporary.write_text(json.dumps(about, indent=1, allow_nan=False) + "\n", encoding="utf-8")
