"""What a depth model's numbers mean on a shot, read from points whose depth is known."""

import numpy as np
import pytest

from sfm.depth_law import depth_exponent, disparity_offset


@pytest.mark.parametrize(("power", "error"), [(1.0, 0.6), (1.0, 0.2), (0.5, 0.1)])
def test_a_weak_map_is_not_taken_for_a_squeezed_one(rng, power, error):
    """Errors of the map flatten one line, those of the points the other: the law is between."""
    depth = rng.normal(0, 0.4, 3000)
    log_map, seen = power * depth + rng.normal(0, error, 3000), depth + rng.normal(0, 0.3, 3000)
    found = depth_exponent(log_map, seen, 1.5, (0.5, 2.5))
    if power == 1:
        assert found == 1
    else:
        assert 1.4 < found <= 1 / power


@pytest.mark.parametrize("on_the_wall", [0.3, 0.8])
def test_the_offset_of_disparity_is_told_by_what_stands_before_the_wall(rng, on_the_wall):
    """However many points lie on a wall that any offset explains."""
    depth = np.where(rng.random(2000) < on_the_wall, 8.0, rng.uniform(2, 8, 2000))
    disparity = (1 / depth - 0.05) * np.exp(rng.normal(0, 0.02, 2000))
    assert disparity_offset([(disparity, np.log(depth))], 0.9) == pytest.approx(0.05, abs=0.02)


def test_pictures_of_an_offset_may_differ_in_scale(rng):
    depth = rng.uniform(2, 8, (3, 500))
    samples = [(1 / one + 0.1, np.log(one) + shift) for one, shift in zip(depth, (0.0, 0.4, -0.3), strict=True)]
    assert disparity_offset(samples, 0.9) == pytest.approx(-0.1, abs=1e-3)
