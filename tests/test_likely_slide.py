"""How far an inserted object is likely to slide, beside how far it does."""

from dataclasses import replace

import numpy as np
import pytest
from mixed_shots import slide_px
from solved import solve

from sfm.likely_slide import seen_slide_px
from sfm.motion import Motion
from sfm.pipeline import Options, reconstruct_tracks
from sfm.prior_weight import PriorWeightOptions
from sfm.scene import DepthPriors
from sfm.synthetic import make_shot

NO_DEPTH = Options(prior_weight=PriorWeightOptions(weight=0.0))


@pytest.mark.parametrize(
    ("motion", "length", "options"),
    [("dolly", None, Options()), ("orbit", 7, Options()), ("handheld", None, NO_DEPTH), ("pan", None, Options())],
)
def test_it_is_about_how_far_inserted_points_do_slide(motion, length, options):
    """Over draws of the noise; short tracks let a path drift, and no residual shows it."""
    likely, found = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shot = make_shot(motion, rng=rng, num_frames=16, num_tracks=150, noise_px=0.4, track_length=length)
        priors = DepthPriors(shot.priors.depth, np.full(len(shot.tracks), 0.2))
        solved, report = reconstruct_tracks(shot.tracks, priors, shot.camera, options)
        likely.append(report.slide_px)
        found.append(slide_px(solved, shot))
    assert 0.6 < np.median(likely) / np.median(found) < 4
    assert np.mean(np.array(found) < likely) >= 0.5


def test_twice_the_noise_is_twice_the_slide():
    slides = []
    for noise_px in (0.2, 0.4):
        shot = make_shot("dolly", rng=np.random.default_rng(0), num_frames=12, num_tracks=120, noise_px=noise_px)
        slides.append(reconstruct_tracks(shot.tracks, shot.priors, shot.camera)[1].slide_px)
    assert slides[1] / slides[0] == pytest.approx(2, rel=0.3)


def test_a_camera_that_stands_slides_by_nothing(rng):
    shot = make_shot("static", rng=rng, num_frames=6, num_tracks=80, noise_px=0.2)
    report = reconstruct_tracks(shot.tracks, shot.priors, shot.camera)[1]
    assert report.motion.motion is Motion.STATIC and report.slide_px < 1e-9


def test_the_unit_of_the_prior_is_of_no_account(rng):
    shot = make_shot("dolly", rng=rng, num_frames=10, num_tracks=100, noise_px=0.3)
    far = replace(shot.priors, depth=40 * shot.priors.depth)
    slides = [reconstruct_tracks(shot.tracks, priors, shot.camera)[1].slide_px for priors in (shot.priors, far)]
    assert slides[0] == pytest.approx(slides[1], rel=0.05)


@pytest.mark.parametrize("warp", [0.0, 3.0])
def test_tracks_that_are_off_together_are_seen(rng, warp):
    """Frames stretched by themselves, as a rolling shutter leaves them behind a stabiliser: by 1.5 px at the border."""
    shot = make_shot("dolly", rng=rng, num_frames=8, num_tracks=500, noise_px=0.3)
    scene = replace(solve(shot, rng)[0], inliers=np.ones(len(shot.tracks), bool))
    size = np.array([shot.camera.width, shot.camera.height])
    aside = rng.standard_normal(8)[shot.tracks.frame, None] * (shot.tracks.xy / size - 0.5) * [0.0, warp]
    scene = replace(scene, tracks=replace(shot.tracks, xy=shot.tracks.xy + aside))
    found = seen_slide_px(scene)
    if not warp:
        assert found == 0.0
    else:
        off = np.abs(aside[:, 1])
        assert 0.5 * np.quantile(off, 0.95) < found < 1.3 * np.quantile(off, 0.95)


def test_regions_of_few_tracks_tell_no_slide(rng):
    shot = make_shot("dolly", rng=rng, num_frames=4, num_tracks=30)
    assert np.isnan(seen_slide_px(solve(shot, rng)[0]))
