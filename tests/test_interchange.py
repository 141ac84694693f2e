"""Cameras of other programs read back: our own exports come round, others' are what their readers say."""

import dataclasses
import pickle
import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from solved import shot_of, solve
from test_film_formats import HAND_MM, seen, shot_with

from sfm.errors import InputError, NotEnoughTracksError, UsageError
from sfm.export import FilmOptions, write_chan, write_colmap, write_usd
from sfm.geometry import Camera, Rigid3, Sim3
from sfm.geometry.path import other_from_ours
from sfm.geometry.rotation import rotation_angle, rotation_from_rotvec
from sfm.interchange import ImportOptions, placed_on, read_track
from sfm.pipeline import reconstruct
from sfm.results import load_model, renew_report, write_imported
from sfm.synthetic import make_shot
from sfm.video import Video

LENSES = ("fixed", "zoom", "anamorphic")


def through(scene, points):
    """Pixels (frames with a camera, points, 2) of points in the scene's own world."""
    frames = np.flatnonzero(scene.has_camera)
    return np.stack([scene.camera.at(f).img_from_cam(scene.cams_from_world[int(f)].apply(points)) for f in frames])


@pytest.mark.parametrize("unit", ["m", "cm"])
@pytest.mark.parametrize("lens", LENSES)
def test_usd_comes_round(rng, tmp_path, lens, unit):
    scene, shot = shot_with(rng, lens)
    write_usd(scene, shot, tmp_path / "shot.usd", FilmOptions(HAND_MM, unit))
    track = read_track(tmp_path / "shot.usd", ImportOptions((shot.width, shot.height)))
    assert track.shot.frame_numbers.tolist() == list(range(1001, 1009)) and track.shot.fps == 25
    assert track.sensor_mm == pytest.approx(HAND_MM)
    # USD interpolates where we have no camera: told as no key
    assert np.flatnonzero(track.scene.bridged).tolist() == [3, 4] and not track.scene.registered[[3, 4]].any()
    assert (np.ndim(track.scene.camera.focal_length) == 2) == (lens == "zoom")
    points = scene.points[scene.has_point]
    np.testing.assert_allclose(track.scene.points, points, atol=1e-5)
    found = through(dataclasses.replace(track.scene, bridged=np.zeros(8, bool)), points)
    np.testing.assert_allclose(found, seen(scene, shot), atol=0.01)
    assert np.abs(track.scene.tracks.colors.astype(int) - scene.tracks.colors[scene.has_point]).max() <= 1


@pytest.mark.parametrize("lens", LENSES)
def test_colmap_comes_round(rng, tmp_path, lens):
    scene, shot = shot_with(rng, lens)
    write_colmap(scene, shot, tmp_path / "0")
    track = read_track(tmp_path / "0")
    assert track.shot.frame_numbers.tolist() == [1001, 1002, 1003, 1006, 1007, 1008]
    np.testing.assert_allclose(through(track.scene, scene.points[scene.has_point]), seen(scene, shot), atol=1e-6)
    on_clip = read_track(tmp_path / "0", clip=shot)
    assert on_clip.scene.registered.tolist() == scene.registered.tolist() and on_clip.shot is shot
    np.testing.assert_allclose(through(on_clip.scene, scene.points[scene.has_point]), seen(scene, shot), atol=1e-6)
    ours = (scene.inliers & scene.has_point[scene.tracks.track]).sum()
    assert on_clip.scene.inliers.sum() == ours
    assert np.nanmax(on_clip.scene.reprojection_errors()) == pytest.approx(
        np.nanmax(scene.reprojection_errors()[scene.inliers]), abs=1e-6
    )


