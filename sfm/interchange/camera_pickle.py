"""The StudioSfM dataset's `camera.pkl`: image name -> {'intr_mtx': 3 x 3, 'v2c': world to camera, 3 x 4 or 4 x 4}.

A pickle may run any program; this one is read by an unpickler that knows NumPy arrays of numbers in plain containers
and nothing else. The dataset does not say where its pixels count from: the top-left corner, as ours do, is assumed, and
axes x right, y down, z forward.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from sfm.errors import InputError
from sfm.footage import plate_number, plate_numbers
from sfm.geometry.transform import Rigid3
from sfm.interchange.tracked_camera import ImportOptions, TrackedCamera
from sfm.movies import DEFAULT_FPS

MAX_BYTES = 64 * 2**20  # of a file: a frame takes a few hundred
ROTATION_TOLERANCE = 1e-3


def read_camera_pickle(path: Path, size: tuple[int, int], options: ImportOptions) -> TrackedCamera:
    """The camera of a file; the pixel aspect is intr_mtx's.

    Raises `InputError` when the file is not such a dict, or asks for more than arrays: nothing in it is run.
    """
    content = _unpickled(path)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: expected a dict of image names, got {type(content).__name__}")
    keys = sorted(content, key=lambda name: (plate_number(str(name)), str(name)))
    names = tuple(map(str, keys))
    K, cams = (
        np.stack([_matrix(path, content[name], key, shapes) for name in keys])
        for key, shapes in (("intr_mtx", ((3, 3),)), ("v2c", ((3, 4), (4, 4))))
    )
    focal, center = np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1), K[:, :2, 2]
    if not (
        (focal > 0).all() and np.abs(K[:, 2] - [0, 0, 1]).max() < 1e-9 and np.abs(K[:, [0, 1], [1, 0]]).max() < 1e-3
    ):
        raise InputError(f"{path}: intr_mtx: expected fx 0 cx / 0 fy cy / 0 0 1 with positive focal lengths")
    rotation = cams[:, :, :3]
    off = np.abs(rotation @ rotation.mT - np.eye(3)).max(axis=(1, 2))
    if off.max() > ROTATION_TOLERANCE or (np.linalg.det(rotation) < 0).any():
        raise InputError(f"{path}: v2c of {names[int(off.argmax())]}: its 3 x 3 part is no rotation")
    u, _, vt = np.linalg.svd(rotation)
    return TrackedCamera(
        plate_numbers(names), Rigid3(u @ vt, cams[:, :, 3]), focal, center, size, np.zeros(len(names), bool),
        options.fps or DEFAULT_FPS, names=names,
    )  # fmt: skip


def _matrix(path: Path, entry: Any, key: str, shapes: tuple[tuple[int, int], ...]) -> np.ndarray:
    """One matrix of one image, (3, 3) or (3, 4)."""
    try:
        found = entry[key]
        if not isinstance(
            found, _PickledArray
        ):  # rows of numbers, nothing deeper: lists that hold themselves may be vast
            found = [[float(number) for number in row] for row in found]
        matrix = np.array(found, dtype=float)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: every image needs intr_mtx and v2c, matrices of numbers") from error
    if matrix.shape not in shapes or not np.isfinite(matrix).all():
        wanted = " or ".join(f"{a} x {b}" for a, b in shapes)
        raise InputError(f"{path}: {key} of shape {matrix.shape}; expected finite numbers, {wanted}")
    return matrix[:3]


def _unpickled(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than the cameras of any shot")
        raw = path.read_bytes()
        _check_memo(raw)
        return _ArraysOnly(io.BytesIO(raw), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: not read, nothing of it was run: {error}") from error
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # of a damaged pickle any may come
        raise InputError(
            f"{path}: not a pickle of NumPy arrays in plain containers ({type(error).__name__})"
        ) from error


def _check_memo(raw: bytes) -> None:
    """Raise `pickle.UnpicklingError` where a place in the memo is none a file of this length needs: Python would make
    room for all before it."""
    try:
        for code, place, _ in pickletools.genops(raw):
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(place or 0) <= len(raw):
                raise pickle.UnpicklingError(f"it numbers its parts up to {place}, in {len(raw)} bytes")
    except ValueError as error:
        raise pickle.UnpicklingError(f"truncated, or damaged ({error})") from error


class _ArraysOnly(pickle.Unpickler):
    """Gives stand-ins of its own for what pickled arrays of numbers ask for: none of NumPy's code sees a state."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global of a pickle. Raises `pickle.UnpicklingError` for all others."""
        known = {
            ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
            ("numpy.core.numeric", "_frombuffer"): _PickledArray.from_buffer,
            ("numpy", "ndarray"): _ArrayType,
            ("numpy", "dtype"): _PickledType,
            ("_codecs", "encode"): _latin1_bytes,
        }
        wanted = (module.replace("numpy._core.", "numpy.core."), name)  # as NumPy 2 calls it
        if wanted not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; only NumPy arrays in plain containers are read")
        return known[wanted]


class _ArrayType:
    """Stands for the class of arrays, which `_reconstruct` is told."""


class _PickledType:
    """A type of numbers: a code such as `f8`, and in the state the order of its bytes."""

    def __init__(self, code: Any, *_: Any):
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"it holds an array of {self.dtype}; only arrays of numbers are read")

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _PickledArray:
    """Bytes with a type and a shape."""

    def __init__(self, *_: Any):
        self.values = np.zeros(0)

    @classmethod
    def from_buffer(cls, raw: Any, of: _PickledType, shape: Any, order: Any = "C") -> "_PickledArray":
        """As protocol 5 writes it."""
        found = cls()
        found.values = np.frombuffer(raw, of.dtype).reshape(shape, order="F" if order == "F" else "C")
        return found

    def __setstate__(self, state: Any) -> None:
        _, shape, of, fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # as Python 2 wrote it
        self.values = self.from_buffer(raw, of, shape, "F" if fortran else "C").values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values.astype(dtype or self.values.dtype)


def _latin1_bytes(text: Any, *_: Any) -> bytes:
    """What protocols before 3 write bytes as."""
    return str(text).encode("latin1")
