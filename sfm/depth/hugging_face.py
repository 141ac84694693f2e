"""Depth networks of the Hugging Face hub or in its format on disk, run by transformers."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfm.depth.callable import CallableModel
from sfm.depth.catalog import CATALOG, Known
from sfm.depth.model import DepthKind
from sfm.depth.network import WEIGHTS_SIGMA, InBatches, fingerprint
from sfm.depth.transformers_network import MAP_SIDE, HuggingFaceNetwork, PlainProcessor
from sfm.errors import InputError, MissingDependencyError

logger = logging.getLogger(__name__)

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
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# a layer of DPT that no picture passes through; weights after the authors' own code lack it
_UNUSED = "fusion_stage.layers.0.residual_layer1."


def load_known(name: str) -> CallableModel:
    """A network of the catalogue: from the hub's cache, or downloaded once, its licence told first.

    `HF_HUB_OFFLINE=1` forbids downloads. Raises `InputError` that says what to do where it cannot be had.
    """
    known = CATALOG[name]
    local = models_folder() / name
    if (local / "config.json").is_file():
        return _load(str(local), name, known.kind, known.sigma)
    return _from_hub(known, name, f", licence {known.licence}", f"; {how_to_get(name)}")


def load_hub(hub_id: str) -> CallableModel:
    """Any depth network of the hub in the format of transformers. Raises as `load_known` does."""
    ways = "; there is no folder of that name either: fetch it on a machine that reaches the hub and give its folder"
    known = Known(hub_id, "", None, WEIGHTS_SIGMA)
    return _from_hub(known, hub_id, "; its licence is on its page at the hub", ways)


def load_folder(folder: Path, kind: DepthKind | None = None, sigma: float = WEIGHTS_SIGMA) -> CallableModel:
    """A network saved by `save_pretrained`, or a folder that `sfm depth download` made.

    Raises `InputError` for a folder whose files are missing, cut short or not of a depth network.
    """
    if not (folder / "preprocessor_config.json").is_file():
        raise InputError(f"{folder}: no preprocessor_config.json in it, which says how pictures go in: not complete")
    return _load(str(folder), folder.name, kind, sigma)


def download(name: str, known: Known, output: Path) -> Path:
    """Fetch all files of a network into a folder, to be carried to a machine that cannot reach the hub.

    Its licence is told first. Raises `InputError` where the hub cannot be reached or the folder not be written.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError("transformers", "depth", "downloading networks") from error
    patterns = ["*.json", "*.safetensors", "pytorch_model*.bin"]
    try:
        _reach_hub()
        logger.warning(f"{name}: downloading {known.hub_id}, licence {known.licence}")
        found = snapshot_download(known.hub_id, revision=known.revision, local_dir=output, allow_patterns=patterns)
    except Exception as error:  # the hub's own errors and those of the network below share no base
        raise InputError(
            f"{name}: {known.hub_id} cannot be downloaded ({_first_line(error)}); run this where the hub can be reached"
        ) from error
    return Path(found)


def models_folder() -> Path:
    """Where networks that were downloaded or copied by hand are looked for."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("SFM_MODELS") or user_cache_path("sfm") / "models")


def is_here(name: str) -> bool:
    """Whether a network of the catalogue can be loaded without the hub."""
    return (models_folder() / name / "config.json").is_file() or cached(CATALOG[name])


def cached(known: Known) -> bool:
    """Whether the hub's own cache holds a network, weights and all."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False

    def there(file: str) -> bool:
        return isinstance(try_to_load_from_cache(known.hub_id, file, revision=known.revision), str)

    return there("config.json") and any(map(there, _WEIGHTS))


def how_to_get(name: str) -> str:
    """What somebody without the network does about it."""
    return (
        f"on a machine that reaches the hub run `sfm depth download {name} -o {name}`, copy that folder here, and give"
        f" `--depth {name}` (`--model {name}` to sfm depth; or put it at {models_folder() / name})"
    )


