"""Every writer against a reader that is not ours."""

import dataclasses

import numpy as np
import pytest
from plyfile import PlyData
from scipy.spatial.transform import Rotation
from solved import shot_of, solve

from sfm.bridging import bridge
from sfm.errors import InputError, UsageError
from sfm.export import (
    ALWAYS,
    FILM_FORMATS,
    FORMATS,
    PLACES,
    SETS,
    TOLD_FORMATS,
    FilmCamera,
    export,
    lens_note,
    named,
    read_colmap,
    write_colmap,
    write_ply,
    write_tum,
)
from sfm.files import replacing
from sfm.geometry import Camera
from sfm.synthetic import make_shot

LENSES = {
    "PINHOLE": [],
    "OPENCV": [-0.1, 0.02, 0.001, -0.002],
    "FULL_OPENCV": [-0.1, 0.02, 0.001, -0.002, 0.003],
    "zoom": [],
}


def distorted(truth, distortion):
    """The same synthetic shot through a lens with distortion."""
    camera = dataclasses.replace(truth.camera, distortion=np.array(distortion))
    tracks = truth.tracks
    cam_points = truth.camera.at(tracks.frame).cam_from_img(tracks.xy)
    xy = camera.at(tracks.frame).img_from_cam(np.column_stack([cam_points, np.ones(len(tracks))]))
    return dataclasses.replace(truth, camera=camera, tracks=dataclasses.replace(tracks, xy=xy))


def perturbed(rng, lens="PINHOLE", lost=(3, 4), **kwargs):
    motion = "zoom" if lens == "zoom" else "orbit"
    truth = make_shot(motion, rng=rng, num_frames=8, num_tracks=120, noise_px=0.4, outlier_ratio=0.05, **kwargs)
    return solve(distorted(truth, LENSES[lens]), rng, error=0.01, lost=lost)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("lens", LENSES)
def test_pycolmap_reads_the_model(rng, tmp_path, lens, text):
    pycolmap = pytest.importorskip("pycolmap")
    reconstruction, shot = perturbed(rng, lens)
    write_colmap(reconstruction, shot, tmp_path / "sparse" / "0", text=text)
    model = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))

    registered = np.flatnonzero(reconstruction.registered)
    assert {image.name: image_id for image_id, image in model.images.items()} == {
        shot.frame_names[f]: f + 1 for f in registered
    }
    assert len(model.cameras) == (len(registered) if lens == "zoom" else 1)
    assert set(model.points3D) == set(np.flatnonzero(reconstruction.has_point) + 1)
    for camera in model.cameras.values():
        assert camera.model.name == ("PINHOLE" if lens == "zoom" else lens)
        assert (camera.width, camera.height) == (reconstruction.camera.width, reconstruction.camera.height)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("lens", LENSES)
def test_every_observation_projects_as_ours_does(rng, tmp_path, lens, text):
    pycolmap = pytest.importorskip("pycolmap")
    reconstruction, shot = perturbed(rng, lens)
    write_colmap(reconstruction, shot, tmp_path / "0", text=text)
    model = pycolmap.Reconstruction(str(tmp_path / "0"))

    tracks, errors = reconstruction.tracks, reconstruction.reprojection_errors()
    used = np.flatnonzero(reconstruction.inliers & reconstruction.registered[tracks.frame])
    ours = {(int(tracks.frame[k]) + 1, int(tracks.track[k]) + 1): errors[k] for k in used}
    theirs = {}
    for image_id, image in model.images.items():
        for sighting in image.points2D:
            xyz = model.points3D[sighting.point3D_id].xyz
            predicted = model.cameras[image.camera_id].img_from_cam(image.cam_from_world() * xyz)
            theirs[image_id, sighting.point3D_id] = np.linalg.norm(predicted - sighting.xy)
    assert ours.keys() == theirs.keys()
    assert max(abs(ours[key] - theirs[key]) for key in ours) < 1e-6
    assert max(ours.values()) > 1  # the perturbation shows, so agreement says something

    for point_id, point in model.points3D.items():
        seen = {(e.image_id, point_id) for e in point.track.elements}
        assert seen == {key for key in ours if key[1] == point_id}
        for element in point.track.elements:
            assert model.images[element.image_id].points2D[element.point2D_idx].point3D_id == point_id
        mean = np.mean([ours[key] for key in seen]) if seen else -1
        assert point.error == pytest.approx(mean, abs=1e-9)
        np.testing.assert_array_equal(point.color, tracks.colors[point_id - 1])