@pytest.mark.parametrize("lens", LENSES)
def test_chan_comes_round_but_for_its_limits(rng, tmp_path, lens):
    """No principal point, no pixel aspect: with the one in the middle and the other told nothing is lost."""
    scene, shot = shot_with(rng, lens, centred=True)
    write_chan(scene, shot, tmp_path / "camera.chan")
    aspect = 2.0 if lens == "anamorphic" else None
    track = read_track(tmp_path / "camera.chan", ImportOptions((shot.width, shot.height), pixel_aspect=aspect))
    assert track.scene.registered.tolist() == scene.registered.tolist() and not track.scene.bridged.any()
    np.testing.assert_allclose(through(track.scene, scene.points[scene.has_point]), seen(scene, shot), atol=0.01)
    off, _ = shot_with(np.random.default_rng(3), lens)
    write_chan(off, shot, tmp_path / "off.chan")
    moved = read_track(tmp_path / "off.chan", ImportOptions((shot.width, shot.height), pixel_aspect=aspect)).scene
    apart = through(moved, off.points[off.has_point]) - seen(off, shot)
    np.testing.assert_allclose(apart, np.broadcast_to([-37.5, 22.25], apart.shape), atol=0.01)


def stage_of(path, *, up="Y", unit=1.0, fps=None, codes=None):
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, getattr(UsdGeom.Tokens, up.lower()))
    UsdGeom.SetStageMetersPerUnit(stage, unit)
    if fps is not None:
        stage.SetFramesPerSecond(fps)
    if codes is not None:
        stage.SetTimeCodesPerSecond(codes)
    return stage


def test_usd_of_others(rng, tmp_path):
    """Z up, centimetres, a parent that moves and scales, keys at an open shutter: as USD's own frustum sees it."""
    from pxr import Gf, UsdGeom

    stage = stage_of(tmp_path / "other.usda", up="Z", unit=0.01, fps=24.0, codes=24.0)
    rig, camera = UsdGeom.Xform.Define(stage, "/rig"), UsdGeom.Camera.Define(stage, "/rig/cam")
    UsdGeom.Camera.Define(stage, "/still").CreateFocalLengthAttr(35.0)  # the one that moves is meant
    moved, scaled, turned = rig.AddTranslateOp(), rig.AddScaleOp(), camera.AddRotateXYZOp()
    scaled.Set(Gf.Vec3f(2, 2, 2))
    for code in np.arange(1001, 1006) + 0.25:
        moved.Set(Gf.Vec3d(code - 1001, 3.0, 150.0), code)
        moved.Set(Gf.Vec3d(code - 1001.5, 3.0, 150.0), code - 0.5)
    for code in range(1001, 1006):
        turned.Set(Gf.Vec3f(80.0, 5.0, code - 1000.0), code)
        camera.CreateFocalLengthAttr().Set(30.0 + 0.5 * (code - 1001), code)
    camera.CreateHorizontalApertureAttr(24.0)
    camera.CreateVerticalApertureAttr(13.5)
    camera.CreateHorizontalApertureOffsetAttr(0.7)
    camera.CreateVerticalApertureOffsetAttr(-0.4)
    stage.GetRootLayer().Save()
    track = read_track(tmp_path / "other.usda", ImportOptions((1920, 1080)))
    assert track.shot.frame_numbers.tolist() == [1001, 1002, 1003, 1004, 1005] and track.scene.registered.all()
    assert track.sensor_mm == pytest.approx(24.0)
    # in front of the camera, which is at 150 cm x 1 and looks along +y of the stage
    points = np.column_stack([rng.uniform(-40, 40, 30), rng.uniform(300, 500, 30), rng.uniform(100, 200, 30)])
    ours = 0.01 * points @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x, -z, y
    for frame in range(5):
        frustum = camera.GetCamera(1001.0 + frame).frustum
        clip = np.array(frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix())
        # a frustum is put where the camera is and scaled with it, which moves no pixel
        found = np.column_stack([points, np.ones(30)]) @ clip
        pixels = (0.5 + 0.5 * found[:, :2] / found[:, 3:] * [1, -1]) * [1920, 1080]
        mine = track.scene.camera.at(frame).img_from_cam(track.scene.cams_from_world[frame].apply(ours))
        np.testing.assert_allclose(mine, pixels, atol=0.01)


