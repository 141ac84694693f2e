"""The whole method right of the waist on shots whose truth is known: exact, noisy, with a prior that lies."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sfm.errors import NoSolutionError, NotEnoughTracksError, UsageError
from sfm.geometry import Camera, Sim3
from sfm.geometry.rotation import rotation_angle
from sfm.mapping import MappingOptions
from sfm.motion import Motion
from sfm.pipeline import BY_HAND, Options, SolveReport, reconstruct, reconstruct_tracks
from sfm.prior_alignment import Agreement
from sfm.prior_weight import PriorWeightOptions
from sfm.scene import DepthPriors, Reconstruction, Support, Tracks
from sfm.synthetic import SyntheticShot, make_shot
from sfm.verdict import Verdict
from sfm.video import Video

MOTIONS = ["dolly", "orbit", "handheld", "pan", "static", "zoom"]
SMALL = {"num_frames": 12, "num_tracks": 120}
NO_DEPTH = Options(mapping=BY_HAND, prior_weight=PriorWeightOptions(weight=0.0))


def pose_errors(solved: Reconstruction, shot: SyntheticShot) -> tuple[float, float]:
    """Largest error of a rotation against the first frame's, degrees, and RMS error of the centres as a part of the
    path's extent after a similarity; of a path of no extent the largest distance from the first camera, in m."""
    ok = np.flatnonzero(solved.registered)
    found, truth = solved.cams_from_world[ok], shot.cams_from_world[ok]
    turned = [c.rotation @ c.rotation[0].T for c in (found, truth)]
    rotation_deg = np.degrees(rotation_angle(turned[0] @ np.swapaxes(turned[1], 1, 2))).max()
    centers, true_centers = found.centers_in_world, truth.centers_in_world
    extent = np.linalg.norm(true_centers[:, None] - true_centers[None], axis=-1).max()
    if extent < 1e-9:
        return float(rotation_deg), float(np.linalg.norm(centers - centers[0], axis=1).max())
    off = Sim3.from_points(centers, true_centers).apply(centers) - true_centers
    return float(rotation_deg), float(np.sqrt((off**2).sum(1).mean()) / extent)


@cache
def exact(motion: str) -> tuple[SyntheticShot, Reconstruction, SolveReport]:
    shot = make_shot(motion, rng=np.random.default_rng(5), **SMALL)
    return shot, *reconstruct_tracks(shot.tracks, shot.priors, shot.camera)


@cache
def noisy(motion: str) -> tuple[SyntheticShot, Reconstruction, SolveReport]:
    shot = make_shot(
        motion,
        rng=np.random.default_rng(5),
        noise_px=0.3,
        outlier_ratio=0.05,
        depth_error=0.2,
        depth_flicker=0.05,
        **SMALL,
    )
    return shot, *reconstruct_tracks(shot.tracks, shot.priors, shot.camera)


# exact and noisy, each motion


@pytest.mark.parametrize("motion", MOTIONS)
def test_exact_data_give_exact_poses(motion):
    shot, solved, report = exact(motion)
    assert solved.registered.all()
    rotation_deg, position = pose_errors(solved, shot)
    assert np.radians(rotation_deg) < 1e-6
    assert position < 1e-6
    assert solved.rms_px() < 1e-4
    assert solved.inliers.mean() > 0.95
    assert report.verdict is _due(motion)


@pytest.mark.parametrize("motion", MOTIONS)
def test_exact_data_and_prior_give_the_scale(motion):
    """The prior is true depth: the world is in metres."""
    shot, solved, _ = exact(motion)
    depth = solved.points_in_cam()[solved.inliers, 2]
    np.testing.assert_allclose(depth / shot.priors.depth[solved.inliers], 1.0, rtol=1e-3)
    np.testing.assert_allclose(solved.depth_scale, 1.0, rtol=1e-3)


def _due(motion: str) -> Verdict:
    """Without parallax nothing checks the depth prior, and a PASS would vouch for it."""
    return Verdict.PASS if motion in ("dolly", "orbit", "handheld") else Verdict.REVIEW


# what noise of 0.3 px does: typical values are half the upper bound, and no error at all would mean the noise is lost
NOISY_DEG = {"dolly": (1e-3, 0.04), "orbit": (1e-3, 0.2), "handheld": (1e-3, 0.04), "pan": (1e-3, 0.025)}
NOISY_POSITION = {"dolly": (1e-4, 0.005), "orbit": (3e-5, 0.001), "handheld": (3e-4, 0.01)}


