"""Seven depth priors, from the truth to its opposite, on shots with parallax: none may make the solve worse.

usage: python benchmarks/prior_never_hurts.py SHARED_DATA [shots ...]

SHARED_DATA holds rendered_dolly, hololens_office and depth_network. Each prior is solved as by default and with weight
0, and once the shot without any prior, all from the same tracks. Prints one Markdown row a solve; the ratio is to the
better of "start only" and "no prior". Then, for every shot, how far the slide with one depth model is from that with
another.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom
from scipy.spatial.transform import Rotation

from sfm.depth import load, sample_depth
from sfm.geometry import Camera, Rigid3, Sim3
from sfm.mapping import MappingOptions
from sfm.pipeline import Options, reconstruct_tracks
from sfm.prior_weight import PriorWeightOptions
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.synthetic import make_shot
from sfm.tracking import track_points
from sfm.video import Video, open_video

AS_TRACKED = MappingOptions()
LIKE_NETWORKS = ("15 % low-frequency error", "30 % low-frequency error", "network-like", "TFLite network")


@dataclass
class Case:
    """A shot: tracks, lens, true cameras, true points (n, 3) seen in the middle frame, priors by name."""

    tracks: Tracks
    camera: Camera
    truth: Rigid3
    points: np.ndarray
    priors: dict[str, DepthPriors]


def smooth_field(rng: np.random.Generator, xy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A low-frequency function of the picture, standard deviation 1, read at xy (n, 2)."""
    field = zoom(rng.standard_normal((4, 6)), 16, order=3, mode="nearest")
    field = (field - field.mean()) / field.std()
    column, row = (np.clip(xy / size, 0, 0.999) * field.shape[::-1]).astype(int).T
    return field[row, column]


def variants(
    tracks: Tracks, camera: Camera, depth: np.ndarray, relief: np.ndarray | float = 0.0, seed: int = 0
) -> dict[str, DepthPriors]:
    """Priors made from the true depth of each observation, NaN where unknown, and the relief of its map there."""
    rng = np.random.default_rng(seed)
    field = smooth_field(rng, tracks.xy, (camera.width, camera.height))
    middle = np.nanmedian(depth)
    edges, none = np.broadcast_to(relief, depth.shape), np.zeros(len(depth))
    rough = np.abs(2.2 + 0.4 * rng.standard_normal(len(depth)))  # range of such noise over a patch
    made = {
        "true depth": (depth, 0.05, edges),
        "15 % low-frequency error": (depth * np.exp(0.15 * field), 0.15, edges),
        "30 % low-frequency error": (depth * np.exp(0.3 * field), 0.3, edges),
        "constant depth": (np.where(np.isfinite(depth), middle, np.nan), 0.3, none),
        "inverted depth": (middle**2 / depth, 0.3, edges),
        "random noise": (middle * np.exp(0.5 * rng.standard_normal(len(depth))), 0.3, rough),
    }
    return {name: DepthPriors(d, np.where(np.isfinite(d), sigma, np.nan), r) for name, (d, sigma, r) in made.items()}


def _networks(shared: Path, video: Video, tracks: Tracks) -> dict[str, DepthPriors]:
    file = shared / "depth_network" / "optimized_pydnet++.tflite"
    model = load(file)
    return {} if model is None else {"TFLite network": sample_depth(model, video, tracks)}


def dolly(shared: Path) -> Case:
    """The rendered push-in, its true depth at half size."""
    folder = shared / "rendered_dolly"
    truth = json.loads((folder / "gt.json").read_text())
    lens = truth["frames"][0]
    camera = Camera([lens["fx"], lens["fy"]], [lens["cx"], lens["cy"]], [], truth["width"], truth["height"])
    video = open_video(folder / "frames")
    tracks = track_points(video)
    with np.load(folder / "depth.npz") as data:
        maps = data["depth"].astype(float)
    depth = _read(maps, tracks, camera)
    prior = sample_depth(load(folder / "prior"), video, tracks)  # pyright: ignore[reportArgumentType]
    priors = variants(tracks, camera, depth, prior.relief) | {"network-like": prior} | _networks(shared, video, tracks)
    cams = Rigid3.from_matrix([frame["cam_from_world"] for frame in truth["frames"]])
    return Case(tracks, camera, cams, _inserted(tracks, camera, cams, depth), priors)


def office(shared: Path) -> Case:
    """A headset's shot with the poses and depth of its sensors."""
    folder = shared / "hololens_office"
    lens = json.loads((folder / "intrinsics.json").read_text())
    camera = Camera([lens["fx"], lens["fy"]], [lens["cx"] + 0.5, lens["cy"] + 0.5], [], 540, 360)
    video = open_video(folder / "rgb")
    tracks = track_points(video)
    sensor = sample_depth(load(folder / "depth"), video, tracks)  # pyright: ignore[reportArgumentType]
    rows = np.loadtxt(folder / "poses_c2w.txt")
    by_number = {int(row[0]): row[1:] for row in rows}
    poses = np.array([by_number.get(int(n), np.full(7, np.nan)) for n in video.shot.frame_numbers])
    known = np.isfinite(poses[:, 0])
    rotation = np.full((len(poses), 3, 3), np.nan)
    rotation[known] = Rotation.from_quat(poses[known, 3:]).as_matrix()
    cams = Rigid3(rotation, poses[:, :3]).inverse()
    priors = variants(tracks, camera, sensor.depth / 1000, sensor.relief) | _networks(shared, video, tracks)
    return Case(tracks, camera, cams, _inserted(tracks, camera, cams, sensor.depth / 1000), priors)


