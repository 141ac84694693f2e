"""The adjustment of a shot: its Jacobians, its gauge, its minimum, and what it does to a shot that is a little off."""

from dataclasses import fields, replace

import numpy as np
import pytest
from solved import solve

from sfm.bundle_adjustment import BundleAdjustmentOptions, LensUnknowns, ShotProblem, adjust
from sfm.errors import NoSolutionError
from sfm.geometry import Rigid3, Sim3
from sfm.geometry.rotation import rotation_angle, rotvec_from_rotation
from sfm.least_squares import Status, robust_cost, sparse_jacobian
from sfm.least_squares.coupling import couplings
from sfm.least_squares.normal_equations import NormalEquations
from sfm.least_squares.schur import _Place, _stepped
from sfm.least_squares.scipy_reference import _robustify
from sfm.residuals import MIN_DEPTH, log_depth, reprojection
from sfm.scene import DepthPriors, Reconstruction
from sfm.synthetic import SyntheticShot, make_shot


def _near(shot: SyntheticShot, rng, off: float = 1.0) -> Reconstruction:
    """The truth with cameras some mrad and cm and points some per cent off, the first camera where it is."""
    frames, points = shot.tracks.num_frames, shot.tracks.num_tracks
    turn, move = 2e-3 * off * rng.standard_normal((frames, 3)), 0.01 * off * rng.standard_normal((frames, 3))
    turn[0], move[0] = 0, 0
    cams = Rigid3.from_rotvec(turn, move) @ shot.cams_from_world
    depth = shot.points * np.exp(0.1 * off * rng.standard_normal((points, 1)))
    seen = shot.tracks.lengths > 0
    return Reconstruction(
        shot.camera, cams, np.ones(frames, bool), np.where(seen[:, None], depth, np.nan),
        np.ones(len(shot.tracks), bool), shot.tracks, np.exp(0.02 * off * rng.standard_normal(frames)),
        np.zeros(points), np.full(points, np.nan),
    )  # fmt: skip


def _same_arrays(one: Reconstruction, two: Reconstruction) -> None:
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)


# residuals beside their Jacobians


def test_reprojection_against_differences(rng):
    points = rng.uniform(-2, 2, (3, 50)) + np.array([[0], [0], [6]])
    focal, center, xy = rng.uniform(500, 2000, (2, 50)), rng.uniform(300, 900, (2, 50)), rng.uniform(0, 1000, (2, 50))
    r, by_point, by_focal = reprojection(points, focal, center, xy)
    np.testing.assert_allclose(r, points[:2] / points[2] * focal + center - xy)
    h = 1e-6
    for axis in range(3):
        step = h * np.eye(3)[:, axis : axis + 1]
        change = reprojection(points + step, focal, center, xy)[0] - reprojection(points - step, focal, center, xy)[0]
        np.testing.assert_allclose(by_point[:, axis], change / (2 * h), rtol=1e-6, atol=1e-4)
    change = (
        reprojection(points, focal * np.exp(h), center, xy)[0] - reprojection(points, focal * np.exp(-h), center, xy)[0]
    )
    np.testing.assert_allclose(by_focal, change / (2 * h), rtol=1e-6, atol=1e-4)


def test_log_depth_against_differences(rng):
    points = rng.uniform(1, 9, (3, 50))
    scale, prior, h = rng.standard_normal(50), rng.standard_normal(50), 1e-6
    r, by_z = log_depth(points, scale, prior)
    np.testing.assert_allclose(r, np.log(points[2]) - scale - prior)
    step = np.array([[0.0], [0.0], [h]])
    change = log_depth(points + step, scale, prior)[0] - log_depth(points - step, scale, prior)[0]
    np.testing.assert_allclose(by_z, change / (2 * h), rtol=1e-6)
    change = log_depth(points, scale + h, prior)[0] - log_depth(points, scale - h, prior)[0]
    np.testing.assert_allclose(change / (2 * h), -1, rtol=1e-6)


def test_a_point_behind_the_camera_gives_large_but_finite_residuals():
    behind = np.array([[0.1], [0.1], [-3.0]])
    r, by_point, _ = reprojection(behind, np.ones(2), np.zeros(2), np.zeros((2, 1)))
    assert np.isfinite(r).all()
    assert np.abs(r).min() >= 0.1 / MIN_DEPTH * 0.99
    assert (by_point[:, 2] == 0).all()
    assert np.isfinite(log_depth(behind, np.zeros(1), np.zeros(1))[0]).all()