@pytest.mark.parametrize("motion", MOTIONS)
def test_noisy_data_give_nearly_exact_poses(motion):
    shot, solved, report = noisy(motion)
    assert solved.registered.all()
    rotation_deg, position = pose_errors(solved, shot)
    low, high = NOISY_DEG.get(motion, (-1, 1e-9))
    assert low < rotation_deg < high
    low, high = NOISY_POSITION.get(motion, (-1, 1e-9))
    assert low < position < high
    assert 0.3 < solved.rms_px() < 0.5, "0.3 px in x and y is 0.42 px of distance"
    assert 0.25 < report.noise.sigma_px < 0.35
    assert report.verdict is _due(motion)


@pytest.mark.parametrize("motion", MOTIONS)
def test_outliers_are_caught_and_good_observations_kept(motion):
    shot, solved, _ = noisy(motion)
    has_point = solved.has_point[shot.tracks.track]
    assert solved.inliers[shot.outliers].mean() < 0.05
    assert solved.inliers[~shot.outliers & has_point].mean() > 0.98
    assert solved.has_point[shot.tracks.lengths >= 4].mean() > 0.95


@pytest.mark.parametrize("data", [exact, noisy])
@pytest.mark.parametrize(
    ("motion", "expected"),
    [
        ("dolly", Motion.SMALL_PARALLAX),
        ("orbit", Motion.LARGE_PARALLAX),
        ("handheld", Motion.SMALL_PARALLAX),
        ("pan", Motion.NODAL),
        ("static", Motion.STATIC),
        ("zoom", Motion.STATIC),
    ],
)
def test_the_kind_of_shot_is_told(motion, expected, data):
    _, _, report = data(motion)
    assert report.motion.motion is expected
    assert report.motion.zoom == (motion == "zoom")


@pytest.mark.parametrize("motion", ["pan", "static", "zoom"])
def test_a_camera_that_stands_gets_no_path(motion):
    _, solved, _ = noisy(motion)
    np.testing.assert_allclose(solved.centers_in_world, 0.0, atol=1e-12)


def test_the_world_is_the_first_registered_camera():
    _, solved, _ = noisy("handheld")
    np.testing.assert_array_equal(solved.cams_from_world.rotation[0], np.eye(3))
    np.testing.assert_array_equal(solved.cams_from_world.translation[0], np.zeros(3))


def test_the_same_input_gives_the_same_result():
    shot, solved, _ = noisy("handheld")
    again, _ = reconstruct_tracks(shot.tracks, shot.priors, shot.camera)
    np.testing.assert_array_equal(again.points, solved.points)
    np.testing.assert_array_equal(again.cams_from_world.translation, solved.cams_from_world.translation)


# the prior


def _without_and_with(shot: SyntheticShot, priors: DepthPriors) -> tuple[tuple[float, float], tuple[float, float]]:
    solved, _ = reconstruct_tracks(shot.tracks, priors, shot.camera)
    bare, _ = reconstruct_tracks(shot.tracks, priors, shot.camera, NO_DEPTH)
    return pose_errors(bare, shot), pose_errors(solved, shot)


def test_the_prior_does_not_hurt_where_parallax_is_rich(rng):
    shot = make_shot("orbit", rng=rng, noise_px=0.3, depth_error=0.3, depth_flicker=0.05, **SMALL)
    bare, solved = _without_and_with(shot, shot.priors)
    assert solved[0] <= 1.05 * bare[0]
    assert solved[1] <= 1.05 * bare[1]


def test_a_prior_that_lies_smoothly_does_not_drag_a_good_shot(rng):
    """Depth to the power of 0.8 and a gradient over the picture: all points wrong together."""
    shot = make_shot("handheld", rng=rng, noise_px=0.3, **SMALL)
    x, y = (shot.tracks.xy / [1920, 1080] - 0.5).T
    liar = DepthPriors(shot.priors.depth**0.8 * np.exp(0.5 * x + 0.4 * y), np.full(len(shot.tracks), 0.2))
    bare, solved = _without_and_with(shot, liar)
    assert solved[0] <= 1.05 * bare[0]
    assert solved[1] <= 1.05 * bare[1]


