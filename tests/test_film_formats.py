"""Cameras for film programs: what an independent reader sees through them is what our camera sees."""

import csv
import dataclasses
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from solved import shot_of, solve

from sfm.errors import UsageError
from sfm.export import (
    FilmCamera,
    FilmOptions,
    write_blender,
    write_chan,
    write_csv,
    write_nerfstudio,
    write_nk,
    write_usd,
)
from sfm.geometry import Camera
from sfm.synthetic import make_shot

HAND_MM = 24.89
LENSES = ("fixed", "zoom", "anamorphic")


def shot_with(rng, lens="fixed", centred=False, lost=(3, 4)):
    """Eight frames from 1001 at 25 fps, the principal point off the middle, two frames without a camera."""
    truth = make_shot("zoom" if lens == "zoom" else "orbit", rng=rng, num_frames=8, num_tracks=60)
    camera = truth.camera
    focal = camera.focal_length * ([1.0, 2.0] if lens == "anamorphic" else 1.0)
    center = camera.principal_point + (0 if centred else np.array([37.5, -22.25]))
    camera = Camera(focal, center, [], camera.width, camera.height)
    scene, _ = solve(dataclasses.replace(truth, camera=camera), rng, error=0.01, lost=lost)
    return scene, shot_of(camera, 8, first=1001, fps=25.0)


def seen(scene, shot):
    """Pixels (frames with a camera, points, 2) of the points, by our own camera."""
    frames, points = np.flatnonzero(scene.has_camera), scene.points[scene.has_point]
    return np.stack([scene.camera.at(f).img_from_cam(scene.cams_from_world[int(f)].apply(points)) for f in frames])


def through(matrix, points, tangent, offset, size):
    """Pixels of points (m, 3) by a camera that looks along its -z, from a 4 x 4 world from camera; tangent (2,) of half
    the angles of the film back; offset (2,) of the window over the film back."""
    in_cam = (np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(matrix).T)[:, :3]
    screen = in_cam[:, :2] / -in_cam[:, 2:] / tangent / 2 - offset
    return np.column_stack([(0.5 + screen[:, 0]) * size[0], (0.5 - screen[:, 1]) * size[1]])


@pytest.mark.parametrize("unit", ["m", "cm"])
@pytest.mark.parametrize("lens", LENSES)
def test_usd_through_its_own_camera(rng, tmp_path, lens, unit):
    from pxr import Usd, UsdGeom

    scene, shot = shot_with(rng, lens)
    write_usd(scene, shot, tmp_path / "shot.usd", FilmOptions(HAND_MM, unit))
    stage = Usd.Stage.Open(str(tmp_path / "shot.usd"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == {"m": 1, "cm": 0.01}[unit]
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode(), stage.GetTimeCodesPerSecond()) == (1001, 1008, 25)
    assert stage.GetDefaultPrim().GetPath() == "/shot"
    assert "1004 1005" in stage.GetDefaultPrim().GetDocumentation()
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/shot/camera"))
    points = np.array(UsdGeom.Points(stage.GetPrimAtPath("/shot/points")).GetPointsAttr().Get(), float)
    keys = [1001, 1002, 1003, 1006, 1007, 1008]
    assert camera.GetPrim().GetAttribute("xformOp:transform").GetTimeSamples() == keys
    for key, ours in zip(keys, seen(scene, shot), strict=True):
        frustum = camera.GetCamera(key).frustum
        clip = np.array(frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix())
        found = np.column_stack([points, np.ones(len(points))]) @ clip
        found = found[:, :2] / found[:, 3:]
        pixels = (0.5 + 0.5 * found * [1, -1]) * [shot.width, shot.height]
        np.testing.assert_allclose(pixels, ours, atol=0.01)
    assert camera.GetHorizontalApertureAttr().Get() == pytest.approx(HAND_MM * {"m": 0.01, "cm": 1}[unit])


def test_usd_points_and_validators(rng, tmp_path):
    from pxr import Usd, UsdGeom, UsdValidation

    scene, shot = shot_with(rng)
    for name in ("shot.usda", "shot.usdc"):
        write_usd(scene, shot, tmp_path / name)
    assert (tmp_path / "shot.usda").read_bytes().startswith(b"#usda")
    assert (tmp_path / "shot.usdc").read_bytes().startswith(b"PXR-USDC")
    stage = Usd.Stage.Open(str(tmp_path / "shot.usdc"))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [error.GetErrorAsString() for error in errors] == []
    points = UsdGeom.Points(stage.GetPrimAtPath("/shot/points"))
    tracks = np.flatnonzero(scene.has_point)
    np.testing.assert_array_equal(points.GetIdsAttr().Get(), tracks)
    primvars = UsdGeom.PrimvarsAPI(points)
    np.testing.assert_allclose(primvars.GetPrimvar("sigma").Get(), scene.point_sigma[tracks], rtol=1e-6)
    np.testing.assert_allclose(primvars.GetPrimvar("rmse_px").Get(), scene.track_rms_px()[tracks], rtol=1e-6)
    np.testing.assert_array_equal(primvars.GetPrimvar("support").Get(), scene.support[tracks])
    assert "assumed" in stage.GetDefaultPrim().GetDocumentation()


def test_chan_by_its_rules(rng, tmp_path):
    """Nuke's order ZXY: R = Ry Rx Rz; vertical field of view."""
    scene, shot = shot_with(rng, "zoom", centred=True)
    write_chan(scene, shot, tmp_path / "camera.chan")
    rows = np.loadtxt(tmp_path / "camera.chan")
    assert rows[:, 0].tolist() == [1001, 1002, 1003, 1006, 1007, 1008]
    points = FilmCamera.of(scene, shot).points
    for row, ours in zip(rows, seen(scene, shot), strict=True):
        (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in np.radians(row[4:7]))
        rx, ry = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]), np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = ry @ rx @ [[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]], row[1:4]
        high = np.tan(np.radians(row[7]) / 2)
        size = np.array([shot.width, shot.height])
        np.testing.assert_allclose(
            through(matrix, points, high * np.array([size[0] / size[1], 1]), 0.0, size), ours, atol=0.01
        )
    write_chan(*shot_with(rng), tmp_path / "off.chan")
    assert "off the middle" in (tmp_path / "off.chan").read_text()
    assert "off the middle" not in (tmp_path / "camera.chan").read_text()


