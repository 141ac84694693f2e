"""The adjuster knows no camera: a file of Bundle Adjustment in the Large (Agarwal et al. 2010), its own lens."""

import copy
import sys

import numpy as np
from scipy.sparse import csr_array

from sfm.geometry.rotation import left_jacobian, rotation_from_rotvec
from sfm.least_squares import Linearization, Loss, SolverOptions, levenberg_marquardt


class Bal:
    """`sfm.least_squares.Problem`: cameras [angle-axis, translation, f, k1, k2] that look along -z, points x, y, z."""

    kept_size, eliminated_size, num_shared, losses, cuts = 9, 3, 0, ((slice(0, 2), Loss("squared"), 1.0),), ()

    def __init__(self, numbers: np.ndarray):
        self.num_kept, self.num_eliminated, seen = numbers[:3].astype(int).tolist()
        camera, point, x, y = numbers[3 : 4 * seen + 3].reshape(seen, 4).T
        order = np.argsort(point, kind="stable")
        self.kept_index, self.eliminated_index = camera[order].astype(int), point[order].astype(int)
        self.xy, self.start = np.stack([x, y])[:, order], numbers[4 * seen + 3 :]
        self.free = np.ones(9 * self.num_kept, bool)

    def at(self, x):
        here, size = copy.copy(self), len(self.free)
        here.cameras, here.points = x[:size].reshape(-1, 9), x[size:].reshape(-1, 3).T
        here.R, here.J = (f(here.cameras[:, :3]).T.copy() for f in (rotation_from_rotvec, left_jacobian))  # (j, i, n)
        return here

    def project(self, rows):  # arrays are (component, observation)
        R, lens = self.R[..., self.kept_index[rows]], self.cameras.T[3:, self.kept_index[rows]]
        turned = np.einsum("jin,jn->in", R, self.points[:, self.eliminated_index[rows]])
        *xy, z = turned + lens[:3]
        r2 = ((p := -np.stack(xy) / z) ** 2).sum(0)
        bent = 1 + r2 * (lens[4] + r2 * lens[5])
        return lens[3] * bent * p - self.xy[:, rows], R, turned, z, p, r2, bent, lens[3:]

    def residuals(self, rows):
        return self.project(rows)[0]

    def linearize(self, rows):
        r, R, turned, z, p, r2, bent, (f, k1, k2) = self.project(rows)
        by_p = f * (2 * (k1 + 2 * r2 * k2) * p[:, None] * p + np.eye(2)[:, :, None] * bent)
        by_in_cam = np.concatenate([-by_p, -(by_p * p).sum(1, keepdims=True)], axis=1) / z
        across = np.cross(turned[None], by_in_cam, axisa=1, axisb=1, axisc=1)  # d(R X)/dw = -[R X]x J(w)
        by_turn = np.einsum("rin,jin->rjn", across, self.J[..., self.kept_index[rows]])
        kept = np.concatenate([by_turn, by_in_cam, np.stack([p * bent, f * p * r2, f * p * r2**2], axis=1)], axis=1)
        return Linearization(r, kept, np.einsum("rin,jin->rjn", by_in_cam, R), np.zeros((2, 0, len(z))))

    def prior(self):
        return np.zeros(0), csr_array((0, len(self.free)))


def main(file: str = sys.argv[-1]):
    if not file.endswith(".txt"):
        raise SystemExit(f"{file}: expected a problem as text, as in python {sys.argv[0]} problem-49-7776-pre.txt")
    problem = Bal(np.fromfile(file, sep=" "))
    x, report = levenberg_marquardt(problem, problem.start, SolverOptions(max_iterations=100))
    print(f"cost {report.initial_cost:.6g} to {report.cost:.6g}. {report.status.value}")
    return x, report


if __name__ == "__main__":
    main()
