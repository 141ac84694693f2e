"""What is told of the uncertainty of a solve, beside how far solves of the same shot scatter."""

from dataclasses import replace

import numpy as np
import pytest
from solved import following_errors, solve

from sfm.bundle_adjustment import BundleAdjustmentOptions, LensUnknowns, Posterior, adjust, serial_correlation
from sfm.bundle_adjustment.clusters import between_clusters
from sfm.geometry import Camera, Rigid3
from sfm.geometry.rotation import rotvec_from_rotation
from sfm.likely_slide import likely_slide_px
from sfm.pipeline import reconstruct_tracks
from sfm.scene import DepthPriors, Reconstruction, Support, Tracks
from sfm.synthetic import make_shot

NOISE_PX, DEPTH_ERROR, DRAWS = 0.3, 0.1, 200


def _scales(frames: int) -> np.ndarray:
    """L (frames, frames) of log scales L v as an adjustment expects them of a depth model: near zero, walking."""
    walk = np.diff(np.eye(frames), axis=0)
    return np.linalg.cholesky(np.linalg.inv((np.eye(frames) + walk.T @ walk) / 0.1**2))


def _drawn(
    truth: Reconstruction, depth: np.ndarray, with_prior: bool, rng
) -> tuple[Reconstruction, DepthPriors | None]:
    tracks, frames = truth.tracks, truth.tracks.num_frames
    noisy = replace(tracks, xy=tracks.xy + NOISE_PX * rng.standard_normal(tracks.xy.shape))
    of_track = DEPTH_ERROR * rng.standard_normal(tracks.num_tracks)
    of_frame = _scales(frames) @ rng.standard_normal(frames)
    error = of_track[tracks.track] - of_frame[tracks.frame]
    priors = DepthPriors(depth * np.exp(error), np.full(len(tracks), DEPTH_ERROR))
    return replace(truth, tracks=noisy), priors if with_prior else None


def _charts(points: np.ndarray, truth: Reconstruction) -> np.ndarray:
    """(tracks, 3): across and along the ray of the camera that saw each first."""
    tracks = truth.tracks
    first = tracks.frame[np.searchsorted(tracks.track, np.arange(tracks.num_tracks))]
    seen = truth.cams_from_world[first].apply(points)
    return np.column_stack([seen[:, :2] / seen[:, 2:], np.log(seen[:, 2])])


def _depth_seen_first(scene: Reconstruction) -> np.ndarray:
    tracks = scene.tracks
    first = tracks.frame[np.searchsorted(tracks.track, np.arange(tracks.num_tracks))]
    return np.log(scene.cams_from_world[first].apply(scene.points)[:, 2])


