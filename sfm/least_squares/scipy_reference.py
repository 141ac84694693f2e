"""The same problems solved by SciPy: slower, and the reference the fast solver is held to."""

import numpy as np
from scipy.sparse import block_array, csr_array, hstack

from sfm.least_squares.costs import robust_cost
from sfm.least_squares.problem import Problem, SolverOptions, SolverReport, Status
from sfm.least_squares.ties import ties_of


def scipy_least_squares(
    problem: Problem, x: np.ndarray, options: SolverOptions = SolverOptions()
) -> tuple[np.ndarray, SolverReport]:
    """The same minimum by `scipy.optimize.least_squares`: the reference the fast solver is held to.

    SciPy's own losses act on single numbers, ours on norms of several rows, so each robust unit is scaled by
    sqrt(rho(s) / s): the sum of squares is then the robust cost itself.
    """
    from scipy.optimize import OptimizeResult, least_squares

    free = np.r_[problem.free, np.ones(problem.num_eliminated * problem.eliminated_size, bool)]
    columns = np.flatnonzero(free)

    def at(free_x: np.ndarray) -> np.ndarray:
        full = x.copy()
        full[columns] = free_x
        return full

    def fun(free_x: np.ndarray) -> np.ndarray:
        evaluation = problem.at(at(free_x))
        parts = [_robustify(problem, evaluation.residuals(slice(None)))[0].ravel(), evaluation.prior()[0]]
        ties = ties_of(evaluation)
        return np.concatenate(parts if ties is None else [*parts, ties.residuals])

    def jac(free_x: np.ndarray) -> csr_array:
        return csr_array(sparse_jacobian(problem, at(free_x))[:, columns])

    def told(intermediate_result: OptimizeResult) -> None:
        if options.callback is not None and options.callback(intermediate_result.nit, intermediate_result.cost):
            raise StopIteration

    before = robust_cost(problem, x)
    result = least_squares(
        fun, x[columns], jac=jac, callback=told,  # pyright: ignore[reportArgumentType, reportCallIssue]
        method="trf", tr_solver="lsmr", x_scale="jac", max_nfev=options.max_iterations * 10,
        ftol=options.cost_tolerance * 1e-3, xtol=1e-14, gtol=1e-14, tr_options={"maxiter": 10 * len(columns)},
    )  # fmt: skip
    status = {-2: Status.STOPPED, 0: Status.MAX_ITERATIONS}.get(result.status, Status.CONVERGED)
    return at(result.x), SolverReport(status, int(result.nfev), before, float(result.cost))


def _robustify(problem: Problem, residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaled residuals, the scale m = sqrt(rho(s) / s) and dm/ds, each (rows, n)."""
    scale, slope = np.ones_like(residuals), np.zeros_like(residuals)
    for rows, loss, knee in problem.losses:
        s = (residuals[rows] ** 2).sum(0)
        curved = s > 1e-12 * np.square(knee)  # nearer to zero every loss is its square
        s = np.where(curved, s, np.square(knee))
        rho, derivative = loss(s, knee)
        m = np.sqrt(rho / s)
        scale[rows] = np.where(curved, m, 1.0)
        slope[rows] = np.where(curved, (derivative * s - rho) / (2 * m * s * s), 0.0)
    return residuals * scale, scale, slope


def sparse_jacobian(problem: Problem, x: np.ndarray) -> csr_array:
    """Jacobian (rows * n + m, parameters) of the robustified residuals, for solvers that want one matrix."""
    evaluation = problem.at(x)
    lin = evaluation.linearize(slice(None))
    _, scale, slope = _robustify(problem, lin.residuals)
    rows, n = lin.residuals.shape
    k, b, e = problem.kept_size, problem.num_shared, problem.eliminated_size if problem.num_eliminated else 0
    dense = np.concatenate([lin.kept, lin.shared, lin.eliminated[:, :e]], axis=1)
    scaled = dense * scale[:, None]
    for unit, _, _ in problem.losses:
        inner = np.einsum("rn,rcn->cn", lin.residuals[unit], dense[unit])
        scaled[unit] += 2 * (slope[unit] * lin.residuals[unit])[:, None] * inner[None]
    size = problem.num_kept * k + b
    columns = np.concatenate(
        [
            problem.kept_index * k + np.arange(k)[:, None],
            np.broadcast_to(problem.num_kept * k + np.arange(b)[:, None], (b, n)),
            size + problem.eliminated_index * e + np.arange(e)[:, None],
        ]
    )
    row_index = np.broadcast_to(np.arange(rows * n).reshape(rows, 1, n), scaled.shape)
    column_index = np.broadcast_to(columns[None], scaled.shape)
    shape = (rows * n, size + problem.num_eliminated * e)
    observed = csr_array((scaled.ravel(), (row_index.ravel(), column_index.ravel())), shape)
    prior = evaluation.prior()[1]
    prior = hstack([prior, csr_array((len(evaluation.prior()[0]), shape[1] - size))])
    ties = ties_of(evaluation)
    rows = [observed, prior] if ties is None else [observed, prior, ties.sparse(size, shape[1])]
    return csr_array(block_array([[part] for part in rows]))
