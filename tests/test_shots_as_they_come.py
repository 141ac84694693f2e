"""The fast part of `benchmarks/shots_as_they_come.py`: a seed of some synthetic rows, shorter, held to its bar."""

import numpy as np
import pytest
import shots_as_they_come as benchmark

from sfm.verdict import Verdict

SHORT = {"num_frames": 16, "num_tracks": 150}


@pytest.mark.parametrize("motion", ["zoom", "dolly_zoom"])
def test_the_kind_of_shot_and_its_focal_curve(motion):
    right, error = benchmark.class_and_focal(motion, 0, **SHORT)
    assert right
    assert error <= 0.02


def test_a_long_lens_that_nobody_told():
    """From a guess of 50 degrees; half and twice the true focal length are places an adjustment does not leave."""
    error, sigma = benchmark.unknown_focal("pan", 0, fov_deg=24.0, **SHORT)
    assert error <= max(2 * sigma, 0.002)
    assert sigma < 0.01


@pytest.mark.slow
def test_an_orbit_through_a_long_lens_is_not_turned_inside_out():
    """With a zoom, and with near and far exchanged, the tracks are explained nearly as well."""
    error, sigma = benchmark.unknown_focal("orbit", 3, fov_deg=25.794)
    assert error <= 2 * sigma < 0.02


def test_a_distorted_lens_that_nobody_told():
    k1, slide = benchmark.distorted(-0.2, 0, **SHORT)
    assert abs(k1 / -0.2 - 1) <= 0.1
    assert slide <= 0.3


@pytest.mark.parametrize("what", ["noise only", "textureless", "a cut in the middle"])
def test_no_picture_of_a_scene_ever_passes(what):
    assert benchmark.verdict_of(benchmark.hopeless(what, 0, frames=4)) != Verdict.PASS.value


@pytest.mark.parametrize("number", [7, 84, 211])
def test_a_pass_slides_little(number):
    """A good one, one with few tracks, and a dolly zoom through a lens said to be fixed."""
    shot = benchmark.judged(number)
    assert (shot.verdict == Verdict.PASS.value) == (shot.slide_px <= benchmark.MAX_SLIDE_PX)


def test_the_tables():
    shots = [
        benchmark.Judged(k, "dolly", verdict, slide, ())
        for k, (verdict, slide) in enumerate(
            [("PASS", 0.2), ("PASS", 3.0), ("REVIEW", np.inf), ("FAIL", 9.0), ("NoSolutionError", np.inf)]
        )
    ]
    assert benchmark.precision(shots) == (2, 1)
    assert benchmark.confusion(shots)[2:] == [
        "| PASS | 1 | 1 | 0 |", "| REVIEW | 0 | 0 | 1 |", "| FAIL | 0 | 1 | 0 |",
        "| stopped with an error, or no end | | | 1 |",
    ]  # fmt: skip
