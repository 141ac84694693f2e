"""How far tracked positions are off, measured on the shot itself; which observations, points, frames to believe."""

from dataclasses import dataclass, replace

import numpy as np

from sfm.bundle_adjustment import BundleAdjustmentOptions
from sfm.geometry.absolute_pose import MIN_POINTS
from sfm.geometry.transform import Rigid3
from sfm.scene import Reconstruction, Support

_BELIEVED_AFTER = 5  # sightings
_HAND_KNEE, _ABSURD = 3.0, 20.0  # of a track made by hand, in its own sigmas: counts less, is none of the point's


@dataclass(frozen=True, slots=True)
class OutlierOptions:
    """What to expect of the tracks."""

    wrong_part: float = 0.25  # of the observations may be wrong; of tracks checked by a person fewer
    weigh_tracks: bool = True  # tracks that err more count less; false for the few that a person checked
    edge_relief: float = 0.2  # range of log depth under its patch, beyond the ordinary, at which a track is worth half
    min_inliers: int = 3  # a point is kept with, if registered frames saw it so often


@dataclass(frozen=True, slots=True, eq=False)
class TrackingNoise:
    """How far tracked positions are off, measured on the shot itself, where tracks say so by direction (whitened).

    sigma_px: standard deviation of a coordinate of the ordinary observation; knee_px: error beyond which an observation
    counts less and less, and twice that makes it an outlier; track_weight (tracks,): what a track is worth beside an
    ordinary one, at most 1; track_knee (tracks,): its own knee over that one, None: 1. Tracks that a person vouches for
    are what that person says, and outliers only where they are absurd.
    """

    sigma_px: float
    knee_px: float
    track_weight: np.ndarray
    track_knee: np.ndarray | None = None

    @classmethod
    def unknown(cls, scene: Reconstruction) -> "TrackingNoise":
        """Before anything is measured."""
        return cls(1.0, 3.0, np.ones(scene.tracks.num_tracks))

    @classmethod
    def of(cls, scene: Reconstruction, relief: np.ndarray, options: OutlierOptions) -> "TrackingNoise":
        """From the errors of all observations of existing points, so it does not depend on who was an inlier.

        The knee is where `wrong_part` of the errors lie beyond, within 3 to 5 sigma: with few tracks, all checked by a
        person, none can be spared for being less precise than the best. relief (observations,) as in `DepthPriors`.
        """
        return cls._of(scene, scene.whitened_errors(), relief, options)

    @classmethod
    def _of(
        cls, scene: Reconstruction, errors: np.ndarray, relief: np.ndarray, options: OutlierOptions
    ) -> "TrackingNoise":
        track, count = scene.tracks.track, scene.tracks.num_tracks
        known, by_hand = np.isfinite(errors), scene.tracks.by_hand
        if (ordinary := known & ~by_hand[track]).any():
            known = ordinary
        # the median length of a 2D Gaussian error is 1.1774 sigma
        sigma = max(float(np.median(errors[known])) / 1.1774, 0.02)
        knee = float(np.clip(np.quantile(errors[known], 1 - options.wrong_part), 3 * sigma, 5 * sigma))
        # a track's own variance, drawn towards the ordinary one by as many sightings as it takes to believe it
        square = np.bincount(track[known], np.minimum(errors[known], 2 * knee) ** 2, count) / (2 * sigma**2)
        seen = np.bincount(track[known], minlength=count)
        own = (square + _BELIEVED_AFTER) / (seen + _BELIEVED_AFTER) if options.weigh_tracks else np.ones(count)
        # the patch of a track at a depth edge follows both sides: too consistent to show as noise, but worth little;
        # a map that is rough everywhere shows no edges
        step = np.bincount(track, relief, count) / np.maximum(scene.tracks.lengths, 1)
        step = np.maximum(step - np.median(step), 0) if count else step
        weight = 1 / (np.maximum(own, 1.0) + (step / options.edge_relief) ** 2)
        if not by_hand.any():
            return cls(sigma, knee, weight)
        vouched = np.where(by_hand, scene.tracks.sigma_px, 1.0)
        return cls(
            sigma, knee, np.where(by_hand, (sigma / vouched) ** 2, weight),
            np.where(by_hand, _HAND_KNEE * vouched / knee, 1.0),
        )  # fmt: skip

    def agrees(self, scene: Reconstruction) -> np.ndarray:
        """Whether each observation has a point and errs by no more than twice the knee, (observations,) bool."""
        return self._agrees(scene, scene.whitened_errors())

    def _agrees(self, scene: Reconstruction, errors: np.ndarray) -> np.ndarray:
        limit = 2 * self.knee_px
        if scene.tracks.by_hand.any():
            vouched = np.where(scene.tracks.by_hand, scene.tracks.sigma_px, 0.0)[scene.tracks.track]
            limit = np.maximum(limit, _ABSURD * vouched)
        return errors <= limit  # not NaN

    def adjustment(self, **others) -> BundleAdjustmentOptions:
        """Options of an adjustment that believes in this noise."""
        return BundleAdjustmentOptions(
            reproj_sigma_px=self.sigma_px,
            reproj_knee=self.knee_px / self.sigma_px,
            track_weight=self.track_weight,
            track_knee=self.track_knee,
            **others,
        )


