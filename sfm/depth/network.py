"""What all networks share: pictures in the size and range a network wants, batches that fit memory, the device."""

import hashlib
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from sfm.depth.model import DEPTH_KINDS, DepthKind
from sfm.errors import InputError

logger = logging.getLogger(__name__)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WEIGHTS_SIGMA = 0.2  # relative; of a network nobody described


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How to feed a network of a file, and what it gives; the file itself or `FILE.json` beside it may say so.

    size: (height, width) of its input px, None: as the file says, else near `long_side`, in multiples of `multiple`;
    layout: channels first or last; mean, std: of the input in 0..1, RGB.
    """

    kind: DepthKind = "affine_disparity"
    sigma: float = WEIGHTS_SIGMA
    size: tuple[int, int] | None = None
    long_side: int = 518
    multiple: int = 14
    layout: Literal["nchw", "nhwc"] = "nchw"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    batch_size: int = 4

    def told(self, said: dict[str, Any], where: str) -> "NetworkOptions":
        """These options with what a file says of itself. Raises `InputError` for what cannot be."""
        names = {name: value for name, value in said.items() if name in NetworkOptions.__slots__}
        try:
            for name in ("mean", "std"):
                if name in names:
                    names[name] = tuple(float(value) for value in names[name])
                    if len(names[name]) != 3:
                        raise ValueError(f"{name}: expected three numbers")
            if names.get("size") is not None:
                height, width = (int(value) for value in names["size"])
                names["size"] = (height, width)
            for name, to in (("sigma", float), ("long_side", int), ("multiple", int), ("batch_size", int)):
                if name in names:
                    names[name] = to(names[name])
                    if not names[name] > 0:
                        raise ValueError(f"{name} {names[name]}: expected a positive number")
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: {error}") from error
        if names.get("kind", self.kind) not in DEPTH_KINDS:
            raise InputError(f"{where}: kind {names['kind']!r}; expected one of {', '.join(DEPTH_KINDS)}")
        return replace(self, **names)

    def settings(self) -> dict[str, Any]:
        """What the maps depend on besides the network itself, for JSON."""
        return {name: getattr(self, name) for name in ("size", "long_side", "multiple", "layout", "mean", "std")}

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Size (height, width) px a picture of height x width is fed in."""
        if self.size is not None:
            return self.size
        scale = self.long_side / max(height, width)
        return tuple(max(round(side * scale / self.multiple), 1) * self.multiple for side in (height, width))  # pyright: ignore[reportReturnType]


def described(path: Path, options: NetworkOptions, inside: dict[str, str] | None = None) -> NetworkOptions:
    """Options of a network in a file: what is written inside, then what `FILE.json` beside says.

    Values written inside are JSON (`[0.5, 0.5, 0.5]`) or plain text. Raises `InputError` for what cannot be read.
    """
    said: dict[str, Any] = {}
    for name, text in (inside or {}).items():
        try:
            said[name] = json.loads(text)
        except ValueError:
            said[name] = text
    options = options.told(said, str(path))
    beside = path.with_name(path.name + ".json")
    if not beside.is_file():
        return options
    try:
        said = json.loads(beside.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise ValueError("expected {name: value}")
    except (OSError, ValueError) as error:
        raise InputError(f"{beside}: not a description of a network ({error})") from error
    return options.told(said, str(beside))


def prepared(frames: np.ndarray, options: NetworkOptions) -> np.ndarray:
    """Frames (n, height, width, 3) uint8 as a network's float32 input, (n, 3, h, w) or (n, h, w, 3)."""
    height, width = options.input_size(*frames.shape[1:3])
    way = cv2.INTER_AREA if height < frames.shape[1] else cv2.INTER_CUBIC
    small = np.stack([cv2.resize(frame, (width, height), interpolation=way) for frame in frames])
    values = (small.astype(np.float32) / 255 - np.array(options.mean, np.float32)) / np.array(options.std, np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if options.layout == "nchw" else values


def single_maps(output: np.ndarray, frames: np.ndarray, name: str) -> np.ndarray:
    """A network's output as maps (n, h, w) in the aspect ratio of the frames (n, height, width, 3) they are of.

    Raises `InputError` when the output is not one map a picture.
    """
    count = len(frames)
    values = np.asarray(output)
    squeezed = values
    for axis in (values.ndim - 1, 1):  # a channel of one, last or first
        if squeezed.ndim == 4 and squeezed.shape[axis] == 1:
            squeezed = squeezed.squeeze(axis)
    if squeezed.ndim != 3 or len(squeezed) != count or squeezed.dtype.kind not in "fiu":
        raise InputError(
            f"{name}: gives {values.dtype} of shape {values.shape} for {count} pictures, expected ({count}, height,"
            " width): not a depth network, or one with several outputs"
        )
    height = round(squeezed.shape[2] * frames.shape[1] / frames.shape[2])
    if abs(height - squeezed.shape[1]) <= 0.01 * height:
        return squeezed
    # pictures were squeezed into the network's own shape: its maps go back into theirs
    size = (squeezed.shape[2], height)
    return np.stack([cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) for m in squeezed])


class InBatches:
    """A function of frames that is called again with fewer at a time when the device runs out of memory."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], batch_size: int, name: str):
        self.function, self.batch_size, self.name = function, batch_size, name

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Maps (n, h, w) of frames (n, height, width, 3) uint8."""
        done: list[np.ndarray] = []
        start = 0
        while start < len(frames):
            batch = frames[start : start + self.batch_size]
            try:
                done.append(self.function(batch))
            except Exception as error:
                if not _out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise InputError(
                        f"{self.name}: out of memory on a single frame of {batch.shape[2]} x {batch.shape[1]} px:"
                        " choose a smaller network, or compute the maps elsewhere (sfm depth) and give the folder"
                    ) from error
                self.batch_size = max(1, len(batch) // 2)
                logger.warning(f"{self.name}: out of memory with {len(batch)} frames, goes on with {self.batch_size}")
                _free_memory()
                continue
            start += len(batch)
        return np.concatenate(done)


def fingerprint(*files: Path) -> str:
    """What tells the files of a network from others: the start of a SHA-256 over their names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"


def _out_of_memory(error: Exception) -> bool:
    """Of CUDA, of PyTorch on a CPU, of onnxruntime, of NumPy."""
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    said = str(error).lower()
    return any(words in said for words in ("out of memory", "allocate memory", "failed to allocate"))


def _free_memory() -> None:
    torch = sys.modules.get("torch")  # who runs without it has nothing to free
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def device_and_precision() -> tuple[Any, Any]:
    """CUDA, else Apple's GPU, else the CPU; half precision on a GPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda"), torch.float16
    if torch.backends.mps.is_available():
        return torch.device("mps"), torch.float16
    return torch.device("cpu"), torch.float32