def test_the_prior_helps_where_parallax_is_small(rng):
    """A short dolly with two pixels of noise: the depth of the points is what the tracks cannot say."""
    shot = make_shot("dolly", rng=rng, noise_px=2.0, depth_error=0.1, **SMALL)
    error = []
    for options in (NO_DEPTH, Options(mapping=BY_HAND)):
        solved, _ = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, options)
        ratio = np.log(solved.points[:, 2] / shot.points[:, 2])[solved.has_point]
        error.append(1.4826 * np.median(np.abs(ratio - np.median(ratio))))
    assert error[1] < 0.8 * error[0]


@pytest.mark.parametrize("motion", ["handheld", "pan"])
def test_constant_priors_and_none_at_all(rng, motion):
    shot = make_shot(motion, rng=rng, noise_px=0.2, **SMALL)
    solved, report = reconstruct_tracks(shot.tracks, None, shot.camera)
    rotation_deg, position = pose_errors(solved, shot)
    assert solved.registered.all()
    assert not report.prior_given
    assert rotation_deg < 0.04
    assert position < 0.01
    assert report.verdict is not Verdict.PASS, "the depth of the scene is weakly known, and that is said"
    again, _ = reconstruct_tracks(shot.tracks, DepthPriors.constant(shot.tracks), shot.camera)
    np.testing.assert_array_equal(solved.points, again.points)


def test_priors_missing_for_some_frames(rng):
    shot = make_shot("handheld", rng=rng, noise_px=0.2, depth_error=0.1, **SMALL)
    gone = np.isin(shot.tracks.frame, [0, 5, 6])
    priors = DepthPriors(np.where(gone, np.nan, shot.priors.depth), np.where(gone, np.nan, shot.priors.sigma))
    solved, _ = reconstruct_tracks(shot.tracks, priors, shot.camera)
    assert solved.registered.all()
    assert pose_errors(solved, shot)[1] < 0.01
    assert np.isfinite(solved.depth_scale).all()


def test_a_prior_in_another_unit(rng):
    """The world takes the prior's unit: feet, say."""
    shot = make_shot("orbit", rng=rng, noise_px=0.1, depth_error=0.02, depth_unit=0.3048, **SMALL)
    solved, _ = reconstruct_tracks(shot.tracks, shot.priors, shot.camera)
    found, truth = (
        np.linalg.norm(c[-1] - c[0]) for c in (solved.centers_in_world, shot.cams_from_world.centers_in_world)
    )
    assert found * 0.3048 == pytest.approx(truth, rel=0.02)


# the lens


def test_lens_distortion_is_taken_out_and_put_back(rng):
    shot = make_shot("handheld", rng=rng, **SMALL)
    lens = replace(shot.camera, distortion=np.array([-0.12, 0.03, 0.001, -0.001]))
    in_cam = shot.cams_from_world[shot.tracks.frame].apply(shot.points[shot.tracks.track])
    tracks = replace(shot.tracks, xy=lens.img_from_cam(in_cam))
    solved, _ = reconstruct_tracks(tracks, shot.priors, lens)
    assert max(pose_errors(solved, shot)) < 1e-6
    np.testing.assert_array_equal(solved.camera.distortion, lens.distortion)
    np.testing.assert_array_equal(solved.tracks.xy, tracks.xy)
    assert solved.rms_px() < 1e-4, "measured on the plate as shot"


def test_a_focal_length_is_refined_when_asked(rng):
    shot = make_shot("orbit", rng=rng, noise_px=0.2, depth_error=0.1, **SMALL)
    wrong = shot.camera.with_focal_length(1.1 * shot.camera.focal_length)
    refined, _ = reconstruct_tracks(shot.tracks, shot.priors, wrong, Options(mapping=BY_HAND, refine_focal=True))
    assert refined.camera.focal_length[0] / shot.camera.focal_length[0] == pytest.approx(1.0, abs=0.02)
    shot, kept, _ = noisy("orbit")
    np.testing.assert_array_equal(kept.camera.focal_length, shot.camera.focal_length)


def test_the_lens_of_an_anamorphic_plate_is_found(rng):
    """With nothing known of the lens but its squeeze, on a plate stored at half its width."""
    shot = make_shot("orbit", rng=rng, noise_px=0.2, depth_error=0.1, **SMALL)
    tracks = replace(shot.tracks, xy=shot.tracks.xy * [0.5, 1])
    video = Video.from_arrays([np.zeros((1080, 960, 3), np.uint8)] * SMALL["num_frames"])
    solved, report, _ = reconstruct(video, shot.priors, None, Options(pixel_aspect=2.0), tracks=tracks)
    np.testing.assert_allclose(solved.camera.focal_length / shot.camera.focal_length, [0.5, 1.0], rtol=0.02)
    assert not report.focal_given
    rotation_deg, position = pose_errors(solved, shot)
    assert rotation_deg < 0.2 and position < 0.01


