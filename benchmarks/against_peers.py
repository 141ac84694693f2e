"""The whole pipeline beside its peers', on every shot there is: seconds, memory and the six measures.

usage: python benchmarks/against_peers.py SHARED_DATA [--blender PYTHON] [--only SHOT ...] [--lens known]
       [--patience 900]

`sfm reconstruct --quiet`, the same with half the tracks (`--max-tracks 1000`), COLMAP's incremental, tuned and global
mapper (SHARED_DATA/../peer_colmap.py, needs pycolmap) and, where PYTHON has the module `bpy`, Blender's tracker
(libmv_peer.py): each from the same frames, in a process of its own, with the lens told and without. Depth: the maps
that a rendered shot comes with, of the others a small network. Seconds are of one run of the whole command; memory is
the most its process held. "fails" is a solve of less than half the frames, or none within the patience; of a clip
without truth there is coverage alone. Writes against_peers.md and .json beside this file, shot by shot.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from sfm.evaluation import GroundTruth, evaluate
from sfm.geometry import Camera, Rigid3
from sfm.results import load_model
from sfm.video import open_video

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "data" / "sample_shot"
MEASURES = ("ate_pct", "rpe_rot_deg", "rpe_dir_deg", "auc10", "focal_err_pct", "slide_px", "path_over_depth")
COMPARED = ("ate_pct", "rpe_rot_deg", "slide_px")
COLMAP = ("COLMAP incremental", "COLMAP tuned", "COLMAP global")
OURS, HALF = "sfm", "sfm, half the tracks"
BLENDER = "Blender's tracker"
LEAST_COVERAGE = 50  # per cent of the frames
NETWORK = Path("depth_network") / "optimized_pydnet++.tflite"


@dataclass
class Shot:
    """Frames or a movie, where its depth comes from, the lens fx, fy, cx, cy in px, and its truth."""

    frames: Path
    depth: Path
    lens: tuple[float, ...] | None = None
    truth: GroundTruth | None = None


def rendered(folder: Path, frames: str, depth: str, true_depth: str) -> Shot:
    """Cameras and depth as they were rendered."""
    truth = GroundTruth.load(folder / "gt.json", folder / true_depth)
    lens = (*truth.camera.focal_length[0], *truth.camera.principal_point[0])
    return Shot(folder / frames, folder / depth, tuple(map(float, lens)), truth)


def photographed(shared: Path, name: str, focal: np.ndarray, center: np.ndarray, scale_of_depth: float | None) -> Shot:
    """Frames with a file of poses beside them, camera-to-world; depth maps as PNG where there are any."""
    folder, rows = shared / name, np.loadtxt(shared / name / "poses_c2w.txt")
    video = open_video(folder / "rgb")
    cams = Rigid3(Rotation.from_quat(rows[: len(video), 4:]).as_matrix(), rows[: len(video), 1:4]).inverse()
    camera = Camera(
        np.tile(focal, (len(video), 1)), np.tile(center, (len(video), 1)), [], video.shot.width, video.shot.height
    )
    depth = None
    if scale_of_depth:
        maps = [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in sorted((folder / "depth").iterdir())]
        depth = scale_of_depth * np.stack(maps)[: len(video)]
    truth = GroundTruth(camera, cams, video.shot.frame_names, depth)
    return Shot(folder / "rgb", shared / NETWORK, (*focal.tolist(), *center.tolist()), truth)


def pan(shared: Path) -> Shot:
    """Cut out of a photograph."""
    focal = np.repeat(np.loadtxt(shared / "nodal_pan_photo" / "focal_px.txt")[0, 1], 2)
    return photographed(shared, "nodal_pan_photo", focal, np.array([320.0, 180.0]), None)


def office(shared: Path) -> Shot:
    """With the poses and the depth of a headset's sensors."""
    lens = json.loads((shared / "hololens_office" / "intrinsics.json").read_text())
    focal, center = (np.array([lens[a], lens[b]]) for a, b in (("fx", "fy"), ("cx", "cy")))
    return photographed(shared, "hololens_office", focal, center + 0.5, 0.001)


