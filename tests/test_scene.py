"""What the stages hand on: checked on construction, never changed, saved and loaded as it was."""

from dataclasses import fields, replace

import numpy as np
import pytest
from solved import solve

from sfm.bridging import bridge
from sfm.errors import InputError
from sfm.geometry import Rigid3, Sim3
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.synthetic import make_shot


def _scene(rng, **kwargs) -> Reconstruction:
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=50, noise_px=0.3, **kwargs)
    return solve(shot, rng, error=0.01, lost=(3,))[0]


def test_tracks_from_a_table_and_back(rng):
    xy = rng.uniform(0, 100, (5, 7, 2))
    xy[rng.random((5, 7)) < 0.3] = np.nan
    visible = rng.random((5, 7)) < 0.8
    tracks = Tracks.from_dense(xy, visible)
    table = np.full((5, 7, 2), np.nan)
    table[tracks.frame, tracks.track] = tracks.xy
    np.testing.assert_array_equal(table, np.where(visible[..., None], xy, np.nan))
    seen = np.isfinite(table[..., 0])
    np.testing.assert_array_equal(tracks.lengths, seen.sum(0))
    np.testing.assert_array_equal(tracks.shared(), seen.astype(int) @ seen.T.astype(int))
    assert tracks.track[tracks.in_frame(2)].tolist() == np.flatnonzero(seen[2]).tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (([0, 9], [0, 0], [[1.0, 1], [2, 2]]), "frame: got 0..9, expected 0..2"),
        (([0, 1], [0, 5], [[1.0, 1], [2, 2]]), "track: got 0..5, expected 0..1"),
        (([0, 1], [0, 0], [[1.0, 1], [np.nan, 2]]), "xy: got 1 rows not finite"),
        (([0, 0], [1, 1], [[1.0, 1], [2, 2]]), "two observations in one frame"),
        (([0, 1], [0], [[1.0, 1], [2, 2]]), "track: got shape"),
    ],
)
def test_tracks_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        Tracks(*values, 3, 2)


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"xy: got shape \(5, 10\), expected \(frames, tracks, 2\)"):
        Tracks.from_dense(np.zeros((5, 10)))


def test_whitening_stays_with_its_tracks(rng):
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=50, distortion=(0.1, 0.0, 0.0, 0.0))
    whitening = rng.uniform(0, 1, (50, 2, 2))
    tracks = replace(shot.tracks, whitening=whitening)
    for same in (tracks.select(tracks.frame > 3), tracks.undistorted(shot.camera)):
        np.testing.assert_array_equal(same.whitening, whitening)
    errors = rng.standard_normal((len(tracks), 2))
    rows = np.array([7, 3, 120])
    by_hand = [whitening[tracks.track[row]] @ errors[row] for row in rows]
    np.testing.assert_allclose(tracks.whitened(errors[rows], rows), by_hand)
    assert shot.tracks.whitened(errors) is errors
    with pytest.raises(ValueError, match="whitening"):
        replace(tracks, whitening=whitening[:7])


def test_arrays_are_read_only(rng):
    scene = _scene(rng)
    for array in (scene.points, scene.inliers, scene.tracks.xy, scene.cams_from_world.rotation):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_priors_that_cannot_be():
    for bad in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match="zero, negative or infinite"):
            DepthPriors([1.0, bad], [0.1, 0.1])
    with pytest.raises(ValueError, match="sigma"):
        DepthPriors([1.0, 2.0], [0.1])
    assert DepthPriors([1.0, np.nan], [0.1, np.nan]).relief.tolist() == [0.0, 0.0]


def test_a_reconstruction_names_the_field_that_does_not_fit(rng):
    scene = _scene(rng)
    values = {f.name: getattr(scene, f.name) for f in fields(scene)}
    with pytest.raises(ValueError, match="depth_scale"):
        Reconstruction(**{**values, "depth_scale": np.ones(3)})
    with pytest.raises(ValueError, match="cams_from_world"):
        Reconstruction(**{**values, "cams_from_world": Rigid3.identity(3)})


