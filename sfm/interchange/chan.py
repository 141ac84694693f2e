"""A camera of a Nuke `.chan`: `frame tx ty tz rx ry rz vfov`, a line a frame, degrees, rotation order ZXY, y up.

Its limits: it holds neither film back nor plate, so that the principal point is in the middle; and not the order of
rotation, which is Nuke's own by default.
"""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from sfm.errors import InputError
from sfm.geometry.transform import Rigid3
from sfm.interchange.tracked_camera import Y_UP, ImportOptions, TrackedCamera, check_span
from sfm.movies import DEFAULT_FPS

COLUMNS = ("frame", "tx", "ty", "tz", "rx", "ry", "rz", "vfov")


def read_chan(path: Path, size: tuple[int, int], options: ImportOptions) -> TrackedCamera:
    """The camera of a file. Raises `InputError` that names the line which is not what it must be."""
    rows = _rows(path)
    order = np.argsort(rows[:, 0], kind="stable")
    rows = rows[order]
    if (again := np.flatnonzero(np.diff(rows[:, 0]) == 0)).size:
        raise InputError(f"{path}: frame {rows[again[0], 0]:.0f} stands there twice")
    check_span(path, rows[0, 0], rows[-1, 0])
    width, height = size
    vertical = 0.5 * height / np.tan(0.5 * np.radians(rows[:, 7]))
    focal = np.column_stack([vertical / (options.pixel_aspect or 1.0), vertical])
    # R = Ry Rx Rz
    turned = Rotation.from_euler("YXZ", rows[:, [5, 4, 6]], degrees=True).as_matrix()
    world_from_cams = Rigid3(Y_UP[:, None] * turned * Y_UP, Y_UP * rows[:, 1:4])
    return TrackedCamera(
        rows[:, 0].astype(int), world_from_cams.inverse(), focal, np.tile([width / 2, height / 2], (len(rows), 1)),
        size, np.zeros(len(rows), bool), options.fps or DEFAULT_FPS,
    )  # fmt: skip


def _rows(path: Path) -> np.ndarray:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    rows = []
    for place, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != len(COLUMNS):
            raise InputError(
                f"{path}, line {place}: {len(words)} columns; expected {len(COLUMNS)}, {' '.join(COLUMNS)}"
            )
        try:
            row = [float(word) for word in words]
        except ValueError as error:
            raise InputError(f"{path}, line {place}: {error}; expected numbers") from error
        if not np.isfinite(row).all() or row[0] != round(row[0]) or not 0 < row[7] < 180:
            raise InputError(f"{path}, line {place}: expected a whole frame, and vfov between 0 and 180 degrees")
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: holds no frame; expected lines of {' '.join(COLUMNS)}")
    return np.array(rows)
