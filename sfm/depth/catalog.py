"""Depth networks known by name: where they are, under which licence, what they give."""

from dataclasses import dataclass
from difflib import get_close_matches

from sfm.depth.model import DepthKind
from sfm.errors import InputError


@dataclass(frozen=True, slots=True)
class Known:
    """A network on the Hugging Face hub.

    kind: None where its own configuration has to tell;
    revision: the commit that is loaded; None where none was verified: then the newest, which is recorded with the maps;
    sigma: relative standard deviation of its depth to start from, estimated anew on every shot.
    """

    hub_id: str
    licence: str
    kind: DepthKind | None
    sigma: float
    revision: str | None = None

    @property
    def commercial(self) -> bool:
        """Whether the licence lets a studio use it in paid work."""
        return "non-commercial" not in self.licence


# starting sigmas: published relative errors of the networks, rounded up (Yang et al. 2024, Bochkovskii et al. 2024,
# Bhat et al. 2023, Ranftl et al. 2021)
CATALOG = {
    "depth-anything-v2-small": Known(
        "depth-anything/Depth-Anything-V2-Small-hf", "Apache-2.0", "affine_disparity", 0.08,
        "5426e4f0f36572d16453bbda7a8389317b1bef99",
    ),
    "depth-anything-v2-base": Known(
        "depth-anything/Depth-Anything-V2-Base-hf", "CC-BY-NC-4.0 (non-commercial)", "affine_disparity", 0.08
    ),
    "depth-anything-v2-large": Known(
        "depth-anything/Depth-Anything-V2-Large-hf", "CC-BY-NC-4.0 (non-commercial)", "affine_disparity", 0.08
    ),
    "depth-anything-v2-metric-indoor-small": Known(
        "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf", "Apache-2.0", "metric", 0.1
    ),
    "depth-anything-v2-metric-outdoor-small": Known(
        "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf", "Apache-2.0", "metric", 0.1
    ),
    "depth-pro": Known("apple/DepthPro-hf", "Apple ML research (non-commercial)", "metric", 0.09),
    "zoedepth": Known("Intel/zoedepth-nyu-kitti", "MIT", "metric", 0.15),
    "midas-dpt-large": Known("Intel/dpt-large", "Apache-2.0", "affine_disparity", 0.2),
    "midas-dpt-hybrid": Known("Intel/dpt-hybrid-midas", "Apache-2.0", "affine_disparity", 0.2),
}  # fmt: skip

DEFAULT = "depth-anything-v2-small"


def known(name: str) -> Known:
    """The network of that name. Raises `InputError` that lists the closest names."""
    if name in CATALOG:
        return CATALOG[name]
    close = [] if "/" in name or "\\" in name else get_close_matches(name.lower(), CATALOG, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else f"models are {', '.join(CATALOG)}"
    raise InputError(f"depth {name!r}: no such folder, file or model; {hint}")
