"""Frames that nothing holds: bridged where the shot goes on behind them, flagged, and left alone elsewhere."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from solved import solve
from test_pipeline import SMALL, pose_errors

import sfm
from sfm.bridging import bridge
from sfm.evaluation import GroundTruth, evaluate
from sfm.geometry.rotation import rotation_angle
from sfm.pipeline import BY_HAND, Options, reconstruct, reconstruct_tracks
from sfm.synthetic import make_shot
from sfm.tracking import TrackingOptions
from sfm.verdict import Verdict
from sfm.video import Video, open_video

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample_shot"


BRIDGING = Options(mapping=BY_HAND)


def blinded(shot, frames, options=BRIDGING):
    """The solve of a shot whose frames named have no tracks."""
    seen = ~np.isin(shot.tracks.frame, frames)
    return reconstruct_tracks(shot.tracks.select(seen), shot.priors.select(seen), shot.camera, options)


def off(solved, shot, frames) -> tuple[float, float]:
    """Largest error of a frame's rotation, degrees, and of its centre, m; the world is frame 0."""
    truth = shot.cams_from_world
    turned = solved.cams_from_world.rotation[frames].mT @ truth.rotation[frames]
    away = np.linalg.norm(solved.centers_in_world - truth.centers_in_world, axis=1)[frames]
    return float(np.degrees(rotation_angle(turned)).max()), float(away.max())


@pytest.mark.parametrize(("motion", "max_deg", "max_m"), [("dolly", 1e-4, 1e-4), ("orbit", 1e-3, 1e-4)])
def test_frames_without_tracks_are_bridged_and_say_so(rng, motion, max_deg, max_m):
    shot, gap = make_shot(motion, rng=rng, num_frames=20, num_tracks=90), [8, 9, 10]
    solved, report = blinded(shot, gap)
    assert np.flatnonzero(~solved.registered).tolist() == gap == np.flatnonzero(solved.bridged).tolist()
    rotation_deg, away = off(solved, shot, gap)
    assert rotation_deg < max_deg and away < max_m
    assert (solved.bridge_error_px[gap] < 0.1).all() and np.isnan(solved.bridge_error_px[solved.registered]).all()
    assert np.isnan(solved.depth_scale[gap]).all() and not solved.inliers[np.isin(solved.tracks.frame, gap)].any()
    assert report.verdict is Verdict.REVIEW
    assert any("3 frames have no tracks to hold them" in reason for reason in report.reasons)
    assert max(pose_errors(solved, shot)) < 1e-6, "the other frames are as they were"


def test_the_error_told_is_the_error_made(rng):
    """On a shaking camera the points are off by about what is said, and that grows towards the middle of the gap."""
    shot, gap = make_shot("handheld", rng=rng, num_frames=48, num_tracks=200, noise_px=0.2), np.arange(20, 26)
    solved, _ = blinded(shot, gap)
    by_truth = shot.camera.img_from_cam(shot.cams_from_world[gap][:, None].apply(shot.points))
    found = shot.camera.img_from_cam(solved.cams_from_world[gap][:, None].apply(solved.points))
    made = np.nanmedian(np.linalg.norm(found - by_truth, axis=2), axis=1)
    told = solved.bridge_error_px[gap]
    assert 0.3 < told.max() < 30 and told[2] > told[0]
    assert 0.2 < np.median(made) / np.median(told) < 5


def test_the_ends_are_not_continued_and_long_gaps_not_crossed(rng):
    shot = make_shot("dolly", rng=rng, num_frames=20, num_tracks=100)
    blind = [0, 1, *range(6, 11), 15, 19]
    solved, report = blinded(shot, blind, Options(mapping=BY_HAND, max_bridge=4))
    assert np.flatnonzero(solved.bridged).tolist() == [15]
    assert np.isnan(solved.centers_in_world[[0, 1, 7, 19]]).all()
    assert any("8 frames have no camera" in reason for reason in report.reasons)
    scene, _ = solve(shot, rng, lost=tuple(blind))
    assert np.flatnonzero(bridge(scene, 5).bridged).tolist() == [6, 7, 8, 9, 10, 15]
    none = bridge(scene, 0)
    assert not none.bridged.any() and np.isnan(none.centers_in_world[15]).all()