def test_usd_time_codes_and_clips(rng, tmp_path):
    """Codes that are seconds; frames of the clip only; a film back that is not of the plate's shape."""
    from pxr import Gf, UsdGeom

    stage = stage_of(tmp_path / "seconds.usda", fps=24.0, codes=1.0)
    camera = UsdGeom.Camera.Define(stage, "/cam")
    op = camera.AddTranslateOp()
    for frame in range(12, 21):
        op.Set(Gf.Vec3d(frame, 0, 0), frame / 24.0)
    camera.CreateHorizontalApertureAttr(24.0)
    camera.CreateVerticalApertureAttr(18.0)
    stage.GetRootLayer().Save()
    truth = make_shot("orbit", rng=rng, num_frames=8, num_tracks=20)
    clip = shot_of(truth.camera, 8, first=1015)
    track = read_track(tmp_path / "seconds.usda", ImportOptions(frame_offset=1000, pixel_aspect=1.0), clip)
    assert track.scene.registered.tolist() == [True] * 6 + [False] * 2
    np.testing.assert_allclose(track.scene.centers_in_world[:6, 0], np.arange(15, 21), atol=1e-9)
    np.testing.assert_allclose(track.scene.camera.focal_length, 50 / 24 * truth.camera.width)
    bent = read_track(tmp_path / "seconds.usda", ImportOptions(frame_offset=1000), clip).scene.camera.focal_length
    assert bent[1] / bent[0] == pytest.approx(24 / 18 * truth.camera.height / truth.camera.width)
    with pytest.raises(InputError, match=r"frames are 12-20, the clip's 1015-1022: none in common; --frame-offset"):
        read_track(tmp_path / "seconds.usda", clip=clip)


def test_usd_that_has_none(tmp_path):
    from pxr import UsdGeom

    size = ImportOptions((1920, 1080))
    stage = stage_of(tmp_path / "none.usda")
    UsdGeom.Xform.Define(stage, "/set")
    stage.GetRootLayer().Save()
    with pytest.raises(InputError, match=r"none\.usda: holds no camera$"):
        read_track(tmp_path / "none.usda", size)
    for name in ("a", "b"):
        UsdGeom.Camera.Define(stage, f"/{name}")
    stage.GetRootLayer().Save()
    with pytest.raises(InputError, match="2 cameras; choose with --camera: /a, /b"):
        read_track(tmp_path / "none.usda", size)
    with pytest.raises(InputError, match="no camera /c; there are /a, /b"):
        read_track(tmp_path / "none.usda", dataclasses.replace(size, camera="/c"))
    with pytest.raises(InputError, match="/a has no keys, and the stage no range"):
        read_track(tmp_path / "none.usda", dataclasses.replace(size, camera="/a"))
    stage.SetStartTimeCode(5)
    stage.SetEndTimeCode(7)
    stage.GetRootLayer().Save()
    still = read_track(tmp_path / "none.usda", dataclasses.replace(size, camera="/a"))
    assert still.shot.frame_numbers.tolist() == [5, 6, 7] and still.scene.registered.all()
    key = UsdGeom.Camera.Get(stage, "/a").AddTranslateOp()
    for frame in (1, 10**12):
        key.Set((0, 0, 0), frame)
    stage.GetRootLayer().Save()
    with pytest.raises(InputError, match="frames 1 to 1000000000000; expected a shot"):
        read_track(tmp_path / "none.usda", dataclasses.replace(size, camera="/a"))
    (tmp_path / "broken.usd").write_bytes(b"PXR-USDC and no more")
    with pytest.raises(InputError, match=r"broken\.usd: not a USD file"):
        read_track(tmp_path / "broken.usd", size)
    with pytest.raises(InputError, match="does not say how large the plate is; give --size"):
        read_track(tmp_path / "none.usda")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# a comment\n1 0 0 0 0 0 0\n", r"line 2: 7 columns; expected 8, frame tx ty tz rx ry rz vfov"),
        ("1 0 0 0 0 0 0 40 9\n", r"line 1: 9 columns"),
        ("1 0 0 x 0 0 0 40\n", r"line 1: could not convert .* expected numbers"),
        ("1 0 0 0 0 0 0 180\n", r"vfov between 0 and 180"),
        ("1.5 0 0 0 0 0 0 40\n", r"a whole frame"),
        ("1 0 0 0 0 0 0 40\n1 0 0 0 0 0 0 40\n", r"frame 1 stands there twice"),
        ("1 0 0 0 0 0 0 40\n1000000000000 0 0 0 0 0 0 40\n", r"frames 1 to 1000000000000; expected a shot"),
        ("1e30 0 0 0 0 0 0 40\n1e30 0 0 0 0 0 0 41\n", r"stands there twice"),
        ("1e30 0 0 0 0 0 0 40\n", r"frames 1e\+30 to 1e\+30; expected a shot"),
        ("", r"holds no frame"),
    ],
)
def test_chan_that_is_none(tmp_path, text, said):
    (tmp_path / "camera.chan").write_text(text)
    with pytest.raises(InputError, match=said):
        read_track(tmp_path / "camera.chan", ImportOptions((1920, 1080)))


