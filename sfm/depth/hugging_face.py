"""Depth networks of the Hugging Face hub or in its format on disk, run by transformers."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from sfm.depth.callable import CallableModel
from sfm.depth.catalog import CATALOG, Known
from sfm.depth.model import DepthKind
from sfm.depth.network import WEIGHTS_SIGMA, InBatches, device_and_precision
from sfm.errors import InputError, MissingDependencyError

logger = logging.getLogger(__name__)

MAP_SIDE = 768  # px; longest side of the maps kept: what lies between is interpolated anyway
BATCH_SIZE = {"cpu": 1, "mps": 4, "cuda": 16}
# what a network of a given architecture gives, where its configuration does not say
KINDS: dict[str, DepthKind] = {
    "depth_anything": "affine_disparity",
    "dpt": "affine_disparity",
    "zoedepth": "metric",
    "depth_pro": "metric",
    "glpn": "metric",
}
_NEEDS_MORE = {"prompt_depth_anything": "a depth map of a sensor as prompt"}


class HuggingFaceNetwork:
    """A network and its picture processor: frames (n, height, width, 3) uint8 to maps (n, h, w) float32."""

    def __init__(self, network: Any, processor: Any, name: str):
        self.device, precision = device_and_precision()
        self.network, self.processor, self.name = network.to(self.device, precision).eval(), processor, name
        self.precision = precision
        self.fields_of_view: list[float] = []

    @property
    def field_of_view_deg(self) -> float:
        """Horizontal, median over the frames seen so far; NaN when the network does not estimate it."""
        return float(np.median(self.fields_of_view)) if self.fields_of_view else float("nan")

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Maps of some frames, their longest side at most `MAP_SIDE`."""
        import torch

        height, width = frames.shape[1:3]
        scale = min(1.0, MAP_SIDE / max(height, width))
        target = [(max(round(height * scale), 1), max(round(width * scale), 1))] * len(frames)
        inputs = self.processor(images=list(frames), return_tensors="pt")
        with torch.inference_mode():
            pixels = inputs["pixel_values"].to(self.device, self.precision)
            output = self.network(pixel_values=pixels)
            output.predicted_depth = output.predicted_depth.float()
            if (fov := getattr(output, "field_of_view", None)) is not None:
                output.field_of_view = fov.float()
            sizes = {"target_sizes": target}
            if getattr(self.processor, "do_pad", False) and type(self.network.config).__name__ == "ZoeDepthConfig":
                sizes["source_sizes"] = [(height, width)] * len(frames)
            results = self.processor.post_process_depth_estimation(output, **sizes)
        seen = [r["field_of_view"] for r in results if r.get("field_of_view") is not None]
        self.fields_of_view += [float(value) for value in seen]
        return np.stack([r["predicted_depth"].float().cpu().numpy() for r in results])


def load_known(name: str) -> CallableModel:
    """A network of the catalogue: from the hub's cache, or downloaded once, its licence told first.

    `HF_HUB_OFFLINE=1` forbids downloads. Raises `InputError` that says what to do where it cannot be had.
    """
    known = CATALOG[name]
    local = models_folder() / name
    if (local / "config.json").is_file():
        return _load(str(local), name, known.kind, known.sigma)
    if not cached(known):
        logger.warning(f"{name}: downloading {known.hub_id}, licence {known.licence}")
    try:
        return _load(known.hub_id, name, known.kind, known.sigma, known.revision)
    except OSError as error:
        raise InputError(f"{name}: cannot be had from the hub ({_first_line(error)}); {how_to_get(name)}") from error


def load_hub(hub_id: str) -> CallableModel:
    """Any depth network of the hub in the format of transformers. Raises as `load_known` does."""
    if not cached(Known(hub_id, "", "depth", WEIGHTS_SIGMA)):
        logger.warning(f"{hub_id}: downloading it; its licence is on its page at the hub")
    try:
        return _load(hub_id, hub_id.split("/")[1], None, WEIGHTS_SIGMA)
    except OSError as error:
        raise InputError(f"{hub_id}: cannot be had from the hub ({_first_line(error)})") from error


