"""Measured points and distances: right derivatives, no argument with the gauge, a shot that comes out as surveyed."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from solved import solve

from sfm.bundle_adjustment import BundleAdjustmentOptions, LensUnknowns, Posterior, adjust
from sfm.bundle_adjustment.problem import ShotProblem
from sfm.geometry import Sim3
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.survey import Survey, in_survey
from sfm.synthetic import make_shot

SET = Sim3(np.array(0.4), Rotation.from_rotvec([0.2, -0.9, 1.4]).as_matrix(), np.array([3.0, -7.0, 20.0]))


def spread_tracks(truth, count, rng):
    """Tracks that are always seen, spread over the set."""
    always = np.flatnonzero(truth.tracks.lengths == truth.tracks.num_frames)
    return rng.choice(always, count, replace=False)


def surveyed(truth, rng, points=0, distances=0, sigma=0.01, noise=1.0):
    """Positions in the world of `SET` and lengths in its unit, as far off as they say; noise 0: exact."""
    tracks, pairs = spread_tracks(truth, points, rng), spread_tracks(truth, 2 * distances, rng).reshape(-1, 2)
    at = SET.apply(truth.points)
    lengths = np.linalg.norm(at[pairs[:, 0]] - at[pairs[:, 1]], axis=1)
    return Survey(
        tracks, at[tracks] + noise * sigma * rng.standard_normal((points, 3)), np.full(points, sigma),
        pairs, lengths + noise * sigma * rng.standard_normal(distances), np.full(distances, sigma),
    )  # fmt: skip


@pytest.mark.parametrize(("points", "distances"), [(5, 0), (4, 3), (3, 1), (2, 2), (1, 1), (0, 4)])
def test_derivatives_with_the_similarity_following(rng, points, distances):
    """Exact to first order where the residuals are small (Kaufman); and nothing is left that a similarity mends."""
    truth = make_shot("handheld", rng=rng)
    survey = surveyed(truth, rng, points, distances, noise=0.0)
    at = truth.points[survey.touched]
    residuals, J = survey.residuals(at)
    np.testing.assert_allclose(residuals, 0, atol=1e-6)
    h = 1e-5
    for k in range(len(at)):
        for axis in range(3):
            step = np.zeros_like(at)
            step[k, axis] = h
            numeric = (survey.residuals(at + step)[0] - survey.residuals(at - step)[0]) / (2 * h)
            np.testing.assert_allclose(J[:, k, axis], numeric, atol=2e-4 * max(np.abs(J).max(), 1))
    larger = at - at.mean(axis=0)
    turned = np.cross([0.3, 0.5, -0.2], larger)
    for change in (larger, turned, np.ones_like(at)):
        assert (
            np.abs(np.einsum("mtc,tc->m", J, change)).max() < 1e-6 * max(np.abs(J).max(), 1) * np.abs(change).max() * 30
        )


@pytest.mark.parametrize("points", [3, 6])
def test_the_similarity_is_the_sets(rng, points):
    truth = make_shot("handheld", rng=rng)
    survey = surveyed(truth, rng, points, noise=0.0)
    found = survey.from_world(truth.points[survey.touched])
    np.testing.assert_allclose(found.apply(truth.points), SET.apply(truth.points), atol=1e-6)
    # a scene that is not the survey's but for a similarity: the best one in the sense of the sigmas
    bent = truth.points[survey.touched] + 0.1 * rng.standard_normal((points, 3))
    best = np.square(survey.residuals(bent)[0]).sum()
    joined = survey.from_world(bent)
    for _ in range(20):
        near = Sim3(np.exp(0.01 * rng.standard_normal()), rotation_from_rotvec(0.01 * rng.standard_normal(3)),
                    0.01 * rng.standard_normal(3)) @ joined  # fmt: skip
        off = (near.apply(bent) - survey.positions[np.argsort(survey.tracks)]) / 0.01
        assert np.square(off).sum() > best


@pytest.mark.parametrize("points", [1, 2])
def test_what_few_points_leave_open_stays(rng, points):
    truth = make_shot("handheld", rng=rng)
    survey = surveyed(truth, rng, points, noise=0.0)
    found = survey.from_world(truth.points[survey.touched])
    moved = found.apply(truth.points[survey.tracks])
    np.testing.assert_allclose(moved, survey.positions, atol=1e-6)
    if points == 1:
        np.testing.assert_allclose(found.rotation, np.eye(3), atol=1e-12)
        assert found.scale == pytest.approx(1.0)
    else:
        assert found.scale == pytest.approx(0.4)
        # no turn about the line of the two beyond what takes one to the other
        line = truth.points[survey.tracks[1]] - truth.points[survey.tracks[0]]
        assert abs(Rotation.from_matrix(found.rotation).as_rotvec() @ line) < 1e-6


def test_ties_of_a_shot_against_central_differences(rng):
    truth = make_shot("handheld", rng=rng, num_frames=8, num_tracks=40, noise_px=0.3, depth_error=0.1)
    scene, _ = solve(truth, rng, error=0.01)
    survey = surveyed(truth, rng, 4, 3)
    options = BundleAdjustmentOptions(survey=survey, lens=LensUnknowns(focal=True))
    problem = ShotProblem(scene, truth.priors, options)
    x = problem.start() + 1e-3 * rng.standard_normal(len(problem.start()))
    ties, first = problem.at(x).ties(), problem.num_kept * problem.kept_size + problem.num_shared
    assert (np.diff(ties.blocks) > 0).all() and len(ties.residuals) == 4 * 3 + 3
    J, h = ties.sparse(first, len(x)).toarray(), 1e-6
    # the residuals are far from zero here, so that Kaufman's Jacobian is not the whole: its products with them are
    gradient = np.array([
        (np.square(problem.at(x + d).ties().residuals).sum() - np.square(problem.at(x - d).ties().residuals).sum())
        / (4 * h) for d in h * np.eye(len(x))[first:]
    ])  # fmt: skip
    np.testing.assert_allclose((J.T @ ties.residuals)[first:], gradient, rtol=1e-4, atol=1e-4 * np.abs(gradient).max())
    assert not J[:, :first].any()


def five_per_cent_off(rng, noise_px=0.3):
    """A shot of small parallax whose far half lies 5 % deeper than the set's, in the scene and in the prior."""
    truth = make_shot("handheld", rng=rng, noise_px=noise_px, path_over_depth=0.02)
    cam = truth.cams_from_world[0]
    in_cam = cam.apply(truth.points)
    bent = np.where(in_cam[:, 2:] > np.median(in_cam[:, 2]), 1.05, 1.0)
    priors = dataclasses.replace(truth.priors, depth=truth.priors.depth * bent[truth.tracks.track, 0])
    scene, _ = solve(truth, rng)
    points = cam.inverse().apply(in_cam * bent)
    return truth, dataclasses.replace(scene, points=points, inliers=np.ones(len(truth.tracks), bool)), priors


