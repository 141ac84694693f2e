"""Tracks that ended, found again: after a blur, behind somebody who walked by, when the camera comes back.

Pictures of the shot are kept as it goes. Where new tracks are about to be started, matched features say where the kept
pictures lie in the present one; flow and the affine match with the first appearance then decide, as for any track.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from sfm.flow import Features, FlowOptions, homography, lucas_kanade, moved
from sfm.patches import Patches


@dataclass(frozen=True, slots=True)
class LostTracksOptions:
    """What is remembered, and when it is looked for."""

    max_pictures: int = 12
    max_tracks: int = 4000  # lost ones, the latest; about 13 kB each
    new_picture: float = 0.6  # a picture is kept when fewer than this part of the last one's tracks are alive
    min_lost: int = 20  # tracks of a picture that are worth looking for
    tries: int = 2  # pictures looked for at a time
    # stricter than for a track that is followed: what is looked for over a gap may be its like, or a reflection
    min_correlation: float = 0.9
    max_correction: float = 1.0  # px, of what flow finds


@dataclass(slots=True, eq=False)
class _Picture:
    """A picture (height, width) uint8 and the tracks seen in it; its features are found when first asked for."""

    gray: np.ndarray
    ids: np.ndarray
    xy: np.ndarray
    features: Features | None = None

    def described(self) -> Features:
        if self.features is None:
            self.features = Features.of(self.gray)
        return self.features


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Tracks found again: their ids, positions (n, 2) px, patches, and splits (n,) as `Patches.refine` gives them."""

    ids: np.ndarray
    xy: np.ndarray
    patches: Patches
    split: np.ndarray

    @classmethod
    def nothing(cls, radius: int) -> "Found":
        """No track."""
        return cls(np.zeros(0, int), np.zeros((0, 2), np.float32), Patches.empty(radius), np.zeros(0))

    def joined(self, other: "Found") -> "Found":
        """These and then the other's."""
        ids, xy, split = (np.concatenate([getattr(self, n), getattr(other, n)]) for n in ("ids", "xy", "split"))
        return Found(ids, xy, self.patches.joined(other.patches), split)

    def __getitem__(self, keep: np.ndarray) -> "Found":
        return Found(self.ids[keep], self.xy[keep], self.patches[keep], self.split[keep])


class LostTracks:
    """The memory of a tracker: pictures, and the patches of tracks that ended, by track id."""

    def __init__(self, radius: int, options: LostTracksOptions, flow: FlowOptions):
        self.radius, self.options, self.flow = radius, options, flow
        self._pictures: deque[_Picture] = deque(maxlen=options.max_pictures)
        self._ids, self._patches = np.zeros(0, int), Patches.empty(radius)
        self._late: list[tuple[np.ndarray, Patches]] = []  # joined to the others when they are looked for

    def see(self, gray: np.ndarray, ids: np.ndarray, xy: np.ndarray) -> None:
        """Keep this picture if the last one kept has lost many of its tracks."""
        last = self._pictures[-1] if self._pictures else None
        if len(ids) and (last is None or np.isin(last.ids, ids).mean() < self.options.new_picture):
            self._pictures.append(_Picture(gray, ids.copy(), xy.copy()))

    def lose(self, ids: np.ndarray, patches: Patches) -> None:
        """Remember tracks that ended."""
        if len(ids):
            self._late.append((ids, patches))

    def find(self, gray: np.ndarray, smooth: np.ndarray) -> Found:
        """Lost tracks that are seen in a picture; they are no longer lost. smooth: as patches are matched with it."""
        self._remember()
        features: Features | None = None
        found = Found.nothing(self.radius)
        for picture in self._worth_a_try():
            features = features or Features.of(gray)
            H = homography(picture.described(), features)
            if H is None:
                continue
            candidates, good = self._match(picture, H, gray, smooth)
            found = found.joined(candidates[good])
            keep = ~np.isin(self._ids, candidates.ids[good])
            self._ids, self._patches = self._ids[keep], self._patches[keep]
        return found

    def _remember(self) -> None:
        latest = slice(-self.options.max_tracks, None)
        self._ids = np.concatenate([self._ids, *(ids for ids, _ in self._late)])[latest]
        self._patches = self._patches.joined(*(patches for _, patches in self._late))[latest]
        self._late.clear()

    def _worth_a_try(self) -> list[_Picture]:
        """Pictures that hold most of the lost tracks, the richest first."""
        lost = [int(np.isin(picture.ids, self._ids).sum()) for picture in self._pictures]
        order = np.argsort(lost)[::-1][: self.options.tries]
        return [self._pictures[k] for k in order if lost[k] >= self.options.min_lost]

    def _match(
        self, picture: _Picture, H: np.ndarray, gray: np.ndarray, smooth: np.ndarray
    ) -> tuple[Found, np.ndarray]:
        """Lost tracks of a kept picture looked for in the present one, and which of them are there."""
        _, there, lost = np.intersect1d(picture.ids, self._ids, return_indices=True)
        guess = moved(picture.xy[there], H)
        inside = self._inside(guess, gray)
        there, lost, guess = there[inside], lost[inside], guess[inside]
        if not len(lost):
            return Found.nothing(self.radius), np.zeros(0, bool)
        xy, good = lucas_kanade(picture.gray, gray, picture.xy[there], guess, self.flow)
        patches = self._patches[lost]
        refined, patches.affine, correlation, split = patches.refine(smooth, xy, good)
        good &= correlation >= self.options.min_correlation
        good &= np.linalg.norm(refined - xy, axis=1) <= self.options.max_correction
        return Found(self._ids[lost], refined, patches, split), good & self._inside(refined, gray)

    def _inside(self, xy: np.ndarray, gray: np.ndarray) -> np.ndarray:
        """Whose patch lies in the picture, (n,) bool."""
        return np.all((xy > self.radius) & (xy < np.array(gray.shape[::-1]) - self.radius - 1), axis=1)
