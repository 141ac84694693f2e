"""The measures against numbers worked out by hand, and against the shared script they must agree with."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
from solved import shot_of, solve

from sfm.bridging import bridge
from sfm.errors import InputError
from sfm.evaluation import GroundTruth, evaluate
from sfm.export import write_colmap
from sfm.geometry import Camera, Rigid3, Sim3
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.scene import Reconstruction, Tracks
from sfm.synthetic import make_shot

CAMERA = Camera([400.0, 400.0], [320.0, 180.0], [], 640, 360)
MAP = (64, 36)  # width and height of the true depth maps


def wall_depth(camera: Camera, cams_from_world: Rigid3) -> np.ndarray:
    """True depth maps (frames, 36, 64) of the tilted wall z = 6 - 0.3 x + 0.5 y."""
    normal, offset = np.array([0.3, -0.5, 1.0]), 6.0
    column, row = np.meshgrid(np.arange(MAP[0]) + 0.5, np.arange(MAP[1]) + 0.5)
    xy = np.stack([column * camera.width / MAP[0], row * camera.height / MAP[1]], axis=-1)
    maps = []
    for k in range(len(cams_from_world)):
        pose = cams_from_world[k]
        cam_points = camera.at(k).cam_from_img(xy)
        ray = np.concatenate([cam_points, np.ones((*xy.shape[:2], 1))], axis=-1) @ pose.rotation
        maps.append((offset - normal @ pose.centers_in_world) / (ray @ normal))
    return np.array(maps)


def on_the_wall(points: np.ndarray) -> np.ndarray:
    """Each point moved along its ray from the world's origin onto the wall."""
    return points * (6.0 / (points @ [0.3, -0.5, 1.0]))[:, None]


def reconstruct(cams_from_world: Rigid3, points: np.ndarray, camera: Camera = CAMERA) -> Reconstruction:
    frames, count = len(cams_from_world), len(points)
    return Reconstruction(
        camera=camera,
        cams_from_world=cams_from_world,
        registered=np.ones(frames, dtype=bool),
        points=points,
        inliers=np.zeros(0, dtype=bool),
        tracks=Tracks([], [], np.zeros((0, 2)), frames, count),
        depth_scale=np.ones(frames),
        support=np.ones(count),
        point_sigma=np.full(count, np.nan),
    )


def at_centers(centers, rotvec=0.0) -> Rigid3:
    """Cameras at centres (frames, 3), turned by rotvec (frames, 3)."""
    rotation = rotation_from_rotvec(np.zeros((len(centers), 3)) + rotvec)
    return Rigid3(rotation, -np.einsum("fij,fj->fi", rotation, np.asarray(centers, dtype=float)))


def truth_of(cams_from_world: Rigid3, camera: Camera = CAMERA, depth=None) -> GroundTruth:
    frames = len(cams_from_world)
    focal = np.broadcast_to(camera.focal_length, (frames, 2))
    center = np.broadcast_to(camera.principal_point, (frames, 2))
    every = Camera(focal, center, [], camera.width, camera.height)
    return GroundTruth(every, cams_from_world, shot_of(camera, frames).frame_names, depth)


def wall_points(rng, count=200) -> np.ndarray:
    return on_the_wall(np.column_stack([rng.uniform(-0.7, 0.7, count), rng.uniform(-0.4, 0.4, count), np.ones(count)]))


LINE = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])


def test_a_perfect_solve_in_another_world_has_no_error(rng):
    cams = at_centers(0.1 * LINE, [0.0, 0.05, 0.0])
    other = Sim3(3.0, rotation_from_rotvec([0.4, -1.0, 0.3]), np.array([1.0, 2.0, 3.0]))
    found = reconstruct(cams, wall_points(rng)).transform(other)
    measures = evaluate(found, shot_of(CAMERA, 4), truth_of(cams, depth=wall_depth(CAMERA, cams)))
    assert (measures.coverage, measures.points, measures.auc10) == (100, 200, pytest.approx(1, abs=1e-6))
    assert max(measures.ate_pct, measures.rpe_rot_deg, measures.focal_err_pct) < 1e-9
    assert measures.rpe_dir_deg < 1e-5
    assert measures.slide_px < 0.3  # the scale comes from a depth map read at the nearest pixel
    assert np.isnan(measures.path_over_depth)