@pytest.mark.parametrize("with_depth", [True, False])
@pytest.mark.parametrize("kind", ["points", "distances", "both"])
def test_a_shot_five_per_cent_off_becomes_right(rng, kind, with_depth):
    """Within what the survey says of itself; the pictures are explained as well as before; others follow a little."""
    truth, scene, priors = five_per_cent_off(rng)
    plain = BundleAdjustmentOptions(reproj_sigma_px=0.3, estimate_sigma=False, max_iterations=100)
    priors = priors if with_depth else None
    before, _ = adjust(scene, priors, plain)
    sigma = 0.004  # of distances of 0.5 to 5
    survey = surveyed(truth, rng, 0 if kind == "distances" else 10, 0 if kind == "points" else 10, sigma)
    after, report = adjust(before, priors, dataclasses.replace(plain, survey=survey))
    assert report.settled
    off_before, off_after = (np.concatenate(survey.disagreement(one)) for one in (before, after))
    rms_before, rms_after = (np.sqrt(np.square(off).mean()) for off in (off_before, off_after))
    assert rms_before > 1.25 and rms_after < min(1.1, 0.8 * rms_before)
    placed, at = in_survey(after, survey), SET.apply(truth.points)
    errors = (placed.points - at)[survey.tracks].ravel()
    one, two = survey.pairs.T
    lengths, true_lengths = (np.linalg.norm(p[one] - p[two], axis=1) for p in (placed.points, at))
    errors = np.r_[errors, lengths - true_lengths] / sigma
    assert 0.2 < np.sqrt(np.square(errors).mean()) < 1.5
    assert abs(after.rms_px() / before.rms_px() - 1) < 0.01


