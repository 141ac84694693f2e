"""A depth network as an ONNX file, run by onnxruntime."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from sfm.depth.callable import CallableModel
from sfm.depth.network import InBatches, NetworkOptions, described, fingerprint, prepared, single_maps
from sfm.errors import InputError, MissingDependencyError

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def load_onnx(path: Path, options: NetworkOptions = NetworkOptions()) -> CallableModel:
    """The network in an `.onnx` file. Its metadata and `FILE.json` may set any field of `NetworkOptions`.

    The size is the file's where it is fixed. Raises `InputError` for a file that is no network of pictures to maps.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "depth", f"{path.name}") from error
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what goes wrong is raised
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime's own exceptions share no base
        raise InputError(f"{path}: not an ONNX network onnxruntime can run ({' '.join(str(error).split())})") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
        got = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise InputError(
            f"{path}: takes {got}; expected one float picture (n, 3, height, width) or (n, height, width, 3)"
        )
    options = _fitted(path, described(path, options, session.get_modelmeta().custom_metadata_map), inputs[0].shape)
    dtype, name = _TYPES[inputs[0].type], inputs[0].name

    def run(frames: np.ndarray) -> np.ndarray:
        output = session.run(None, {name: prepared(frames, options).astype(dtype)})[0]
        return single_maps(np.asarray(output), frames, path.name)

    fixed = isinstance(inputs[0].shape[0], int)
    batch = inputs[0].shape[0] if fixed else options.batch_size
    return CallableModel(
        _padded(run, batch) if fixed and batch > 1 else InBatches(run, batch, path.name),
        options.kind, options.sigma, batch, path.name,
        revision=fingerprint(path), settings=options.settings(),
    )  # fmt: skip


def _fitted(path: Path, options: NetworkOptions, shape: list) -> NetworkOptions:
    """Layout and size the file's own input asks for."""
    if shape[1] != 3 and shape[3] != 3:
        raise InputError(f"{path}: input of shape {shape}; expected three channels, first or last")
    layout = "nchw" if shape[1] == 3 else "nhwc"
    sides = shape[2:4] if layout == "nchw" else shape[1:3]
    size = tuple(sides) if all(isinstance(side, int) for side in sides) else options.size
    return replace(options, layout=layout, size=size)


def _padded(run: Callable[[np.ndarray], np.ndarray], batch: int) -> Callable[[np.ndarray], np.ndarray]:
    """For a file that takes a fixed number of pictures: the last of them repeated to fill it."""

    def whole(frames: np.ndarray) -> np.ndarray:
        missing = batch - len(frames)
        return run(np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)]))[: len(frames)]

    return whole
