"""Follow keypoints through a shot: Shi-Tomasi corners, pyramidal Lucas-Kanade, drift taken out against the first patch.

Shi and Tomasi 1994 for corners and for judging a track by an affine match with its first appearance; Baker and Matthews
2004 (inverse compositional alignment) for that match, which also refines the position: frame-to-frame flow alone
wanders about a pixel in 60 frames, and a digital object would slide by as much.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from sfm.corners import Grid, discs
from sfm.errors import InputError, NotEnoughTracksError
from sfm.flow import Features, FlowOptions, homography, lucas_kanade, moved
from sfm.lost_tracks import LostTracks, LostTracksOptions
from sfm.masks import Mask
from sfm.patches import Patches
from sfm.scene import Tracks
from sfm.threads import one_ahead, one_blas_thread
from sfm.video import Video, to_gray

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """How many points, and when to give one up. Lengths in px of the working resolution unless said."""

    max_tracks: int = 2000  # followed at the same time
    working_width: int = 1280  # plates wider than this are tracked at this width
    grid_cells: int = 16  # cells across the width; corners are spread over them
    min_distance: float = 6.0  # between corners
    min_corner_quality: float = 2e-4  # corner strength relative to the strongest of the frame
    flow: FlowOptions = field(default_factory=FlowOptions)
    guided_flow: FlowOptions = field(default_factory=lambda: FlowOptions(levels=1))
    blurred_flow: FlowOptions = field(default_factory=lambda: FlowOptions(window=31))
    min_flow_found: float = 0.5  # below this part found, matched features tell flow where to look
    patch_radius: int = 10  # the first appearance is a square of 2 r + 1
    min_correlation: float = 0.8  # with the first appearance, after the affine match
    max_split: float = 0.2  # halves of a patch that want to move apart by more, on average, mark a depth edge
    max_correction: float = 2.0  # refinement may move a flow result this far
    max_missed: int = 3  # frames a track may fail its checks before it ends
    max_blurred: int = 12  # frames in a row without detail, blurred or flashed, that tracks wait through
    min_detail: float = 0.25  # of the last frame followed, in the direction that has least: less is a blur
    min_length: int = 3  # shorter tracks are dropped
    lost: LostTracksOptions = field(default_factory=LostTracksOptions)
    min_survivors: float = 0.06  # fewer tracks than this part surviving one frame means a cut, a flash or a black frame


def _detail(gray: np.ndarray) -> float:
    """Contrast of a grey picture's gradient in the direction that has least: a blur in any direction takes it away."""
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.5).astype(np.float32)  # grain stays sharp in a blurred frame
    gradient = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0).ravel(), cv2.Sobel(smooth, cv2.CV_32F, 0, 1).ravel()])
    return float(np.sqrt(max(np.linalg.eigvalsh(np.cov(gradient))[0], 0.0)))


@dataclass(slots=True)
class _Recorder:
    """Observations as they come."""

    frame: list[np.ndarray] = field(default_factory=list)
    track: list[np.ndarray] = field(default_factory=list)
    xy: list[np.ndarray] = field(default_factory=list)
    split: list[np.ndarray] = field(default_factory=list)
    colors: list[np.ndarray] = field(default_factory=list)  # of each track, like whitening
    whitening: list[np.ndarray] = field(default_factory=list)

    def add(self, frame: int, track: np.ndarray, xy: np.ndarray, split: np.ndarray) -> None:
        self.frame.append(np.full(len(track), frame))
        self.track.append(track)
        self.xy.append(xy.copy())
        self.split.append(split)


