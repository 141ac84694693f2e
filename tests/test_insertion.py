"""An object in the shot: where it is seen, through which lens, what hides it, and what is written."""

from dataclasses import replace

import insertion as measures
import numpy as np
import pytest
from solved import shot_of

from sfm import insertion
from sfm.depth import MapFolder
from sfm.depth.aligned import AlignedMap
from sfm.errors import InputError, UsageError
from sfm.evaluation import GroundTruth
from sfm.geometry import Camera, Rigid3
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.geometry.transform import Sim3
from sfm.ground import Ground
from sfm.insertion.compositing import composite, visible
from sfm.insertion.objects import Mesh, load_mesh
from sfm.insertion.placing import Placement, Spot, parse_spot, placed
from sfm.insertion.rendering import Renderer
from sfm.insertion.surfaces import _as_built, _lowest_height
from sfm.scene import Reconstruction, Support, Tracks
from sfm.video import open_video

pytest.importorskip("open3d")

CENTRE = Camera.from_focal_px(500.0, width=320, height=240)
LENSES = {
    "plain": CENTRE,
    "off the middle": replace(CENTRE, principal_point=np.array([140.0, 131.0])),
    "anamorphic": replace(CENTRE, focal_length=np.array([250.0, 500.0])),
    "distorted": replace(CENTRE, distortion=np.array([-0.35, 0.2, 0.002, -0.001])),
    "zoom": replace(
        CENTRE, focal_length=np.linspace(400, 700, 6)[:, None] * [1, 1], principal_point=np.tile([160.0, 120.0], (6, 1))
    ),
}


def solved(rng, camera: Camera = CENTRE, readout: float = 0.0):
    """Six frames of a camera that moves sideways past a wall of 60 points 5 m away, held level; all are seen by all."""
    centers = np.column_stack([np.linspace(-0.3, 0.3, 6), np.zeros(6), np.zeros(6)])
    turn = rotation_from_rotvec(np.column_stack([np.zeros(6), np.linspace(-0.02, 0.02, 6), np.zeros(6)]))
    points = np.column_stack([rng.uniform(-1, 1, 60), rng.uniform(-0.7, 0.7, 60), np.full(60, 5.0)])
    poses = Rigid3(turn, -(turn @ centers[..., None])[..., 0])
    xy = np.stack([camera.at(k).img_from_cam(poses[k].apply(points)) for k in range(6)])
    scene = Reconstruction(
        camera, poses, np.ones(6, bool), points, np.ones(360, bool), Tracks.from_dense(xy), np.ones(6),
        np.full(60, Support.TRIANGULATED), np.full(60, 0.01), readout=readout,
    )  # fmt: skip
    return scene, shot_of(camera, 6)


def small_cube(at, size: float = 0.5) -> Placement:
    at = np.asarray(at, float)
    turn = rotation_from_rotvec([np.pi, 0.0, 0.0]) @ rotation_from_rotvec([0.0, 0.5, 0.0])
    mesh = load_mesh("cube").transformed(Sim3(np.array(size), turn, at))
    return Placement(mesh, at, np.array([0.0, -1.0, 0.0]), size, 0)


def filled(mesh: Mesh, camera: Camera, pose: Rigid3) -> np.ndarray:
    """The silhouette by another way: edges cut finely, projected by `img_from_cam`, and which of 12 x 12 places of
    every pixel lie inside by how many edges a line to the right crosses.
    """
    times, along = 12, np.linspace(0, 1, 9)[:-1, None]
    x, y = ((np.arange(n * times) + 0.5) / times for n in (camera.width, camera.height))
    mask = np.zeros((len(y), len(x)), bool)
    for a, b, c in mesh.vertices[mesh.triangles]:
        outline = np.concatenate([p + along * (q - p) for p, q in ((a, b), (b, c), (c, a))])
        xy = camera.img_from_cam(pose.apply(outline))
        inside = np.zeros_like(mask)
        for (x0, y0), (x1, y1) in zip(xy, np.roll(xy, -1, axis=0), strict=True):
            rows = np.flatnonzero((y0 <= y) != (y1 <= y))
            crossing = x0 + (y[rows] - y0) / (y1 - y0) * (x1 - x0)
            inside[rows] ^= x < crossing[:, None]
        mask |= inside
    return mask.reshape(camera.height, times, camera.width, times).mean(axis=(1, 3))


