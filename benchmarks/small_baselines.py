"""How little may the camera move? The same tracks given to sfm and to COLMAP, from a tenth of the depth downwards.

usage: python benchmarks/small_baselines.py [seeds]

Exact handheld and dolly shots of 20 frames and 300 points, 0.3 px noise, 10 % outliers; the prior has 20 % smooth error
and 5 % flicker. A solve succeeds when every frame has a camera and points put at their true depth slide by less than
2 px (of 1920) in 95 of 100 cases; a second table asks for 0.5 px. The row "turning only" has the true rotations and no
path: what it reaches needs no parallax. Writes small_baselines.md, .json and .png beside this file. Needs sfm[bench].
"""

import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from prior_never_hurts import AS_TRACKED, smooth_field

from sfm.errors import SfmError
from sfm.geometry import Rigid3
from sfm.pipeline import Options, reconstruct_tracks
from sfm.prior_weight import PriorWeightOptions
from sfm.scene import DepthPriors
from sfm.synthetic import SyntheticShot, make_shot

BASELINES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)  # longest distance between cameras over median depth
FRAMES, TRACKS = 20, 300
MAX_SLIDE_PX, STRICT_PX = 2.0, 0.5
MOST = 0.85  # of the shots, solved at a baseline that counts as reached
OURS = {"sfm": "prior", "sfm, start only": "start", "sfm, no depth": "none"}
TURNING = "turning only"
THEIRS = {"COLMAP incremental": "incremental", "COLMAP tuned": "tuned", "COLMAP global": "global"}


def slide_px(cams: Rigid3, registered: np.ndarray, points: np.ndarray, shot: SyntheticShot) -> float:
    """95th percentile distance of points put at their true depth in the middle frame, px; infinite without a solution.

    points (tracks, 3): found, NaN where not; they give the scale, as an artist's set measurement would.
    """
    if not registered.all():
        return float("inf")
    middle = FRAMES // 2
    true = shot.cams_from_world[middle].apply(shot.points)
    found = cams[middle].apply(points)
    scale = np.nanmedian(found[:, 2] / true[:, 2])
    in_world = cams[middle].inverse().apply(true * scale)
    slides = []
    for frame in range(FRAMES):
        theirs = shot.camera.img_from_cam(shot.cams_from_world[frame].apply(shot.points))
        ours = shot.camera.img_from_cam(cams[frame].apply(in_world))
        slides.append(np.linalg.norm(ours - theirs, axis=1))
    slides = np.concatenate(slides)
    return (
        float(np.quantile(np.nan_to_num(slides, nan=1e3), 0.95)) if np.isfinite(scale) and scale > 0 else float("inf")
    )


