"""Which way is up, and where the ground is: from how the camera was held, and the planes that the points lie on.

People hold cameras level and tilt them freely: the camera's own up is a first guess. Floors, tables, walls and boxes
are level or plumb: up is what most of the planes agree on. The ground is the level plane below all cameras with nothing
beneath it. Its limit: a set that is neither level nor plumb; a table that fills the picture passes for the ground.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sfm.geometry.transform import Rigid3
from sfm.planes import MIN_POINTS, Cloud, Plane, find_planes
from sfm.scene import Reconstruction, Support

MEAN_Y_WEIGHT = 0.002  # against the mean square of the x axes along down: about 2.5 degrees of pan
HELD_SIGMA_DEG = 15.0  # how far a camera's own up is from the true one: tilt, mostly
MAX_LEAN_DEG = 50.0  # from the camera's own up to the true one
BUILT_SIGMA_DEG = 1.5  # how far from level and plumb what people build is
MAX_PLANES, MAX_POINTS = 10, 2500
EDGE_ON_DEG = 2.0  # from its points to the camera, a plane tells nothing of up
MIN_SHARE = 0.03  # of the best plane's evidence
RIVAL_DEG = 8.0  # another up is one that leans by more
LOWEST_CAMERA = 0.02  # of the scene's depth above the ground
BENEATH = 3.0  # standard deviations below the ground that no point should be
SURE, LIKELY, GUESS = "sure", "likely", "hardly more than a guess"
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A plane `up @ x == height`, in the world.

    up (3,) unit vector away from gravity; up_sigma_deg: its standard deviation, 0 where it was told; planes: how many
    agree on it; lead: how many times the evidence of the next best up, infinite where there is none; height: NaN where
    no ground was found; points: how many lie on it; stands_out: more than at any height, as on a floor, and not where
    the lowest things end; by_prior: most points have the prior's depth, whose errors lean whole planes together: a
    guess then, however well these agree.
    """

    up: np.ndarray
    up_sigma_deg: float
    planes: int = 0
    lead: float = 1.0
    height: float = float("nan")
    points: int = 0
    stands_out: bool = False
    by_prior: bool = False

    @property
    def said(self) -> list[str]:
        """How sure it is, in words and numbers."""
        return [self._said_of_up(), self._said_of_height()]

    @property
    def is_guessed_up(self) -> bool:
        """Whether up is hardly more than a guess."""
        return self._up_words == GUESS

    @property
    def is_guess(self) -> bool:
        """Whether up or height is."""
        return not self.points or not self.stands_out or self.is_guessed_up

    @property
    def _up_words(self) -> str:
        if self.up_sigma_deg and self.by_prior:
            return GUESS
        if not self.up_sigma_deg or (self.planes >= 2 and self.up_sigma_deg < 2 and self.lead >= 1.5):
            return SURE
        return LIKELY if self.planes >= 2 and self.up_sigma_deg < 5 and self.lead >= 1.15 else GUESS

    def _said_of_up(self) -> str:
        if not self.up_sigma_deg:
            return "up is as it was told"
        if not self.planes:
            return f"up is a guess, from how the camera was held: within about {self.up_sigma_deg:.0f} degrees"
        planes = f"{self.planes} plane{'s' if self.planes > 1 else ''} level or plumb"
        rival = "" if np.isinf(self.lead) else f", with {self.lead:.1f} times the evidence of the next best direction"
        within = f"within about {self.up_sigma_deg:.1f} degrees"
        if self.by_prior:
            within += " if the depth prior were right, which tells most depths here"
        return f"up is {self._up_words}: {within}, {planes}{rival}"

    def _said_of_height(self) -> str:
        if not self.points:
            return "no ground was found: no level plane below the camera has enough points"
        if not self.stands_out:
            return f"the ground is a guess: the lowest that was seen, where {self.points} points end"
        words = max(SURE if self.points >= 60 else LIKELY, self._up_words, key=[SURE, LIKELY, GUESS].index)
        return f"the ground is {words}: {self.points} points lie on it"


def held_up(cams_from_world: Rigid3) -> np.ndarray:
    """Up (3,) if the cameras (n,) were held level: what all their x axes stand square on.

    Where they hardly turn that leaves it open, and the mean of their y axes decides.
    """
    x, y = cams_from_world.rotation[:, 0], cams_from_world.rotation[:, 1]
    mean_y = y.mean(axis=0) / np.linalg.norm(y.mean(axis=0))
    down = np.linalg.eigh(MEAN_Y_WEIGHT * np.outer(mean_y, mean_y) - x.T @ x / len(x))[1][:, -1]
    return -down * np.sign(down @ mean_y)


