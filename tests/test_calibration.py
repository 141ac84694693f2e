"""An unknown lens: what the tracks tell of it, and how well they know it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from solved import solve

from sfm import calibration
from sfm.bundle_adjustment import BundleAdjustmentOptions, LensSigma, LensUnknowns, Posterior, adjust
from sfm.calibration import CalibrationOptions, calibrate
from sfm.motion import Motion, MotionEvidence
from sfm.outliers import TrackingNoise
from sfm.pipeline import Options, reconstruct, reconstruct_tracks
from sfm.scene import DepthPriors
from sfm.synthetic import make_shot
from sfm.verdict import Verdict
from sfm.video import Video

UNKNOWN = LensUnknowns(focal=True, focal_prior_px=2000.0, radial=1)


def _calibrated(shot, rng, motion=Motion.LARGE_PARALLAX, lens=UNKNOWN):
    scene, _ = solve(shot, rng)
    camera = shot.camera.with_focal_length([1950.0, 1950.0])
    scene = replace(scene, camera=replace(camera, distortion=np.zeros(0)))
    noise = replace(TrackingNoise.unknown(scene), sigma_px=0.3, knee_px=1.5)
    return calibrate(scene, shot.priors, noise, MotionEvidence(motion, False, {}, 8.0), lens)


@pytest.mark.parametrize(("k1", "count"), [(0.0, 0), (-0.2, 1), (0.1, 1), (-0.05, 1)])
def test_distortion_is_found_where_there_is_some(rng, k1, count):
    shot = make_shot(
        "orbit", rng=rng, num_frames=8, num_tracks=120, noise_px=0.3, depth_error=0.2, distortion=(k1, 0, 0, 0)
    )
    scene, lens, evidence = _calibrated(shot, rng)
    assert evidence.radial == lens.radial == count
    assert evidence.focal_known
    assert abs(scene.camera.focal_length[0] / shot.camera.focal_length[0] - 1) < max(3 * evidence.focal_sigma, 0.01)
    assert len(scene.camera.distortion) == (4 if count else 0)
    if count:
        assert scene.camera.distortion[0] == pytest.approx(k1, rel=0.1)


@pytest.mark.parametrize(("tracks", "gain", "count"), [(3, 50.0, 0), (100, 50.0, 1), (30, 6.0, 1), (30, 2.0, 0)])
def test_a_few_tracks_do_not_bend_the_lens(monkeypatch, rng, tracks, gain, count):
    """The same gain, of three tracks or of many: what follows something that moves may look like distortion. And it is
    to be worth its price, but need not be beyond chance by that much."""
    shot = make_shot("dolly", rng=rng, num_frames=8, num_tracks=100, noise_px=0.3)
    scene = solve(shot, rng)[0]
    bent = replace(scene, camera=replace(scene.camera, distortion=np.array([0.01, 0.0, 0.0, 0.0])))
    saved = np.where(np.arange(100) < tracks, gain / tracks, 0.0)
    monkeypatch.setattr(calibration, "reprojection_costs", lambda of, _: 100.0 - saved * (of is bent))
    settings = BundleAdjustmentOptions()
    found = calibration._coefficients([(scene, settings), (bent, settings)], 1600, CalibrationOptions())
    assert found == count


@pytest.mark.parametrize(("noise", "parts"), [(0.01, 0.03), (0.03, 0.01)])
def test_the_sigma_told_is_the_larger(noise, parts):
    """What noise leaves, or by how much parts of the shot disagree."""
    unknown = LensUnknowns(focal=True, principal_point=True)
    known = SimpleNamespace(
        options=BundleAdjustmentOptions(lens=unknown),
        lens=lambda: LensSigma(noise, np.array([noise, parts]), np.zeros(2)),
        lens_by_parts=lambda: LensSigma(parts, np.array([parts, noise]), np.zeros(2)),
    )
    evidence = calibration.with_sigma(calibration.LensEvidence(True), known)  # pyright: ignore[reportArgumentType]
    assert evidence.focal_sigma == 0.03 and evidence.principal_sigma_px == (0.03, 0.03)


def test_a_camera_that_stands_leaves_the_guess(rng):
    shot = make_shot("static", rng=rng, num_frames=6, num_tracks=80, noise_px=0.3)
    scene, lens, evidence = _calibrated(shot, rng, Motion.STATIC)
    assert not evidence.focal_known and evidence.focal_sigma == UNKNOWN.focal_sigma
    assert not lens.focal
    np.testing.assert_allclose(scene.camera.focal_length, 2000.0)


def test_what_the_tracks_know_no_better_than_the_guess_stays_the_guess(rng):
    shot = make_shot("handheld", rng=rng, num_frames=5, num_tracks=15, noise_px=3.0, path_over_depth=0.001)
    options = CalibrationOptions(max_sigma=1e-3)
    scene, _ = solve(shot, rng)
    noise = replace(TrackingNoise.unknown(scene), sigma_px=3.0, knee_px=10.0)
    kind = MotionEvidence(Motion.SMALL_PARALLAX, False, {}, 0.1)
    scene, lens, evidence = calibrate(scene, shot.priors, noise, kind, UNKNOWN, options)
    assert not evidence.focal_known and not lens.focal
    np.testing.assert_allclose(scene.camera.focal_length, 2000.0)


@pytest.mark.parametrize("focal", [False, True])
def test_a_principal_point_off_the_middle_is_found_where_it_is_asked_for(rng, focal):
    """A plate cropped out of a larger one."""
    shot = make_shot("pan", rng=rng, num_frames=12, num_tracks=200, noise_px=0.3)
    crop = np.array([60.0, -30.0])
    scene, _ = solve(shot, rng)
    scene = replace(scene, tracks=replace(shot.tracks, xy=shot.tracks.xy + crop))
    noise = replace(TrackingNoise.unknown(scene), sigma_px=0.3, knee_px=1.5)
    middle = tuple(shot.camera.principal_point.tolist())
    lens = LensUnknowns(focal=focal, principal_point=True, principal_prior_px=middle)
    found, lens, evidence = calibrate(scene, shot.priors, noise, MotionEvidence(Motion.NODAL, False, {}, 0.1), lens)
    assert evidence.principal_known and lens.principal_point and evidence.refined == focal
    off = found.camera.principal_point - middle - crop
    assert np.abs(off).max() < 6
    assert max(evidence.principal_sigma_px) < 3


def test_a_cropped_pan_stays_a_pan(rng):
    """About a point that is not the middle: taken for one about the middle it would need a path."""
    shot = make_shot("pan", rng=rng, num_frames=14, num_tracks=150, noise_px=0.3, outlier_ratio=0.05)
    tracks = replace(shot.tracks, xy=shot.tracks.xy + np.array([60.0, 30.0]))
    solved, report = reconstruct_tracks(tracks, shot.priors, shot.camera, Options(refine_principal_point=True))
    assert report.motion.motion is Motion.NODAL
    off = solved.camera.principal_point - shot.camera.principal_point - [60.0, 30.0]
    assert np.all(np.abs(off) < 4 * np.array(report.lens.principal_sigma_px)) and np.abs(off).max() < 6
    assert report.lens.principal_known and not report.lens.refined


def test_what_is_not_known_of_the_principal_point_keeps_a_solve_from_passing(rng):
    shot = make_shot("static", rng=rng, num_frames=6, num_tracks=80, noise_px=0.3)
    solved, report = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, Options(refine_principal_point=True))
    assert not report.lens.principal_known and report.lens.principal_sigma_px
    np.testing.assert_allclose(solved.camera.principal_point, shot.camera.principal_point)
    assert any("principal point" in reason for reason in report.reasons)


def test_a_zoom_with_a_principal_point_of_its_own_in_every_frame_keeps_them(rng):
    shot = make_shot("handheld", rng=rng, num_frames=5, num_tracks=15, noise_px=3.0, path_over_depth=0.001)
    scene, _ = solve(shot, rng)
    places = shot.camera.principal_point + np.outer(np.arange(5), [10.0, 0.0])
    camera = replace(shot.camera, focal_length=np.tile(shot.camera.focal_length, (5, 1)), principal_point=places)
    noise = replace(TrackingNoise.unknown(scene), sigma_px=3.0, knee_px=10.0)
    lens = LensUnknowns(principal_point=True, principal_prior_px=tuple(places[0].tolist()))
    kind = MotionEvidence(Motion.SMALL_PARALLAX, True, {}, 0.1)
    found, _, evidence = calibrate(replace(scene, camera=camera), shot.priors, noise, kind, lens)
    assert not evidence.principal_known
    np.testing.assert_allclose(found.camera.principal_point, places)


def test_a_principal_point_that_the_tracks_cannot_tell_stays(rng):
    shot = make_shot("handheld", rng=rng, num_frames=5, num_tracks=15, noise_px=3.0, path_over_depth=0.001)
    scene, _ = solve(shot, rng)
    scene = replace(scene, tracks=replace(shot.tracks, xy=shot.tracks.xy + 20.0))
    noise = replace(TrackingNoise.unknown(scene), sigma_px=3.0, knee_px=10.0)
    middle = tuple(shot.camera.principal_point.tolist())
    lens = LensUnknowns(principal_point=True, principal_prior_px=middle)
    kind = MotionEvidence(Motion.SMALL_PARALLAX, False, {}, 0.1)
    found, lens, evidence = calibrate(scene, shot.priors, noise, kind, lens)
    assert not evidence.principal_known and not lens.principal_point and evidence.principal_sigma_px
    np.testing.assert_allclose(found.camera.principal_point, middle)


def test_a_given_lens_is_left_alone(rng):
    shot = make_shot("orbit", rng=rng, num_frames=6, num_tracks=80, noise_px=0.3)
    scene, lens, evidence = _calibrated(shot, rng, lens=LensUnknowns())
    assert not evidence.refined and not lens.focal
    np.testing.assert_allclose(scene.camera.focal_length, 1950.0)


@pytest.mark.parametrize("motion", ["orbit", "pan"])
def test_sigmas_are_what_repeated_noise_shows(motion):
    """Monte Carlo: the spread of focal length, k1 and a camera centre over draws of the noise."""
    rng = np.random.default_rng(0)
    truth = make_shot(motion, rng=rng, num_frames=6, num_tracks=60)
    options = BundleAdjustmentOptions(
        reproj_sigma_px=0.3, reproj_loss="squared", depth_loss="squared", lens=LensUnknowns(focal=True, radial=1),
        refine_translation=motion == "orbit", max_iterations=8, estimate_sigma=False,
    )  # fmt: skip
    start, _ = solve(truth, rng)
    start = replace(start, inliers=np.ones(len(truth.tracks), bool))
    # the depth term holds scale and gauge: its own error is not drawn, so it is made to matter little
    priors = DepthPriors(truth.priors.depth, np.full(len(truth.tracks), 1.0))
    found, said = [], []
    for _ in range(60):
        noisy = replace(truth.tracks, xy=truth.tracks.xy + 0.3 * rng.standard_normal(truth.tracks.xy.shape))
        solved, _ = adjust(replace(start, tracks=noisy), priors, options)
        found.append([np.log(solved.camera.focal_length[0]), solved.camera.distortion[0]])
        if len(said) < 5:
            sigma = Posterior(solved, priors, options).lens()
            said.append([sigma.focal, sigma.radial[0]])
    ratio = np.std(found, axis=0) / np.mean(said, axis=0)
    assert (0.7 < ratio).all() and (ratio < 1.3).all(), ratio


def test_an_unknown_lens_with_distortion_is_solved():
    """Of a camera that only turns; of one that moves in `test_shots_as_they_come`."""
    shot = make_shot(
        "pan", rng=np.random.default_rng(5), num_frames=10, num_tracks=120, noise_px=0.3, depth_error=0.2,
        distortion=(-0.2, 0, 0, 0),
    )  # fmt: skip
    video = Video.from_arrays([np.zeros((1080, 1920, 3), np.uint8)] * 10)
    solved, report, _ = reconstruct(video, shot.priors, tracks=shot.tracks, options=Options())
    assert solved.camera.distortion[0] == pytest.approx(-0.2, rel=0.1)
    error = abs(solved.camera.focal_length[..., 0] / shot.camera.focal_length[0] - 1)
    assert error < 0.04 and error < 3 * report.lens.focal_sigma
    assert solved.rms_px() < 0.6


@pytest.mark.parametrize("bottom", [0.0, 1.3, -2.6, 30.0, -30.0])
def test_along_the_valley(monkeypatch, bottom):
    """To the bottom if it is within reach; as far as it may go, and no farther, if it is not."""
    shot = make_shot("dolly", rng=np.random.default_rng(0), num_frames=4, num_tracks=30)
    scene, _ = solve(shot, np.random.default_rng(0))
    options = CalibrationOptions()

    def place(part) -> float:
        return float(np.log(part.camera.focal_length[0] / shot.camera.focal_length[0])) / options.focal_step

    def solved(part, priors, noise, motion, lens, options):
        return part, None, 1000 + abs(place(part) - bottom) * (10 if abs(bottom) > 5 else abs(place(part) - bottom))

    monkeypatch.setattr(calibration, "_solved", solved)
    noise, motion = TrackingNoise.unknown(scene), MotionEvidence(Motion.SMALL_PARALLAX, False, {}, 1.0)
    found = calibration._along_the_valley(scene, shot.priors, noise, motion, UNKNOWN, options)[0]
    reach = np.clip(bottom, -options.max_focal_steps, options.max_focal_steps)
    assert place(found) == pytest.approx(reach, abs=1e-6)


def test_a_long_lens_on_a_dolly(rng):
    """A longer lens and a deeper scene look alike: the bottom of the valley is far from where it was mapped."""
    shot = make_shot("dolly", rng=rng, num_frames=14, num_tracks=120, noise_px=0.2, fov_deg=28.0)
    priors = DepthPriors(shot.priors.depth**0.85, np.full(len(shot.tracks), 0.2))
    black = Video.from_arrays([np.zeros((1080, 1920, 3), np.uint8)] * 14)
    solved, report, _ = reconstruct(black, priors, tracks=shot.tracks)
    assert report.lens.focal_known
    assert report.lens.focal_sigma < 0.06
    assert abs(solved.camera.focal_length[0] / shot.camera.focal_length[0] - 1) < 2 * report.lens.focal_sigma


@pytest.mark.parametrize(("readout", "told"), [(0.8, 0.8), (0.0, 0.0)])
def test_a_rolling_shutter_that_nobody_told_is_seen_in_the_tracks(rng, readout, told):
    """Of a shaking camera with an unknown lens; one with a global shutter keeps its PASS."""
    shot = make_shot("handheld", rng=rng, num_frames=16, num_tracks=120, readout=readout, noise_px=0.2, depth_error=0.2)
    black = Video.from_arrays([np.zeros((1080, 1920, 3), np.uint8)] * 16)
    _, report, _ = reconstruct(black, shot.priors, tracks=shot.tracks)
    assert report.lens.untold_readout == told
    assert (report.verdict is Verdict.PASS) == (not told)
    assert any("--readout-ms" in reason and "rolling shutter, read out" in reason for reason in report.reasons) == (
        told > 0
    )