@pytest.mark.parametrize(
    ("motion", "frames", "tracks", "length", "path", "with_prior", "lens"),
    [
        ("handheld", 8, 60, None, 0.003, True, LensUnknowns()),  # held by the prior as much as by parallax
        pytest.param("dolly", 8, 60, None, None, True, LensUnknowns(focal=True), marks=pytest.mark.slow),
        ("orbit", 13, 150, 6, None, False, LensUnknowns()),  # a band, and a path that drifts
    ],
)
def test_solves_scatter_as_much_as_is_told(motion, frames, tracks, length, path, with_prior, lens):
    """200 draws of the noise and of the prior; the standard deviations within 0.8 to 1.25 of theirs."""
    rng = np.random.default_rng(3)
    shot = make_shot(motion, rng=rng, num_frames=frames, num_tracks=tracks, track_length=length, path_over_depth=path)
    twice = shot.tracks.lengths > 1
    truth = replace(
        solve(shot, rng)[0], points=np.where(twice[:, None], shot.points, np.nan), inliers=twice[shot.tracks.track]
    )
    options = BundleAdjustmentOptions(
        reproj_sigma_px=NOISE_PX, depth_weight=float(with_prior), lens=lens, cost_tolerance=1e-7, estimate_sigma=False
    )
    turned = truth.cams_from_world.rotation
    eye = truth.centers_in_world[0]
    known = Posterior(*_drawn(truth, shot.priors.depth, with_prior, rng), options)

    counted = known._counted() @ np.eye(truth.tracks.num_tracks)[known.problem.tracks]
    centers, turns, charts, focals = [], [], [], []
    for _ in range(DRAWS):
        solved, _ = adjust(*_drawn(truth, shot.priors.depth, with_prior, rng), options)
        # of one size: what keeps the mean log depth of the points, each in the camera that saw it first
        change = _depth_seen_first(solved) - _depth_seen_first(truth)
        scale = np.exp(-np.nansum(counted * change) / counted.sum())
        moved = eye + scale * (solved.centers_in_world - eye) - truth.centers_in_world
        centers.append(np.einsum("fij,fj->fi", turned, moved))
        turns.append(rotvec_from_rotation(solved.cams_from_world.rotation @ np.swapaxes(turned, 1, 2)))
        charts.append(_charts(eye + scale * (solved.points - eye), truth) - _charts(truth.points, truth))
        focals.append(np.log(solved.camera.focal_length[0] / truth.camera.focal_length[0]))
    cameras, (along, across) = known.cameras(), known.points()
    there = truth.has_point
    lateral = np.asarray(charts)[:, there, :2]
    widest = np.linalg.eigvalsh(np.einsum("dpi,dpj->pij", lateral, lateral) / DRAWS)[:, 1]
    told = {
        "centers": np.std(centers, axis=0)[1:] / cameras.centers[1:],
        "turns": np.std(turns, axis=0)[1:] / cameras.rotations[1:],
        "along": np.std(charts, axis=0)[there, 2] / along[there],
        "across": np.sqrt(widest) / across[there],
        "focal": np.std(focals) / known.lens().focal if lens.focal else 1.0,
    }
    middle = {name: float(np.median(ratio)) for name, ratio in told.items()}
    assert all(0.8 < ratio < 1.25 for ratio in middle.values()), middle
    # one of many, seen 200 times, may be off by a little more
    assert all(0.75 < np.quantile(ratio, 0.05) and np.quantile(ratio, 0.95) < 1.33 for ratio in told.values()), told
    assert np.isnan(cameras.centers[0]).all() and np.isnan(cameras.rotations[0]).all()
    # the change of the cameras that is known worst is the one they make most
    size = np.linalg.svd(np.reshape(centers, (DRAWS, -1)), compute_uv=False)
    depth = np.nanmedian(truth.points_in_cam()[:, 2])
    weakest = known.weakest()
    assert size[0] / np.sqrt(DRAWS * frames) / depth == pytest.approx(weakest.sigma, rel=0.25)
    assert weakest.sideways + weakest.up + weakest.along == pytest.approx(1.0)


def test_short_tracks_are_known_as_well_either_way(rng, monkeypatch):
    shot = make_shot("handheld", rng=rng, num_frames=40, num_tracks=160, track_length=8, noise_px=0.5, depth_error=0.2)
    truth = replace(solve(shot, rng)[0], inliers=np.ones(len(shot.tracks), bool))
    options, found = BundleAdjustmentOptions(lens=LensUnknowns(focal=True, radial=1)), []
    for pays_below in (0.5, -1.0):
        monkeypatch.setattr("sfm.least_squares.reduced_system._BAND_PAYS_BELOW", pays_below)
        known = Posterior(truth, shot.priors, options)
        cameras = known.cameras()
        found.append([*known.points(), *known.points(0.3), cameras.centers, cameras.rotations, known.lens().radial])
    for band, dense in zip(*found, strict=True):
        np.testing.assert_allclose(band, dense, rtol=1e-6)