def test_exact_tracks_and_an_exact_survey_give_the_exact_set(rng):
    truth, scene, _ = five_per_cent_off(rng, noise_px=0.0)
    survey = surveyed(truth, rng, 6, 3, noise=0.0)
    options = BundleAdjustmentOptions(reproj_sigma_px=0.3, survey=survey, max_iterations=200, cost_tolerance=1e-14)
    placed = in_survey(adjust(scene, None, options)[0], survey)
    seen = truth.tracks.lengths > 1
    np.testing.assert_allclose(placed.points[seen], SET.apply(truth.points)[seen], atol=1e-6)
    np.testing.assert_allclose(placed.centers_in_world, SET.apply(truth.cams_from_world.centers_in_world), atol=1e-6)


def test_one_distance_gives_the_size_and_changes_nothing_else(rng):
    """However strongly the frames' scales are held to the prior's."""
    truth = make_shot("handheld", rng=rng, noise_px=0.3, depth_error=0.05)
    scene, _ = solve(truth, rng)
    survey = surveyed(truth, rng, 0, 1, sigma=1e-4)
    options = BundleAdjustmentOptions(reproj_sigma_px=0.3, frame_scale_sigma=0.01)
    plain, held = (adjust(scene, truth.priors, dataclasses.replace(options, survey=one))[0] for one in (None, survey))
    np.testing.assert_allclose(held.points, plain.points, rtol=1e-6, atol=1e-8)
    placed = in_survey(held, survey)
    length = np.linalg.norm(placed.points[survey.pairs[0, 0]] - placed.points[survey.pairs[0, 1]])
    assert length == pytest.approx(survey.lengths[0])
    factor = np.nanmedian(placed.depth_scale / held.depth_scale)
    np.testing.assert_allclose(placed.centers_in_world, factor * held.centers_in_world, atol=1e-9)


def test_the_fast_solver_finds_scipys_minimum(rng):
    truth = make_shot("handheld", rng=rng, num_frames=5, num_tracks=16, noise_px=0.3, depth_error=0.1)
    scene, _ = solve(truth, rng, error=0.005)
    options = BundleAdjustmentOptions(
        reproj_sigma_px=0.3, survey=surveyed(truth, rng, 4, 4), max_iterations=20, cost_tolerance=1e-9
    )
    fast, report = adjust(scene, truth.priors, options)
    slow, reference = adjust(scene, truth.priors, dataclasses.replace(options, solver="scipy"))
    assert report.cost == pytest.approx(reference.cost, rel=1e-5)
    np.testing.assert_allclose(fast.points, slow.points, atol=2e-3)


def test_uncertainty_is_told_without_the_survey(rng):
    truth, scene, _ = five_per_cent_off(rng)
    options = BundleAdjustmentOptions(reproj_sigma_px=0.3, survey=surveyed(truth, rng, 6, 2))
    with_survey, without = (Posterior(scene, None, o) for o in (options, dataclasses.replace(options, survey=None)))
    np.testing.assert_array_equal(with_survey.cameras().centers, without.cameras().centers)


def test_points_without_a_track_are_left_out(rng):
    truth = make_shot("handheld", rng=rng)
    scene, _ = solve(truth, rng)
    survey = surveyed(truth, rng, 5, 2)
    points = scene.points.copy()
    points[survey.tracks[1]] = np.nan
    scene = dataclasses.replace(scene, points=points)
    assert len(survey.among(scene.has_point).tracks) == 4
    off, lengths = survey.disagreement(scene)
    assert np.isnan(off[1]) and np.isfinite(np.delete(off, 1)).all() and np.isfinite(lengths).all()
    with pytest.raises(ValueError, match="sigma: got"):
        dataclasses.replace(survey, sigma=np.zeros(5))
    with pytest.raises(ValueError, match="two tracks"):
        dataclasses.replace(survey, pairs=np.full((2, 2), 3))
