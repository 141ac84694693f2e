"""A shot mapped from one start: its kind, its lens, the worth of its prior; and which of two starts led further."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sfm.bundle_adjustment import LensUnknowns, adjust
from sfm.calibration import LensEvidence, calibrate
from sfm.errors import NoSolutionError, NotEnoughTracksError
from sfm.geometry.camera import Camera
from sfm.mapping import MappingOptions, extend
from sfm.motion import FREE_DEPTH_WEIGHT, Motion, MotionEvidence, classify_motion, held_as
from sfm.options import Options
from sfm.outliers import TrackingNoise, filter_observations
from sfm.prior_alignment import in_unit_of
from sfm.prior_weight import PriorWeight, unchecked_prior, weigh_prior
from sfm.scene import DepthPriors, Reconstruction
from sfm.start import Start, costs_less, settled

logger = logging.getLogger(__name__)

MAX_CALIBRATIONS = 3
REFITTED_FROM = 0.02  # change of log focal length or viewing direction, from which outliers are told anew

Progress = Callable[[str, float, str], None]  # stage, part done 0..1, what it found so far


@dataclass(frozen=True, slots=True, eq=False)
class MappedShot:
    """A shot mapped from one start: what kind it is, its lens, and the prior weighed against it."""

    grown: Reconstruction
    noise: TrackingNoise
    motion: MotionEvidence
    priors: DepthPriors
    weight: PriorWeight
    lens: LensUnknowns
    lens_evidence: LensEvidence
    from_prior: bool


def map_shot(begun: Start, priors: DepthPriors, options: Options, tell: Progress) -> MappedShot:
    """The whole shot from a start; where that has a zoom which is none, from the one without."""
    mapping = replace(options.mapping or MappingOptions(), lens=begun.lens)
    options = replace(options, mapping=mapping)
    mapped_with = priors if begun.from_prior else DepthPriors.constant(begun.scene.tracks)
    grown, noise = extend(begun.scene, mapped_with, mapping, _mapping_progress(tell), begun.noise)
    check_registered(grown)
    tell("adjusting", 0.0, "what kind of shot is it")
    # from here on: of a cropped plate the middle is not the principal point, and a pan about it is none
    middle = tuple(grown.camera.principal_point.reshape(-1, 2)[0].tolist())
    lens = replace(mapping.lens, principal_point=options.refine_principal_point, principal_prior_px=middle)
    motion = classify_motion(grown, mapped_with, noise, lens, options.motion)
    if begun.otherwise is not None and not motion.zoom:  # nothing of it must stay
        return map_shot(begun.otherwise, priors, options, tell)
    tell("adjusting", 0.3, f"{motion.motion.value.replace('_', ' ')}{' with zoom' if motion.zoom else ''}")
    options = replace(options, mapping=replace(mapping, lens=lens))
    grown, noise, lens, evidence = _calibrated(grown, mapped_with, noise, motion, options)
    grown = in_unit_of(grown, priors)
    if motion.motion in (Motion.NODAL, Motion.STATIC):
        # without parallax the tracks say nothing of depth: they can neither bend the prior nor contradict it
        weight = unchecked_prior(grown, priors, options.prior_weight)
    else:
        priors, weight = weigh_prior(grown, priors, noise, options.prior_weight)
        grown = in_unit_of(grown, priors)
    return MappedShot(grown, noise, motion, priors, weight, lens, evidence, begun.from_prior)


def _calibrated(
    grown: Reconstruction, priors: DepthPriors, noise: TrackingNoise, motion: MotionEvidence, options: Options
) -> tuple[Reconstruction, TrackingNoise, LensUnknowns, LensEvidence]:
    """The scene with its lens; outliers told at a lens far from it hide it, so that it is asked again."""
    mapping = options.mapping or MappingOptions()
    lens, evidence = mapping.lens, LensEvidence(False)
    for _ in range(MAX_CALIBRATIONS):
        before = grown.camera
        asked = replace(mapping.lens, zoom=lens.zoom)
        grown, lens, evidence = calibrate(grown, priors, noise, motion, asked, options.calibration)
        moved = _change(before, grown.camera) > REFITTED_FROM
        if motion.zoom or moved:  # mapped without its zoom, with too few frames to tell it, or with another lens
            grown, noise = _refitted(grown, priors, noise, motion, lens, mapping)
        if not moved:
            break
    return grown, noise, lens, evidence


def _change(before: Camera, after: Camera) -> float:
    """Of log focal length, or of the principal point in focal lengths; in the first frame."""
    focal = before.focal_length.reshape(-1, 2)[0]
    longer = np.log(after.focal_length.reshape(-1, 2)[0] / focal)
    aside = (after.principal_point - before.principal_point).reshape(-1, 2)[0] / focal
    return float(max(np.abs(longer).max(), np.abs(aside).max()))


def _refitted(
    grown: Reconstruction, priors: DepthPriors, noise: TrackingNoise, motion: MotionEvidence, lens: LensUnknowns,
    mapping: MappingOptions,
) -> tuple[Reconstruction, TrackingNoise]:  # fmt: skip
    """The scene adjusted as the kind of shot it is, outliers told anew."""
    for _ in range(2):
        settings = noise.adjustment(
            depth_weight=FREE_DEPTH_WEIGHT, max_iterations=mapping.final_iterations, cost_tolerance=1e-4,
            estimate_sigma=False, lens=lens,
        )  # fmt: skip
        scene, settings = held_as(grown, motion.motion, settings)
        grown, noise = filter_observations(adjust(scene, priors, settings)[0], priors.relief, mapping.outliers)
        check_registered(grown)
    return grown, noise


def map_from(
    other_start: Callable[[], Start], priors: DepthPriors, options: Options, tell: Progress
) -> MappedShot | None:
    """The whole shot from another start; None if nothing comes of it."""
    try:
        return map_shot(other_start(), priors, options, tell)
    except (NotEnoughTracksError, NoSolutionError) as error:
        logger.info("from another start: %s", error)
        return None


def explains_more(one: MappedShot, other: MappedShot, options: Options) -> bool | None:
    """Whether one explains the tracks clearly better than the other, each as its tracks alone would have it; None where
    they cannot be compared."""
    try:
        mine, others = (settled(each.grown, each.noise, options.start, each.lens.zoom) for each in (one, other))
    except NoSolutionError:
        return None
    return costs_less(mine, others, one.noise, options.start)


def check_registered(scene: Reconstruction) -> None:
    """Raise `NoSolutionError` where no frame has a camera."""
    if not scene.registered.any():
        raise NoSolutionError(
            "no frame keeps a camera: too few tracks agree on one rigid scene; see --verbose for what was tried"
        )


def _mapping_progress(tell: Progress) -> Callable[[Reconstruction, float], None]:
    def report(scene: Reconstruction, rms_px: float) -> None:
        done, frames = int(scene.registered.sum()), len(scene.registered)
        tell(
            "mapping",
            done / frames,
            f"{done} of {frames} frames, {int(scene.has_point.sum()):,} points, {rms_px:.2f} px",
        )

    return report
