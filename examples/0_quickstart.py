"""From a clip to cameras and points: what `sfm reconstruct` does, in five lines.

Run it from anywhere: python examples/0_quickstart.py
"""

from pathlib import Path

import sfm
from sfm.video import VideoOptions

SHOT = Path(__file__).resolve().parents[1] / "data" / "sample_shot"


def main() -> sfm.Reconstruction:
    camera = sfm.Camera.from_focal_px(622.65, width=640, height=360)  # leave it out when it is not known
    half_a_second = VideoOptions(frames="1-12")
    scene, report, shot = sfm.reconstruct(SHOT / "sample.mp4", SHOT / "depth", camera, video=half_a_second)

    print(f"{report.verdict}: {'; '.join(report.reasons)}")
    # x right, y down, z forward; the world is the first camera, its unit the depth model's
    print("cam_from_world of the last frame, (3, 4):", scene.cams_from_world[-1].as_matrix(), sep="\n")
    print("camera path, (frames, 3):", scene.centers_in_world.shape)
    print("points, (tracks, 3), NaN where a track has none:", scene.points.shape, "found", scene.has_point.sum())
    print("plate number of each frame:", shot.frame_numbers[0], "to", shot.frame_numbers[-1])
    return scene


if __name__ == "__main__":
    main()