# the Jacobian of the whole problem

LAYOUTS = [
    {},
    {"depth_weight": 0.0},
    {"lens": LensUnknowns(focal=True)},
    {"lens": LensUnknowns(focal=True), "depth_weight": 0.0},
    {"lens": LensUnknowns(zoom=True)},
    {"lens": LensUnknowns(zoom=True), "depth_weight": 0.0},
    {"lens": LensUnknowns(focal=True, zoom=True)},
    {"track_weight": True},
    {"track_weight": True, "lens": LensUnknowns(focal=True), "depth_weight": 0.0},
    {"refine_translation": False, "lens": LensUnknowns(zoom=True)},
    {"refine_cameras": False},
    {"whitening": True, "lens": LensUnknowns(focal=True, zoom=True)},
    {"whitening": True, "lens": LensUnknowns(focal=True, radial=2)},
    {"lens": LensUnknowns(principal_point=True, principal_prior_px=(300.0, 200.0))},
    {"whitening": True, "lens": LensUnknowns(focal=True, zoom=True, principal_point=True, radial=1)},
]


@pytest.mark.parametrize("loss", ["squared", "huber", "soft_l1", "cauchy"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda v: "-".join(v) or "default")
def test_the_jacobian_against_differences(rng, layout, loss):
    """Away from the start, so that rotations are not small and no term is zero; half of the priors unknown."""
    problem, x = _somewhere(rng, layout, loss, unknown=0.0 if loss == "soft_l1" else 0.5)
    _jacobian_is_right(problem, x)


# soft_l1 of a residual of exactly 0; no points to refine
@pytest.mark.parametrize(
    ("layout", "loss", "unknown"),
    [
        ({}, "soft_l1", 0.5),
        ({"refine_points": False}, "cauchy", 0.5),
    ],
)
def test_the_jacobian_in_odd_corners(rng, layout, loss, unknown):
    _jacobian_is_right(*_somewhere(rng, layout, loss, unknown))


def _somewhere(rng, layout: dict, loss: str, unknown: float) -> tuple[ShotProblem, np.ndarray]:
    shot = make_shot("handheld", rng=rng, num_frames=5, num_tracks=14, noise_px=0.5, depth_error=0.3, outlier_ratio=0.1)
    priors = DepthPriors(np.where(rng.random(len(shot.tracks)) < unknown, np.nan, shot.priors.depth), shot.priors.sigma)
    layout = dict(layout)
    if layout.pop("track_weight", False):
        layout["track_weight"] = rng.uniform(0.1, 1, 14)
    if layout.pop("whitening", False):
        shot = replace(shot, tracks=replace(shot.tracks, whitening=_whitening(rng, 14)[1]))
    options = BundleAdjustmentOptions(reproj_sigma_px=0.7, reproj_loss=loss, depth_loss=loss, **layout)
    problem = ShotProblem(_near(shot, rng), priors, options)
    x = problem.start()
    return problem, x + 0.05 * rng.standard_normal(len(x))


def _whitening(rng, tracks: int, precision: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """A random direction (tracks, 2) in which each track is less precise, and the matrices that say so."""
    angle = rng.uniform(0, np.pi, tracks)
    weak = np.column_stack([np.cos(angle), np.sin(angle)])
    return weak, np.eye(2) - (1 - precision) * weak[:, :, None] * weak[:, None]


def _jacobian_is_right(problem: ShotProblem, x: np.ndarray) -> None:
    def residuals(x):
        at = problem.at(x)
        return np.r_[_robustify(problem, at.residuals(slice(None)))[0].ravel(), at.prior()[0]]

    analytic, h = sparse_jacobian(problem, x).toarray(), 1e-6
    assert analytic.shape == (len(residuals(x)), len(x))
    for column in range(len(x)):
        step = h * np.eye(len(x))[column]
        numeric = (residuals(x + step) - residuals(x - step)) / (2 * h)
        error = np.abs(numeric - analytic[:, column]).max() / max(1.0, np.abs(numeric).max())
        assert error < 2e-6, column
    r = residuals(x)
    assert 0.5 * r @ r == pytest.approx(robust_cost(problem, x), rel=1e-10)


@pytest.mark.parametrize("loss", ["squared", "huber", "soft_l1", "cauchy"])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"refine_points": False},
        {"refine_points": False, "lens": LensUnknowns(focal=True)},
        {"refine_points": False, "depth_weight": 0.0, "lens": LensUnknowns(zoom=True)},
    ],
    ids=lambda v: "-".join(v) or "default",
)
def test_the_gradient_against_differences_of_the_cost(rng, layout, loss):
    """The right-hand side of the normal equations, whatever loss; it is also all there is when points are held."""
    problem, x = _somewhere(rng, layout, loss, 0.5)
    system = NormalEquations(problem, x)
    gradient = -np.concatenate([system.g, *(part.g.T.ravel() for part in system.parts)])
    assert len(gradient) == len(x)
    for column in range(len(x)):
        h = 1e-6 * np.eye(len(x))[column]
        numeric = (robust_cost(problem, x + h) - robust_cost(problem, x - h)) / 2e-6
        assert gradient[column] == pytest.approx(numeric, rel=1e-4, abs=1e-3), column


