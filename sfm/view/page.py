"""A result as one page that anybody can walk about in: points, path, frusta, timeline, through the shot's camera.

WebGL written out in `templates/viewer.html`, the data and small plates inside it: it needs nothing beside it and no
network. viser's own static export has no controls and cannot look through a camera that moves.
"""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sfm.errors import InputError
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot, Video
from sfm.view.explorer import FOV_DEG, ViewOptions
from sfm.view.inspection import BEHIND, CLASSES, HERE_SIZE, PICK_RADIUS_PX, SAME_PLACE_PX, THROUGH_MARGIN, Inspection
from sfm.view.layout import viewpoint
from sfm.view.palette import BACKGROUND, COLOR_MODES, COLOR_WORDS, FRUSTUM, PATH
from sfm.view.plates import Plates, encode_jpeg

WIDTHS, QUALITY = (960, 640, 480, 320, 200), 72  # px, and of the JPEGs
PLATES_BYTES = 12_000_000  # at most, where the smallest width allows
ASPECT = 16 / 9  # of the window, for the overview


def write_page(
    reconstruction: Reconstruction,
    shot: Shot,
    path: str | Path,
    options: ViewOptions = ViewOptions(),
    video: Video | None = None,
) -> None:
    """Write an HTML file that shows what `sfm.view.show` does. video: the plates, where they are at hand.

    Raises `InputError` where `path` is no HTML or unwritable, or there is no camera to look from.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: the page is HTML; give it a name that ends in .html")
    from jinja2 import Environment, PackageLoader, StrictUndefined

    inspection = Inspection(reconstruction, shot, options.frustum_every)
    plates = Plates(video, reconstruction.camera, WIDTHS[0])
    plates.wait()
    data = _data(inspection, options) | {"plates": _small_enough(plates)}
    places = Environment(loader=PackageLoader("sfm.view"), autoescape=True, undefined=StrictUndefined)
    told = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = places.get_template("viewer.html").render(shot=shot, data=told)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _data(inspection: Inspection, options: ViewOptions) -> dict[str, Any]:
    """What the page draws; lengths in parts of the median depth, in the levelled world, `unit` takes them back."""
    layout, shot = inspection.layout, inspection.shot
    return {
        "name": shot.name, "fps": shot.fps, "numbers": shot.frame_numbers.tolist(), "unit": layout.depth,
        "size": [inspection.reconstruction.camera.width, inspection.reconstruction.camera.height],
        "words": {mode: COLOR_WORDS[mode] for mode in COLOR_MODES},
        "start": [options.frame, options.through], "pointSize": options.point_size,
        "colorBy": options.color_by, "layers": {n: getattr(options, n) for n in ("points", "path", "frusta")},
        "pick": [PICK_RADIUS_PX, SAME_PLACE_PX], "margin": THROUGH_MARGIN, "behind": BEHIND, "hereSize": HERE_SIZE,
        "background": (BACKGROUND / 255).tolist(), "frustum": (FRUSTUM / 255).tolist(), "path": (PATH / 255).tolist(),
        "overview": _overview(inspection), "cameras": _cameras(inspection), "points": _points(inspection),
        "ways": _ways(inspection), "steps": _floats(_there(inspection, layout.path)),
        "frusta": layout.frusta_frames.tolist(), "frustumSize": layout.frustum_size / layout.depth,
    }  # fmt: skip


def _there(inspection: Inspection, points: np.ndarray) -> np.ndarray:
    return inspection.layout.level.apply(points) / inspection.layout.depth


def _overview(inspection: Inspection) -> dict[str, Any]:
    eye = viewpoint(inspection.reconstruction, inspection.layout, ASPECT, FOV_DEG)
    return {"rotation": _turned(inspection, eye.rotation).tolist(), "fovDeg": FOV_DEG,
            "center": _there(inspection, eye.centers_in_world).tolist()}  # fmt: skip


def _turned(inspection: Inspection, rotation: np.ndarray) -> np.ndarray:
    return rotation @ inspection.layout.level.rotation.T


def _cameras(inspection: Inspection) -> list[dict[str, Any]]:
    """Of every frame the camera one stands in, and what is said of it."""
    scene, frames = inspection.reconstruction, np.arange(len(inspection.shot.frame_numbers))
    cameras = []
    for frame in frames.tolist():
        at = inspection.camera_frame(frame)
        cam, lens = scene.cams_from_world[at], scene.camera.at(at)
        cameras.append({
            "rotation": _turned(inspection, cam.rotation).tolist(), "told": inspection.told_frame(frame), "frame": at,
            "center": _there(inspection, cam.centers_in_world).tolist(), "focal": lens.focal_length.tolist(),
            "principal": lens.principal_point.tolist(),
            "depth": inspection.backdrop_depth(at) / inspection.layout.depth,
        })  # fmt: skip
    return cameras


def _points(inspection: Inspection) -> dict[str, Any]:
    """Points and what is known of them, in the order of their tracks."""
    scene, tracks = inspection.reconstruction, np.flatnonzero(inspection.layout.shown)
    first, last, length, used = inspection.sightings
    return {
        "xyz": _floats(_there(inspection, scene.points[tracks])),
        "colors": {mode: _pack(inspection.colors(mode)[tracks]) for mode in COLOR_MODES},
        "track": _pack(tracks.astype("<u4")), "support": _pack(scene.support[tracks].astype(np.uint8)),
        "classes": [[int(support), CLASSES[support], count] for support, count in inspection.classes().items()],
        "first": _pack(first[tracks].astype("<u2")), "last": _pack(last[tracks].astype("<u2")),
        "length": _pack(length[tracks].astype("<u2")), "used": _pack(used[tracks].astype("<u2")),
        "rms": _floats(inspection.rms_px[tracks]), "sigma": _floats(scene.point_sigma[tracks]),
    }  # fmt: skip


def _ways(inspection: Inspection) -> dict[str, str]:
    """Ways of the tracks over the plate without distortion: where each begins, and x, y, half a plate around it in."""
    tracks, camera = inspection.ideal_tracks, inspection.reconstruction.camera
    shown = inspection.layout.shown[tracks.track]
    count = np.bincount(tracks.track[shown], minlength=tracks.num_tracks)[inspection.layout.shown]
    part = tracks.xy[shown] / [camera.width, camera.height]
    return {
        "begin": _pack(np.concatenate([[0], np.cumsum(count)]).astype("<u4")),
        "xy": _pack(np.clip(np.round((part + 0.5) * 32767.5), 0, 65535).astype("<u2")),
    }


def _small_enough(plates: Plates) -> dict[str, str]:
    """Plates by frame index as data addresses, as wide as lets the page stay within reason."""
    found: dict[str, str] = {}
    for width in WIDTHS:
        size = min(width, plates.width), max(1, round(min(width, plates.width) * plates.height / plates.width))
        jpegs = {
            frame: encode_jpeg(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), QUALITY)
            for frame in plates
            if (rgb := plates[frame]) is not None
        }
        found = {str(k): "data:image/jpeg;base64," + base64.b64encode(v).decode("ascii") for k, v in jpegs.items()}
        if sum(map(len, found.values())) <= PLATES_BYTES:
            break
    return found


def _floats(values: np.ndarray) -> str:
    return _pack(np.asarray(values).astype("<f4"))


def _pack(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
