"""Pinhole camera with OpenCV's radial-tangential distortion; pixel (0, 0) is the top-left *corner* of the plate."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike

from sfm.geometry.transform import frozen_array


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """Intrinsics of a shot: batch `()` for a fixed lens, `(frames,)` for a zoom.

    focal_length (*batch, 2) px; principal_point (*batch, 2) px; distortion (k,), k in 0, 4, 5 or 8 in OpenCV's
    order k1 k2 p1 p2 k3 k4 k5 k6; width, height px.

    >>> camera = Camera([1000.0, 1000.0], [960.0, 540.0], [], 1920, 1080)
    >>> camera.img_from_cam([0.1, 0.0, 1.0])
    array([1060.,  540.])
    """

    focal_length: np.ndarray
    principal_point: np.ndarray
    distortion: np.ndarray
    width: int
    height: int

    def __post_init__(self):
        focal = frozen_array("focal_length", self.focal_length, (..., 2))
        if not (np.isfinite(focal).all() and (focal > 0).all()):
            raise ValueError(f"focal_length: got {focal.tolist()}, expected positive numbers of pixels")
        object.__setattr__(self, "focal_length", focal)
        principal = np.broadcast_to(np.asarray(self.principal_point, dtype=float), focal.shape)
        object.__setattr__(self, "principal_point", frozen_array("principal_point", principal, (..., 2)))
        distortion = frozen_array("distortion", self.distortion, (None,))
        if len(distortion) not in (0, 4, 5, 8):
            raise ValueError(f"distortion: got {len(distortion)} numbers, expected 0, 4, 5 or 8 (OpenCV)")
        object.__setattr__(self, "distortion", distortion)
        if self.width < 1 or self.height < 1:
            raise ValueError(f"width, height: got {self.width} x {self.height}, expected positive pixels")

    @classmethod
    def from_fov_deg(cls, horizontal_fov_deg: float, width: int, height: int, pixel_aspect: float = 1.0) -> "Camera":
        """A centred pinhole that sees the given angle across the plate; pixel_aspect as for `from_focal_px`."""
        focal = 0.5 * width / np.tan(0.5 * np.radians(horizontal_fov_deg))
        return cls.from_focal_px(focal * pixel_aspect, width, height, pixel_aspect)

    @classmethod
    def from_focal_px(cls, focal_px: float, width: int, height: int, pixel_aspect: float = 1.0) -> "Camera":
        """A centred pinhole with the given focal length in pixels, that of the plate's height.

        pixel_aspect: width over height of what a stored pixel shows; 2 for the plate of a 2x anamorphic lens before it
        is desqueezed. Such a lens is named after its vertical focal length and sees pixel_aspect times wider across:
        fy = focal_px and fx = focal_px / pixel_aspect.

        >>> Camera.from_focal_px(3000.0, 2880, 2160, pixel_aspect=2.0).focal_length
        array([1500., 3000.])
        """
        focal = np.array([focal_px / pixel_aspect, focal_px])
        return cls(focal, np.array([width / 2, height / 2]), np.zeros(0), width, height)

    @property
    def batch(self) -> tuple[int, ...]:
        """`()` for a fixed lens, `(frames,)` for a zoom."""
        return self.focal_length.shape[:-1]

    @property
    def horizontal_fov_deg(self) -> np.ndarray:
        """Horizontal field of view of the undistorted plate, degrees, (*batch,)."""
        return np.degrees(2 * np.arctan(0.5 * self.width / self.focal_length[..., 0]))

    def with_focal_length(self, focal_length: ArrayLike) -> "Camera":
        """The same camera with another focal length (*batch, 2), px: of a zoom, or of a fixed lens."""
        focal = np.asarray(focal_length, dtype=float)
        center = self.principal_point if focal.ndim >= self.principal_point.ndim else self.principal_point[0]
        return replace(self, focal_length=focal, principal_point=center)

    def without_distortion(self) -> "Camera":
        """The ideal pinhole that sees the undistorted plate."""
        return replace(self, distortion=np.zeros(0))

    def at(self, frame: int | np.integer | np.ndarray) -> "Camera":
        """The camera at one frame or an array of frames: a fixed lens is the same at every frame."""
        if not self.batch:
            return self
        return replace(self, focal_length=self.focal_length[frame], principal_point=self.principal_point[frame])

    def matrix(self) -> np.ndarray:
        """Calibration matrices K (*batch, 3, 3)."""
        K = np.zeros((*self.batch, 3, 3))
        K[..., 0, 0], K[..., 1, 1] = self.focal_length[..., 0], self.focal_length[..., 1]
        K[..., :2, 2], K[..., 2, 2] = self.principal_point, 1.0
        return K

    def img_from_cam(self, points: ArrayLike) -> np.ndarray:
        """Project points (*batch, 3) in camera axes to pixels (*batch, 2); NaN at or behind the camera plane."""
        points = np.asarray(points, dtype=float)
        z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
        cam_points = points[..., :2] / z[..., None]
        return self._distort(cam_points) * self.focal_length + self.principal_point

    def cam_from_img(self, xy: ArrayLike) -> np.ndarray:
        """Points (*batch, 2) on the plane z = 1 seen at pixels xy (*batch, 2), lens distortion removed."""
        cam_points = (np.asarray(xy, dtype=float) - self.principal_point) / self.focal_length
        if not len(self.distortion) or not cam_points.size:
            return cam_points
        # 5 iterations, OpenCV's default, leave up to 0.07 px on an ordinary lens
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-14)
        flat = np.ascontiguousarray(cam_points.reshape(-1, 1, 2))
        undistorted = cv2.undistortPoints(flat, np.eye(3), self.distortion, criteria=criteria)
        return undistorted.reshape(cam_points.shape)

    def regions(self, xy: np.ndarray, across: int, down: int) -> np.ndarray:
        """Which part of the picture, counted by rows, each of (n, 2) px lies in, or next to; (n,) int.

        >>> Camera.from_fov_deg(50, 1920, 1080).regions(np.array([[100, 100], [1900, 600], [-5, 1080]]), 6, 4).tolist()
        [0, 17, 18]
        """
        place = np.clip(xy * (across, down) // (self.width, self.height), 0, (across - 1, down - 1)).astype(int)
        return place[:, 1] * across + place[:, 0]

    def _distort(self, cam_points: np.ndarray) -> np.ndarray:
        """OpenCV's radial-tangential model on the plane z = 1 (OpenCV documentation, calib3d)."""
        if not len(self.distortion):
            return cam_points
        k1, k2, p1, p2, k3, k4, k5, k6 = np.pad(self.distortion, (0, 8 - len(self.distortion)))
        x, y = cam_points[..., 0], cam_points[..., 1]
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=-1,
        )