def test_slices_of_the_observations_are_the_whole(rng):
    shot = make_shot("orbit", rng=rng, num_frames=6, num_tracks=20, noise_px=0.5, depth_error=0.2)
    problem = ShotProblem(
        _near(shot, rng), shot.priors, BundleAdjustmentOptions(lens=LensUnknowns(focal=True, zoom=True))
    )
    at = problem.at(problem.start())
    whole, n = at.linearize(slice(None)), len(problem.kept_index)
    parts = [at.linearize(slice(a, min(a + 17, n))) for a in range(0, n, 17)]
    for name in ("residuals", "kept", "eliminated", "shared"):
        joined = np.concatenate([getattr(p, name) for p in parts], axis=-1)
        np.testing.assert_allclose(joined, getattr(whole, name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lens", [LensUnknowns(), LensUnknowns(focal=True, zoom=True, principal_point=True, radial=1)])
@pytest.mark.parametrize("cameras", [True, False])
def test_short_tracks_make_a_band_and_the_same_step(rng, monkeypatch, lens, cameras):
    shot = make_shot("handheld", rng=rng, num_frames=40, num_tracks=110, track_length=8, noise_px=0.5, depth_error=0.2)
    options = BundleAdjustmentOptions(lens=lens, refine_cameras=cameras)
    problem, found = ShotProblem(_near(shot, rng), shot.priors, options), []
    for pays_below in (0.5, -1.0):
        monkeypatch.setattr("sfm.least_squares.reduced_system._BAND_PAYS_BELOW", pays_below)
        system = NormalEquations(problem, problem.start())
        assert (type(system.U.inner).__name__ == "_Band") == (pays_below > 0)
        covariance = system.covariance()
        assert covariance is not None
        near = covariance.times(48, np.eye(7 * problem.kept_size + problem.num_shared))
        found.append((system.solve(1e-3), near, covariance.blocks(problem.kept_size)))
    (step, gain), *covariances = found[0]
    assert gain > 0
    np.testing.assert_allclose(step, found[1][0][0], rtol=1e-6, atol=1e-9 * np.abs(step).max())
    assert gain == pytest.approx(found[1][0][1])
    for near, dense in zip(covariances, found[1][1:], strict=True):
        np.testing.assert_allclose(near, dense, rtol=1e-6, atol=1e-9 * np.abs(dense).max())


def test_a_wild_point_holds_up_no_other(rng):
    """A step to the truth, but for one point that it takes far past it: that one takes less of it, the others all."""
    shot = make_shot("dolly", rng=rng, num_frames=6, num_tracks=40)
    problem = ShotProblem(_near(shot, rng, 0.2), None, BundleAdjustmentOptions())
    goal = ShotProblem(_near(shot, rng, 0.0), None, BundleAdjustmentOptions())
    x = problem.start()
    first = len(x) - 3 * problem.num_eliminated
    points = np.einsum("pij,pj->pi", problem.anchor_R, goal.points0) + problem.anchor_t
    step = goal.start() - x
    turn = rotvec_from_rotation(goal.R0 @ np.swapaxes(problem.R0, 1, 2))
    step[:first].reshape(problem.num_kept, -1)[:, :3] = turn
    chart = np.column_stack([points[:, :2] / points[:, 2:], 1 - problem.depth0 / points[:, 2]])
    step[first:] = (chart - problem.chart0).ravel()
    wild = slice(first + 3 * 7, first + 3 * 8)
    step[wild] *= 100
    there, parts = _stepped(problem, _Place.at(problem, x), step, enough=0.0)
    expected = np.ones(problem.num_eliminated)
    expected[7] = 1 / 16
    np.testing.assert_array_equal(parts, expected)
    np.testing.assert_allclose(
        there.x - x, np.r_[step[:first], (expected[:, None] * step[first:].reshape(-1, 3)).ravel()], atol=1e-12
    )
    assert there.cost == pytest.approx(robust_cost(problem, there.x))
    assert there.cost < 0.05 * robust_cost(problem, x) < robust_cost(problem, x + step)


def test_a_lens_parameter_is_drawn_to_what_was_told(rng):
    """Its prior at the start is how far the start is off, over its sigma."""
    shot = make_shot("orbit", rng=rng, num_frames=5, num_tracks=20)
    shift = np.array([20.0, -10.0])
    told = tuple((shot.camera.principal_point - shift).tolist())
    lens = LensUnknowns(focal=True, focal_prior_px=0.9 * shot.camera.focal_length[0], principal_point=True,
                        principal_prior_px=told, principal_sigma=0.01)  # fmt: skip
    problem = ShotProblem(_near(shot, rng), None, BundleAdjustmentOptions(lens=lens))
    expected = [np.log(1 / 0.9) / lens.focal_sigma, *(shift / 19.2)]
    np.testing.assert_allclose(problem.at(problem.start()).prior()[0], expected)


# the minimum


@pytest.mark.parametrize("depth_weight", [1.0, 0.0])
@pytest.mark.parametrize("refine_focal", [False, True])
def test_both_solvers_reach_the_same_cost(rng, depth_weight, refine_focal):
    shot = make_shot(
        "handheld", rng=rng, num_frames=5, num_tracks=20, noise_px=0.4, outlier_ratio=0.03, depth_error=0.1
    )
    start = _near(shot, rng, 0.1)
    # one sighting leaves the depth of a point open, and SciPy stalls on that
    start = replace(start, inliers=shot.tracks.lengths[shot.tracks.track] >= 3)
    options = BundleAdjustmentOptions(
        reproj_sigma_px=0.4,
        depth_weight=depth_weight,
        lens=LensUnknowns(focal=refine_focal),
        cost_tolerance=1e-10,
        max_iterations=100,
    )
    _, own = adjust(start, shot.priors, options)
    _, reference = adjust(start, shot.priors, replace(options, solver="scipy"))
    assert own.initial_cost == pytest.approx(reference.initial_cost, rel=1e-12)
    assert own.cost == pytest.approx(reference.cost, rel=1e-5)
    assert own.cost < 0.7 * own.initial_cost


def test_both_solvers_manage_a_point_seen_once(rng):
    shot = make_shot("orbit", rng=rng, num_frames=6, num_tracks=40, noise_px=0.4, depth_error=0.1)
    assert (shot.tracks.lengths == 1).any()
    start, options = _near(shot, rng, 0.03), BundleAdjustmentOptions(reproj_sigma_px=0.4, depth_weight=0.0)
    _, own = adjust(start, None, options)
    _, reference = adjust(start, None, replace(options, solver="scipy", max_iterations=10))
    assert own.cost == pytest.approx(reference.cost, rel=0.01)


@pytest.mark.parametrize("depth_weight", [1.0, 0.0])
def test_exact_data_bring_back_the_truth(rng, depth_weight):
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=60)
    # sure of the frames' scales as of the depths, and nothing to be robust against
    options = BundleAdjustmentOptions(depth_weight=depth_weight, cost_tolerance=1e-16, max_iterations=100)
    solved, report = adjust(_near(shot, rng, 0.5), shot.priors, options)
    assert report.rms_px < 1e-6
    fit = Sim3.from_points(solved.centers_in_world, shot.cams_from_world.centers_in_world)
    np.testing.assert_allclose(fit.apply(solved.centers_in_world), shot.cams_from_world.centers_in_world, atol=1e-6)
    seen = shot.tracks.lengths > 2
    np.testing.assert_allclose(fit.apply(solved.points[seen]), shot.points[seen], rtol=1e-5, atol=1e-5)
    if depth_weight:
        np.testing.assert_allclose(solved.points[seen], shot.points[seen], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(solved.depth_scale, 1.0, atol=1e-5)


def test_noisy_data_bring_back_nearly_the_truth(rng):
    shot = make_shot("orbit", rng=rng, num_frames=10, num_tracks=120, noise_px=0.5, outlier_ratio=0.05, depth_error=0.1)
    solved, report = adjust(_near(shot, rng, 0.5), shot.priors, BundleAdjustmentOptions(reproj_sigma_px=0.5))
    turned = solved.cams_from_world.rotation @ np.swapaxes(shot.cams_from_world.rotation, 1, 2)
    error_deg = np.degrees(rotation_angle(turned[1:])).max()
    assert 1e-3 < error_deg < 0.1
    good = replace(solved, inliers=~shot.outliers)
    assert 0.5 < good.rms_px() < 0.8, "noise of 0.5 px in x and y is 0.71 px of distance"
    assert report.reprojection_cost < report.cost < report.initial_cost


def test_tracks_that_slide_along_edges(rng):
    """Noise of 0.2 px across and 2 px along a direction of each track's own: to know it is worth a lot."""
    shot = make_shot("orbit", rng=rng, num_frames=10, num_tracks=150, path_over_depth=0.2)
    weak, whitening = _whitening(rng, 150)
    noise = 0.2 * np.linalg.solve(whitening[shot.tracks.track], rng.standard_normal((len(shot.tracks), 2, 1)))[..., 0]
    blind = replace(shot, tracks=replace(shot.tracks, xy=shot.tracks.xy + noise))
    told = replace(blind, tracks=replace(blind.tracks, whitening=whitening))
    options = BundleAdjustmentOptions(depth_weight=0.0)
    near = _near(shot, rng)
    scenes = [adjust(replace(near, tracks=one.tracks), None, options)[0] for one in (blind, told)]
    turned = [
        rotation_angle(scene.cams_from_world.rotation @ shot.cams_from_world.rotation.transpose(0, 2, 1))
        for scene in scenes
    ]
    assert np.median(turned[1][1:]) < 0.4 * np.median(turned[0][1:])
    # sqrt(2) * 0.2 px less what the parameters take; hypot(0.2, 2) px
    assert 0.2 < scenes[1].rms_px(whitened=True) < 0.28
    assert 1.8 < scenes[1].rms_px() < 2.1
    along = np.abs(np.einsum("na,na->n", scenes[1].reprojections() - told.tracks.xy, weak[told.tracks.track]))
    np.testing.assert_array_less(0.1 * along, scenes[1].whitened_errors() + 1e-9)
    # and so is how well points are known: 2 px are no longer taken for 0.2
    known, alike = (np.nanmedian(scene.point_sigma) for scene in (scenes[1], scenes[0]))
    assert known > 1.2 * alike


def test_whitening_that_says_nothing_changes_nothing(rng):
    shot = make_shot("handheld", rng=rng, num_frames=6, num_tracks=60, noise_px=0.5)
    near = _near(shot, rng)
    same = replace(near, tracks=replace(near.tracks, whitening=np.broadcast_to(np.eye(2), (60, 2, 2))))
    options = BundleAdjustmentOptions()
    without, one = (adjust(scene, shot.priors, options)[0] for scene in (near, same))
    np.testing.assert_allclose(one.points, without.points, rtol=1e-6)
    assert one.rms_px(whitened=True) == one.rms_px()


def test_the_report_speaks_of_the_result(rng):
    shot = make_shot("orbit", rng=rng, num_frames=5, num_tracks=30, noise_px=0.3, depth_error=0.1)
    start = _near(shot, rng)
    start = replace(start, inliers=rng.random(len(shot.tracks)) < 0.9)
    solved, report = adjust(start, shot.priors, BundleAdjustmentOptions(reproj_sigma_px=0.3))
    assert report.status is Status.CONVERGED
    assert report.rms_px == solved.rms_px()
    assert report.observations == start.inliers.sum()
    _, short = adjust(start, shot.priors, BundleAdjustmentOptions(reproj_sigma_px=0.3, max_iterations=1))
    assert short.status is Status.MAX_ITERATIONS


def test_a_focal_length_comes_back(rng):
    shot = make_shot("orbit", rng=rng, num_frames=10, num_tracks=100, noise_px=0.1, depth_error=0.1)
    wrong = replace(_near(shot, rng, 0.2), camera=shot.camera.with_focal_length(1.05 * shot.camera.focal_length))
    options = BundleAdjustmentOptions(reproj_sigma_px=0.1, lens=LensUnknowns(focal=True), max_iterations=100)
    solved, _ = adjust(wrong, shot.priors, options)
    error = abs(solved.camera.focal_length[0] / shot.camera.focal_length[0] - 1)
    assert 1e-6 < error < 5e-3
    kept, _ = adjust(wrong, shot.priors, replace(options, lens=LensUnknowns()))
    np.testing.assert_array_equal(kept.camera.focal_length, wrong.camera.focal_length)


def test_a_zoom_comes_back(rng):
    shot = make_shot("zoom", rng=rng, num_frames=8, num_tracks=80, noise_px=0.1, depth_error=0.1)
    fixed = replace(_near(shot, rng, 0.0), camera=shot.camera.at(0))
    options = BundleAdjustmentOptions(
        reproj_sigma_px=0.1, lens=LensUnknowns(zoom=True), refine_translation=False, max_iterations=100
    )
    solved, _ = adjust(fixed, shot.priors, options)
    assert solved.camera.batch == (8,)
    np.testing.assert_allclose(solved.camera.focal_length, shot.camera.focal_length, rtol=2e-3)


# what is held


@pytest.mark.parametrize("depth_weight", [1.0, 0.0])
def test_the_first_registered_camera_stays(rng, depth_weight):
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=60, noise_px=0.3, depth_error=0.1)
    start = _near(shot, rng).transform(
        Sim3(2.0, Rigid3.from_rotvec([0.3, 0.2, 0.1], [0, 0, 0]).rotation, [1.0, 2.0, 3.0])
    )
    registered = np.arange(8) >= 2
    cams = Rigid3(
        np.where(registered[:, None, None], start.cams_from_world.rotation, np.nan),
        np.where(registered[:, None], start.cams_from_world.translation, np.nan),
    )
    start = replace(start, registered=registered, cams_from_world=cams)
    solved, _ = adjust(start, shot.priors, BundleAdjustmentOptions(reproj_sigma_px=0.3, depth_weight=depth_weight))
    np.testing.assert_allclose(solved.centers_in_world[2], start.centers_in_world[2], atol=1e-12)
    np.testing.assert_allclose(solved.cams_from_world.rotation[2], start.cams_from_world.rotation[2], atol=1e-12)
    assert np.isnan(solved.cams_from_world.rotation[:2]).all(), "no camera is invented"
    assert np.abs(solved.centers_in_world[3:] - start.centers_in_world[3:]).max() > 1e-4


def test_without_depth_the_scale_is_put_back(rng):
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=60, noise_px=0.3)
    start = _near(shot, rng)
    solved, _ = adjust(start, None, BundleAdjustmentOptions(reproj_sigma_px=0.3))
    median = [np.median(start.cams_from_world[0].apply(s.points[s.has_point])[:, 2]) for s in (start, solved)]
    assert median[0] == pytest.approx(median[1], rel=1e-12)
    again, _ = adjust(start, shot.priors, BundleAdjustmentOptions(reproj_sigma_px=0.3, depth_weight=0.0))
    np.testing.assert_allclose(again.points, solved.points)
    # and the pictures are those of the minimum: putting the scale back moves no projection
    assert solved.rms_px() < 0.5