def test_point_nobody_believes_is_kept_with_no_error(rng, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    reconstruction, shot = perturbed(rng)
    track = int(reconstruction.tracks.track[0])
    inliers = reconstruction.inliers & (reconstruction.tracks.track != track)
    write_colmap(dataclasses.replace(reconstruction, inliers=inliers), shot, tmp_path / "0")
    point = pycolmap.Reconstruction(str(tmp_path / "0")).points3D[track + 1]
    assert (point.error, point.track.length()) == (-1, 0)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("lens", LENSES)
def test_reading_a_model_gives_back_what_was_written(rng, tmp_path, lens, text):
    reconstruction, shot = perturbed(rng, lens)
    write_colmap(reconstruction, shot, tmp_path / "0", text=text)
    read, names = read_colmap(tmp_path / "0")

    registered = np.flatnonzero(reconstruction.registered)
    assert names == tuple(shot.frame_names[f] for f in registered)
    np.testing.assert_allclose(
        read.cams_from_world.as_matrix(), reconstruction.cams_from_world[registered].as_matrix(), atol=1e-12
    )
    np.testing.assert_array_equal(read.points, reconstruction.points[reconstruction.has_point])
    assert read.rms_px() == pytest.approx(reconstruction.rms_px(), abs=1e-9)
    np.testing.assert_array_equal(read.camera.focal_length, reconstruction.camera.at(registered).focal_length)


@pytest.mark.parametrize("text", [False, True])
def test_reads_a_model_pycolmap_wrote(rng, tmp_path, text):
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_cameras_per_rig=1, num_frames_per_rig=6, num_points3D=50)
    options.camera_model_id, options.camera_params = pycolmap.CameraModelId.SIMPLE_RADIAL, [900, 512, 384, -0.05]
    model = pycolmap.synthesize_dataset(options)
    (model.write_text if text else model.write)(tmp_path)
    read, names = read_colmap(tmp_path)
    assert names == tuple(sorted(image.name for image in model.images.values()))
    assert len(read.points) == 50
    assert read.rms_px() < 1e-6
    assert len(read.tracks) == sum(len(point.track.elements) for point in model.points3D.values())


def test_reading_says_what_is_wrong(rng, tmp_path):
    with pytest.raises(InputError, match="holds no COLMAP model"):
        read_colmap(tmp_path / "nowhere")
    reconstruction, shot = perturbed(rng)
    write_colmap(reconstruction, shot, tmp_path / "0")
    images = tmp_path / "0" / "images.bin"
    images.write_bytes(images.read_bytes()[:-11])
    with pytest.raises(InputError, match="not a COLMAP model that can be read"):
        read_colmap(tmp_path / "0")
    write_colmap(reconstruction, shot, tmp_path / "1", text=True)
    (tmp_path / "1" / "cameras.txt").write_text("1 OPENCV_FISHEYE 10 10 5 5 5 5 0 0 0 0\n")
    with pytest.raises(InputError, match="camera model OPENCV_FISHEYE"):
        read_colmap(tmp_path / "1")


def test_text_refuses_names_its_readers_cut(rng, tmp_path):
    reconstruction, shot = perturbed(rng)
    shot = dataclasses.replace(shot, frame_names=tuple(f"my {name}" for name in shot.frame_names))
    with pytest.raises(InputError, match="cuts names at blanks"):
        write_colmap(reconstruction, shot, tmp_path / "0", text=True)
    assert not (tmp_path / "0").exists()
    write_colmap(reconstruction, shot, tmp_path / "0")
    assert read_colmap(tmp_path / "0")[1][0] == "my plate.1001.png"


def test_ply_holds_what_is_known_of_each_point(rng, tmp_path):
    reconstruction, shot = perturbed(rng)
    write_ply(reconstruction, shot, tmp_path / "points.ply")
    ply = PlyData.read(tmp_path / "points.ply")
    vertex = ply["vertex"].data
    assert (ply.text, ply.byte_order) == (False, "<")
    assert "sigma, sigma_across: standard deviation over the depth" in " ".join(ply["vertex"].comments)

    tracks, errors = reconstruction.tracks, reconstruction.reprojection_errors()
    np.testing.assert_array_equal(vertex["track_id"], np.flatnonzero(reconstruction.has_point))
    xyz = np.column_stack([vertex["x"], vertex["y"], vertex["z"]])
    np.testing.assert_allclose(xyz, reconstruction.points[vertex["track_id"]], rtol=1e-6)
    rgb = np.column_stack([vertex["red"], vertex["green"], vertex["blue"]])
    np.testing.assert_array_equal(rgb, tracks.colors[vertex["track_id"]])
    np.testing.assert_array_equal(vertex["support"], reconstruction.support[vertex["track_id"]])
    np.testing.assert_allclose(vertex["sigma"], reconstruction.point_sigma[vertex["track_id"]], rtol=1e-6)
    np.testing.assert_allclose(vertex["sigma_across"], reconstruction.point_sigma_across[vertex["track_id"]], rtol=1e-6)
    for row in vertex[:20]:
        used = (tracks.track == row["track_id"]) & reconstruction.inliers & reconstruction.registered[tracks.frame]
        assert row["track_len"] == used.sum()
        rmse = np.sqrt(np.mean(errors[used] ** 2)) if used.any() else np.nan
        assert row["rmse_px"] == pytest.approx(rmse, rel=1e-5, nan_ok=True)


