"""A step bent along a curved valley: geodesic acceleration (Transtrum and Sethna 2012, arXiv 1201.5885, section 4).

A step of Levenberg-Marquardt is straight. Where a direction that little is known of is curved, as the drift of a long
shot is and the depth of a long lens, it leaves the valley, and damping grows until steps are as short as the valley is
straight. The second derivative of the residuals along the step, answered by the factor that is there, bends it.
"""

import numpy as np

from sfm.least_squares.normal_equations import NormalEquations, Part
from sfm.least_squares.problem import robust_weights
from sfm.threads import in_threads

_REACH = 0.1  # of the step, over which the second derivative is taken by difference
_MAX_BEND = 0.75  # twice the bend over the step: beyond it the residuals are no parabola along the step


def bent(system: NormalEquations, step: np.ndarray) -> np.ndarray | None:
    """A step that `system` gave, over all parameters, with the bend that the residuals ask for; None where that is too
    large to be true, or no block is eliminated.

    Weights are held, and what ties eliminated blocks together is taken for straight.
    """
    problem, k, e = system.problem, system.problem.kept_size, system.problem.eliminated_size
    if not system.parts:
        return None
    ahead = problem.at(system.x + _REACH * step)
    of_kept = step[: system.size].reshape(-1, k).T
    shared = step[system.size : system.size + problem.num_shared]
    of_blocks = step[system.size + problem.num_shared :].reshape(-1, e).T

    def pull(part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What half the second derivative pulls at: kept blocks (k, blocks), shared parameters, eliminated blocks."""
        of, rows = part.coupling, part.coupling.rows
        lin = system.at.linearize(rows)
        straight = np.einsum("ran,an->rn", lin.kept, of_kept.take(of.kept, axis=1))
        straight += np.einsum("ran,an->rn", lin.eliminated, of_blocks[:, of.first : of.last].take(of.block, axis=1))
        straight += np.einsum("ran,a->rn", lin.shared, shared)
        curved = ((ahead.residuals(rows) - lin.residuals) / _REACH - straight) / _REACH
        curved *= robust_weights(problem, lin.residuals, rows)
        kept = np.einsum("ran,rn->an", lin.kept, curved)
        kept = np.stack([np.bincount(of.kept - of.low, values, of.high - of.low) for values in kept])
        blocks = part.by_block(np.einsum("ran,rn->an", lin.eliminated, curved))
        return -kept, -np.einsum("ran,rn->a", lin.shared, curved), -blocks

    g, right = np.zeros(len(system.g)), []
    for part, (kept, of_shared, blocks) in zip(system.parts, in_threads(pull, system.parts), strict=True):
        g[part.coupling.low * k : part.coupling.high * k] += kept.T.ravel()
        g[system.size :] += of_shared
        right.append(blocks)
    bend, of_parts = system.answer(g, right)
    length = np.sqrt(system.damped_square(step[: len(g)], system.split(step)))
    if not 2 * np.sqrt(system.damped_square(bend, of_parts)) <= _MAX_BEND * length:
        return None
    return step + np.concatenate([bend, *(blocks.T.ravel() for blocks in of_parts)])