def test_angles_do_not_jump(rng):
    scene, shot = shot_with(rng)
    turned = FilmCamera.of(scene, shot).euler_zxy_deg
    assert np.abs(np.diff(turned, axis=0)).max() < 90


def nodes(text):
    """Nodes of a Nuke script: (class, {knob: value}), values as they stand."""
    found, lines = [], iter(text.splitlines())
    for line in lines:
        if line.endswith(" {"):
            knobs = {}
            for line in lines:
                if line == "}":
                    break
                name, value = line.strip().split(" ", 1)
                knobs[name] = value
            found.append((line if line != "}" else "", knobs))
    return found


def curves(value):
    """[{frame: value}, ...] of an animated knob."""
    assert value.startswith("{{curve ") and value.endswith("}}")
    found = []
    for part in value[1:-1].split("{curve ")[1:]:
        words = part.strip().rstrip("}").split()
        found.append({int(key[1:]): float(number) for key, number in zip(words[::2], words[1::2], strict=True)})
    return found


def test_nuke_script_read_back(rng, tmp_path):
    scene, shot = shot_with(rng, "zoom")
    write_nk(scene, shot, tmp_path / "shot.nk", FilmOptions(HAND_MM))
    root, read, camera = (knobs for _, knobs in nodes((tmp_path / "shot.nk").read_text()))
    assert (root["first_frame"], root["last_frame"], root["fps"]) == ("1001", "1008", "25")
    assert read["first"] == read["origfirst"] == "1001" and read["file"].endswith('plate.####.png"')
    assert camera["rot_order"] == "ZXY" and float(camera["haperture"]) == HAND_MM
    film, (tx, ty, tz), (focal,) = FilmCamera.of(scene, shot), curves(camera["translate"]), curves(camera["focal"])
    assert list(tx) == list(focal) == film.frame_numbers.tolist()
    np.testing.assert_allclose(
        np.column_stack([list(a.values()) for a in (tx, ty, tz)]), film.world_from_cams.translation
    )
    at = np.array(camera["win_translate"].strip("{}").split(), float)
    tangent = np.array([HAND_MM, float(camera["vaperture"])]) / focal[1001] / 2
    size = np.array([shot.width, shot.height])
    found = through(film.matrices[0], film.points, tangent, at / 2, size)
    np.testing.assert_allclose(found, seen(scene, shot)[0], atol=0.01)


