"""Tracks on a rigid body that moves on its own: a car, a door, somebody who turns, half the picture or more of it.

Robust adjustment copes with a few tracks that disagree; a body with as many tracks as the set captures it. Two frames
are enough to tell that there are two motions, whatever the depth prior is worth: a pose explains a match if some depth
within a factor of the prior's does. The set is what is farther away and spreads over more of the picture. A prior that
is worth nothing makes bodies of the set: what the solved set explains after all was none.
"""

import logging
from dataclasses import dataclass, replace

import cv2
import numpy as np

from sfm.bundle_adjustment import BundleAdjustmentOptions, adjust
from sfm.errors import NoSolutionError
from sfm.geometry.absolute_pose import MIN_POINTS
from sfm.geometry.camera import Camera
from sfm.geometry.relative_pose import lift
from sfm.geometry.transform import Rigid3
from sfm.initialize import two_views
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.zoom import seen_zooming

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MovingBodiesOptions:
    """When tracks that disagree are a body."""

    min_part: float = 0.15  # of the tracks two frames share
    min_tracks: int = 20
    max_error_px: float = 3.0  # of a match that a pose explains, of an HD frame
    slack: float = 0.03  # and of the way the match went, for a lens that is not well known
    max_unexplained: float = 0.35  # part of the matches that neither motion explains
    reaches: tuple[float, ...] = (20.0, 10.0, 5.0, 2.0)  # times that error, at which lifted points belong together
    depth_factor: float = 3.0  # how far off the prior may be, either way
    enough: int = 200  # matches that tell a motion
    starts: int = 4  # frames from which a second motion is looked for
    more_starts: int = 8  # and from which all of its tracks are, once there is one
    min_likeness: float = 0.7  # of a pair's groups to those of the pairs before it, 1 when they are the same
    as_the_set: float = 3.0  # times the set's own error, within which the set explains a track


def moving_tracks(
    tracks: Tracks, priors: DepthPriors, camera: Camera, options: MovingBodiesOptions = MovingBodiesOptions()
) -> np.ndarray:
    """The tracks on a body that moves otherwise than the set, (tracks,) bool; none where there is no such body.

    A body must be one whatever the depth: seen with the prior and as if all were equally deep; and whatever the lens,
    with a zoom too where the flow shows one. tracks, camera: free of distortion, or with so little that a few px do not
    matter. Limit: one body; tracks that are seen in none of the pairs of frames compared are not told.
    """
    found, _ = _two_groups(tracks, priors, camera, options)
    if not found.any():
        return found
    doubts = [(DepthPriors.constant(tracks), camera)]
    if (zooming := seen_zooming(tracks, priors, camera)) is not None:
        doubts.append((priors, zooming))
    for depth, lens in doubts:
        # which of the two is the set may look otherwise there
        known = max((found & group).sum() for group in _two_groups(tracks, depth, lens, options))
        if known < 0.5 * found.sum():
            return np.zeros(tracks.num_tracks, bool)
    more, _ = _two_groups(tracks, priors, camera, replace(options, starts=options.more_starts))
    found = more if (more & found).sum() >= 0.5 * found.sum() else found
    logger.info("%d tracks move otherwise than the set", found.sum())
    return found