def test_draws_scatter_as_the_covariance_says(rng):
    shot = make_shot("handheld", rng=rng, num_frames=6, num_tracks=60, noise_px=NOISE_PX, depth_error=0.1)
    truth = replace(solve(shot, rng)[0], inliers=np.ones(len(shot.tracks), bool))
    known = Posterior(truth, shot.priors, BundleAdjustmentOptions(lens=LensUnknowns(focal=True)))
    drawn = known.draw(800)
    moved = np.array([scene.centers_in_world - truth.centers_in_world for scene in drawn])
    along = np.einsum("fij,dfj->dfi", truth.cams_from_world.rotation, moved)
    np.testing.assert_allclose(along.std(0)[1:], known.cameras().centers[1:], rtol=0.12)
    focal = np.log([scene.camera.focal_length[0] for scene in drawn])
    assert focal.std() == pytest.approx(known.lens().focal, rel=0.12)


@pytest.mark.parametrize("length", [5.0, 11.2, 14.0])
def test_a_camera_that_backs_away_keeps_its_size(length):
    """Points seen first from far behind the first camera: their depth there and their depth in its axes part."""
    rng = np.random.default_rng(1)
    frames, tracks = 40, 400
    centers = np.column_stack([np.zeros((frames, 2)), -np.linspace(0, length, frames)])
    birth = rng.integers(-4, frames - 4, tracks)
    seen = np.arange(frames)[None] - birth[:, None]
    track, frame = np.nonzero((seen >= 0) & (seen < 12))
    points = np.column_stack([rng.uniform(-1, 1, (tracks, 2)), np.ones(tracks)]) * rng.uniform(3, 8, (tracks, 1))
    points += centers[np.clip(birth, 0, None)]
    camera, cams = Camera.from_fov_deg(60, 1920, 1080), Rigid3(np.broadcast_to(np.eye(3), (frames, 3, 3)), -centers)
    xy = camera.img_from_cam(cams[frame].apply(points[track]))
    depth = cams[frame].apply(points[track])[:, 2]
    made = Tracks(frame, track, xy, frames, tracks)
    scene = Reconstruction(
        camera, cams, np.ones(frames, bool), points, np.ones(len(made), bool), made, np.ones(frames),
        np.full(tracks, Support.PRIOR), np.full(tracks, np.nan),
    )  # fmt: skip
    known = Posterior(scene, DepthPriors(depth[np.lexsort((frame, track))], 0.2), BundleAdjustmentOptions())
    assert known.weakest().sigma < 1e-3 and np.nanmax(known.cameras().centers) < 1e-3 * length


def test_points_that_are_held_are_not_asked_for(rng):
    shot = make_shot("dolly", rng=rng, num_frames=6, num_tracks=60, noise_px=NOISE_PX)
    truth = replace(solve(shot, rng)[0], inliers=np.ones(len(shot.tracks), bool))
    known = Posterior(truth, shot.priors, BundleAdjustmentOptions(refine_points=False))
    assert np.isfinite(known.cameras().centers).all() and np.isnan(known.points()[0]).all()
    assert len(known.draw(2)) == 2 and known.weakest().sigma > 0
    without = Posterior(truth, None, BundleAdjustmentOptions(refine_points=False)).cameras().centers
    np.testing.assert_allclose(without, known.cameras().centers, rtol=0.5)


@pytest.mark.parametrize("slow", [0.0, 0.5, 1.0])
def test_errors_that_follow_each_other_count_as_one(slow, rng):
    """White errors and errors that drift by, as those of a tracker: the correlation of neighbours tells of neither."""
    shot = make_shot("pan", rng=rng, num_frames=20, num_tracks=300)
    errors = np.sqrt(slow) * following_errors(shot.tracks, 0.95, 1.0, rng)
    errors += np.sqrt(1 - slow) * rng.standard_normal(errors.shape)
    tracks = replace(shot.tracks, xy=shot.tracks.xy + errors)
    truth = replace(solve(shot, rng, error=0.0)[0], inliers=np.ones(len(tracks), bool), tracks=tracks)
    apart, length = np.arange(1, 20), np.bincount(tracks.track)[:, None]
    pairs = np.maximum(length - apart, 0).sum(0)
    scatter = 1 + 2 * (slow * 0.95**apart * pairs / len(tracks)).sum()  # of a mean of AR(1) and white errors
    assert serial_correlation(truth) == pytest.approx(scatter, rel=0.15)


