"""What the stages hand on: `Tracks`, `DepthPriors`, `Reconstruction`.

Index `i` is frame `i` of the shot, index `j` is track `j`, everywhere. Observations are flat and sorted by track, then
frame. A dense `(frames, tracks)` table of 300 frames x 20,000 tracks with a mean length of 40 is 102 MB; the flat
arrays are 19 MB, and every stage right of the waist wants observations grouped by track anyway.
"""

from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from sfm.errors import InputError
from sfm.files import replacing
from sfm.geometry.camera import Camera
from sfm.geometry.path import cams_at
from sfm.geometry.transform import Rigid3, Sim3, frozen_array
from sfm.geometry.triangulation import parallax_angle

FORMAT_VERSION = 1

Rows = slice | np.ndarray  # observations: all, indices or a mask


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Points followed through a shot.

    frame (observations,) int: frame index of each observation, 0 .. num_frames - 1;
    track (observations,) int: its track index, 0 .. num_tracks - 1;
    xy (observations, 2): where it is seen, px of the full-resolution plate, top-left corner (0, 0);
    colors (tracks, 3) uint8: RGB at the first sighting, grey when not known;
    whitening (tracks, 2, 2): takes errors of a track, px, to such as are equally likely in every direction, those in
    its best direction as they are; empty where nothing is known of that, as of tracks of your own;
    sigma_px (tracks,): standard deviation of a coordinate that a person vouches for, NaN where it is measured on the
    shot; empty where it is of all.

    Observations are sorted by (track, frame) on construction; a track is seen at most once a frame.
    """

    frame: np.ndarray
    track: np.ndarray
    xy: np.ndarray
    num_frames: int
    num_tracks: int
    colors: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    whitening: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 2)))
    sigma_px: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self):
        frame = frozen_array("frame", self.frame, (None,), np.int32)
        track = frozen_array("track", self.track, frame.shape, np.int32)
        xy = frozen_array("xy", self.xy, (len(frame), 2))
        for name, index, count in (("frame", frame, self.num_frames), ("track", track, self.num_tracks)):
            if len(index) and (index.min() < 0 or index.max() >= count):
                raise ValueError(f"{name}: got {index.min()}..{index.max()}, expected 0..{count - 1}")
        if not np.isfinite(xy).all():
            raise ValueError(f"xy: got {np.count_nonzero(~np.isfinite(xy).all(1))} rows not finite, expected none")
        key = track.astype(np.int64) * self.num_frames + frame
        if np.any(np.diff(key) <= 0):
            order = np.argsort(key, kind="stable")
            if np.any(np.diff(key[order]) == 0):
                raise ValueError("frame, track: got a track with two observations in one frame, expected one")
            frame, track, xy = (frozen_array("xy", a[order], a.shape, a.dtype) for a in (frame, track, xy))
        colors = self.colors if len(self.colors) else np.full((self.num_tracks, 3), 128)
        object.__setattr__(self, "frame", frame)
        object.__setattr__(self, "track", track)
        object.__setattr__(self, "xy", xy)
        object.__setattr__(self, "colors", frozen_array("colors", colors, (self.num_tracks, 3), np.uint8))
        known = self.num_tracks if len(self.whitening) else 0
        object.__setattr__(self, "whitening", frozen_array("whitening", self.whitening, (known, 2, 2)))
        told = self.num_tracks if len(self.sigma_px) else 0
        object.__setattr__(self, "sigma_px", frozen_array("sigma_px", self.sigma_px, (told,)))

    def __len__(self) -> int:
        """Number of observations."""
        return len(self.frame)

    @classmethod
    def from_dense(cls, xy: np.ndarray, visible: np.ndarray | None = None, colors=None) -> "Tracks":
        """From xy (frames, tracks, 2) px, NaN where not seen, and an optional visible (frames, tracks) bool."""
        xy = np.asarray(xy, dtype=float)
        if xy.ndim != 3 or xy.shape[2] != 2:
            raise ValueError(f"xy: got shape {xy.shape}, expected (frames, tracks, 2)")
        seen = np.isfinite(xy).all(-1)
        if visible is not None:
            seen = seen & np.asarray(visible, dtype=bool)
        track, frame = np.nonzero(seen.T)
        colors = np.zeros((0, 3)) if colors is None else colors
        return cls(frame, track, xy[frame, track], xy.shape[0], xy.shape[1], colors)

    @property
    def by_hand(self) -> np.ndarray:
        """Tracks that a person vouches for, (tracks,) bool."""
        return np.isfinite(self.sigma_px) if len(self.sigma_px) else np.zeros(self.num_tracks, bool)

    @property
    def lengths(self) -> np.ndarray:
        """Observations of each track, (tracks,) int."""
        return np.bincount(self.track, minlength=self.num_tracks)

    def in_frame(self, frame: int) -> np.ndarray:
        """Indices of the observations in one frame, (k,) int, ordered by track."""
        return np.flatnonzero(self.frame == frame)

    def in_both(self, one: int, two: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the observations of the tracks that two frames have in common, (k,) int in each, by track."""
        here, there = self.in_frame(one), self.in_frame(two)
        _, i, j = np.intersect1d(self.track[here], self.track[there], return_indices=True)
        return here[i], there[j]

    def shared(self) -> np.ndarray:
        """Tracks two frames have in common, (frames, frames) int; the diagonal counts each frame's own."""
        from scipy.sparse import csr_array

        seen = csr_array((np.ones(len(self)), (self.frame, self.track)), (self.num_frames, self.num_tracks))
        return (seen @ seen.T).toarray().astype(int)

    def select(self, keep: np.ndarray) -> "Tracks":
        """The same tracks with only the observations where keep (observations,) is true; indices stay."""
        return replace(self, frame=self.frame[keep], track=self.track[keep], xy=self.xy[keep])

    def whitened(self, errors: np.ndarray, rows: Rows = slice(None)) -> np.ndarray:
        """Errors (n, 2) px of these observations as `whitening` takes them; as they are without one."""
        if not len(self.whitening):
            return errors
        return np.einsum("nab,nb->na", self.whitening[self.track[rows]], errors)

    def undistorted(self, camera: Camera) -> "Tracks":
        """The tracks as the ideal pinhole `camera.without_distortion()` sees them."""
        if not len(camera.distortion):
            return self
        at = camera.at(self.frame)
        return replace(self, xy=at.cam_from_img(self.xy) * at.focal_length + at.principal_point)