LENSES = ("known", "unknown")
SHOTS: dict[str, Callable[[Path], Shot]] = {
    "rendered_dolly": lambda shared: rendered(shared / "rendered_dolly", "frames", "prior", "depth.npz"),
    "sample_shot": lambda _: rendered(SAMPLE, "sample.mp4", "depth", "true_depth.npz"),
    "rendered_nodal": lambda shared: rendered(shared / "rendered_nodal", "frames", "prior", "depth.npz"),
    "nodal_pan_photo": pan,
    "hololens_office": office,
    "golf": lambda shared: Shot(shared / "golf" / "clip.mov", shared / NETWORK),
    "bedroom": lambda shared: Shot(shared / "bedroom" / "clip.mp4", shared / NETWORK),
    "juggle_static": lambda shared: Shot(shared / "juggle_static" / "clip.mp4", shared / NETWORK),
}


def commands(asked: argparse.Namespace, shot: Shot, frames: Path, out: Path, lens_known: bool):
    """What to run, and where its model will be, by method."""
    lens = [f"{value!r}" for value in shot.lens or ()] if lens_known else []
    ours = ["sfm", "reconstruct", frames, "--depth", shot.depth, "--no-cache", "--quiet"]
    ours += ["--camera", ",".join(lens)] if lens else []
    runs = {
        OURS: ([*ours, "-o", out / "sfm"], out / "sfm"),
        HALF: ([*ours, "--max-tracks", "1000", "-o", out / "half"], out / "half"),
    }
    for name in COLMAP:
        peer = asked.shared.resolve().parent / "peer_colmap.py"
        runs[name] = ([sys.executable, peer, frames, out / name, name.split()[1], *lens], out / name / "best")
    if asked.blender:
        runs[BLENDER] = (
            [asked.blender, HERE / "libmv_peer.py", frames, out / "blender", *lens],
            out / "blender" / "best",
        )
    return runs


def measure(command: list, model: Path, truth: GroundTruth | None, patience_s: float) -> dict[str, Any]:
    """Seconds, memory, coverage and, beside a truth, the measures."""
    begun = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    clock = threading.Timer(patience_s, process.kill)
    clock.start()
    _, _, used = os.wait4(process.pid, 0)
    clock.cancel()
    row: dict[str, Any] = {"seconds": time.perf_counter() - begun, "gigabytes": used.ru_maxrss / 2**20}
    row["stopped"] = row["seconds"] > patience_s
    if model.exists():
        scene, shot = load_model(model)
        if truth is not None:
            row |= evaluate(scene, shot, truth).as_dict()
        row["frames"] = int(scene.registered.sum())
    return row


def as_images(shot: Shot, folder: Path) -> Path:
    """The frames of a movie, as both sides are given them."""
    if shot.frames.is_dir():
        return shot.frames
    video = open_video(shot.frames)
    for index, image in video:
        if image is not None:
            cv2.imwrite(str(folder / video.shot.frame_names[index]), image[:, :, ::-1])
    return folder