def turning_only(shot: SyntheticShot) -> float:
    """The slide of the true rotations about the middle camera's centre."""
    rotation = shot.cams_from_world.rotation
    center = shot.cams_from_world.centers_in_world[FRAMES // 2]
    return slide_px(Rigid3(rotation, -rotation @ center), np.ones(FRAMES, bool), shot.points, shot)


def network_like(shot: SyntheticShot, rng: np.random.Generator) -> DepthPriors:
    """20 % smooth error, 5 % flicker."""
    depth = shot.cams_from_world[shot.tracks.frame].apply(shot.points[shot.tracks.track])[:, 2]
    error = (
        0.2 * smooth_field(rng, shot.tracks.xy, (1920, 1080)) + 0.05 * rng.standard_normal(FRAMES)[shot.tracks.frame]
    )
    return DepthPriors(depth * np.exp(error), np.full(len(depth), 0.2))


def ours(shot: SyntheticShot, priors: DepthPriors, how: str) -> float:
    """The slide of our own solve."""
    options = Options(mapping=AS_TRACKED, prior_weight=PriorWeightOptions(weight=None if how == "prior" else 0.0))
    try:
        solved, _ = reconstruct_tracks(shot.tracks, None if how == "none" else priors, shot.camera, options)
    except SfmError:
        return float("inf")
    return slide_px(solved.cams_from_world, solved.registered, solved.points, shot)


def database(shot: SyntheticShot, folder: Path) -> None:
    """The tracks as COLMAP's keypoints and verified matches, K given."""
    import pycolmap

    images, tracks = folder / "images", shot.tracks
    images.mkdir(parents=True)
    for frame in range(FRAMES):
        cv2.imwrite(str(images / f"{frame:04d}.png"), np.zeros((1080, 1920), np.uint8))
    focal, center = shot.camera.focal_length, shot.camera.principal_point
    options = pycolmap.ImageReaderOptions()
    options.camera_model, options.camera_params = "PINHOLE", ",".join(map(str, [*focal, *center]))
    path = folder / "db.db"
    pycolmap.Database.open(path).close()
    pycolmap.import_images(path, images, camera_mode=pycolmap.CameraMode.SINGLE, options=options)
    with pycolmap.Database.open(path) as base:
        ids = {image.name: image.image_id for image in base.read_all_images()}
        rows = [tracks.in_frame(frame) for frame in range(FRAMES)]
        for frame in range(FRAMES):
            base.write_keypoints(ids[f"{frame:04d}.png"], tracks.xy[rows[frame]].astype(np.float32))
        for one in range(FRAMES):
            for two in range(one + 1, FRAMES):
                _, a, b = np.intersect1d(tracks.track[rows[one]], tracks.track[rows[two]], return_indices=True)
                matches = np.column_stack([a, b]).astype(np.uint32)
                base.write_matches(ids[f"{one:04d}.png"], ids[f"{two:04d}.png"], matches)
    pycolmap.geometric_verification(path)


def theirs(shot: SyntheticShot, folder: Path, mode: str) -> float:
    """The slide of COLMAP's best model."""
    best = map_database(folder, mode)
    cams, registered = np.full((FRAMES, 3, 4), np.nan), np.zeros(FRAMES, bool)
    points = np.full((shot.tracks.num_tracks, 3), np.nan)
    if best is None:
        return float("inf")
    for image in best.images.values():
        if image.has_pose:
            frame = int(Path(image.name).stem)
            cams[frame], registered[frame] = image.cam_from_world().matrix(), True
            track = shot.tracks.track[shot.tracks.in_frame(frame)]
            for k, point in enumerate(image.points2D):
                if point.has_point3D():
                    points[track[k]] = best.points3D[point.point3D_id].xyz
    return slide_px(Rigid3.from_matrix(cams), registered, points, shot)


def map_database(folder: Path, mode: str):
    """COLMAP's model with most frames, None when there is none; K fixed. `tuned`: every angle threshold lowered."""
    import pycolmap

    out, db, images = folder / mode, folder / "db.db", folder / "images"
    out.mkdir()
    if mode == "global":
        options = pycolmap.GlobalPipelineOptions()
        options.mapper.bundle_adjustment.refine_focal_length = False
        options.mapper.bundle_adjustment.refine_extra_params = False
        options.mapper.min_tri_angle_deg = 0.05
        models = pycolmap.global_mapping(db, images, out, options)
    else:
        options = pycolmap.IncrementalPipelineOptions()
        options.ba_refine_focal_length = options.ba_refine_extra_params = False
        if mode == "tuned":
            mapper, triangulation = options.mapper, options.triangulation
            mapper.init_min_tri_angle, mapper.init_min_num_inliers, mapper.init_max_forward_motion = 0.3, 50, 1.0
            mapper.filter_min_tri_angle, mapper.ba_local_min_tri_angle = 0.05, 0.5
            mapper.abs_pose_min_num_inliers, triangulation.min_angle = 15, 0.05
        models = pycolmap.incremental_mapping(db, images, out, options)
    return max(models.values(), key=lambda model: model.num_reg_images()) if models else None


def main(seeds: int) -> None:
    """Run the sweep and write the table, the numbers and the picture."""
    results: dict[str, dict[float, list[float]]] = {
        name: {b: [] for b in BASELINES} for name in (*OURS, *THEIRS, TURNING)
    }
    for baseline in BASELINES:
        for motion in ("handheld", "dolly"):
            for seed in range(seeds):
                rng = np.random.default_rng(100 + seed)
                shot = make_shot(
                    motion, rng=rng, num_frames=FRAMES, num_tracks=TRACKS, noise_px=0.3, outlier_ratio=0.1,
                    path_over_depth=baseline,
                )  # fmt: skip
                priors = network_like(shot, rng)
                results[TURNING][baseline].append(turning_only(shot))
                for name, how in OURS.items():
                    results[name][baseline].append(ours(shot, priors, how))
                with tempfile.TemporaryDirectory() as folder:
                    database(shot, Path(folder))
                    for name, mode in THEIRS.items():
                        results[name][baseline].append(theirs(shot, Path(folder), mode))
        print(
            baseline, {name: np.round(np.median(values[baseline]), 2) for name, values in results.items()}, flush=True
        )
    write(results, seeds)


def write(results: dict[str, dict[float, list[float]]], seeds: int) -> None:
    """Markdown, JSON and a picture beside this file."""
    here = Path(__file__).with_suffix("")
    machine = f"{platform.machine()}, Python {platform.python_version()}, " + ", ".join(
        f"{package} {version(package)}" for package in ("numpy", "scipy", "opencv-python", "pycolmap")
    )
    lines = [
        "# How little the camera may move", "", (__doc__ or "").split("\n\n", 2)[2].strip(), "",
        f"`python benchmarks/small_baselines.py {seeds}` on {machine}.", "",
    ]  # fmt: skip
    for limit in (MAX_SLIDE_PX, STRICT_PX):
        title = f"Shots solved (slide below {limit:g} px) and median slide, px; columns: path over depth."
        lines += [title, "", *_table(results, limit), "", _reached(results, limit), ""]
    here.with_suffix(".md").write_text("\n".join(lines))
    numbers = {
        name: {str(b): [v if np.isfinite(v) else None for v in s] for b, s in v.items()} for name, v in results.items()
    }
    here.with_suffix(".json").write_text(json.dumps({"machine": machine, "slide_px": numbers}, indent=1) + "\n")
    _draw(results, here.with_suffix(".png"))


def _table(results: dict[str, dict[float, list[float]]], limit: float) -> list[str]:
    rows = ["| | " + " | ".join(f"{b:g}" for b in BASELINES) + " |", "|---" * (len(BASELINES) + 1) + "|"]
    for name, values in results.items():
        slides = [np.array(values[baseline]) for baseline in BASELINES]
        middle = [f"{np.median(s):.2f}" if np.isfinite(np.median(s)) else "fails" for s in slides]
        cells = [f"{100 * np.mean(s < limit):.0f} %, {m}" for s, m in zip(slides, middle, strict=True)]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def _reached(results: dict[str, dict[float, list[float]]], limit: float) -> str:
    """How far down each curve goes before it breaks."""
    reached = []
    for name in (*OURS, *THEIRS):
        solved = [np.mean(np.array(results[name][baseline]) < limit) >= MOST for baseline in BASELINES]
        last = BASELINES[solved.index(False) - 1] if False in solved else BASELINES[-1]
        reached.append(f"{name} {last:g}" if solved[0] else f"{name} none")
    return f"Smallest baseline down to which {100 * MOST:.0f} % of the shots are solved at each: {'; '.join(reached)}."


def _draw(results: dict[str, dict[float, list[float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), constrained_layout=True)
    for place, (name, values) in enumerate(results.items()):
        # curves that lie on each other: the first is the widest
        style = {"linestyle": "-" if place < len(OURS) else "--", "linewidth": max(5 - 1.7 * place, 1.5), "marker": "o"}
        left.plot(
            BASELINES, [100 * np.mean(np.array(values[b]) < MAX_SLIDE_PX) for b in BASELINES], label=name, **style
        )
        right.plot(BASELINES, [np.median(values[b]) for b in BASELINES], **style)
    for axes, label in ((left, "shots solved, %"), (right, "median slide, px of 1920")):
        axes.set_xscale("log")
        axes.set_xlabel("longest camera distance / median depth")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    right.set_yscale("log")
    right.axhline(MAX_SLIDE_PX, color="grey", linewidth=1)
    figure.legend(loc="outside lower center", ncols=6, fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