def on_plate(layer, camera: Camera) -> np.ndarray:
    whole = np.zeros((camera.height, camera.width))
    height, width = layer.alpha.shape
    whole[layer.top : layer.top + height, layer.left : layer.left + width] = layer.alpha
    return whole


def centroid(mask: np.ndarray) -> np.ndarray:
    row, column = np.mgrid[: mask.shape[0], : mask.shape[1]]
    return np.array([(mask * column).sum(), (mask * row).sum()]) / mask.sum()


@pytest.mark.parametrize("name", LENSES)
def test_an_object_is_seen_where_the_lens_puts_it(rng, name):
    scene, _ = solved(rng, LENSES[name])
    place = small_cube([0.6, 0.5, 4.0])
    renderer = Renderer(place, scene)
    for frame in (0, 5):
        ours = on_plate(renderer.layer(frame), scene.camera)
        theirs = filled(place.mesh, scene.camera.at(frame), scene.cams_from_world[frame])
        assert theirs.sum() > 500
        assert np.abs(ours - theirs).sum() < 0.012 * theirs.sum()
        assert np.linalg.norm(centroid(ours) - centroid(theirs)) < 0.06
        if name == "distorted":  # and the test would notice
            straight = filled(place.mesh, scene.camera.without_distortion(), scene.cams_from_world[frame])
            assert np.linalg.norm(centroid(straight) - centroid(ours)) > 0.5


def test_rows_of_a_rolling_shutter_look_from_where_they_are(rng):
    scene, _ = solved(rng, readout=1.0)
    place = small_cube([0.0, -0.3, 4.0])
    rolling = on_plate(Renderer(place, scene).layer(3), scene.camera)
    still = on_plate(Renderer(place, replace(scene, readout=0.0)).layer(3), scene.camera)
    # 0.12 m a frame at 4 m, and the turn with it: rows above the middle were read before
    row = centroid(still)[1]
    per_frame = (
        np.diff([scene.camera.img_from_cam(scene.cams_from_world[k].apply([0.0, -0.5, 4.0]))[0] for k in (2, 4)])[0] / 2
    )
    expected = per_frame * (row / scene.camera.height - 0.5)
    assert abs(expected) > 1
    assert centroid(rolling)[0] - centroid(still)[0] == pytest.approx(expected, abs=0.1)


def test_depth_and_shadow_of_a_layer(rng):
    scene, _ = solved(rng)
    scene = replace(scene, cams_from_world=Rigid3(scene.cams_from_world.rotation, np.zeros((6, 3))))
    place = small_cube([0.0, 0.8, 4.0])
    layer = Renderer(place, scene).layer(2)
    assert 3.5 < np.nanmin(layer.depth) < 3.8 and np.nanmax(layer.depth) < 4.5
    assert layer.light.min() < 0.6 and layer.light.max() == pytest.approx(1, abs=0.01)
    # the ground is level, 0.8 m under the camera
    row = layer.top + np.arange(layer.ground.shape[0]) + 0.5
    turned = scene.cams_from_world.rotation[2] @ [0, 1, 0]
    assert turned == pytest.approx([0, 1, 0], abs=1e-12)
    assert np.nanmedian(layer.ground, axis=1) == pytest.approx(0.8 * 500 / (row - 120), rel=1e-6)


def flat_map(depth: np.ndarray, sigma: float = 0.02) -> AlignedMap:
    return AlignedMap(depth, np.full(depth.shape, sigma), np.zeros(depth.shape))


def test_what_is_nearer_hides_and_the_rest_of_the_plate_stays(rng):
    scene, _ = solved(rng)
    layer = Renderer(small_cube([0.0, 0.25, 4.0]), scene).layer(2)
    depth = np.full((60, 80), 9.0)
    depth[:, :40] = 2.0
    plate = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    over = composite(plate, layer, flat_map(depth), shadow=0)
    alpha = np.zeros((240, 320))
    height, width = layer.alpha.shape
    alpha[layer.top : layer.top + height, layer.left : layer.left + width] = layer.alpha
    assert (over[:, :155] == plate[:, :155]).all()  # the left half of it is behind
    assert (over[alpha == 0] == plate[alpha == 0]).all()
    right = np.s_[:, 165:]
    assert (alpha[right] == 1).sum() > 500
    assert (np.abs(over[right].astype(int) - plate[right])[alpha[right] == 1].max(axis=1) > 0).mean() > 0.98
    whole = composite(plate, layer, None, shadow=0)
    assert (whole[:, :155] != plate[:, :155]).any()


