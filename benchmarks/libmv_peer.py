"""Blender's camera tracker (libmv) without a window: a peer of `sfm`. Run by a Python that has `bpy`, numpy below 2.

usage: python libmv_peer.py FRAMES OUT [fx fy cx cy]

Features are detected every twelfth frame, followed both ways with the perspective model (the best of four on
rendered_dolly, by its own error and by the truth), cleaned as an artist would, solved with keyframes of Blender's
choice, tracks of large error deleted and solved again. Without a lens the focal length is refined from four starts and
the solve of least error kept; where no solve is found the camera may only turn. Leaves a COLMAP text model in OUT/best.
"""

import os
import sys
from pathlib import Path

import bpy
import numpy as np

STEP = 12  # frames between detections
STARTS = (0.65, 0.9, 1.3, 2.0)  # focal lengths in widths, where none is given
ROUNDS = 6
MAX_ERROR, MIN_ERROR_PX = 3.0, 0.4  # times the median track error; less is never deleted
FLIP = np.diag([1.0, -1.0, -1.0])  # Blender's camera looks along -z


class Editor:
    """A clip in an editor of the window that Blender has even in the background."""

    def __init__(self, files: list[Path], out: Path):
        links = out / "sequence"
        links.mkdir(parents=True)
        for number, file in enumerate(files, 1):
            os.symlink(file.resolve(), links / f"frame_{number:05d}{file.suffix.lower()}")
        self.clip = bpy.data.movieclips.load(str(next(iter(sorted(links.iterdir())))))
        self.frames = len(files)
        self.width, self.height = self.clip.size
        window = bpy.context.window or bpy.data.window_managers[0].windows[0]
        area = max(window.screen.areas, key=lambda a: a.width * a.height)
        with bpy.context.temp_override(window=window, screen=window.screen, area=area):
            area.type = "CLIP_EDITOR"
        self.space = area.spaces.active
        self.space.clip = self.clip
        region = next(region for region in area.regions if region.type == "WINDOW")
        self.place = {"window": window, "screen": window.screen, "area": area, "region": region,
                      "space_data": self.space}  # fmt: skip
        bpy.context.scene.frame_start, bpy.context.scene.frame_end = 1, self.frames
        self.object = self.clip.tracking.objects[0]
        self.tracks, self.lens = self.object.tracks, self.clip.tracking.camera
        self.settings = self.clip.tracking.settings

    def do(self, operator, **options) -> None:
        """An operator; one that fails has said so on the terminal."""
        with bpy.context.temp_override(**self.place):
            try:
                operator(**options)
            except RuntimeError as error:
                print(error)

    def go(self, frame: int) -> None:
        """To a frame, from 1."""
        bpy.context.scene.frame_set(frame)
        self.space.clip_user.frame_current = frame

    def select(self, names: list[str]) -> None:
        """These tracks and no others."""
        for track in self.tracks:
            track.select = track.select_anchor = track.name in names
            track.select_pattern = track.select_search = False

    def delete(self, names: list[str]) -> None:
        """These tracks."""
        if names:
            self.select(names)
            self.do(bpy.ops.clip.delete_track)

    def at(self, frame: int) -> dict[str, np.ndarray]:
        """Where tracks are in a frame, px."""
        found = {track.name: track.markers.find_frame(frame) for track in self.tracks}
        return {n: np.array(m.co) * (self.width, self.height) for n, m in found.items() if m and not m.mute}


