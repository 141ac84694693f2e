"""Tracks made by hand: read as their programs write them, believed as they say, left out only where absurd."""

import dataclasses

import numpy as np
import pytest
from solved import shot_of

from sfm.bundle_adjustment import BundleAdjustmentOptions, adjust
from sfm.errors import InputError
from sfm.hand_tracks import beside, read_hand_tracks
from sfm.mapping import MappingOptions
from sfm.options import Options
from sfm.outliers import OutlierOptions, TrackingNoise, filter_observations
from sfm.pipeline import reconstruct
from sfm.scene import Reconstruction, Tracks
from sfm.synthetic import make_shot
from sfm.track_files import write_tracks
from sfm.video import Video

XY = np.array([[[100.5, 200.25], [101.0, 201.5], [np.nan, np.nan]], [[np.nan, np.nan], [900.0, 30.0], [901.5, 29.0]]])
NAMES = ("corner of the door", "7")
TRACKS = Tracks.from_dense(np.swapaxes(XY, 0, 1))


@pytest.fixture
def shot(rng):
    return shot_of(make_shot("dolly", rng=rng).camera, 3)


def as_3de(tracks, names, height, first):
    lines = [str(len(names))]
    for track, name in enumerate(names):
        rows = np.flatnonzero(tracks.track == track)
        lines += [name, "0", str(len(rows))]
        lines += [f"{tracks.frame[k] + first} {tracks.xy[k, 0]:.15f} {height - tracks.xy[k, 1]:.15f}" for k in rows]
    return "\n".join([*lines, ""])


def as_nuke(tracks, names, height, first):
    rows = []
    for track, name in enumerate(names):
        own = np.flatnonzero(tracks.track == track)
        start = tracks.frame[own[0]] + first
        x, y = (" ".join(f"{v:.8g}" for v in values) for values in (tracks.xy[own, 0], height - tracks.xy[own, 1]))
        # as Nuke writes them: values after a key stand at the frames that follow
        rows.append(
            f' {{ {{curve K x{start} 1}} "{name}" {{curve x{start} {x}}} {{curve x{start} {y}}}'
            f" {{curve K x{start} 0}} {{curve K x{start} 0}} 1 0 0 {{curve x{start} 0.01}} 1 0 -32 -32 32 32 }}"
        )
    columns = "{ { 5 1 20 enable e 1 } \n{ 3 1 75 name name 1 } \n{ 2 1 58 track_x track_x 1 } }"
    body = "\n".join(rows)
    return f"Tracker4 {{\ntracks {{ {{ 1 31 {len(names)} }} \n{columns} \n{{ \n{body}\n}} \n}}\nname Tracker1\n}}\n"


@pytest.mark.parametrize("first", [1001, 1])
@pytest.mark.parametrize(("suffix", "write"), [(".txt", as_3de), (".nk", as_nuke)])
def test_3de_and_nuke(tmp_path, shot, suffix, write, first):
    (tmp_path / f"hand{suffix}").write_text(write(TRACKS, NAMES, shot.height, first))
    found = read_hand_tracks(tmp_path / f"hand{suffix}", shot, 0.4)
    assert found.names == NAMES and found.tracks.num_frames == 3
    np.testing.assert_array_equal(found.tracks.frame, TRACKS.frame)
    np.testing.assert_array_equal(found.tracks.track, TRACKS.track)
    np.testing.assert_allclose(found.tracks.xy, TRACKS.xy, atol=1e-4)
    np.testing.assert_array_equal(found.tracks.sigma_px, [0.4, 0.4])


def test_a_nuke_curve_with_gaps_and_slopes(tmp_path, shot):
    row = '{ {curve K x1001 1} "a" {curve i x1001 5 6.5 x1003 7 s0 t-1.5} {curve x1001 3 L x1003 2e1} {curve} 1 0 0 }'
    (tmp_path / "t.nk").write_text("Tracker4 {\n tracks { { 1 31 1 }\n{ " + row + " } }\n}\n")
    tracks = read_hand_tracks(tmp_path / "t.nk", shot).tracks
    assert tracks.frame.tolist() == [0, 2]
    np.testing.assert_allclose(tracks.xy, [[5, shot.height - 3], [7, shot.height - 20]])