def test_the_ground_it_stands_on_hides_nothing_though_the_map_is_a_bit_near(rng):
    scene, _ = solved(rng)
    scene = replace(scene, cams_from_world=Rigid3(scene.cams_from_world.rotation, np.zeros((6, 3))))
    layer = Renderer(small_cube([0.0, 0.8, 4.0]), scene).layer(2)
    row = (np.arange(240) + 0.5)[:, None] * np.ones(320)
    ground = np.where(row > 121, 0.8 * 500 / np.maximum(row - 120, 1), 50.0)
    seen, is_ground = visible(layer, flat_map(0.97 * ground), (240, 320))
    assert seen[layer.alpha == 1].min() > 0.99
    assert is_ground[-1].min() > 0.5
    hidden, _ = visible(layer, flat_map(0.5 * ground), (240, 320))
    assert hidden[(layer.alpha == 1) & (layer.ground < 5)].max() < 0.05


def test_linear_light_of_exr_plates_is_kept(rng):
    scene, _ = solved(rng)
    layer = Renderer(small_cube([0.0, 0.25, 4.0]), scene).layer(2)
    plate = rng.uniform(0, 4, (240, 320, 3)).astype(np.float16)  # beyond white
    over = composite(plate, layer, None, shadow=0)
    assert over.dtype == np.float16
    inner = np.zeros((240, 320), bool)
    height, width = layer.alpha.shape
    inner[layer.top : layer.top + height, layer.left : layer.left + width] = layer.alpha > 0
    assert (over[~inner] == plate[~inner]).all()
    covered = layer.alpha == 1
    at = over[layer.top : layer.top + height, layer.left : layer.left + width]
    assert at[covered] == pytest.approx(layer.color[covered], rel=2e-3)


def test_it_stands_on_the_plane_of_the_points_around(rng):
    scene, _ = solved(rng)
    track = int(np.flatnonzero(scene.has_point)[0])
    here = placed(load_mesh("cube"), scene, Spot(track=track))
    assert here.normal == pytest.approx([0, 0, -1], abs=1e-6)  # the wall, towards the camera
    assert here.on_plane and here.point == pytest.approx(scene.points[track])
    assert here.size == pytest.approx(0.1 * scene.cams_from_world[here.frame].apply(here.point)[2])
    held = placed(load_mesh("cube"), scene, Spot(track=track), upright="camera", size=0.3)
    assert held.normal == pytest.approx([0, -1, 0], abs=0.02) and held.size == 0.3
    in_own = (held.mesh.vertices - held.point) @ held.normal
    assert in_own.min() == pytest.approx(0, abs=1e-9) and in_own.max() == pytest.approx(0.3)


def test_a_pixel_lies_on_the_plane_of_the_points_around_it(rng):
    scene, _ = solved(rng)
    here = placed(load_mesh("cube"), scene, Spot(pixel=(200.0, 100.0), frame=1))
    assert here.point[2] == pytest.approx(5.0, abs=1e-6)
    assert scene.camera.img_from_cam(scene.cams_from_world[1].apply(here.point)) == pytest.approx([200, 100])


def test_points_of_no_plane_leave_the_object_as_the_camera_is_held(rng, caplog):
    scene, _ = solved(rng)
    track = int(np.flatnonzero(scene.has_point)[0])
    points = scene.points + rng.uniform(-1, 1, scene.points.shape)
    here = placed(load_mesh("cube"), replace(scene, points=points), Spot(track=track))
    assert not here.on_plane and here.normal == pytest.approx([0, -1, 0], abs=0.02)
    assert "as the cameras are held" in caplog.text


def test_points_known_badly_tell_no_plane(rng):
    scene, _ = solved(rng)
    # as many again whose depth the tracks hardly know, on another wall
    worse = scene.points * rng.uniform(0.85, 1.15, (60, 1))
    both = np.concatenate([scene.points, worse])
    xy = np.stack([CENTRE.img_from_cam(pose.apply(both)) for pose in scene.cams_from_world])
    tracks = Tracks.from_dense(xy)
    scene = replace(
        scene, points=both, tracks=tracks, inliers=np.ones(len(tracks), bool),
        support=np.full(120, Support.TRIANGULATED), point_sigma=np.repeat([0.01, 0.3], 60),
        point_sigma_across=np.full(120, 1e-3),
    )  # fmt: skip
    here = placed(load_mesh("cube"), scene, Spot(track=0))
    assert here.on_plane and here.normal == pytest.approx([0, 0, -1], abs=1e-6)