def test_standard_deviations_lie_beside_the_model(rng, tmp_path):
    reconstruction, shot = perturbed(rng)
    write_colmap(reconstruction, shot, tmp_path / "0")
    cameras, points = (np.loadtxt(tmp_path / "0" / f"{name}_sigma.txt") for name in ("images", "points3D"))
    frames, tracks = cameras[:, 0].astype(int) - 1, points[:, 0].astype(int) - 1
    np.testing.assert_array_equal(frames, np.flatnonzero(reconstruction.has_camera))
    np.testing.assert_array_equal(tracks, np.flatnonzero(reconstruction.has_point))
    np.testing.assert_allclose(cameras[:, 1:4], reconstruction.center_sigma[frames], rtol=1e-5)
    np.testing.assert_allclose(cameras[:, 4:], reconstruction.rotation_sigma[frames], rtol=1e-5)
    np.testing.assert_allclose(points[:, 1], reconstruction.point_sigma[tracks], rtol=1e-5)
    np.testing.assert_allclose(points[:, 2], reconstruction.point_sigma_across[tracks], rtol=1e-5)


def test_tum_is_camera_to_world_at_plate_time(rng, tmp_path):
    reconstruction, shot = perturbed(rng)
    write_tum(reconstruction, shot, tmp_path / "trajectory.tum")
    rows = np.loadtxt(tmp_path / "trajectory.tum")
    registered = np.flatnonzero(reconstruction.registered)
    np.testing.assert_allclose(rows[:, 0], (1001 + registered) / 24.0, atol=1e-8)
    world_from_cam = Rotation.from_quat(rows[:, 4:]).as_matrix()
    in_cam = np.array([0.3, -0.2, 2.0])
    in_world = world_from_cam @ in_cam + rows[:, 1:4]
    again = reconstruction.cams_from_world[registered].apply(in_world)
    np.testing.assert_allclose(again, np.tile(in_cam, (len(registered), 1)), atol=1e-9)


@pytest.mark.parametrize("text", [False, True])
def test_a_bridged_camera_is_written_and_told_apart(rng, tmp_path, text):
    pycolmap = pytest.importorskip("pycolmap")
    reconstruction, shot = perturbed(rng)
    reconstruction = bridge(reconstruction)
    assert np.flatnonzero(reconstruction.bridged).tolist() == [3, 4]
    write_colmap(reconstruction, shot, tmp_path / "0", text=text)
    model = pycolmap.Reconstruction(str(tmp_path / "0"))
    assert len(model.images) == 8
    assert sorted(i for i, image in model.images.items() if not image.num_points3D) == [4, 5]
    pose = model.images[4].cam_from_world()
    np.testing.assert_allclose(pose.matrix(), reconstruction.cams_from_world[3].as_matrix(), atol=1e-9)
    read, _ = read_colmap(tmp_path / "0")
    np.testing.assert_array_equal(read.bridged, reconstruction.bridged)
    np.testing.assert_array_equal(read.registered, reconstruction.registered)

    write_tum(reconstruction, shot, tmp_path / "trajectory.tum")
    assert len(np.loadtxt(tmp_path / "trajectory.tum")) == 8
    comment = (tmp_path / "trajectory.tum").read_text().splitlines()[1]
    assert comment == f"# interpolated: {1004 / 24:.9f} {1005 / 24:.9f}"


def test_cameras_nobody_sees_a_point_with_count_as_found(rng, tmp_path):
    """A model of cameras alone is no shot of gaps."""
    reconstruction, shot = perturbed(rng)
    nothing = np.zeros(len(reconstruction.tracks), bool)
    write_colmap(dataclasses.replace(reconstruction, inliers=nothing), shot, tmp_path / "0")
    read, _ = read_colmap(tmp_path / "0")
    assert read.registered.all() and not read.bridged.any()


def test_export_puts_every_format_in_its_place(rng, tmp_path):
    reconstruction, shot = perturbed(rng)
    written = export(reconstruction, shot, tmp_path / "out")
    assert set(written) == set(ALWAYS)
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    model = {f"sparse/0/{name}.bin" for name in ("cameras", "images", "points3D")}
    sigma = {f"sparse/0/{name}_sigma.txt" for name in ("images", "points3D")}
    assert found == {"points.ply", "trajectory.tum", *model, *sigma}


