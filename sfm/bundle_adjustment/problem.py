"""A shot as a least-squares problem: which parameters it has, where they start, what they mean at the end.

Points move along (x/z, y/z, 1/z) of the first camera that sees them (Civera et al. 2008), the last as 1 - z0/z: what
pictures see of a point is nearly linear in that chart, however little parallax it has and however far it goes, where it
is not in xyz nor in log z.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array, vstack

from sfm.bundle_adjustment.charts import depth_information, nearness
from sfm.bundle_adjustment.options import BundleAdjustmentOptions
from sfm.bundle_adjustment.ordering import by_span, cuts_of
from sfm.bundle_adjustment.smoothness import around_zero, bends, steps
from sfm.errors import NoSolutionError
from sfm.geometry.rotation import left_jacobian, rotation_from_rotvec
from sfm.geometry.transform import Rigid3
from sfm.least_squares import Linearization, Loss, Losses, Ties, robust_weights
from sfm.residuals import log_depth, radial_reprojection, reprojection
from sfm.scene import DepthPriors, Reconstruction
from sfm.survey import Survey


class ShotProblem:
    """`least_squares.Problem` of a shot.

    Parameters: [rotvec, translation, log scale, log zoom] of each frame, log focal factor, shift of the principal point
    in px, radial distortion, points.
    Rotation vectors turn the start: R = exp(w) R0. Frames and points are packed: only those in use have parameters.
    """

    def __init__(self, reconstruction: Reconstruction, priors: DepthPriors | None, options: BundleAdjustmentOptions):
        self.before, self.options = reconstruction, options
        tracks = reconstruction.tracks
        # NaN where frame or point is missing; and what is behind a camera is not seen by it
        use = np.flatnonzero(reconstruction.inliers)
        use = use[np.nan_to_num(reconstruction.points_in_cam(use)[:, 2]) > 0]
        weight = np.ones(tracks.num_tracks) if options.track_weight is None else options.track_weight
        use = use[weight[tracks.track[use]] > 0]
        if not len(use):
            raise NoSolutionError("nothing to adjust: no registered frame sees a point")
        self.use = by_span(tracks, use)
        self.frames, self.kept_index = np.unique(tracks.frame[self.use], return_inverse=True)
        new = np.diff(tracks.track[self.use], prepend=-1) != 0
        self.tracks, self.eliminated_index = tracks.track[self.use][new], np.cumsum(new) - 1
        self.cuts = cuts_of(self.kept_index, np.flatnonzero(new))
        self.num_kept, self.num_eliminated = len(self.frames), len(self.tracks)
        self.eliminated_size = 3
        self.xy = tracks.xy[self.use].T
        self.whitening = _columns(tracks.whitening[self.tracks]) if len(tracks.whitening) else None
        self.root_weight = np.sqrt(weight)[tracks.track[self.use]]
        knee = np.ones(tracks.num_tracks) if options.track_knee is None else options.track_knee
        self.knee = options.reproj_knee * self.root_weight * knee[tracks.track[self.use]]
        self.inverse_sigma = self.root_weight / options.reproj_sigma_px
        self._set_depth(priors)
        self._set_lens()
        self._set_gauge()
        self._set_charts()

    def _set_depth(self, priors: DepthPriors | None) -> None:
        """Depth rows: each point counts as one measurement however long it is seen, for a network repeats itself."""
        options = self.options
        self.known = np.zeros(len(self.use), bool)
        if priors is not None:
            self.known = np.isfinite(priors.depth[self.use]) & np.isfinite(priors.sigma[self.use])
        self.with_depth = bool(options.depth_weight > 0 and self.known.any())
        self.log_scale, self.log_zoom = 6, 6 + self.with_depth  # where a frame's block holds them
        self.kept_size = 6 + self.with_depth + options.lens.zoom
        self.losses: Losses = ((slice(0, 2), Loss(options.reproj_loss), self.knee),)
        if priors is None or not self.with_depth:
            return
        depth, sigma = priors.depth[self.use], priors.sigma[self.use]
        self.log_prior = np.log(np.where(self.known, depth, 1.0))
        count = np.bincount(self.eliminated_index, self.known, self.num_eliminated)
        part = np.sqrt(options.depth_weight / np.maximum(count, 1))[self.eliminated_index]
        self.depth_weight = np.where(self.known, part / np.where(self.known, sigma, 1.0), 0.0)
        # the knee belongs to the error itself, so it shrinks with the weight the error is given
        self.losses += ((slice(2, 3), Loss(options.depth_loss), options.depth_knee * part),)

    def _set_lens(self) -> None:
        camera, lens = self.before.camera, self.options.lens
        self.focal = camera.focal_length if not camera.batch else camera.focal_length[self.frames[self.kept_index]].T
        center = camera.principal_point
        self.center = center if not camera.batch else center[self.frames[self.kept_index]].T
        if camera.distortion[2:].any():
            raise ValueError(
                f"distortion: got {camera.distortion.tolist()}, expected k1, k2 alone (Tracks.undistorted)"
            )
        known = camera.distortion[:2]
        self.radial0 = np.pad(known, (0, 2 - len(known)))
        self.with_radial = bool(lens.radial or self.radial0.any())
        log_focal = np.log(camera.focal_length[..., 0])
        # a zoom begins where the shot begins
        first = float(log_focal if not camera.batch else log_focal[self.frames[0]])
        focal_off = first - np.log(lens.focal_prior_px) if lens.focal_prior_px else 0.0
        shift = np.zeros(2)
        if lens.principal_prior_px is not None:
            shift = center.reshape(-1, 2)[0] - lens.principal_prior_px
        # shared parameters: the focal length first, where it is one
        self.center_at = slice(int(lens.focal), lens.focal + 2 * lens.principal_point)
        self.radial_at = slice(self.center_at.stop, self.center_at.stop + lens.radial)
        self.num_shared = self.radial_at.stop
        self.shared0 = np.r_[np.zeros(self.radial_at.start), self.radial0[: lens.radial]]
        # how far the start of each is off what it is drawn to
        self.lens_off = np.r_[[focal_off] * lens.focal, shift[: 2 * lens.principal_point], np.zeros(lens.radial)]
        self.lens_sigma = np.r_[
            [lens.focal_sigma] * lens.focal,
            [lens.principal_sigma * camera.width] * (2 * lens.principal_point),
            [lens.radial_sigma] * lens.radial,
        ]
        self.log_zoom0 = (np.broadcast_to(log_focal, self.before.tracks.num_frames) - first)[self.frames]

    def _set_gauge(self) -> None:
        options = self.options
        free = np.zeros((self.num_kept, self.kept_size), bool)
        free[:, :3] = options.refine_cameras
        free[:, 3:6] = options.refine_cameras and options.refine_translation
        if options.refine_points:
            free[0, :6] = False
        free[:, 6:] = True
        # the first frame's zoom is the camera's own focal length
        free[0, self.log_zoom :] = False
        self.free = np.r_[free.ravel(), np.ones(self.num_shared, bool)]

    def _set_charts(self) -> None:
        """Where parameters start, and the camera along whose axes each point moves."""
        before = self.before
        cams = before.cams_from_world[self.frames]
        self.R0, self.t0 = cams.rotation, cams.translation
        first = np.searchsorted(self.eliminated_index, np.arange(self.num_eliminated))
        anchor = self.kept_index[first]
        self.anchor_R, self.anchor_t = self.R0[anchor], self.t0[anchor]
        self.points0 = before.points[self.tracks]
        in_anchor = np.einsum("pij,pj->pi", self.anchor_R, self.points0) + self.anchor_t
        self.depth0 = in_anchor[:, 2]
        self.chart0 = np.column_stack([in_anchor[:, :2] / in_anchor[:, 2:], np.zeros(len(in_anchor))])
        self.survey = None
        if self.options.survey is not None and self.options.refine_points:
            there = np.zeros(before.tracks.num_tracks, bool)
            there[self.tracks] = True
            self._set_survey(self.options.survey.among(there))
        if not self.options.refine_points:
            self.fixed_points = self.points0
            self.num_eliminated, self.eliminated_size = 0, 3

    def _set_survey(self, survey: Survey) -> None:
        """What of it is about points in use, and which blocks these are."""
        if not len(survey):
            return
        order = np.argsort(self.tracks)
        blocks = order[np.searchsorted(self.tracks, survey.touched, sorter=order)]
        # blocks rising, the survey's points by track
        self.by_block = np.argsort(blocks)
        self.survey, self.tied = survey, blocks

    def start(self) -> np.ndarray:
        """The parameter vector of the reconstruction as given."""
        kept = np.zeros((self.num_kept, self.kept_size))
        kept[:, 3:6] = self.t0
        if self.with_depth:
            scale = self.before.depth_scale[self.frames]
            kept[:, self.log_scale] = np.log(np.where(np.isfinite(scale), scale, 1.0))
        points = self.chart0 if self.options.refine_points else np.zeros((0, 3))
        return np.r_[kept.ravel(), self.shared0, points.ravel()]

    def split(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Parameters of the frames (frames, kept_size), shared ones, and charts of the points (points, 3)."""
        size = self.num_kept * self.kept_size
        kept = x[:size].reshape(self.num_kept, self.kept_size)
        return kept, x[size : size + self.num_shared], x[size + self.num_shared :].reshape(-1, 3)

    def radial(self, shared: np.ndarray) -> np.ndarray:
        """k1 and k2, (2,)."""
        found = shared[self.radial_at]
        return np.r_[found, self.radial0[len(found) :]]

    def _points(self, chart: np.ndarray) -> np.ndarray:
        """Points (n, 3) in the world from their charts."""
        if not self.options.refine_points:
            return self.fixed_points
        depth = self.depth0 / nearness(chart[:, 2])[0]
        in_anchor = np.column_stack([chart[:, :2], np.ones(len(chart))]) * depth[:, None]
        return np.einsum("pji,pj->pi", self.anchor_R, in_anchor - self.anchor_t)

    @cached_property
    def prior(self) -> tuple[csr_array, np.ndarray]:
        """Jacobian (m, kept and shared) of the prior residuals, which are linear, and their values (m,) at zero."""
        frames, k, size, lens = self.frames, self.kept_size, self.num_kept * self.kept_size, self.options.lens
        parts = [(csr_array(np.diag(1 / self.lens_sigma)), size + np.arange(self.num_shared), self.lens_off)]
        if self.with_depth:
            scales, none = np.arange(self.log_scale, size, k), np.zeros(len(frames))
            parts.append((around_zero(len(frames), self.options.frame_scale_sigma), scales, none))
            parts.append((steps(frames, self.options.frame_scale_step), scales, none))
        if lens.zoom:
            zooms = np.arange(self.log_zoom, size, k)
            smooth = around_zero(len(frames), lens.zoom_sigma), steps(frames, lens.zoom_step)
            parts += [(S, zooms, self.log_zoom0) for S in (*smooth, bends(frames, lens.zoom_bend))]
        width = size + self.num_shared
        J = [csr_array((S.data, columns[S.indices], S.indptr), (len(S.indptr) - 1, width)) for S, columns, _ in parts]
        return csr_array(vstack(J)), np.concatenate([S @ at for S, _, at in parts])

    def at(self, x: np.ndarray) -> "ShotEvaluation":
        """The shot at a parameter vector."""
        return ShotEvaluation(self, x)

    def finish(self, x: np.ndarray) -> Reconstruction:
        """The reconstruction at x, its scale put back where nothing held it."""
        kept, shared, chart = self.split(x)
        before = self.before
        rotation, translation = before.cams_from_world.rotation.copy(), before.cams_from_world.translation.copy()
        rotation[self.frames] = rotation_from_rotvec(kept[:, :3]) @ self.R0
        translation[self.frames] = kept[:, 3:6]
        points, depth_scale = before.points.copy(), before.depth_scale.copy()
        points[self.tracks] = self._points(chart)
        if self.with_depth:
            depth_scale[self.frames] = np.exp(kept[:, self.log_scale])
        camera = before.camera
        if self.options.lens.focal:
            camera = camera.with_focal_length(camera.focal_length * np.exp(shared[0]))
        if self.options.lens.principal_point:
            camera = replace(camera, principal_point=camera.principal_point + shared[self.center_at])
        if self.options.lens.radial:
            camera = replace(camera, distortion=np.r_[self.radial(shared), 0.0, 0.0])
        if self.options.lens.zoom:
            factor = np.interp(np.arange(before.tracks.num_frames), self.frames, np.exp(kept[:, self.log_zoom]))
            camera = camera.with_focal_length(camera.focal_length * factor[:, None])
        sigma = before.point_sigma.copy()
        if self.options.refine_points and self.options.estimate_sigma:
            sigma[self.tracks] = self._point_sigma(x)
        after = replace(
            before, camera=camera, cams_from_world=Rigid3(rotation, translation), points=points,
            depth_scale=depth_scale, point_sigma=sigma,
        )  # fmt: skip
        floats = self.options.refine_points and self.options.refine_cameras and self.options.refine_translation
        return self._with_depth_kept(after) if floats and not self.with_depth else after

    def _with_depth_kept(self, after: Reconstruction) -> Reconstruction:
        """Without a depth term the scale floats: put the median depth back, about the camera the gauge holds."""
        cam = after.cams_from_world[self.frames[0]]
        ratio = np.median(cam.apply(self.points0)[:, 2]) / np.median(cam.apply(after.points[self.tracks])[:, 2])
        if not (np.isfinite(ratio) and ratio > 0):
            return after
        center = cam.centers_in_world
        points = center + ratio * (after.points - center)
        centers = center + ratio * (after.centers_in_world - center)
        rotation = after.cams_from_world.rotation
        cams = Rigid3(rotation, -np.einsum("fij,fj->fi", rotation, centers))
        return replace(after, points=points, cams_from_world=cams)

    def _point_sigma(self, x: np.ndarray) -> np.ndarray:
        """Standard deviation of each point's log depth, cameras held fixed."""
        lin = self.at(x).linearize(slice(None))
        weights = robust_weights(self, lin.residuals, slice(None))[0]  # x and y are one unit
        V = np.einsum("ran,rbn,n->nab", lin.eliminated[:2], lin.eliminated[:2], weights, optimize=True)
        starts = np.searchsorted(self.eliminated_index, np.arange(self.num_eliminated))
        V = np.add.reduceat(V, starts, axis=0)
        log_slope = nearness(self.split(x)[2][:, 2])[1]
        information = depth_information(V) / log_slope**2
        return np.where(information > 0, 1 / np.sqrt(np.maximum(information, 1e-300)), np.inf)


