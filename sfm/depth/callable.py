"""A Python function as depth model: the shortest way from any network to `sfm`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sfm.depth.model import DepthKind
from sfm.errors import InputError
from sfm.video import Video


@dataclass(frozen=True, slots=True)
class CallableModel:
    """Depth from a function: frames (n, height, width, 3) uint8 RGB -> maps (n, any height, any width) float.

    kind, sigma: see `DepthModel`; batch_size: frames per call, bounds the memory; name: for messages; revision: which
    weights they were, kept with the maps, empty where nobody knows; settings: what else the maps depend on, for JSON;
    seen: what knows `field_of_view_deg` once the frames were seen.

    >>> flat = CallableModel(lambda frames: np.full((len(frames), 9, 16), 2.0))
    >>> video = Video.from_arrays([np.zeros((90, 160, 3), np.uint8)] * 3)
    >>> [depth.shape for depth in flat.maps(video)]
    [(9, 16), (9, 16), (9, 16)]
    """

    function: Callable[[np.ndarray], Any]
    kind: DepthKind = "depth"
    sigma: float = 0.3
    batch_size: int = 8
    name: str = "depth function"
    revision: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    seen: Any = None

    def __post_init__(self):
        if self.batch_size < 1:
            raise InputError(f"batch_size {self.batch_size}: expected 1 or more")

    @property
    def field_of_view_deg(self) -> float:
        """Horizontal field of view of the frames seen so far, NaN where nothing says."""
        return float(getattr(self.seen, "field_of_view_deg", float("nan")))

    def maps(self, video: Video) -> Iterator[np.ndarray | None]:
        """One map per frame, None for frames that cannot be decoded. `InputError` for a result of wrong shape."""
        batch: list[np.ndarray | None] = []
        for _, rgb in video:
            batch.append(rgb)
            if len(batch) == self.batch_size:
                yield from self._evaluate(batch)
                batch = []
        yield from self._evaluate(batch)

    def _evaluate(self, batch: list[np.ndarray | None]) -> Iterator[np.ndarray | None]:
        frames = [rgb for rgb in batch if rgb is not None]
        if not frames:
            return iter(batch)
        maps = np.asarray(self.function(np.stack(frames)))
        if maps.ndim != 3 or len(maps) != len(frames) or not maps.size or maps.dtype.kind not in "fiu":
            raise InputError(
                f"{self.name}: returned shape {maps.shape} of {maps.dtype} for {len(frames)} frames; expected "
                f"({len(frames)}, height, width) of numbers"
            )
        found = iter(maps)
        return (None if rgb is None else next(found) for rgb in batch)