def find_ground(reconstruction: Reconstruction, up: np.ndarray | None = None) -> Ground:
    """Up and the ground; up (3,) where it is known: then only the height is looked for.

    Needs a frame with a camera. The same solve gives the same ground.
    """
    cams = reconstruction.cams_from_world[reconstruction.has_camera]
    centers = cams.centers_in_world
    known = reconstruction.has_point & np.isfinite(reconstruction.point_sigma) & ~reconstruction.of_unknown_depth
    across = np.nan_to_num(reconstruction.point_sigma_across[known])
    cloud = Cloud.seen_from(
        centers.mean(axis=0), reconstruction.points[known], reconstruction.point_sigma[known], across
    ).best(MAX_POINTS)
    if up is not None:
        unit = up / np.linalg.norm(up)
        return Ground(unit, 0.0, 0, 1.0, *_lowest_level(cloud, unit, centers))
    planes = find_planes(cloud, MAX_PLANES, np.random.default_rng(SEED))
    planes = [plane for plane in planes if _from_aside(cloud, plane, centers.mean(axis=0))]
    planes = [plane for plane in planes if plane.evidence >= MIN_SHARE * planes[0].evidence]
    found, sigma_deg, agreeing, lead = _agreed_up(planes, held_up(cams))
    by_prior = 2 * (reconstruction.support[known] == Support.PRIOR).sum() > known.sum()
    return Ground(found, sigma_deg, agreeing, lead, *_lowest_level(cloud, found, centers), by_prior=bool(by_prior))


def _from_aside(cloud: Cloud, plane: Plane, eye: np.ndarray) -> bool:
    """Whether a plane is not seen edge-on: what lies along a line of the picture is on such a one, however deep."""
    rays = cloud.points[plane.on] - eye
    slope = np.abs(rays @ plane.normal) / np.linalg.norm(rays, axis=1)
    return bool(np.median(slope) > np.sin(np.radians(EDGE_ON_DEG)))


def _agreed_up(planes: list[Plane], held: np.ndarray) -> tuple[np.ndarray, float, int, float]:
    """What most planes are level or plumb to, its standard deviation in degrees, how many are, and the lead."""
    normals = np.array([plane.normal for plane in planes]).reshape(-1, 3)
    evidence = np.array([plane.evidence for plane in planes])
    sigma = np.radians(np.hypot(BUILT_SIGMA_DEG, [plane.sigma_deg for plane in planes]))
    tried = _tried(normals, held)
    across = np.abs(tried @ normals.T).clip(0, 1)  # 1: level, 0: plumb
    lean = np.minimum(np.arccos(across), np.arcsin(across))
    from_held = np.arccos((tried @ held).clip(-1, 1)) / np.radians(HELD_SIGMA_DEG)
    score = np.exp(-0.25 * from_held**2) * (np.exp(-0.5 * (lean / sigma) ** 2) @ evidence)
    best = int(score.argmax())
    agree = lean[best] < 3 * sigma
    up, sigma_deg = _settled(normals[agree], sigma[agree], across[best, agree] > 0.5, held)
    rival = score[tried @ up < np.cos(np.radians(RIVAL_DEG))].max(initial=0.0)
    lead = float(score[best] / rival) if rival > 0 else float("inf")
    return up, sigma_deg, int(agree.sum()), lead


def _tried(normals: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Directions (k, 3) that may be up: as held, level to one plane, plumb to two."""
    asked = np.array([held, *normals, *(np.cross(a, b) for a, b in combinations(normals, 2))])
    length = np.linalg.norm(asked, axis=1)
    asked = asked[length > 0.1] / length[length > 0.1, None]  # of walls nearly parallel nothing follows
    asked *= np.where(asked @ held < 0, -1.0, 1.0)[:, None]
    return asked[asked @ held > np.cos(np.radians(MAX_LEAN_DEG))]


def _settled(normals: np.ndarray, sigma: np.ndarray, level: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, float]:
    """Up by least squares over planes (n,) level or plumb and how the camera was held; its standard deviation, degrees.

    The cost is `up @ H @ up`: for small angles the squares of how far up leans from each, in standard deviations.
    """
    plumb = normals[:, :, None] * normals[:, None]
    leans = np.where(level[:, None, None], np.eye(3) - plumb, plumb) / sigma[:, None, None] ** 2
    H = leans.sum(axis=0) + (np.eye(3) - np.outer(held, held)) / np.radians(HELD_SIGMA_DEG) ** 2
    up = np.linalg.eigh(H)[1][:, 0]
    tangent = np.linalg.svd(up[None])[2][1:]
    spread = np.trace(np.linalg.inv(tangent @ H @ tangent.T))
    return up * np.sign(up @ held), float(np.degrees(np.sqrt(spread)))


def _lowest_level(cloud: Cloud, up: np.ndarray, centers: np.ndarray) -> tuple[float, int, bool]:
    """Height of the level plane below every camera that explains most and has least beneath it; how many points are on
    it, and whether these are more than lie at any height."""
    below = cloud.points @ up < (centers @ up).min() - LOWEST_CAMERA * cloud.depth
    best, most = float("nan"), 0.0
    for height in cloud.points[below] @ up:
        off, sigma = cloud.off(up, height)
        at_best = np.maximum(np.log(cloud.depth / (np.sqrt(2 * np.pi) * sigma)), 0.0)
        evidence = cloud.evidence(up, height).sum() - at_best[off < -BENEATH * sigma].sum()
        if evidence > most:
            best, most = float(height), float(evidence)
    on = cloud.on(up, best)
    if on.sum() < MIN_POINTS:
        return float("nan"), 0, False
    off, sigma = cloud.off(up, best)
    height = best + float(np.average(off[on], weights=1 / sigma[on] ** 2))
    return height, int(on.sum()), cloud.beyond_chance(up, best)