def track_points(
    video: Video,
    options: TrackingOptions = TrackingOptions(),
    mask: Mask | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tracks:
    """Track a shot from its first frame to its last.

    Positions are full-resolution px, top-left corner (0, 0). Tracks start in frame 0 and wherever a cell of the grid
    runs empty. Unreadable, black, flashed or blurred frames get no observation; tracks go on after up to `max_missed`
    of them, after up to `max_blurred` where they show no detail.
    Limit: brightness may change by gain and offset; motion blur longer than the patch is not followed.

    mask: called with a frame index; where it is zero nothing is tracked. progress: called with (frame, tracks alive).
    Raises `InputError` at a cut, naming the frames, and `NotEnoughTracksError` when there is no texture to follow.
    """
    tracker = _Tracker(video, options, mask)
    with one_blas_thread():  # its products are small: BLAS threads would wait for them, and keep ours from the cores
        for index, frame in one_ahead((index, tracker.prepared(image)) for index, image in video):
            tracker.step(index, frame)
            if progress is not None:
                progress(index + 1, len(tracker.patches))
    return tracker.finish()


class _Tracker:
    """The points alive, the last frame they were seen in, and what was recorded."""

    def __init__(self, video: Video, options: TrackingOptions, mask: Mask | None):
        self.video, self.options, self.mask = video, options, mask
        shot = video.shot
        self.scale = min(1.0, options.working_width / shot.width)
        self.size = (round(shot.width * self.scale), round(shot.height * self.scale))
        self.ratio = np.array([shot.width / self.size[0], shot.height / self.size[1]])
        # with fewer tracks than cells a cell could not hold one
        across = min(options.grid_cells, max(int(np.sqrt(options.max_tracks * self.size[0] / self.size[1])), 1))
        self.grid = Grid(self.size, across, options.max_tracks)
        self.patches = Patches.empty(options.patch_radius)
        self.xy = np.zeros((0, 2), np.float32)  # px centres at integers, as OpenCV has them
        self.ids = np.zeros(0, int)
        self.missed = np.zeros(0, int)
        self.recorder = _Recorder()
        self.lost = LostTracks(options.patch_radius, options.lost, options.flow)
        self.previous: np.ndarray | None = None
        self.collapsed: list[int] = []
        self.blurred = 0  # of the collapsed ones
        self.count = 0

    def prepared(self, image: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """A picture, and at working resolution its grey levels (height, width) uint8, and smoothed float32."""
        if image is None:
            return None
        gray = to_gray(image)
        if self.scale < 1:
            gray = cv2.resize(gray, self.size, interpolation=cv2.INTER_AREA)
        # grain aliases between pixels; a light blur makes sub-pixel matching honest
        return image, gray, cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 0.8)

    def step(self, index: int, frame: tuple[np.ndarray, np.ndarray, np.ndarray] | None) -> None:
        """Take one frame, `prepared`."""
        if frame is None:
            self.missed += 1
            return
        image, gray, smooth = frame
        allowed = self._allowed(index)
        if self.previous is not None and len(self.ids):
            if not self._follow(index, gray, smooth, allowed):
                return
        self._detect(index, gray, smooth, allowed, image)
        self.lost.see(gray, self.ids, self.xy)
        self.previous = gray

    def _allowed(self, index: int) -> np.ndarray | None:
        """The mask at working resolution."""
        image = self.mask(index) if self.mask is not None else None
        if image is None:
            return None
        return cv2.resize(image, self.size, interpolation=cv2.INTER_NEAREST)

    def _follow(self, index: int, gray: np.ndarray, smooth: np.ndarray, allowed: np.ndarray | None) -> bool:
        """Move every point to the new frame and record the good ones; False when nearly all are lost."""
        options = self.options
        xy, found = self._flow(gray)
        inside = ((xy > 1) & (xy < np.array(self.size) - 2)).all(1)
        survivors = found & inside
        if self._lost_the_shot(xy, survivors):
            return self._collapse(index, gray, smooth, allowed)
        self.collapsed.clear()
        self.blurred = 0
        refined, affine, correlation, split = self.patches.refine(smooth, xy, survivors)
        good = survivors & (correlation >= options.min_correlation)
        good &= np.linalg.norm(refined - xy, axis=1) <= options.max_correction
        if good.sum() < 0.5 * survivors.sum():
            # most patches look different at once: the frame is blurred, not the tracks lost; flow is all there is
            good, refined, affine = survivors, xy, self.patches.affine
        if allowed is not None:
            column, row = np.clip(np.rint(xy), 0, np.array(self.size) - 1).astype(int).T
            unmasked = allowed[row, column] > 0
            survivors, good = survivors & unmasked, good & unmasked
        self.patches.affine[good] = affine[good]
        self.xy = np.where(good[:, None], refined, xy).astype(np.float32)
        self.missed = np.where(good, 0, self.missed + 1)
        self.recorder.add(index, self.ids[good], self._full_resolution(self.xy[good]), split[good])
        self._keep(survivors & (self.missed <= options.max_missed))
        return True

    def _lost_the_shot(self, xy: np.ndarray, survivors: np.ndarray) -> bool:
        """Nearly no track survives, or few do and they do not move together: then they survive by chance."""
        if len(self.ids) < 20 or survivors.mean() >= 0.3:
            return False
        if survivors.mean() < self.options.min_survivors or survivors.sum() < 20:
            return True
        H, together = cv2.findHomography(self.xy[survivors], xy[survivors], cv2.USAC_MAGSAC, 3.0)
        return H is None or together.mean() < 0.5

    def _flow(self, gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lucas-Kanade there and back; where half get lost, the lost once more, with a larger window (blur has little
        texture) and from where matched features say to look."""
        options, previous = self.options, self.previous
        assert previous is not None
        xy, good = lucas_kanade(previous, gray, self.xy, self.xy, options.flow)
        if good.mean() >= options.min_flow_found:
            return xy, good
        H = homography(Features.of(previous), Features.of(gray))
        guess, settings = (self.xy, options.blurred_flow) if H is None else (moved(self.xy, H), options.guided_flow)
        again, found = lucas_kanade(previous, gray, self.xy, guess, settings)
        return np.where(good[:, None], xy, again), good | found

    def _collapse(self, index: int, gray: np.ndarray, smooth: np.ndarray, allowed: np.ndarray | None) -> bool:
        """Nearly every track is lost: a flash, a blur or a black frame if it passes, a cut if it stays.

        A frame without detail is no other shot yet: it is waited through, for longer.
        """
        options = self.options
        assert self.previous is not None
        self.collapsed.append(index)
        self.blurred += bool(_detail(gray) < options.min_detail * _detail(self.previous))
        self.missed += 1
        textured = cv2.goodFeaturesToTrack(gray, 50, 0.01, 10) is not None and float(gray.std()) > 4
        if len(self.collapsed) - self.blurred <= options.max_missed and len(self.collapsed) <= options.max_blurred:
            return False
        numbers = self.video.shot.frame_numbers
        first = self.collapsed[0]
        if textured:
            last = max(first - 1, 0)
            raise InputError(
                f"{self.video.shot.name}: no track survives from frame {numbers[last]} to {numbers[first]}: a cut (or a"
                f" move too fast to follow); reconstruct the parts by themselves: --frames {numbers[0]}-{numbers[last]}"
                f" or --frames {numbers[first]}-{numbers[-1]}"
            )
        self._keep(np.zeros(len(self.ids), bool))
        return True

    def _detect(
        self, index: int, gray: np.ndarray, smooth: np.ndarray, allowed: np.ndarray | None, image: np.ndarray
    ) -> None:
        """Take up lost tracks and start new ones where cells run empty."""
        options, grid = self.options, self.grid
        if (grid.count(self.xy) < np.ceil(grid.quota / 2)).mean() < 0.1 and index > 0:
            return
        masked = np.zeros(gray.shape, bool) if allowed is None else allowed == 0
        if index > 0:
            self._find_lost(index, gray, smooth, masked)
        margin = options.patch_radius + 2
        free = ~(masked | discs(gray.shape, self.xy, int(options.min_distance)))
        free[:margin], free[-margin:], free[:, :margin], free[:, -margin:] = False, False, False, False
        corners = cv2.goodFeaturesToTrack(
            gray, 0, options.min_corner_quality, options.min_distance, mask=free.astype(np.uint8), blockSize=5
        )
        if corners is not None:
            self._start(index, grid.first(corners[:, 0], grid.quota - grid.count(self.xy)), smooth, image)

    def _find_lost(self, index: int, gray: np.ndarray, smooth: np.ndarray, masked: np.ndarray) -> None:
        """Take up tracks that ended and are seen again, but where another track is by now."""
        found = self.lost.find(gray, smooth)
        if not len(found.ids):
            return
        column, row = np.rint(found.xy).astype(int).T
        taken = masked | discs(gray.shape, self.xy, int(self.options.min_distance) // 2)
        found = found[~taken[row, column]]
        self.patches = self.patches.joined(found.patches)
        self.xy, self.ids = np.concatenate([self.xy, found.xy]), np.concatenate([self.ids, found.ids])
        self.missed = np.concatenate([self.missed, np.zeros(len(found.ids), int)])
        self.recorder.add(index, found.ids, self._full_resolution(found.xy), found.split)

    def _start(self, index: int, corners: np.ndarray, smooth: np.ndarray, image: np.ndarray) -> None:
        xy = np.rint(corners).astype(np.float32)
        patches = Patches.cut(smooth, xy, self.options.patch_radius)
        ids = self.count + np.arange(len(xy))
        self.count += len(xy)
        self.patches = self.patches.joined(patches)
        self.xy = np.concatenate([self.xy, xy])
        self.ids = np.concatenate([self.ids, ids])
        self.missed = np.concatenate([self.missed, np.zeros(len(xy), int)])
        full = self._full_resolution(xy)
        self.recorder.add(index, ids, full, np.zeros(len(ids)))
        column, row = np.minimum(full, np.array(image.shape[1::-1]) - 0.5).astype(int).T
        self.recorder.colors.append(image[row, column])
        self.recorder.whitening.append(patches.whitening)

    def _keep(self, keep: np.ndarray) -> None:
        self.lost.lose(self.ids[~keep], self.patches[~keep])
        order = self.patches.keep(keep)
        self.xy, self.ids, self.missed = self.xy[order], self.ids[order], self.missed[order]

    def _full_resolution(self, xy: np.ndarray) -> np.ndarray:
        """From pixel centres at working resolution to the plate's px, corner (0, 0)."""
        return (xy.astype(float) + 0.5) * self.ratio

    def finish(self) -> Tracks:
        """All tracks long enough, numbered by first appearance."""
        numbers = self.video.shot.frame_numbers
        if len(self.collapsed) > 1:
            logger.warning("the last %d frames share no tracks with the rest", len(self.collapsed))
        if not self.recorder.colors:
            raise NotEnoughTracksError(
                f"frames {numbers[0]}-{numbers[-1]} have no corner to track: black, out of focus, masked or textureless"
            )
        recorded = (self.recorder.frame, self.recorder.track, self.recorder.xy, self.recorder.split)
        frame, track, xy, split = (np.concatenate(values) for values in recorded)
        colors, whitening = (np.concatenate(values) for values in (self.recorder.colors, self.recorder.whitening))
        length = np.bincount(track, minlength=self.count)
        min_length = min(self.options.min_length, len(self.video))
        long_enough = length >= min_length
        if long_enough.sum() < 8:
            raise NotEnoughTracksError(
                f"only {long_enough.sum()} tracks in frames {numbers[0]}-{numbers[-1]} last {min_length}"
                " frames; at least 8 are needed: the shot is black, out of focus or has no texture"
            )
        split = np.bincount(track, split, self.count) / np.maximum(length, 1)
        # grain alone pulls halves apart a little: what is ordinary in this shot is no sign of an edge
        good = long_enough & (split <= max(self.options.max_split, 1.5 * float(np.median(split[long_enough]))))
        keep = good[track]
        renumber = np.cumsum(good) - 1
        return Tracks(
            frame[keep],
            renumber[track[keep]],
            xy[keep],
            len(self.video),
            int(good.sum()),
            colors[good],
            whitening[good],
        )