def test_with_errors_that_follow_each_other_cameras_scatter_less_than_is_told_and_points_as_much():
    """60 draws: what neighbouring cameras have in common falls out of how they differ."""
    rng, draws = np.random.default_rng(3), 60
    shot = make_shot("dolly", rng=rng, num_frames=8, num_tracks=60)
    often = shot.tracks.lengths > 5
    truth = replace(
        solve(shot, rng)[0], points=np.where(often[:, None], shot.points, np.nan), inliers=often[shot.tracks.track]
    )
    options = BundleAdjustmentOptions(
        reproj_sigma_px=NOISE_PX, depth_weight=0.0, cost_tolerance=1e-7, estimate_sigma=False
    )
    turned, eye = truth.cams_from_world.rotation, truth.centers_in_world[0]
    turns, charts, told_turns, told_across = [], [], [], []
    for _ in range(draws):
        xy = shot.tracks.xy + following_errors(shot.tracks, 0.9, NOISE_PX, rng)
        solved, _ = adjust(replace(truth, tracks=replace(shot.tracks, xy=xy)), None, options)
        turns.append(rotvec_from_rotation(solved.cams_from_world.rotation @ np.swapaxes(turned, 1, 2)))
        scale = np.exp(-np.nanmedian(_depth_seen_first(solved) - _depth_seen_first(truth)))
        charts.append(_charts(eye + scale * (solved.points - eye), truth)[often] - _charts(truth.points, truth)[often])
        if len(told_turns) < 10:
            known = Posterior(solved, None, options)
            told_turns.append(known.cameras().rotations[1:])
            told_across.append(known.points()[1][often])
    lateral = np.asarray(charts)[:, :, :2]
    widest = np.sqrt(np.linalg.eigvalsh(np.einsum("dpi,dpj->pij", lateral, lateral) / draws)[:, 1])
    assert 0.3 < np.median(np.std(turns, axis=0)[1:] / np.mean(told_turns, axis=0)) < 1
    assert 0.7 < np.median(widest / np.mean(told_across, axis=0)) < 1.5


def test_chance_and_a_liar_do_not_make_errors_follow_each_other(rng):
    shot = make_shot("pan", rng=rng, num_frames=20, num_tracks=60)
    exact = replace(solve(shot, rng, error=0.0)[0], inliers=np.ones(len(shot.tracks), bool))
    liar = np.where(shot.tracks.track == 7, 100.0, 0.0)[:, None]
    told = []
    for _ in range(8):
        xy = shot.tracks.xy + rng.standard_normal(shot.tracks.xy.shape)
        told += [serial_correlation(replace(exact, tracks=replace(shot.tracks, xy=xy + off))) for off in (0.0, liar)]
    assert np.median(told[::2]) == 1.0 and max(told[::2]) < 1.3
    assert max(told[1::2]) < 5, "100 px of a single track would make it 20"


def test_what_is_believed_of_an_outlier_does_not_depend_on_how_errors_follow_each_other(rng):
    """Of a camera that the tracks alone measure all deviations are twice as large, at four times the variance."""
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=80, noise_px=NOISE_PX)
    wild = 20 * rng.standard_normal(shot.tracks.xy.shape) * (rng.random(len(shot.tracks)) < 0.2)[:, None]
    tracks = replace(shot.tracks, xy=shot.tracks.xy + wild)
    truth = replace(solve(shot, rng, error=0.0)[0], inliers=np.ones(len(tracks), bool), tracks=tracks)
    options = BundleAdjustmentOptions(reproj_sigma_px=NOISE_PX)
    once, four = (Posterior(truth, None, options, inflation).cameras() for inflation in (1.0, 4.0))
    np.testing.assert_allclose(four.rotations[1:], 2 * once.rotations[1:], rtol=1e-6)
    np.testing.assert_allclose(four.centers[1:], 2 * once.centers[1:], rtol=1e-6)