def test_save_and_load(rng, tmp_path):
    scene = replace(bridge(_scene(rng)), readout=0.4)
    scene = replace(scene, tracks=replace(scene.tracks, whitening=rng.uniform(0, 1, (scene.tracks.num_tracks, 2, 2))))
    assert scene.bridged.any()
    scene.save(tmp_path / "scene.npz")
    loaded = Reconstruction.load(tmp_path / "scene.npz")
    for f in fields(scene):
        one, two = getattr(scene, f.name), getattr(loaded, f.name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(loaded.tracks.xy, scene.tracks.xy)
    np.testing.assert_array_equal(loaded.tracks.colors, scene.tracks.colors)
    np.testing.assert_array_equal(loaded.tracks.whitening, scene.tracks.whitening)
    np.testing.assert_array_equal(loaded.cams_from_world.as_matrix(), scene.cams_from_world.as_matrix())
    np.testing.assert_array_equal(loaded.camera.focal_length, scene.camera.focal_length)
    assert loaded.readout == scene.readout
    assert [p.name for p in tmp_path.iterdir()] == ["scene.npz"]


def test_an_old_file(rng, tmp_path):
    scene = _scene(rng)
    scene.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as data:
        later = ("bridged", "bridge_error_px", "readout", "track_whitening")
        old = {name: data[name] for name in data.files if name not in later}
    np.savez(tmp_path / "old.npz", **old)
    loaded = Reconstruction.load(tmp_path / "old.npz")
    assert not loaded.bridged.any() and loaded.readout == 0 and not len(loaded.tracks.whitening)
    np.testing.assert_array_equal(loaded.has_camera, scene.registered)


def test_a_bridged_frame_is_not_registered(rng):
    scene = _scene(rng)
    with pytest.raises(ValueError, match="bridged: got frames that are registered"):
        replace(scene, bridged=np.ones(8, bool))


def test_what_is_no_reconstruction(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.npz"):
        Reconstruction.load(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InputError, match="not a reconstruction"):
        Reconstruction.load(tmp_path / "text.npz")


# NumPy leaves the file open when the archive is damaged
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_half_a_reconstruction(rng, tmp_path):
    _scene(rng).save(tmp_path / "half.npz")
    (tmp_path / "half.npz").write_bytes((tmp_path / "half.npz").read_bytes()[:2000])
    with pytest.raises(InputError, match="not a reconstruction"):
        Reconstruction.load(tmp_path / "half.npz")


def test_another_world_shows_the_same_picture(rng):
    scene = _scene(rng)
    sim = Sim3(2.5, Rigid3.from_rotvec([0.4, 1.0, -0.3], [0, 0, 0]).rotation, [3.0, -1.0, 2.0])
    moved = scene.transform(sim)
    np.testing.assert_allclose(moved.reprojection_errors(), scene.reprojection_errors(), atol=1e-7)
    np.testing.assert_allclose(moved.parallax_deg(), scene.parallax_deg(), atol=1e-7)
    np.testing.assert_allclose(moved.depth_scale, 2.5 * scene.depth_scale)
    back = moved.transform(sim.inverse())
    np.testing.assert_allclose(back.points, scene.points, atol=1e-10)


def test_crop_keeps_what_it_shows(rng):
    scene = _scene(rng)
    scene = bridge(scene)
    part = scene.crop(2, 5)
    assert part.bridged.tolist() == [False, True, False, False] and part.bridge_error_px[1] > 0
    assert part.tracks.num_frames == len(part.registered) == 4
    assert part.registered.tolist() == scene.registered[2:6].tolist()
    inside = (scene.tracks.frame >= 2) & (scene.tracks.frame <= 5)
    same = part.has_point[part.tracks.track]
    np.testing.assert_allclose(part.reprojection_errors()[same], scene.reprojection_errors()[inside][same])
    with pytest.raises(ValueError, match=r"expected inside 0\.\.7"):
        scene.crop(2, 8)


def test_errors_are_unknown_where_frame_or_point_is(rng):
    scene = _scene(rng)
    assert np.isnan(scene.reprojection_errors()[scene.tracks.frame == 3]).all()
    assert np.isfinite(scene.rms_px())
