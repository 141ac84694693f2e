"""Tracks that end are found again where they are, and only there."""

import cv2
import numpy as np
import pytest

from sfm.lost_tracks import LostTracksOptions
from sfm.tracking import TrackingOptions, _Tracker, track_points
from sfm.video import Video

WIDTH, HEIGHT = 320, 240
NOT_LOOKING = LostTracksOptions(min_lost=10**9)


def _texture(rng) -> np.ndarray:
    """A large smooth random picture to pan over."""
    picture = sum(cv2.resize(rng.uniform(0, 255, (n, n)).astype(np.float32), (900, 600)) for n in (20, 60, 150))
    return np.clip(picture / 3, 0, 255).astype(np.uint8)


def _frames(picture: np.ndarray, shifts) -> list[np.ndarray]:
    """Windows of the picture at integer shifts to the right."""
    return [np.repeat(picture[100 : 100 + HEIGHT, 100 + s : 100 + s + WIDTH, None], 3, axis=2) for s in shifts]


def _tracked(frames, **options):
    return track_points(Video.from_arrays(frames), TrackingOptions(max_tracks=200, **options))


def _error(tracks, shifts) -> np.ndarray:
    """How far each observation is from where its track's first sighting says, px."""
    at = tracks.xy + np.array(shifts)[tracks.frame, None] * [1.0, 0.0]
    first = np.searchsorted(tracks.track, np.arange(tracks.num_tracks))
    return np.linalg.norm(at - at[first[tracks.track]], axis=1)


def _seen_in_both(tracks, one: int, two: int) -> int:
    return len(np.intersect1d(tracks.track[tracks.frame == one], tracks.track[tracks.frame == two]))


def test_the_camera_comes_back(rng):
    shifts = [*range(0, 400, 12), *range(400, -1, -12)]
    frames = _frames(_texture(rng), shifts)
    tracks, blind = _tracked(frames), _tracked(frames, lost=NOT_LOOKING)
    last = len(shifts) - 1
    assert _seen_in_both(blind, 0, last) == 0
    assert _seen_in_both(tracks, 0, last) > 40
    assert np.quantile(_error(tracks, shifts), 0.95) < 0.1


def test_behind_a_passing_bar(rng):
    shifts = [2 * i for i in range(24)]
    frames = _frames(_texture(rng), shifts)
    for i, frame in enumerate(frames):
        left = -200 + 25 * i
        frame[:, max(left, 0) : max(left + 200, 0)] = 90
    tracks, blind = _tracked(frames), _tracked(frames, lost=NOT_LOOKING)
    assert _seen_in_both(tracks, 0, 23) > 1.5 * _seen_in_both(blind, 0, 23)
    still = np.abs(_error(tracks, shifts))
    assert np.quantile(still, 0.9) < 0.1


@pytest.mark.parametrize("other", [1, 2])
def test_another_place_is_not_taken_for_the_first(rng, other):
    """Something else slides in front of all there was: nothing of it is a lost track."""
    one, two = _texture(rng), _texture(np.random.default_rng(other))
    shifts = [4 * i for i in range(20)]
    frames, cover = _frames(one, shifts), _frames(two, [-40 + 36 * i for i in range(11)])
    for i in range(6, 16):
        left = max(WIDTH - 36 * (i - 5), 0)
        frames[i][:, left:] = cover[0][:, : WIDTH - left]
    frames[16:] = [frames[15]] * 4
    tracks = _tracked(frames)
    assert _seen_in_both(tracks, 2, 4) > 100
    assert _seen_in_both(tracks, 2, 19) <= 2


def test_a_jerk_is_followed_by_its_features(rng):
    shifts = [0, 3, 6, 126, 129, 132]
    frames = _frames(_texture(rng), shifts)
    tracks, unguided = _tracked(frames, lost=NOT_LOOKING), _tracked(frames, lost=NOT_LOOKING, min_flow_found=0.0)
    assert _seen_in_both(tracks, 2, 3) > 2 * _seen_in_both(unguided, 2, 3)
    assert _seen_in_both(tracks, 2, 3) > 30
    assert np.quantile(_error(tracks, shifts), 0.9) < 0.1


@pytest.mark.parametrize(("together", "lost"), [(True, False), (False, True)])
def test_few_survivors_must_move_together(rng, together, lost):
    """A fifth of the tracks survive one frame: behind a passing lorry they agree on the move, by chance they do not."""
    frame = _frames(_texture(rng), [0])[0]
    tracker = _Tracker(Video.from_arrays([frame, frame]), TrackingOptions(max_tracks=400, min_distance=4), None)
    tracker.step(0, tracker.prepared(frame))
    count = len(tracker.ids)
    survivors = np.arange(count) % 5 == 0
    moved = tracker.xy + (np.float32([5, 2]) if together else rng.uniform(-80, 80, (count, 2)))
    assert survivors.sum() >= 20
    assert bool(tracker._lost_the_shot(moved.astype(np.float32), survivors)) is lost