def test_a_gap_nothing_can_be_compared_with(rng):
    """Two frames on either side: no run of three is left to try, so nobody knows."""
    shot = make_shot("dolly", rng=rng, num_frames=7, num_tracks=120)
    scene, _ = solve(shot, rng, lost=(2, 3, 4))
    bridged = bridge(scene)
    assert bridged.bridged.sum() == 3 and np.isnan(bridged.bridge_error_px).all()
    assert max(off(bridged, shot, [2, 3, 4])) < 1e-3
    assert not scene.bridged.any(), "the input is not changed"


def test_a_shaking_camera_is_not_bridged_by_a_swing(rng):
    """A path that trembles from frame to frame: a cubic through its velocities would swing out over a long gap."""
    shot = make_shot("dolly", rng=rng, num_frames=40, num_tracks=120)
    scene, _ = solve(shot, rng, error=0.003, lost=tuple(range(15, 25)))
    bridged = bridge(scene)
    centers = scene.centers_in_world
    straight = centers[14] + np.linspace(0, 1, 12)[1:-1, None] * (centers[25] - centers[14])
    np.testing.assert_allclose(bridged.centers_in_world[15:25], straight, atol=1e-9)


@pytest.mark.parametrize("motion", ["pan", "static", "zoom"])
def test_cameras_that_stand_stand_in_the_gap_too(rng, motion):
    shot = make_shot(motion, rng=rng, num_frames=12, num_tracks=120, noise_px=0.2)
    solved, _ = blinded(shot, [5, 6])
    assert solved.bridged[[5, 6]].all()
    np.testing.assert_allclose(solved.centers_in_world, 0.0, atol=1e-12)
    assert off(solved, shot, [5, 6])[0] < 0.03


def test_a_zoom_goes_on_in_the_gap(rng):
    """Zoom estimated on a pan: the focal length of the frames nobody saw lies between those around them."""
    shot = make_shot("pan", rng=rng, **SMALL)
    camera = shot.camera.with_focal_length(shot.camera.focal_length * np.exp(0.3 * np.linspace(0, 1, 12))[:, None])
    in_cam = shot.cams_from_world[shot.tracks.frame].apply(shot.points[shot.tracks.track])
    xy = camera.at(shot.tracks.frame).img_from_cam(in_cam)
    seen = ~np.isin(shot.tracks.frame, [5, 6])
    tracks = sfm.Tracks(shot.tracks.frame[seen], shot.tracks.track[seen], xy[seen], 12, shot.tracks.num_tracks)
    solved, report = reconstruct_tracks(tracks, shot.priors.select(seen), shot.camera)
    assert report.motion.zoom and solved.bridged[[5, 6]].all()
    np.testing.assert_allclose(solved.camera.focal_length[:, 0], camera.focal_length[:, 0], rtol=2e-3)


def test_a_flash_and_a_blur_in_a_movie():
    """Two frames white, five out of focus: the rest is as good as ever, and no cut is seen."""
    frames = [rgb.copy() for _, rgb in open_video(SAMPLE / "sample.mp4") if rgb is not None]
    flash, blur = [20, 21], [30, 31, 32, 33, 34]
    for k in flash:
        frames[k][:] = 255
    for k in blur:
        frames[k] = cv2.GaussianBlur(frames[k], (0, 0), 25)
    video = Video.from_arrays(frames, "sample", 24.0)
    options = Options(tracking=TrackingOptions(max_tracks=150))
    camera = sfm.Camera.from_focal_px(622.65, 640, 360)
    solved, report, shot = reconstruct(video, SAMPLE / "depth", camera, options)
    lost = np.isin(np.arange(48), flash + blur)
    assert solved.registered[~lost].all() and solved.has_camera.all() and solved.rms_px() < 0.2
    truth = GroundTruth.load(SAMPLE / "gt.json")
    measures = evaluate(solved, shot, truth)
    assert measures.ate_pct < 0.15 and measures.rpe_rot_deg < 0.01
    assert measures.coverage == pytest.approx(100 * solved.registered.mean())
    true_turn = truth.cams_from_world.rotation @ truth.cams_from_world.rotation[0].T
    assert np.degrees(rotation_angle(solved.cams_from_world.rotation.mT @ true_turn)).max() < 0.03
    assert report.verdict is Verdict.REVIEW
