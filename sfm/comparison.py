"""Two tracks of one shot beside each other: which similarity joins them, and what differs after it.

No truth is asked for: a studio's existing track against a solve. What counts for the picture is how far the points of
the solve land from each other through either camera.
"""

from dataclasses import asdict, dataclass

import numpy as np

from sfm.errors import InputError
from sfm.footage import frame_ranges
from sfm.geometry.path import other_from_ours
from sfm.geometry.rotation import rotation_angle, rotation_from_rotvec
from sfm.geometry.transform import Rigid3, Sim3
from sfm.scene import Reconstruction
from sfm.video import Shot

MAX_SIGHTINGS = 20_000  # compared; of more a sample is drawn
MIN_SIGHTINGS = 10
STANDING = 1e-6  # of the scene's depth: a path shorter than that is none


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far another track is from ours, NaN where undefined.

    frames: that both have a camera for; scale: one unit of ours in the other's; path_pct: root mean square distance of
    the camera centres after a similarity, per cent of the other path's diameter; rotation_deg, max_rotation_deg: after
    one turn of the whole, mean and largest; focal_pct: median difference of the horizontal focal length; px, p95_px:
    median and 95th percentile of how far our points land from each other through either camera, after the similarity
    that makes it least; worst_px: root mean square of the frame that differs most, and worst_frame, its plate number.
    """

    frames: int
    scale: float = float("nan")
    path_pct: float = float("nan")
    rotation_deg: float = float("nan")
    max_rotation_deg: float = float("nan")
    focal_pct: float = float("nan")
    px: float = float("nan")
    p95_px: float = float("nan")
    worst_px: float = float("nan")
    worst_frame: int | None = None

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON; None where undefined."""
        digits = {"scale": 6}
        return {k: None if v is None or np.isnan(v) else round(v, digits.get(k, 4)) for k, v in asdict(self).items()}


def compare(ours: Reconstruction, shot: Shot, other: Reconstruction, other_shot: Shot) -> Comparison:
    """Compare with another track of the same plate, frames matched by plate number; interpolated ones are left out.

    Lens distortion is left out on both sides. Raises `InputError` where the plates differ in size or no frame has a
    camera in both.
    """
    if (shot.width, shot.height) != (other_shot.width, other_shot.height):
        raise InputError(
            f"{shot.name} is {shot.width}x{shot.height}, {other_shot.name} {other_shot.width}x{other_shot.height}: "
            "another plate?"
        )
    mine, theirs = (s.frame_numbers[r.registered] for s, r in ((shot, ours), (other_shot, other)))
    numbers = np.intersect1d(mine, theirs)
    if not len(numbers):
        raise InputError(
            f"{shot.name} has cameras for {frame_ranges(mine)}, {other_shot.name} for {frame_ranges(theirs)}: no frame "
            "in common"
        )
    frames = np.searchsorted(shot.frame_numbers, numbers)
    other_frames = np.searchsorted(other_shot.frame_numbers, numbers)
    cams, other_cams = ours.cams_from_world[frames], other.cams_from_world[other_frames]
    focal, other_focal = (
        np.broadcast_to(r.camera.focal_length, (r.tracks.num_frames, 2))[at, 0]
        for r, at in ((ours, frames), (other, other_frames))
    )
    turn = other_from_ours(cams, other_cams).rotation
    apart = np.degrees(rotation_angle(cams.rotation @ turn.T @ other_cams.rotation.mT))
    path_pct, scale = _path(cams, other_cams)
    found = Comparison(
        len(numbers), scale, path_pct, float(apart.mean()), float(apart.max()),
        float(100 * np.median(np.abs(other_focal / focal - 1))),
    )  # fmt: skip
    seen = _Sightings.of(ours, frames, other, other_frames)
    return _with_px(found, seen, joining(ours, other, frames, other_frames), numbers)


def joining(ours: Reconstruction, other: Reconstruction, frames: np.ndarray, other_frames: np.ndarray) -> Sim3:
    """The similarity from our world to another track's, frames (n,) matched, through which our points land nearest.

    By the cameras alone where hardly a point is seen.
    """
    start = other_from_ours(ours.cams_from_world[frames], other.cams_from_world[other_frames])
    seen = _Sightings.of(ours, frames, other, other_frames)
    return start if len(seen.xy) < MIN_SIGHTINGS else _least_px(seen, start)


