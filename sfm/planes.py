"""Planes that points of a scene lie on, the ones with the most evidence first (RANSAC, Fischler and Bolles 1981).

Every point counts by how well it is known: a point of a solve is far less certain along its ray than across it. Its
limit: what is flat to less than a few thousandths of the scene's depth is a plane.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

UNEVEN = 0.004  # of the scene's depth: how flat a surface is taken for at best
ON = 2.5  # standard deviations from the plane
KNOWN = 0.05  # of the scene's depth: a point that is known worse along a normal is on every plane
TRIALS, NEIGHBORS, REFITS = 300, 40, 4
MIN_POINTS = 15  # on a plane
BEYOND = 8.0  # standard deviations: thousands of planes are tried, and drawn to where points are dense
OUTER = (0.02, 0.98)  # between these quantiles points count as strewn


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """`normal @ x == height`: normal (3,) of unit length, towards no side; sigma_deg: standard deviation of the normal;
    on (n,) bool: points on it; evidence: by how much it explains points better than chance does, nats."""

    normal: np.ndarray
    height: float
    sigma_deg: float
    on: np.ndarray
    evidence: float


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Points (n, 3), their covariances (n, 3, 3), and the depth of the scene they are seen over."""

    points: np.ndarray
    covariance: np.ndarray
    depth: float

    @classmethod
    def seen_from(cls, eye: np.ndarray, points: np.ndarray, sigma: np.ndarray, sigma_across: np.ndarray) -> "Cloud":
        """Points (n, 3); sigma, sigma_across (n,): over their distance, along and across the ray from `eye`."""
        rays = points - eye
        distance = np.linalg.norm(rays, axis=1)
        depth = float(np.median(distance)) if len(points) else 1.0
        along = (sigma**2 - sigma_across**2)[:, None, None] * rays[:, :, None] * rays[:, None]
        flat = (sigma_across * distance) ** 2 + (UNEVEN * depth) ** 2
        return cls(points, along + flat[:, None, None] * np.eye(3), depth)

    def only(self, keep: np.ndarray) -> "Cloud":
        """Some of the points: (n,) bool, or indices."""
        return Cloud(self.points[keep], self.covariance[keep], self.depth)

    def best(self, most: int) -> "Cloud":
        """The points that are known best, at most so many."""
        worth = np.argsort(np.trace(self.covariance, axis1=1, axis2=2), kind="stable")
        return self.only(np.sort(worth[:most]))

    def off(self, normal: np.ndarray, height: float) -> tuple[np.ndarray, np.ndarray]:
        """How far above a plane, and the standard deviation of that, (n,) each."""
        return self.points @ normal - height, np.sqrt((self.covariance @ normal) @ normal)

    def on(self, normal: np.ndarray, height: float) -> np.ndarray:
        """Points on a plane that are known well enough to tell, (n,) bool."""
        off, sigma = self.off(normal, height)
        return (np.abs(off) < ON * sigma) & (sigma < KNOWN * self.depth)

    def beyond_chance(self, normal: np.ndarray, height: float) -> bool:
        """Whether more points lie on a plane than on the best of many through as many points strewn as far."""
        off, sigma = self.off(normal, height)
        low, high = np.quantile(off, OUTER)
        by_chance = np.minimum(2 * ON * sigma / max(high - low, 1e-12), 1.0)[sigma < KNOWN * self.depth].sum()
        return bool(self.on(normal, height).sum() > max(by_chance + BEYOND * np.sqrt(by_chance), MIN_POINTS))

    def evidence(self, normal: np.ndarray, height: float) -> np.ndarray:
        """By how much a plane explains each point better than a uniform spread over the depth does, (n,) nats."""
        off, sigma = self.off(normal, height)
        return np.maximum(np.log(self.depth / (np.sqrt(2 * np.pi) * sigma)) - 0.5 * (off / sigma) ** 2, 0.0)

    def fitted(self, on: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Normal, height and the normal's standard deviation in degrees, by least squares over points (n,) bool."""
        weight = KNOWN**2 / np.trace(self.covariance[on], axis1=1, axis2=2)
        normal, height, moments = _least_squares(self.points[on], weight)
        weight = 1 / ((self.covariance[on] @ normal) @ normal)
        normal, height, moments = _least_squares(self.points[on], weight)
        noise = max(moments[0] / max(on.sum() - 3, 1), 1.0)  # more than the points' own where it is uneven
        spread = noise * (1 / moments[1:]).sum() if moments[1] > 0 else np.inf
        return normal, height, float(np.degrees(np.sqrt(spread)))


def find_planes(cloud: Cloud, most: int, rng: np.random.Generator) -> list[Plane]:
    """At most so many planes, each of the points that those before it left over."""
    left, found = np.arange(len(cloud.points)), []
    while len(found) < most and len(left) > MIN_POINTS:
        rest = cloud.only(left)
        best = max(_tried(rest, rng), key=lambda one: one[2], default=None)
        if best is None:
            break
        normal, height, _ = best
        on = np.zeros(len(cloud.points), bool)
        on[left[rest.on(normal, height)]] = True
        sigma_deg = cloud.fitted(on)[2]
        found.append(Plane(normal, height, sigma_deg, on, float(best[2])))
        left = left[~on[left]]
    return found


def _tried(cloud: Cloud, rng: np.random.Generator) -> list[tuple[np.ndarray, float, float]]:
    """Planes through a point and two of its neighbours, refined: normal, height, evidence."""
    trust = 1 / np.trace(cloud.covariance, axis1=1, axis2=2)
    seeds = rng.choice(len(trust), TRIALS, p=trust / trust.sum())
    _, near = cKDTree(cloud.points).query(cloud.points[seeds], min(NEIGHBORS, len(trust)))
    chosen = np.take_along_axis(near, rng.integers(1, near.shape[1], (TRIALS, 2)), axis=1)
    a, b, c = cloud.points[seeds], cloud.points[chosen[:, 0]], cloud.points[chosen[:, 1]]
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    tried = []
    for i in np.flatnonzero(length > 0):
        normal = normals[i] / length[i]
        height = float(normal @ a[i])
        for _ in range(REFITS):
            on = cloud.on(normal, height)
            if on.sum() < MIN_POINTS:
                break
            normal, height, _ = cloud.fitted(on)
        if cloud.beyond_chance(normal, height):
            tried.append((normal, height, float(cloud.evidence(normal, height).sum())))
    return tried


def _least_squares(points: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Normal and height of the plane with the least weighted squares, and the moments about it, rising."""
    middle = weight @ points / weight.sum()
    arms = points - middle
    moments, axes = np.linalg.eigh((weight[:, None] * arms).T @ arms)
    return axes[:, 0], float(axes[:, 0] @ middle), moments
