"""Adjustment beside its peers: Ceres and SciPy on the same residuals, time to the same cost.

usage: python benchmarks/adjustment.py [SHARED_DATA] [--repeats 3] [--only NAME ...]

Synthetic shots (0.3 px noise, a prior 10 % off; no outliers, with which every solver ends in a minimum of its own),
two clips and a problem of Bundle Adjustment in the Large. Shots start from the truth, or what was solved, with
cameras turned by 0.002 rad, moved by 0.002 of the depth, depths off by 5 %. Seconds are those until the cost is
within 1e-6 of the least that any of them found, median of the repeats (one that took a minute is not repeated); memory
is the whole process. Ceres (Debian's libceres-dev, compiled here from ceres_peer.cpp, automatic derivatives, two
threads) runs with its dense Schur complement, up to 250 frames, and its sparse one; the quicker counts. SciPy is
`least_squares` with trf and lsmr on our analytic Jacobian, up to 250 frames, given 15 times as long as we took.
Writes adjustment.md, .json and .png beside this file, row by row.
SHARED_DATA: rendered_dolly, tears_of_steel, bal; left out without it. Needs g++, libceres-dev and matplotlib.
"""

import argparse
import inspect
import json
import os
import pickle
import platform
import resource
import runpy
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sfm.bundle_adjustment import BundleAdjustmentOptions
from sfm.bundle_adjustment.problem import ShotProblem
from sfm.geometry import Rigid3
from sfm.geometry.rotation import rotation_from_rotvec, rotvec_from_rotation
from sfm.least_squares import SolverOptions, levenberg_marquardt, robust_cost, scipy_least_squares
from sfm.scene import DepthPriors, Reconstruction, Support, Tracks
from sfm.synthetic import make_shot
from sfm.threads import in_threads

HERE = Path(__file__).parent
SAME = 1e-6  # of the cost: as good as the best
SCIPY_PATIENCE = 15  # times our own time
THREADS = 2
REPEATED_WITHIN_S = 60  # of its own time, a solver runs again
MAX_SCIPY_FRAMES = 250  # beyond, one of its steps takes minutes
MAX_DENSE_FRAMES = 250  # beyond, a dense complement takes gigabytes and the cube of the frames
# frames, tracks, frames a track lasts
SYNTHETIC = {
    "120 frames, 60-frame tracks": (120, 8000, 60),
    "60 frames": (60, 2500, 60),
    "250 frames": (250, 8000, 60),
    "500 frames": (500, 16000, 60),
    "1000 frames": (1000, 32000, 60),
}
SCALING = ("60 frames", "250 frames", "500 frames", "1000 frames")
CLIPS = ("rendered_dolly", "tears_of_steel")
BAL = "BAL 49-7776"


# problems


def synthetic(frames: int, tracks: int, length: int) -> tuple[Reconstruction, DepthPriors]:
    """A handheld shot near its truth."""
    rng = np.random.default_rng(0)
    shot = make_shot(
        "handheld", rng=rng, num_frames=frames, num_tracks=tracks, track_length=length, noise_px=0.3, depth_error=0.1,
    )  # fmt: skip
    count = shot.tracks.lengths
    scene = Reconstruction(
        camera=shot.camera, cams_from_world=shot.cams_from_world, registered=np.ones(frames, bool),
        points=np.where(count[:, None] > 1, shot.points, np.nan), inliers=np.ones(len(shot.tracks), bool),
        tracks=shot.tracks, depth_scale=np.ones(frames), support=np.full(tracks, Support.PRIOR),
        point_sigma=np.full(tracks, np.nan),
    )  # fmt: skip
    return moved(scene), shot.priors


def moved(scene: Reconstruction) -> Reconstruction:
    """Off its solution."""
    rng, cams = np.random.default_rng(1), scene.cams_from_world
    depth = float(np.nanmedian(scene.points_in_cam()[:, 2]))
    turn = rotation_from_rotvec(0.002 * rng.standard_normal((len(scene.registered), 3)))
    step = 0.002 * depth * rng.standard_normal((len(scene.registered), 3))
    first = int(np.flatnonzero(scene.registered)[0])
    turn[first], step[first] = np.eye(3), 0.0
    eye = cams.centers_in_world[first]
    points = eye + (scene.points - eye) * np.exp(0.05 * rng.standard_normal((len(scene.points), 1)))
    return replace(scene, cams_from_world=Rigid3(turn @ cams.rotation, cams.translation + step), points=points)


