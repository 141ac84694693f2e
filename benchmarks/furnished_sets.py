"""What `sets.py` renders made into shots: true cameras and depth, and depth maps as networks spoil them.

No constant in `sfm` was chosen on these sets. Each comes with maps whose depth is squeezed, wrong by a smooth field of
20 % and blurred at a quarter of the size (`data/make_priors.py`), the same as affine disparity of unknown scale and
offset, true depth of that size, which shows what is lost by size alone, and, where a `.tflite` network is given, that.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sfm.depth import DepthKind
from sfm.evaluation import GroundTruth
from sfm.images import read_exr

HERE = Path(__file__).parent
SMALLER = 4  # than the plate, maps
SHIFT = 0.35  # of the median disparity, that affine disparity leaves out


@dataclass(frozen=True)
class FurnishedShot:
    """A rendered shot: its frames, its lens (focal length, width and height, px), the truth, and its depth maps: where,
    and what they hold.
    """

    frames: Path
    lens: tuple[float, int, int]
    truth: GroundTruth
    priors: dict[str, tuple[Path, DepthKind]]


def render(blender: Path, folder: Path) -> None:
    """Render all sets that a folder lacks, by a Python that has `bpy`."""
    lacking = [name for name in ("room", "garden", "workshop") if not (folder / name / "gt.json").is_file()]
    if lacking:
        subprocess.run([blender, HERE / "sets.py", folder, *lacking], check=True, stdout=subprocess.DEVNULL)


def furnished_shots(folder: Path, network: Path | None = None) -> dict[str, FurnishedShot]:
    """The shots of a folder that `render` filled; maps are added beside the frames."""
    shots = {}
    for gt in sorted(folder.glob("*/gt.json")):
        place = gt.parent
        if not (place / "small").is_dir():
            _add_maps(place, json.loads(gt.read_text()))
        priors: dict[str, tuple[Path, DepthKind]] = {
            "true, as small": (place / "small", "metric"), "squeezed": (place / "squeezed", "depth"),
            "affine disparity": (place / "disparity", "affine_disparity"),
        }  # fmt: skip
        if network is not None:
            priors["network"] = (network, "depth")
        truth = GroundTruth.load(gt, place / "true_depth.npz")
        lens = float(truth.camera.focal_length[0, 0]), truth.camera.width, truth.camera.height
        shots[place.name] = FurnishedShot(place / "frames", lens, truth, priors)
    return shots


def _add_maps(place: Path, gt: dict) -> None:
    sys.path.insert(0, str(HERE.parent / "data"))
    from make_priors import SKY, network_depth

    read = [read_exr(file) for file in sorted((place / "depth").glob("*.exr"))]
    depth = np.stack([np.minimum(channels["ViewLayer.Depth.Z"], SKY) for channels in read if channels is not None])
    size = gt["width"] // SMALLER, gt["height"] // SMALLER
    small = np.stack([np.exp(cv2.resize(np.log(d), size, interpolation=cv2.INTER_AREA)) for d in depth])
    squeezed = network_depth(small.astype(float), gt, seed=sum(map(ord, place.name)))
    disparity = np.median(squeezed) / squeezed**1.25 * np.median(squeezed) ** 0.25
    for name, maps in (("squeezed", squeezed), ("disparity", 40 * (disparity - SHIFT)), ("small", small)):
        (place / name).mkdir(exist_ok=True)
        for frame, values in zip(gt["frames"], maps, strict=True):
            np.save(place / name / Path(frame["name"]).with_suffix(".npy"), values.astype(np.float32))
    np.savez_compressed(place / "true_depth.npz", depth=depth.astype(np.float16))