def test_rotation_error_by_hand():
    turned = np.zeros((4, 3))
    turned[3, 1] = np.radians(2.0)
    found = reconstruct(at_centers(LINE, turned), np.zeros((0, 3)))
    measures = evaluate(found, shot_of(CAMERA, 4), truth_of(at_centers(LINE)))
    assert measures.rpe_rot_deg == pytest.approx(2.0 * 3 / 6)  # three of the six pairs hold the turned frame


def test_path_error_by_hand():
    wave = 0.1
    found = reconstruct(at_centers(LINE + np.outer([1, -1, -1, 1], [0, wave, 0])), np.zeros((0, 3)))
    measures = evaluate(found, shot_of(CAMERA, 4), truth_of(at_centers(LINE)))
    scale = 1.25 / (1.25 + wave**2)  # the wave is orthogonal to the line, so the fit only shrinks
    expected = np.sqrt((1 - scale) ** 2 * 1.25 + (scale * wave) ** 2)
    assert measures.ate_pct == pytest.approx(100 * expected / 3)


def test_direction_error_and_auc_by_hand():
    centers = np.array([[0.0, 0, 0], [1, np.tan(np.radians(5.0)), 0]])
    found = reconstruct(at_centers(centers), np.zeros((0, 3)))
    measures = evaluate(found, shot_of(CAMERA, 2), truth_of(at_centers(LINE[:2])))
    assert measures.rpe_dir_deg == pytest.approx(5.0)
    assert measures.auc10 == pytest.approx(0.5)


def test_focal_error_and_slide_by_hand(rng):
    """A camera that turns, its focal length 1 % off: what is put in slides by what the two lenses disagree."""
    cams = at_centers(np.zeros((3, 3)), np.outer([-1, 0, 1], [0, 0.1, 0]))
    wrong = CAMERA.with_focal_length(1.01 * CAMERA.focal_length)
    truth = truth_of(cams, depth=np.full((3, MAP[1], MAP[0]), 6.0))
    points = np.column_stack([rng.uniform(-3, 3, (100, 2)) * [1, 0.5], np.full(100, 6.0)])
    measures = evaluate(reconstruct(cams, points, wrong), shot_of(CAMERA, 3), truth)
    assert measures.focal_err_pct == pytest.approx(1.0)

    column, row = np.meshgrid(np.arange(6, 58, 12) + 0.5, np.arange(6, 30, 12) + 0.5)
    xy = np.column_stack([column.ravel(), row.ravel()]) * 10
    slides = []
    for k in range(3):
        there = [
            camera.img_from_cam(np.column_stack([camera.cam_from_img(xy), np.ones(len(xy))]) @ cams.rotation[k].T)
            for camera in (CAMERA, wrong)
        ]
        on = ((there[0] > 0) & (there[0] < [640, 360])).all(1)
        slides.append(np.linalg.norm(there[0] - there[1], axis=1)[on])
    assert measures.slide_px == pytest.approx(np.percentile(np.concatenate(slides), 95), abs=1e-9)
    assert 0.1 < measures.slide_px < 1
    assert measures.depth_logstd == 0


def test_path_of_a_nodal_shot_by_hand(rng):
    turning = np.outer([-1, 0, 1], [0, 0.1, 0])
    truth = truth_of(at_centers(np.zeros((3, 3)), turning), depth=np.full((3, MAP[1], MAP[0]), 6.0))
    points = np.column_stack([rng.uniform(-2, 2, (100, 2)) * [1, 0.5], np.full(100, 12.0)])  # twice as far: scale 2
    found = reconstruct(at_centers([[-0.3, 0, 0], [0, 0, 0], [0.3, 0, 0]], turning), points)
    measures = evaluate(found, shot_of(CAMERA, 3), truth)
    assert measures.path_over_depth == pytest.approx(0.3 / 12)
    assert measures.as_dict()["ate_pct"] is None
    assert measures.as_dict()["auc10"] is None


