"""The solver on small problems whose answer another way of computing gives."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array

from sfm.bundle_adjustment import BundleAdjustmentOptions
from sfm.bundle_adjustment.problem import ShotProblem
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.geometry.transform import Rigid3
from sfm.least_squares import (
    Linearization,
    Loss,
    SolverOptions,
    Status,
    geodesic,
    levenberg_marquardt,
    robust_cost,
    schur,
    scipy_least_squares,
    sparse_jacobian,
)
from sfm.least_squares.coupling import Coupling, bundles, dense, squared
from sfm.least_squares.geodesic import bent
from sfm.least_squares.normal_equations import NormalEquations
from sfm.least_squares.problem import robust_weights
from sfm.least_squares.reduced_system import ReducedSystem, _Band, _Dense
from sfm.least_squares.scipy_reference import _robustify
from sfm.least_squares.ties import Ties
from sfm.scene import Reconstruction, Support
from sfm.synthetic import make_shot

LOSSES = ["squared", "huber", "soft_l1", "cauchy"]


class Bilinear:
    """y = a_k * sin(b_e) + c_k + shared * b_e, two rows of it and one of b_e itself: made up, small, not linear.

    Kept blocks (a, c), eliminated blocks (b, d), one shared parameter.
    """

    kept_size, eliminated_size, num_shared = 2, 2, 1

    def __init__(self, rng, kept=5, eliminated=12, losses=None, noise=0.05, outliers=0):
        self.num_kept, self.num_eliminated = kept, eliminated
        self.eliminated_index = np.repeat(np.arange(eliminated), kept)
        self.kept_index = np.tile(np.arange(kept), eliminated)
        self.truth = rng.uniform(0.5, 1.5, kept * 2 + 1 + eliminated * 2)
        self.data = np.zeros((3, kept * eliminated))
        self.data = self.at(self.truth).residuals(slice(None)) + noise * rng.standard_normal(self.data.shape)
        self.data[:2, :outliers] += 3.0
        self.free = np.ones(kept * 2 + 1, bool)
        self.free[:2] = False
        self.losses = losses or ((slice(0, 2), Loss("cauchy"), 0.3), (slice(2, 3), Loss("huber"), 0.5))
        self.cuts = np.zeros(0, int)

    def at(self, x):
        return _BilinearAt(self, x)


class _BilinearAt:
    def __init__(self, problem, x):
        self.problem, size = problem, problem.num_kept * 2
        self.kept, self.s, self.eliminated = x[:size].reshape(-1, 2), x[size], x[size + 1 :].reshape(-1, 2)

    def _columns(self, rows):
        k, e = self.problem.kept_index[rows], self.problem.eliminated_index[rows]
        return self.kept[k].T, self.eliminated[e].T

    def residuals(self, rows):
        (a, c), (b, d) = self._columns(rows)
        return np.stack([a * np.sin(b) + c + self.s * b, a * d**2 - c * b, b * d + 0 * a]) - self.problem.data[:, rows]

    def linearize(self, rows):
        (a, c), (b, d) = self._columns(rows)
        zero, one = np.zeros_like(a), np.ones_like(a)
        kept = np.stack([[np.sin(b), one], [d**2, -b], [zero, zero]])
        eliminated = np.stack([[a * np.cos(b) + self.s, zero], [-c, 2 * a * d], [d, b]])
        return Linearization(self.residuals(rows), kept, eliminated, np.stack([[b], [zero], [zero]]))

    def prior(self):
        size = self.problem.num_kept * 2 + 1
        J = csr_array((np.full(size, 0.1), (np.arange(size), np.arange(size))), (size, size))
        return 0.1 * (np.r_[self.kept.ravel(), self.s] - 1.0), J


def _start(problem, rng, off=0.1):
    x = problem.truth + off * rng.standard_normal(len(problem.truth))
    size = problem.num_kept * 2 + 1
    x[:size][~problem.free] = problem.truth[:size][~problem.free]
    return x


# eliminating


@pytest.mark.parametrize("shared", [0, 2])
@pytest.mark.parametrize("seen", [3, 20])
def test_pairs_of_observations_give_what_the_dense_product_gives(rng, seen, shared):
    """Where every eliminated block touches few of the kept ones; where it touches many there are no pairs."""
    kept, blocks, k, e = 60, 40, 4, 3
    problem = SimpleNamespace(
        kept_index=np.concatenate([np.sort(rng.permutation(kept)[:seen]) for _ in range(blocks)]) + 5,
        eliminated_index=np.repeat(np.arange(blocks), seen), num_shared=shared, kept_size=k, num_eliminated=blocks,
    )  # fmt: skip
    coupling = Coupling.of(problem, slice(5 * seen, 35 * seen))
    Y, of_shared = rng.standard_normal((30 * seen, e, k)), rng.standard_normal((shared, e, 30))
    M = dense([(coupling, Y, of_shared)], coupling.low, coupling.high)
    assert (coupling.pairs is None) == (seen == 20)
    assert M.shape == (30 * e, (coupling.high - coupling.low) * k + shared)
    found = squared([(coupling, Y, of_shared)], coupling.low, coupling.high)
    np.testing.assert_allclose(found, M.T @ M, atol=1e-12)
    of_first = np.zeros((e, M.shape[1]))
    for at, block in zip(problem.kept_index[5 * seen : 6 * seen] - coupling.low, Y[:seen], strict=True):
        of_first[:, at * k : (at + 1) * k] = block
    np.testing.assert_array_equal(M[:e, : M.shape[1] - shared], of_first[:, : M.shape[1] - shared])


def test_couplings_squared_together_are_the_sum_of_each(rng):
    """Those of the same kept blocks nearly; one of others, and one of few blocks, by themselves."""
    kept, k, e = 40, 3, 2
    spans = [range(20)] * 30 + [range(1, 21)] * 30 + [range(20, 40)] * 30
    problem = SimpleNamespace(
        kept_index=np.concatenate([list(span) for span in spans]), eliminated_index=np.repeat(np.arange(90), 20),
        num_shared=1, kept_size=k, num_eliminated=90,
    )  # fmt: skip
    tied = [Coupling.of(problem, slice(600 * i, 600 * (i + 1))) for i in range(3)]
    bundled = bundles(tied, e)
    assert [(bundle.first, bundle.last, bundle.low, bundle.high) for bundle in bundled] == [
        (0, 2, 0, 21),
        (2, 3, 20, 40),
    ]
    of = [(one, rng.standard_normal((600, e, k)), rng.standard_normal((1, e, 30))) for one in tied[:2]]
    together = np.zeros((kept * k + 1,) * 2)
    for one in of:
        size, low = (one[0].high - one[0].low) * k, one[0].low * k
        at = np.r_[low + np.arange(size), kept * k]
        together[np.ix_(at, at)] += squared([one], one[0].low, one[0].high)
    at = np.r_[: 21 * k, kept * k]
    np.testing.assert_allclose(squared(of, 0, 21), together[np.ix_(at, at)], atol=1e-12)


# the reduced system


@pytest.mark.parametrize("shared", [0, 2])
@pytest.mark.parametrize("few_free", [False, True])
def test_a_band_solves_what_a_dense_matrix_solves(rng, shared, few_free):
    """Windows subtracted at several places, wider than the band too, parameters fixed in the middle, a border."""
    blocks, k, width = 12, 3, 8
    size = blocks * k
    free = np.ones(size + shared, bool)
    free[[0, 1, 2, 17, 30]] = False
    free[:size] &= (np.arange(size) % 7 == 0) if few_free else True
    U = rng.standard_normal((k, k, blocks))
    prior = 0.1 * rng.standard_normal((size + shared, size + shared))
    near = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) <= width
    prior[:size, :size] *= near
    added = [
        (U + U.swapaxes(0, 1), rng.standard_normal((k, shared, blocks)), 40 * np.eye(shared)),
        csr_array(prior + prior.T),
        [(low, _near_each_other(rng, count, shared, width)) for low, count in ((0, 9), (9, 20), (27, 9))],
    ]
    found = []
    for reach in (width, size):
        system = ReducedSystem(size, shared, reach)
        system.add_blocks(*added[0], low=0)
        system.add_sparse(added[1])
        system.add_diagonal(np.full(size + shared, 60.0))
        for low, M in added[2]:
            system.copy().subtract(M @ M.T, low)  # of a copy: nothing happens
            system.subtract(M @ M.T, low)
        factor = system.copy().factor(free)
        assert factor is not None
        right = np.random.default_rng(0).standard_normal((size + shared, 2))
        found.append(np.column_stack([factor.solve(right), factor.half_solve(right), system.diagonal()]))
        root = factor.half_solve(np.eye(size + shared))
        np.testing.assert_allclose(root @ root.T, factor.solve(np.eye(size + shared)), atol=1e-12)
        assert type(system.inner) is (_Band if reach == width else _Dense)
        system.add_diagonal(np.full(size + shared, -1e3))
        assert system.factor(free) is None
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10, atol=1e-11)
    assert (found[0][~free, :4] == 0).all()


def _near_each_other(rng, count, shared, width):
    """M whose M M^T over a window has nothing beyond the band."""
    M = np.zeros((count + shared, count))
    for column in range(count):
        rows = np.arange(column, min(column + width + 1, count))
        M[rows, column] = rng.standard_normal(len(rows))
    M[count:] = 0.1 * rng.standard_normal((shared, count))
    return M


# losses


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_square_when_small_and_less_when_large(name):
    loss = Loss(name)
    tiny = np.array([1e-10])
    np.testing.assert_allclose(loss(tiny, 1.0)[0], tiny, rtol=1e-6)
    s = np.linspace(0.01, 50, 200)
    rho, slope = loss(s, 1.5)
    assert (np.diff(rho) > 0).all()
    assert (slope > 0).all()
    assert (slope <= 1).all()
    assert (rho[-1] < 0.5 * s[-1]) == (name != "squared")


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_the_slope_it_says(name, rng):
    loss, s, knee = Loss(name), rng.uniform(0.01, 30, 100), rng.uniform(0.5, 2.0, 100)
    numeric = (loss(s + 1e-6, knee)[0] - loss(s - 1e-6, knee)[0]) / 2e-6
    np.testing.assert_allclose(loss(s, knee)[1], numeric, atol=1e-6)


def test_knees_by_hand():
    nine = np.array([9.0])
    assert Loss("huber")(nine, 1.0)[0] == pytest.approx(5.0)
    assert Loss("soft_l1")(np.array([3.0]), 1.0)[0] == pytest.approx(2.0)
    assert Loss("cauchy")(nine, 3.0)[0] == pytest.approx(9 * np.log(2))


# derivatives


@pytest.mark.parametrize("name", LOSSES)
def test_the_robust_jacobian_against_differences(rng, name):
    problem = Bilinear(rng, losses=((slice(0, 2), Loss(name), 0.2), (slice(2, 3), Loss(name), 0.3)), noise=0.3)
    x = _start(problem, rng)

    def residuals(x):
        at = problem.at(x)
        return np.r_[_robustify(problem, at.residuals(slice(None)))[0].ravel(), at.prior()[0]]

    steps = 1e-6 * np.eye(len(x))
    numeric = np.stack([(residuals(x + h) - residuals(x - h)) / 2e-6 for h in steps], axis=1)
    np.testing.assert_allclose(sparse_jacobian(problem, x).toarray(), numeric, atol=1e-7)
    r = residuals(x)
    assert 0.5 * r @ r == pytest.approx(robust_cost(problem, x), rel=1e-12)


# one step


@pytest.mark.parametrize("damping", [1e-9, 1e-3, 1.0])
def test_the_schur_step_is_the_dense_one(rng, damping):
    """The same damped normal equations, written out and solved whole."""
    problem = Bilinear(rng, losses=((slice(0, 3), Loss("squared"), 1.0),))
    x = _start(problem, rng)
    step, predicted = NormalEquations(problem, x).solve(damping)
    J = sparse_jacobian(problem, x).toarray()
    at = problem.at(x)
    r = np.r_[at.residuals(slice(None)).ravel(), at.prior()[0]]
    H, g = J.T @ J, -J.T @ r
    free = np.r_[problem.free, np.ones(problem.num_eliminated * 2, bool)]
    D = damping * np.diag(H)
    expected = np.zeros(len(x))
    expected[free] = np.linalg.solve((H + np.diag(D))[np.ix_(free, free)], g[free])
    np.testing.assert_allclose(step, expected, rtol=1e-4, atol=1e-7)
    linear = 0.5 * r @ r - 0.5 * np.sum((r + J @ expected) ** 2)
    assert predicted == pytest.approx(linear, rel=1e-4), "the predicted decrease is that of the linear model"
    assert (step[:2] == 0).all(), "what is not free stays"


@pytest.mark.parametrize("tied", [False, True])
def test_the_bend_is_the_dense_one(rng, monkeypatch, tied):
    """Half the second derivative along the step, by the same difference, answered by the damped matrix; ties too."""
    problem = Bilinear(rng)
    if tied:
        ties = Ties(np.array([0.1]), np.array([2, 7]), rng.standard_normal((1, 2, 2)))
        monkeypatch.setattr(_BilinearAt, "ties", lambda self: ties, raising=False)
    x = _start(problem, rng, off=0.02)
    system = NormalEquations(problem, x)
    step, _ = system.solve(0.01)
    curved = bent(system, step)
    at, ahead, everything = problem.at(x), problem.at(x + 0.1 * step), slice(None)
    root = np.sqrt(robust_weights(problem, at.residuals(everything), everything)).ravel()
    lin = at.linearize(everything)
    J = np.zeros((3, len(problem.kept_index), len(x)))
    for n, (kept, eliminated) in enumerate(zip(problem.kept_index, problem.eliminated_index, strict=True)):
        J[:, n, 2 * kept : 2 * kept + 2], J[:, n, 10] = lin.kept[..., n], lin.shared[:, 0, n]
        J[:, n, 11 + 2 * eliminated : 13 + 2 * eliminated] = lin.eliminated[..., n]
    J = J.reshape(-1, len(x))
    half = ((ahead.residuals(everything) - lin.residuals).ravel() / 0.1 - J @ step) / 0.1
    weighted = J * root[:, None]
    prior = np.zeros((len(x), len(x)))
    prior[:11, :11] = 0.01 * np.eye(11)
    damping = np.r_[system.damping, *(part.damping.T.ravel() for part in system.parts)]
    A = weighted.T @ weighted + prior + np.diag(damping)
    A += ties.sparse(11, len(x)).T @ ties.sparse(11, len(x)) if tied else 0
    free = np.r_[problem.free, np.ones(24, bool)]
    expected = np.zeros(len(x))
    expected[free] = np.linalg.solve(A[np.ix_(free, free)], -(weighted.T @ (root * half))[free])
    np.testing.assert_allclose(curved - step, expected, rtol=1e-8, atol=1e-12)
    assert np.linalg.norm(expected) > 1e-3 * np.linalg.norm(step)
    # twice the bend over the step, each parameter by its damping
    ratio = 2 * np.sqrt((damping @ expected**2) / (damping @ step**2))
    monkeypatch.setattr(geodesic, "_MAX_BEND", 1.001 * ratio)
    assert bent(system, step) is not None
    monkeypatch.setattr(geodesic, "_MAX_BEND", 0.999 * ratio)
    assert bent(system, step) is None


def test_a_step_to_where_nothing_can_be_evaluated_is_not_bent(rng, monkeypatch):
    problem = Bilinear(rng)
    system = NormalEquations(problem, _start(problem, rng))
    step, _ = system.solve(0.01)
    assert bent(system, step) is not None
    monkeypatch.setattr(_BilinearAt, "residuals", lambda self, rows: np.full_like(problem.data[:, rows], np.nan))
    assert bent(system, step) is None


def test_only_steps_that_break_their_promise_are_bent(rng, monkeypatch):
    asked = []
    monkeypatch.setattr(schur, "bent", lambda system, step: asked.append(step))
    problem = Bilinear(rng, noise=0.0, losses=((slice(0, 3), Loss("squared"), 1.0),))
    _, report = levenberg_marquardt(problem, _start(problem, rng, off=0.01), SolverOptions(50, 1e-10))
    assert report.status is Status.CONVERGED
    assert not asked
    start = _start(problem, rng, off=1.5)
    levenberg_marquardt(problem, start, SolverOptions(50, 1e-10))
    assert asked
    promised = []
    solve = NormalEquations.solve

    def noted(system, *rest):
        step, predicted = solve(system, *rest)
        promised.append(predicted / robust_cost(problem, system.x))
        return step, predicted

    monkeypatch.setattr(NormalEquations, "solve", noted)
    monkeypatch.setattr(schur, "bent", lambda system, step: asked.append(promised[-1]))
    asked.clear()
    levenberg_marquardt(problem, start, SolverOptions(50, 1e-10))
    assert max(promised) > 0.1  # such a step is on its way to a valley, not in one
    assert max(asked) < 0.02


def test_a_bend_that_leads_astray_is_not_taken(rng, monkeypatch):
    problem = Bilinear(rng, outliers=5)
    start, options = _start(problem, rng, off=1.5), SolverOptions(100, 1e-9)
    monkeypatch.setattr(schur, "bent", lambda system, step: None)
    _, straight = levenberg_marquardt(problem, start, options)
    asked = []
    monkeypatch.setattr(schur, "bent", lambda system, step: (asked.append(step), 1e3 * step)[1])
    _, astray = levenberg_marquardt(problem, start, options)
    assert asked
    assert astray.costs == straight.costs


# solving


def test_steps_that_bend_reach_the_minimum_of_a_long_shot_sooner(monkeypatch):
    """Cameras that drift along a chain of short tracks, which nothing else holds: a long curved valley."""
    rng = np.random.default_rng(0)
    shot = make_shot("handheld", rng=rng, num_frames=200, num_tracks=300, track_length=12, noise_px=0.3)
    turn = rotation_from_rotvec(0.002 * rng.standard_normal((200, 3)))
    cams = Rigid3(turn @ shot.cams_from_world.rotation, shot.cams_from_world.translation)
    seen_twice = shot.tracks.lengths[:, None] > 1
    scene = Reconstruction(
        camera=shot.camera, cams_from_world=cams, registered=np.ones(200, bool),
        points=np.where(seen_twice, shot.points * np.exp(0.05 * rng.standard_normal((300, 1))), np.nan),
        inliers=np.ones(len(shot.tracks), bool), tracks=shot.tracks, depth_scale=np.ones(200),
        support=np.full(300, Support.PRIOR), point_sigma=np.full(300, np.nan),
    )  # fmt: skip
    problem = ShotProblem(scene, None, BundleAdjustmentOptions(reproj_sigma_px=0.3, depth_weight=0.0))
    options = SolverOptions(200, 1e-8)
    _, curved = levenberg_marquardt(problem, problem.start(), options)
    monkeypatch.setattr(schur, "bent", lambda system, step: None)
    _, straight = levenberg_marquardt(problem, problem.start(), options)
    reached = [
        next(i for i, cost in enumerate(of.costs) if cost < straight.cost * (1 + 1e-5)) for of in (curved, straight)
    ]
    assert reached[0] < 0.7 * reached[1]
    assert curved.cost <= straight.cost * (1 + 1e-6)


def test_exact_data_come_back(rng):
    problem = Bilinear(rng, noise=0.0)
    problem.at = lambda x: _WithoutPrior(problem, x)  # the prior would draw the answer away from the truth
    x, report = levenberg_marquardt(problem, _start(problem, rng), SolverOptions(100, 1e-14))
    assert report.cost < 1e-16
    np.testing.assert_allclose(x, problem.truth, atol=1e-6)


class _WithoutPrior(_BilinearAt):
    def prior(self):
        return np.zeros(0), csr_array((0, self.problem.num_kept * 2 + 1))


@pytest.mark.parametrize("name", LOSSES)
def test_both_solvers_find_the_same_minimum(rng, name):
    problem = Bilinear(rng, 6, 30, losses=((slice(0, 2), Loss(name), 0.3), (slice(2, 3), Loss(name), 0.5)), outliers=8)
    start = _start(problem, rng)
    own_x, own = levenberg_marquardt(problem, start, SolverOptions(200, 1e-10))
    scipy_x, reference = scipy_least_squares(problem, start, SolverOptions(200, 1e-10))
    assert own.initial_cost == reference.initial_cost
    assert own.cost == pytest.approx(reference.cost, rel=1e-5)
    np.testing.assert_allclose(own_x, scipy_x, atol=2e-3)
    assert own.cost < own.initial_cost


def test_the_solver_converges_and_says_so(rng):
    problem = Bilinear(rng)
    start = _start(problem, rng)
    kept = start.copy()
    x, report = levenberg_marquardt(problem, start, SolverOptions(100))
    assert report.status is Status.CONVERGED
    assert (np.diff(report.costs) <= 0).all(), "the cost never rises"
    assert report.costs[0] == report.initial_cost
    assert report.costs[-1] == report.cost == pytest.approx(robust_cost(problem, x))
    np.testing.assert_array_equal(start, kept)


def test_iteration_limit(rng):
    problem = Bilinear(rng)
    _, report = levenberg_marquardt(problem, _start(problem, rng, 0.3), SolverOptions(2, 1e-14))
    assert report.status is Status.MAX_ITERATIONS
    assert report.iterations == 2
    assert "max_iterations" in report.status.value


def test_time_limit(rng):
    problem = Bilinear(rng)
    _, report = levenberg_marquardt(problem, _start(problem, rng, 0.3), SolverOptions(50, 1e-14, time_limit_s=0.0))
    assert report.status is Status.TIME_LIMIT
    assert report.iterations == 1


@pytest.mark.parametrize("solver", [levenberg_marquardt, scipy_least_squares])
def test_the_caller_may_stop_it(rng, solver):
    problem, seen = Bilinear(rng), []

    def stop(iteration: int, cost: float) -> bool:
        seen.append((iteration, cost))
        return iteration == 3

    x, report = solver(problem, _start(problem, rng, 0.3), SolverOptions(50, 1e-12, callback=stop))
    assert report.status is Status.STOPPED
    assert [i for i, _ in seen][-2:] == [2, 3]
    assert seen[-1][1] == report.cost == pytest.approx(robust_cost(problem, x))


def test_a_start_that_cannot_be_evaluated_is_no_progress(rng):
    problem = Bilinear(rng)
    start = _start(problem, rng)
    start[5] = np.nan
    x, report = levenberg_marquardt(problem, start, SolverOptions(100))
    assert report.status in (Status.NO_PROGRESS, Status.MAX_ITERATIONS)
    assert report.cost == np.inf
    np.testing.assert_array_equal(x, start)


def test_every_eliminated_block_needs_an_observation(rng):
    problem = Bilinear(rng)
    problem.eliminated_index = np.where(problem.eliminated_index == 3, 2, problem.eliminated_index)
    with pytest.raises(ValueError, match="without observations"):
        levenberg_marquardt(problem, _start(problem, rng))