def is_of_the_set(
    solved: Reconstruction, moving: np.ndarray, options: MovingBodiesOptions = MovingBodiesOptions()
) -> bool:
    """Whether the cameras of a solve explain most of the tracks (tracks,) bool that were left out of it as moving.

    A rigid set's cameras do, for points at some depth; a body's do not, but for one that moves along with the camera:
    to be asked where the prior that told the body is in doubt.
    """
    tracks = solved.tracks
    rows = np.flatnonzero(solved.registered[tracks.frame])
    errors = replace(solved, points=_points_on_middle_rays(solved, rows)).reprojection_errors(rows)
    count = np.bincount(tracks.track[rows], minlength=tracks.num_tracks)
    seen = count >= 3  # two sightings are explained by nearly anything
    if (seen & moving).sum() < options.min_tracks or (seen & solved.has_point).sum() < options.min_tracks:
        return False
    by_size = np.lexsort((errors, tracks.track[rows]))
    middle = by_size[(np.cumsum(count) - count + count // 2)[seen]]
    error = np.full(tracks.num_tracks, np.nan)
    error[seen] = np.nan_to_num(errors[middle], nan=np.inf)
    explained = error[seen & moving] < options.as_the_set * np.median(error[seen & solved.has_point])
    logger.info("the set explains %.0f %% of the tracks that moved otherwise", 100 * explained.mean())
    return bool(explained.mean() > 0.5)


def _points_on_middle_rays(scene: Reconstruction, rows: np.ndarray) -> np.ndarray:
    """Points (tracks, 3) on the ray of each track's middle sighting, where its others fit best, in closed form.

    Linear in disparity but for the division by z, as in `_error`; rows: sorted by track.
    """
    track, count = scene.tracks.track[rows], np.bincount(scene.tracks.track[rows], minlength=scene.tracks.num_tracks)
    anchor = rows[np.minimum(np.cumsum(count) - count + count // 2, len(rows) - 1)]
    seen_at = scene.camera.at(scene.tracks.frame).cam_from_img(scene.tracks.xy)
    world_from_anchor = scene.cams_from_world[scene.tracks.frame[anchor]].inverse()
    ray = np.einsum("nij,nj->ni", world_from_anchor.rotation, lift(seen_at[anchor], np.ones(len(anchor))))
    cams = scene.cams_from_world[scene.tracks.frame[rows]]
    turned = np.einsum("nij,nj->ni", cams.rotation, ray[track])
    moved = cams.apply(world_from_anchor.translation[track])
    across = turned[:, :2] - seen_at[rows] * turned[:, 2:]
    along = moved[:, :2] - seen_at[rows] * moved[:, 2:]
    best = -np.bincount(track, (across * along).sum(1), len(count))
    best /= np.maximum(np.bincount(track, (along**2).sum(1), len(count)), 1e-300)
    farthest = 1e-3 / float(np.nanmedian(scene.points_in_cam()[:, 2]))
    disparity = np.maximum(best, farthest)
    return np.where((count > 0)[:, None], world_from_anchor.translation + ray / disparity[:, None], np.nan)


def _two_groups(
    tracks: Tracks, priors: DepthPriors, camera: Camera, options: MovingBodiesOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Tracks of the body and tracks of the set, (tracks,) bool each, both empty where all move alike."""
    votes = np.zeros(tracks.num_tracks, int)  # of frame pairs: for the body above zero, for the set below
    for pair in sorted(_pairs(tracks, priors, camera, options), key=lambda pair: -pair.contrast):
        one, two = (pair.matches.track[group] for group in (pair.first, pair.second))
        known = int((votes[one] != 0).sum() + (votes[two] != 0).sum())
        if known >= options.min_tracks:  # as the pairs before it have it
            likeness = np.sign(votes[one]).sum() - np.sign(votes[two]).sum()
            if abs(likeness) < options.min_likeness * known:
                continue
        else:
            likeness = _likeness_to_a_set(two, pair.matches, camera) - _likeness_to_a_set(one, pair.matches, camera)
        body, rest = (one, two) if likeness > 0 else (two, one)
        votes[body] += 1
        votes[rest] -= 1
    return votes > 0, votes < 0


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """Tracks (n,) seen in two frames: pixels in the first, both places on the plane z = 1, depth in the first; and the
    error allowed on that plane (n,)."""

    track: np.ndarray
    xy: np.ndarray
    here: np.ndarray
    there: np.ndarray
    depth: np.ndarray
    max_error: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class _TwoMotions:
    """Matches of two frames, and which motion each follows (n,) bool."""

    matches: _Matches
    first: np.ndarray
    second: np.ndarray

    @property
    def contrast(self) -> int:
        """Tracks of the smaller group."""
        return int(min(self.first.sum(), self.second.sum()))


def _pairs(tracks: Tracks, priors: DepthPriors, camera: Camera, options: MovingBodiesOptions):
    """The frame pairs, among those tried, in which two motions are found."""
    shared = tracks.shared()
    starts = np.unique(np.linspace(0, tracks.num_frames - 1, options.starts).astype(int))
    for frame in starts:
        enough = np.flatnonzero(shared[frame] >= 0.5 * shared[frame, frame])
        apart = np.abs(enough - frame)
        # the farther, the more two motions differ
        for gap in np.unique(np.rint(apart.max() * np.array([0.25, 0.5, 1.0])).astype(int)) if len(enough) else ():
            other = int(enough[np.argmin(np.abs(apart - gap))])
            if gap and (found := _two_motions(tracks, priors, camera, int(frame), other, options)) is not None:
                yield found


def _two_motions(
    tracks: Tracks, priors: DepthPriors, camera: Camera, frame: int, other: int, options: MovingBodiesOptions
) -> _TwoMotions | None:
    """Two groups of matches that lifted points roughly follow, neither explained by the other's pose at any depth."""
    matches = _matches(tracks, priors, camera, frame, other, options)
    least = max(options.min_tracks, options.min_part * len(matches.track), MIN_POINTS)
    rest, explained = np.ones(len(matches.track), bool), []
    for _ in range(2):
        if rest.sum() < least:
            return None
        group = _rough_group(matches, rest, least, options)
        if group is None:
            return None
        pose = _refined(tracks, priors, camera, (frame, other), matches, *group, options)
        explained.append(_error(matches, pose, options)[0] <= matches.max_error)
        rest &= ~(explained[-1] | group[1])
    # what both explain may be either's
    first, second = explained[0] & ~explained[1], explained[1] & ~explained[0]
    neither = ~(explained[0] | explained[1])
    if min(first.sum(), second.sum()) < least or neither.sum() > options.max_unexplained * len(neither):
        return None
    return _TwoMotions(matches, first, second)


def _rough_group(
    matches: _Matches, among: np.ndarray, least: float, options: MovingBodiesOptions
) -> tuple[Rigid3, np.ndarray] | None:
    """A pose and the matches near which it takes the points lifted by the prior; as near as leaves enough of them."""
    best, some = None, _thinned(among, options)
    points, there = lift(matches.here, matches.depth), matches.there
    for reach in options.reaches:
        max_error = reach * matches.max_error
        found, rotvec, translation, _ = cv2.solvePnPRansac(
            points[some], there[some], np.eye(3), None, reprojectionError=float(np.median(max_error)),
            iterationsCount=300, confidence=0.999, flags=cv2.SOLVEPNP_SQPNP,
        )  # fmt: skip
        if not found:
            break
        pose = Rigid3.from_rotvec(rotvec.ravel(), translation.ravel())
        in_other = pose.apply(points)
        near = np.linalg.norm(in_other[:, :2] / in_other[:, 2:] - there, axis=1) <= max_error
        near &= among & (in_other[:, 2] > 0)
        if near.sum() < least:
            break
        best = pose, near
        if near.sum() < 0.5 * among.sum():
            break
    return best


def _matches(
    tracks: Tracks, priors: DepthPriors, camera: Camera, frame: int, other: int, options: MovingBodiesOptions
) -> _Matches:
    here, there = tracks.in_both(frame, other)
    known = np.isfinite(priors.depth[here])
    here, there = here[known], there[known]
    focal = float(camera.at(frame).focal_length[0])
    way = np.linalg.norm(tracks.xy[there] - tracks.xy[here], axis=1)
    max_error = options.max_error_px * camera.width / 1920 + options.slack * way
    return _Matches(
        tracks.track[here], tracks.xy[here], camera.at(frame).cam_from_img(tracks.xy[here]),
        camera.at(other).cam_from_img(tracks.xy[there]), priors.depth[here],
        max_error / focal,
    )  # fmt: skip


def _refined(
    tracks: Tracks, priors: DepthPriors, camera: Camera, frames: tuple[int, int], matches: _Matches, pose: Rigid3,
    group: np.ndarray, options: MovingBodiesOptions,
) -> Rigid3:  # fmt: skip
    """The pose adjusted together with the depths of its group."""
    at, group = _error(matches, pose, options)[1], _thinned(group, options)
    points = dict(zip(matches.track[group], lift(matches.here[group], at[group]), strict=True))
    scene = two_views(tracks, camera, *frames, pose, points)
    sigma_px = 0.5 * float(np.median(matches.max_error)) * float(camera.at(frames[0]).focal_length[0])
    settings = BundleAdjustmentOptions(
        reproj_sigma_px=sigma_px, max_iterations=20, cost_tolerance=1e-3, estimate_sigma=False
    )
    try:
        cams = adjust(scene, priors, settings)[0].cams_from_world
    except NoSolutionError:  # all of it behind the camera
        return pose
    return cams[frames[1]] @ cams[frames[0]].inverse()


def _thinned(group: np.ndarray, options: MovingBodiesOptions) -> np.ndarray:
    """Indices of matches of a group, evenly spread, no more than tell a motion."""
    members = np.flatnonzero(group)
    return members[:: max(len(members) // options.enough, 1)]


def _error(matches: _Matches, pose: Rigid3, options: MovingBodiesOptions) -> tuple[np.ndarray, np.ndarray]:
    """Errors (n,) of matches on the plane z = 1 at the best depths (n,) that the prior leaves open, and these."""
    turned = lift(matches.here, np.ones(len(matches.depth))) @ pose.rotation.T
    # linear in disparity but for the division by z: seen at turned + disparity * translation
    across = turned[:, :2] - matches.there * turned[:, 2:]
    along = pose.translation[:2] - matches.there * pose.translation[2]
    best = -(across * along).sum(1) / np.maximum((along**2).sum(1), 1e-300)
    disparity = np.clip(best, 1 / (options.depth_factor * matches.depth), options.depth_factor / matches.depth)
    z = turned[:, 2] + disparity * pose.translation[2]
    error = np.linalg.norm(across + disparity[:, None] * along, axis=1) / np.maximum(z, 1e-9)
    return np.where(z > 0, error, np.inf), 1 / disparity


def _likeness_to_a_set(group: np.ndarray, matches: _Matches, camera: Camera) -> float:
    """How far, how spread out and how many: log of depth and of occupied cells count double."""
    inside = np.isin(matches.track, group)
    cells = len(np.unique(camera.regions(matches.xy[inside], 6, 4)))
    return float(2 * np.log(np.median(matches.depth[inside])) + 2 * np.log(cells) + np.log(group.sum()))
