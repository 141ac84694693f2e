"""What was measured on set: points whose place is known, distances between points. Soft, each as good as it says.

The survey's world joins the solve's by a similarity that is solved along with everything else (variable projection,
Golub and Pereyra 1973, with Kaufman's Jacobian): it neither holds a camera nor argues with the depth prior about the
size of the scene, and what it leaves open stays open. Three points that are not on a line give all of it, one distance
the size alone.
"""

from dataclasses import dataclass, field

import numpy as np

from sfm.geometry.rotation import rotation_from_rotvec
from sfm.geometry.transform import Sim3, frozen_array
from sfm.scene import Reconstruction

_ROUNDS = 20
_OPEN = 1e-9  # of the largest singular value: a direction that is measured less is open


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Known points and distances, in the unit of the survey, its world x right, y down, z forward.

    tracks (p,) int of the known points, positions (p, 3), sigma (p,); pairs (d, 2) int tracks, lengths (d,),
    length_sigma (d,). Sigmas are standard deviations, in that unit.
    """

    tracks: np.ndarray = field(default_factory=lambda: np.zeros(0))
    positions: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    sigma: np.ndarray = field(default_factory=lambda: np.zeros(0))
    pairs: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0))
    length_sigma: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self):
        p, d = len(self.tracks), len(self.lengths)
        for name, shape, dtype in (
            ("tracks", (p,), int), ("positions", (p, 3), float), ("sigma", (p,), float), ("pairs", (d, 2), int),
            ("lengths", (d,), float), ("length_sigma", (d,), float),
        ):  # fmt: skip
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), shape, dtype))
        for name in ("sigma", "length_sigma", "lengths"):
            if not (getattr(self, name) > 0).all():
                raise ValueError(f"{name}: got {getattr(self, name).tolist()}, expected positive numbers")
        if (self.pairs[:, 0] == self.pairs[:, 1]).any():
            raise ValueError("pairs: got a track beside itself, expected two tracks")

    def __len__(self) -> int:
        """Known points and distances."""
        return len(self.tracks) + len(self.lengths)

    def among(self, there: np.ndarray) -> "Survey":
        """The part whose tracks are there, (tracks,) bool."""
        points, pairs = there[self.tracks], there[self.pairs].all(axis=1)
        return Survey(
            self.tracks[points], self.positions[points], self.sigma[points], self.pairs[pairs], self.lengths[pairs],
            self.length_sigma[pairs],
        )  # fmt: skip

    @property
    def touched(self) -> np.ndarray:
        """Tracks it is about, rising, (t,)."""
        return np.unique(np.concatenate([self.tracks, self.pairs.ravel()]))

    def from_world(self, points: np.ndarray) -> Sim3:
        """The similarity from the world of points (t, 3), those `touched`, to the survey's that fits best.

        Where the survey leaves something of it open, the nearest to no change.
        """
        return _Joined(self, points).similarity

    def residuals(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Errors over their sigmas (m,) of points (t, 3), those `touched`, joined as well as can be: x, y, z of each
        known point, then the distances; and their derivatives (m, t, 3), the similarity following."""
        joined = _Joined(self, points)
        return joined.residuals, joined.jacobian()

    def disagreement(self, reconstruction: Reconstruction) -> tuple[np.ndarray, np.ndarray]:
        """How far known points (p,) and distances (d,) of a scene are off after joining, in sigmas; NaN where a track
        has no point. Of a point the length of its error over that of one sigma in every direction."""
        found = self.among(reconstruction.has_point)
        points, lengths = np.full(len(self.tracks), np.nan), np.full(len(self.lengths), np.nan)
        if len(found):
            r = found.residuals(reconstruction.points[found.touched])[0]
            p = 3 * len(found.tracks)
            off = np.sqrt(np.square(r[:p].reshape(-1, 3)).mean(axis=1))
            points[reconstruction.has_point[self.tracks]] = off
            lengths[reconstruction.has_point[self.pairs].all(axis=1)] = np.abs(r[p:])
        return points, lengths


