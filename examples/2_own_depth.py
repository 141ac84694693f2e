"""Any function is a depth model: pictures in, maps out. Put your network where `ground_plane` stands.

This one has never seen a picture: it believes in a flat street below a distant background, and even that helps.
"""

from pathlib import Path

import numpy as np

import sfm
from sfm.video import VideoOptions

SHOT = Path(__file__).resolve().parents[1] / "data" / "sample_shot"


def ground_plane(frames: np.ndarray) -> np.ndarray:
    """frames (n, height, width, 3) uint8 RGB -> depth (n, any height, any width), along z, in any unit."""
    n, height, width, _ = frames.shape
    below_horizon = np.linspace(-0.5, 0.5, height // 4)
    depth = 1 / np.maximum(below_horizon, 0.05)
    return np.broadcast_to(depth[None, :, None], (n, height // 4, width // 4))


def main() -> sfm.SolveReport:
    camera = sfm.Camera.from_focal_px(622.65, width=640, height=360)
    video = VideoOptions(frames="1-12")
    # depth_kind="disparity" for a network that gives 1 / depth
    scene, report, _ = sfm.reconstruct(SHOT / "sample.mp4", ground_plane, camera, video=video)
    print(f"{report.verdict}: {int(scene.registered.sum())} frames, {scene.rms_px():.2f} px RMS")
    worth = report.prior_weight.measurements
    print(f"this depth is off by {100 * scene.depth_sigma:.0f} %: it counts as {worth:.0f} measurements for the shot")
    return report


if __name__ == "__main__":
    main()
