"""Where the time of a solve goes: seconds a frame of every stage, by the size of the plate and the length of the shot.

usage: python benchmarks/stage_times.py SHARED_DATA [--only NAME ...]

The push-in of SHARED_DATA, enlarged, played forth and back until it is as long as asked for, its depth maps given: what
the network would take is not in it. How the solve alone grows with frames is seen on synthetic handheld tracks of 60
frames each, 32 new ones a frame, with a prior 10 % off and 3 % outliers. Each run is a process of its own, as
`sfm reconstruct --quiet` would be one; memory is the most it held. Writes stage_times.md and .json beside this file,
row by row.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from sfm.scene import Reconstruction
    from sfm.solve import SolveReport

# width, height, frames, tracks asked for
RUNS = {
    "540p": (960, 540, 72, 2000),
    "1080p": (1920, 1080, 72, 2000),
    "4K": (3840, 2160, 72, 2000),
    "540p, 300 frames": (960, 540, 300, 2000),
    "1080p, 300 frames": (1920, 1080, 300, 2000),
    "540p, 3000 tracks": (960, 540, 72, 3000),
    "540p, 6000 tracks": (960, 540, 72, 6000),
}
TRACKS_ALONE = {f"tracks alone, {frames} frames": frames for frames in (250, 500, 1000)}
NEW_TRACKS = 32  # a frame, of the synthetic ones
# as `reconstruct` tells them; the kind of shot is decided while adjusting
STAGES = ("import", "tracking", "depth", "initializing", "mapping", "adjusting", "writing")


def clip(shared: Path, folder: Path, size: tuple[int, int], frames: int) -> None:
    """The plates as JPEG and the maps as they are, in `folder`."""
    shot = shared / "rendered_dolly"
    plates, maps = sorted((shot / "frames").iterdir()), sorted((shot / "prior").iterdir())
    forth_and_back = np.r_[np.arange(len(plates)), np.arange(len(plates) - 2, 0, -1)]
    for place in ("frames", "depth"):
        (folder / place).mkdir()
    for number, source in enumerate(np.resize(forth_and_back, frames), 1001):
        plate = cv2.resize(cv2.imread(str(plates[source])), size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "frames" / f"shot.{number}.jpg"), plate, [cv2.IMWRITE_JPEG_QUALITY, 95])
        (folder / "depth" / f"shot.{number}.npy").write_bytes(maps[source].read_bytes())


def run(folder: Path, focal_px: float, tracks: int) -> None:
    """One solve, told as JSON: seconds of each stage, memory, and how it ended."""
    begun = time.perf_counter()
    from sfm.geometry import Camera
    from sfm.pipeline import Options, reconstruct
    from sfm.results import write_result
    from sfm.tracking import TrackingOptions
    from sfm.video import open_video

    seconds, now = dict.fromkeys(STAGES, 0.0), ["import", begun]

    def tell(stage: str, part: float, text: str) -> None:
        # depth is first told of when a frame is done, every other stage when it begins
        done, moment = (stage if stage == "depth" else now[0]), time.perf_counter()
        seconds[done] += moment - now[1]
        now[:] = [stage, moment]

    video = open_video(folder / "frames")
    camera = Camera.from_focal_px(focal_px, video.shot.width, video.shot.height)
    options = Options(tracking=TrackingOptions(max_tracks=tracks))
    tell("tracking", 0.0, "")
    scene, report, _ = reconstruct(video, folder / "depth", camera, options, progress=tell)
    now[:] = ["writing", time.perf_counter()]
    write_result(folder / "out", scene, report, video, {})
    seconds["writing"] = time.perf_counter() - now[1]
    _say(seconds, report, scene)


def run_tracks(frames: int) -> None:
    """One solve of synthetic tracks, told as `run` tells."""
    begun = time.perf_counter()
    from sfm.pipeline import reconstruct_tracks
    from sfm.synthetic import make_shot

    rng = np.random.default_rng(0)
    shot = make_shot(
        "handheld", rng=rng, num_frames=frames, num_tracks=NEW_TRACKS * frames, track_length=60, noise_px=0.3,
        depth_error=0.1, outlier_ratio=0.03,
    )  # fmt: skip
    seconds, now = dict.fromkeys(STAGES, 0.0), ["import", begun]

    def tell(stage: str, part: float, text: str) -> None:
        moment = time.perf_counter()
        seconds[now[0]] += moment - now[1]
        now[:] = [stage, moment]

    tell("initializing", 0.0, "")
    scene, report = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, progress=tell)
    seconds["import"] = 0.0  # and the making of the tracks
    _say(seconds, report, scene)


def _say(seconds: dict[str, float], report: "SolveReport", scene: "Reconstruction") -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "memory_mb": memory, "verdict": report.verdict.value,
                      "observations": len(scene.tracks)}))  # fmt: skip


def measure(shared: Path, name: str) -> dict:
    """A run in a process of its own."""
    if name in TRACKS_ALONE:
        words = [sys.executable, __file__, str(shared), "--run-tracks", f"{TRACKS_ALONE[name]}"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return {"frames": TRACKS_ALONE[name], "tracks": 60 * NEW_TRACKS, **json.loads(done.stdout.splitlines()[-1])}
    width, height, frames, tracks = RUNS[name]
    with tempfile.TemporaryDirectory() as place:
        clip(shared, Path(place), (width, height), frames)
        truth = json.loads((shared / "rendered_dolly" / "gt.json").read_text())
        focal = truth["frames"][0]["fx"] * width / truth["width"]
        words = [sys.executable, __file__, str(shared), "--run", place, f"{focal}", f"{tracks}"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    return {"frames": frames, "tracks": tracks, **json.loads(done.stdout.splitlines()[-1])}


def table(rows: dict[str, dict]) -> list[str]:
    """Milliseconds a frame."""
    lines = ["| run | frames | tracks at a time | observations | " + " | ".join(STAGES)
             + " | all, ms a frame | MB |", "|---" * (6 + len(STAGES)) + "|"]  # fmt: skip
    for name, row in rows.items():
        each = [1000 * row["seconds"][stage] / row["frames"] for stage in STAGES]
        lines.append(
            f"| {name} | {row['frames']} | {row['tracks']} | {row['observations']} | "
            + " | ".join(f"{ms:.0f}" for ms in each)
            + f" | {sum(each):.0f} | {row['memory_mb']:.0f} |"
        )
    return lines


def main() -> None:
    """All runs, or those asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("shared", type=Path, help="SHARED_DATA, the folder of the clips")
    parser.add_argument("--only", nargs="+", choices=[*RUNS, *TRACKS_ALONE], default=[*RUNS, *TRACKS_ALONE])
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--run-tracks", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        run(Path(asked.run[0]), float(asked.run[1]), int(asked.run[2]))
        return
    if asked.run_tracks:
        run_tracks(asked.run_tracks)
        return
    out = Path(__file__).with_suffix("")
    known = json.loads(out.with_suffix(".json").read_text())["rows"] if out.with_suffix(".json").exists() else {}
    for name in asked.only:
        known[name] = measure(asked.shared, name)
        rows = {name: known[name] for name in (*RUNS, *TRACKS_ALONE) if name in known}
        print(table(rows)[2 + list(rows).index(name)], flush=True)
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        told = (__doc__ or "").split("\n\n", 2)[2].strip()
        lines = ["# Where the time goes", "", told, ""]
        lines += [f"`python benchmarks/stage_times.py SHARED_DATA` on {machine}.", "", *table(rows), ""]
        out.with_suffix(".md").write_text("\n".join(lines))
        out.with_suffix(".json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
