"""One shot, one run: `sfm reconstruct` beside COLMAP, in seconds, memory and the six measures.

usage: python benchmarks/against_colmap.py SHOT PEER.py [modes ...]

SHOT holds frames/, prior/, gt.json and depth.npz; PEER.py is called as `PEER.py FRAMES OUT MODE fx fy cx cy` and leaves
a COLMAP model in OUT/best (modes: global tuned incremental; needs pycolmap). Prints one Markdown row a method.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sfm.evaluation import GroundTruth, evaluate
from sfm.results import load_model

COLUMNS = ("coverage", "ate_pct", "rpe_rot_deg", "auc10", "slide_px", "path_over_depth")


def main(shot: Path, peer: Path, modes: list[str]) -> None:
    """Run every method and print the table."""
    truth = json.loads((shot / "gt.json").read_text())["frames"][0]
    lens = [str(truth[key]) for key in ("fx", "fy", "cx", "cy")]
    out = Path(tempfile.mkdtemp())
    ours = ["sfm", "reconstruct", shot / "frames", "--camera", ",".join(lens), "--depth", shot / "prior", "--quiet"]
    runs = {
        "sfm": ([*ours, "-o", out / "sfm"], out / "sfm"),
        "sfm --depth-weight 0": ([*ours, "--depth-weight", "0", "-o", out / "off"], out / "off"),
    }
    for mode in modes:
        command = [sys.executable, peer, shot / "frames", out / mode, mode, *lens]
        runs[f"COLMAP {mode}"] = (command, out / mode / "best")
    print("| method | seconds | of sfm's | GB | " + " | ".join(COLUMNS) + " |")
    print("|---" * (4 + len(COLUMNS)) + "|")
    base = None
    for name, (command, model) in runs.items():
        seconds, gigabytes = _run([str(part) for part in command])
        base = base or seconds
        measures = _measure(model, shot)
        values = " | ".join(str(measures.get(key, "-")) for key in COLUMNS)
        print(f"| {name} | {seconds:.1f} | {seconds / base:.1f} x | {gigabytes:.2f} | {values} |", flush=True)


def _run(command: list[str]) -> tuple[float, float]:
    """Wall seconds and the largest memory any child so far has used, GB (ours runs first, so its own is known)."""
    start = time.perf_counter()
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return time.perf_counter() - start, used


def _measure(model: Path, shot: Path) -> dict:
    if not model.exists():
        return {"coverage": "fails"}
    reconstruction, names = load_model(model)
    return evaluate(reconstruction, names, GroundTruth.load(shot / "gt.json", shot / "depth.npz")).as_dict()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or ["global", "tuned"])