def synthetic(motion: str, frames: int = 48) -> Case:
    """An exact shot with noise and outliers."""
    rng = np.random.default_rng(3)
    shot = make_shot(motion, rng=rng, num_frames=frames, num_tracks=500, noise_px=0.3, outlier_ratio=0.1)  # pyright: ignore[reportArgumentType]
    depth = shot.cams_from_world[shot.tracks.frame].apply(shot.points[shot.tracks.track])[:, 2]
    return Case(shot.tracks, shot.camera, shot.cams_from_world, shot.points, variants(shot.tracks, shot.camera, depth))


def _read(maps: np.ndarray, tracks: Tracks, camera: Camera) -> np.ndarray:
    height, width = maps.shape[1:]
    column = np.clip(tracks.xy[:, 0] * width / camera.width, 0, width - 1).astype(int)
    row = np.clip(tracks.xy[:, 1] * height / camera.height, 0, height - 1).astype(int)
    depth = maps[tracks.frame, row, column]
    return np.where((depth > 0) & (depth < 100), depth, np.nan)


def _inserted(tracks: Tracks, camera: Camera, cams: Rigid3, depth: np.ndarray) -> np.ndarray:
    middle = tracks.num_frames // 2
    here = tracks.in_frame(middle)
    here = here[np.isfinite(depth[here])]
    ray = np.column_stack([camera.cam_from_img(tracks.xy[here]), np.ones(len(here))])
    return cams[middle].inverse().apply(ray * depth[here, None])


def measured(solved: Reconstruction, case: Case) -> tuple[float, float]:
    """ATE in per cent of the path's extent and the 95th percentile slide of the inserted points, px."""
    use = solved.registered & np.isfinite(case.truth.translation[:, 0])
    found, true = solved.centers_in_world[use], case.truth[use].centers_in_world
    error = Sim3.from_points(found, true).apply(found) - true
    extent = np.linalg.norm(true[:, None] - true[None], axis=-1).max()
    ate = 100 * np.sqrt((error**2).sum(1).mean()) / extent
    middle = int(np.flatnonzero(use)[np.argmin(np.abs(np.flatnonzero(use) - len(use) // 2))])
    true_depth = case.truth[middle].apply(case.points)
    true_size, found_size = (np.linalg.norm(path - path.mean(0), axis=1).mean() for path in (true, found))
    true_scale = true_size / found_size
    in_world = solved.cams_from_world[middle].inverse().apply(true_depth / true_scale)
    slides = []
    for frame in np.flatnonzero(use):
        ours = solved.camera.at(frame).img_from_cam(solved.cams_from_world[frame].apply(in_world))
        theirs = case.camera.at(frame).img_from_cam(case.truth[frame].apply(case.points))
        inside = (
            np.isfinite(theirs).all(1) & (theirs > 0).all(1) & (theirs < [case.camera.width, case.camera.height]).all(1)
        )
        slides.append(np.linalg.norm(ours - theirs, axis=1)[inside])
    return float(ate), float(np.nanquantile(np.concatenate(slides), 0.95))


def solve(case: Case, priors: DepthPriors | None, weight: float | None):
    """One solve from the tracks."""
    options = Options(mapping=AS_TRACKED, prior_weight=PriorWeightOptions(weight=weight))
    return reconstruct_tracks(case.tracks, priors, case.camera, options)


CASES = {
    "rendered_dolly": dolly,
    "hololens_office": office,
    "synthetic dolly": lambda shared: synthetic("dolly"),
    "synthetic orbit": lambda shared: synthetic("orbit"),
    "synthetic handheld": lambda shared: synthetic("handheld"),
}


def main(shared: Path, names: list[str]) -> None:
    """Print the table."""
    print(
        "| shot | prior | ATE % | slide px | start only | no prior | ratio ATE | ratio slide | weight | report says |"
    )
    print("|---" * 10 + "|")
    spreads = []
    for name in names or list(CASES):
        case = CASES[name](shared)
        slides = {}
        bare = measured(solve(case, None, 0.0)[0], case)
        for prior, priors in case.priors.items():
            start = measured(solve(case, priors, 0.0)[0], case)
            solved, report = solve(case, priors, None)
            ate, slide = measured(solved, case)
            slides[prior] = slide
            best = [min(a, b) for a, b in zip(start, bare, strict=True)]
            pairs = [f"{a:.3f} / {b:.3f}" for a, b in (start, bare)]
            says = report.prior_weight.agreement
            print(
                f"| {name} | {prior} | {ate:.3f} | {slide:.3f} | {pairs[0]} | {pairs[1]} | {ate / best[0]:.2f} |"
                f" {slide / best[1]:.2f} | {report.prior_weight.weight:.3g} | {report.motion.motion}, {says} |",
                flush=True,
            )
        of_networks = [slides[prior] for prior in LIKE_NETWORKS if prior in slides]
        spreads.append(f"{name} {100 * (max(of_networks) / min(of_networks) - 1):.0f} %")
    print(f"\nSlide with the worst of {', '.join(LIKE_NETWORKS)} beside the best: {'; '.join(spreads)}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
