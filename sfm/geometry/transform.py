"""Rigid and similarity transforms: one object holds a whole stack of them, batch axes first."""

from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from sfm.geometry.rotation import rotation_from_rotvec, rotvec_from_rotation

_frozen: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()  # arrays made read-only here, by identity


def frozen_array(name: str, value: ArrayLike, shape: tuple, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Read-only array checked against `shape`, where None stands for any length and a leading `...` for batch axes.

    Raises `ValueError` naming the field, what was got and what is expected.
    """
    ours = _frozen.get(id(value))  # what was made here nobody can have kept a way into
    kept = ours is not None and ours is value and not ours.flags.writeable and ours.dtype == dtype
    array = ours if ours is not None and kept else np.array(value, dtype=dtype)
    tail = shape[1:] if shape and shape[0] is ... else shape
    got = array.shape[array.ndim - len(tail) :] if shape and shape[0] is ... else array.shape
    if len(got) != len(tail) or any(want is not None and want != have for want, have in zip(tail, got, strict=True)):
        raise ValueError(f"{name}: got shape {array.shape}, expected {shape}".replace("Ellipsis", "*batch"))
    return _freeze(array)


def _freeze(array: np.ndarray) -> np.ndarray:
    """Read-only from now on, and known as such: for arrays that nobody else holds."""
    array.setflags(write=False)
    _frozen[id(array)] = array
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Rigid3:
    """Rotation and translation, `x_target = R @ x_source + t`, named `target_from_source`.

    rotation (*batch, 3, 3); translation (*batch, 3), in scene units.

    >>> cam_from_world = Rigid3.from_rotvec([0.0, np.pi / 2, 0.0], [0.0, 0.0, 5.0])
    >>> cam_from_world.apply([1.0, 0.0, 0.0]).round(3)
    array([0., 0., 4.])
    """

    rotation: np.ndarray
    translation: np.ndarray

    def __post_init__(self):
        rotation = frozen_array("rotation", self.rotation, (..., 3, 3))
        translation = frozen_array("translation", self.translation, (..., 3))
        if rotation.shape[:-2] != translation.shape[:-1]:
            raise ValueError(f"batch axes differ: rotation {rotation.shape}, translation {translation.shape}")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    @classmethod
    def identity(cls, *batch: int) -> "Rigid3":
        """The identity, repeated over the batch axes."""
        return cls(np.broadcast_to(np.eye(3), (*batch, 3, 3)), np.zeros((*batch, 3)))

    @classmethod
    def from_rotvec(cls, rotvec: ArrayLike, translation: ArrayLike) -> "Rigid3":
        """From rotation vectors (*batch, 3) in radians and translations (*batch, 3)."""
        return cls(rotation_from_rotvec(rotvec), np.asarray(translation, dtype=float))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> "Rigid3":
        """From (*batch, 3, 4) or (*batch, 4, 4) matrices."""
        matrix = np.asarray(matrix, dtype=float)
        return cls(matrix[..., :3, :3], matrix[..., :3, 3])

    @property
    def batch(self) -> tuple[int, ...]:
        """The leading axes, `()` for a single transform."""
        return self.translation.shape[:-1]

    def __len__(self) -> int:
        return len(self.translation)

    def __getitem__(self, index) -> "Rigid3":
        rotation, translation = self.rotation[index], self.translation[index]
        if rotation.base is None and translation.base is None:  # copies, not views
            rotation, translation = _freeze(rotation), _freeze(translation)
        return Rigid3(rotation, translation)

    def __matmul__(self, other: "Rigid3") -> "Rigid3":
        translation = (self.rotation @ other.translation[..., None])[..., 0] + self.translation
        return Rigid3(self.rotation @ other.rotation, translation)

    def inverse(self) -> "Rigid3":
        """`source_from_target`."""
        rotation = np.swapaxes(self.rotation, -1, -2)
        return Rigid3(rotation, -(rotation @ self.translation[..., None])[..., 0])

    def apply(self, points: ArrayLike) -> np.ndarray:
        """Transform points (*batch, 3), batch axes broadcast against the transforms'."""
        return np.einsum("...ij,...j->...i", self.rotation, np.asarray(points, dtype=float)) + self.translation

    def as_matrix(self) -> np.ndarray:
        """(*batch, 3, 4) matrices `[R | t]`."""
        return np.concatenate([self.rotation, self.translation[..., None]], axis=-1)

    def as_rotvec(self) -> np.ndarray:
        """Rotation vectors (*batch, 3), radians."""
        return rotvec_from_rotation(self.rotation)

    @property
    def centers_in_world(self) -> np.ndarray:
        """For `cams_from_world`: the camera centres (*batch, 3) in the world, `-R.T @ t`."""
        return self.inverse().translation


@dataclass(frozen=True, slots=True, eq=False)
class Sim3:
    """Similarity, `x_target = scale * R @ x_source + t`. scale (*batch,), rotation, translation as in `Rigid3`."""

    scale: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    def __post_init__(self):
        rigid = Rigid3(self.rotation, self.translation)
        object.__setattr__(self, "rotation", rigid.rotation)
        object.__setattr__(self, "translation", rigid.translation)
        object.__setattr__(self, "scale", frozen_array("scale", self.scale, rigid.batch))

    @classmethod
    def identity(cls) -> "Sim3":
        """The identity."""
        return cls(np.ones(()), np.eye(3), np.zeros(3))

    @classmethod
    def from_points(cls, source: ArrayLike, target: ArrayLike) -> "Sim3":
        """The least-squares similarity taking source (n, 3) to target (n, 3).

        Umeyama 1991, eqs. 40-43. With all source points equal the scale is 1 and the rotation the identity.
        """
        source, target = np.asarray(source, dtype=float), np.asarray(target, dtype=float)
        mean_source, mean_target = source.mean(0), target.mean(0)
        a, b = source - mean_source, target - mean_target
        variance = (a**2).sum() / len(a)
        if variance < 1e-24:
            return cls(np.ones(()), np.eye(3), mean_target - mean_source)
        u, d, vt = np.linalg.svd(b.T @ a / len(a))
        signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        rotation = (u * signs) @ vt
        scale = (d * signs).sum() / variance
        return cls(scale, rotation, mean_target - scale * rotation @ mean_source)

    def __matmul__(self, other: "Sim3") -> "Sim3":
        return Sim3(self.scale * other.scale, self.rotation @ other.rotation, self.apply(other.translation))

    def inverse(self) -> "Sim3":
        """`source_from_target`."""
        rotation = np.swapaxes(self.rotation, -1, -2)
        translation = -(rotation @ self.translation[..., None])[..., 0] / self.scale[..., None]
        return Sim3(1 / self.scale, rotation, translation)

    def apply(self, points: ArrayLike) -> np.ndarray:
        """Transform points (*batch, 3)."""
        rotated = np.einsum("...ij,...j->...i", self.rotation, np.asarray(points, dtype=float))
        return self.scale[..., None] * rotated + self.translation

    def apply_to_cameras(self, cams_from_world: Rigid3) -> Rigid3:
        """The same cameras seen from the new world: `x_cam` scales, directions stay."""
        rotation = cams_from_world.rotation @ self.rotation.T
        translation = self.scale * cams_from_world.translation - rotation @ self.translation
        return Rigid3(rotation, translation)
