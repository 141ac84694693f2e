"""The adjuster knows no camera: a file of Bundle Adjustment in the Large (Agarwal et al. 2010), its own lens."""

import copy
import sys

import numpy as np
from scipy.sparse import csr_array

from sfm.geometry.rotation import left_jacobian, rotation_from_rotvec
from sfm.least_squares import Linearization, Loss, SolverOptions, levenberg_marquardt


class Bal:
    """`sfm.least_squares.Problem`: cameras [angle-axis, translation, f, k1, k2] that look along -z, points x, y, z."""

    kept_size, eliminated_size, num_shared, losses = 9, 3, 0, ((slice(0, 2), Loss("squared"), 1.0),)

    def __init__(self, numbers: np.ndarray):
        self.num_kept, self.num_eliminated, seen = numbers[:3].astype(int).tolist()
        camera, point, *xy = numbers[3 : 4 * seen + 3].reshape(seen, 4).T
        order = np.argsort(point, kind="stable")
        self.kept_index, self.eliminated_index = camera[order].astype(int), point[order].astype(int)
        self.xy, self.start, self.free = (
            np.array(xy)[:, order],
            numbers[4 * seen + 3 :],
            np.ones(9 * self.num_kept, bool),
        )

    def at(self, x):
        here, size = copy.copy(self), len(self.free)
        here.cameras, here.points = x[:size].reshape(-1, 9), x[size:].reshape(-1, 3)
        here.R, here.J = rotation_from_rotvec(here.cameras[:, :3]), left_jacobian(here.cameras[:, :3])
        return here

    def residuals(self, rows):
        return self.linearize(rows).residuals

    def linearize(self, rows):  # arrays are (component, observation)
        frame, R = self.kept_index[rows], self.R[self.kept_index[rows]]
        turned = np.einsum("nij,nj->in", R, self.points[self.eliminated_index[rows]])
        (x, y, z), (f, k1, k2) = turned + self.cameras[frame, 3:6].T, self.cameras[frame, 6:].T
        p, zero = -np.stack([x, y]) / z, np.zeros_like(z)
        bent = 1 + (r2 := (p**2).sum(0)) * (k1 + r2 * k2)
        by_p = f * (2 * (k1 + 2 * r2 * k2) * p[:, None] * p + np.eye(2)[:, :, None] * bent)
        by_in_cam = np.einsum("ijn,jkn->ikn", by_p, [[-1 / z, zero, -p[0] / z], [zero, -1 / z, -p[1] / z]])
        across = np.cross(turned[None], by_in_cam, axisa=1, axisb=1, axisc=1)  # d(R X)/dw = -[R X]x J(w)
        by_lens = np.stack([p * bent, f * p * r2, f * p * r2**2], axis=1)
        kept = np.concatenate([np.einsum("rin,nij->rjn", across, self.J[frame]), by_in_cam, by_lens], axis=1)
        of_point, shared = np.einsum("rin,nij->rjn", by_in_cam, R), np.zeros((2, 0, len(z)))
        return Linearization(f * p * bent - self.xy[:, rows], kept, of_point, shared)

    def prior(self):
        return np.zeros(0), csr_array((0, len(self.free)))


def main(file: str = sys.argv[-1]):
    if not file.endswith(".txt"):
        raise SystemExit(f"usage: python {file} problem-49-7776-pre.txt")
    problem = Bal(np.fromfile(file, sep=" "))
    x, report = levenberg_marquardt(problem, problem.start, SolverOptions(max_iterations=100))
    print(f"cost {report.initial_cost:.6g} to {report.cost:.6g}. {report.status.value}")
    return x, report


if __name__ == "__main__":
    main()