def rendered_dolly(shared: Path) -> tuple[Reconstruction, DepthPriors]:
    """The push-in as it is tracked and solved."""
    from prior_never_hurts import dolly

    from sfm.pipeline import reconstruct_tracks

    case = dolly(shared)
    priors = case.priors["network-like"]
    return moved(reconstruct_tracks(case.tracks, priors, case.camera)[0]), priors


def tears_of_steel(shared: Path) -> tuple[Reconstruction, DepthPriors]:
    """Tracks that a matchmover made, few and long; the prior is his points' depth, 20 % off."""
    from sfm.geometry import Camera
    from sfm.pipeline import reconstruct_tracks

    with np.load(shared / "tears_of_steel" / "shot_1.npz") as file:
        data = {name: file[name] for name in file.files}
    f, cx, cy, k1, k2, k3, p1, p2 = data["intrinsics"]
    camera = Camera([f, f], [cx, cy], [k1, k2, p1, p2, k3], round(2 * cx), round(2 * cy))
    frame = np.searchsorted(data["frames"], data["obs_frame"])
    order = np.argsort(data["track_ids"])
    track = order[np.searchsorted(data["track_ids"][order], data["obs_track"])]
    tracks = Tracks(frame, track, data["obs_xy"], len(data["frames"]), len(data["track_ids"])).undistorted(camera)
    error = np.exp(0.2 * np.random.default_rng(2).standard_normal(tracks.num_tracks))
    in_cam = Rigid3(data["R"], data["t"])[tracks.frame].apply(data["points"][tracks.track])
    priors = DepthPriors(in_cam[:, 2] * error[tracks.track], np.full(len(tracks), 0.2))
    return moved(reconstruct_tracks(tracks, priors, camera.without_distortion())[0]), priors


def problem_of(name: str, depth: bool, cache: Path):
    """A problem by its name, at its start."""
    if name == BAL:
        return runpy.run_path(str(HERE.parent / "examples" / "3_bundle_adjustment_in_the_large.py"))["Bal"](
            np.fromfile(cache, sep=" ")
        )
    scene, priors = synthetic(*SYNTHETIC[name]) if name in SYNTHETIC else pickle.loads(cache.read_bytes())
    plain = replace(scene, tracks=replace(scene.tracks, whitening=np.zeros((0, 2, 2))))
    options = BundleAdjustmentOptions(reproj_sigma_px=0.3, depth_weight=float(depth))
    return ShotProblem(plain, priors if depth else None, options)


def problem_file(problem, path: Path) -> None:
    """What ceres_peer reads: doubles only."""
    if not isinstance(problem, ShotProblem):
        parts = [[1, problem.num_kept, problem.num_eliminated, len(problem.kept_index)], problem.start,
                 problem.kept_index, problem.eliminated_index, problem.xy.T]  # fmt: skip
    else:
        seen = len(problem.kept_index)
        cameras = np.column_stack([rotvec_from_rotation(problem.R0), problem.t0])
        knee = lambda unit: np.broadcast_to(problem.losses[unit][2], seen)  # noqa: E731
        parts = [
            [0, problem.num_kept, problem.num_eliminated, seen], cameras, problem.points0, problem.kept_index,
            problem.eliminated_index, problem.xy.T, problem.focal, problem.center,
            np.broadcast_to(problem.inverse_sigma, seen), knee(0), [float(problem.with_depth)],
        ]  # fmt: skip
        if problem.with_depth:
            options = problem.options
            log_scale = problem.split(problem.start())[0][:, problem.log_scale]
            parts += [log_scale, problem.log_prior, problem.depth_weight, knee(1),
                      [options.frame_scale_sigma, options.frame_scale_step]]  # fmt: skip
    np.concatenate([np.asarray(part, float).ravel() for part in parts]).tofile(path)


# runs: each in a process of its own, told (problem, depth, cache); prints JSON


def run_ours(problem, patience_s: float, solver=levenberg_marquardt) -> list[tuple[float, float]]:
    """(seconds, cost) after every iteration."""
    x = problem.start() if callable(problem.start) else problem.start
    costs = [(0.0, robust_cost(problem, x))]
    begun = time.perf_counter()

    def callback(iteration: int, cost: float) -> bool:
        costs.append((time.perf_counter() - begun, cost))
        return bool(patience_s) and costs[-1][0] > patience_s

    solver(problem, x, SolverOptions(200, 1e-9, callback=callback))
    return costs