def test_a_csv_keeps_its_numbers_as_names(tmp_path, shot):
    write_tracks(tmp_path / "hand.csv", dataclasses.replace(TRACKS, track=TRACKS.track * 40 + 3, num_tracks=44,
                                                            colors=np.zeros((0, 3))), shot.frame_numbers)  # fmt: skip
    found = read_hand_tracks(tmp_path / "hand.csv", shot)
    assert found.names == ("3", "43") and found.tracks.sigma_px.tolist() == [0.3, 0.3]
    np.testing.assert_allclose(found.tracks.xy, TRACKS.xy)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "two\n", "line 1: two, expected the number of points"),
        ("a.txt", "1\nname\n0\n2\n1001 1 2\n", r"line 6: expected frame x y"),
        ("a.txt", "1\nname\n0\n1\n1001 1 x\n", "line 5: could not convert"),
        ("a.txt", "1\nname\n0\n1\n1001 1 2\n1002 3 4\n", "line 6: more than the points announced"),
        ("a.txt", "0\n", "holds no sighting"),
        ("a.txt", "1\nname\n0\n2\n1001 1 2\n1001 1 2\n", "seen twice in a frame"),
        ("a.txt", "1\nname\n0\n1\n5001 1 2\n", "no frame in common"),
        ("a.nk", "Grade {\n}\n", "no Tracker4 node"),
        ("a.csv", "frame,track\n", "no column x"),
        ("a.abc", "", "tracks are read from .csv and .npz"),
    ],
)
def test_files_that_are_none(tmp_path, shot, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_hand_tracks(tmp_path / name, shot)


def test_beside_the_trackers():
    whitened = dataclasses.replace(TRACKS, whitening=np.tile(np.diag([1.0, 0.2]), (2, 1, 1)))
    hand = dataclasses.replace(TRACKS, sigma_px=np.array([0.3, 0.5]))
    both = beside(whitened, hand)
    assert both.num_tracks == 4 and both.by_hand.tolist() == [False, False, True, True]
    np.testing.assert_array_equal(both.whitening[2:], np.tile(np.eye(2), (2, 1, 1)))
    np.testing.assert_array_equal(both.xy[len(TRACKS) :], TRACKS.xy)
    assert both.select(both.frame == 1).sigma_px.tolist()[2:] == [0.3, 0.5]


def with_hand(rng, sigma_px, count=8, noise_px=0.1):
    """A shot whose last tracks are made by hand, `sigma_px` off."""
    truth = make_shot("handheld", rng=rng, num_tracks=120, noise_px=noise_px, outlier_ratio=0.05)
    hand = truth.tracks.track >= 120 - count
    hand &= truth.tracks.lengths[truth.tracks.track] > 10
    exact = np.stack([
        truth.camera.img_from_cam(truth.cams_from_world[int(f)].apply(truth.points[t]))
        for f, t in zip(truth.tracks.frame[hand], truth.tracks.track[hand], strict=True)
    ])  # fmt: skip
    xy = truth.tracks.xy.copy()
    xy[hand] = exact + sigma_px * rng.standard_normal((hand.sum(), 2))
    told = np.where(np.arange(120) >= 120 - count, sigma_px, np.nan)
    return truth, dataclasses.replace(truth.tracks, xy=xy, sigma_px=told), hand


def scene_of(truth, tracks):
    frames = tracks.num_frames
    return Reconstruction(
        truth.camera, truth.cams_from_world, np.ones(frames, bool), truth.points, np.ones(len(tracks), bool), tracks,
        np.ones(frames), np.zeros(tracks.num_tracks), np.full(tracks.num_tracks, np.nan),
    )  # fmt: skip


def test_they_are_believed_as_they_say(rng):
    """Ten times worse than the tracker's and still in, each weighed by its own sigma."""
    truth, tracks, hand = with_hand(rng, 1.0)
    scene = scene_of(truth, tracks)
    relief = np.zeros(len(tracks))
    told, noise = filter_observations(scene, relief, OutlierOptions())
    alone = filter_observations(
        scene_of(truth, dataclasses.replace(tracks, sigma_px=np.zeros(0))), relief, OutlierOptions()
    )
    assert told.inliers[hand].all() and alone[0].inliers[hand].mean() < 0.5
    assert not told.inliers[truth.outliers & ~hand].any()
    assert noise.sigma_px == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(noise.track_weight[tracks.by_hand], noise.sigma_px**2)
    sure = dataclasses.replace(tracks, sigma_px=np.where(tracks.by_hand, 0.05, np.nan))
    assert (TrackingNoise.of(scene_of(truth, sure), relief, OutlierOptions()).track_weight[tracks.by_hand] > 2).all()


def test_the_absurd_are_left_out(rng):
    truth, tracks, hand = with_hand(rng, 0.3)
    row = np.flatnonzero(hand)[3]
    xy = tracks.xy.copy()
    xy[row] += [40.0, -25.0]
    found, _ = filter_observations(
        scene_of(truth, dataclasses.replace(tracks, xy=xy)), np.zeros(len(tracks)), OutlierOptions()
    )
    assert not found.inliers[row] and found.inliers[np.setdiff1d(np.flatnonzero(hand), row)].all()


def test_their_weight_is_that_of_their_noise(rng):
    """An adjustment with the right sigma is better than one that takes them for the tracker's."""
    errors = {0.1: [], 1.0: []}
    for _ in range(6):
        truth, tracks, hand = with_hand(rng, 1.0, count=60)
        for sigma, found in errors.items():
            told = dataclasses.replace(tracks, sigma_px=np.where(tracks.by_hand, sigma, np.nan))
            scene = dataclasses.replace(scene_of(truth, told), inliers=~truth.outliers | hand)
            noise = TrackingNoise.of(scene, np.zeros(len(tracks)), OutlierOptions())
            options = BundleAdjustmentOptions(
                0.1, track_weight=noise.track_weight, track_knee=noise.track_knee, estimate_sigma=False
            )
            cams = adjust(scene, None, options)[0].cams_from_world
            off = cams.rotation @ truth.cams_from_world.rotation.mT
            found.append(np.abs(off - np.eye(3)).max())
    assert np.mean(errors[1.0]) < 0.7 * np.mean(errors[0.1])


def test_a_solve_with_hand_tracks(rng, caplog):
    truth, tracks, hand = with_hand(rng, 0.8)
    tracker = dataclasses.replace(tracks.select(~hand), sigma_px=np.zeros(0))
    ours = tracks.select(hand)
    of_hand, place = np.unique(ours.track, return_inverse=True)
    made = Tracks(ours.frame, place, ours.xy, ours.num_frames, len(of_hand), sigma_px=np.full(len(of_hand), 0.8))
    plate = np.zeros((truth.camera.height, truth.camera.width, 3), np.uint8)
    video = Video.from_arrays([plate] * ours.num_frames)
    priors = truth.priors.select(~hand)
    options = Options(mapping=MappingOptions())
    found, report, _ = reconstruct(video, priors, truth.camera, options, tracks=tracker, hand_tracks=made)
    assert found.tracks.num_tracks == tracker.num_tracks + made.num_tracks
    assert found.has_point[found.tracks.by_hand].all()
    assert found.inliers[found.tracks.by_hand[found.tracks.track]].all()
    assert report.noise.sigma_px < 0.15