class _Joined:
    """A survey and points at the similarity that fits best: rotation and scale about the middle of the known points."""

    def __init__(self, survey: Survey, points: np.ndarray):
        self.survey, self.points = survey, points
        at = survey.touched
        self.known, (self.one, self.two) = np.searchsorted(at, survey.tracks), np.searchsorted(at, survey.pairs).T
        self.middle = points[self.known].mean(axis=0) if len(self.known) else np.zeros(3)
        self.rotation, self.scale, self.moved = self._start()
        for _ in range(_ROUNDS):
            self.residuals, by_similarity = self._linearized()
            step = -np.linalg.pinv(by_similarity, rcond=_OPEN) @ self.residuals
            self.rotation = rotation_from_rotvec(step[:3]) @ self.rotation
            self.moved, self.scale = self.moved + step[3:6], self.scale * np.exp(np.clip(step[6], -1, 1))
            if np.abs(by_similarity @ step).max(initial=0.0) < 1e-9:
                break
        self.residuals, self.by_similarity = self._linearized()

    @property
    def similarity(self) -> Sim3:
        """x -> scale R (x - middle) + moved."""
        return Sim3(np.array(self.scale), self.rotation, self.moved - self.scale * self.rotation @ self.middle)

    def _start(self) -> tuple[np.ndarray, float, np.ndarray]:
        survey, points = self.survey, self.points
        apart = np.linalg.norm(points[self.one] - points[self.two], axis=1)
        scale = float(np.exp(np.median(np.log(survey.lengths / apart)))) if len(apart) else 1.0
        if len(self.known) == 0:
            return np.eye(3), scale, np.zeros(3)
        target = survey.positions.mean(axis=0)
        if len(self.known) < 2:
            return np.eye(3), scale, target
        own, theirs = points[self.known] - self.middle, survey.positions - target
        _, d, axes = np.linalg.svd(own, full_matrices=False)
        if len(d) < 2 or d[1] < 1e-6 * d[0]:  # on a line: no turn about it
            wide = np.linalg.norm(theirs) / max(np.linalg.norm(own), 1e-300)
            return _least_turn(axes[0], (own @ axes[0]) @ theirs), float(wide), target
        joined = Sim3.from_points(points[self.known], survey.positions)
        return joined.rotation, float(joined.scale) if joined.scale > 0 else scale, joined.apply(self.middle)

    def _linearized(self) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (m,), and their derivatives (m, 7) by turn, move and log scale."""
        survey, scale = self.survey, self.scale
        turned = scale * (self.points[self.known] - self.middle) @ self.rotation.T
        off = (turned + self.moved - survey.positions) / survey.sigma[:, None]
        apart = np.linalg.norm(self.points[self.one] - self.points[self.two], axis=1)
        p = 3 * len(off)
        J = np.zeros((p + len(apart), 7))
        zero = np.zeros(len(turned))
        x, y, z = turned.T
        by_turn = np.stack([np.stack([zero, z, -y]), np.stack([-z, zero, x]), np.stack([y, -x, zero])])  # -[turned]x
        by_point = np.concatenate([by_turn, np.tile(np.eye(3)[:, :, None], len(x)), turned.T[:, None]], axis=1)
        J[:p] = (by_point / survey.sigma).transpose(2, 0, 1).reshape(p, 7)
        J[p:, 6] = scale * apart / survey.length_sigma
        return np.r_[off.ravel(), (scale * apart - survey.lengths) / survey.length_sigma], J

    def jacobian(self) -> np.ndarray:
        """Derivatives of the residuals by the points (m, t, 3), without what the similarity makes up for."""
        survey, p = self.survey, 3 * len(self.known)
        J = np.zeros((len(self.residuals), len(self.points), 3))
        for axis in range(3):
            J[np.arange(axis, p, 3), self.known] = self.scale * self.rotation[axis] / survey.sigma[:, None]
        along = self.points[self.one] - self.points[self.two]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        rows, by_length = p + np.arange(len(along)), self.scale * along / survey.length_sigma[:, None]
        J[rows, self.one], J[rows, self.two] = by_length, -by_length
        u, d, _ = np.linalg.svd(self.by_similarity, full_matrices=False)
        u = u[:, d > _OPEN * d[0]]
        return J - np.einsum("ma,na,ntc->mtc", u, u, J, optimize=True)


def _least_turn(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes one direction to another."""
    axis = np.cross(one, other)
    sine, cosine = np.linalg.norm(axis), one @ other
    if sine < 1e-12 * max(abs(cosine), 1e-300):
        # against each other: half a turn about what is square to both
        axis = np.cross(one, np.eye(3)[np.argmin(np.abs(one))])
        return np.eye(3) if cosine >= 0 else rotation_from_rotvec(np.pi * axis / np.linalg.norm(axis))
    return rotation_from_rotvec(np.arctan2(sine, cosine) * axis / sine)


def in_survey(reconstruction: Reconstruction, survey: Survey) -> Reconstruction:
    """The scene in the survey's world, as far as the survey says where that is."""
    found = survey.among(reconstruction.has_point)
    if not len(found):
        return reconstruction
    return reconstruction.transform(found.from_world(reconstruction.points[found.touched]))
