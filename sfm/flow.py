"""Where points of one picture are in another: pyramidal Lucas-Kanade there and back, and a guess from matched features.

Bouguet 2000 (as OpenCV has it); SIFT features (Lowe 2004) tell where to look where the move is too large for flow.
"""

from dataclasses import dataclass

import cv2
import numpy as np

MAX_FEATURES = 1000
MAX_WIDTH = 540  # px of a picture in which features are looked for
_MIN_MATCHES = 12


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """Lengths in px of the working resolution."""

    window: int = 15
    levels: int = 4
    max_forward_backward_error: float = 1.0


def lucas_kanade(
    before: np.ndarray, after: np.ndarray, xy: np.ndarray, guess: np.ndarray, options: FlowOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Points xy (n, 2) of one grey picture found in another near `guess` (n, 2), and which come back.

    Pixel centres at integers, as OpenCV has them.
    """
    settings = {"winSize": (options.window, options.window), "maxLevel": options.levels,
                "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.03),
                "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}  # fmt: skip
    start, guess = (v.reshape(-1, 1, 2).astype(np.float32) for v in (xy, guess))
    found, there, _ = cv2.calcOpticalFlowPyrLK(before, after, start, guess.copy(), **settings)
    back, here, _ = cv2.calcOpticalFlowPyrLK(after, before, found, found - (guess - start), **settings)
    error = np.linalg.norm(back - start, axis=2)[:, 0]
    good = (there[:, 0] > 0) & (here[:, 0] > 0) & (error <= options.max_forward_backward_error)
    return found[:, 0], np.asarray(good)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """SIFT features of a picture: positions (n, 2) px and descriptors (n, 128)."""

    xy: np.ndarray
    words: np.ndarray
    size: tuple[int, int]  # width, height

    @classmethod
    def of(cls, gray: np.ndarray) -> "Features":
        """The strongest features of a grey picture; a large one is looked at smaller, for a guess needs no detail."""
        shrink = max(1.0, gray.shape[1] / MAX_WIDTH)
        small = (
            cv2.resize(gray, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA) if shrink > 1 else gray
        )
        keys, words = cv2.SIFT_create(MAX_FEATURES).detectAndCompute(small, None)
        words = np.zeros((0, 128), np.float32) if words is None else words
        xy = np.array([key.pt for key in keys], np.float32).reshape(-1, 2)
        return cls((xy + 0.5) * np.float32(shrink) - 0.5, words, gray.shape[::-1])


def homography(before: Features, after: Features) -> np.ndarray | None:
    """The homography (3, 3) that most matched features agree on; None where too few match, or it folds the picture."""
    if len(before.xy) < 2 or len(after.xy) < 2:
        return None
    pairs = [p for p in cv2.BFMatcher().knnMatch(before.words, after.words, k=2) if len(p) == 2]
    matches = [first for first, second in pairs if first.distance < 0.8 * second.distance]
    if len(matches) < _MIN_MATCHES:
        return None
    source, target = before.xy[[m.queryIdx for m in matches]], after.xy[[m.trainIdx for m in matches]]
    H, inliers = cv2.findHomography(source, target, cv2.USAC_MAGSAC, 3.0)
    if H is None or inliers.sum() < _MIN_MATCHES:
        return None
    width, height = before.size
    corners = np.array([[[0, 0]], [[width, 0]], [[width, height]], [[0, height]]], np.float32)
    size = cv2.contourArea(cv2.perspectiveTransform(corners, H)) / (width * height)
    return H if 0.3 < size < 3 else None  # a homography of wrong matches folds the picture up


def moved(xy: np.ndarray, H: np.ndarray) -> np.ndarray:
    """Points (n, 2) under a homography."""
    return cv2.perspectiveTransform(xy.reshape(-1, 1, 2).astype(np.float32), H)[:, 0]