# frames and tracks that are not there


def test_frames_without_tracks_stay_without_a_camera(rng):
    """Unless they are bridged, which is asked not to be done here."""
    shot = make_shot("handheld", rng=rng, noise_px=0.2, depth_error=0.1, **SMALL)
    blind = np.isin(shot.tracks.frame, [4, 5, 11])
    tracks, priors = shot.tracks.select(~blind), shot.priors.select(~blind)
    solved, report = reconstruct_tracks(tracks, priors, shot.camera, Options(mapping=BY_HAND, max_bridge=0))
    assert np.flatnonzero(~solved.registered).tolist() == [4, 5, 11]
    assert np.isnan(solved.cams_from_world.rotation[~solved.registered]).all()
    assert np.isnan(solved.cams_from_world.translation[~solved.registered]).all()
    assert np.isnan(solved.centers_in_world[~solved.registered]).all()
    assert pose_errors(solved, shot)[1] < 0.01
    assert report.verdict is Verdict.REVIEW
    assert any("3 frames have no camera" in reason for reason in report.reasons)


def test_short_tracks_still_join_the_shot(rng):
    shot = make_shot("handheld", rng=rng, num_frames=24, num_tracks=400, noise_px=0.2, depth_error=0.1, track_length=9)
    solved, _ = reconstruct_tracks(shot.tracks, shot.priors, shot.camera)
    assert solved.registered.all()
    rotation_deg, position = pose_errors(solved, shot)
    assert 1e-3 < rotation_deg < 0.1
    assert 1e-4 < position < 0.03


def test_too_few_tracks(rng):
    shot = make_shot("handheld", rng=rng, num_frames=6, num_tracks=6)
    with pytest.raises(NotEnoughTracksError, match=r"no two frames share enough .* shares \d+; 8 are needed"):
        reconstruct_tracks(shot.tracks, shot.priors, shot.camera)


def test_no_prior_known_anywhere(rng):
    shot = make_shot("handheld", rng=rng, **SMALL)
    nothing = DepthPriors(np.full(len(shot.tracks), np.nan), np.full(len(shot.tracks), np.nan))
    with pytest.raises(NotEnoughTracksError, match="give a depth prior that covers them"):
        reconstruct_tracks(shot.tracks, nothing, shot.camera)


def test_tracks_of_nothing_rigid(rng):
    xy = rng.uniform(0, 1, (6, 60, 2)) * [1920, 1080]
    tracks = Tracks.from_dense(xy)
    with pytest.raises(NotEnoughTracksError, match="no pose explains them"):
        reconstruct_tracks(tracks, None, Camera.from_fov_deg(50, 1920, 1080))


# the waist's left side


def test_reconstruct_takes_your_own_tracks(rng):
    shot = make_shot("handheld", rng=rng, num_frames=6, num_tracks=60)
    video = Video.from_arrays([np.zeros((1080, 1920, 3), np.uint8)] * 6, "plate")
    told = []
    solved, report, clip = reconstruct(
        video,
        shot.priors,
        shot.camera,
        tracks=shot.tracks,
        progress=lambda stage, part, text: told.append((stage, part)),
    )
    assert clip.name == "plate"
    assert report.focal_given
    assert report.prior_given
    assert max(pose_errors(solved, shot)) < 1e-6
    assert {stage for stage, _ in told} == {"initializing", "mapping", "adjusting"}
    assert all(0 <= part <= 1 for _, part in told)


@pytest.mark.parametrize("k1", [0.0, -0.2])
def test_how_far_the_search_for_an_unknown_lens_is_gets_told(rng, k1):
    """And for its distortion, where that is looked for."""
    shot = make_shot("dolly", rng=rng, num_frames=6, num_tracks=60, distortion=(k1, 0, 0, 0))
    video = Video.from_arrays([np.zeros((1080, 1920, 3), np.uint8)] * 6, "plate")
    told = []
    reconstruct(video, shot.priors, tracks=shot.tracks, progress=lambda stage, part, text: told.append((stage, part)))
    parts = [part for stage, part in told if stage == "initializing"]
    assert len(parts) > 4 and parts == sorted(parts) and parts[-1] == 1.0


