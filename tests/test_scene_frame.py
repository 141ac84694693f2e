"""Scene frames: what is up, where 0 is and how large, and that every export agrees."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from test_film_formats import through
from test_ground import HEIGHT, degrees_between, room

from sfm.cli import main
from sfm.cli.orienting import _four_digits
from sfm.errors import InputError
from sfm.export import FilmCamera, FilmOptions, export, read_colmap
from sfm.geometry import Rigid3, Sim3
from sfm.results import load_model, set_scene_frame
from sfm.scene_frame import SceneFrame, orient


def reprojected(scene):
    frames = np.flatnonzero(scene.has_camera)
    points = scene.points[scene.has_point]
    return np.stack([scene.camera.at(f).img_from_cam(scene.cams_from_world[int(f)].apply(points)) for f in frames])


def test_the_scene_stands_upright_on_its_ground(rng):
    scene, shot, _ = room(rng)
    frame = orient(scene)
    there = scene.transform(frame.scene_from_world)
    np.testing.assert_allclose(reprojected(there), reprojected(scene), atol=1e-9)
    assert np.abs(there.points[:400, 1]).max() < 0.05  # the floor
    film = FilmCamera.of(there, shot)
    np.testing.assert_allclose(film.world_from_cams.translation[0], [0, HEIGHT, 0], atol=0.03)
    forward = -film.world_from_cams.rotation[0, :, 2]
    assert abs(forward[0]) < 1e-9 and forward[2] < 0  # along -z but for its tilt
    assert degrees_between(forward, np.array([0, 0, -1.0])) == pytest.approx(18, abs=0.5)


def test_what_is_told_is_obeyed(rng):
    scene, _, up = room(rng)
    floor = scene.points[[0, 5, 9, 60]]
    frame = orient(scene, ground=floor)
    assert degrees_between(-frame.scene_from_world.rotation[1], up) < 1e-6
    assert "told, by 4 points" in frame.said[0]
    other = up + np.array([0.1, 0, 0])
    leaning = orient(scene, up=other, ground=floor, origin=scene.points[7], scale=2.5)
    np.testing.assert_allclose(leaning.scene_from_world.apply(scene.points[7]), 0, atol=1e-12)
    assert degrees_between(-leaning.scene_from_world.rotation[1], other) < 1e-6
    there = leaning.scene_from_world.apply(scene.points[:2])
    assert np.linalg.norm(there[1] - there[0]) == pytest.approx(2.5 * np.linalg.norm(scene.points[1] - scene.points[0]))
    np.testing.assert_allclose(np.linalg.det(leaning.scene_from_world.rotation), 1)
    for told in (np.outer([1, 2, 3.0], [1, 2, 3]), np.tile([1, 2, 3.0], (3, 1))):
        with pytest.raises(InputError, match="lie in a line"):
            orient(scene, ground=told)
    lost = replace(scene, registered=np.zeros(6, bool), inliers=np.zeros(len(scene.tracks), bool))
    with pytest.raises(InputError, match="nothing to orient"):
        orient(lost)


def test_a_camera_that_looks_straight_down_has_a_heading(rng):
    scene, _, _ = room(rng)
    frame = orient(scene, up=np.array([0, 0, -1.0]))  # the first camera's axes are the world's
    np.testing.assert_allclose(frame.scene_from_world.rotation @ [0, -1, 0], [0, 0, 1], atol=1e-12)


def test_kept_and_taken_away(tmp_path):
    frame = SceneFrame(Sim3(2.0, [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], [1, 2, 3]), "cm", ("a guess",))
    frame.save(tmp_path)
    again = SceneFrame.load(tmp_path)
    assert again is not None and (again.unit, again.said) == ("cm", ("a guess",))
    np.testing.assert_array_equal(again.scene_from_world.rotation, frame.scene_from_world.rotation)
    assert SceneFrame.load(tmp_path / "elsewhere") is None
    (tmp_path / "scene_frame.json").write_text('{"format_version": 2}')
    with pytest.raises(InputError, match=r"scene_frame\.json: cannot be read"):
        SceneFrame.load(tmp_path)


@pytest.fixture
def model(rng, tmp_path):
    """A COLMAP model and what was solved."""
    scene, shot, _ = room(rng)
    export(scene, shot, tmp_path / "model", ["colmap"])
    return tmp_path / "model", *load_model(tmp_path / "model")


def sfm(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    told = capsys.readouterr()
    return end.value.code, told.out, told.err


def test_every_format_is_in_the_frame_and_sees_the_same(model, capsys, tmp_path):
    """Through the readers of some: the pixels are what they were, the world is the artist's."""
    folder, scene, shot = model
    words = ["--ground", "track 0, track 5, track 9", "--origin", "track 3", "--scale", "track 3, track 4 = 250 cm"]
    code, said, told = sfm(capsys, "orient", folder, *words, "--units", "cm")
    assert code == 0, told
    assert "told, by 3 points" in said
    formats = "usd,csv,json,colmap,ply,tum,nerfstudio,chan"
    code, _, told = sfm(capsys, "export", folder, "-o", tmp_path / "out", "--format", formats, "--sensor-mm", 24)
    assert code == 0, told
    before, out = reprojected(scene), tmp_path / "out"
    apart = np.linalg.norm(scene.points[4] - scene.points[3])

    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(out / "shot.usd"))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 0.01  # as it was told of units
    points = np.array(UsdGeom.Points(stage.GetPrimAtPath("/shot/points")).GetPointsAttr().Get(), float)
    np.testing.assert_allclose(points[3], 0, atol=1e-4)
    assert np.linalg.norm(points[4]) == pytest.approx(250, rel=1e-5)
    np.testing.assert_allclose(points[[0, 5, 9], 1], points[0, 1], atol=2e-3)  # level
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/shot/camera"))
    for i, number in enumerate(shot.frame_numbers.tolist()):
        frustum = camera.GetCamera(number).frustum
        clip = np.array(frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix())
        found = np.column_stack([points, np.ones(len(points))]) @ clip
        pixels = (0.5 + 0.5 * found[:, :2] / found[:, 3:] * [1, -1]) * [shot.width, shot.height]
        np.testing.assert_allclose(pixels, before[i], atol=0.01)

    told = json.loads((out / "camera.json").read_text())
    tangent = np.array(told["film_back_mm"]) / told["frames"][2]["focal_mm"] / 2
    size = np.array([shot.width, shot.height])
    seen = through(np.array(told["frames"][2]["world_from_camera"]), points, tangent, 0.0, size)
    np.testing.assert_allclose(seen, before[2], atol=0.01)

    colmap, _ = read_colmap(out / "sparse" / "0")
    np.testing.assert_allclose(reprojected(colmap), before, atol=1e-6)
    assert np.linalg.norm(colmap.points[4] - colmap.points[3]) == pytest.approx(2.5)  # metres, y down
    np.testing.assert_allclose(colmap.points * [100, -100, -100], points, atol=2e-3)
    from plyfile import PlyData

    vertex = PlyData.read(out / "points.ply")["vertex"].data
    np.testing.assert_allclose(np.column_stack([vertex[a] for a in "xyz"]), colmap.points, atol=1e-5)
    tum = np.loadtxt(out / "trajectory.tum")
    np.testing.assert_allclose(tum[:, 1:4], colmap.centers_in_world, atol=1e-9)
    first = np.array(json.loads((out / "transforms.json").read_text())["frames"][0]["transform_matrix"])[:3, 3]
    x, y, z = colmap.centers_in_world[0]
    np.testing.assert_allclose(first, [x, z, -y], atol=1e-9)  # z up is the scene's up
    assert apart != pytest.approx(2.5, rel=0.1)

    assert sfm(capsys, "orient", folder, "--reset")[0] == 0
    np.testing.assert_array_equal(load_model(folder)[0].points, scene.points)