def studio_pickle(path, scene, shot, protocol=4, rows=3):
    K = scene.camera.matrix()
    entries = {
        name: {
            "intr_mtx": K if K.ndim == 2 else K[k],
            "v2c": np.vstack([scene.cams_from_world.as_matrix()[k], [0, 0, 0, 1]])[:rows],
        }
        for k, name in enumerate(shot.frame_names)
    }
    path.write_bytes(pickle.dumps(entries, protocol=protocol))


@pytest.mark.parametrize(("protocol", "rows"), [(0, 3), (2, 4), (3, 3), (5, 4)])
@pytest.mark.parametrize("lens", LENSES)
def test_studio_pickle(rng, tmp_path, lens, protocol, rows):
    scene, shot = shot_with(rng, lens, lost=())
    studio_pickle(tmp_path / "camera.pkl", scene, shot, protocol, rows)
    track = read_track(tmp_path / "camera.pkl", ImportOptions((shot.width, shot.height)))
    assert track.shot.frame_names == shot.frame_names and track.shot.frame_numbers.tolist() == list(range(1001, 1009))
    np.testing.assert_allclose(through(track.scene, scene.points[scene.has_point]), seen(scene, shot), atol=1e-6)


def test_a_pickle_of_other_bytes(rng, tmp_path):
    """Big-endian, Fortran order, single precision, whole numbers; and NumPy's own types stay what they are."""
    K, pose = np.array([[800, 0, 320], [0, 800, 180], [0, 0, 1]]), np.eye(4)
    pose[:3, 3] = [1.5, -2.5, 3.5]
    for protocol in (2, 4, 5):
        for change in (
            lambda a: a.astype(">f8"),
            np.asfortranarray,
            lambda a: a.astype("f4"),
            lambda a: a.astype(">f4"),
        ):
            entry = {"intr_mtx": K.astype(">i4"), "v2c": change(pose)}
            (tmp_path / "camera.pkl").write_bytes(pickle.dumps({"b_2": entry, "b_10": entry}, protocol=protocol))
            track = read_track(tmp_path / "camera.pkl", ImportOptions((640, 360)))
            assert track.shot.frame_numbers.tolist() == [2, 10]
            np.testing.assert_allclose(track.scene.cams_from_world.translation, [[1.5, -2.5, 3.5]] * 2)
            assert track.scene.camera.focal_length.tolist() == [800, 800]
            assert np.dtype("f8").byteorder == np.dtype("f4").byteorder == "="


class _Malice:
    def __init__(self, what, *args):
        self.what, self.args = what, args

    def __reduce__(self):
        return self.what, self.args