def load_folder(folder: Path, kind: DepthKind | None = None, sigma: float = WEIGHTS_SIGMA) -> CallableModel:
    """A network saved by `save_pretrained`, or a folder that `sfm depth download` made.

    Raises `InputError` for a folder whose files are missing, cut short or not of a depth network.
    """
    return _load(str(folder), folder.name, kind, sigma)


def download(name: str, known: Known, output: Path) -> Path:
    """Fetch all files of a network into a folder, to be carried to a machine that cannot reach the hub."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError("transformers", "depth", "downloading networks") from error
    patterns = ["*.json", "*.safetensors", "pytorch_model*.bin"]
    try:
        found = snapshot_download(known.hub_id, revision=known.revision, local_dir=output, allow_patterns=patterns)
    except Exception as error:  # the hub's own errors and those of the network below share no base
        raise InputError(f"{name}: {known.hub_id} cannot be downloaded ({_first_line(error)})") from error
    return Path(found)


def models_folder() -> Path:
    """Where networks that were downloaded or copied by hand are looked for."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("SFM_MODELS") or user_cache_path("sfm") / "models")


def cached(known: Known) -> bool:
    """Whether the hub's own cache holds a network."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    return isinstance(try_to_load_from_cache(known.hub_id, "config.json", revision=known.revision), str)


def how_to_get(name: str) -> str:
    """What somebody without the network does about it."""
    return (
        f"on a machine that reaches the hub run `sfm depth download {name} -o {name}`, copy that folder here, and give"
        f" `--depth {name}` (or put it at {models_folder() / name})"
    )


def _load(source: str, name: str, kind: DepthKind | None, sigma: float, revision: str | None = None) -> CallableModel:
    try:
        import torch  # noqa: F401
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise MissingDependencyError("torch, transformers and pillow", "depth", f"the depth network {name}") from error
    transformers_logging.disable_progress_bar()
    where = {"revision": revision} if revision else {}
    config = _try(AutoConfig, source, name, where)
    if config.model_type in _NEEDS_MORE:
        raise InputError(
            f"{name}: a {config.model_type} network needs {_NEEDS_MORE[config.model_type]}, which sfm has not"
        )
    if config.model_type not in KINDS and type(config) not in AutoModelForDepthEstimation._model_mapping:
        raise InputError(f"{name}: a {config.model_type} network, which gives no depth")
    processor = _try(AutoImageProcessor, source, name, where)
    network = _try(AutoModelForDepthEstimation, source, name, where)
    if getattr(config, "depth_estimation_type", None) == "metric":
        kind = "metric"
    runner = HuggingFaceNetwork(network, processor, name)
    batch = BATCH_SIZE[runner.device.type]
    commit = getattr(config, "_commit_hash", None) or "local"
    logger.info(f"{name}: {config.model_type}, revision {commit}, on {runner.device}")
    return CallableModel(
        InBatches(runner, batch, name), kind or KINDS.get(config.model_type, "affine_disparity"), sigma, batch, name,
        revision=commit, seen=runner,
    )  # fmt: skip


def _try(loader: Any, source: str, name: str, where: dict[str, str]) -> Any:
    """Load one part; what is missing or damaged becomes one line."""
    try:
        if loader.__name__ == "AutoModelForDepthEstimation":
            network, report = loader.from_pretrained(source, output_loading_info=True, **where)
            if report["missing_keys"] or report.get("mismatched_keys"):
                raise InputError(f"{name}: its weights lack {len(report['missing_keys'])} tensors: not complete")
            return network
        return loader.from_pretrained(source, **where)
    except InputError:
        raise
    except (ValueError, RuntimeError, KeyError, EOFError) as error:
        raise InputError(f"{name}: {source} cannot be loaded ({_first_line(error)})") from error
    except OSError as error:
        if Path(source).is_dir():
            raise InputError(f"{name}: {source} cannot be loaded ({_first_line(error)})") from error
        raise
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise InputError(f"{name}: its weights are damaged or cut short ({_first_line(error)})") from error
        raise


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
