"""Which depth model a word on the command line or an object in Python means."""

from pathlib import Path
from typing import Any

from sfm.depth.callable import CallableModel
from sfm.depth.maps import MapFolder
from sfm.depth.model import DepthKind, DepthModel
from sfm.errors import InputError


def load(spec: Any, kind: DepthKind = "depth") -> DepthModel | None:
    """The depth model that spec means: a folder of maps, a function, a model itself, or "none" (or None).

    >>> load("none") is None
    True
    """
    if kind not in ("depth", "disparity"):
        raise InputError(f"depth kind {kind!r}: expected depth or disparity")
    if spec is None or (isinstance(spec, str) and spec == "none"):
        return None
    if isinstance(spec, DepthModel):
        return spec
    if callable(spec):
        return CallableModel(spec, kind)
    if isinstance(spec, str | Path) and Path(spec).is_dir():
        return MapFolder(spec, kind)
    raise InputError(f"depth {str(spec)!r}: no such folder; expected a folder with one depth map per frame, or none")
