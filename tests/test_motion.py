"""What kind of shot it is, and whether to trust it."""

from dataclasses import replace

import numpy as np
import pytest
from solved import following_errors, solve

from sfm import motion as motion_module
from sfm.calibration import LensEvidence
from sfm.geometry import Rigid3
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.initialize import initialize
from sfm.mapping import extend
from sfm.motion import (
    _FREEDOM,
    FREE_DEPTH_WEIGHT,
    Motion,
    MotionEvidence,
    MotionOptions,
    _price_of_depths,
    classify_motion,
    held_still,
    without_translation,
)
from sfm.pipeline import reconstruct_tracks
from sfm.prior_alignment import Agreement
from sfm.prior_weight import PriorWeight
from sfm.scene import DepthPriors
from sfm.synthetic import make_shot
from sfm.verdict import Verdict, judge

SMALL = {"num_frames": 12, "num_tracks": 120}
FREE = MotionEvidence(Motion.LARGE_PARALLAX, False, {}, 10.0)
SMALL_PARALLAX = replace(FREE, motion=Motion.SMALL_PARALLAX)
GOOD = Agreement.AGREES
GIVEN = LensEvidence(False)


@pytest.mark.parametrize("motion", ["pan", "static", "dolly"])
def test_the_right_model_has_the_lowest_criterion(rng, motion):
    shot = make_shot(motion, rng=rng, noise_px=0.3, depth_error=0.1, **SMALL)
    grown, noise = extend(initialize(shot.tracks, shot.priors, shot.camera), shot.priors)
    evidence = classify_motion(grown, shot.priors, noise)
    best = {"pan": "nodal", "static": "static", "dolly": "free"}[motion]
    assert min(evidence.criterion, key=evidence.criterion.__getitem__).split("_")[0] == best
    assert set(evidence.criterion) == set(_FREEDOM)