def test_with_depth_the_scale_is_the_priors(rng):
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=60, noise_px=0.1, depth_unit=5.0)
    start = _near(shot, rng, 0.2)
    small = start.transform(Sim3(0.2, np.eye(3), np.zeros(3)))
    small = replace(small, depth_scale=np.ones(8))
    solved, _ = adjust(small, shot.priors, BundleAdjustmentOptions(reproj_sigma_px=0.1))
    ratio = solved.points_in_cam()[:, 2] / shot.priors.depth
    assert np.median(ratio) == pytest.approx(1.0, rel=0.01)
    assert np.log(solved.depth_scale).mean() == pytest.approx(0.0, abs=0.005)


@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({"refine_translation": False}, "translation"),
        ({"refine_cameras": False}, "cameras"),
        ({"refine_points": False}, "points"),
    ],
)
def test_what_is_not_refined_stays(rng, options, held, with_prior):
    shot = make_shot("orbit", rng=rng, num_frames=6, num_tracks=40, noise_px=0.3, depth_error=0.1)
    start = _near(shot, rng)
    priors = shot.priors if with_prior else None
    solved, report = adjust(start, priors, BundleAdjustmentOptions(reproj_sigma_px=0.3, **options))
    assert report.cost < report.initial_cost
    moved = {
        "translation": np.abs(solved.cams_from_world.translation - start.cams_from_world.translation).max() > 1e-9,
        "cameras": np.abs(solved.cams_from_world.rotation - start.cams_from_world.rotation).max() > 1e-9,
        "points": np.nanmax(np.abs(solved.points - start.points)) > 1e-9,
    }
    assert not moved[held]
    if held == "cameras":
        assert not moved["translation"]
    assert any(moved.values())


