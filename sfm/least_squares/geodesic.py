"""A step bent along a curved valley: geodesic acceleration (Transtrum and Sethna 2012, arXiv 1201.5885, section 3).

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
    """A step that `system` gave, over all parameters, with the bend that the residuals ask for.

    None where the bend is too large to be true, and where no block is eliminated, for then there are no parts to sum
    over. Weights are held; the prior, and what ties eliminated blocks together, are taken for straight.
    """
    problem, k = system.problem, system.problem.kept_size
    if not system.parts:
        return None
    ahead = problem.at(system.x + _REACH * step)
    of_kept, of_parts = step[: system.size].reshape(-1, k).T, system.split(step)
    shared = step[system.size : len(system.g)]

    def pull(of: tuple[Part, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What half the second derivative pulls at: kept blocks (k, blocks), shared parameters, eliminated blocks."""
        coupling, of_blocks = of[0].coupling, of[1]
        lin = system.at.linearize(coupling.rows)
        of_block = of_blocks.take(coupling.block, axis=1)
        straight = lin.along(of_kept.take(coupling.kept, axis=1), shared, of_block)
        curved = ((ahead.residuals(coupling.rows) - lin.residuals) / _REACH - straight) / _REACH
        curved *= robust_weights(problem, lin.residuals, coupling.rows)
        kept = np.stack([coupling.by_kept_block(each) for each in np.einsum("ran,rn->an", lin.kept, curved)])
        blocks = coupling.by_block(np.einsum("ran,rn->an", lin.eliminated, curved))
        return -kept, -np.einsum("ran,rn->a", lin.shared, curved), -blocks

    g, right = np.zeros(len(system.g)), []
    pulls = in_threads(pull, zip(system.parts, of_parts, strict=True))
    for part, (kept, of_shared, blocks) in zip(system.parts, pulls, strict=True):
        g[part.coupling.low * k : part.coupling.high * k] += kept.T.ravel()
        g[system.size :] += of_shared
        right.append(blocks)
    bend, bends = system.answer(g, right)
    length = np.sqrt(system.damped_square(step[: len(g)], of_parts))
    if not 2 * np.sqrt(system.damped_square(bend, bends)) <= _MAX_BEND * length:  # nor where it is not finite
        return None
    return step + system.joined(bend, bends)
