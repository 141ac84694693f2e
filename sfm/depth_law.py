"""What the numbers of a depth model mean on a shot, told by points whose depth is known: an offset and an exponent.

Errors are drawn in beyond a limit that is not their own: where most points lie on one wall, what fits that wall alone
would look best.
"""

from collections.abc import Callable, Sequence

import numpy as np

_OUTLIER = 3.0  # times the error that is expected of a model
_LEAST_ERROR = 0.05  # of log depth, expected of any: a law is not yet known


def outlier_limit(expected: float) -> float:
    """The error of log depth beyond which a point says no more of the law. expected: relative error of the model."""
    return _OUTLIER * max(expected, _LEAST_ERROR)


def spread_within(error: np.ndarray, limit: float) -> float:
    """Standard deviation of errors (n,) beside their median, those beyond a limit drawn in."""
    return max(float(np.clip(error - np.median(error), -limit, limit).std()), 1e-6)


def disparity_offset(samples: Sequence[tuple[np.ndarray, np.ndarray]], limit: float) -> float:
    """What to add to affine disparity so that its logarithm follows depth.

    samples: of each picture the disparities (n,) and log depths (n,) at its points; pictures may differ in scale.
    """
    low, high = np.quantile(np.concatenate([disparity for disparity, _ in samples]), [0.01, 0.99])
    span = max(high - low, 1e-9 * abs(high), 1e-300)

    def spread(log_farthest: float) -> float:
        errors = [depth + np.log(np.maximum(d - low, 0) + np.exp(log_farthest)) for d, depth in samples]
        return spread_within(np.concatenate([error - np.median(error) for error in errors]), limit)

    return float(np.exp(_least(spread, (np.log(1e-3 * span), np.log(1e2 * span)))) - low)


def depth_exponent(log_map: np.ndarray, log_depth: np.ndarray, limit: float, bounds: tuple[float, float]) -> float:
    """The power of a map's depth that follows the points', 1 where that may be.

    Errors of the map flatten the line that explains depth by it, so that it looks stretched; errors of the points the
    one that explains it by depth, so that it looks squeezed: the truth lies between the two lines (Frisch 1934).
    log_map, log_depth (n,): of either, each picture's beside its median where they differ in scale.
    """
    low, high = bounds

    of_map = _least(lambda power: spread_within(log_depth - power * log_map, limit), (low, high))
    of_depth = 1 / _least(lambda part: spread_within(log_map - part * log_depth, limit), (1 / high, 1 / low))
    return min(max(1.0, min(of_map, of_depth)), max(of_map, of_depth))


def _least(function: Callable[[float], float], between: tuple[float, float]) -> float:
    from scipy.optimize import minimize_scalar  # not needed when a solve begins

    return float(minimize_scalar(function, bounds=between, method="bounded").x)