def test_a_plane_seen_edge_on_is_none(rng, caplog):
    """Points along a line of the picture lie on a plane through the camera, whatever their depths."""
    scene, _ = solved(rng)
    depth = rng.uniform(4, 6, 60)
    points = np.column_stack([rng.uniform(-0.2, 0.2, 60), np.full(60, 0.1), np.ones(60)]) * depth[:, None]
    here = placed(load_mesh("cube"), replace(scene, points=points), Spot(track=0, frame=2))
    assert not here.on_plane and here.normal == pytest.approx([0, -1, 0], abs=0.02)
    assert "as the cameras are held" in caplog.text


def floor_and_shelf(rng, floor: int) -> Reconstruction:
    """`solved`, with a floor 1 m below the camera, and points in a line of the picture that are strewn in depth."""
    scene, _ = solved(rng)
    on_floor = np.column_stack([rng.uniform(-1, 1, floor), np.full(floor, 1.0), rng.uniform(4.2, 8, floor)])
    shelf = np.column_stack([rng.uniform(-0.2, 0.2, 200), np.full(200, 0.05), np.ones(200)])
    points = np.concatenate([on_floor, shelf * rng.uniform(4, 12, (200, 1))])
    xy = np.stack([CENTRE.img_from_cam(pose.apply(points)) for pose in scene.cams_from_world])
    tracks, count = Tracks.from_dense(xy), len(points)
    return replace(
        scene, points=points, tracks=tracks, inliers=np.ones(len(tracks), bool),
        support=np.full(count, Support.TRIANGULATED), point_sigma=np.full(count, 1e-3),
        point_sigma_across=np.full(count, 1e-4),
    )  # fmt: skip


def test_on_the_ground_an_object_lies_flat_where_it_is_seen_from_above(rng):
    scene = floor_and_shelf(rng, 150)
    here = placed(load_mesh("checker"), scene, Spot())
    assert here.normal == pytest.approx([0, -1, 0], abs=0.03) and here.point[1] == pytest.approx(1.0, abs=0.05)


def test_where_the_tracks_show_no_ground_the_map_tells_its_height(rng, caplog):
    scene = floor_and_shelf(rng, 0)
    row = (np.arange(60) + 0.5)[:, None] * 4 * np.ones(80)
    seen = flat_map(np.where(row > 130, 1.0 * 500 / np.maximum(row - 120, 1), 50.0))
    here = placed(load_mesh("checker"), scene, Spot(frame=2), seen)
    assert here.normal @ [0, -1, 0] > np.cos(np.radians(3)) and here.point[1] == pytest.approx(1.0, abs=0.1)
    assert "the lowest height the depth map shows much of" in caplog.text


def test_without_parallax_the_map_tells_the_ground_and_near_its_height_nothing_crowds(rng, caplog):
    """Points that the prior holds are 30 % off along their rays: near the picture's horizon all lie on one level."""
    scene = floor_and_shelf(rng, 150)
    held = replace(
        scene, points=scene.points * np.exp(0.3 * rng.standard_normal((len(scene.points), 1))),
        support=np.full(len(scene.points), Support.PRIOR), point_sigma=np.full(len(scene.points), 0.3), depth_sigma=0.3,
    )  # fmt: skip
    row, column = np.mgrid[2:240:4, 2:320:4]
    depth = np.where(row > 130, 1.0 * 500 / np.maximum(row - 120, 1), 50.0)
    depth = np.where((row > 124) & (row < 150) & (column < 250), 0.25 * 500 / (row - 120.0), depth)  # a table top
    here = placed(load_mesh("cube"), held, Spot(frame=2), flat_map(depth * np.exp(0.05 * np.sin(column / 40))))
    assert here.point[1] == pytest.approx(1.0, abs=0.15)
    assert "the lowest height the depth map shows much of" in caplog.text
    on_table = placed(load_mesh("cube"), held, Spot(pixel=(200.0, 140.0), frame=2))
    for one in (here, on_table):  # whatever plane the prior's points would make
        assert not one.on_plane and one.normal @ [0, -1, 0] > np.cos(np.radians(2))
    assert caplog.text.count("the depth prior alone tells depths here: the object stands as the cameras are held") == 2
    nobody = replace(held, depth_sigma=float("nan"))
    with pytest.raises(InputError, match=r"no ground is to be found .* --at"):
        placed(load_mesh("cube"), nobody, Spot(frame=2))
    assert "nothing tells depths here: the object stands as the cameras are held" in caplog.text
    few = np.where(np.arange(len(scene.points)) < 5, Support.TRIANGULATED, Support.PRIOR)
    placed(load_mesh("cube"), replace(nobody, support=few), Spot(pixel=(200.0, 140.0), frame=2))
    assert "too few tracks tell depths here: the object stands as the cameras are held" in caplog.text


