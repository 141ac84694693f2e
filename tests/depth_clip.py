"""A clip of three small frames, and what tests of depth models ask of the maps and errors it leads to."""

import numpy as np

from sfm.video import Video

WIDTH, HEIGHT = 160, 90


def maps_of(model, video: Video) -> np.ndarray:
    return np.stack(list(model.maps(video)))


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)
