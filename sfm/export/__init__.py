"""Files for other programs: one module per format, each writing what its reader expects.

`export` puts every format in its usual place below one folder: `FORMATS` are the plain ones, `FILM_FORMATS` those that
count in film backs and lengths, `TOLD_FORMATS` those that say what a solve is worth, `PLACES` says where they go.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sfm.errors import UsageError, require
from sfm.export import alembic, otio, usd
from sfm.export.after_effects import write_jsx
from sfm.export.alembic import write_alembic
from sfm.export.blender import write_blender
from sfm.export.colmap import write_colmap
from sfm.export.colmap_reader import read_colmap
from sfm.export.fbx import write_fbx
from sfm.export.film_camera import FilmCamera, FilmOptions
from sfm.export.maya import write_maya
from sfm.export.nerfstudio import write_nerfstudio
from sfm.export.nuke import write_chan, write_nk
from sfm.export.otio import write_otio
from sfm.export.ply import write_ply
from sfm.export.stmap import undistorted_camera, write_stmaps
from sfm.export.table import write_csv, write_json, write_points_csv
from sfm.export.tum import write_tum
from sfm.export.usd import write_usd
from sfm.scene import Reconstruction
from sfm.video import Shot

__all__ = [
    "ALWAYS",
    "FILM_FORMATS",
    "FORMATS",
    "PLACES",
    "SETS",
    "TOLD_FORMATS",
    "FilmCamera",
    "FilmOptions",
    "export",
    "lens_note",
    "named",
    "read_colmap",
    "write_alembic",
    "write_blender",
    "write_chan",
    "write_colmap",
    "write_csv",
    "write_fbx",
    "write_json",
    "write_jsx",
    "write_maya",
    "write_nerfstudio",
    "write_nk",
    "write_otio",
    "write_ply",
    "write_points_csv",
    "write_stmaps",
    "write_tum",
    "write_usd",
]

FORMATS: dict[str, Callable] = {
    "colmap": write_colmap, "ply": write_ply, "tum": write_tum, "nerfstudio": write_nerfstudio,
    "stmap": write_stmaps,
}  # fmt: skip
FILM_FORMATS: dict[str, Callable] = {
    "usd": write_usd, "nk": write_nk, "chan": write_chan, "blender": write_blender, "csv": write_csv,
    "fbx": write_fbx, "ma": write_maya, "abc": write_alembic, "jsx": write_jsx, "json": write_json,
    "points": write_points_csv,
}  # fmt: skip
TOLD_FORMATS: dict[str, Callable] = {"otio": write_otio}
PLACES = {
    "colmap": "sparse/0", "ply": "points.ply", "tum": "trajectory.tum", "nerfstudio": "transforms.json",
    "usd": "shot.usd", "nk": "shot.nk", "chan": "camera.chan", "blender": "blender_shot.py", "csv": "camera.csv",
    "points": "points.csv",
    "fbx": "shot.fbx", "ma": "shot.ma", "abc": "shot.abc",
    "jsx": "shot.jsx", "json": "camera.json", "stmap": "stmap", "otio": "shot.otio",
}  # fmt: skip
OF_FLAT_PLATES = {"nk", "stmap"}  # need the lens undone
PINHOLES = ("usd", "chan", "blender", "fbx", "ma", "abc", "jsx")  # that hold no distortion
ALIASES = {"nuke": "nk", "maya": "ma", "ae": "jsx", "aftereffects": "jsx", "alembic": "abc"}
ALWAYS = ("colmap", "ply", "tum")  # what every result holds
SETS = {"vfx": ("usd", "chan", "blender", "fbx", "ma", "jsx", "csv", "json", "points", "colmap", "ply", "nk", "stmap")}


def named(formats: Iterable[str]) -> list[str]:
    """Formats by their names in any case, those of `ALIASES` and those of `SETS`, each once.

    Raises `UsageError` for a name that is none, `MissingDependencyError` where a format's package is not installed: to
    be asked before the work starts.
    """
    said = [ALIASES.get(name.lower(), name.lower()) for name in formats]
    names = list(dict.fromkeys(one for name in said for one in SETS.get(name, (name,))))
    if unknown := [name for name in names if name not in PLACES]:
        raise UsageError(f"format {unknown[0]}: not one of {', '.join((*PLACES, *SETS))}")
    for name, needs in {"usd": usd.NEEDS, "abc": alembic.NEEDS, "otio": otio.NEEDS}.items():
        if name in names:
            require(*needs)
    return names


def lens_note(reconstruction: Reconstruction, formats: Iterable[str]) -> str:
    """Which of these formats do not go with the plates of a lens that distorts, and what does; empty where all do."""
    if not reconstruction.camera.distortion.any():
        return ""
    names = named(formats)
    if flat := [name for name in names if name in PINHOLES]:
        are = "are of an ideal pinhole" if len(flat) > 1 else "is of an ideal pinhole"
        return (
            f"the lens distorts: {', '.join(flat)} {are}, not for the plates as they are; "
            "sfm undistort OUT -o DIR writes plates, maps and the camera together"
        )
    if "nk" in names and "stmap" not in names:
        return "the lens distorts: shot.nk undistorts the plate by the maps beside it; --format nk,stmap writes both"
    return ""


def export(
    reconstruction: Reconstruction, shot: Shot, folder: str | Path, formats: Iterable[str] = ALWAYS,
    film: FilmOptions = FilmOptions(), *, solve: Mapping[str, Any] | None = None,
) -> dict[str, Path]:  # fmt: skip
    """Write the named formats, or sets of them, below `folder`, each at its place. Returns where each one went.

    film: what the formats that need it are told of film back and unit; solve: what `solve.json` says, for those that
    tell it. Raises `UsageError` for a format that is none and for a lens that STMaps cannot undo, before anything is
    written; `InputError` when a place is unwritable.
    """
    written, names = {}, named(formats)
    if reconstruction.camera.distortion.any() and not OF_FLAT_PLATES.isdisjoint(names):
        undistorted_camera(reconstruction.camera)
    for name in names:
        written[name] = Path(folder) / PLACES[name]
        if name in FORMATS:
            FORMATS[name](reconstruction, shot, written[name])
        elif name in FILM_FORMATS:
            FILM_FORMATS[name](reconstruction, shot, written[name], film)
        else:
            TOLD_FORMATS[name](reconstruction, shot, written[name], solve)
    return written