class ShotEvaluation:
    """Residuals and Jacobians of a shot at one parameter vector. Arrays are laid out (component, observation)."""

    def __init__(self, problem: ShotProblem, x: np.ndarray):
        self.problem = problem
        self.kept, self.shared, self.chart = problem.split(x)
        self.rotation = _columns(rotation_from_rotvec(self.kept[:, :3]) @ problem.R0)
        self.translation = np.ascontiguousarray(self.kept[:, 3:6].T)
        self.points = np.ascontiguousarray(problem._points(self.chart).T)
        self.focal_factor = float(np.exp(self.shared[0])) if problem.options.lens.focal else 1.0
        self.radial = problem.radial(self.shared)

    def _project(self, rows: slice):
        """Rotation (3, 3, n), rotated and camera points (3, n), and the reprojection of a slice: residuals and their
        derivatives by camera point, focal length and, where there is any, radial distortion; whitened by track."""
        problem = self.problem
        frame = problem.kept_index[rows]
        R = self.rotation.take(frame, axis=2)
        rotated = np.einsum("ijn,jn->in", R, self.points.take(problem.eliminated_index[rows], axis=1))
        in_cam = rotated + self.translation.take(frame, axis=1)
        focal, center = (v[:, None] if v.ndim == 1 else v[:, rows] for v in (problem.focal, problem.center))
        focal = focal * self.focal_factor
        if problem.options.lens.principal_point:
            center = center + self.shared[problem.center_at, None]
        if problem.options.lens.zoom:
            focal = focal * np.exp(self.kept[frame, problem.log_zoom])
        xy = problem.xy[:, rows]
        if problem.with_radial:
            projected = radial_reprojection(in_cam, focal, center, xy, self.radial)
        else:
            projected = reprojection(in_cam, focal, center, xy)
        if problem.whitening is not None:
            W = problem.whitening.take(problem.eliminated_index[rows], axis=2)
            projected = [np.einsum("abn,b...n->a...n", W, value) for value in projected]
        return R, rotated, in_cam, projected

    def _by_principal_point(self, rows: slice) -> np.ndarray:
        """Derivative of whitened reprojections by the principal point, (2, 2, n) or (2, 2, 1)."""
        whitening = self.problem.whitening
        if whitening is None:
            return np.eye(2)[:, :, None]
        return whitening.take(self.problem.eliminated_index[rows], axis=2)

    def _log_depth(self, in_cam: np.ndarray, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Whitened depth residuals (n,) of a slice and their derivative by z."""
        problem = self.problem
        log_scale = self.kept[problem.kept_index[rows], problem.log_scale]
        error, by_z = log_depth(in_cam, log_scale, problem.log_prior[rows])
        return error * problem.depth_weight[rows], by_z * problem.depth_weight[rows]

    def residuals(self, rows: slice) -> np.ndarray:
        """Whitened residuals: rows x, y (and log depth) of a slice of the observations."""
        _, _, in_cam, (r, *_) = self._project(rows)
        r = r * self.problem.inverse_sigma[rows]
        return np.concatenate([r, self._log_depth(in_cam, rows)[0][None]]) if self.problem.with_depth else r

    def linearize(self, rows: slice) -> Linearization:
        """Residuals and Jacobians by frame, shared and point parameters."""
        problem, k = self.problem, self.problem.kept_size
        R, rotated, in_cam, (r, by_cam_point, by_focal, *by_radial) = self._project(rows)
        count, n = 3 if problem.with_depth else 2, r.shape[1]
        residuals, J = np.empty((count, n)), np.zeros((count, 3, n))
        inverse_sigma = problem.inverse_sigma[rows]
        residuals[:2], J[:2] = r * inverse_sigma, by_cam_point * inverse_sigma
        if problem.with_depth:
            residuals[2], J[2, 2] = self._log_depth(in_cam, rows)
        by_kept, shared = np.zeros((count, k, n)), np.zeros((count, problem.num_shared, n))
        # d(exp(w) R0 X)/dw = -[R X]x J_l(w), row by row as cross products
        crossed = np.stack([J[:, 2] * rotated[1] - J[:, 1] * rotated[2],
                            J[:, 0] * rotated[2] - J[:, 2] * rotated[0],
                            J[:, 1] * rotated[0] - J[:, 0] * rotated[1]], axis=1)  # fmt: skip
        turned = self._turned.take(problem.kept_index[rows], axis=2)
        by_kept[:, :3] = np.einsum("rin,ijn->rjn", crossed, turned)
        by_kept[:, 3:6] = J
        if problem.with_depth:
            by_kept[2, problem.log_scale] = -problem.depth_weight[rows]
        if problem.options.lens.zoom:
            by_kept[:2, problem.log_zoom] = by_focal * inverse_sigma
        if problem.options.lens.focal:
            shared[:2, 0] = by_focal * inverse_sigma
        if problem.options.lens.principal_point:
            shared[:2, problem.center_at] = self._by_principal_point(rows) * inverse_sigma
        if problem.options.lens.radial:
            shared[:2, problem.radial_at] = by_radial[0][:, : problem.options.lens.radial] * inverse_sigma
        by_point = np.zeros((count, 3, n))
        if problem.options.refine_points:
            basis = self._chart_basis.take(problem.eliminated_index[rows], axis=2)
            by_point = np.einsum("rin,ijn->rjn", np.einsum("rin,ijn->rjn", J, R), basis)
        return Linearization(residuals, by_kept, by_point, shared)

    @cached_property
    def _turned(self) -> np.ndarray:
        """Left Jacobians of the frames' rotation vectors, (3, 3, frames)."""
        return _columns(left_jacobian(self.kept[:, :3]))

    @cached_property
    def _chart_basis(self) -> np.ndarray:
        """Derivative of each point by its chart, (3, 3, points)."""
        near, log_slope = nearness(self.chart[:, 2])
        depth = self.problem.depth0 / near
        basis = np.zeros((len(depth), 3, 3))
        basis[:, 0, 0] = basis[:, 1, 1] = depth
        basis[:, :, 2] = np.column_stack([self.chart[:, :2], np.ones(len(depth))]) * (depth * log_slope)[:, None]
        return _columns(np.swapaxes(self.problem.anchor_R, 1, 2) @ basis)

    def ties(self) -> Ties | None:
        """What the survey says of the points, whatever its world."""
        problem = self.problem
        if problem.survey is None:
            return None
        residuals, by_point = problem.survey.residuals(self.points[:, problem.tied].T)
        J = np.einsum("mtc,cet->mte", by_point, self._chart_basis[:, :, problem.tied])
        return Ties(residuals, problem.tied[problem.by_block], J[:, problem.by_block])

    def prior(self) -> tuple[np.ndarray, csr_array]:
        """Log scales and zooms of the frames around zero, their steps from frame to frame, and the lens around its
        own."""
        J, at_zero = self.problem.prior
        return J @ np.r_[self.kept.ravel(), self.shared] + at_zero, J


def _columns(matrices: np.ndarray) -> np.ndarray:
    """(n, k, k) as contiguous (k, k, n)."""
    return np.ascontiguousarray(np.moveaxis(matrices, 0, 2))