def test_the_input_is_never_changed(rng):
    shot = make_shot("orbit", rng=rng, num_frames=6, num_tracks=40, noise_px=0.3, depth_error=0.1)
    start = _near(shot, rng)
    arrays = {f.name: np.copy(getattr(start, f.name)) for f in fields(start) if f.name in ("points", "depth_scale")}
    before = replace(start, **arrays)
    depth = shot.priors.depth.copy()
    adjust(start, shot.priors, BundleAdjustmentOptions(lens=LensUnknowns(focal=True, zoom=True)))
    _same_arrays(start, before)
    np.testing.assert_array_equal(shot.priors.depth, depth)


def test_the_same_input_gives_the_same_result(rng):
    shot = make_shot("handheld", rng=rng, num_frames=8, num_tracks=60, noise_px=0.3, depth_error=0.2)
    start = _near(shot, rng)
    one, two = (adjust(start, shot.priors, BundleAdjustmentOptions())[0] for _ in range(2))
    _same_arrays(one, two)


def test_only_inliers_of_registered_frames_count(rng):
    """Observations that are not inliers may be anything."""
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=60, noise_px=0.2, outlier_ratio=0.2, depth_error=0.1)
    start = replace(_near(shot, rng), inliers=~shot.outliers)
    moved = replace(shot.tracks, xy=shot.tracks.xy + np.where(shot.outliers[:, None], 500.0, 0.0))
    one, _ = adjust(start, shot.priors, BundleAdjustmentOptions())
    two, _ = adjust(replace(start, tracks=moved), shot.priors, BundleAdjustmentOptions())
    np.testing.assert_array_equal(one.points, two.points)