def test_a_camera_of_another_plate_is_refused(rng):
    shot = make_shot("handheld", rng=rng, num_frames=3, num_tracks=60)
    video = Video.from_arrays([np.zeros((540, 960, 3), np.uint8)] * 3)
    with pytest.raises(ValueError, match="expected the plate's 960x540"):
        reconstruct(video, shot.priors, shot.camera, tracks=shot.tracks)


def test_one_poor_frame_does_not_take_the_others_points(rng):
    """A frame with a dozen noisy sightings registers early; the points it does not see stay."""
    shot = make_shot("handheld", rng=rng, num_frames=12, num_tracks=300, noise_px=0.3)
    last = shot.tracks.frame == 11
    keep = ~last | (np.cumsum(last) <= 12)
    priors = shot.priors.select(keep)
    solved, _ = reconstruct_tracks(shot.tracks.select(keep), priors, shot.camera)
    assert solved.registered[:11].all()


def test_short_tracks_still_register_every_frame(rng):
    shot = make_shot("handheld", rng=rng, num_frames=12, num_tracks=540, noise_px=0.2, track_length=4)
    solved, _ = reconstruct_tracks(shot.tracks, shot.priors, shot.camera)
    assert solved.registered.mean() > 0.9


@pytest.mark.parametrize("motion", ["dolly", "pan"])
def test_a_wrong_focal_length_does_not_pass(rng, motion):
    shot = make_shot(motion, rng=rng, num_frames=12, num_tracks=120, noise_px=0.2, depth_error=0.2)
    wrong = shot.camera.with_focal_length(0.8 * shot.camera.focal_length)
    _, report = reconstruct_tracks(shot.tracks, shot.priors, wrong)
    assert report.verdict is not Verdict.PASS


def test_the_prior_holds_the_points_of_a_camera_that_only_turns(rng):
    shot = make_shot("pan", rng=rng, num_frames=16, num_tracks=100, noise_px=0.05, depth_error=0.1)
    solved, _ = reconstruct_tracks(shot.tracks, shot.priors, shot.camera)
    assert (solved.support[solved.has_point] == Support.PRIOR).all()


def test_a_lens_is_needed_for_tracks_of_your_own(rng):
    shot = make_shot("handheld", rng=rng, num_frames=3, num_tracks=20)
    with pytest.raises(UsageError, match="camera: got None, expected a Camera; of an unknown lens"):
        reconstruct_tracks(shot.tracks, shot.priors, None)  # pyright: ignore[reportArgumentType]


def test_priors_of_another_length_are_refused(rng):
    shot = make_shot("dolly", rng=rng, num_frames=6, num_tracks=50)
    with pytest.raises(ValueError, match="priors: got"):
        reconstruct_tracks(shot.tracks, DepthPriors(np.ones(3), np.ones(3)), shot.camera)


@pytest.mark.parametrize("seed", [18, 27])
def test_tracks_that_agree_on_nothing_are_no_solution(seed):
    shot = make_shot(
        "dolly", rng=np.random.default_rng(seed), num_frames=6, num_tracks=24, noise_px=3.0, outlier_ratio=0.5
    )
    with pytest.raises(NoSolutionError, match="keeps a camera"):
        reconstruct_tracks(shot.tracks, None, shot.camera)


def test_a_prior_of_noise_is_found_out_though_it_is_all_edges(rng):
    shot = make_shot("orbit", rng=rng, noise_px=0.3, num_frames=12, num_tracks=150)
    noise = np.exp(0.5 * rng.standard_normal(len(shot.tracks)))
    relief = np.abs(2.2 + 0.4 * rng.standard_normal(len(shot.tracks)))
    priors = DepthPriors(noise, np.full(len(noise), 0.3), relief)
    solved, report = reconstruct_tracks(shot.tracks, priors, shot.camera, Options(mapping=MappingOptions()))
    assert report.prior_weight.agreement is Agreement.CONTRADICTS
    rotation_deg, position = pose_errors(solved, shot)
    assert rotation_deg < 0.05 and position < 0.01


@pytest.mark.parametrize("unit", [1e-8, 1e8])
def test_the_unit_of_the_prior_may_be_anything(rng, unit):
    shot = make_shot("handheld", rng=rng, noise_px=0.2, depth_error=0.1, depth_unit=1 / unit, **SMALL)
    solved, _ = reconstruct_tracks(shot.tracks, shot.priors, shot.camera)
    assert solved.registered.all()
    assert pose_errors(solved, shot)[1] < 0.01