def test_unregistered_frames_cost_coverage_only(rng):
    truth = make_shot("orbit", rng=rng, num_frames=10)
    found, shot = solve(truth, rng, lost=(2, 7, 9))
    measures = evaluate(found, shot, truth_of(truth.cams_from_world, truth.camera))
    assert measures.coverage == 70
    assert measures.ate_pct < 1e-9
    assert measures.as_dict()["bridged"] is None


def test_bridged_frames_are_told_and_not_compared(rng):
    truth = make_shot("handheld", rng=rng, num_frames=10)
    found, shot = solve(truth, rng, lost=(2, 7, 9))
    found = bridge(found)
    assert np.linalg.norm(found.centers_in_world[7] - truth.cams_from_world.centers_in_world[7]) > 1e-4
    measures = evaluate(found, shot, truth_of(truth.cams_from_world, truth.camera))
    assert (measures.coverage, measures.bridged) == (70, 20)
    assert measures.ate_pct < 1e-9


def shared_measures(shared, reconstruction, shot, gt_json, depth_npz, folder) -> dict:
    """What the shared script says of the model as COLMAP's own reader gives it."""
    pytest.importorskip("pycolmap")
    spec = importlib.util.spec_from_file_location("shared_measure", shared / "measure.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    write_colmap(reconstruction, shot, folder / "0")
    cams, points = script.load_model(folder / "0")
    depth = np.load(depth_npz)["depth"].astype(np.float32)
    return script.measure(cams, points, json.loads(gt_json.read_text()), depth)


def write_truth(truth: GroundTruth, folder):
    """The two files a ground truth comes in."""
    frames = []
    for k, name in enumerate(truth.frame_names):
        (fx, fy), (cx, cy) = truth.camera.focal_length[k].tolist(), truth.camera.principal_point[k].tolist()
        matrix = truth.cams_from_world[k].as_matrix().tolist()
        frames.append({"name": name, "cam_from_world": matrix, "fx": fx, "fy": fy, "cx": cx, "cy": cy})
    data = {"width": truth.camera.width, "height": truth.camera.height, "frames": frames}
    (folder / "gt.json").write_text(json.dumps(data))
    assert truth.depth is not None
    np.savez_compressed(folder / "depth.npz", depth=truth.depth.astype(np.float16))
    return folder / "gt.json", folder / "depth.npz"


@pytest.mark.parametrize(
    ("motion", "frames", "lost"),
    [("orbit", 12, ()), ("dolly", 100, (50, 51)), ("handheld", 15, (7,)), ("pan", 12, (0,)), ("zoom", 10, ())],
)
def test_agrees_with_the_shared_script(rng, tmp_path, shared, motion, frames, lost):
    synthetic = make_shot(motion, rng=rng, num_frames=frames)
    synthetic = dataclasses.replace(synthetic, points=on_the_wall(synthetic.points))
    depth = wall_depth(synthetic.camera, synthetic.cams_from_world)
    depth[:, :3, :5] = np.nan
    found, shot = solve(synthetic, rng, error=0.003, lost=lost)
    found = found.transform(Sim3(0.4, rotation_from_rotvec([0.4, -1.0, 0.3]), np.array([1.0, 2.0, 3.0])))
    truth = truth_of(synthetic.cams_from_world, synthetic.camera, depth)
    gt_json, depth_npz = write_truth(truth, tmp_path)

    ours = evaluate(found, shot, GroundTruth.load(gt_json, depth_npz)).as_dict()
    theirs = shared_measures(shared, found, shot, gt_json, depth_npz, tmp_path)
    assert {name: value for name, value in ours.items() if value is not None} == theirs
    assert theirs["rpe_rot_deg"] > 0.01
    assert ("path_over_depth" in theirs) == (motion in ("pan", "zoom"))


@pytest.mark.parametrize("rename", ["{stem}.jpg", "{number}.png", "other_{number:06d}.png"])
def test_frames_are_matched_by_stem_or_number(rng, rename):
    cams = at_centers(rng.uniform(-1, 1, (5, 3)))
    shot = shot_of(CAMERA, 5)
    names = [rename.format(stem=f"plate.{number}", number=number) for number in shot.frame_numbers.tolist()]
    backwards = dataclasses.replace(shot, frame_names=names[::-1])
    found = reconstruct(cams[::-1], np.zeros((0, 3)))
    assert evaluate(found, backwards, truth_of(cams)).ate_pct < 1e-9
    assert evaluate(found, shot, truth_of(cams)).ate_pct > 1


def test_a_frame_the_truth_does_not_know_is_an_error(rng):
    cams = at_centers(LINE)
    shot = dataclasses.replace(shot_of(CAMERA, 4), frame_names=("plate.1001.png", "a.png", "b.png", "c.png"))
    with pytest.raises(InputError, match=r"a\.png: not a frame of the ground truth \(plate\.1001\.png"):
        evaluate(reconstruct(cams, np.zeros((0, 3))), shot, truth_of(cams))


def test_the_truth_of_another_plate_is_an_error(rng):
    other = Camera([400.0, 400.0], [320.0, 240.0], [], 640, 480)
    cams = at_centers(LINE)
    with pytest.raises(InputError, match="its plate is 640x360, the truth's 640x480"):
        evaluate(reconstruct(cams, np.zeros((0, 3))), shot_of(CAMERA, 4), truth_of(cams, other))


def test_nothing_registered_is_an_error(rng):
    found, shot = solve(make_shot("pan", rng=rng, num_frames=3), rng, lost=(0, 1, 2))
    with pytest.raises(InputError, match="no frame is registered"):
        evaluate(found, shot, truth_of(at_centers(LINE[:3])))


def test_a_single_camera_has_coverage_and_nothing_to_compare(rng):
    truth = make_shot("orbit", rng=rng, num_frames=4)
    found, shot = solve(truth, rng, lost=(0, 1, 2))
    measures = evaluate(found, shot, truth_of(at_centers(LINE), truth.camera)).as_dict()
    assert measures["coverage"] == 25
    assert measures["rpe_rot_deg"] is None and measures["ate_pct"] is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "not json",
        "[]",
        "{}",
        '{"width": 4, "height": 4, "frames": []}',
        '{"width": 4, "height": 4, "frames": [{"name": "a", "fx": 1, "fy": 1, "cx": 1, "cy": 1}]}',
        '{"width": 4, "height": 4, "frames": [{"fx": 1, "fy": 1, "cx": 1, "cy": 1, "cam_from_world": [1]}]}',
        '{"width": 4, "height": 4, "frames": [{"name": "a", "fx": "?", "fy": 1, "cx": 1, "cy": 1}]}',
    ],
)
def test_a_bad_ground_truth_is_one_line(tmp_path, text):
    path = tmp_path / "gt.json"
    if text is not None:
        path.write_text(text)
    said = r"gt\.json: no such file" if text is None else r"gt\.json: not a ground truth of cameras"
    with pytest.raises(InputError, match=said) as caught:
        GroundTruth.load(path)
    assert "\n" not in str(caught.value)


def test_bad_depth_is_one_line(tmp_path):
    truth = truth_of(at_centers(LINE), depth=np.ones((4, 5, 6)))
    gt_json, depth_npz = write_truth(truth, tmp_path)
    assert GroundTruth.load(gt_json, depth_npz).depth is not None
    with pytest.raises(InputError, match="no such file"):
        GroundTruth.load(gt_json, tmp_path / "nowhere.npz")
    for content in (b"", b"hello", depth_npz.read_bytes()[:-40]):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(InputError, match="not a file of true depth"):
            GroundTruth.load(gt_json, tmp_path / "bad.npz")
    np.savez(tmp_path / "short.npz", depth=np.ones((3, 5, 6)))
    with pytest.raises(InputError, match=r"depth of shape \(3, 5, 6\), expected \(4, height, width\)"):
        GroundTruth.load(gt_json, tmp_path / "short.npz")
