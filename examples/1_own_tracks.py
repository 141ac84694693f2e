"""Your own tracker and depth: enter at the waist, where everything is arrays and nothing is a picture.

The tracks are synthetic here, so the answer can be compared with the truth.
"""

import numpy as np

import sfm
from sfm.synthetic import make_shot


def main() -> float:
    truth = make_shot("handheld", rng=np.random.default_rng(0), noise_px=0.3, depth_error=0.2, depth_unit=3.7)

    # what your tracker gives: px of the plate, the top-left corner (0, 0); NaN where a point is not seen
    xy = np.full((24, 300, 2), np.nan)  # (frames, tracks, 2)
    depth = np.full((24, 300), np.nan)  # (frames, tracks), along z, in any unit
    xy[truth.tracks.frame, truth.tracks.track] = truth.tracks.xy
    depth[truth.tracks.frame, truth.tracks.track] = truth.priors.depth

    tracks = sfm.Tracks.from_dense(xy)
    at_sightings = depth[tracks.frame, tracks.track]  # (observations,)
    priors = sfm.DepthPriors(at_sightings, sigma=np.full(len(tracks), 0.3))  # relative error expected of it
    scene, report = sfm.reconstruct_tracks(tracks, priors, truth.camera)

    found, true = scene.centers_in_world, truth.cams_from_world.centers_in_world
    error = np.linalg.norm(sfm.Sim3.from_points(found, true).apply(found) - true, axis=1)
    extent = np.linalg.norm(np.ptp(true, axis=0))
    print(f"{report.verdict}: {'; '.join(report.reasons)}")
    print(f"camera path wrong by {100 * error.mean() / extent:.2f} % of its extent ({100 * extent:.0f} cm)")
    return float(error.mean() / extent)


if __name__ == "__main__":
    main()