def follow(editor: Editor) -> None:
    """Features of every twelfth frame and the last one, forwards and backwards."""
    settings, distance = editor.settings, max(12, editor.width // 24)
    settings.default_motion_model, settings.default_pattern_match = "Perspective", "KEYFRAME"
    settings.default_pattern_size, settings.default_search_size = 21, 71
    settings.default_correlation_min, settings.use_default_brute = 0.85, True
    for frame in sorted({*range(1, editor.frames + 1, STEP), editor.frames}):
        editor.go(frame)
        known = editor.at(frame)
        there = {track.name for track in editor.tracks}
        editor.do(bpy.ops.clip.detect_features, placement="FRAME", margin=16, threshold=0.01, min_distance=distance)
        fresh = {name: xy for name, xy in editor.at(frame).items() if name not in there}
        near = [n for n, xy in fresh.items() if any(np.hypot(*(xy - k)) < 0.75 * distance for k in known.values())]
        editor.delete(near)
        for backwards, end in ((False, editor.frames), (True, 1)):
            if frame != end:
                editor.go(frame)
                editor.select([name for name in fresh if name not in near])
                editor.do(bpy.ops.clip.track_markers, backwards=backwards, sequence=True)


def clean(editor: Editor) -> None:
    """Without short tracks and spiky ones."""
    least = min(8, max(3, editor.frames // 4))
    editor.delete([track.name for track in editor.tracks if sum(not m.mute for m in track.markers) < least])
    editor.select([])
    editor.do(bpy.ops.clip.filter_tracks, track_threshold=5.0)
    spiky = [track.name for track in editor.tracks if track.select]
    if len(spiky) < 0.5 * len(editor.tracks):
        editor.delete(spiky)


def solve(editor: Editor, fx: float, center: tuple[float, float]) -> tuple[float, float]:
    """From a focal length; (- frames with a camera, error in px): less is better."""
    lens = editor.lens
    lens.units, lens.focal_length_pixels = "PIXELS", fx
    lens.principal_point_pixels = (center[0], editor.height - center[1])
    lens.k1 = lens.k2 = lens.k3 = 0.0
    editor.do(bpy.ops.clip.solve_camera)
    found = editor.object.reconstruction
    return (-len(found.cameras), found.average_error) if found.is_valid and len(found.cameras) else (0, np.inf)


def solved(editor: Editor, starts: list[float], center: tuple[float, float]) -> bool:
    """From the best of the starts, again and again without the tracks of large error."""
    found = {focal: (solve(editor, focal, center), editor.lens.focal_length_pixels) for focal in starts}
    focal = min(found, key=lambda one: found[one][0])
    if found[focal][0] == (0, np.inf):
        return False
    if editor.settings.refine_intrinsics_focal_length and 0.3 < found[focal][1] / editor.width < 8:
        focal = found[focal][1]
    ended = solve(editor, focal, center)
    for _ in range(ROUNDS):
        errors = {track.name: track.average_error for track in editor.tracks if track.has_bundle}
        if not errors:
            return False
        limit = max(MIN_ERROR_PX, MAX_ERROR * float(np.median(list(errors.values()))))
        bad = [track.name for track in editor.tracks if errors.get(track.name, np.inf) > limit]
        if not bad or len(editor.tracks) - len(bad) < 20:
            break
        editor.delete(bad)
        ended = solve(editor, focal, center)
    return ended != (0, np.inf)


def write(editor: Editor, files: list[Path], folder: Path) -> None:
    """A COLMAP text model: a lens, a camera a frame, the points without their tracks."""
    folder.mkdir(parents=True)
    lens, height = editor.lens, editor.height
    fx, (cx, up) = lens.focal_length_pixels, lens.principal_point_pixels
    line = f"1 PINHOLE {editor.width} {height} {fx:.10g} {fx * lens.pixel_aspect:.10g} {cx:.10g} {height - up:.10g}"
    (folder / "cameras.txt").write_text(line + "\n")
    images = []
    for number, camera in enumerate(sorted(editor.object.reconstruction.cameras, key=lambda one: one.frame), 1):
        world_from_cam = camera.matrix if camera.matrix[3][0] == 0 else camera.matrix.transposed()
        cam_from_world = world_from_cam.to_3x3().normalized() @ _matrix(FLIP)
        cam_from_world.transpose()
        q, t = cam_from_world.to_quaternion(), -(cam_from_world @ world_from_cam.to_translation())
        pose = " ".join(f"{value:.10g}" for value in (*q, *t))
        images.append(f"{number} {pose} 1 {files[camera.frame - 1].name}\n\n")
    (folder / "images.txt").write_text("".join(images))
    points = [track.bundle for track in editor.tracks if track.has_bundle]
    rows = [f"{n} {x:.10g} {y:.10g} {z:.10g} 128 128 128 0\n" for n, (x, y, z) in enumerate(points, 1)]
    (folder / "points3D.txt").write_text("".join(rows))


def _matrix(values: np.ndarray):
    from mathutils import Matrix

    return Matrix(values.tolist())


def main() -> None:
    """Exit code 2 where there is no solve."""
    frames, out, lens = Path(sys.argv[1]), Path(sys.argv[2]), [float(word) for word in sys.argv[3:7]]
    files = sorted(file for file in frames.iterdir() if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    editor = Editor(files, out)
    editor.lens.pixel_aspect = lens[1] / lens[0] if lens else 1.0
    follow(editor)
    clean(editor)
    editor.settings.use_keyframe_selection = True
    editor.settings.refine_intrinsics_focal_length = not lens
    starts = lens[:1] or [part * editor.width for part in STARTS]
    center = (lens[2], lens[3]) if lens else (editor.width / 2, editor.height / 2)
    if not solved(editor, starts, center):
        editor.settings.use_tripod_solver = True
        if not solved(editor, starts, center):
            sys.exit(2)
    write(editor, files, out / "best")


if __name__ == "__main__":
    main()
