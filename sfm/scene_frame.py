"""Where an artist wants the scene: y up, the floor at 0, metres. Kept beside a solve, which itself is never touched.

A frame is the similarity `scene_from_world` between two worlds of our own axes (x right, y down, z forward): the floor
lies at y = 0, and the first camera looks along z but for its tilt. Exporters flip axes as ever, so that film programs
find y up, the camera looking along their -z.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sfm.errors import InputError, reason
from sfm.files import replacing
from sfm.geometry.transform import Sim3
from sfm.ground import find_ground
from sfm.prior_alignment import Agreement
from sfm.scene import Reconstruction

SCENE_FRAME = "scene_frame.json"
FORMAT_VERSION = 1
MIN_GROUND_DEG = 2.0  # between the sides of the triangle that three tracks on the ground make


@dataclass(frozen=True, slots=True, eq=False)
class SceneFrame:
    """scene_from_world: from the world of a solve; unit: what lengths are written in unless told otherwise, a unit of
    the scene being a metre; said: how it was found and how sure that is; told: what it was asked for, in words by name
    of the option, as `sfm orient` keeps it for the next time."""

    scene_from_world: Sim3
    unit: Literal["m", "cm"] = "m"
    said: tuple[str, ...] = ()
    told: Mapping[str, str] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write `scene_frame.json` into a folder; where it is. Raises `InputError` where it cannot be written."""
        told = {
            "format_version": FORMAT_VERSION,
            "scale": float(self.scene_from_world.scale),
            "rotation": self.scene_from_world.rotation.tolist(),
            "translation": self.scene_from_world.translation.tolist(),
            "unit": self.unit,
            "said": list(self.said),
            "told": dict(self.told),
        }
        with replacing(Path(folder) / SCENE_FRAME) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        return Path(folder) / SCENE_FRAME

    @classmethod
    def load(cls, folder: str | Path) -> "SceneFrame | None":
        """What `save` wrote into a folder, None where there is none. Raises `InputError` where it cannot be read."""
        path = Path(folder) / SCENE_FRAME
        if not path.is_file():
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["format_version"] != FORMAT_VERSION or told["unit"] not in ("m", "cm"):
                raise ValueError("of a kind that is not known here")
            frame = Sim3(told["scale"], told["rotation"], told["translation"])
            return cls(frame, told["unit"], tuple(told["said"]), dict(told.get("told", {})))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: cannot be read ({reason(error)}); sfm orient --reset takes it away") from error


@dataclass(frozen=True, slots=True)
class World:
    """What is known of the world that a scene is drawn in.

    upright: y is down, as `sfm orient` made it; else how the cameras were held tells; unit: what lengths are called,
    metres where a length was told or the depth prior is metric; said: how it was oriented, empty where it was not.
    """

    upright: bool = False
    unit: Literal["m", "units"] = "units"
    said: tuple[str, ...] = ()

    @classmethod
    def of(cls, solve: Mapping[str, Any], frame: SceneFrame | None) -> "World":
        """Of a result: solve is what its `solve.json` says, frame the one it was given, None without."""
        scaled = frame is not None and float(frame.scene_from_world.scale) != 1.0
        unit = "m" if scaled or is_metric(solve) else "units"
        return cls(unit=unit) if frame is None else cls(True, unit, frame.said)

    def length(self, length: float) -> str:
        """A length with its unit, three digits."""
        number = f"{float(f'{length:.3g}'):g}"
        return f"{number} {'unit' if number == '1' and self.unit == 'units' else self.unit}"


AS_SOLVED = World()


def is_metric(solve: Mapping[str, Any]) -> bool:
    """Whether a solve's unit is the metre, because its depth prior's is; a survey, and a track that the solve started
    from, have a unit of their own."""
    options, prior = solve.get("options", {}), solve.get("depth_prior") or {}
    if solve.get("survey") or options.get("start_camera"):
        return False
    believed = prior.get("agreement") in (Agreement.AGREES, Agreement.UNCHECKED)
    return believed and (options.get("depth_model") or {}).get("kind") == "metric"


def orient(
    reconstruction: Reconstruction,
    up: np.ndarray | None = None,
    ground: np.ndarray | None = None,
    origin: np.ndarray | None = None,
    scale: float = 1.0,
) -> SceneFrame:
    """The frame in which a solve stands upright.

    up (3,): away from gravity; None: square on `ground` where that is told, else found (`find_ground`). ground (n, 3):
    points on it, three or more; None: found. origin (3,): what becomes 0, 0, 0; None: what is on the ground straight
    below the first camera, or that camera where there is no ground. All in the solve's world. scale: length in the
    scene of a unit of the solve. Where an origin is told the floor need not be at 0.

    Raises `InputError` where no frame has a camera, or points on the ground lie in a line.
    """
    frames = np.flatnonzero(reconstruction.has_camera)
    if not len(frames):
        raise InputError("no frame has a camera; there is nothing to orient")
    first = reconstruction.cams_from_world[int(frames[0])].inverse()
    if ground is None:
        found = find_ground(reconstruction, up)
        up, height, said = found.up, found.height, found.said
    else:
        square = _square_on(ground, first.translation)
        up = square if up is None else up / np.linalg.norm(up)
        height, said = float(up @ ground.mean(axis=0)), [f"the ground is as it was told, by {len(ground)} points"]
    if origin is None:
        above = up @ first.translation - height
        origin = first.translation - (above if np.isfinite(above) else 0.0) * up
    rotation = _upright(up, first.rotation)
    return SceneFrame(Sim3(np.array(scale), rotation, -scale * rotation @ origin), said=tuple(said))


def _square_on(ground: np.ndarray, center: np.ndarray) -> np.ndarray:
    """The normal (3,) of a plane through points (n, 3), towards a camera's centre."""
    middle = ground.mean(axis=0)
    _, spread, axes = np.linalg.svd(ground - middle)
    if len(ground) < 3 or spread[1] <= np.sin(np.radians(MIN_GROUND_DEG)) * spread[0]:
        raise InputError("the points on the ground lie in a line; choose three that span it")
    return axes[2] * (1.0 if axes[2] @ (center - middle) >= 0 else -1.0)


def _upright(up: np.ndarray, world_from_cam: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) after which y is down, and the camera looks along z but for its tilt."""
    forward = world_from_cam[:, 2]
    if abs(forward @ up) > np.cos(np.radians(1.0)):  # straight down or up: what is above in its picture is ahead
        forward = -world_from_cam[:, 1]
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return np.stack([right, -up, np.cross(up, right)])
