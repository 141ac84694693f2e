"""Maps of a network kept between runs: the same clip, frames, network and settings are computed once."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfm.depth.maps import MapFolder
from sfm.depth.model import DepthKind, DepthModel, field_of_view_deg
from sfm.depth.writing import write_maps
from sfm.errors import UsageError
from sfm.video import Video

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A depth model whose maps are in a folder once they were asked for; progress as for `write_maps`."""

    model: DepthModel
    folder: Path
    progress: Callable[[int, int], None] | None = None

    @property
    def kind(self) -> DepthKind:
        """Of the model."""
        return self.model.kind

    @property
    def sigma(self) -> float:
        """Of the model."""
        return self.model.sigma

    @property
    def name(self) -> str:
        """Of the model."""
        return self.model.name

    @property
    def revision(self) -> str:
        """Of the model."""
        return getattr(self.model, "revision", "")

    @property
    def field_of_view_deg(self) -> float:
        """What the model saw, now or when the maps were made."""
        return field_of_view_deg(MapFolder(self.folder) if self.folder.is_dir() else self.model)

    def maps(self, video: Video) -> Iterator[np.ndarray | None]:
        """The maps, computed when the first of them is asked for unless they are there."""
        yield from self._computed(video).maps(video)

    def _computed(self, video: Video) -> MapFolder:
        try:
            return write_maps(self.model, video, self.folder, progress=self.progress)
        except UsageError as error:  # nobody but this class writes here: what is not as it left it is damaged
            logger.info(f"{error}: computed again")
            shutil.rmtree(self.folder)
            return write_maps(self.model, video, self.folder, progress=self.progress)


def cached(
    model: DepthModel,
    video: Video,
    folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DepthModel:
    """The model with its maps of a clip kept in a folder, by default in `cache_folder()`.

    Told apart are the content of the clip (of each file its size, first and last 64 KiB), the plate numbers, and the
    model's name, revision, kind and settings. A map that cannot be read, or of a frame that changed, is computed again.
    The model itself comes back where nothing tells its weights from others (a function, a folder of maps), or where
    the folder cannot be written.
    """
    revision = getattr(model, "revision", "")
    if not revision:
        return model
    identity = [model.name, revision, model.kind, getattr(model, "settings", {})]
    clip = [video.shot.name, video.shot.frame_numbers.tolist(), video.fingerprints()]
    key = hashlib.sha256(json.dumps([identity, clip]).encode()).hexdigest()[:32]
    place = Path(folder or cache_folder()) / key
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning(f"{place}: cannot be written ({error.strerror}); depth maps are not kept, SFM_CACHE moves them")
        return model
    return CachedModel(model, place, progress)


def cache_folder() -> Path:
    """Where maps are kept: `SFM_CACHE/depth`, else the user's cache. It may be deleted at any time."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("SFM_CACHE") or user_cache_path("sfm")) / "depth"