def test_a_malicious_pickle_runs_nothing(tmp_path):
    import os

    size = ImportOptions((1920, 1080))
    touched = tmp_path / "touched"
    cases = {
        "posix.system": _Malice(os.system, f"touch {touched}"),
        "builtins.eval": _Malice(eval, f"open({str(touched)!r}, 'w')"),
        "array of object": np.array([{"a": 1}], dtype=object),
    }
    for said, content in cases.items():
        entry = {"intr_mtx": content, "v2c": np.eye(4)}
        (tmp_path / "camera.pkl").write_bytes(pickle.dumps({"frame_1.jpg": entry}))
        with pytest.raises(
            InputError, match=rf"camera\.pkl: not read, nothing of it was run.*{re.escape(said)}"
        ) as told:
            read_track(tmp_path / "camera.pkl", size)
        assert "\n" not in str(told.value) and not touched.exists()
    deep = 1.0
    for _ in range(9):
        deep = [deep] * 10  # 90 lists, 10**9 numbers
    bad = {
        "truncated": b"\x80\x04K",
        "numbers its parts up to 16777216, in": b"\x80\x02}r\x00\x00\x00\x01.",
        "matrices of numbers": pickle.dumps({"a": {"intr_mtx": deep, "v2c": deep}}),
        "expected a dict of image names, got list": pickle.dumps([1]),
        "needs intr_mtx and v2c": pickle.dumps({"a": {"v2c": np.eye(4)}}),
        "no rotation": pickle.dumps({"a": {"intr_mtx": np.diag([9.0, 9, 1]), "v2c": 2 * np.eye(4)}}),
        "positive focal lengths": pickle.dumps({"a": {"intr_mtx": -np.eye(3), "v2c": np.eye(4)}}),
        r"v2c of shape \(2, 2\)": pickle.dumps({"a": {"intr_mtx": np.eye(3), "v2c": np.eye(2)}}),
    }
    for said, content in bad.items():
        (tmp_path / "camera.pkl").write_bytes(content)
        with pytest.raises(InputError, match=said):
            read_track(tmp_path / "camera.pkl", size)


@pytest.mark.parametrize("points", [True, False])
def test_an_imported_result_is_a_result(rng, tmp_path, points):
    """What reads results reads it: load, every export, the plan."""
    from sfm.export import PLACES, export

    scene, shot = shot_with(rng, "zoom")
    if points:
        write_usd(scene, shot, tmp_path / "shot.usd")
    else:
        write_chan(scene, shot, tmp_path / "shot.chan")
    source = tmp_path / ("shot.usd" if points else "shot.chan")
    track = read_track(source, ImportOptions((shot.width, shot.height)))
    solve = write_imported(tmp_path / "out", track.scene, track.shot, {"source": str(source)})
    assert solve["verdict"] is None and "not solved by sfm" in solve["reasons"][0]
    with pytest.raises(InputError, match="was imported, not solved by sfm; there is nothing to report"):
        renew_report(tmp_path / "out")
    assert solve["registered"] == 6 and (tmp_path / "out" / "top_view.png").is_file()
    loaded, again = load_model(tmp_path / "out")
    np.testing.assert_array_equal(loaded.cams_from_world.rotation, track.scene.cams_from_world.rotation)
    assert again.as_dict() == track.shot.as_dict() | {"source": again.source}
    written = export(loaded, again, tmp_path / "delivered", [name for name in PLACES if name != "abc"])
    assert all(place.exists() for place in written.values())
    back = read_track(written["usd"], ImportOptions((shot.width, shot.height))).scene
    ours = scene.points[scene.has_point]
    frames = np.flatnonzero(track.scene.has_camera)  # interpolated ones are written with a key of their own
    np.testing.assert_allclose(through(back, ours)[frames], through(track.scene, ours)[: len(frames)], atol=0.01)


