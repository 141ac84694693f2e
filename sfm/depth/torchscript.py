"""A depth network as a TorchScript file, run by torch; kornia puts the pictures into its size and range."""

import json
from pathlib import Path

import numpy as np

from sfm.depth.callable import CallableModel
from sfm.depth.network import (
    InBatches,
    NetworkOptions,
    described,
    device_and_precision,
    fingerprint,
    single_maps,
)
from sfm.errors import InputError, MissingDependencyError


def load_torchscript(path: Path, options: NetworkOptions = NetworkOptions()) -> CallableModel:
    """The network in a `.pt` file saved by `torch.jit.save`, called with a float picture (n, 3, height, width).

    An extra file `sfm.json` inside, or `FILE.json` beside it, may set any field of `NetworkOptions`. Raises
    `InputError` for a file that is no TorchScript.
    """
    try:
        import kornia
        import torch
    except ImportError as error:
        raise MissingDependencyError("torch and kornia", "depth", f"{path.name}") from error
    inside = {"sfm.json": ""}
    try:
        network = torch.jit.load(str(path), map_location="cpu", _extra_files=inside)
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a TorchScript file ({reason}); torch.jit.save makes one") from error
    try:
        said = dict(json.loads(inside["sfm.json"] or "{}"))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: its sfm.json is not a description of a network ({error})") from error
    options = described(path, options.told(said, f"{path}: sfm.json"))
    device, _ = device_and_precision()  # in the file's own precision: it may not run in another
    network = network.to(device).eval()
    mean, std = (torch.tensor(values, device=device) for values in (options.mean, options.std))

    def run(frames: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pictures = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 255
            size = options.input_size(*frames.shape[1:3])
            pictures = kornia.geometry.resize(pictures, size, interpolation="bicubic", antialias=True)
            output = network(kornia.enhance.normalize(pictures.clamp(0, 1), mean, std))
        output = output[0] if isinstance(output, tuple | list) else output
        return single_maps(output.float().cpu().numpy(), frames, path.name)

    return CallableModel(
        InBatches(run, options.batch_size, path.name), options.kind, options.sigma, options.batch_size, path.name,
        revision=fingerprint(path), settings=options.settings(),
    )  # fmt: skip
