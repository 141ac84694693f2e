"""Residuals that tie eliminated blocks together: the same steps and the same minimum as another way of computing."""

import numpy as np
import pytest
from test_least_squares import Bilinear, _BilinearAt, _start

from sfm.least_squares import Loss, SolverOptions, Status, Ties, levenberg_marquardt, robust_cost, scipy_least_squares
from sfm.least_squares.normal_equations import NormalEquations
from sfm.least_squares.scipy_reference import sparse_jacobian


class Tied(Bilinear):
    """Bilinear with products of the blocks' parameters measured across blocks, far better than the observations."""

    pairs = np.array([[0, 7], [3, 7], [3, 11], [2, 9]])

    def __init__(self, rng, sigma=0.01, **options):
        super().__init__(rng, **options)
        self.sigma, self.measured = sigma, np.zeros(len(self.pairs))
        self.measured = sigma * self.at(self.truth).ties().residuals + 0.02 * rng.standard_normal(len(self.pairs))

    def at(self, x):
        return _TiedAt(self, x)


class _TiedAt(_BilinearAt):
    def ties(self):
        blocks = np.unique(self.problem.pairs)
        one, two = np.searchsorted(blocks, self.problem.pairs).T
        (b, d), (f, h) = self.eliminated[self.problem.pairs[:, 0]].T, self.eliminated[self.problem.pairs[:, 1]].T
        J, row = np.zeros((len(b), len(blocks), 2)), np.arange(len(b))
        J[row, one] = np.column_stack([f, -h])
        J[row, two] = np.column_stack([b, -d])
        found = b * f - d * h - self.problem.measured
        return Ties(found / self.problem.sigma, blocks, J / self.problem.sigma)


@pytest.mark.parametrize("damping", [1e-8, 1e-3, 1.0])
def test_a_step_is_that_of_the_whole_matrix(rng, damping):
    problem = Tied(rng, losses=((slice(0, 3), Loss("squared"), 1.0),))
    x = _start(problem, rng)
    J = sparse_jacobian(problem, x).toarray()
    prior, ties = problem.at(x).prior()[0], problem.at(x).ties()
    r = np.r_[problem.at(x).residuals(slice(None)).ravel(), prior, ties.residuals]
    assert len(r) == len(J)
    m = len(ties.residuals)
    # damped by what the observations and the prior alone say of each parameter
    diagonal = np.square(J[:-m]).sum(axis=0)
    H, g = J.T @ J + damping * np.diag(diagonal), -J.T @ r
    free = np.r_[problem.free, np.ones(len(x) - len(problem.free), bool)]
    expected = np.zeros(len(x))
    expected[free] = np.linalg.solve(H[np.ix_(free, free)], g[free])
    step, predicted = NormalEquations(problem, x).solve(damping)
    np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-8)
    assert predicted == pytest.approx(0.5 * expected @ (damping * diagonal * expected + g), rel=1e-6)


def test_the_jacobian_of_ties(rng):
    problem = Tied(rng)
    x, size, h = _start(problem, rng), len(problem.free), 1e-6
    numeric = np.stack(
        [
            (problem.at(x + d).ties().residuals - problem.at(x - d).ties().residuals) / (2 * h)
            for d in h * np.eye(len(x))
        ],
        axis=1,
    )
    np.testing.assert_allclose(problem.at(x).ties().sparse(size, len(x)).toarray(), numeric, atol=1e-5)


def test_the_minimum_is_scipys(rng):
    problem = Tied(rng, kept=6, eliminated=30, outliers=5)
    x = _start(problem, rng)
    found, report = levenberg_marquardt(problem, x, SolverOptions(100, 1e-12))
    reference, slow = scipy_least_squares(problem, x, SolverOptions(100, 1e-12))
    assert report.status is Status.CONVERGED and report.cost == pytest.approx(slow.cost, rel=1e-6)
    np.testing.assert_allclose(found, reference, atol=1e-4)
    assert report.cost == pytest.approx(robust_cost(problem, found))
    before, after = (np.abs(problem.at(v).ties().residuals).max() for v in (x, found))
    assert after < 3 < 0.1 * before