@pytest.mark.parametrize("motion", ["handheld", "dolly_zoom"])
def test_a_track_is_refined_where_it_is(rng, motion):
    """Cameras a centimetre and half a milliradian off, in another world, the last four frames missing."""
    truth = make_shot(motion, rng=rng, noise_px=0.3, depth_error=0.2, depth_unit=7.0)
    frames = truth.tracks.num_frames
    elsewhere = Sim3(np.array(30.0), rotation_from_rotvec([0.3, -1.0, 0.2]), np.array([5.0, 2.0, 1.0]))
    rotation = rotation_from_rotvec(5e-4 * rng.standard_normal((frames, 3))) @ truth.cams_from_world.rotation
    translation = truth.cams_from_world.translation + 0.01 * rng.standard_normal((frames, 3))
    rotation[20:], translation[20:] = np.nan, np.nan
    cams = elsewhere.apply_to_cameras(Rigid3(rotation, translation))
    scene, _ = solve(truth, rng)
    known = np.arange(frames) < 20
    start = dataclasses.replace(
        scene, cams_from_world=cams, registered=known, inliers=np.zeros(len(scene.tracks), bool),
        points=np.full((300, 3), np.nan),
    )  # fmt: skip
    plate = np.zeros((truth.camera.height, truth.camera.width, 3), np.uint8)
    video = Video.from_arrays([plate] * frames)
    found, report, _ = reconstruct(video, truth.priors, tracks=truth.tracks, start_camera=start)
    assert found.registered.all() and report.focal_given
    true_cams = elsewhere.apply_to_cameras(truth.cams_from_world)
    joined = other_from_ours(found.cams_from_world[known], true_cams[known])
    # in the world it came from, as well as cameras so far off say where that is
    span = np.linalg.norm(np.ptp(true_cams.centers_in_world, axis=0))
    assert abs(np.log(joined.scale)) < 0.1 and rotation_angle(joined.rotation) < 5e-4
    left = np.linalg.norm(joined.apply(found.centers_in_world) - true_cams.centers_in_world, axis=1)
    started = np.linalg.norm(cams.centers_in_world - true_cams.centers_in_world, axis=1)
    assert np.nanmedian(started) > 0.3 and 1e-4 * span < np.median(left) < 0.02
    nobody = dataclasses.replace(start, registered=np.zeros(frames, bool), cams_from_world=Rigid3(
        np.full((frames, 3, 3), np.nan), np.full((frames, 3), np.nan)))  # fmt: skip
    with pytest.raises(NotEnoughTracksError, match="fewer than 2 frames"):
        reconstruct(video, truth.priors, tracks=truth.tracks, start_camera=nobody)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("camera.chan", "camera", "/c"), ("camera.pkl", "pixel_aspect", 2.0), ("0", "fps", 25.0), ("0", "camera", "/c")],
)
def test_what_a_source_is_not_asked(rng, tmp_path, name, option, value):
    scene, shot = shot_with(rng, "fixed", lost=())
    write_chan(scene, shot, tmp_path / "camera.chan")
    write_colmap(scene, shot, tmp_path / "0")
    studio_pickle(tmp_path / "camera.pkl", scene, shot)
    size = None if name == "0" else (shot.width, shot.height)
    read_track(tmp_path / name, ImportOptions(size))
    with pytest.raises(UsageError, match=f"{name}: --{option.replace('_', '-')} does not go with"):
        read_track(tmp_path / name, dataclasses.replace(ImportOptions(size), **{option: value}))


def test_placed_on_another_plate(rng):
    truth = make_shot("orbit", rng=rng, num_frames=8, num_tracks=20)
    scene, shot = solve(truth, rng)
    other = shot_of(Camera([900.0, 900.0], [640.0, 360.0], [], 1280, 720), 8)
    with pytest.raises(InputError, match="its plate is 1920x1080, the clip's 1280x720"):
        placed_on(scene, shot, other)
    moved, named = placed_on(scene, shot, None, -1000)
    assert named.frame_numbers.tolist() == list(range(1, 9)) and named.frame_names[0] == "plate.0001.png"
    assert moved is scene


def test_rotation_order_is_nukes(tmp_path):
    """Against SciPy's own words for it: intrinsic Y, X, Z is R = Ry Rx Rz."""
    (tmp_path / "camera.chan").write_text("7\t1 2 3\t10 20 30\t40\n8\t1 2 3\t10 20 30\t40\n")
    scene = read_track(tmp_path / "camera.chan", ImportOptions((1920, 1080))).scene
    turned = Rotation.from_euler("y", 20, degrees=True) * Rotation.from_euler("x", 10, degrees=True)
    turned = (turned * Rotation.from_euler("z", 30, degrees=True)).as_matrix()
    flip = np.diag([1.0, -1.0, -1.0])
    np.testing.assert_allclose(scene.cams_from_world.rotation[0].T, flip @ turned @ flip, atol=1e-12)
    np.testing.assert_allclose(scene.centers_in_world[0], [1, -2, -3])
    np.testing.assert_allclose(scene.camera.focal_length, 540 / np.tan(np.radians(20)))