def filter_observations(
    scene: Reconstruction, relief: np.ndarray, options: OutlierOptions
) -> tuple[Reconstruction, TrackingNoise]:
    """Inliers told anew from outliers; points and frames with too few inliers dropped; and the noise that told them."""
    errors = scene.whitened_errors()
    noise = TrackingNoise._of(scene, errors, relief, options)
    scene = drop_weak(replace(scene, inliers=noise._agrees(scene, errors)), options.min_inliers)
    return _unregister_blind(scene), noise


def _unregister_blind(scene: Reconstruction) -> Reconstruction:
    """Without the cameras that too few inliers hold: their poses are leftovers, not results."""
    seen = np.bincount(scene.tracks.frame[scene.inliers], minlength=len(scene.registered))
    blind = scene.registered & (seen < MIN_POINTS)
    return unregistered(scene, blind) if blind.any() else scene


def unregistered(scene: Reconstruction, blind: np.ndarray) -> Reconstruction:
    """Without the cameras of some frames (frames,) bool."""
    cams = scene.cams_from_world
    return replace(
        scene,
        cams_from_world=Rigid3(
            np.where(blind[:, None, None], np.nan, cams.rotation), np.where(blind[:, None], np.nan, cams.translation)
        ),
        registered=scene.registered & ~blind,
        inliers=scene.inliers & ~blind[scene.tracks.frame],
        depth_scale=np.where(blind, np.nan, scene.depth_scale),
    )


def drop_weak(scene: Reconstruction, min_inliers: int) -> Reconstruction:
    """Without points that too few inliers see."""
    tracks = scene.tracks
    use = scene.inliers & scene.registered[tracks.frame]
    count = np.bincount(tracks.track[use], minlength=tracks.num_tracks)
    # no point is weak for what registered frames never saw of it
    sightings = np.bincount(tracks.track[scene.registered[tracks.frame]], minlength=tracks.num_tracks)
    weak = count < np.clip(sightings, min(2, max(int(scene.registered.sum()), 1)), min_inliers)
    return replace(
        scene, points=np.where(weak[:, None], np.nan, scene.points), inliers=scene.inliers & ~weak[tracks.track]
    )


def with_support(scene: Reconstruction, prior_sigma: float) -> Reconstruction:
    """Say of each point whether the tracks or the prior hold it in depth: whichever knows it better.

    prior_sigma: relative standard deviation of the depth prior.
    """
    triangulated = np.nan_to_num(scene.point_sigma, nan=np.inf) < prior_sigma
    support = np.where(triangulated, Support.TRIANGULATED, Support.PRIOR)
    return replace(scene, support=np.where(scene.has_point, support, Support.NONE))
