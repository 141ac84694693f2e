"""A depth network as a TensorFlow Lite file, run by ai-edge-litert."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from sfm.depth.callable import CallableModel
from sfm.depth.network import NetworkOptions, described, fingerprint, prepared, single_maps
from sfm.errors import InputError, MissingDependencyError

# what mobile networks take, unless FILE.json says otherwise: 0..1, channels last
_OPTIONS = NetworkOptions(kind="depth", sigma=0.3, layout="nhwc", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def load_tflite(path: Path, options: NetworkOptions = _OPTIONS) -> CallableModel:
    """The network in a `.tflite` file, one picture at a time; of several outputs the first counts.

    `FILE.json` may set any field of `NetworkOptions`. Raises `InputError` for a file that is no such network.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingDependencyError("ai-edge-litert", "tflite", f"{path.name}") from error
    try:
        with _runtime_silenced():
            interpreter = Interpreter(model_path=str(path), num_threads=None)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(f"{path}: not a TensorFlow Lite network ({' '.join(str(error).split())})") from error
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shape = [int(side) for side in source["shape"]]
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or source["dtype"] not in (np.float32, np.uint8):
        raise InputError(f"{path}: input {source['dtype'].__name__} of shape {shape}; expected a picture (1, h, w, 3)")
    layout = "nhwc" if shape[3] == 3 else "nchw"
    size = (shape[1], shape[2]) if layout == "nhwc" else (shape[2], shape[3])
    options = replace(described(path, options), layout=layout, size=size)

    def run(frames: np.ndarray) -> np.ndarray:
        maps = []
        for frame in frames:
            values = prepared(frame[None], options)
            if source["dtype"] == np.uint8:
                values = np.rint(255 * values)
            interpreter.set_tensor(source["index"], values.astype(source["dtype"]))
            interpreter.invoke()
            maps.append(single_maps(interpreter.get_tensor(target["index"]), frame[None], path.name)[0])
        return np.stack(maps)

    return CallableModel(
        run, options.kind, options.sigma, options.batch_size, path.name,
        revision=fingerprint(path), settings=options.settings(),
    )  # fmt: skip


@contextmanager
def _runtime_silenced() -> Iterator[None]:
    """The runtime greets on stderr, below Python and whatever its log level; what goes wrong it raises."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