def compare(asked: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """All methods on one shot, with the lens told, where it is known, and without, as asked."""
    shot, rows = SHOTS[name](asked.shared), []
    with tempfile.TemporaryDirectory() as place:
        (images := Path(place) / "frames").mkdir()
        frames = as_images(shot, images)
        count = len(open_video(frames))
        for lens_known in (lens == "known" for lens in asked.lens if shot.lens or lens == "unknown"):
            out = Path(place) / f"{lens_known}"
            out.mkdir()
            for method, (command, model) in commands(asked, shot, frames, out, lens_known).items():
                row = measure(command, model, shot.truth, asked.patience)
                row["coverage"] = 100 * row.pop("frames", 0) / count
                rows.append({"shot": name, "lens_known": lens_known, "method": method, **row})
                print(_line(rows[-1], rows), flush=True)
    return rows


def _fails(row: dict) -> bool:
    return row["coverage"] < LEAST_COVERAGE


def _line(row: dict, rows: list[dict]) -> str:
    ours = next(r for r in rows if r["method"] == OURS and _same(r, row))
    cells = [row["shot"], "known" if row["lens_known"] else "unknown", row["method"]]
    cells += [
        f"{row['seconds']:.0f}" + (", stopped" if row["stopped"] else ""),
        f"{row['seconds'] / ours['seconds']:.1f} x",
    ]
    cells += [f"{row['gigabytes']:.2f}", f"{row['coverage']:.0f}" + (", fails" if _fails(row) else "")]
    cells += ["" if _fails(row) or row.get(key) is None else f"{row[key]:.4g}" for key in MEASURES]
    return "| " + " | ".join(cells) + " |"


def _same(a: dict, b: dict) -> bool:
    return (a["shot"], a["lens_known"]) == (b["shot"], b["lens_known"])


def improvement(rows: list[dict]) -> list[str]:
    """What is left of a peer's error, shot by shot."""
    lines = ["| shot | lens | beside | " + " | ".join(COMPARED) + " |", "|---" * (3 + len(COMPARED)) + "|"]
    for ours in (row for row in rows if row["method"] == OURS and row.get("rpe_rot_deg") is not None):
        peers = [row for row in rows if _same(row, ours) and row["method"] not in (OURS, HALF)]
        able = [row for row in peers if not _fails(row)]
        tuned = [row for row in able if row["method"] == "COLMAP tuned"]
        for name, among in (("COLMAP tuned", tuned), ("the best of them", able)):
            cells = [ours["shot"], "known" if ours["lens_known"] else "unknown", name]
            for key in COMPARED:
                theirs = [row[key] for row in among if row.get(key) is not None]
                told = (
                    f"{ours[key]:.4g} / {min(theirs):.4g} = {ours[key] / min(theirs):.2f}"
                    if theirs and key in ours and ours[key] is not None
                    else ""
                )
                cells.append(told if among else "fails")
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def write(rows: list[dict]) -> None:
    """Markdown and JSON beside this file."""
    packages = ", ".join(f"{package} {version(package)}" for package in ("pycolmap", "numpy", "opencv-python"))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"
    heads = ("shot", "lens", "method", "seconds", "of sfm's", "GB", "coverage, %", *MEASURES)
    lines = ["# The whole pipeline beside its peers'", "", (__doc__ or "").split("\n\n", 2)[2].strip(), ""]
    lines += [f"`python benchmarks/against_peers.py SHARED_DATA --blender PYTHON` on {machine}.", ""]
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *(_line(row, rows) for row in rows), ""]
    lines += [
        "## What is left of the error",
        "",
        "sfm's over the peer's; below 1 is better.",
        "",
        *improvement(rows),
        "",
    ]
    out = Path(__file__).with_suffix("")
    out.with_suffix(".md").write_text("\n".join(lines))
    out.with_suffix(".json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def main() -> None:
    """All shots, or those asked for; the others stay as they were."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("shared", type=Path, help="SHARED_DATA, the folder of the clips")
    parser.add_argument("--blender", type=Path, help="a Python that has bpy")
    parser.add_argument("--only", nargs="+", choices=SHOTS, default=list(SHOTS))
    parser.add_argument("--lens", nargs="+", choices=LENSES, default=list(LENSES))
    parser.add_argument("--patience", type=float, default=900, help="seconds after which a run is stopped")
    asked = parser.parse_args()
    known = Path(__file__).with_suffix(".json")
    rows = json.loads(known.read_text())["rows"] if known.exists() else []
    for name in asked.only:
        fresh = compare(asked, name)
        rows = [row for row in rows if not any(_same(row, new) for new in fresh)] + fresh
        rows.sort(key=lambda row: (list(SHOTS).index(row["shot"]), not row["lens_known"]))
        write(rows)


if __name__ == "__main__":
    main()
