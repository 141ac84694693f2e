"""How far a digital object put into the shot is likely to slide: what the tracks leave open of cameras and lens, and
where tracks beside one another are seen to be off together.

Cameras and lenses are drawn from the Gaussian that the normal equations of the adjustment describe (Hartley and
Zisserman 2004, section 5.2.4), and an object put where points are is seen through each of them, as `evaluation` does
with the truth.
"""

from dataclasses import dataclass

import numpy as np

from sfm.bundle_adjustment import Posterior
from sfm.scene import Reconstruction


@dataclass(frozen=True, slots=True)
class SlideOptions:
    """How finely it is asked."""

    draws: int = 30
    within: float = 0.9  # part of the draws whose slide stays below what is told
    places: int = 200  # where something is put, evenly spread over the points
    cells: tuple[int, int] = (6, 4)  # regions of the picture, across and down, whose tracks may be off together
    min_tracks: int = 12  # in a region, to tell
    beyond_chance: float = 13.8  # of chi squared with two degrees of freedom: one in a thousand


def likely_slide_px(known: Posterior, options: SlideOptions = SlideOptions()) -> float:
    """What the slide of 95 of 100 inserted points and frames stays below in nine of ten draws, px of the plate.

    Objects are put at the depth of points in the middle frame, by the scale of all of these. NaN where there is nothing
    to draw; as large as can be, or infinite, where nothing measures a camera. Limit: it knows of noise, and of errors
    of a track that follow each other; not of a wrong kind of lens or shot, nor of a whole track on something that
    moves.
    """
    scene = known.scene
    frames = np.flatnonzero(scene.registered)
    middle = int(frames[np.argmin(np.abs(frames - len(scene.registered) // 2))])
    in_middle = scene.cams_from_world[middle].apply(scene.points)
    places = scene.camera.at(middle).img_from_cam(in_middle)  # NaN behind the camera
    seen = np.flatnonzero(_on_plate(places, scene))
    chosen = seen[np.unique(np.linspace(0, len(seen) - 1, min(options.places, len(seen))).astype(int))]
    xy, z = places[chosen], in_middle[chosen, 2]
    true = _seen(scene, frames, middle, xy, z, 1.0)
    on_plate = _on_plate(true, scene)
    slides = []
    for drawn in known.draw(options.draws):
        depth = drawn.cams_from_world[middle].apply(drawn.points[seen])[:, 2]
        scale = float(np.median(depth / in_middle[seen, 2]))
        slide = np.linalg.norm(_seen(drawn, frames, middle, xy, z, scale) - true, axis=-1)
        # a point right in front of the lens may end up behind it: as far off as can be, but not unknown
        slides.append(np.quantile(np.nan_to_num(slide[on_plate], nan=np.inf), 0.95, method="nearest"))
    return float(np.quantile(slides, options.within, method="nearest")) if slides else float("nan")


def seen_slide_px(scene: Reconstruction, options: SlideOptions = SlideOptions()) -> float:
    """What 95 of 100 regions of the frames stay below, in which tracks are off together, px of the plate.

    An object put there follows the solved camera, and the picture around it does not: a rolling shutter's wobble, a
    stabiliser's warp, a lens of another kind. A region is off by the mean error of its inliers, where that is beyond
    what their scatter explains. NaN where no region has enough. Limit: what all frames have in common moves the points.
    """
    tracks, (columns, rows) = scene.tracks, options.cells
    use = np.flatnonzero(scene.inliers & scene.registered[tracks.frame])
    error = tracks.whitened(tracks.xy[use] - scene.reprojections(use), use)  # sliding along edges is of no account
    known = np.isfinite(error).all(axis=1)
    use, error = use[known], error[known]
    region = tracks.frame[use] * rows * columns + scene.camera.regions(tracks.xy[use], columns, rows)
    count = np.bincount(region)
    enough = count >= options.min_tracks
    if not enough.any():
        return float("nan")
    seen = np.maximum(count, 1)
    mean = np.stack([np.bincount(region, e) / seen for e in error.T])
    of_mean = np.stack([np.bincount(region, e**2) / seen for e in error.T]) - mean**2
    of_mean = np.maximum(of_mean, 1e-12) / np.maximum(count - 1, 1)
    together = (mean**2 / of_mean).sum(0) > options.beyond_chance
    off = np.sqrt(np.maximum((mean**2 - of_mean).sum(0), 0.0))
    return float(np.quantile(np.where(together, off, 0.0)[enough], 0.95, method="nearest"))


def _seen(
    scene: Reconstruction, frames: np.ndarray, middle: int, xy: np.ndarray, z: np.ndarray, scale: float
) -> np.ndarray:
    """Pixels (frames, n, 2) of what is put at xy (n, 2) px and depth z (n,) of the middle frame."""
    put = np.column_stack([scene.camera.at(middle).cam_from_img(xy), np.ones(len(xy))]) * scale * z[:, None]
    cams = scene.cams_from_world[frames] @ scene.cams_from_world[middle].inverse()
    return np.stack([scene.camera.at(int(frame)).img_from_cam(cams[k].apply(put)) for k, frame in enumerate(frames)])


def _on_plate(xy: np.ndarray, scene: Reconstruction) -> np.ndarray:
    size = np.array([scene.camera.width, scene.camera.height])
    return np.all(np.isfinite(xy) & (xy > 0) & (xy < size), axis=-1)
