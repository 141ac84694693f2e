"""Files for other programs: one module per format, each writing what its reader expects.

`export` puts every format in its usual place below one folder; `FORMATS` names them, `PLACES` says where they go.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from sfm.errors import UsageError
from sfm.export.colmap import write_colmap
from sfm.export.colmap_reader import read_colmap
from sfm.export.ply import write_ply
from sfm.export.tum import write_tum
from sfm.scene import Reconstruction
from sfm.video import Shot

__all__ = ["FORMATS", "PLACES", "export", "read_colmap", "write_colmap", "write_ply", "write_tum"]

FORMATS: dict[str, Callable] = {"colmap": write_colmap, "ply": write_ply, "tum": write_tum}
PLACES = {"colmap": "sparse/0", "ply": "points.ply", "tum": "trajectory.tum"}


def export(
    reconstruction: Reconstruction, shot: Shot, folder: str | Path, formats: Iterable[str] = tuple(FORMATS)
) -> dict[str, Path]:
    """Write the named formats below `folder`: `sparse/0`, `points.ply`, `trajectory.tum`. Returns where each one went.

    Raises `UsageError` for a format that is none, before anything is written; `InputError` when a place is unwritable.
    """
    formats = list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UsageError(f"format {unknown[0]!r}: not one of {', '.join(FORMATS)}")
    written = {}
    for name in formats:
        written[name] = Path(folder) / PLACES[name]
        FORMATS[name](reconstruction, shot, written[name])
    return written
