"""What a depth model is."""

from collections.abc import Iterator
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from sfm.errors import InputError
from sfm.video import Video

# metric: depth along z in metres; depth: the same in an unknown unit; disparity: 1 / depth in an unknown unit;
# affine_disparity: 1 / depth with an unknown unit and an unknown offset
DepthKind = Literal["metric", "depth", "disparity", "affine_disparity"]
DEPTH_KINDS: tuple[DepthKind, ...] = get_args(DepthKind)


@runtime_checkable
class DepthModel(Protocol):
    """Anything that gives a map per frame: a class with these four members is one, no base class needed.

    A model may also have `field_of_view_deg`: the horizontal field of view it saw in the frames it was asked for, NaN
    where it cannot tell.
    """

    @property
    def kind(self) -> DepthKind:
        """What its maps hold."""
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

        Values that are NaN, infinite, zero or negative are unknown, but that affine disparity may be negative. What can
        be checked cheaply is checked when this is called, so that a wrong input is found before the frames are tracked;
        the maps come while iterating.
        """
        ...


def one_per_frame(model: DepthModel, video: Video) -> Iterator[np.ndarray | None]:
    """The model's maps; raises `InputError` where they are fewer or more than the frames."""
    count = 0
    for count, depth_map in enumerate(model.maps(video), start=1):
        if count > len(video):
            break
        yield depth_map
    if count != len(video):
        more = "more than " if count > len(video) else ""
        raise InputError(f"{model.name}: gave {more}{min(count, len(video))} depth maps for {len(video)} frames")


def field_of_view_deg(model: DepthModel) -> float:
    """Horizontal field of view the model saw in the frames, degrees; NaN where it says nothing."""
    return float(getattr(model, "field_of_view_deg", float("nan")))