def test_errors_that_follow_each_other_widen_the_tracks_alone(rng):
    """What is known beforehand of depth and lens was not measured again and again."""
    shot = make_shot("pan", rng=rng, num_frames=20, num_tracks=150)
    tracks = replace(shot.tracks, xy=shot.tracks.xy + following_errors(shot.tracks, 0.9, 0.3, rng))
    truth = replace(solve(shot, rng, error=0.0)[0], inliers=np.ones(len(tracks), bool), tracks=tracks)
    priors = replace(shot.priors, sigma=np.full(len(tracks), 0.2))
    lens = LensUnknowns(focal=True, focal_sigma=1e-4)
    options = BundleAdjustmentOptions(reproj_sigma_px=0.3, refine_translation=False, lens=lens)
    solved, _ = adjust(truth, priors, options)
    known, alone = Posterior(solved, priors, options), Posterior(solved, priors, options, inflation=1.0)

    turns = known.cameras().rotations[1:], alone.cameras().rotations[1:]
    assert 1.5 < np.median(turns[0] / turns[1]) < 4
    along, _ = known.points()
    np.testing.assert_allclose(along[np.isfinite(along)], 0.2, rtol=0.1)
    assert known.lens().focal <= 1e-4


@pytest.mark.parametrize("with_prior", [False, True])
def test_a_camera_that_nothing_measures_is_told_apart(rng, with_prior):
    """Two points leave a camera open, not the others."""
    shot = make_shot("dolly", rng=rng, num_frames=8, num_tracks=80, noise_px=NOISE_PX)
    inliers = np.ones(len(shot.tracks), bool)
    inliers[np.flatnonzero(shot.tracks.frame == 5)[2:]] = False
    scene = replace(solve(shot, rng)[0], inliers=inliers)
    options = BundleAdjustmentOptions(reproj_sigma_px=NOISE_PX)
    known = Posterior(scene, shot.priors if with_prior else None, options)

    centers, rotations = known.cameras().centers[1:], known.cameras().rotations[1:]
    assert (centers[4] > 10).all() and (rotations[4] > 1.0).all()
    assert np.delete(centers, 4, axis=0).max() < 0.01 and np.delete(rotations, 4, axis=0).max() < 0.01
    assert likely_slide_px(known) > 100 and known.weakest().sigma > 1


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_camera_that_turns_knows_depth_from_the_prior_alone(rng, weight):
    shot = make_shot("pan", rng=rng, num_frames=8, num_tracks=80, noise_px=NOISE_PX)
    truth = replace(solve(shot, rng)[0], inliers=np.ones(len(shot.tracks), bool))
    priors = replace(shot.priors, sigma=np.full(len(shot.tracks), 0.2))
    options = BundleAdjustmentOptions(reproj_sigma_px=NOISE_PX, depth_weight=weight, refine_translation=False)
    known = Posterior(truth, priors, options)

    cameras, (along, across) = known.cameras(), known.points()
    seen = truth.has_point
    if weight:
        np.testing.assert_allclose(along[seen], 0.2, rtol=0.1)
    else:
        assert np.isinf(along[seen]).all()
    focal = shot.camera.focal_length[0]
    assert 0.2 * NOISE_PX / focal < np.median(across[seen]) < 3 * NOISE_PX / focal
    assert np.isnan(cameras.centers).all() and np.isfinite(cameras.rotations[1:]).all()
    assert np.isnan(known.weakest().sigma)


def test_a_solve_tells_what_it_leaves_open(rng):
    shot = make_shot("dolly", rng=rng, num_frames=10, num_tracks=100, noise_px=NOISE_PX, depth_unit=0.25)
    solved, report = reconstruct_tracks(shot.tracks, shot.priors, shot.camera)
    assert np.isnan(solved.center_sigma[0]).all() and np.isnan(solved.rotation_sigma[0]).all()
    off = np.linalg.norm(solved.centers_in_world[1:] - 4 * shot.cams_from_world.centers_in_world[1:], axis=1)
    told = np.linalg.norm(solved.center_sigma[1:], axis=1)
    assert 0.3 < np.median(off / told) < 3  # in the prior's unit, as the path is
    focal = shot.camera.focal_length[0]
    assert 0.05 * NOISE_PX / focal < np.median(solved.rotation_sigma[1:]) < NOISE_PX / focal
    known = solved.has_point
    assert (solved.point_sigma_across[known] < solved.point_sigma[known]).all()
    assert np.isnan(solved.point_sigma_across[~known]).all()
    assert 0 < report.weakest.sigma < 0.01 and np.isnan(report.zoom_sigma).all()


