"""Which depth model a word on the command line or an object in Python means."""

import importlib
import logging
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfm.depth.callable import CallableModel
from sfm.depth.catalog import CATALOG, DEFAULT, known
from sfm.depth.flip_check import flip_checked
from sfm.depth.maps import MAP_SUFFIXES, MapFolder, holds_maps_of
from sfm.depth.model import DEPTH_KINDS, DepthKind, DepthModel
from sfm.errors import InputError, MissingDependencyError, SfmError
from sfm.video import Shot

logger = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load(
    spec: Any, kind: DepthKind | None = None, shot: Shot | None = None, flip_check: bool = False
) -> DepthModel | None:
    """The depth model that spec means.

    spec: a folder of maps; a folder, hub id or name of a network (`sfm.depth.CATALOG`); a file `.onnx`, `.tflite` or
    `.pt`; `package.module:factory`, called without arguments for a model or function; a function
    `(frames (n, h, w, 3) uint8) -> (n, h', w')`; a model itself; "auto": what `automatic` finds for `shot`; "none".
    kind: what the maps hold, where the model itself does not say or says it wrong. flip_check: ask it for mirrored
    pictures too, and leave out what it sees differently there (`flip_checked`).
    Raises `InputError` or `MissingDependencyError` that says what to do.

    >>> load("none") is None
    True
    """
    if kind is not None and kind not in DEPTH_KINDS:
        raise InputError(f"depth kind {kind!r}: expected one of {', '.join(DEPTH_KINDS)}")
    model = _model(spec, kind, shot)
    if not flip_check:
        return model
    if not isinstance(model, CallableModel):
        name = "none" if model is None else model.name
        raise InputError(f"flip check: only networks and functions can be asked twice, not {name}; leave it out")
    return flip_checked(model)


def _model(spec: Any, kind: DepthKind | None, shot: Shot | None) -> DepthModel | None:
    if spec is None or (isinstance(spec, str) and spec.lower() == "none"):
        return None
    if isinstance(spec, DepthModel):
        return _of_kind(spec, kind)
    if callable(spec):
        return CallableModel(spec, kind or "depth")
    if isinstance(spec, str) and spec.lower() == "auto":
        return automatic(shot, kind)
    if not isinstance(spec, str | Path) or not str(spec):
        raise InputError(f"depth: got {spec!r:.80}, expected a path, a name, a function or a depth model")
    if Path(spec).is_dir() and not _is_network(Path(spec)):
        return MapFolder(spec, kind)
    return _of_kind(_network(spec), kind)


def _of_kind(model: DepthModel, kind: DepthKind | None) -> DepthModel:
    """The model, said to give another kind of map."""
    if kind in (None, model.kind):
        return model
    if isinstance(model, CallableModel):
        return replace(model, kind=kind)
    if isinstance(model, MapFolder):
        return replace(model, told_kind=kind)
    raise InputError(f"depth kind {kind}: {model.name} says itself that it gives {model.kind}")


def automatic(shot: Shot | None, kind: DepthKind | None = None) -> DepthModel:
    """Maps beside the clip, else a network that is already here, else Depth Anything V2 Small from the hub.

    Networks whose licence forbids paid work are never chosen for anybody: they are asked for by name.
    Raises `InputError` with the ways out where there is none of these: the prior is never dropped silently.
    """
    from sfm.depth.hugging_face import is_here, load_known

    for folder in [] if shot is None else _beside(shot):
        if holds_maps_of(folder, shot):
            logger.info(f"depth: the maps beside the clip, {folder}")
            return MapFolder(folder, kind)
    here = [name for name, known in CATALOG.items() if known.commercial and is_here(name)]
    try:
        return _of_kind(load_known(here[0] if here else DEFAULT), kind)
    except MissingDependencyError as error:
        raise InputError(
            f"no depth prior: no maps beside the clip (a folder `depth`), and no network ({error}); give --depth with a"
            " folder of maps or a network, or --depth none to solve without"
        ) from error
    except SfmError as error:
        raise InputError(
            f"no depth prior: no maps beside the clip; {error}; or --depth none to solve without"
        ) from error


def _beside(shot: Shot) -> list[Path]:
    """Folders where the maps of a clip usually are: `depth` beside it, or called after it."""
    source = Path(shot.source)
    clip = source if shot.is_movie else source.parent
    stem = clip.stem if shot.is_movie else clip.name
    return [clip.parent / f"{stem}_depth", clip.parent / "depth"]


def _is_network(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _network(spec: str | Path) -> DepthModel:
    path, text = Path(spec), str(spec)
    if path.is_dir():
        from sfm.depth.hugging_face import load_folder

        return load_folder(path)
    if path.is_file():
        return _from_file(path)
    if path.suffix.lower() in _FILES:
        raise InputError(f"depth {text!r}: no such file")
    if path.is_absolute():
        raise InputError(f"depth {text!r}: no such folder or file")
    if _FACTORY.fullmatch(text):
        return _from_factory(text)
    from sfm.depth.hugging_face import load_hub, load_known

    if _HUB_ID.fullmatch(text) and not path.parent.is_dir():
        return load_hub(text)
    known(text)
    return load_known(text)


def _onnx(path: Path) -> CallableModel:
    from sfm.depth.onnx import load_onnx

    return load_onnx(path)


def _tflite(path: Path) -> CallableModel:
    from sfm.depth.tflite import load_tflite

    return load_tflite(path)


def _torchscript(path: Path) -> CallableModel:
    from sfm.depth.torchscript import load_torchscript

    return load_torchscript(path)


_FILES = {".onnx": _onnx, ".tflite": _tflite, ".pt": _torchscript, ".pth": _torchscript}


def _from_file(path: Path) -> CallableModel:
    if path.suffix.lower() in MAP_SUFFIXES:
        raise InputError(f"{path}: a single depth map; give the folder of maps, {path.parent}")
    if path.suffix.lower() not in _FILES:
        raise InputError(f"{path}: not a depth network; read are {' '.join(_FILES)}")
    return _FILES[path.suffix.lower()](path)


def _from_factory(spec: str) -> DepthModel:
    """A studio's own: module and name, looked for in the current folder too."""
    module, name = spec.split(":")
    sys.path.insert(0, os.getcwd())
    try:
        made = getattr(importlib.import_module(module), name)()
    except Exception as error:
        raise InputError(f"{spec}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    if isinstance(made, DepthModel):
        return made
    if callable(made):
        return CallableModel(made, name=spec)
    raise InputError(f"{spec}: made a {type(made).__name__}, expected a function or a depth model")
