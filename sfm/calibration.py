"""What of an unknown lens the tracks can tell: radial distortion if they support it, the focal length if they know it,
and the principal point if that is asked for.

A shot whose camera hardly moves often knows neither. Distortion is kept where the Bayesian information criterion says
so, beyond what a few tracks decide (Vuong 1989), for a lens that bends may stand in for a longer one; a focal length
that the tracks know hardly better than the guess did stays at the guess, and is said to be one.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from sfm.bundle_adjustment import (
    KNOWN_LENS,
    BundleAdjustmentOptions,
    LensUnknowns,
    Posterior,
    adjust,
    reprojection_costs,
    serial_correlation,
)
from sfm.motion import FREE_DEPTH_WEIGHT, Motion, MotionEvidence, gain_over_tracks, held_as, without_zoom
from sfm.outliers import TrackingNoise
from sfm.prior_weight import thinned
from sfm.rolling_shutter import from_motion
from sfm.scene import DepthPriors, Reconstruction, row_times
from sfm.threads import in_threads, one_blas_thread

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How lenses are compared, and when a focal length counts as known."""

    max_frames: int = 24  # frames, evenly spaced, on which lenses are compared
    max_points: int = 800  # points, evenly spread, on which they are
    iterations: int = 20
    focal_step: float = 0.2  # of log focal length, between those from which the best is looked for
    max_focal_steps: int = 5
    steep: float = 0.1  # part of the cost, by which a valley's sides rise that an adjustment finds the bottom of itself
    max_sigma: float = 0.5  # part of the guess's own: what is known no better stays a guess
    min_radial_sigmas: float = 2.0  # standard errors over the tracks, by which these must prefer a lens that distorts
    readouts: tuple[float, ...] = (0.4, 0.8)  # of a rolling shutter that nobody told, frames
    min_readout_gain: float = 10.0  # by which the criterion must prefer one to a global shutter,
    min_readout_sigmas: float = 2.0  # and by so many standard errors over the tracks


@dataclass(frozen=True, slots=True)
class LensEvidence:
    """What was found of the lens.

    refined: the tracks were asked for the focal length; focal_sigma: its relative standard deviation, NaN where they
    were not; focal_known: they tell it; principal_sigma_px: of the principal point, empty where they were not asked;
    principal_known: they tell it; radial: coefficients of distortion they support; criterion: BIC by coefficients, as
    if all errors were independent, which `radial` does not take them for;
    untold_readout: frames, of a rolling shutter that explains the tracks clearly better than the global one they were
    taken with; 0 where none does, or its read-out was given.
    """

    refined: bool
    focal_sigma: float = float("nan")
    focal_known: bool = True
    principal_sigma_px: tuple[float, ...] = ()
    principal_known: bool = False
    radial: int = 0
    criterion: tuple[float, ...] = ()
    untold_readout: float = 0.0


