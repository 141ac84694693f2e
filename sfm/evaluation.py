"""How right a reconstruction is: six measures against a ground truth, free of its scale and world.

Trajectory errors after Sturm et al. 2012 (absolute after a similarity, relative over frame pairs) and Jin et al. 2021
(pose AUC); the slide is what an artist sees: a digital point put at its true depth that drifts off the plate.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from zipfile import BadZipFile

import numpy as np

from sfm.errors import InputError, reason
from sfm.geometry.camera import Camera
from sfm.geometry.rotation import rotation_angle
from sfm.geometry.transform import Rigid3, Sim3
from sfm.scene import Reconstruction
from sfm.video import Shot

MAX_PAIRS = 4000  # frame pairs compared; a longer shot is sampled
NODAL_PATH = 1e-6  # a true path shorter than this, in the truth's unit, is a camera that only turns
MIN_BASELINE = 0.1  # part of the path's diameter below which a pair has no direction worth comparing
AUC_LIMIT_DEG = 10.0
MAX_TRUE_DEPTH = 100.0  # farther than this is sky
GRID_STEP, GRID_MARGIN = 12, 6  # inserted points, in px of the true depth map
MIN_SCALE_POINTS = 10  # model points the scene's scale is read from


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """What is known of a shot.

    camera: batch `(frames,)`, no distortion; cams_from_world (frames,); frame_names: file names of the frames;
    depth (frames, height, width) of any size, along z in the unit of the cameras, or None.
    """

    camera: Camera
    cams_from_world: Rigid3
    frame_names: tuple[str, ...]
    depth: np.ndarray | None = None

    @classmethod
    def load(cls, gt_json: str | Path, depth_npz: str | Path | None = None) -> "GroundTruth":
        """Read `width`, `height` and per frame `name`, `cam_from_world` (3, 4), `fx`, `fy`, `cx`, `cy`; array `depth`.

        Raises `InputError` when a file is missing, malformed, or the two are of different shots.
        """
        try:
            data = json.loads(Path(gt_json).read_text(encoding="utf-8"))
            frames = data["frames"]
            lens = np.array([[frame[key] for key in ("fx", "fy", "cx", "cy")] for frame in frames], dtype=float)
            camera = Camera(lens[:, :2], lens[:, 2:], np.zeros(0), int(data["width"]), int(data["height"]))
            cams_from_world = Rigid3.from_matrix([frame["cam_from_world"] for frame in frames])
            names = tuple(PurePath(frame["name"]).name for frame in frames)
        except FileNotFoundError as error:
            raise InputError(f"{gt_json}: no such file") from error
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"{gt_json}: not a ground truth of cameras ({reason(error)})") from error
        depth = None if depth_npz is None else _load_depth(depth_npz, len(names))
        return cls(camera, cams_from_world, names, depth)


@dataclass(frozen=True, slots=True)
class Measures:
    """Errors of a reconstruction, NaN where undefined: of a camera that only turns, there is no path to compare.

    coverage: registered frames, per cent; bridged: frames whose camera is interpolated, per cent, which are not
    compared, NaN without any; points: tracks with a point;
    rpe_rot_deg: mean error of the rotation between two frames, degrees;
    ate_pct: root mean square error of the camera centres after a similarity, per cent of the true path's diameter;
    rpe_dir_deg: median error of the direction of motion between two frames, degrees;
    auc10: area under the curve of pairs whose rotation and direction are within 0 .. 10 degrees, 0 .. 1;
    focal_err_pct: median error of the focal length, per cent;
    slide_px, slide_med_px: how far points inserted at their true depth in the middle frame land from where they
    belong, over all frames, px: 95th percentile and median;
    depth_logstd: robust standard deviation of the log depth of the points in the middle frame;
    path_over_depth: of a camera that only turns, the radius of the path found over the depth of the scene.
    """

    coverage: float
    points: int
    bridged: float = float("nan")
    rpe_rot_deg: float = float("nan")
    ate_pct: float = float("nan")
    rpe_dir_deg: float = float("nan")
    auc10: float = float("nan")
    focal_err_pct: float = float("nan")
    slide_px: float = float("nan")
    slide_med_px: float = float("nan")
    depth_logstd: float = float("nan")
    path_over_depth: float = float("nan")

    def as_dict(self) -> dict[str, float | int | None]:
        """Rounded to what a reader compares; None where undefined."""
        digits = {"coverage": 2, "bridged": 2, "rpe_rot_deg": 4, "auc10": 4, "depth_logstd": 4, "path_over_depth": 5}
        rounded = {name: round(value, digits.get(name, 3)) for name, value in asdict(self).items()}
        return {name: None if np.isnan(value) else value for name, value in rounded.items()}


def evaluate(reconstruction: Reconstruction, shot: Shot, ground_truth: GroundTruth) -> Measures:
    """Compare with the truth, frames matched by name: the same stem, or else the same digits.

    Lens distortion is left out on both sides: the measures speak of the undistorted plate. The limit of `slide_px` is
    that the middle frame and the points seen there set the scale, as an artist would; it is NaN without true depth.

    Raises `InputError` when a registered frame is no frame of the truth, none is registered, or the plates differ.
    """
    registered = np.flatnonzero(reconstruction.registered)
    if not len(registered):
        raise InputError(f"{shot.name}: no frame is registered; there is nothing to evaluate")
    found, true = (f"{c.width}x{c.height}" for c in (reconstruction.camera, ground_truth.camera))
    if found != true:
        raise InputError(f"{shot.name}: its plate is {found}, the truth's {true}: the truth of another shot?")
    names = [shot.frame_names[frame] for frame in registered]
    true_frames = _match(names, ground_truth.frame_names)
    order = np.argsort(true_frames, kind="stable")
    registered, true_frames = registered[order], true_frames[order]

    found = _Path(reconstruction.camera.without_distortion(), reconstruction.cams_from_world, registered)
    truth = _Path(ground_truth.camera, ground_truth.cams_from_world, true_frames)
    points = reconstruction.points[reconstruction.has_point]
    nodal = _diameter(truth.centers) < NODAL_PATH
    measures = {
        "focal_err_pct": float(np.median(100 * np.abs(found.focal_lengths / truth.focal_lengths - 1))),
        **_relative_errors(found, truth, nodal),
    }
    if not nodal:
        aligned = Sim3.from_points(found.centers, truth.centers).apply(found.centers)
        rms = np.sqrt(np.mean(np.sum((aligned - truth.centers) ** 2, axis=1)))
        measures["ate_pct"] = float(100 * rms / _diameter(truth.centers))
    if ground_truth.depth is not None:
        measures |= _insertion_errors(found, truth, points, ground_truth, nodal)
    coverage = 100 * len(registered) / len(ground_truth.frame_names)
    if reconstruction.bridged.any():
        measures["bridged"] = float(100 * reconstruction.bridged.sum() / len(ground_truth.frame_names))
    return Measures(coverage=coverage, points=len(points), **measures)


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """A lens, the cameras of a shot and the frames of it that are compared, in shot order."""

    camera: Camera
    cams_from_world: Rigid3
    frames: np.ndarray

    @property
    def poses(self) -> Rigid3:
        return self.cams_from_world[self.frames]

    @property
    def centers(self) -> np.ndarray:
        return self.poses.centers_in_world

    @property
    def focal_lengths(self) -> np.ndarray:
        """Horizontal focal lengths, px: one a frame, or one for all."""
        return self.camera.at(self.frames).focal_length[..., 0]

    def img_from_world(self, k: int, points: np.ndarray) -> np.ndarray:
        """Pixels of points (n, 3) in the k-th frame compared, NaN behind the camera."""
        return self.camera.at(self.frames[k]).img_from_cam(self.poses[k].apply(points))


def _match(names: list[str], true_names: tuple[str, ...]) -> np.ndarray:
    """Index of each name among the true ones."""
    stems = {PurePath(name).stem: index for index, name in enumerate(true_names)}
    numbers: dict[str, int] = {}
    for stem, index in stems.items():
        numbers.setdefault(_number(stem), index)
    matched = []
    for name in names:
        stem = PurePath(name).stem
        number = _number(stem)
        if stem not in stems and (not number or number not in numbers):
            raise InputError(f"{name}: not a frame of the ground truth ({true_names[0]} .. {true_names[-1]})")
        matched.append(stems[stem] if stem in stems else numbers[number])
    return np.array(matched)


def _number(stem: str) -> str:
    digits = "".join(c for c in stem if c.isdigit())
    return digits.lstrip("0") or digits[:1]


def _diameter(centers: np.ndarray) -> float:
    return float(np.linalg.norm(centers[:, None] - centers, axis=-1).max())


def _relative_errors(found: _Path, truth: _Path, nodal: bool) -> dict[str, float]:
    """Errors of the motion between pairs of frames."""
    first, second = np.triu_indices(len(found.frames), 1)
    if len(first) > MAX_PAIRS:
        sample = np.random.default_rng(0).choice(len(first), MAX_PAIRS, replace=False)
        first, second = first[sample], second[sample]
    if not len(first):
        return {}
    cam2_from_cam1 = found.poses[second] @ found.poses[first].inverse()
    true_cam2_from_cam1 = truth.poses[second] @ truth.poses[first].inverse()
    rotation_deg = np.degrees(rotation_angle(cam2_from_cam1.rotation.mT @ true_cam2_from_cam1.rotation))
    errors = {"rpe_rot_deg": float(rotation_deg.mean())}
    wide = np.linalg.norm(true_cam2_from_cam1.translation, axis=1) > MIN_BASELINE * _diameter(truth.centers)
    if not nodal and wide.any():
        direction_deg = _angle_deg(cam2_from_cam1.translation, true_cam2_from_cam1.translation)[wide]
        worse = np.maximum(rotation_deg[wide], direction_deg)
        errors["rpe_dir_deg"] = float(np.median(direction_deg))
        errors["auc10"] = float(np.mean(np.clip(1 - worse / AUC_LIMIT_DEG, 0, 1)))
    return errors


def _angle_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-15)
    return np.degrees(np.arccos(np.clip(np.sum(a * b, axis=1) / lengths, -1, 1)))


def _insertion_errors(
    found: _Path, truth: _Path, points: np.ndarray, ground_truth: GroundTruth, nodal: bool
) -> dict[str, float]:
    """Where points set at their true depth in the middle frame are seen through the cameras found."""
    assert ground_truth.depth is not None
    middle = int(np.argmin(np.abs(truth.frames - len(ground_truth.frame_names) // 2)))
    depth_map = ground_truth.depth[truth.frames[middle]].astype(float)
    size = np.array([truth.camera.width, truth.camera.height])
    map_size = np.array(depth_map.shape[::-1])

    depth, true_depth = _depths_beside_truth(found, middle, points, depth_map, map_size / size)
    if len(depth) < MIN_SCALE_POINTS:
        return {}
    scale = float(np.median(depth / true_depth))
    errors = {"depth_logstd": float(1.4826 * np.median(np.abs(np.log(depth / true_depth / scale))))}

    column, row = np.meshgrid(*(np.arange(GRID_MARGIN, n - GRID_MARGIN, GRID_STEP) for n in map_size))
    z = depth_map[row.ravel(), column.ravel()]
    known = _is_known(z)
    z = z[known]
    xy = np.column_stack([column.ravel(), row.ravel()])[known] + 0.5
    placed = _lift(truth, middle, xy * size / map_size, z)
    inserted = _lift(found, middle, xy * size / map_size, scale * z)
    slides = []
    for k in range(len(found.frames)):
        true_xy, xy = truth.img_from_world(k, placed), found.img_from_world(k, inserted)
        on_plate = ((true_xy > 0) & (true_xy < size)).all(axis=1) & np.isfinite(xy).all(axis=1)
        slides.append(np.linalg.norm(xy - true_xy, axis=1)[on_plate])
    slide = np.concatenate(slides)
    if len(slide):
        errors |= {"slide_px": float(np.percentile(slide, 95)), "slide_med_px": float(np.median(slide))}
    if nodal:
        radius = np.linalg.norm(found.centers - found.centers.mean(axis=0), axis=1).max()
        errors["path_over_depth"] = float(radius / (scale * np.median(z)))
    return errors


def _depths_beside_truth(found: _Path, k: int, points: np.ndarray, depth_map: np.ndarray, map_from_plate: np.ndarray):
    """Depth of the model's points in one frame and the true depth at the same pixels, where both are known."""
    in_cam = found.poses[k].apply(points)
    in_cam = in_cam[in_cam[:, 2] > 0]
    xy = found.camera.at(found.frames[k]).img_from_cam(in_cam) * map_from_plate
    # truncated, not floored: what lies up to a pixel left of or above the map reads its first column or row
    column, row = np.clip(xy, -1e6, 1e6).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < depth_map.shape[1]) & (row < depth_map.shape[0])
    true_depth = depth_map[row[inside], column[inside]]
    known = _is_known(true_depth)
    return in_cam[inside][known, 2], true_depth[known]


def _is_known(depth: np.ndarray) -> np.ndarray:
    return np.isfinite(depth) & (depth > 0) & (depth < MAX_TRUE_DEPTH)


def _lift(path: _Path, k: int, xy: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """World points (n, 3) seen at xy (n, 2) px at a depth (n,) in the k-th frame compared."""
    cam_points = path.camera.at(path.frames[k]).cam_from_img(xy)
    in_cam = np.column_stack([cam_points, np.ones(len(xy))]) * depth[:, None]
    return path.poses[k].inverse().apply(in_cam)


def _load_depth(path: str | Path, frames: int) -> np.ndarray:
    try:
        with open(path, "rb") as file, np.load(file) as data:  # numpy leaves the file open when it is damaged
            depth = data["depth"]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, KeyError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: not a file of true depth with an array 'depth' ({reason(error)})") from error
    if depth.ndim != 3 or len(depth) != frames:
        raise InputError(f"{path}: depth of shape {depth.shape}, expected ({frames}, height, width) as of the cameras")
    return depth
