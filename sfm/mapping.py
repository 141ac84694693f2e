"""Grow a start into the whole shot: register frames, make points, adjust, filter, and again.

Incremental mapping after Schoenberger and Frahm 2016 (COLMAP), with what depth changes: a point needs no parallax to
exist (it is lifted, and triangulated once the angle suffices), so no frame of a small-motion shot is ever left out.
Keyframes first, then every frame.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from sfm.bundle_adjustment import AdjustmentReport, LensUnknowns, adjust
from sfm.geometry.absolute_pose import MIN_POINTS, absolute_pose
from sfm.geometry.transform import Rigid3, Sim3
from sfm.geometry.triangulation import triangulate
from sfm.outliers import OutlierOptions, TrackingNoise, drop_weak, filter_observations, unregistered
from sfm.scene import DepthPriors, Reconstruction

logger = logging.getLogger(__name__)

_MAX_TIMES = 3  # that a frame is registered while the scene grows

Progress = Callable[[Reconstruction, float], None]  # reconstruction so far, RMS px


@dataclass(frozen=True, slots=True)
class MappingOptions:
    """When to trust a frame, a point, an observation."""

    keyframe_overlap: float = 0.85  # next keyframe while this part of the tracks is still shared
    max_keyframe_gap: int = 8  # frames
    min_tri_angle_deg: float = 1.5  # above it a point is triangulated, below lifted from the prior
    register_error_px: float = 4.0  # inlier threshold of a new frame's pose, px
    min_observations: int = 2  # a point is made from
    poor_frame: float = 0.6  # of the shot's median part of tracks that agree: frames with less are registered anew
    max_mends: int = 3  # times that is tried, while it helps
    growth: float = 1.4  # adjust whenever the frames have grown by this factor
    adjust_iterations: int = 10
    final_iterations: int = 30
    lens: LensUnknowns = field(default_factory=LensUnknowns)
    outliers: OutlierOptions = field(default_factory=OutlierOptions)


def map_keyframes(
    seed: Reconstruction,
    priors: DepthPriors,
    options: MappingOptions = MappingOptions(),
    progress: Progress | None = None,
) -> tuple[Reconstruction, TrackingNoise]:
    """Register and adjust keyframes only, each sharing most tracks with the one before: `extend` goes on from there."""
    mapper = _Mapper(seed, priors, options, progress)
    mapper.grow(_keyframes(seed, options))
    mapper.adjust(options.final_iterations)
    return mapper.scene, mapper.noise


def map_cameras(
    seed: Reconstruction, priors: DepthPriors, options: MappingOptions = MappingOptions()
) -> tuple[Reconstruction, TrackingNoise]:
    """Points for cameras that are known, all adjusted; `extend` goes on from there.

    seed: cameras without points, in a world of any size; it is brought to the prior's, as far as parallax tells it.
    """
    mapper = _Mapper(seed, priors, options, None)
    mapper.scene = mapper.at_size_of_prior()
    mapper.make_points()
    mapper.adjust(options.final_iterations)
    mapper.settle(mapper.scene.registered)
    return mapper.scene, mapper.noise


def extend(
    seed: Reconstruction,
    priors: DepthPriors,
    options: MappingOptions = MappingOptions(),
    progress: Progress | None = None,
    noise: TrackingNoise | None = None,
) -> tuple[Reconstruction, TrackingNoise]:
    """Register every frame that sees enough points; return the reconstruction and its tracking noise.

    seed: two frames of `initialize`, or with `noise` what `map_keyframes` made of them. Frames without enough points
    stay unregistered (NaN), none is invented. The result is adjusted with the depth prior at the weight the model
    claims for itself; `weigh_prior` decides afterwards what it deserves.
    """
    if noise is None:
        seed, noise = map_keyframes(seed, priors, options, progress)
    mapper = _Mapper(seed, priors, options, progress)
    mapper.noise = noise
    everything = np.ones(seed.tracks.num_frames, bool)
    mapper.grow(everything, adjusting=False)
    # good enough to tell outliers, whose slow wandering is what makes adjusting slow; the last word comes later
    for tolerance in (5e-3, 1e-3):
        mapper.settle(everything, tolerance)
    for _ in range(options.max_mends):
        if not mapper.mend(everything):
            break
    return mapper.scene, mapper.noise


def _keyframes(seed: Reconstruction, options: MappingOptions) -> np.ndarray:
    """Frames to solve first, (frames,) bool: from the start outwards, each sharing most tracks with the one before."""
    shared = seed.tracks.shared()
    keyframes = seed.registered.copy()
    frames = seed.tracks.num_frames
    start = int(np.flatnonzero(seed.registered)[0])
    for step in (1, -1):
        last = start
        while 0 <= last + step < frames:
            ahead = last + step * np.arange(1, options.max_keyframe_gap + 1)
            ahead = ahead[(ahead >= 0) & (ahead < frames)]
            enough = shared[last, ahead] >= options.keyframe_overlap * max(shared[last, last], 1)
            last = int(ahead[np.flatnonzero(enough)[-1]]) if enough.any() else int(ahead[0])
            keyframes[last] = True
    return keyframes


class _Mapper:
    """The scene as it grows."""

    def __init__(self, seed: Reconstruction, priors: DepthPriors, options: MappingOptions, progress: Progress | None):
        self.scene, self.priors, self.options, self.progress = seed, priors, options, progress
        self.noise = TrackingNoise.unknown(seed)
        self.cam_points = seed.camera.at(seed.tracks.frame).cam_from_img(seed.tracks.xy)
        frame = seed.tracks.frame
        ends = np.cumsum(np.bincount(frame, minlength=seed.tracks.num_frames))[:-1]
        self.by_frame = np.split(np.argsort(frame, kind="stable"), ends)
        self.counted_of: np.ndarray | None = None
        self.counted = np.zeros(seed.tracks.num_frames)

    def grow(self, wanted: np.ndarray, adjusting: bool = True) -> None:
        """Register the wanted frames, the one that sees most points first, adjusting as the scene grows if asked to."""
        adjusted_at = self.scene.registered.sum()
        failed = np.zeros(len(wanted), bool)
        times = np.zeros(len(wanted), int)
        while True:
            # a frame that an adjustment drops may come back, but not for ever
            frame = self._next_frame(wanted & ~failed & ~self.scene.registered & (times < _MAX_TIMES))
            if frame is None:
                return
            if not self._register(frame):
                failed[frame] = True
                continue
            times[frame] += 1
            failed[:] = False  # what failed may see enough points now
            if adjusting and self.scene.registered.sum() >= self.options.growth * adjusted_at:
                self.make_points()
                self.adjust(self.options.adjust_iterations)
                adjusted_at = self.scene.registered.sum()
            elif self._runs_dry(frame):
                self.make_points()

    def settle(self, wanted: np.ndarray, cost_tolerance: float = 1e-3) -> None:
        """Make the points that can be made, adjust, and register the wanted frames that see enough now."""
        self.make_points()
        self.adjust(self.options.final_iterations, cost_tolerance)
        self.grow(wanted, adjusting=False)

    def mend(self, wanted: np.ndarray) -> bool:
        """Register frames anew that most of their tracks disagree with; kept, and True, if then more sightings agree.

        Behind a blur or a passer-by the first frames may be registered wrongly, and points made there bear them out.
        """
        agree = self.scene.inlier_part()
        poor = self.scene.registered & (agree < self.options.poor_frame * np.nanmedian(agree))
        if not poor.any() or poor.sum() > 0.5 * self.scene.registered.sum():
            return False
        before, noise = self.scene, self.noise
        self.scene = drop_weak(unregistered(before, poor), self.options.outliers.min_inliers)
        self.grow(wanted, adjusting=False)
        self.settle(wanted)
        agreeing = [int(noise.agrees(scene).sum()) for scene in (before, self.scene)]
        logger.info("%d poor frames registered anew: %d sightings agree, %d before", poor.sum(), *agreeing[::-1])
        if agreeing[1] > agreeing[0]:
            return True
        self.scene, self.noise = before, noise
        return False

    def at_size_of_prior(self) -> Reconstruction:
        """The cameras in a world as large as the prior says, by the tracks that turn most."""
        scene, tracks = self.scene, self.scene.tracks
        rows = np.flatnonzero(scene.registered[tracks.frame])
        points = self._triangulate(rows)
        angle = self._angle_deg(rows, points)[tracks.track[rows]]
        depth = replace(scene, points=points).points_in_cam(rows)[:, 2]
        ratio = depth / self.priors.depth[rows]
        known = np.isfinite(ratio) & (ratio > 0) & (angle > 0)
        known &= angle >= np.quantile(angle[known], 0.75) if known.any() else False
        size = np.exp(np.median(np.log(ratio[known]))) if known.any() else 1.0
        scaled = scene.transform(Sim3(1 / np.array(size), np.eye(3), np.zeros(3)))
        return replace(scaled, depth_scale=np.where(scene.registered, 1.0, np.nan))

    def _next_frame(self, open_frames: np.ndarray) -> int | None:
        """The frame that sees most points, of those the one nearest to a registered frame."""
        scene, seen = self.scene, self._points_seen()
        frames = np.flatnonzero(open_frames & (seen >= MIN_POINTS))
        if not len(frames):
            return None
        registered = np.flatnonzero(scene.registered)
        distance = np.abs(frames[:, None] - registered).min(1)
        near = frames[distance == distance.min()]
        return int(near[np.argmax(seen[near])])

    def _points_seen(self) -> np.ndarray:
        """Points that each frame sees, (frames,); counted anew when there are other points."""
        scene, tracks = self.scene, self.scene.tracks
        if self.counted_of is not scene.points:
            self.counted_of = scene.points
            self.counted = np.bincount(tracks.frame, scene.has_point[tracks.track], tracks.num_frames)
        return self.counted

    def _runs_dry(self, frame: int) -> bool:
        """Less than half of the frame's tracks have points: the next frame would have too little to stand on."""
        return self.scene.has_point[self.scene.tracks.track[self.by_frame[frame]]].mean() < 0.5

    def _register(self, frame: int) -> bool:
        scene, observations = self.scene, self.by_frame[frame]
        observations = observations[scene.has_point[scene.tracks.track[observations]]]
        points = scene.points[scene.tracks.track[observations]]
        max_error = self.options.register_error_px / float(scene.camera.at(frame).focal_length[0])
        pose, inliers = absolute_pose(points, self.cam_points[observations], max_error, self._expected_pose(frame))
        if pose is None:
            return False
        rotation, translation = scene.cams_from_world.rotation.copy(), scene.cams_from_world.translation.copy()
        rotation[frame], translation[frame] = pose.rotation, pose.translation
        registered, marks, scale = scene.registered.copy(), scene.inliers.copy(), scene.depth_scale.copy()
        registered[frame] = True
        marks[self.by_frame[frame]] = False
        marks[observations[inliers]] = True
        ratio = pose.apply(points[inliers])[:, 2] / self.priors.depth[observations[inliers]]
        scale[frame] = np.nanmedian(ratio) if np.isfinite(ratio).any() else np.nan
        self.scene = replace(
            scene, cams_from_world=Rigid3(rotation, translation), registered=registered, inliers=marks,
            depth_scale=scale,
        )  # fmt: skip
        return True

    def _expected_pose(self, frame: int) -> Rigid3:
        """Between two registered neighbours their mean motion, at an end the nearest pose."""
        registered = np.flatnonzero(self.scene.registered)
        cams = self.scene.cams_from_world
        before, after = registered[registered < frame], registered[registered > frame]
        if not len(before) or not len(after):
            return cams[int(registered[np.argmin(np.abs(registered - frame))])]
        low, high = int(before[-1]), int(after[0])
        part = (frame - low) / (high - low)
        change = cams[high] @ cams[low].inverse()
        half = Rigid3.from_rotvec(part * change.as_rotvec(), part * change.translation)
        return half @ cams[low]

    def make_points(self) -> None:
        """A point for every track seen often enough: triangulated where the angle suffices, else lifted."""
        scene, tracks = self.scene, self.scene.tracks
        seen = scene.registered[tracks.frame]
        count = np.bincount(tracks.track[seen], minlength=tracks.num_tracks)
        wanted = ~scene.has_point & (count >= min(self.options.min_observations, scene.registered.sum()))
        rows = np.flatnonzero(seen & wanted[tracks.track])
        if not len(rows):
            return
        points = self._lift(rows)
        triangulated = self._triangulate(rows)
        better = self._angle_deg(rows, triangulated) >= self.options.min_tri_angle_deg
        better &= self._mean_error(rows, triangulated) <= self._mean_error(rows, points) + self.noise.sigma_px
        points[better] = triangulated[better]
        limit = max(6 * self.noise.knee_px, self.options.register_error_px)
        candidate = replace(scene, points=np.where(wanted[:, None], points, scene.points))
        inliers = scene.inliers.copy()
        inliers[rows] = candidate.reprojection_errors(rows) <= limit  # not of NaN: no point, or behind the camera
        self.scene = drop_weak(replace(candidate, inliers=inliers), self.options.outliers.min_inliers)

    def _lift(self, rows: np.ndarray) -> np.ndarray:
        """Points (tracks, 3) from the prior: on the ray of the middle sighting, at the median of all its depths."""
        scene, tracks = self.scene, self.scene.tracks
        track = tracks.track[rows]
        scale = scene.depth_scale[tracks.frame[rows]]
        depth = self.priors.depth[rows] * np.where(np.isfinite(scale), scale, 1.0)
        order = np.lexsort((np.where(np.isfinite(depth), depth, np.inf), track))
        known = np.bincount(track, np.isfinite(depth), tracks.num_tracks).astype(int)
        starts = np.searchsorted(track, np.arange(tracks.num_tracks))
        count = np.bincount(track, minlength=tracks.num_tracks)
        points = np.full((tracks.num_tracks, 3), np.nan)
        made = np.flatnonzero(count)
        middle = rows[starts[made] + count[made] // 2]
        z = np.where(known[made] > 0, depth[order[starts[made] + np.maximum(known[made] - 1, 0) // 2]], np.nan)
        z = np.where(np.isfinite(z), z, np.nanmedian(z) if np.isfinite(z).any() else self._median_depth())
        in_cam = np.column_stack([self.cam_points[middle], np.ones(len(made))]) * z[:, None]
        points[made] = scene.cams_from_world[tracks.frame[middle]].inverse().apply(in_cam)
        return points

    def _median_depth(self) -> float:
        return float(np.nanmedian(self.scene.points_in_cam()[:, 2]))

    def _triangulate(self, rows: np.ndarray) -> np.ndarray:
        scene, tracks = self.scene, self.scene.tracks
        world_from_cam = scene.cams_from_world[tracks.frame[rows]].inverse()
        in_cam = np.column_stack([self.cam_points[rows], np.ones(len(rows))])
        rays = np.einsum("nij,nj->ni", world_from_cam.rotation, in_cam)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        return triangulate(world_from_cam.translation, rays, tracks.track[rows], tracks.num_tracks)

    def _angle_deg(self, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        marks = np.zeros(len(self.scene.tracks), bool)
        marks[rows] = True
        angle = replace(self.scene, points=points, inliers=marks).parallax_deg()
        return np.nan_to_num(angle)

    def _mean_error(self, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Mean reprojection error of each track's rows at other points, (tracks,) px; infinite where undefined."""
        track, count = self.scene.tracks.track[rows], self.scene.tracks.num_tracks
        errors = replace(self.scene, points=points).reprojection_errors(rows)
        total = np.bincount(track, np.nan_to_num(errors, nan=np.inf), count)
        seen = np.bincount(track, minlength=count)
        return np.where(seen > 0, total / np.maximum(seen, 1), np.inf)

    def adjust(self, iterations: int, cost_tolerance: float = 1e-3) -> AdjustmentReport:
        """Adjust, measure the tracking noise anew, tell inliers from outliers."""
        options = self.noise.adjustment(
            max_iterations=iterations, cost_tolerance=cost_tolerance, lens=self.options.lens, estimate_sigma=False
        )
        self.scene, report = adjust(self.scene, self.priors, options)
        if self.options.lens.focal or self.options.lens.zoom:
            self.cam_points = self.scene.camera.at(self.scene.tracks.frame).cam_from_img(self.scene.tracks.xy)
        self.scene, self.noise = filter_observations(self.scene, self.priors.relief, self.options.outliers)
        if self.progress is not None:
            self.progress(self.scene, report.rms_px)
        return report