@pytest.mark.parametrize(("weight", "loss"), [(1e-9, "squared"), (0.0, "squared"), (0.0, "cauchy")])
def test_a_track_without_weight_moves_no_camera(rng, weight, loss):
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=60, noise_px=0.2)
    longest = int(np.argmax(shot.tracks.lengths))
    liar = shot.tracks.track == longest
    tracks = replace(shot.tracks, xy=shot.tracks.xy + liar[:, None] * 20 * rng.standard_normal((len(liar), 2)))
    start = replace(_near(shot, rng, 0.3), tracks=tracks)
    weights = np.where(np.arange(60) == longest, weight, 1.0)
    options = BundleAdjustmentOptions(reproj_sigma_px=0.2, reproj_loss=loss, depth_weight=0.0, cost_tolerance=1e-10)
    with_it, _ = adjust(start, None, replace(options, track_weight=weights))
    without, _ = adjust(replace(start, inliers=~liar), None, options)
    believing, _ = adjust(start, None, replace(options, reproj_loss="squared"))
    fit = [Sim3.from_points(r.centers_in_world, without.centers_in_world) for r in (with_it, believing)]
    off = [np.abs(f.apply(r.centers_in_world) - without.centers_in_world).max()
           for f, r in zip(fit, (with_it, believing), strict=True)]  # fmt: skip
    assert off[0] < 1e-4
    assert off[1] > 10 * off[0]