SKY = 20.0  # times the median depth of the shot: beyond it a network knows no more than that it is far


def in_the_sky(depth: np.ndarray) -> np.ndarray:
    """What to add (in quadrature) to the sigma of log depth: how far beyond `SKY` it lies; 0 nearer, NaN unknown."""
    if not np.isfinite(depth).any():
        return depth
    return np.log(np.maximum(depth / (SKY * np.nanmedian(depth)), 1))


@dataclass(frozen=True, slots=True, eq=False)
class DepthPriors:
    """What a depth model says at every observation of `Tracks`, in the same order: by track, then frame.

    `Tracks` sorts what it is given, so fill these by `tracks.frame` and `tracks.track`, not by your own arrays.

    depth (observations,): along the camera's z axis, in the model's own unit, NaN where unknown;
    sigma (observations,): relative (of log depth) standard deviation expected of it, NaN where unknown; or one number;
    relief (observations,): range of log depth under the tracker's patch, 0 where flat or unknown: a patch across a
    depth edge follows a bit of both sides;
    free_shift: the model's disparity has an unknown offset, so 1 / depth is known up to one too.
    """

    depth: np.ndarray
    sigma: np.ndarray
    relief: np.ndarray = field(default_factory=lambda: np.zeros(0))
    free_shift: bool = False

    def __post_init__(self):
        depth = frozen_array("depth", self.depth, (None,))
        if np.any(depth <= 0) or np.any(np.isinf(depth)):
            raise ValueError("depth: got values zero, negative or infinite, expected positive or NaN")
        sigma = np.broadcast_to(self.sigma, depth.shape) if np.ndim(self.sigma) == 0 else self.sigma
        sigma = frozen_array("sigma", sigma, depth.shape)
        if not (sigma[np.isfinite(depth)] > 0).all():
            raise ValueError("sigma: got values zero, negative or NaN where depth is known, expected positive")
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "sigma", sigma)
        relief = self.relief if len(self.relief) else np.zeros(len(depth))
        object.__setattr__(self, "relief", frozen_array("relief", relief, depth.shape))

    @classmethod
    def constant(cls, tracks: Tracks, sigma: float = 0.5) -> "DepthPriors":
        """No model at hand: every point as deep as every other, and little trust in that."""
        return cls(np.ones(len(tracks)), np.full(len(tracks), sigma))

    def select(self, keep: np.ndarray) -> "DepthPriors":
        """The priors of the observations where keep (observations,) is true."""
        return DepthPriors(self.depth[keep], self.sigma[keep], self.relief[keep], self.free_shift)


