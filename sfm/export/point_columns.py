"""What files carry of each point beside its place and colour."""

import numpy as np

from sfm.scene import Reconstruction


def point_columns(reconstruction: Reconstruction, tracks: np.ndarray) -> dict[str, np.ndarray]:
    """By name, of the points of these tracks (m,): int32 `track_len`, observations the adjustment believes; float32
    `rmse_px` of their reprojections; float32 `sigma` and `sigma_across`, standard deviation of the point over its
    depth, along the ray that saw it first and across it; int32 `support`, 1 triangulated, 2 held by the depth prior.

    What is unknown is NaN; a depth that nothing tells has an infinite sigma.
    """
    used = reconstruction.inliers & reconstruction.registered[reconstruction.tracks.frame]
    length = np.bincount(reconstruction.tracks.track[used], minlength=reconstruction.tracks.num_tracks)
    return {
        "track_len": length[tracks].astype(np.int32),
        "rmse_px": reconstruction.track_rms_px()[tracks].astype(np.float32),
        "sigma": reconstruction.point_sigma[tracks].astype(np.float32),
        "sigma_across": reconstruction.point_sigma_across[tracks].astype(np.float32),
        "support": reconstruction.support[tracks].astype(np.int32),
    }
