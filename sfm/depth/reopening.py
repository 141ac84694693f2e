"""The depth maps that a shot was solved with, found again: in their folder, in the cache, or computed anew."""

from collections.abc import Callable, Mapping
from typing import Any

from sfm.depth.cache import cached
from sfm.depth.loading import load
from sfm.depth.maps import MapFolder
from sfm.depth.model import DepthKind, DepthModel
from sfm.errors import InputError, MissingDependencyError
from sfm.video import Video


def reopened_depth(
    options: Mapping[str, Any], video: Video, progress: Callable[[int, int], None] | None = None
) -> DepthModel:
    """The depth model of a solve. options: what `solve.json` says was asked for; progress: as for `write_maps`.

    Raises `InputError` where the solve had none, or it is gone or another: give the maps themselves then.
    """
    spec, told = options.get("depth"), options.get("depth_model")
    if not spec or not told:
        raise InputError("the shot was solved without depth maps; give some with --depth")
    try:
        model = opened_depth(str(spec), options.get("depth_kind"), video, progress, bool(options.get("flip_check")))
    except (InputError, MissingDependencyError) as error:
        raise InputError(f"the depth maps of the solve are not to be had ({error}); give them with --depth") from error
    if getattr(model, "revision", "") != told.get("revision", ""):
        raise InputError(f"{spec}: not the network any more that the shot was solved with; give maps with --depth")
    return model


def opened_depth(
    spec: str,
    kind: DepthKind | None,
    video: Video,
    progress: Callable[[int, int], None] | None = None,
    flip_check: bool = False,
) -> DepthModel:
    """The depth model that a word means, a network's maps kept for the next time; maps in a folder are looked for now.

    Raises `InputError` where there is none.
    """
    model = load(spec, kind, video.shot, flip_check)
    if model is None:
        raise InputError(f"depth {spec}: names no depth maps")
    if isinstance(model, MapFolder):
        model.maps(video)  # complains of a folder without maps of this shot
        return model
    return cached(model, video, progress=progress)
