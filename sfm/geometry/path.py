"""A camera's path between the frames it was solved at."""

import numpy as np
from numpy.typing import ArrayLike

from sfm.geometry.rotation import quaternion_from_rotation, rotation_from_quaternion
from sfm.geometry.transform import Rigid3, Sim3


def cams_at(times: ArrayLike, cams_from_world: Rigid3, at: ArrayLike, degree: int = 3) -> Rigid3:
    """Cameras (m,) at the times `at` (m,), on a path through cameras (n,) known at rising times (n,).

    degree: 3 a cubic spline (its ends not-a-knot, so that they may curve), 1 constant velocity from camera to camera;
    both go on beyond the ends. Centres and quaternions are interpolated, these then normalised: at the few degrees a
    camera turns between frames that is constant angular velocity to 1e-6 rad. Fewer cameras lower the degree; a single
    one stands still.

    >>> cams = Rigid3.from_rotvec([[0, 0, 0], [0, 0, 0.2]], np.zeros((2, 3)))
    >>> cams_at([0, 4], cams, [2.0]).as_rotvec()
    array([[0. , 0. , 0.1]])
    """
    from scipy.interpolate import make_interp_spline  # it brings SciPy's optimisers, and no solve starts with these

    times, at = np.asarray(times, dtype=float), np.asarray(at, dtype=float)
    if len(times) == 1:
        return cams_from_world[np.zeros(len(at), int)]
    quaternion = quaternion_from_rotation(cams_from_world.rotation)
    # q and -q turn alike: neighbours on the same side, or the path between them would go the long way round
    flips = np.sum(quaternion[1:] * quaternion[:-1], axis=1) < 0
    quaternion[1:][np.cumsum(flips) % 2 == 1] *= -1
    known = np.hstack([quaternion, cams_from_world.centers_in_world])
    found = make_interp_spline(times, known, k=min(degree, len(times) - 1))(at)
    rotation = rotation_from_quaternion(found[:, :4])
    return Rigid3(rotation, -np.einsum("nij,nj->ni", rotation, found[:, 4:]))


def other_from_ours(cams: Rigid3, other_cams: Rigid3) -> Sim3:
    """The similarity from the world of some cameras (n,) to that of the same cameras (n,) solved otherwise.

    Turned by the mean of what the cameras say (chordal), for their centres alone leave the turn about a straight path
    open. Of cameras that stand still in either world the scale is 1.
    """
    u, _, vt = np.linalg.svd((other_cams.rotation.mT @ cams.rotation).sum(axis=0))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    centers, others = cams.centers_in_world @ turn.T, other_cams.centers_in_world
    a, b = centers - centers.mean(axis=0), others - others.mean(axis=0)
    along, moved = float((a * b).sum()), float((a * a).sum())
    scale = along / moved if moved > 0 and along > 1e-9 * moved else 1.0
    return Sim3(np.array(scale), turn, others.mean(axis=0) - scale * centers.mean(axis=0))
