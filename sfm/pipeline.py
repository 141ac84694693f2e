"""A clip becomes cameras and points: left of the waist, where pictures are seen; `solve` is right of it.

*Depth-guided sparse structure-from-motion for movies and TV shows*, CVPR 2022, arXiv 2204.02509.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sfm.comparison import joining
from sfm.depth import DepthKind, DepthModel, load, sample_depth
from sfm.depth.model import field_of_view_deg
from sfm.errors import UsageError
from sfm.geometry.camera import Camera
from sfm.hand_tracks import beside
from sfm.mapped_shot import Progress
from sfm.masks import Masked, load_masks
from sfm.options import BY_HAND, Options
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.solve import Given, SolveReport, solve
from sfm.survey import Survey
from sfm.tracking import track_points
from sfm.video import Shot, Video, VideoOptions, open_video

logger = logging.getLogger(__name__)

WHOLE_CLIP = VideoOptions()
NETWORK_FOCAL_SIGMA = 0.1  # of log focal length, of a network that estimates it (Bochkovskii et al. 2024)


def reconstruct(
    clip: str | Path | Video,
    depth: Any = "none",
    camera: Camera | None = None,
    options: Options = Options(),
    *,
    depth_kind: DepthKind | None = None,
    video: VideoOptions = WHOLE_CLIP,
    masks: str | Path | None = None,
    tracks: Tracks | None = None,
    hand_tracks: Tracks | None = None,
    survey: Callable[[Tracks], Survey] | None = None,
    start_camera: Reconstruction | None = None,
    progress: Progress | None = None,
) -> tuple[Reconstruction, SolveReport, Shot]:
    """Solve a shot: a movie file, a folder of frames or a pattern like `shot.%04d.exr`.

    depth: what `sfm.depth.load` takes (a folder of maps, a network's name, folder or file, a callable
    `(frames (n, h, w, 3) uint8) -> (n, h', w')`, "auto", "none"), or with your own tracks `DepthPriors` at their
    observations. Nothing is cached: `sfm.depth.cache.cached(model, video)` does that.
    camera: the intrinsics if known (fixed but for what `options` refines); else the field of view the depth network
    saw, or `options.start_fov_deg`, is refined.
    masks: a folder of images, "alpha" or "auto" (`sfm.masks.load_masks`), black where nothing may be tracked unless
    `options.masks` says otherwise. tracks: your own, on the clip's frames, instead of the tracker's; hand_tracks: more,
    beside them, that are believed (`Tracks.sigma_px`). survey: what was measured on set, asked for when it is known
    which tracks there are; the result is in its world, as far as it says. start_camera: a track of this clip to refine,
    on its frames (`read_track`): mapping starts from its cameras, its lens is the one given unless `camera` is, and the
    result is put back into its world if there is no survey. Raises an `SfmError` that says what to do.
    """
    tell = progress or (lambda stage, part, text: None)
    if camera is None and start_camera is not None:
        camera = start_camera.camera
    footage = clip if isinstance(clip, Video) else open_video(clip, video)
    shot = footage.shot
    if camera is not None and (camera.width, camera.height) != (shot.width, shot.height):
        raise ValueError(f"camera: got {camera.width}x{camera.height}, expected the plate's {shot.width}x{shot.height}")
    if start_camera is not None and start_camera.tracks.num_frames != len(footage):
        raise ValueError(
            f"start_camera: got {start_camera.tracks.num_frames} frames, expected the clip's {len(footage)}"
        )
    model = load(depth, depth_kind, shot) if not isinstance(depth, DepthPriors) else None
    if model is not None:
        model.maps(footage)  # a folder without maps of this shot is found out now, not after minutes of tracking
    masked = None
    if tracks is None:
        mask = Masked(load_masks(masks, footage, options.masks))
        masked = None if masks is None else mask.parts
        tracks = track_points(footage, options.tracking, mask, _tracking_progress(tell, len(footage)))
    else:
        if tracks.num_frames != len(footage):
            raise ValueError(f"tracks: got {tracks.num_frames} frames, expected the clip's {len(footage)}")
        options = replace(options, mapping=options.mapping or BY_HAND)
    if hand_tracks is not None:
        depth = _without_depth_of(depth, len(hand_tracks)) if isinstance(depth, DepthPriors) else depth
        tracks = beside(tracks, hand_tracks)
    if survey is not None:
        options = replace(options, survey=survey(tracks))
    patch = options.tracking.patch_radius * max(1.0, shot.width / options.tracking.working_width)
    sampling = replace(options.depth, edge_radius_px=patch)
    priors = depth if isinstance(depth, DepthPriors) else None
    if model is not None:
        priors = sample_depth(model, footage, tracks, sampling, _depth_progress(tell, len(footage)))
        options = _with_lens_of(model, options) if camera is None else options
    guess = Camera.from_fov_deg(options.start_fov_deg, shot.width, shot.height, options.pixel_aspect)
    started = None if start_camera is None else start_camera.cams_from_world
    given = Given(camera or guess, camera is not None, shot.frame_numbers, started)
    solved, report = solve(tracks, priors, given, options, tell)
    if start_camera is not None and options.survey is None:
        solved = _in_world_of(start_camera, solved)
    return solved, replace(report, masked=masked), shot


def reconstruct_tracks(
    tracks: Tracks,
    priors: DepthPriors | None,
    camera: Camera,
    options: Options = Options(),
    progress: Progress | None = None,
) -> tuple[Reconstruction, SolveReport]:
    """Solve from the waist: your own tracks and depth at their observations, for people with their own tracker.

    The camera's distortion is taken out of the tracks first. Without priors every point starts equally deep. Raises
    `UsageError` without a camera: tracks do not tell how large the plate is.
    """
    if not isinstance(camera, Camera):
        raise UsageError(
            f"camera: got {camera!r:.40}, expected a Camera; of an unknown lens Camera.from_fov_deg(50, width, height),"
            " and Options(refine_focal=True)"
        )
    tell = progress or (lambda stage, part, text: None)
    options = replace(options, mapping=options.mapping or BY_HAND)
    return solve(tracks, priors, Given(camera, True, np.arange(tracks.num_frames)), options, tell)


def _without_depth_of(priors: DepthPriors, more: int) -> DepthPriors:
    """The same priors, and none for more observations behind theirs."""
    unknown = np.full(more, np.nan)
    return replace(
        priors, depth=np.r_[priors.depth, unknown], sigma=np.r_[priors.sigma, unknown],
        relief=np.r_[priors.relief, np.zeros(more)],
    )  # fmt: skip


def _in_world_of(start: Reconstruction, solved: Reconstruction) -> Reconstruction:
    """A track that was refined stays where it was: what was built around it fits on."""
    frames = np.flatnonzero(start.has_camera & solved.registered)
    return solved.transform(joining(solved, start, frames, frames)) if len(frames) else solved


def _with_lens_of(model: DepthModel, options: Options) -> Options:
    """Starting from the field of view the depth network saw, if it sees one, and held nearer to it than to a guess."""
    fov = field_of_view_deg(model)
    if not np.isfinite(fov):
        return options
    logger.info("%s sees %.1f degrees across: the focal length starts there", model.name, fov)
    return replace(options, start_fov_deg=fov, start_fov_sigma=NETWORK_FOCAL_SIGMA)


def _depth_progress(tell: Progress, frames: int) -> Callable[[int], None]:
    return lambda done: tell("depth", done / frames, f"{done} of {frames} frames")


def _tracking_progress(tell: Progress, frames: int) -> Callable[[int, int], None]:
    return lambda done, alive: tell("tracking", done / frames, f"{done} of {frames} frames, {alive:,} points")
