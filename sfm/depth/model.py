"""What a depth model is."""

from collections.abc import Iterator
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from sfm.video import Video

DepthKind = Literal["depth", "disparity"]


@runtime_checkable
class DepthModel(Protocol):
    """Anything that gives a map per frame: a class with these four members is one, no base class needed."""

    @property
    def kind(self) -> DepthKind:
        """Depth along the camera's z axis, or disparity, which is 1 / depth; both in any unit."""
        ...

    @property
    def sigma(self) -> float:
        """Relative standard deviation expected of the depth, to start from."""
        ...

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    def maps(self, video: Video) -> Iterator[np.ndarray | None]:
        """One float map (any height, any width) per frame of the video in order, None where there is none.

        Values that are NaN, infinite, zero or negative are unknown. What can be checked cheaply is checked when this is
        called, so that a wrong input is found before the frames are tracked; the maps come while iterating.
        """
        ...