def test_the_ground_is_beneath_tables_that_fill_the_picture(rng):
    heights = np.repeat([0.6, 1.5, 2.6], [1000, 700, 30]) * np.exp(0.04 * rng.standard_normal(1730))
    points = np.column_stack([rng.uniform(-2, 2, 1730), heights, rng.uniform(2, 9, 1730)])
    found = _lowest_height(points, np.array([0.0, -1.0, 0.0]), np.zeros(3))
    assert len(found) > 600 and np.median(found[:, 1]) == pytest.approx(1.5, abs=0.05)


def test_on_the_ground_it_stands_in_the_middle_of_the_shot(rng):
    scene = floor_and_shelf(rng, 150)
    assert placed(load_mesh("cube"), scene, Spot()).frame == 3


def test_cones_stand_on_points_spread_over_the_picture(rng):
    scene, _ = solved(rng)
    cones = insertion.cones_at_points(scene, 2)
    assert len(cones.tracks) >= 6
    tips = cones.mesh.vertices.reshape(len(cones.tracks), -1, 3)[:, 0]
    assert tips == pytest.approx(scene.points[cones.tracks])
    layer = Renderer(cones, scene).layer(2)
    assert layer is not None and (layer.light == 1).all()


def test_words_for_a_place():
    assert parse_spot("track 12", None) == Spot(track=12)
    assert parse_spot("960,540.5", 3) == Spot(pixel=(960.0, 540.5), frame=3)
    with pytest.raises(UsageError, match="expected 'track 12'"):
        parse_spot("there", None)


def test_places_that_are_none(rng):
    scene, _ = solved(rng)
    with pytest.raises(InputError, match="has no point"):
        placed(load_mesh("cube"), scene, Spot(track=10_000))
    with pytest.raises(UsageError, match="outside the plate of 320 x 240"):
        placed(load_mesh("cube"), scene, Spot(pixel=(400.0, 10.0), frame=0))


def test_a_mesh_of_your_own_stands_and_is_one_high(tmp_path):
    import open3d

    torus = open3d.geometry.TriangleMesh.create_torus(2.0, 0.5).translate([7.0, -3.0, 1.0])
    torus.compute_vertex_normals()
    open3d.io.write_triangle_mesh(str(tmp_path / "torus.obj"), torus)
    mesh = load_mesh(tmp_path / "torus.obj")
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    assert low[1] == pytest.approx(0) and (high - low).max() == pytest.approx(1)
    assert (low + high)[[0, 2]] == pytest.approx([0, 0], abs=1e-6)
    assert np.linalg.norm(mesh.normals, axis=-1) == pytest.approx(1, abs=1e-4)
    with pytest.raises(InputError, match="no such file"):
        load_mesh(tmp_path / "teapot.obj")
    (tmp_path / "empty.obj").write_text("# nothing\n")
    with pytest.raises(InputError, match="no triangles"):
        load_mesh(tmp_path / "empty.obj")


@pytest.fixture(scope="module")
def cube(solved_sample):
    scene, video, _, aligned = solved_sample
    spot = Spot(track=measures.known_point(scene, 24))
    return insertion.placed_in(load_mesh("cube"), scene, video, spot, aligned)


def test_on_the_sample_shot_a_cube_is_seen_as_the_true_cameras_see_it(solved_sample, cube):
    scene, _, truth, _ = solved_sample
    found = measures.agreement(scene, truth, cube, [0, 12, 24, 36, 47])
    assert found.frames == 5 and found.iou > 0.99 and found.centroid_px < 0.1
    # and would not be, were the camera three pixels off
    moved = replace(
        scene, camera=replace(scene.camera, principal_point=np.add(scene.camera.principal_point, [3.0, 0.0]))
    )
    off = measures.agreement(moved, truth, cube, [24])
    assert off.centroid_px == pytest.approx(3, abs=0.1) and off.iou < 0.97