def test_a_depth_seen_longer_counts_no_more(rng):
    """Each point counts as one measurement: the weight of its rows adds up to one over sigma squared."""
    shot = make_shot("orbit", rng=rng, num_frames=12, num_tracks=60, depth_error=0.2, track_length=8)
    start = _near(shot, rng, 0.0)
    problem = ShotProblem(start, shot.priors, BundleAdjustmentOptions(depth_weight=3.0))
    total = np.bincount(problem.eliminated_index, problem.depth_weight**2)
    np.testing.assert_allclose(total, 3.0 / 0.2**2)


def test_point_sigma_falls_with_parallax(rng):
    """The depth of a point known from a wide path is surer than from a narrow one; both are honest."""
    sigma = {}
    for motion in ("orbit", "dolly"):
        shot = make_shot(motion, rng=rng, num_frames=8, num_tracks=100, noise_px=0.3)
        options = BundleAdjustmentOptions(
            reproj_sigma_px=0.3, reproj_loss="squared", depth_weight=0.0, refine_cameras=False
        )
        start = replace(_near(shot, rng, 0.0), depth_scale=np.ones(8))
        solved, _ = adjust(start, None, options)
        error = np.log(solved.cams_from_world[0].apply(solved.points)[:, 2] / shot.points[:, 2])
        known = np.isfinite(error) & (shot.tracks.lengths >= 3)
        sigma[motion] = np.median(solved.point_sigma[known])
        whitened = (error[known] - np.median(error[known])) / solved.point_sigma[known]
        assert 0.5 < 1.4826 * np.median(np.abs(whitened)) < 2.0, motion
    assert sigma["orbit"] < 0.3 * sigma["dolly"]