def _from_hub(known: Known, name: str, licence: str, ways: str) -> CallableModel:
    """From the hub's cache without asking the hub, else from the hub, at once refused where it cannot be reached."""
    _check_installed(name)
    here = cached(known)
    where = {"local_files_only": True} if here else {}
    try:
        if not here:
            _reach_hub()
            logger.warning(f"{name}: downloading {known.hub_id}{licence}")
        return _load(known.hub_id, name, known.kind, known.sigma, where | {"revision": known.revision or "main"})
    except OSError as error:
        raise InputError(f"{name}: cannot be had from the hub ({_first_line(error)}){ways}") from error


def _reach_hub() -> None:
    """Raise `OSError` where the hub does not answer: its own client tries for half a minute and tells every time."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception as error:
        raise OSError(f"{constants.ENDPOINT} does not answer: {_first_line(error)}") from error


def _load(
    source: str, name: str, kind: DepthKind | None, sigma: float, where: dict[str, Any] | None = None
) -> CallableModel:
    _check_installed(name)
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation

    where = where or {}
    with _quiet_transformers():
        config = _try(AutoConfig, source, name, where)
        if config.model_type in _NEEDS_MORE:
            raise InputError(
                f"{name}: a {config.model_type} network needs {_NEEDS_MORE[config.model_type]}, which sfm has not"
            )
        if config.model_type not in KINDS and type(config) not in AutoModelForDepthEstimation._model_mapping:
            raise InputError(f"{name}: a {config.model_type} network, which gives no depth")
        plain = config.model_type == "depth_pro"
        processor = _try(_PlainLoader if plain else AutoImageProcessor, source, name, where)
        network = _try(AutoModelForDepthEstimation, source, name, where)
    if getattr(config, "depth_estimation_type", None) == "metric":
        kind = "metric"
    runner = HuggingFaceNetwork(network, processor, name)
    batch = BATCH_SIZE[runner.device.type]
    revision = _revision(source, where)
    logger.info(f"{name}: {config.model_type}, revision {revision}, on {runner.device}")
    return CallableModel(
        InBatches(runner, batch, name), kind or KINDS.get(config.model_type, "affine_disparity"), sigma, batch, name,
        revision=revision, seen=runner, settings={"longest_side_px": MAP_SIDE},
    )  # fmt: skip


def _check_installed(name: str) -> None:
    try:
        import PIL  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("torch, transformers and pillow", "depth", f"the depth network {name}") from error


class _PlainLoader:
    """Loads `PlainProcessor` where `AutoImageProcessor` would need torchvision."""

    @staticmethod
    def from_pretrained(source: str, **where: Any) -> PlainProcessor:
        from transformers.image_processing_base import ImageProcessingMixin

        return PlainProcessor(**ImageProcessingMixin.get_image_processor_dict(source, **where)[0])


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """What goes wrong is raised as one line; its reports and progress bars are for people who train."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _revision(source: str, where: dict[str, Any]) -> str:
    """The commit at the hub, or what tells a folder's files from others; empty where neither can be known."""
    folder = Path(source)
    if folder.is_dir():
        weights = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
        return fingerprint(*sorted([*folder.glob("*config.json"), *weights]))
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(source, "config.json", revision=where.get("revision"))
    return Path(file).parent.name if isinstance(file, str) else ""  # the cache has a folder for each commit


def _try(loader: Any, source: str, name: str, where: dict[str, Any]) -> Any:
    """Load one part; what is missing or damaged becomes one line."""
    try:
        if loader.__name__ == "AutoModelForDepthEstimation":
            network, report = loader.from_pretrained(source, output_loading_info=True, **where)
            missing = [key for key in report["missing_keys"] if _UNUSED not in key]
            if missing:
                raise InputError(f"{name}: its weights lack {len(missing)} tensors ({missing[0]} ...): not complete")
            return network
        return loader.from_pretrained(source, **where)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{name}: needs a package that sfm does not ask for ({_first_line(error)})") from error
    except (ValueError, RuntimeError, KeyError, TypeError, EOFError) as error:
        if "mismatched_sizes" in str(error):
            raise InputError(f"{name}: its weights have other shapes than its config.json says") from error
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