@pytest.mark.parametrize(("motion", "shake_deg"), [("pan", 0.0), ("static", 0.05)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_errors_that_follow_each_other_are_no_path(seed, motion, shake_deg):
    """Nor of a head that shakes, beside which what a camera that stands leaves is white."""
    rng = np.random.default_rng(seed + 10)
    shot = make_shot(motion, rng=np.random.default_rng(seed), num_frames=20, num_tracks=200, depth_error=0.1)
    shaken = rotation_from_rotvec(np.radians(shake_deg) * rng.standard_normal((20, 3)))
    on_plane = np.column_stack([shot.camera.cam_from_img(shot.tracks.xy), np.ones(len(shot.tracks))])
    seen = np.einsum("nij,nj->ni", shaken[shot.tracks.frame], on_plane)
    xy = shot.camera.img_from_cam(seen) + following_errors(shot.tracks, 0.9, 0.3, rng)
    solved, report = reconstruct_tracks(replace(shot.tracks, xy=xy), shot.priors, shot.camera)
    assert report.motion.motion is Motion.NODAL and np.ptp(solved.centers_in_world, axis=0).max() == 0


def test_a_zoom_that_nobody_told_is_found(rng):
    shot = make_shot("zoom", rng=rng, noise_px=0.3, depth_error=0.1, **SMALL)
    grown, noise = extend(initialize(shot.tracks, shot.priors, shot.camera.at(0)), shot.priors)
    evidence = classify_motion(grown, shot.priors, noise)
    assert evidence.zoom
    assert evidence.motion is Motion.NODAL


def test_a_camera_held_still(rng):
    scene, _ = solve(make_shot("orbit", rng=rng, **SMALL), rng, error=0.01, lost=(4,))
    points = scene.points.copy()
    points[np.flatnonzero(scene.has_point)[:3]] *= -1  # behind the cameras
    scene = replace(scene, points=points)
    turning, still = without_translation(scene), held_still(scene)
    for model in (turning, still):
        np.testing.assert_array_equal(model.cams_from_world.translation[scene.registered], 0.0)
        assert (model.points_in_cam()[model.inliers, 2] > 0).all(), "nor an inlier whose point is gone"
        assert np.isnan(model.cams_from_world.rotation[4]).all()
    np.testing.assert_array_equal(turning.cams_from_world.rotation, scene.cams_from_world.rotation)
    assert np.ptp(still.cams_from_world.rotation[still.registered], axis=0).max() == 0


def _judged(
    rng, *, noise_px=0.2, lost=(), motion=FREE, lens=GIVEN, prior_given=True, inliers=None, agreement=GOOD, exponent=1.0
):
    shot = make_shot("orbit", rng=rng, noise_px=noise_px, **SMALL)
    scene, _ = solve(shot, rng, error=0.0, lost=lost)
    if inliers is not None:
        scene = replace(scene, inliers=scene.inliers & (rng.random(len(shot.tracks)) < inliers))
    prior = PriorWeight(1.0, 1.0, 0.2, 30.0, agreement, exponent)
    return judge(scene, motion, lens, prior_given, prior, converged=True)


def test_a_good_solve_passes(rng):
    verdict, reasons = _judged(rng)
    assert verdict is Verdict.PASS
    assert "every frame has a camera" in reasons[0]


@pytest.mark.parametrize(
    ("case", "expected", "reason"),
    [
        ({"noise_px": 0.5}, Verdict.REVIEW, "above 0.5"),
        ({"noise_px": 2.0}, Verdict.FAIL, "above 1"),
        ({"lost": (3,)}, Verdict.REVIEW, "1 frame has no camera: 3"),
        ({"lost": tuple(range(7))}, Verdict.FAIL, "7 frames have no camera: 0-6"),
        ({"lens": LensEvidence(True, 0.3, False)}, Verdict.REVIEW, "cannot tell the focal length"),
        ({"lens": LensEvidence(True, 0.05, True)}, Verdict.REVIEW, "focal length to 5.0 % only"),
        ({"lens": LensEvidence(True, 0.01, untold_readout=0.4)}, Verdict.REVIEW, "tell it with --readout-ms"),
        ({"inliers": 0.5}, Verdict.REVIEW, "agree with one rigid scene"),
        ({"motion": replace(FREE, motion=Motion.NODAL), "prior_given": False}, Verdict.REVIEW, "only turns"),
        ({"motion": replace(FREE, motion=Motion.STATIC), "prior_given": False}, Verdict.REVIEW, "does not move"),
        ({"motion": replace(FREE, motion=Motion.SMALL_PARALLAX), "prior_given": False}, Verdict.REVIEW, "weakly known"),
        ({"motion": replace(FREE, zoom=True)}, Verdict.REVIEW, "zoom"),
        ({"motion": SMALL_PARALLAX, "agreement": Agreement.SAYS_NOTHING}, Verdict.REVIEW, "prior that is no help"),
        ({"motion": replace(FREE, criterion={"free": 0.0, "free_zoom": 15.0})}, Verdict.REVIEW, "a zoom suits"),
        (
            {"motion": replace(FREE, other_focal_px=1500.0, other_focal_margin=1.0)},
            Verdict.REVIEW,
            "1500 px, say) suits",
        ),
        ({"exponent": 2.2}, Verdict.REVIEW, "squeezes near and far together: only its power 2.2"),
        ({"agreement": Agreement.CONTRADICTS}, Verdict.REVIEW, "contradicts the geometry and was used"),
    ],
)
def test_what_keeps_a_solve_from_passing(rng, case, expected, reason):
    verdict, reasons = _judged(rng, **case)
    assert verdict is expected
    assert any(reason in text for text in reasons), reasons


def test_a_focal_length_next_to_the_one_given_is_no_doubt(rng):
    """2068 px beside 2059: it bends nothing that matters, unless most tracks leave no doubt of it."""
    verdicts = [
        _judged(rng, motion=replace(FREE, other_focal_px=2068.0, other_focal_margin=margin, other_focal_sigma=sigma))[0]
        for margin, sigma in ((-5.0, 1.0), (-60.0, 50.0), (-60.0, 20.0))
    ]
    assert verdicts == [Verdict.PASS, Verdict.PASS, Verdict.REVIEW]


def test_the_margin_of_another_focal_length_has_a_standard_error(rng):
    """It is that of the sum over the tracks: drawing them anew scatters the gain by as much."""
    shot = make_shot("dolly", rng=rng, num_frames=8, num_tracks=100, noise_px=0.3, depth_error=0.1)
    bent = replace(shot.camera, distortion=np.array([0.02, 0.0, 0.0, 0.0]))
    seen = bent.img_from_cam(shot.cams_from_world[shot.tracks.frame].apply(shot.points[shot.tracks.track]))
    noisy = replace(shot.tracks, xy=seen + 0.3 * rng.standard_normal(seen.shape))
    scene, report = reconstruct_tracks(noisy, shot.priors, shot.camera)
    evidence = report.motion
    assert 0 < evidence.other_focal_sigma < abs(evidence.other_focal_margin)
    noise, gains = report.noise, []
    assert scene.registered.all()
    for _ in range(8):
        drawn = rng.random(scene.tracks.num_tracks) < 0.5
        part = replace(scene, inliers=scene.inliers & drawn[scene.tracks.track])
        found = classify_motion(part, shot.priors, noise)
        gains.append(found.other_focal_margin)
    # half of the tracks: half the variance, and half of that again for drawing without putting back
    assert 0.4 < np.std(gains) / (0.5 * evidence.other_focal_sigma) < 2.5


def test_sliding_along_edges_is_no_failure(rng):
    """2 px of noise along x, 0.2 px along y: bad if nothing says so, and good if the tracks do."""
    shot = make_shot("orbit", rng=rng, **SMALL)
    tracks = replace(shot.tracks, xy=shot.tracks.xy + [2.0, 0.2] * rng.standard_normal((len(shot.tracks), 2)))
    scene, _ = solve(replace(shot, tracks=tracks), rng)
    whitening = np.broadcast_to(np.diag([0.1, 1.0]), (tracks.num_tracks, 2, 2))
    told = replace(scene, tracks=replace(tracks, whitening=whitening))
    prior = PriorWeight(1.0, 1.0, 0.2, 30.0, GOOD)
    verdicts = [judge(one, FREE, GIVEN, True, prior, converged=True)[0] for one in (scene, told)]
    assert verdicts == [Verdict.FAIL, Verdict.PASS]
    assert told.rms_px() == scene.rms_px() == pytest.approx(2.0, rel=0.1)
    assert told.rms_px(whitened=True) == pytest.approx(0.28, rel=0.1)


def test_a_scene_that_a_third_of_the_tracks_do_not_belong_to(rng):
    """It may be somebody in front of the set that was solved; as many wrong sightings, strewn, are only noise."""
    scene, _ = solve(make_shot("orbit", rng=rng, noise_px=0.2, **SMALL), rng, error=0.0)
    inliers, prior = np.ones(len(scene.tracks), bool), PriorWeight(1.0, 1.0, 0.2, 30.0, GOOD)
    whole = inliers & (scene.tracks.track >= 0.34 * scene.tracks.num_tracks)
    strewn = inliers & (rng.random(len(inliers)) > 0.34)
    said = [
        " ".join(judge(replace(scene, inliers=one), FREE, GIVEN, True, prior, converged=True)[1])
        for one in (whole, strewn)
    ]
    assert "is it the set that was solved" in said[0]
    assert "is it the set that was solved" not in said[1]


@pytest.mark.parametrize("zooming", ["free_zoom", "nodal_zoom"])
def test_any_zoom_that_suits_as_well_keeps_a_solve_from_passing(rng, zooming):
    """A camera that turns and zooms, taken for one that moves, bends the scene and shows no error."""
    told = {"free": 3300.0, "free_zoom": 3380.0, "nodal_zoom": 3900.0} | {zooming: 3310.0}
    verdict, reasons = _judged(rng, motion=replace(FREE, criterion=told, zoom_change=0.27))
    assert verdict is Verdict.REVIEW
    assert any("a zoom suits" in reason for reason in reasons)


def test_a_likely_slide_keeps_a_solve_from_passing(rng):
    scene, _ = solve(make_shot("orbit", rng=rng, noise_px=0.2, **SMALL), rng, error=0.0)
    prior = PriorWeight(1.0, 1.0, 0.2, 30.0, GOOD)
    (good, why), (bad, reasons) = (judge(scene, FREE, GIVEN, True, prior, True, slide) for slide in (0.3, 1.4))
    assert (good, bad) == (Verdict.PASS, Verdict.REVIEW)
    assert "slide by up to 0.30 px (HD)" in why[0]
    assert any("slide by up to 1.4 px (HD)" in reason for reason in reasons)


def test_a_camera_that_leaves_its_path(rng):
    scene, _ = solve(make_shot("orbit", rng=rng, noise_px=0.2, num_frames=24, num_tracks=120), rng, error=0.0)
    translation = scene.cams_from_world.translation.copy()
    translation[9] += [0.02, 0, 0]
    jumping = replace(scene, cams_from_world=Rigid3(scene.cams_from_world.rotation, translation))
    prior = PriorWeight(1.0, 1.0, 0.2, 30.0, GOOD)
    said = [" ".join(judge(one, FREE, GIVEN, True, prior, converged=True)[1]) for one in (scene, jumping)]
    assert "no camera jumps" in said[0]
    assert "leave the path of their neighbours, the one of frame 9" in said[1]
    numbers = np.arange(1001, 1025)
    assert "frame 1010" in " ".join(judge(jumping, FREE, GIVEN, True, prior, True, frame_numbers=numbers)[1])


def test_frame_rms(rng):
    shot = make_shot("orbit", rng=rng, noise_px=0.2, **SMALL)
    scene, _ = solve(shot, rng, error=0.0, lost=(2,))
    rms = scene.frame_rms_px()
    assert np.isnan(rms[2])
    rows = scene.inliers & (scene.tracks.frame == 5)
    assert rms[5] == pytest.approx(np.sqrt((scene.reprojection_errors()[rows] ** 2).mean()))


def test_a_depth_nobody_measures_costs_nothing(rng):
    """And one that the tracks know much better than the prior costs twice the log of how much better."""
    shot = make_shot("orbit", rng=rng, **SMALL)
    scene, _ = solve(shot, rng, error=0.0)
    priors = DepthPriors(shot.priors.depth, np.full(len(shot.tracks), 0.2))
    known = int(scene.has_point.sum())
    price = {s: _price_of_depths(replace(scene, point_sigma=np.full(120, s)), priors, "free", 1.0) for s in (1e4, 0.01)}
    assert price[1e4] == pytest.approx(0, abs=1e-3)
    by_prior = FREE_DEPTH_WEIGHT / 0.04
    assert price[0.01] == pytest.approx(known * np.log1p(1e4 / by_prior))
    fewer = _price_of_depths(replace(scene, point_sigma=np.full(120, 0.01)), priors, "free", 4.0)
    assert fewer == pytest.approx(known * np.log1p(1e4 / 4 / by_prior)), "errors of a track that count as one"


def test_a_small_dolly_is_no_zoom():
    shot = make_shot(
        "dolly", rng=np.random.default_rng(100), num_frames=20, num_tracks=300, noise_px=0.3, path_over_depth=0.005
    )
    priors = DepthPriors(shot.priors.depth, np.full(len(shot.tracks), 0.2))
    grown, noise = extend(initialize(shot.tracks, priors, shot.camera), priors)
    assert classify_motion(grown, priors, noise).motion is Motion.SMALL_PARALLAX


def test_depths_are_paid_for(rng, monkeypatch):
    shot = make_shot("dolly", rng=rng, noise_px=0.3, **SMALL)
    grown, noise = extend(initialize(shot.tracks, shot.priors, shot.camera), shot.priors)
    paid = classify_motion(grown, shot.priors, noise).criterion
    monkeypatch.setattr("sfm.motion._price_of_depths", lambda *_: 0.0)
    free_of_charge = classify_motion(grown, shot.priors, noise).criterion
    assert paid["free"] > free_of_charge["free"] + 0.5 * SMALL["num_tracks"]
    assert paid["nodal"] == pytest.approx(free_of_charge["nodal"])


@pytest.mark.parametrize(("given", "suits"), [(1.0, False), (1.05, True)])
def test_another_focal_length_that_suits_is_told(rng, given, suits):
    shot = make_shot("orbit", rng=rng, noise_px=0.3, depth_error=0.1, **SMALL)
    camera = shot.camera.with_focal_length(given * shot.camera.focal_length)
    grown, noise = extend(initialize(shot.tracks, shot.priors, camera), shot.priors)
    evidence = classify_motion(grown, shot.priors, noise)
    assert evidence.other_focal_px == pytest.approx(shot.camera.focal_length[0], rel=0.02)
    assert (evidence.other_focal_margin < -20) == suits  # chance alone makes it a few


@pytest.mark.parametrize("motion", ["dolly", "pan", "dolly_zoom"])
def test_models_are_given_up_that_could_not_have_won(rng, motion, monkeypatch):
    """The same verdict as with all adjusted to the end, and no model better for having been given up; on a move some
    are, and save steps."""
    shot = make_shot(motion, rng=rng, num_frames=10, num_tracks=100, noise_px=0.3, depth_error=0.1)
    scene, report = reconstruct_tracks(shot.tracks, shot.priors, shot.camera)
    noise = report.noise
    steps, adjusted = [], motion_module.adjust

    def counted(*what):
        solved, report = adjusted(*what)
        steps.append(report.iterations)
        return solved, report

    monkeypatch.setattr(motion_module, "adjust", counted)
    raced = classify_motion(scene, shot.priors, noise)
    in_race = sum(steps)
    whole = classify_motion(scene, shot.priors, noise, options=MotionOptions(first_iterations=1000))
    assert (raced.motion, raced.zoom) == (whole.motion, whole.zoom)
    assert all(raced.criterion[name] >= whole.criterion[name] - 1e-6 for name in whole.criterion)
    assert in_race <= sum(steps) - in_race and (in_race < sum(steps) - in_race or motion == "pan")