def calibrate(
    scene: Reconstruction,
    priors: DepthPriors,
    noise: TrackingNoise,
    motion: MotionEvidence,
    lens: LensUnknowns,
    options: CalibrationOptions = CalibrationOptions(),
) -> tuple[Reconstruction, LensUnknowns, LensEvidence]:
    """The scene with the lens its tracks support, what to refine of that lens from here on, and the evidence.

    scene: mapped with the lens free as `lens` says; motion: the kind of shot it is.
    """
    zoom_given = bool(scene.camera.batch) and not lens.zoom
    lens = replace(lens, zoom=motion.zoom and not zoom_given)
    if scene.camera.batch and not motion.zoom:
        scene = replace(scene, camera=without_zoom(scene.camera, lens))
    if not (lens.focal or lens.principal_point):
        return scene, lens, LensEvidence(False)
    focal = scene.camera.focal_length
    first = focal.reshape(-1, 2)[0, 0]  # of a zoom the curve stays
    guess = focal / first * (lens.focal_prior_px or first)
    if motion.motion is Motion.STATIC:
        evidence = LensEvidence(lens.focal, lens.focal_sigma if lens.focal else float("nan"), not lens.focal)
        if lens.principal_point:
            sigma = lens.principal_sigma * scene.camera.width
            evidence = replace(evidence, principal_sigma_px=(sigma, sigma))
        if lens.focal:
            scene = replace(scene, camera=replace(scene.camera, focal_length=guess, distortion=np.zeros(0)))
        return scene, KNOWN_LENS, evidence
    part = thinned(scene, options.max_frames, options.max_points)
    tried = [replace(lens, radial=count) for count in range(3 if lens.radial else 1)]
    along = _along_the_valley if lens.focal and motion.motion is not Motion.NODAL else _solved
    with one_blas_thread():  # held outside, for solves that overlap would each restore what another set
        solves = in_threads(lambda one: along(part, priors, noise, motion, one, options), tried)
    observations = 2 * int(part.inliers.sum())
    criterion = [2 * cost + one.radial * np.log(observations) for (_, _, cost), one in zip(solves, tried, strict=True)]
    best = _coefficients([(scene, settings) for scene, settings, _ in solves], observations, options)
    solved, settings, _ = solves[best]
    found = Posterior(solved, priors, settings).lens()
    known = bool(found.focal < options.max_sigma * lens.focal_sigma)
    center_sigma = found.principal_point
    center_known = bool((center_sigma < options.max_sigma * lens.principal_sigma * part.camera.width).all())
    logger.info(
        "lens: %d coefficients of distortion (BIC %s), focal length %.0f px, known to %.2g %%",
        best, ", ".join(f"{c:.0f}" for c in criterion), solved.camera.focal_length[..., 0].mean(), 100 * found.focal,
    )  # fmt: skip
    camera = solved.camera
    evidence = LensEvidence(lens.focal, radial=best, criterion=tuple(criterion))
    if lens.focal:
        camera = camera if known else camera.with_focal_length(guess)
        evidence = replace(evidence, focal_sigma=found.focal if known else lens.focal_sigma, focal_known=known)
    if lens.principal_point:
        if not center_known and lens.principal_prior_px is not None:
            off = camera.principal_point.reshape(-1, 2)[0] - lens.principal_prior_px
            camera = replace(camera, principal_point=camera.principal_point - off)
        evidence = replace(evidence, principal_sigma_px=tuple(center_sigma.tolist()), principal_known=center_known)
        logger.info("principal point known to %.1f, %.1f px", *center_sigma)
    lens = replace(lens, focal=known, principal_point=center_known, radial=best)
    return replace(scene, camera=camera), lens, evidence


def _coefficients(
    solves: list[tuple[Reconstruction, BundleAdjustmentOptions]], observations: int, options: CalibrationOptions
) -> int:
    """How many coefficients of distortion the tracks support: more where these explain them better by more than they
    cost, errors of a track that follow each other counted as one, and by more than a few tracks decide."""
    best, together = 0, serial_correlation(solves[0][0])
    costs = [reprojection_costs(*solve) for solve in solves]
    for count in range(1, len(solves)):
        cheaper, sigma = gain_over_tracks(costs[best], costs[count], together)
        price = (count - best) * np.log(max(observations / together, 1))
        if cheaper > max(price, options.min_radial_sigmas * sigma):
            best = count
    return best


def with_sigma(evidence: LensEvidence, known: Posterior) -> LensEvidence:
    """The evidence, with the standard deviations of what an adjusted scene had free of its lens: those that noise
    leaves, or where they are more, those by which parts of the shot disagree."""
    lens, noise, parts = known.options.lens, known.lens(), known.lens_by_parts()
    if lens.focal:
        logger.info("focal length known to %.2g %% by noise, %.2g %% by parts", 100 * noise.focal, 100 * parts.focal)
        evidence = replace(evidence, focal_sigma=float(np.maximum(noise.focal, parts.focal)))
    if lens.principal_point:
        larger = np.maximum(noise.principal_point, parts.principal_point)
        evidence = replace(evidence, principal_sigma_px=tuple(larger.tolist()))
    return evidence