def _path(cams: Rigid3, other_cams: Rigid3) -> tuple[float, float]:
    """Distance of the centres after a similarity, per cent of the other's diameter, and its scale."""
    centers, others = cams.centers_in_world, other_cams.centers_in_world
    diameter = float(np.linalg.norm(others[:, None] - others, axis=-1).max())
    ours_wide = float(np.linalg.norm(np.ptp(centers, axis=0)))
    if min(diameter, ours_wide) <= STANDING * max(np.abs(centers).max(), 1.0) or len(centers) < 3:
        return float("nan"), float("nan")
    similarity = Sim3.from_points(centers, others)
    off = similarity.apply(centers) - others
    return float(100 * np.sqrt((off**2).sum(axis=1).mean()) / diameter), float(similarity.scale)


@dataclass(frozen=True, slots=True, eq=False)
class _Sightings:
    """Our points where our camera shows them: points (n, 3) in our world, xy (n, 2) px, place (n,) among the frames
    compared, and of the other's camera there pose (n,), focal_length and principal_point (n, 2)."""

    points: np.ndarray
    xy: np.ndarray
    place: np.ndarray
    pose: Rigid3
    focal_length: np.ndarray
    principal_point: np.ndarray

    @classmethod
    def of(
        cls, ours: Reconstruction, frames: np.ndarray, other: Reconstruction, other_frames: np.ndarray
    ) -> "_Sightings":
        """Where tracks are inliers; of a scene without tracks every point on the plate."""
        frame, track = _seen(ours, frames)
        camera = ours.camera.without_distortion().at(frame)
        xy = camera.img_from_cam(ours.cams_from_world[frame].apply(ours.points[track]))
        place = np.searchsorted(frames, frame)
        on_plate = ((xy >= 0) & (xy <= [camera.width, camera.height])).all(axis=1)
        keep = np.flatnonzero(on_plate)
        if len(keep) > MAX_SIGHTINGS:
            keep = np.sort(np.random.default_rng(0).choice(keep, MAX_SIGHTINGS, replace=False))
        at = other_frames[place[keep]]
        lens = [np.broadcast_to(v, (other.tracks.num_frames, 2))[at]
                for v in (other.camera.focal_length, other.camera.principal_point)]  # fmt: skip
        return cls(ours.points[track[keep]], xy[keep], place[keep], other.cams_from_world[at], *lens)

    def errors(self, similarity: Sim3) -> np.ndarray:
        """How far each lands from where our camera shows it, (n, 2) px."""
        in_cam = self.pose.apply(similarity.apply(self.points))
        z = np.maximum(in_cam[:, 2:], 1e-6 * np.linalg.norm(in_cam, axis=1, keepdims=True))
        return in_cam[:, :2] / z * self.focal_length + self.principal_point - self.xy


def _seen(ours: Reconstruction, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frame and track (n,) of what is compared."""
    tracks = ours.tracks
    use = ours.inliers & np.isin(tracks.frame, frames) & ours.has_point[tracks.track]
    if use.any():
        return tracks.frame[use], tracks.track[use]
    points = np.flatnonzero(ours.has_point)
    return np.repeat(frames, len(points)), np.tile(points, len(frames))


def _with_px(found: Comparison, seen: _Sightings, similarity: Sim3, numbers: np.ndarray) -> Comparison:
    if len(seen.xy) < MIN_SIGHTINGS:
        return found
    error = np.linalg.norm(seen.errors(similarity), axis=1)
    square, count = np.bincount(seen.place, error**2, len(numbers)), np.bincount(seen.place, minlength=len(numbers))
    by_frame = np.sqrt(square / np.maximum(count, 1))
    worst = int(by_frame.argmax())
    known = asdict(found) | {
        "px": float(np.median(error)), "p95_px": float(np.quantile(error, 0.95)), "worst_px": float(by_frame[worst]),
        "worst_frame": int(numbers[worst]),
    }  # fmt: skip
    return Comparison(**known)


def _least_px(seen: _Sightings, start: Sim3) -> Sim3:
    """The similarity near a start through which our points differ least; robust, for single frames may be far off."""
    middle = start.apply(seen.points).mean(axis=0)
    away = float(np.median(np.linalg.norm(start.apply(seen.points) - seen.pose.centers_in_world, axis=1)))

    def at(x: np.ndarray) -> Sim3:
        # about the middle of the scene, lengths in its depths: the seven are of a size, and hardly depend
        turn, scale = rotation_from_rotvec(x[:3]), np.exp(x[6])
        moved = middle + away * x[3:6] - scale * turn @ middle
        return Sim3(np.array(scale), turn, moved) @ start

    from scipy.optimize import least_squares

    best = least_squares(lambda x: seen.errors(at(x)).ravel(), np.zeros(7), loss="soft_l1", x_scale="jac")
    return at(best.x)