def test_each_frame_of_a_zoom_has_a_sigma(rng):
    shot = make_shot("zoom", rng=rng, num_frames=10, num_tracks=100, noise_px=NOISE_PX, depth_error=0.1)
    truth = replace(solve(shot, rng)[0], inliers=np.ones(len(shot.tracks), bool))
    options = BundleAdjustmentOptions(reproj_sigma_px=NOISE_PX, lens=LensUnknowns(zoom=True), refine_translation=False)
    sigma = Posterior(truth, shot.priors, options).cameras().zoom
    assert np.isnan(sigma[0]) and (sigma[1:] > 1e-6).all() and (sigma[1:] < 1e-2).all()


def _wobbled(tracks: Tracks, camera: Camera, rng) -> np.ndarray:
    """Each frame stretched in height by itself, as a rolling shutter leaves them that a stabiliser worked on."""
    stretch = 1.5 * rng.standard_normal(tracks.num_frames)[tracks.frame]
    return np.column_stack([np.zeros(len(tracks)), stretch * (tracks.xy[:, 1] / camera.height - 0.5)])


def _bent(tracks: Tracks, camera: Camera, rng) -> np.ndarray:
    """A lens that bends as no coefficient of ours does."""
    x, y = 2 * np.pi * (tracks.xy / [camera.width, camera.height]).T
    waves = np.stack([f(k * x + m * y) for f in (np.sin, np.cos) for k in range(4) for m in range(4)], axis=1)
    return waves @ rng.standard_normal((waves.shape[1], 2)) * 0.6


@pytest.mark.parametrize(("error", "hidden"), [(None, False), (_wobbled, True), (_bent, True)])
def test_parts_of_a_shot_tell_of_errors_they_have_in_common(error, hidden):
    """Told by parts within 0.5 to 2 of how far focal lengths scatter; by noise alone too little where it is not."""
    rng = np.random.default_rng(5)
    shot = make_shot("dolly", rng=rng, num_frames=10, num_tracks=100)
    truth = replace(solve(shot, rng)[0], inliers=np.ones(len(shot.tracks), bool))
    options = BundleAdjustmentOptions(
        reproj_sigma_px=NOISE_PX, reproj_loss="squared", depth_weight=0.0, lens=LensUnknowns(focal=True),
        estimate_sigma=False,
    )  # fmt: skip
    focals, by_noise, by_parts = [], [], []
    for _ in range(20):
        scene, _ = _drawn(truth, shot.priors.depth, False, rng)
        if error is not None:
            moved = scene.tracks.xy + error(scene.tracks, scene.camera, rng)
            scene = replace(scene, tracks=replace(scene.tracks, xy=moved))
        solved, _ = adjust(scene, None, options)
        known = Posterior(solved, None, options)
        focals.append(np.log(solved.camera.focal_length[0]))
        by_noise.append(known.lens().focal)
        by_parts.append(known.lens_by_parts().focal)
    told, by_parts = np.std(focals) / np.median(by_noise), np.std(focals) / np.median(by_parts)
    assert (told > 2) == hidden
    assert 0.5 < by_parts < 2


def test_two_kinds_of_clusters_count_what_they_share_once():
    """By hand: of frames 0 0 1 1 and regions 0 1 0 1, sums 3 7, 4 6 and each by itself."""
    moves = np.array([1.0, 2.0, 3.0, 4.0])
    frames, regions = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    expected = 2 * (9 + 49) + 2 * (16 + 36) - 4 / 3 * (1 + 4 + 9 + 16)
    assert between_clusters(moves, frames, regions) == pytest.approx(expected)
    # nested clusters are the larger ones
    assert between_clusters(moves, frames, np.arange(4)) == pytest.approx(2 * (9 + 49))