def untold_readout(
    scene: Reconstruction, priors: DepthPriors, noise: TrackingNoise, motion: MotionEvidence, lens: LensUnknowns,
    options: CalibrationOptions = CalibrationOptions(),
) -> float:  # fmt: skip
    """The read-out, in frames, with which the tracks fit clearly better than with none; 0 where none does.

    scene: solved as if its shutter were global. Each read-out is taken out of the tracks along their own motion, and
    the lens refined anew, its focal length too where the tracks prefer another: that bends them as a shutter does, and
    a shutter makes them prefer another. Errors of a track that follow each other count as one, and few tracks decide
    nothing (Vuong 1989). The limit: a camera that moves evenly looks alike through either shutter.
    """
    if motion.motion is Motion.STATIC:
        return 0.0
    if np.isfinite(motion.preferred_focal_px):
        lens = replace(lens, focal=True)

    def rolling(readout: float) -> tuple[Reconstruction, np.ndarray]:
        tracks = from_motion(scene.tracks, row_times(scene.tracks, scene.camera.height, readout))
        part = thinned(replace(scene, tracks=tracks), options.max_frames, options.max_points)
        solved, settings, _ = _solved(part, priors, noise, motion, lens, options)
        return solved, reprojection_costs(solved, settings)

    with one_blas_thread():
        (still, cost), *others = in_threads(rolling, (0.0, *options.readouts))
    together, gains = serial_correlation(still), {0.0: 0.0}
    for readout, (_, other) in zip(options.readouts, others, strict=True):
        cheaper, sigma = gain_over_tracks(cost, other, together)
        gain = float(cheaper - np.log(max(2 * still.inliers.sum() / together, 1)))
        by_chance = options.min_readout_sigmas * sigma
        logger.info("a read-out of %.1f frames: better by %.0f, by chance %.0f", readout, gain, by_chance)
        if gain > max(options.min_readout_gain, by_chance):
            gains[readout] = gain
    return max(gains, key=gains.__getitem__)


def _along_the_valley(
    part: Reconstruction, priors: DepthPriors, noise: TrackingNoise, motion: MotionEvidence, lens: LensUnknowns,
    options: CalibrationOptions,
) -> tuple[Reconstruction, BundleAdjustmentOptions, float]:  # fmt: skip
    """Solved with the focal length free, from the one that costs least of those around where it was mapped.

    At small parallax a longer lens and a deeper scene look alike. An adjustment that is to change both at once creeps,
    and stops long before the bottom of the valley; with the focal length held it takes a few steps.
    """
    held = replace(lens, focal=False)

    def at(place: float) -> tuple[Reconstruction, float]:
        factor = np.exp(options.focal_step * place)
        camera = part.camera.with_focal_length(part.camera.focal_length * factor)
        scene, _, cost = _solved(replace(part, camera=camera), priors, noise, motion, held, options)
        return scene, cost

    found = {place: at(place) for place in (-1, 0, 1)}
    best = 0
    while abs(best) < options.max_focal_steps:
        best = min(found, key=lambda place: found[place][1])
        if best + np.sign(best) in found:
            break
        found[best + int(np.sign(best))] = at(best + int(np.sign(best)))
    start, here = found[best]
    low, high = (found[place][1] if place in found else -np.inf for place in (best - 1, best + 1))
    if here <= min(low, high) and (1 - options.steep) * min(low, high) < here < max(low, high):
        vertex, cost = at(best + 0.5 * (low - high) / (low - 2 * here + high))
        start = vertex if cost < here else start
    return _solved(start, priors, noise, motion, lens, options)


def _solved(
    part: Reconstruction, priors: DepthPriors, noise: TrackingNoise, motion: MotionEvidence, lens: LensUnknowns,
    options: CalibrationOptions,
) -> tuple[Reconstruction, BundleAdjustmentOptions, float]:  # fmt: skip
    radial = part.camera.distortion[: lens.radial]
    camera = replace(part.camera, distortion=np.pad(radial, (0, 4 - len(radial))) if lens.radial else np.zeros(0))
    settings = noise.adjustment(
        depth_weight=FREE_DEPTH_WEIGHT, max_iterations=options.iterations, cost_tolerance=1e-6, estimate_sigma=False,
        lens=lens,
    )  # fmt: skip
    model, settings = held_as(replace(part, camera=camera), motion.motion, settings)
    solved, report = adjust(model, priors, settings)
    return solved, settings, report.reprojection_cost