# what cannot be


def test_nothing_to_adjust(rng):
    shot = make_shot("orbit", rng=rng, num_frames=4, num_tracks=20)
    start = replace(_near(shot, rng), inliers=np.zeros(len(shot.tracks), bool))
    with pytest.raises(NoSolutionError, match="nothing to adjust"):
        adjust(start, shot.priors, BundleAdjustmentOptions())


def test_points_behind_every_camera_are_left_out(rng):
    shot = make_shot("orbit", rng=rng, num_frames=4, num_tracks=20)
    start = _near(shot, rng, 0.0)
    with pytest.raises(NoSolutionError, match="nothing to adjust"):
        adjust(replace(start, points=-start.points), shot.priors, BundleAdjustmentOptions())


def test_the_rms_told_is_of_what_was_used(rng):
    shot = make_shot("orbit", rng=rng, num_frames=6, num_tracks=40, noise_px=0.3)
    points = (start := _near(shot, rng)).points.copy()
    points[3] *= -1
    _, report = adjust(replace(start, points=points), shot.priors, BundleAdjustmentOptions(reproj_sigma_px=0.3))
    assert report.observations < start.inliers.sum() and 0.2 < report.rms_px < 0.6


@pytest.mark.parametrize("solver", ["schur", "scipy"])
def test_a_solve_that_was_hardly_begun_is_not_settled(rng, solver):
    shot = make_shot("orbit", rng=rng, num_frames=6, num_tracks=40, noise_px=0.3)
    options = BundleAdjustmentOptions(reproj_sigma_px=0.3, solver=solver, max_iterations=1)
    _, report = adjust(_near(shot, rng), shot.priors, options)
    assert report.status is Status.MAX_ITERATIONS and not report.settled


def test_priors_known_for_nobody_change_nothing(rng):
    shot = make_shot("orbit", rng=rng, num_frames=6, num_tracks=40, noise_px=0.2)
    start = _near(shot, rng, 0.2)
    nothing = DepthPriors(np.full(len(shot.tracks), np.nan), np.full(len(shot.tracks), np.nan))
    solved, report = adjust(start, nothing, BundleAdjustmentOptions(reproj_sigma_px=0.2))
    assert np.isfinite(report.cost)
    fit = Sim3.from_points(solved.centers_in_world, shot.cams_from_world.centers_in_world)
    off = np.linalg.norm(fit.apply(solved.centers_in_world) - shot.cams_from_world.centers_in_world, axis=1)
    assert 1e-5 < off.max() < 0.02


def test_the_iteration_limit_matters_only_where_more_would_change_something(rng):
    shot = make_shot("handheld", rng=rng, num_frames=8, num_tracks=80, noise_px=0.3)
    scene, _ = solve(shot, rng, error=0.02)
    settings = BundleAdjustmentOptions(max_iterations=2, cost_tolerance=1e-15)
    assert not adjust(scene, shot.priors, settings)[1].settled
    report = adjust(scene, shot.priors, replace(settings, max_iterations=40))[1]
    assert report.settled and report.last_gain < 1e-6


def test_slices_of_a_long_shot_span_few_frames(rng):
    """Long tracks all over, short ones at both ends, and a few very short ones between: no slice holds all of it."""
    shot = make_shot("dolly", rng=rng, num_frames=900, num_tracks=3000, track_length=40)
    short = (np.arange(3000) % 50 == 0)[shot.tracks.track] & (shot.tracks.frame % 40 > 2)
    scene = _near(shot, rng, 0.0)
    problem = ShotProblem(replace(scene, inliers=scene.inliers & ~short), None, BundleAdjustmentOptions())
    tied = couplings(problem)
    assert [one.first for one in tied[1:]] == [one.last for one in tied[:-1]] and tied[
        -1
    ].last == problem.num_eliminated
    assert max(one.high - one.low for one in tied) <= 9 * 64