def test_every_format_has_a_place_and_sets_are_of_formats(rng, tmp_path):
    assert {*FORMATS, *FILM_FORMATS, *TOLD_FORMATS} == set(PLACES) and len({*PLACES.values()}) == len(PLACES)
    assert {name for names in SETS.values() for name in names} <= set(PLACES)
    written = export(*perturbed(rng), tmp_path, ["csv", "vfx"])
    assert set(written) == set(SETS["vfx"]) and all(path.exists() for path in written.values())


def test_export_of_an_unknown_format_writes_nothing(rng, tmp_path):
    reconstruction, shot = perturbed(rng)
    with pytest.raises(UsageError, match="format 3ds: not one of colmap, ply, tum"):
        export(reconstruction, shot, tmp_path / "out", ["ply", "3ds"])
    assert not (tmp_path / "out").exists()


def test_a_shot_without_points_still_writes(rng, tmp_path):
    reconstruction, shot = perturbed(rng)
    bare = dataclasses.replace(reconstruction, points=np.full_like(reconstruction.points, np.nan))
    written = export(bare, shot, tmp_path)
    assert len(read_colmap(written["colmap"])[0].points) == 0
    assert len(PlyData.read(written["ply"])["vertex"].data) == 0
    assert len(np.loadtxt(written["tum"])) == reconstruction.registered.sum()


def test_replacing_keeps_the_old_folder_until_the_new_one_is_whole(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    with pytest.raises(RuntimeError), replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "new.txt").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old.txt"]
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "new.txt").write_text("whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "new.txt"]


def test_an_unwritable_place_is_one_line(rng, tmp_path):
    reconstruction, shot = perturbed(rng)
    (tmp_path / "file").write_text("in the way")
    for write, place in ((write_colmap, "0"), (write_ply, "p.ply"), (write_tum, "t.tum")):
        with pytest.raises(InputError, match="cannot be written") as caught:
            write(reconstruction, shot, tmp_path / "file" / place)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_camera_of_eight_coefficients_keeps_them_all(rng, tmp_path):
    lens = Camera([900.0, 910.0], [500.0, 300.0], [0.1, 0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6], 1000, 600)
    reconstruction, shot = perturbed(rng)
    write_colmap(dataclasses.replace(reconstruction, camera=lens), shot, tmp_path / "0")
    np.testing.assert_array_equal(read_colmap(tmp_path / "0")[0].camera.distortion, lens.distortion)


@pytest.mark.parametrize("most", [100, 300])
def test_locators_are_spread_over_picture_shot_and_depth(rng, most):
    """The points known best lie in one corner: every part that has points still gets some, by their best ones first."""
    truth = make_shot("dolly", rng=rng, num_frames=9, num_tracks=900)
    scene, _ = solve(truth, rng, error=0.01, lost=())
    tracks, size = scene.tracks, np.array([truth.camera.width, truth.camera.height])
    rows = tracks.in_frame(0)[scene.inliers[tracks.in_frame(0)]]
    cell_of = np.full(tracks.num_tracks, -1)
    cell_of[tracks.track[rows]] = (tracks.xy[rows] / size * 3).astype(int) @ [1, 3]
    sigma = rng.uniform(0.01, 0.02, tracks.num_tracks)
    sigma[cell_of == 0] /= 1000
    scene = dataclasses.replace(scene, point_sigma=sigma)
    film = FilmCamera.of(scene, shot_of(truth.camera, 9))
    best = film.best_tracks(scene, most)
    assert len(best) == len(set(best.tolist())) == min(most, len(film.tracks))
    np.testing.assert_array_equal(best, film.best_tracks(scene, most))
    counts, there = (np.bincount(cell_of[of][cell_of[of] >= 0], minlength=9) for of in (film.tracks[best], film.tracks))
    assert (counts >= np.minimum(there, most // 30)).all(), counts
    assert film.tracks[best[0]] == film.tracks[np.argmin(sigma[film.tracks])]
    depth = scene.points[film.tracks, 2]
    assert 0.3 < np.mean(depth[best] > np.median(depth)) < 0.7


def test_of_a_lens_that_distorts_it_is_said_what_goes_with_which_plate(rng):
    bent, _ = perturbed(rng, "OPENCV")
    straight, _ = perturbed(rng)
    assert lens_note(straight, ["usd", "nk"]) == "" and lens_note(bent, ["colmap", "json", "nk", "stmap"]) == ""
    assert "usd, fbx are of an ideal pinhole" in lens_note(bent, ["usd", "json", "fbx"])
    assert "sfm undistort" in lens_note(bent, ["vfx"]) and "--format nk,stmap" in lens_note(bent, ["nk"])


def test_formats_in_any_case_and_by_the_programs_name():
    assert named(["USD", "nuke", "Maya", "AE", "jsx", "Alembic"]) == ["usd", "nk", "ma", "jsx", "abc"]
    with pytest.raises(UsageError, match="format 3ds"):
        named(["3DS"])
