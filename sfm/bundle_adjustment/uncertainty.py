"""How well an adjusted shot is known: the Gaussian that its normal equations describe.

Covariance of the least-squares estimate (Hartley and Zisserman 2004, section 5.2.4), points marginalised out and put
back (Triggs et al. 2000, section 9). Gauge: the first registered camera stays where it is, and the size of the scene is
what keeps the mean log depth of its points, each in the camera that saw it first, weighed by what is known of it and
none more than half of them. What no picture shows is not counted as unknown, and a
survey not as known: it can only make less of what is told here.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from sfm.bundle_adjustment.charts import depth_information
from sfm.bundle_adjustment.clusters import between_clusters
from sfm.bundle_adjustment.options import BundleAdjustmentOptions
from sfm.bundle_adjustment.problem import ShotProblem
from sfm.least_squares import NormalEquations, influence
from sfm.scene import DepthPriors, Reconstruction
from sfm.threads import one_blas_thread

_UNKNOWN = 1e3  # a relative standard deviation beyond it is none
_CHANCE = 2.0  # standard errors of a correlation
_TABLE = 1 << 17  # errors of tracks transformed at once: a few MB
_CELLS = 4  # regions of the picture across and down, as large as errors that tracks have in common


@dataclass(frozen=True, slots=True, eq=False)
class LensSigma:
    """Standard deviations of what was free of a lens, NaN of what was not.

    focal: of log focal length (of the first frame, of a zoom); principal_point (2,): px; radial (2,): of k1 and k2.
    """

    focal: float
    principal_point: np.ndarray
    radial: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class CameraSigma:
    """Standard deviations of the cameras beside the first registered one, NaN of what was not free.

    centers (frames, 3): of the camera centres along the axes of each camera; rotations (frames, 3): radians, about
    these axes; zoom (frames,): of log focal length beside the first frame's.
    """

    centers: np.ndarray
    rotations: np.ndarray
    zoom: np.ndarray


@dataclass(frozen=True, slots=True)
class WeakestDirection:
    """The change of all camera centres together that the data resist least.

    sigma: its standard deviation, root mean square over the frames, over the median depth of the scene; sideways, up,
    along: its parts along the cameras' axes, squares that add up to 1. NaN where the cameras cannot move.
    """

    sigma: float
    sideways: float
    up: float
    along: float


class Posterior:
    """The Gaussian around a scene adjusted with these options. Errors of a track that follow each other count as one.

    inflation: of the tracks' variances, by these; None: as their errors tell (`serial_correlation`, an upper estimate
    for the cameras' path). What is known beforehand of depth and lens is not repeated, and counts as it is.
    covariance: of frames and lens, None where the system cannot be factored.
    Limit: it knows of noise, not of a wrong kind of lens or shot. What nothing measures has a deviation far beyond any
    that is measured; where the system cannot be factored, all is NaN.
    """

    def __init__(
        self, scene: Reconstruction, priors: DepthPriors | None, options: BundleAdjustmentOptions,
        inflation: float | None = None,
    ):  # fmt: skip
        wider = np.sqrt(serial_correlation(scene) if inflation is None else inflation)
        self.scene, self.priors = scene, priors
        self.options = replace(
            options, estimate_sigma=False, survey=None,
            # the knee in px stays, so that each sighting is believed as much as it was
            reproj_sigma_px=wider * options.reproj_sigma_px, reproj_knee=options.reproj_knee / wider,
        )  # fmt: skip
        self.problem = ShotProblem(scene, priors, self.options)
        self._start = self.problem.start()
        self._free = self.problem.free.copy()
        self._hold_scale()
        with one_blas_thread():
            self.system = NormalEquations(self.problem, self._start)
            self.covariance = self.system.covariance()
        # a change of frames and lens that makes everything larger, and how much larger a change makes it
        self._larger = self._measured = np.zeros(len(self.system.g))
        if self.covariance is not None and self.problem.options.refine_points:
            self._without_scale()

    def _hold_scale(self) -> None:
        """Without depth the system has a solution only with a size: one coordinate of the camera farthest away."""
        problem = self.problem
        if problem.with_depth or not problem.options.refine_points:  # points that are held keep the size
            return
        first = self.scene.cams_from_world[problem.frames[0]].centers_in_world
        apart = np.einsum("nij,nj->ni", problem.R0, self.scene.centers_in_world[problem.frames] - first)
        frame, axis = np.unravel_index(np.argmax(np.abs(apart)), apart.shape)
        problem.free[frame * problem.kept_size + 3 + axis] = False

    def _without_scale(self) -> None:
        """Take out of the covariance what only changes the size (Triggs et al. 2000, section 9.3: an S-transform)."""
        problem = self.problem
        larger = np.zeros((problem.num_kept, problem.kept_size))
        larger[1:, 3:6] = problem.t0[1:] - problem.R0[1:] @ (problem.R0[0].T @ problem.t0[0])
        if problem.with_depth:
            larger[:, problem.log_scale] = 1.0
        # a camera that was not free to move keeps the size by itself
        held = ~self._free[: larger.size].reshape(larger.shape) & (np.abs(larger) > 1e-9 * np.abs(larger).max())
        weight = self._counted()
        if held.any() or not weight.sum() > 0:
            return
        weight = weight / weight.sum()
        along = np.zeros((3, problem.num_eliminated))
        along[2] = weight
        measured = self.system.through_eliminated(along)
        # depth is in the camera that saw the point first, which moves too: d log z = e3 (dw x RX + dt) / z
        rotated = np.einsum("pij,pj->pi", problem.anchor_R, problem.points0)
        by_camera = np.zeros((len(weight), 6))
        by_camera[:, 0], by_camera[:, 1], by_camera[:, 5] = rotated[:, 1], -rotated[:, 0], 1.0
        by_camera *= (weight / problem.depth0)[:, None]
        first = problem.kept_index[np.searchsorted(problem.eliminated_index, np.arange(problem.num_eliminated))]
        np.add.at(measured[: larger.size].reshape(larger.shape)[:, :6], first, by_camera)
        measured[~problem.free] = 0.0
        self._larger, self._measured = np.r_[larger.ravel(), np.zeros(problem.num_shared)], measured
        assert self.covariance is not None
        at = self.system.reduced.solve(measured[:, None])[:, 0]
        # (I - g c^T) C (I - g c^T)^T
        mixing = np.array([[measured @ at, -1.0], [-1.0, 0.0]])
        self.covariance.add_product(np.column_stack([self._larger, at]), mixing)

    def _counted(self) -> np.ndarray:
        """How much each point says of the size: what is known of its depth, none more than half of them, (points,)."""
        along = depth_information(np.moveaxis(self.system.eliminated_information(), 2, 0))
        return np.minimum(along, np.median(along[along > 0])) if (along > 0).any() else along

    def lens(self) -> LensSigma:
        """Of the lens."""
        if self.covariance is None:
            return self._lens_sigma(np.full(self.problem.num_shared, np.nan))
        return self._lens_sigma(np.sqrt(np.diag(self.covariance.corner)))

    def _lens_sigma(self, shared: np.ndarray) -> LensSigma:
        problem = self.problem
        focal = float(shared[0]) if self.options.lens.focal else float("nan")
        center, radial = (np.r_[shared[at], np.full(2, np.nan)][:2] for at in (problem.center_at, problem.radial_at))
        return LensSigma(focal, center, radial)

    def lens_by_parts(self) -> LensSigma:
        """Of the lens, from how far frames and regions of the picture disagree about it.

        Errors that a frame has in common (a stabiliser's warp, a shutter's wobble) or a region of the picture (a lens
        that bends otherwise) show here, which `lens` takes for noise of each track. Where there is noise alone both say
        about the same, as far as the tracks tell the lens: what is known of it beforehand is in `lens` only.
        """
        problem, size = self.problem, self.problem.num_shared
        if self.covariance is None or not size:
            return self._lens_sigma(np.full(size, np.nan))
        own = np.zeros((len(self.system.g), size))
        own[-size:] = np.eye(size)
        columns = self.system.reduced.solve(own)
        moves = [influence(problem, self._start, np.r_[c, self.system.follow(c).T.ravel()]) for c in columns.T]
        frame, block = problem.kept_index, problem.eliminated_index
        seen = np.bincount(block)
        middle = np.column_stack([np.bincount(block, xy) / seen for xy in problem.xy])
        region = self.scene.camera.regions(middle, _CELLS, _CELLS)[block]
        return self._lens_sigma(np.sqrt([between_clusters(u, frame, region) for u in moves]))

    def cameras(self) -> CameraSigma:
        """Of every frame's camera."""
        problem, frames = self.problem, self.scene.tracks.num_frames
        centers, rotations, zoom = np.full((frames, 3), np.nan), np.full((frames, 3), np.nan), np.full(frames, np.nan)
        if self.covariance is not None:
            blocks = np.moveaxis(self.covariance.blocks(problem.kept_size), 2, 0)
            by_center = self._by_center()
            free = problem.free[: self.system.size].reshape(problem.num_kept, -1)
            moved = np.einsum("fai,fij,faj->fa", by_center, blocks[:, :6, :6], by_center)
            centers[problem.frames] = np.where(free[:, 3:6].any(1, keepdims=True), _root(moved), np.nan)
            sigma = _root(np.einsum("fii->fi", blocks))
            rotations[problem.frames] = np.where(free[:, :3], sigma[:, :3], np.nan)
            if self.options.lens.zoom:
                zoom[problem.frames] = np.where(free[:, problem.log_zoom], sigma[:, problem.log_zoom], np.nan)
        return CameraSigma(centers, rotations, zoom)

    def _by_center(self) -> np.ndarray:
        """Derivatives (frames, 3, 6) of the camera centres, along the cameras' axes, by turn and translation.

        t = -R c and R = exp(w) R0, so that R0 dc = -dt - [t]x dw.
        """
        t = self.problem.t0
        found = np.zeros((len(t), 3, 6))
        found[:, [2, 0, 1], [1, 2, 0]], found[:, [1, 2, 0], [2, 0, 1]] = -t[:, [0, 1, 2]], t[:, [0, 1, 2]]
        found[:, :, 3:] = -np.eye(3)
        return found

    def points(self, depth_weight: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Standard deviations over its depth of each point, along the ray that saw it first and across it, (tracks,).

        NaN where a track has no point, infinite where nothing tells its depth. depth_weight: of the prior when the
        points were adjusted, the cameras found; None: as these were.
        """
        along, across = (np.full(self.scene.tracks.num_tracks, np.nan) for _ in range(2))
        if self.covariance is None or not self.problem.options.refine_points:
            return along, across
        system = self.system
        if depth_weight and depth_weight != self.options.depth_weight and self.problem.with_depth:
            settings = replace(self.options, depth_weight=depth_weight)
            system = NormalEquations(ShotProblem(self.scene, self.priors, settings), self._start)
        with one_blas_thread():
            blocks = system.eliminated_covariance(self.covariance)
        half, apart = (blocks[0, 0] + blocks[1, 1]) / 2, (blocks[0, 0] - blocks[1, 1]) / 2
        widest = half + np.hypot(apart, blocks[0, 1])
        for sigma, variance in ((along, blocks[2, 2]), (across, widest)):
            found = _root(variance)
            sigma[self.problem.tracks] = np.where(found < _UNKNOWN, found, np.inf)
        return along, across

    def weakest(self) -> WeakestDirection:
        """What the cameras as a whole are known worst in."""
        problem, size = self.problem, 3 * self.problem.num_kept
        movable = problem.free[: self.system.size].reshape(problem.num_kept, -1)[:, 3:6].any()
        if self.covariance is None or not movable:
            return WeakestDirection(*[float("nan")] * 4)
        by_center, k = self._by_center(), problem.kept_size

        def times(v: np.ndarray) -> np.ndarray:
            pulled = np.zeros_like(self._larger)
            pulled[: self.system.size].reshape(-1, k)[:, :6] = np.einsum("fai,fa->fi", by_center, v.reshape(-1, 3))
            pulled -= self._measured * (self._larger @ pulled)
            step = self.system.reduced.solve(pulled[:, None])[:, 0]
            step -= self._larger * (self._measured @ step)
            return np.einsum("fai,fi->fa", by_center, step[: self.system.size].reshape(-1, k)[:, :6]).ravel()

        operator = LinearOperator((size, size), matvec=times, dtype=float)  # pyright: ignore[reportCallIssue]
        start = np.random.default_rng(0).standard_normal(size)
        try:
            value, vector = eigsh(operator, 1, v0=start, tol=1e-3)  # pyright: ignore[reportArgumentType]
        except ArpackNoConvergence:
            return WeakestDirection(*[float("nan")] * 4)
        depth = float(np.nanmedian(self.scene.points_in_cam()[:, 2]))
        sigma = np.sqrt(max(float(value[0]), 0.0) / problem.num_kept) / depth
        sideways, up, along = np.square(vector[:, 0].reshape(-1, 3)).sum(0).tolist()
        return WeakestDirection(float(sigma), sideways, up, along)

    def draw(self, count: int, seed: int = 0) -> list[Reconstruction]:
        """Scenes with cameras and lenses drawn, points where these see them: none where the system cannot be factored,
        far from each other where nothing measures something."""
        if self.covariance is None:
            return []
        noise = np.random.default_rng(seed).standard_normal((len(self._larger), count))
        steps = self.system.reduced.half_solve(noise)
        steps -= np.outer(self._larger, self._measured @ steps)
        changes = (np.r_[step, self.system.follow(step).T.ravel()] for step in steps.T)
        return [self.problem.finish(self._start + change) for change in changes if np.isfinite(change).all()]


def _root(variance: np.ndarray) -> np.ndarray:
    """Rounding may leave a variance of nothing below it."""
    return np.sqrt(np.maximum(variance, 0.0))


def serial_correlation(scene: Reconstruction) -> float:
    """Errors of a track that carry the information of one: how much more their sums over the tracks scatter than those
    of independent errors, 1 + 2 sum of the correlations over the lags, each weighed by the pairs so far apart.

    Summed up to the first lag that could be chance (Geyer 1992, section 3.3, on ending such sums). Of the errors that
    an adjustment leaves: the slowest part of them the points have taken, and it says too little of these and the lens.
    What neighbouring cameras have in common falls out of how they differ: of their path it says too much.
    """
    tracks = scene.tracks
    use = np.flatnonzero(scene.inliers & scene.registered[tracks.frame])
    error = tracks.whitened(scene.reprojections(use) - tracks.xy[use], use)
    use, error = use[np.isfinite(error).all(1)], error[np.isfinite(error).all(1)]
    if not error.any():
        return 1.0
    # ranks would be robust but slow; errors are inliers, and large ones are pulled in
    limit = 3 * np.median(np.abs(error))
    _, place = np.unique(tracks.frame[use], return_inverse=True)  # of frames far apart the next one is the next in use
    products, pairs = _lagged(np.clip(error, -limit, limit) if limit else error, tracks.track[use], place)
    correlations = products[1:] / np.maximum(pairs[1:], 1) * (pairs[0] / products[0])
    chance = np.flatnonzero(correlations < _CHANCE / np.sqrt(np.maximum(2 * pairs[1:], 1)))
    last = int(chance[0]) if len(chance) else len(correlations)
    return float(1 + 2 * products[1 : 1 + last].sum() / products[0])


def _lagged(errors: np.ndarray, track: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of products of errors (n, 2) of a track that are 0, 1, 2 ... places apart, and of how many, (lags,) each.

    By the power spectra of the tracks (Wiener and Khinchin), as a drift has as many lags as the shot has frames.
    """
    row = np.cumsum(np.diff(track, prepend=track[0]) != 0)
    column = place - place[np.searchsorted(row, row)]
    width = int(column.max()) + 1
    size, at_once = 1 << (2 * width - 1).bit_length(), max(_TABLE // width, 1)
    power = np.zeros((3, size // 2 + 1))
    for first in range(0, int(row[-1]) + 1, at_once):
        of = slice(*np.searchsorted(row, (first, first + at_once)))
        table = np.zeros((row[of][-1] - first + 1, 3, width))
        table[row[of] - first, :2, column[of]] = errors[of]
        table[row[of] - first, 2, column[of]] = 1.0
        power += np.square(np.abs(np.fft.rfft(table, size))).sum(0)
    products = np.fft.irfft(power, size)[:, :width]
    return products[:2].sum(0), np.round(products[2])