def test_nerfstudio_read_as_opengl(rng, tmp_path):
    scene, shot = shot_with(rng, "zoom")
    write_nerfstudio(scene, shot, tmp_path / "transforms.json")
    told = json.loads((tmp_path / "transforms.json").read_text())
    applied = np.array(told["applied_transform"])
    points = scene.points[scene.has_point] @ applied[:, :3].T + applied[:, 3]
    for frame, ours in zip(told["frames"], seen(scene, shot), strict=True):
        in_cam = (np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(frame["transform_matrix"]).T)[:, :3]
        u = frame["fl_x"] * in_cam[:, 0] / -in_cam[:, 2] + frame["cx"]
        v = frame["fl_y"] * in_cam[:, 1] / in_cam[:, 2] + frame["cy"]
        np.testing.assert_allclose(np.column_stack([u, v]), ours, atol=1e-6)
    assert [Path(frame["file_path"]).name for frame in told["frames"]][:1] == ["plate.1001.png"]


def test_table_has_a_row_for_every_frame(rng, tmp_path):
    scene, shot = shot_with(rng, "zoom")
    write_csv(scene, shot, tmp_path / "camera.csv", FilmOptions(HAND_MM))
    rows = list(csv.DictReader((tmp_path / "camera.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == [str(n) for n in range(1001, 1009)]
    assert rows[3]["tx"] == rows[3]["focal_mm"] == "" and rows[0]["tx"] != ""
    focal = scene.camera.focal_length[:, 0] * HAND_MM / shot.width
    np.testing.assert_allclose(float(rows[7]["focal_mm"]), focal[7])


def test_film_options_refuse_nonsense():
    for wrong in ({"sensor_mm": 0.0}, {"unit": "inch"}):
        with pytest.raises(UsageError):
            FilmOptions(**wrong)


READ_BACK = """
import json, sys
import bpy
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

script, out, frames = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
bpy.ops.wm.read_factory_settings(use_empty=True)
if script.endswith(".py"):
    exec(compile(open(script).read(), script, "exec"))
else:
    getattr(bpy.ops.wm, "usd_import")(filepath=script)
scene = bpy.context.scene
camera = next(o for o in scene.objects if o.type == "CAMERA")
scene.camera = camera
if not script.endswith(".py"):
    scene.render.resolution_x, scene.render.resolution_y = json.loads(sys.argv[4])
kept = next(o for o in scene.objects if o.type in ("MESH", "POINTCLOUD"))
data = kept.data.vertices if kept.type == "MESH" else kept.data.points
points = [kept.matrix_world @ Vector(p.co) for p in data]
seen = []
for frame in frames:
    scene.frame_set(frame)
    seen.append([list(world_to_camera_view(scene, camera, p))[:2] for p in points])
keys = [scene.frame_start, scene.frame_end, scene.render.fps / scene.render.fps_base]
json.dump({"seen": seen, "scene": keys, "aspect": scene.render.pixel_aspect_x}, open(out, "w"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("kind", ["script", "usd"])
def test_blender_sees_the_same(rng, tmp_path, kind, lens):
    """Blender itself (SFM_BPY: a Python that has bpy) runs the script and reads the USD."""
    blender = os.environ.get("SFM_BPY")
    if not blender:
        pytest.skip("SFM_BPY is not set: the path of a Python with the module bpy")
    if (kind, lens) == ("usd", "anamorphic"):
        pytest.skip("no file Blender imports holds a pixel aspect")
    scene, shot = shot_with(rng, lens)
    path = tmp_path / ("shot.py" if kind == "script" else "shot.usd")
    (write_blender if kind == "script" else write_usd)(scene, shot, path, FilmOptions(HAND_MM))
    frames = FilmCamera.of(scene, shot).frame_numbers.tolist()
    reader = tmp_path / "read_back.py"
    reader.write_text(READ_BACK)
    words = [reader, path, tmp_path / "seen.json", json.dumps(frames), json.dumps([shot.width, shot.height])]
    subprocess.run([blender, *map(str, words)], check=True, capture_output=True)
    told = json.loads((tmp_path / "seen.json").read_text())
    if kind == "script":
        assert told["scene"] == [1001, 1008, 25] and told["aspect"] == (2 if lens == "anamorphic" else 1)
    found = np.array(told["seen"]) * [1, -1] * [shot.width, shot.height] + [0, shot.height]
    np.testing.assert_allclose(found, seen(scene, shot), atol=0.01)


def test_blender_script_is_python_and_names_the_plate(rng, tmp_path):
    scene, shot = shot_with(rng)
    write_blender(scene, shot, tmp_path / "shot.py")
    text = (tmp_path / "shot.py").read_text()
    compile(text, "shot.py", "exec")
    assert "plate.1001.png" in text and "film back 36 x" in text