def row_times(tracks: Tracks, height: int, readout: float) -> np.ndarray:
    """When the row of each observation was read, (observations,) frames from the middle row of its frame.

    tracks: as on the plate, `height` px high; readout: frames from the top row to the bottom one.
    """
    return readout * (tracks.xy[:, 1] / height - 0.5)


class Support(IntEnum):
    """What holds a point in depth."""

    NONE = 0
    TRIANGULATED = 1
    PRIOR = 2


# what `Reconstruction.save` writes as it is; the second lot may be missing in older files
_ARRAYS = ("registered", "points", "inliers", "depth_scale", "support", "point_sigma")
_LATER = ("bridged", "bridge_error_px", "point_sigma_across", "center_sigma", "rotation_sigma")


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """Cameras and points of a shot. The world is the first registered camera, its unit the depth model's.

    camera: the lens, batch `()` or `(frames,)`;
    cams_from_world (frames,): NaN where not registered, unless bridged;
    registered (frames,) bool: whose own tracks gave the camera;
    points (tracks, 3): NaN where a track has no point;
    inliers (observations,) bool: observations the adjustment believes, only in registered frames and of tracks with a
    point;
    tracks: the observations themselves, px of the plate as shot (distorted);
    depth_scale (frames,): prior depth times this is scene depth, NaN where unknown;
    support (tracks,) `Support`: triangulated or held by the prior;
    point_sigma (tracks,): standard deviation of each point over its depth, along the ray that saw it first, NaN where
    unknown, infinite where nothing tells its depth (while a shot is being solved, by the tracks alone and the cameras
    held); point_sigma_across (tracks,): across that ray;
    center_sigma (frames, 3): standard deviation of the camera centres along each camera's axes, in the world's unit;
    rotation_sigma (frames, 3): of the cameras' turns about these axes, radians. All beside the first registered camera,
    at one size of the scene; NaN where unknown or held;
    depth_sigma: relative standard deviation of the depth prior estimated over the shot, NaN without a prior;
    bridged (frames,) bool: not registered, the camera interpolated between those before and after;
    bridge_error_px (frames,): how far off, in the picture, such a camera is on this shot, NaN where unknown;
    readout: frames a rolling shutter takes from the top row to the bottom one, 0 a global one. A frame's camera is that
    of its middle row; reprojections and their errors are those of each sighting's own row.
    """

    camera: Camera
    cams_from_world: Rigid3
    registered: np.ndarray
    points: np.ndarray
    inliers: np.ndarray
    tracks: Tracks
    depth_scale: np.ndarray
    support: np.ndarray
    point_sigma: np.ndarray
    depth_sigma: float = float("nan")
    bridged: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    bridge_error_px: np.ndarray = field(default_factory=lambda: np.zeros(0))
    readout: float = 0.0
    point_sigma_across: np.ndarray = field(default_factory=lambda: np.zeros(0))
    center_sigma: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    rotation_sigma: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    def __post_init__(self):
        frames, tracks = self.tracks.num_frames, self.tracks.num_tracks
        if not len(self.bridged):
            object.__setattr__(self, "bridged", np.zeros(frames, bool))
        if not len(self.bridge_error_px):
            object.__setattr__(self, "bridge_error_px", np.full(frames, np.nan))
        for name, shape in (
            ("point_sigma_across", (tracks,)), ("center_sigma", (frames, 3)), ("rotation_sigma", (frames, 3))
        ):  # fmt: skip
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.full(shape, np.nan))
        if self.cams_from_world.batch != (frames,):
            raise ValueError(f"cams_from_world: got batch {self.cams_from_world.batch}, expected ({frames},)")
        for name, shape, dtype in (
            ("registered", (frames,), bool),
            ("points", (tracks, 3), float),
            ("inliers", (len(self.tracks),), bool),
            ("depth_scale", (frames,), float),
            ("support", (tracks,), np.int8),
            ("point_sigma", (tracks,), float),
            ("bridged", (frames,), bool),
            ("bridge_error_px", (frames,), float),
            ("point_sigma_across", (tracks,), float),
            ("center_sigma", (frames, 3), float),
            ("rotation_sigma", (frames, 3), float),
        ):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), shape, dtype))
        if (self.bridged & self.registered).any():
            raise ValueError("bridged: got frames that are registered, expected none")

    @property
    def has_camera(self) -> np.ndarray:
        """Frames with a camera, registered or bridged, (frames,) bool."""
        return self.registered | self.bridged

    @property
    def has_point(self) -> np.ndarray:
        """Tracks with a point, (tracks,) bool."""
        return np.isfinite(self.points[:, 0])

    @property
    def of_unknown_depth(self) -> np.ndarray:
        """Tracks with a point that parallax does not hold in depth, where there was no prior to, (tracks,) bool."""
        return (self.support == Support.PRIOR) & np.isnan(self.depth_sigma)

    @property
    def centers_in_world(self) -> np.ndarray:
        """Camera centres (frames, 3), NaN where there is no camera."""
        return self.cams_from_world.centers_in_world

    def points_in_cam(self, rows: Rows = slice(None)) -> np.ndarray:
        """Each observation's point in its own camera's axes, (observations, 3); NaN where either is missing.

        rows: which observations, in the order wanted; all of them by default. With a rolling shutter the camera is that
        of the observation's row, on the path through the registered frames; of other frames it is NaN.
        """
        frame, track = self.tracks.frame[rows], self.tracks.track[rows]
        if not self.readout:
            there = np.isfinite(self.cams_from_world.translation[frame, 0]) & self.has_point[track]
            if there.all():
                return self.cams_from_world[frame].apply(self.points[track])
            # of a shot that is being mapped, most are not
            in_cam = np.full((len(frame), 3), np.nan)
            in_cam[there] = self.cams_from_world[frame[there]].apply(self.points[track[there]])
            return in_cam
        points = self.points[track]
        known = np.flatnonzero(self.registered)
        times = frame + row_times(self.tracks, self.camera.height, self.readout)[rows]
        in_cam = cams_at(known, self.cams_from_world[known], times).apply(points)
        return np.where(self.registered[frame][:, None], in_cam, np.nan)

    def reprojections(self, rows: Rows = slice(None)) -> np.ndarray:
        """Where each observation's point projects to, (observations, 2) px; NaN where undefined. rows: which ones."""
        return self.camera.at(self.tracks.frame[rows]).img_from_cam(self.points_in_cam(rows))

    def reprojection_errors(self, rows: Rows = slice(None)) -> np.ndarray:
        """Distance of each observation from its point's projection, (observations,) px; NaN where undefined."""
        return np.linalg.norm(self.reprojections(rows) - self.tracks.xy[rows], axis=1)

    def whitened_errors(self, rows: Rows = slice(None)) -> np.ndarray:
        """`reprojection_errors` that count no more, along an edge a track can slide on, than it knows of that."""
        return np.linalg.norm(self.tracks.whitened(self.reprojections(rows) - self.tracks.xy[rows], rows), axis=1)

    def rms_px(self, rows: np.ndarray | None = None, whitened: bool = False) -> float:
        """Root mean square reprojection error of observations (n,), or the inliers, px; NaN without any.

        whitened: of `whitened_errors`.
        """
        rows = np.flatnonzero(self.inliers) if rows is None else rows
        errors = self.whitened_errors(rows) if whitened else self.reprojection_errors(rows)
        return float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan")

    def inlier_part(self) -> np.ndarray:
        """Part of each frame's sightings that are inliers, (frames,); NaN where a frame sees nothing."""
        seen = np.bincount(self.tracks.frame, minlength=self.tracks.num_frames)
        agree = np.bincount(self.tracks.frame[self.inliers], minlength=self.tracks.num_frames)
        return np.where(seen > 0, agree / np.maximum(seen, 1), np.nan)

    def frame_rms_px(self, whitened: bool = False) -> np.ndarray:
        """`rms_px` of each frame, (frames,); NaN without inliers."""
        return self._rms_px(self.tracks.frame, self.tracks.num_frames, whitened)

    def track_rms_px(self) -> np.ndarray:
        """Root mean square reprojection error of each track's inliers, (tracks,) px; NaN without any."""
        return self._rms_px(self.tracks.track, self.tracks.num_tracks)

    def _rms_px(self, group: np.ndarray, count: int, whitened: bool = False) -> np.ndarray:
        rows = np.flatnonzero(self.inliers)
        size = np.bincount(group[rows], minlength=count)
        errors = self.whitened_errors(rows) if whitened else self.reprojection_errors(rows)
        total = np.bincount(group[rows], errors**2, count)
        return np.sqrt(np.divide(total, size, out=np.full(count, np.nan), where=size > 0))

    def parallax_deg(self) -> np.ndarray:
        """Largest angle between the rays of each track's inliers at its point, (tracks,) degrees; NaN without."""
        use = self.inliers & self.registered[self.tracks.frame] & self.has_point[self.tracks.track]
        frame, track = self.tracks.frame[use], self.tracks.track[use]
        rays = self.points[track] - self.centers_in_world[frame]
        return np.degrees(parallax_angle(rays, track, self.tracks.num_tracks))

    def transform(self, target_from_world: Sim3) -> "Reconstruction":
        """The same scene in another world, scaled, turned and moved."""
        return replace(
            self,
            cams_from_world=target_from_world.apply_to_cameras(self.cams_from_world),
            points=target_from_world.apply(self.points),
            depth_scale=self.depth_scale * target_from_world.scale,
            center_sigma=self.center_sigma * target_from_world.scale,
        )

    def crop(self, first: int, last: int) -> "Reconstruction":
        """Frames first .. last (both kept, counted from 0) as a shot of their own; track indices stay."""
        keep = (self.tracks.frame >= first) & (self.tracks.frame <= last)
        if not 0 <= first <= last < self.tracks.num_frames:
            raise ValueError(f"first, last: got {first}, {last}, expected inside 0..{self.tracks.num_frames - 1}")
        tracks = self.tracks.select(keep)
        tracks = replace(tracks, frame=tracks.frame - first, num_frames=last - first + 1)
        seen = np.bincount(tracks.track[self.inliers[keep]], minlength=tracks.num_tracks) > 0
        frames = slice(first, last + 1)
        return replace(
            self,
            camera=self.camera.at(np.arange(first, last + 1)),
            cams_from_world=self.cams_from_world[frames],
            registered=self.registered[frames],
            points=np.where(seen[:, None], self.points, np.nan),
            inliers=self.inliers[keep],
            tracks=tracks,
            depth_scale=self.depth_scale[frames],
            bridged=self.bridged[frames],
            bridge_error_px=self.bridge_error_px[frames],
            center_sigma=self.center_sigma[frames],
            rotation_sigma=self.rotation_sigma[frames],
        )

    def save(self, path: str | Path) -> None:
        """Write everything to one `.npz` (compressed; the keys are the field names, see ARCHITECTURE.md)."""
        arrays = {
            "format_version": FORMAT_VERSION,
            "focal_length": self.camera.focal_length,
            "principal_point": self.camera.principal_point,
            "distortion": self.camera.distortion,
            "image_size": (self.camera.width, self.camera.height),
            "cams_from_world": self.cams_from_world.as_matrix(),
            "track_frame": self.tracks.frame,
            "track_index": self.tracks.track,
            "track_xy": self.tracks.xy,
            "track_colors": self.tracks.colors,
            "track_whitening": self.tracks.whitening,
            "track_sigma_px": self.tracks.sigma_px,
        }
        for name in (*_ARRAYS, *_LATER, "depth_sigma", "readout"):
            arrays[name] = getattr(self, name)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Reconstruction":
        """Read what `save` wrote. Raises `InputError` when the file is missing or not such a file."""
        try:
            with open(path, "rb") as file, np.load(file) as data:
                arrays = {name: data[name] for name in data.files}
            if int(arrays["format_version"]) != FORMAT_VERSION:
                raise InputError(f"{path}: format version {arrays['format_version']}, expected {FORMAT_VERSION}")
            width, height = (int(v) for v in arrays["image_size"])
            lens = {k: arrays[k] for k in ("focal_length", "principal_point", "distortion")}
            frame, track, xy = (arrays[f"track_{name}"] for name in ("frame", "index", "xy"))
            frames, count = len(arrays["registered"]), len(arrays["points"])
            whitening = arrays.get("track_whitening", np.zeros((0, 2, 2)))
            sigma_px = arrays.get("track_sigma_px", np.zeros(0))
            return cls(
                camera=Camera(**lens, width=width, height=height),
                cams_from_world=Rigid3.from_matrix(arrays["cams_from_world"]),
                tracks=Tracks(frame, track, xy, frames, count, arrays["track_colors"], whitening, sigma_px),
                depth_sigma=float(arrays["depth_sigma"]),
                readout=float(arrays.get("readout", 0.0)),
                **{k: arrays[k] for k in _ARRAYS},
                **{k: arrays[k] for k in _LATER if k in arrays},
            )
        except FileNotFoundError as error:
            raise InputError(f"{path}: is missing; solve the shot again") from error
        except (OSError, KeyError, ValueError, TypeError, EOFError, BadZipFile) as error:
            raise InputError(f"{path}: not a reconstruction written by sfm ({error})") from error
