"""What the arguments of the command line mean: which lens, which options, whose tracks. All of it is checked here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sfm.depth import DepthKind, DepthModel, load
from sfm.depth.cache import cached
from sfm.depth.catalog import CATALOG, known
from sfm.errors import UsageError
from sfm.geometry.camera import Camera
from sfm.initialize import InitializeOptions
from sfm.pipeline import Options
from sfm.prior_weight import PriorWeightOptions
from sfm.scene import DepthPriors
from sfm.track_files import align_tracks, read_tracks
from sfm.tracking import TrackingOptions
from sfm.video import Shot, Video

OWN_DEPTH_SIGMA = 0.3  # relative, expected of the depth in a file of tracks; estimated anew over the shot
MIN_FOV_DEG, MAX_FOV_DEG = 0.5, 170.0  # horizontal; outside is a typing error, not a lens


def check_lens(camera: str | None, focal_px: float | None, focal_mm: float | None, sensor_mm: float | None) -> None:
    """Raise `UsageError` unless the lens is given in one way at most, by positive numbers."""
    ways = {"--camera": camera, "--focal-px": focal_px, "--focal-mm": focal_mm}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give the lens in one way")
    if (focal_mm is None) != (sensor_mm is None):
        raise UsageError("--focal-mm and --sensor-mm: one needs the other")
    for name, value in (("--focal-px", focal_px), ("--focal-mm", focal_mm), ("--sensor-mm", sensor_mm)):
        if value is not None and not 0 < value < 1e6:
            raise UsageError(f"{name} {value:g}: expected a positive number")
    if camera is not None:
        _numbers(camera)


def lens(
    shot: Shot, camera: str | None, focal_px: float | None, focal_mm: float | None, sensor_mm: float | None
) -> Camera | None:
    """The camera the options describe, None without any. Raises `UsageError` where it does not fit the plate."""
    width, height = shot.width, shot.height
    if camera is not None:
        fx, fy, cx, cy = _numbers(camera)
        if not (0 < cx < width and 0 < cy < height):
            raise UsageError(f"--camera {camera}: its centre is outside the plate of {width} x {height} px")
        found = Camera(np.array([fx, fy]), np.array([cx, cy]), np.zeros(0), width, height)
    elif focal_mm is not None and sensor_mm is not None:
        found = Camera.from_focal_px(focal_mm / sensor_mm * width, width, height)
    elif focal_px is not None:
        found = Camera.from_focal_px(focal_px, width, height)
    else:
        return None
    fov = float(found.horizontal_fov_deg)
    if not MIN_FOV_DEG < fov < MAX_FOV_DEG:
        raise UsageError(
            f"a focal length of {found.focal_length[0]:.4g} px sees {fov:.3g} degrees across this plate of {width} px; "
            f"expected {MIN_FOV_DEG:g} to {MAX_FOV_DEG:g}"
        )
    return found


def _numbers(camera: str) -> list[float]:
    try:
        fx, fy, cx, cy = (float(number) for number in camera.split(","))
    except ValueError as error:
        raise UsageError(f"--camera {camera}: expected four numbers FX,FY,CX,CY") from error
    if not (0 < fx < 1e6 and 0 < fy < 1e6 and np.isfinite([cx, cy]).all()):
        raise UsageError(f"--camera {camera}: expected positive focal lengths and a centre, in px")
    return [fx, fy, cx, cy]


def check_readout(milliseconds: float) -> None:
    """Raise `UsageError` unless it may be the read-out time of a sensor."""
    if not 0 <= milliseconds < 1e6:
        raise UsageError(f"--readout-ms {milliseconds:g}: expected 0 or a positive number")


def readout(milliseconds: float, fps: float, step: int) -> float:
    """The read-out time in frames of the shot, every `step`-th of the clip's. Raises `UsageError` beyond one frame."""
    frames = milliseconds * fps / 1000
    if frames > 1:
        raise UsageError(f"--readout-ms {milliseconds:g}: longer than a frame, which takes {1000 / fps:.4g} ms")
    return frames / step


def options(
    depth_weight: float | None, refine_focal: bool, max_tracks: int | None, seed: int, max_bridge: int = 12
) -> Options:
    """Options of every stage."""
    if depth_weight is not None and not 0 <= depth_weight < 1e9:
        raise UsageError(f"--depth-weight {depth_weight:g}: expected 0 or a positive number")
    return Options(
        tracking=TrackingOptions() if max_tracks is None else TrackingOptions(max_tracks=max_tracks),
        initialize=InitializeOptions(seed=seed),
        prior_weight=PriorWeightOptions(weight=depth_weight),
        refine_focal=refine_focal,
        max_bridge=max_bridge,
    )


def own_tracks(path: Path, shot: Shot) -> dict[str, Any]:
    """`tracks` on the frames of the shot, and `depth` where the file has any, as `pipeline.reconstruct` takes them."""
    tracks, frame_numbers, depth = read_tracks(path)
    tracks, keep = align_tracks(tracks, frame_numbers, shot.frame_numbers)
    if depth is None or not np.isfinite(depth[keep]).any():
        return {"tracks": tracks}
    sigma = np.where(np.isfinite(depth[keep]), OWN_DEPTH_SIGMA, np.nan)
    return {"tracks": tracks, "depth": DepthPriors(depth[keep], sigma)}


def depth_model(
    spec: str,
    kind: DepthKind | None,
    video: Video | None,
    flip_check: bool = False,
    kept: Callable[[int, int], None] | None = None,
) -> DepthModel | None:
    """The model that `--depth` or `--model` means, None for "none". Maps beside the clip count where video is given.

    kept: told of frames done and in all while the maps of a network are computed and kept for the next run; None keeps
    none.
    """
    model = load(spec, kind, video.shot if video is not None else None, flip_check)
    return model if model is None or video is None or kept is None else cached(model, video, progress=kept)


def identified(model: DepthModel | None) -> dict[str, str] | None:
    """What tells afterwards which model "auto" was, for `solve.json`."""
    if model is None:
        return None
    return {"name": model.name, "kind": model.kind, "revision": str(getattr(model, "revision", ""))}


def depth_words(words: list[str], output: Path | None) -> tuple[str | None, str]:
    """The clip that `sfm depth` is given, or None and the name of the network to download."""
    if words[0] == "download" and (len(words) > 1 or not Path("download").exists()):
        if len(words) != 2:
            raise UsageError(f"sfm depth download: expected one name of {', '.join(CATALOG)}")
        return None, words[1]
    if len(words) > 1:
        raise UsageError(f"{words[1]}: expected one clip; a pattern of frames needs quotes")
    if output is None:
        raise UsageError("--output: where should the maps go?")
    return words[0], ""


def download(name: str, folder: Path | None) -> Path:
    """Fetch a network of the catalogue; without a folder to where it is found by its name."""
    from sfm.depth import hugging_face

    return hugging_face.download(name, known(name), folder or hugging_face.models_folder() / name)


def with_depth_asked_for(given: dict[str, Any], depth: str, of_a_model: bool) -> dict[str, Any]:
    """Own tracks that hold depth, when --depth is given too: `none` leaves it out, anything else is one too many.

    of_a_model: an option of depth models was given.
    """
    if of_a_model:
        raise UsageError("--depth-kind and --flip-check: for depth models; the tracks hold depth already")
    if depth == "auto":
        return given
    if depth.lower() != "none":
        raise UsageError(f"--depth {depth}: the tracks hold depth already; give --depth none, or tracks without depth")
    return {name: value for name, value in given.items() if name != "depth"}