def test_on_the_sample_shot_what_is_in_front_hides(solved_sample):
    scene, video, truth, aligned = solved_sample
    hidden, ratio = measures.half_hidden(scene, truth, 24)
    found = measures.occlusion(scene, truth, hidden, aligned.maps(video, [12, 24, 36]), [12, 24, 36])
    assert ratio > 1.2 and 0.3 < found.hidden < 0.7 and found.worst > 0.9


def test_a_movie_keeps_frames_rate_and_the_plates_without_camera(solved_sample, cube, tmp_path):
    scene, video, _, aligned = solved_sample
    lost = np.isin(np.arange(48), [21, 22])
    poses = scene.cams_from_world.as_matrix().copy()
    poses[lost] = np.nan
    part = replace(
        scene, registered=~lost, cams_from_world=Rigid3.from_matrix(poses),
        inliers=scene.inliers & ~lost[scene.tracks.frame],
    )  # fmt: skip
    frames, told = [20, 21, 22, 23], []
    done = insertion.insert(
        tmp_path / "test.mp4", part, video, cube, aligned, frames=frames, progress=lambda n, of: told.append((n, of))
    )
    assert done.without_camera == [22, 23] and not done.unreadable and not done.without_depth
    assert told[-1] == (4, 4)
    back = open_video(tmp_path / "test.mp4")
    assert len(back) == 4 and back.shot.fps == video.shot.fps
    plates, over = [rgb for _, rgb in video.only(frames)], [rgb for _, rgb in back]
    change = [np.abs(a.astype(int) - b).max(axis=2) for a, b in zip(plates, over, strict=True)]
    assert [bool((c > 60).sum() > 100) for c in change] == [True, False, False, True]


def test_pictures_carry_the_numbers_of_the_plates(solved_sample, cube, tmp_path):
    scene, video, _, _ = solved_sample
    insertion.insert(tmp_path / "out", scene, video, cube, frames=[0, 30])
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["sample.0001.png", "sample.0031.png"]
    with pytest.raises(UsageError, match="holds something already"):
        insertion.insert(tmp_path / "out", scene, video, cube, frames=[0])
    with pytest.raises(UsageError, match="a film is an MP4 or a MOV"):
        insertion.insert(tmp_path / "out.avi", scene, video, cube, frames=[0])


@pytest.mark.slow
def test_on_the_rendered_push_in_all_frames_meet_the_bars(shared, tmp_path):
    data = shared / "data" / "rendered_dolly"
    place = measures.solved(data / "frames", data / "prior", (682.6667, 768, 432), tmp_path / "out")
    found = measures.measured(place, MapFolder(data / "prior"), GroundTruth.load(data / "gt.json", data / "depth.npz"))
    assert found["agreement"]["frames"] == 72
    assert found["agreement"]["iou"] >= 0.97 and found["agreement"]["centroid_px"] <= 0.3
    assert 0.3 < found["occlusion"]["hidden"] < 0.8 and found["occlusion"]["worst"] >= 0.95
    assert found["depth"]["aligned"] < 0.03 < found["depth"]["model"]


@pytest.mark.parametrize(
    ("leans_deg", "scatter", "found_deg"),
    [(12.0, 0.2, 0.0), (12.0, 0.01, 12.0), (80.0, 0.2, 90.0), (80.0, 0.01, 80.0), (45.0, 0.3, 45.0)],
)
def test_a_plane_is_level_or_plumb_where_its_points_leave_that_open(leans_deg, scatter, found_deg):
    """A floor of few points is level, a wall plumb; a ramp that is clearly one stays."""
    up = np.array([0.0, -1.0, 0.0])
    normal = np.array([np.sin(np.radians(leans_deg)), -np.cos(np.radians(leans_deg)), 0.0])
    ground = Ground(up, 1.0, planes=3, lead=4.0, height=-1.0, points=80, stands_out=True)
    found = _as_built(normal, scatter, ground)
    assert np.degrees(np.arccos(found @ up)) == pytest.approx(found_deg, abs=1e-6)
    guessed = Ground(up, 15.0, planes=0)
    assert _as_built(normal, scatter, guessed) is normal