@pytest.mark.parametrize(("words", "error"), [
    (["--up", "sideways"], "--up sideways: expected X,Y,Z or tracks"),
    (["--up", "0,0,0"], "no direction"),
    (["--ground", "track 1, track 2"], "--ground track 1, track 2: expected 'track A, track B, track C' or more"),
    (["--origin", "track 99999"], "track 99999 has no point; the nearest number that has one is"),
    (["--scale", "track 1, track 2 = far"], "expected 'track A, track B = 2.0 m'"),
    (["--scale", "track 1, track 1 = 2 m"], "two tracks apart"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(model, capsys, words, error):
    code, _, told = sfm(capsys, "orient", model[0], *words)
    assert code == 2 and error in told and told.count("\n") == 1
    assert not (model[0] / "scene_frame.json").exists()


def test_lengths_and_directions_in_words(model, capsys):
    folder, scene, _ = model
    apart = np.linalg.norm(scene.points[12] - scene.points[7])
    for words, meters in {"= 2.0 m": 2.0, "=150cm": 1.5, "= 1000 mm": 1.0, "= 10 ft": 3.048, "= 3": 3.0}.items():
        assert sfm(capsys, "orient", folder, "--scale", f"track 7, track 12 {words}")[0] == 0
        there = load_model(folder)[0].points
        assert np.linalg.norm(there[12] - there[7]) == pytest.approx(meters) and meters != pytest.approx(
            apart, rel=1e-3
        )
    assert sfm(capsys, "orient", folder, "--up", "0,1,0", "--origin", "1,2,-3")[0] == 0
    frame = SceneFrame.load(folder)
    assert frame is not None
    np.testing.assert_allclose(frame.scene_from_world.rotation[1], [0, 1, 0], atol=1e-12)  # up is the camera's own
    np.testing.assert_allclose(frame.scene_from_world.apply([1, -2, 3]), 0, atol=1e-12)
    assert sfm(capsys, "orient", folder, "--up", "track 3, track 8")[0] == 0
    there = load_model(folder)[0].points
    np.testing.assert_allclose((there[8] - there[3])[[0, 2]], 0, atol=1e-9)
    assert there[8, 1] < there[3, 1]  # y is down


def test_what_was_told_before_stays(model, capsys):
    folder, scene, _ = model
    assert sfm(capsys, "orient", folder, "--ground", "track 0, track 5, track 9")[0] == 0
    code, said, _ = sfm(capsys, "orient", folder, "--scale", "track 7, track 12 = 250", "--units", "cm")
    assert code == 0 and "as told before: --ground 'track 0, track 5, track 9'" in said
    there = load_model(folder)[0]
    np.testing.assert_allclose(there.points[[0, 5, 9], 1], 0, atol=1e-9)
    assert np.linalg.norm(there.points[12] - there.points[7]) == pytest.approx(2.5)
    centers = 100 * there.centers_in_world
    path = np.linalg.norm(np.diff(centers, axis=0), axis=1).sum()
    assert f"lengths in cm: the first camera is {-centers[0, 1]:.4g} cm above 0, its path {path:.4g} cm long" in said
    assert sfm(capsys, "orient", folder, "--origin", "100,200,-300", "--units", "m")[0] == 0
    scale = 2.5 / np.linalg.norm(scene.points[12] - scene.points[7])
    again = orient(scene, ground=scene.points[[0, 5, 9]], origin=np.array([100, -200, 300.0]), scale=scale)
    frame = SceneFrame.load(folder)
    assert frame is not None and frame.unit == "m"
    np.testing.assert_allclose(frame.scene_from_world.translation, again.scene_from_world.translation)
    assert sfm(capsys, "orient", folder, "--ground", "auto", "--scale", "auto", "--origin", "auto")[0] == 0
    np.testing.assert_array_equal(load_model(folder)[0].points, scene.transform(orient(scene).scene_from_world).points)
    code, _, told = sfm(capsys, "orient", folder, "--reset", "--units", "cm")
    assert code == 2 and "--reset" in told


def test_tracks_by_where_they_are_seen(model, capsys, tmp_path):
    folder, scene, shot = model
    tracks = scene.tracks
    row = int(np.flatnonzero(scene.inliers & (tracks.frame == 2))[20])
    number, (x, y), track = int(shot.frame_numbers[2]), tracks.xy[row], int(tracks.track[row])
    code, said, told = sfm(capsys, "orient", folder, "--origin", f"frame {number},{x + 0.1:.3f},{y:.3f}")
    assert code == 0 and f"is track {track}, 0.1 px away" in said, told
    np.testing.assert_allclose(load_model(folder)[0].points[track], 0, atol=1e-9)
    frame = SceneFrame.load(folder)
    assert frame is not None and frame.told == {"origin": f"track {track}"}
    for place, error in {
        f"frame {number},100000,5": "no track within .* the nearest is track",
        "frame 77,5,5": "no such frame; the shot",
    }.items():  # fmt: skip
        code, _, told = sfm(capsys, "orient", folder, "--origin", place)
        assert code == 2 and re.search(error, told), told
    assert sfm(capsys, "export", folder, "--format", "points", "-o", tmp_path / "out")[0] == 0
    with open(tmp_path / "out" / "points.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    there = load_model(folder)[0]
    assert [int(row["track"]) for row in rows] == np.flatnonzero(there.has_point).tolist()
    for row in rows[::40]:
        j, i = int(row["track"]), int(np.flatnonzero(shot.frame_numbers == int(row["first_frame"]))[0])
        np.testing.assert_allclose([float(row[a]) for a in "xyz"], there.points[j] * [1, -1, -1], rtol=1e-5, atol=1e-6)
        seen = there.camera.at(i).img_from_cam(there.cams_from_world[i].apply(there.points[j]))
        np.testing.assert_allclose([float(row["first_x_px"]), float(row["first_y_px"])], seen, atol=2)


def test_a_survey_world_is_not_replaced_in_silence(model, capsys, monkeypatch):
    from sfm import results

    points = {"points": [{"track": 1, "sigmas": 0.5}], "distances": []}
    monkeypatch.setattr(results, "solve_of", lambda folder: {"survey": points})
    _, said, _ = sfm(capsys, "orient", model[0])
    assert "replaces the survey's world" in said and "the scale is the survey's own" in said


def test_a_metric_prior_tells_the_scale(model, capsys, monkeypatch):
    from sfm import results

    told = {"options": {"depth_model": {"kind": "metric"}}, "depth_prior": {"agreement": "agrees"}}
    monkeypatch.setattr(results, "solve_of", lambda folder: told)
    _, said, _ = sfm(capsys, "orient", model[0])
    assert "the scale is that of the depth prior, metres" in said and "being taken for" not in said
    told["options"]["start_camera"] = "camera.usd"  # in whose world, at whose size, it is
    _, said, _ = sfm(capsys, "orient", model[0])
    assert "the scale is the solve's own" in said
    told["options"]["start_camera"] = None
    told["depth_prior"]["agreement"] = "contradicts"
    _, said, _ = sfm(capsys, "orient", model[0], "--units", "cm")
    assert "the scale is the solve's own" in said and "a unit of the solve being taken for a metre" in said


def test_a_camera_that_stands_moves_nowhere(capsys, tmp_path, rng):
    scene, shot, _ = room(rng, floor=0, walls=0)
    for name, at in (("at_zero", 0.0), ("elsewhere", 2.0)):
        cams = Rigid3(scene.cams_from_world.rotation, np.full_like(scene.cams_from_world.translation, at))
        export(replace(scene, cams_from_world=cams), shot, tmp_path / name, ["colmap"])
        _, said, _ = sfm(capsys, "orient", tmp_path / name)
        assert "no ground was found" in said and "the first camera is 0 m above 0, and none moves from there" in said
        _, said, _ = sfm(capsys, "orient", tmp_path / name, "--up", "0,1,0", "--origin", "0,0,0")
        assert "and none moves from there" in said


@pytest.mark.parametrize(
    ("length", "said"),
    [(28841.3, "28840"), (8223.04, "8223"), (12.0, "12"), (0.058881, "0.05888"), (-1e-16, "0")],
)
def test_lengths_have_four_digits_and_no_exponent(length, said):
    assert _four_digits(length) == said


def test_a_model_of_others_is_left_as_it_is(model):
    folder, scene, _ = model
    before = {path: path.read_bytes() for path in folder.rglob("*.bin")}
    assert set_scene_frame(folder, orient(scene, up=np.array([0, -1.0, 0.2]))) == []
    assert {path: path.read_bytes() for path in folder.rglob("*.bin")} == before
    assert not np.allclose(load_model(folder)[0].points[:9], scene.points[:9])


def test_film_options_take_the_unit(rng):
    scene, shot, _ = room(rng)
    there = scene.transform(orient(scene).scene_from_world)
    meters, centimeters = (FilmCamera.of(there, shot, FilmOptions(unit=unit)).points for unit in ("m", "cm"))
    np.testing.assert_allclose(centimeters, 100 * meters)