def run_ceres(problem, patience_s: float, solver: str) -> list[tuple[float, float]]:
    """(seconds, cost) after every iteration, its own clock; nothing where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        problem_file(problem, path := Path(folder) / "problem")
        done = subprocess.run(
            [os.environ["CERES_PEER"], path, "200", str(THREADS), solver], capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
    rows = [line.split() for line in done.stdout.splitlines()]
    costs = np.minimum.accumulate([float(cost) for _, cost, _ in rows]) if rows else []
    return [(float(seconds), float(cost)) for (_, _, seconds), cost in zip(rows, costs, strict=True)]


RUNS = {
    "sfm": run_ours,
    "Ceres, dense": partial(run_ceres, solver="dense"),
    "Ceres, sparse": partial(run_ceres, solver="sparse"),
    "SciPy": partial(run_ours, solver=scipy_least_squares),
}


def run(who: str, name: str, depth: bool, cache: Path, patience_s: float) -> None:
    """One run, as JSON."""
    problem = problem_of(name, depth, cache)
    costs = RUNS[who](problem, patience_s)
    of = resource.RUSAGE_CHILDREN if who.startswith("Ceres") else resource.RUSAGE_SELF
    memory = resource.getrusage(of).ru_maxrss / 1024
    print(json.dumps({"costs": costs, "memory_mb": memory, "least_work": least_work(problem)}))


def told_to_run(who: str, name: str, depth: bool, cache: Path, patience_s: float = 0.0) -> dict:
    """`run` in a process of its own."""
    words = [sys.executable, __file__, "--run", who, name, str(int(depth)), cache, f"{patience_s}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-500:], file=sys.stderr)
        return {"costs": [], "memory_mb": float("nan")}
    return json.loads(done.stdout)


def reached(costs: list, target: float) -> tuple[float, int]:
    """Seconds and iterations until a cost; infinite where it never came."""
    return next(((seconds, place) for place, (seconds, cost) in enumerate(costs) if cost <= target), (float("inf"), 0))


def measure(name: str, depth: bool, cache: Path, repeats: int) -> dict:
    """All of them on one problem, turn by turn."""
    runs: dict[str, list[dict]] = {who: [] for who in RUNS}
    asked, spent = ["sfm", "Ceres, dense", "Ceres, sparse"], dict.fromkeys(RUNS, 0.0)
    if name in SYNTHETIC and SYNTHETIC[name][0] > MAX_DENSE_FRAMES:
        asked.remove("Ceres, dense")
    for _ in range(repeats):
        for who in (who for who in asked if spent[who] < REPEATED_WITHIN_S):
            begun = time.perf_counter()
            runs[who].append(told_to_run(who, name, depth, cache))
            spent[who] += time.perf_counter() - begun
    least = min(cost for of in runs.values() for one in of for _, cost in one["costs"])
    ours = float(np.median([reached(one["costs"], least * (1 + SAME))[0] for one in runs["sfm"]]))
    patience = SCIPY_PATIENCE * ours if np.isfinite(ours) else 60.0
    if name not in SYNTHETIC or SYNTHETIC[name][0] <= MAX_SCIPY_FRAMES:
        runs["SciPy"].append(told_to_run("SciPy", name, depth, cache, patience))
        least = min([least, *(cost for one in runs["SciPy"] for _, cost in one["costs"])])
    row: dict = {"problem": name, "depth": depth, "least_cost": least, "patience_s": patience, "solvers": {}}
    row["least_work"] = runs["sfm"][0]["least_work"]
    for who, of in runs.items():
        took = [reached(one["costs"], least * (1 + SAME)) for one in of] or [(float("inf"), 0)]
        row["solvers"][who] = {
            "seconds": float(np.median([seconds for seconds, _ in took])),
            "iterations": int(np.median([count for _, count in took])),
            "memory_mb": float(np.median([one["memory_mb"] for one in of] or [np.nan])),
            "last": of[0]["costs"][-1] if of and of[0]["costs"] else None,
        }
    return row


# the physical floor


def machine_peaks() -> tuple[float, float]:
    """Products a second that BLAS reaches with all cores, and bytes a second that memory gives to a sum of arrays."""
    a, long = np.ones((1500, 1500)), np.ones(2**24)
    out, seconds = np.empty_like(long), lambda work: min(timeit.repeat(work, number=1, repeat=5))
    halves = [slice(0, len(long) // 2), slice(len(long) // 2, None)]
    add = lambda half: np.add(long[half], 1.0, out=out[half])  # noqa: E731
    return len(a) ** 3 / seconds(lambda: a @ a), 24 * len(long) / seconds(lambda: in_threads(add, halves))


def least_work(problem) -> tuple[float, float]:
    """Products and bytes of one iteration that no method which eliminates points can do without.

    Of n observations of r rows: residual and derivatives by camera point (40), their chains to the r (k + e)
    derivatives (3 each), the products of these (k (k + 1) / 2, k e, e (e + 1) / 2 and k + e, r each), W L^-T
    (k e^2 / 2), the residual again for the cost (20); of every pair of observations of a point k^2 e; of a band of
    width b over m parameters m b^2 / 2. Bytes: each observation's measurement, indices and weights (64) read twice,
    its W written and read twice.
    """
    n, k, e = len(problem.kept_index), problem.kept_size, problem.eliminated_size
    r = problem.losses[-1][0].stop
    seen = np.bincount(problem.eliminated_index)
    first = np.minimum.reduceat(problem.kept_index, np.cumsum(seen) - seen)
    last = np.maximum.reduceat(problem.kept_index, np.cumsum(seen) - seen)
    width, m = (int((last - first).max()) + 1) * k, problem.num_kept * k
    each = 60 + r * (3 * (k + e) + k * (k + 1) / 2 + k * e + e * (e + 1) / 2 + k + e) + k * e * e / 2
    factor = min(m * width**2 / 2, m**3 / 6)
    return n * each + float((seen * (seen + 1) / 2).sum()) * k * k * e + factor, n * 8.0 * (2 * 8 + 3 * k * e)


def floors(rows: list[dict]) -> list[str]:
    """How far an iteration of ours is from what this machine could do."""
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # a process started from a large one counts as large
        by_products, by_bytes = apart.submit(machine_peaks).result()
    told = f"This machine: {by_products / 1e9:.0f} 10^9 products and {by_bytes / 1e9:.0f} GB a second."
    heads = ("problem", "depth", "10^6 products", "MB", "floor, ms", "an iteration of sfm, ms", "times the floor")
    lines = [told, "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        (products, moved), ours = row["least_work"], row["solvers"]["sfm"]
        least, by = max((1e3 * products / by_products, "products"), (1e3 * moved / by_bytes, "bytes"))
        took = 1e3 * ours["seconds"] / max(ours["iterations"], 1)
        lines.append(
            f"| {row['problem']} | {'yes' if row['depth'] else 'no'} | {products / 1e6:.0f} | {moved / 1e6:.0f}"
            f" | {least:.1f} ({by}) | {took:.0f} | {took / least:.1f} |"
        )
    return lines


# what is written


def measured_before() -> list[dict]:
    """The rows in adjustment.json."""
    known = Path(__file__).with_suffix(".json")
    rows = json.loads(known.read_text())["rows"] if known.exists() else []
    for one in (one for row in rows for one in row["solvers"].values()):
        one["seconds"] = float("inf") if one["seconds"] is None else one["seconds"]
        one["memory_mb"] = float("nan") if one["memory_mb"] is None else one["memory_mb"]
    return rows


def table(rows: list[dict]) -> list[str]:
    """Seconds, and how many times ours."""
    lines = [
        "| problem | depth | sfm: s, iterations, MB | Ceres: s, iterations, MB | Ceres / sfm | SciPy / sfm |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, dense, sparse, scipy = (row["solvers"][who] for who in RUNS)
        ceres, how = min((dense, "dense"), (sparse, "sparse"), key=lambda one: one[0]["seconds"])
        said = [f"{one['seconds']:.2f}, {one['iterations']}, {one['memory_mb']:.0f}" for one in (ours, ceres)]
        more = scipy["seconds"] / ours["seconds"]
        cost = scipy["last"][1] / row["least_cost"] - 1 if scipy["last"] else float("nan")
        slow = f"{more:.1f}" if np.isfinite(more) else f"> {SCIPY_PATIENCE} (cost still {100 * cost:.2g} % above)"
        slow = slow if scipy["last"] else "not run"
        lines.append(
            f"| {row['problem']} | {'yes' if row['depth'] else 'no'} | {said[0]} | {said[1]} ({how}) |"
            f" {ceres['seconds'] / ours['seconds']:.2f} | {slow} |"
        )
    return lines


def growth(rows: list[dict]) -> list[str]:
    """From 250 frames to 1,000."""
    lines = []
    for depth in (True, False):
        few, many = (
            next((r["solvers"]["sfm"] for r in rows if (r["problem"], r["depth"]) == (name, depth)), None)
            for name in ("250 frames", "1000 frames")
        )
        if few and many:
            each = [one["seconds"] / max(one["iterations"], 1) for one in (few, many)]
            how = "with" if depth else "without"
            lines.append(
                f"From 250 to 1,000 frames of tracks as long, {how} depth: {each[1] / each[0]:.2f} times the time of an"
                f" iteration, {many['seconds'] / few['seconds']:.2f} times that of the solve,"
                f" {many['memory_mb'] / few['memory_mb']:.2f} times the memory."
            )
    return lines


def write(rows: list[dict], words: str) -> None:
    """Markdown, JSON and a picture beside this file."""
    packages = ", ".join(f"{package} {version(package)}" for package in ("numpy", "scipy"))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"
    told = (__doc__ or "").split("\n\n", 2)[2].strip()
    lines = ["# Adjustment beside its peers", "", told, ""]
    lines += [f"`python benchmarks/adjustment.py {words}` on {machine}.", "", *table(rows), "", *growth(rows), ""]
    lines += ["## The floor of an iteration", "", *_prose(least_work), "", *floors(rows), ""]
    out = Path(__file__).with_suffix("")
    out.with_suffix(".md").write_text("\n".join(lines))
    text = json.dumps({"machine": machine, "rows": rows}, indent=1).replace("Infinity", "null").replace("NaN", "null")
    out.with_suffix(".json").write_text(text + "\n")
    if any(row["problem"] in SCALING for row in rows):
        _draw(rows, out.with_suffix(".png"))


def _prose(function: Callable) -> list[str]:
    """What its docstring says."""
    return inspect.cleandoc(function.__doc__ or "").splitlines()


def _draw(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for depth, style in ((True, "-"), (False, "--")):
        chosen = [row for row in rows if row["problem"] in SCALING and row["depth"] == depth]
        frames = [int(row["problem"].split()[0]) for row in chosen]
        for who, colour in (("sfm", "tab:blue"), ("Ceres, dense", "tab:orange"), ("Ceres, sparse", "tab:red")):
            label = f"{who}, {'with' if depth else 'without'} depth"
            for axis, what in zip(axes, ("seconds", "memory_mb"), strict=True):
                values = [row["solvers"][who][what] for row in chosen]
                axis.plot(frames, values, style, color=colour, marker="o", label=label)
    for axis, label in zip(axes, ("time to the same cost, s", "memory of the process, MB"), strict=True):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("frames (60-frame tracks, about 1,000 observations a frame)")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Run all, or what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("shared", nargs="?", type=Path, help="SHARED_DATA, the folder of the clips")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[*SYNTHETIC, *CLIPS, BAL])
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        who, name, depth, cache, patience_s = asked.run
        run(who, name, depth == "1", Path(cache), float(patience_s))
        return
    rows = [row for row in measured_before() if row["problem"] not in asked.only]
    order = [*SYNTHETIC, *CLIPS, BAL]
    with tempfile.TemporaryDirectory() as folder:
        peer = os.environ["CERES_PEER"] = f"{folder}/ceres_peer"
        eigen = subprocess.run(["pkg-config", "--cflags", "eigen3"], capture_output=True, text=True, check=True)
        source = str(HERE / "ceres_peer.cpp")
        flags = ["-O3", "-march=native", *eigen.stdout.split()]
        subprocess.run(["g++", *flags, "-o", peer, source, "-lceres", "-lglog"], check=True)
        for name in asked.only:
            cache = Path(folder) / "scene"
            if name not in SYNTHETIC:
                if asked.shared is None:
                    print(f"{name}: left out, no SHARED_DATA", file=sys.stderr)
                    continue
                if name == BAL:
                    cache = asked.shared / "bal" / "problem-49-7776-pre.txt"
                else:
                    cache.write_bytes(pickle.dumps(globals()[name](asked.shared)))
            for depth in (True, False) if name != BAL else (False,):
                rows.append(measure(name, depth, cache, asked.repeats))
                print(table(rows[-1:])[-1], flush=True)
                rows.sort(key=lambda row: (order.index(row["problem"]), not row["depth"]))
                write(rows, "SHARED_DATA" if asked.shared else "")


if __name__ == "__main__":
    main()
