"""The report: a page that shows what was solved and how far to trust it, and its numbers as JSON.

`report.html` needs nothing but itself: pictures are inside, plots are SVG, no script and no network. It is laid out for
the screen, light or dark, and for paper.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sfm.depth.catalog import CATALOG
from sfm.errors import InputError
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.scene_frame import AS_SOLVED, World
from sfm.summary import in_words
from sfm.threads import in_threads
from sfm.verdict import VerdictOptions
from sfm.video import Shot
from sfm.view.figures import top_view
from sfm.view.overlay import VECTOR_GAIN, overlay_name, sliding
from sfm.view.plots import frame_plots, histogram_plot
from sfm.view.report_numbers import report_numbers, telling_frames, worst_frames

PAGE, NUMBERS = "report.html", "report.json"
PICTURE_WIDTH = 1280  # px
PICTURE_BYTES = 320_000  # at most; four overlays and a plan leave the page below 3 MB
NEEDED = ("verdict", "reasons", "camera", "per_frame", "points", "depth_prior", "versions")  # of solve.json
MAX_ROWS = 2000  # frames in the table of the page
DEFAULTS = {  # of the options of `sfm reconstruct` that say something when nothing is asked; a test holds them to it
    "pixel_aspect": 1.0, "readout_ms": 0.0, "depth": "auto", "step": 1, "handles": 0, "mask_polarity": "black",
    "mask_dilate": 0, "max_bridge": 12, "survey_up": "y", "motion": "auto",
}  # fmt: skip
CAPTIONS = {
    "error": "Reprojection error of every frame, RMS. Blue, the verdict's: what a track may slide along a straight edge"
    " counts as little as its picture knows of that.",
    "tracks": "Tracks used in every frame, and how many of these have their depth from the prior.",
    "coverage": "In how many of nine equal cells of the frame there are tracks that are used.",
    "focal": "Horizontal focal length, px of the plate.",
    "speed": "How far the camera moves from the frame before.",
    "turn": "How far the camera turns from the frame before, degrees.",
    "acceleration": "Change of speed from frame to frame; on the right, as the verdict takes it: how far a point of the"
    " middle depth is shifted off the path of its neighbours, px on an HD plate.",
}  # fmt: skip
CONSTANT = {
    "cells": "Every frame has used tracks in {} of its 9 cells.",
    "focal_px": "The focal length is {} px of the plate in every frame.",
}
COLUMNS = {
    "frame": "plate number", "rms_px": "in every direction px", "whitened_rms_px": "verdict's px",
    "rms_hd_px": "verdict's HD px", "max_px": "largest px", "tracks": "tracks", "held_by_prior": "by the prior",
    "cells": "cells", "focal_px": "focal px", "speed": "speed, {unit}", "turn_deg": "turn, degrees",
    "acceleration": "acceleration, {unit}",
    "jump_hd_px": "off the path, HD px",
}  # fmt: skip


def write_report(
    folder: str | Path,
    solve: dict[str, Any],
    reconstruction: Reconstruction | None,
    shot: Shot,
    *,
    missing: Sequence[str] = (),
    world: World = AS_SOLVED,
) -> list[str]:
    """Write `report.html` and `report.json` into the folder of a result; returns what could not be shown, in words.

    solve: what `solve.json` says; reconstruction: None where it is gone, then the page makes do with solve; missing:
    what else is to be told; world: of the reconstruction. Plates are shown as the overlays of the `telling_frames` in
    the folder have them. Raises `InputError` where the folder cannot be written, or solve does not tell enough.
    """
    folder, notes = Path(folder), list(missing)
    if reconstruction is None:
        notes.append("Without the reconstruction: no tracks on the plate, no set, no path of the camera.")
    if gone := [name for name in NEEDED if name not in solve]:
        raise InputError(f"{folder}: its solve.json does not tell {', '.join(gone)}; solve the shot again")
    numbers = report_numbers(solve, reconstruction, world)
    pictures = _overlays(folder, reconstruction, shot) if reconstruction is not None else {}
    numbers["overlays"] = _told_of(pictures, reconstruction, shot, numbers)
    page = _page(solve, reconstruction, shot, numbers, pictures=pictures, notes=notes, world=world)
    with replacing(folder / NUMBERS) as temporary:
        temporary.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with replacing(folder / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return notes


def _overlays(folder: Path, reconstruction: Reconstruction, shot: Shot) -> dict[int, str]:
    """Pictures of the telling frames, by index, as they are in the folder."""

    def picture(index: int) -> str:
        there = folder / overlay_name("residual", int(shot.frame_numbers[index]))
        drawn = cv2.imread(str(there)) if there.is_file() else None
        return "" if drawn is None else _jpeg(drawn[..., ::-1])

    frames = list(telling_frames(reconstruction))
    return dict(zip(frames, in_threads(picture, frames), strict=True))


def _told_of(
    pictures: dict[int, str], reconstruction: Reconstruction | None, shot: Shot, numbers: dict[str, Any]
) -> list[dict[str, Any]]:
    """What is told of the frames that are shown."""
    why = telling_frames(reconstruction) if reconstruction is not None else {}
    told = []
    for index in pictures:
        row = {name: numbers["frames"][name][index] for name in ("tracks", "rms_px", "whitened_rms_px", "rms_hd_px")}
        row |= {"frame": int(shot.frame_numbers[index]), "why": why[index]}
        row["plain_hd_px"] = row["rms_px"] * numbers["hd_px_per_px"]
        told.append(row | {"sliding": sliding(row["whitened_rms_px"], row["rms_px"])})
    return told


def _page(
    solve: dict[str, Any],
    reconstruction: Reconstruction | None,
    shot: Shot,
    numbers: dict[str, Any],
    *,
    pictures: dict[int, str],
    notes: list[str],
    world: World,
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    verdict = VerdictOptions()
    places = Environment(loader=PackageLoader("sfm.view"), autoescape=True, undefined=StrictUndefined)
    places.filters["number"] = _short
    worst = ", ".join(str(shot.frame_numbers[i]) for i in worst_frames(reconstruction)) if reconstruction else ""
    return places.get_template("report.html").render(
        solve=solve, shot=shot, notes=notes, words=_words(solve, shot, notes, world), gain=VECTOR_GAIN, worst=worst,
        errors=_errors(numbers),
        overlays=[told | {"picture": p} for told, p in zip(numbers["overlays"], pictures.values(), strict=True)],
        captions=CAPTIONS, plots=frame_plots(numbers, (verdict.pass_rms_px, verdict.max_frame_rms_px)),
        constant=_constant(numbers), plan=_plan(reconstruction, shot, world), scale=_scale(numbers, world),
        histograms=_histograms(numbers),
        prior=_prior(numbers), provenance=_provenance(solve),
        stages=json.dumps(solve.get("options", {}).get("stages") or {}, indent=1),
        columns=[label.format(unit=world.unit) for name, label in COLUMNS.items() if name in numbers["frames"]],
        rows=_rows(numbers), left_out=max(len(shot.frame_numbers) - MAX_ROWS, 0), version=solve["versions"]["sfm"],
    )  # fmt: skip


def _words(solve: dict[str, Any], shot: Shot, notes: list[str], world: World) -> dict[str, str]:
    first, last = shot.frame_numbers[0], shot.frame_numbers[-1]
    aspect = solve["camera"].get("pixel_aspect", 1.0)
    plate = f"{shot.width} x {shot.height} px" + (f", pixel aspect {aspect:.4g}" if abs(aspect - 1) > 1e-3 else "")
    words = {
        "plate": f"frames {first}-{last}, {len(shot.frame_numbers)} of them, {shot.fps:g} frames a second, {plate}"
    }
    turned = f"as sfm orient made it: {'; '.join(world.said)}" if world.upright else "as it was solved"
    unit = "metres" if world.unit == "m" else "a unit that is not known"
    try:
        return words | in_words(solve) | {"world": f"{turned}; lengths in {unit}"}
    except KeyError as error:
        notes.append(f"This result is of an older version, which told less (no {error.args[0]}).")
        return words


def _errors(numbers: dict[str, Any]) -> list[tuple[str, dict]]:
    labels = {
        "whitened_rms_px": "verdict's error, RMS",
        "rms_px": "error in every direction, RMS",
        "likely_slide_px": "likely slide of an inserted object",
    }
    return [(label, numbers["error"][name]) for name, label in labels.items()]


def _constant(numbers: dict[str, Any]) -> str:
    """In words what no plot is needed for, being the same in every frame."""
    told = []
    for name, words in CONSTANT.items():
        known = {value for value in numbers["frames"].get(name, []) if value is not None}
        if len(known) == 1:
            told.append(words.format(_short(known.pop())))
    return " ".join(told)


def _plan(reconstruction: Reconstruction | None, shot: Shot, world: World) -> str:
    if reconstruction is None or not reconstruction.has_camera.any():
        return ""
    return _jpeg(top_view(reconstruction, shot, world=world))


def _scale(numbers: dict[str, Any], world: World) -> str:
    scene = numbers.get("scene", {})
    if not scene.get("median_depth"):
        return ""
    length, depth = scene["path_length"], scene["median_depth"]
    return f"The path is {world.length(length)} long, the median depth {world.length(depth)}."


def _histograms(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    shown = []
    for name, label, factor, what, none in (
        (
            "parallax_deg",
            "parallax, degrees",
            1.0,
            "Largest angle between the rays to a point, in the end",
            "without any",
        ),
        ("depth_sigma", "standard deviation of depth, %", 100.0, "How well a point's depth is known", "not known"),
    ):
        histogram = numbers.get(name, {})
        if histogram.get("median") is not None:
            unit = "degrees" if factor == 1 else "%"
            median = f"median {_short(factor * histogram['median'])} {unit}"
            points = "1 point" if histogram["none"] == 1 else f"{histogram['none']:,} points"
            caption = f"{what}; {median}; {points} {none}. The end bars hold what lies beyond."
            shown.append((histogram_plot(histogram, label, factor), caption))
    return shown


def _prior(numbers: dict[str, Any]) -> dict[str, str]:
    prior = numbers["prior"]
    points = prior["points"] or 1
    shares = {name: f"{prior[name]:,} of {prior['points']:,} ({100 * prior[name] / points:.0f} %)" for name in (
        "triangulated", "held_by_prior")}  # fmt: skip
    words = {"depth from parallax": shares["triangulated"] + " points"}
    if not prior["given"]:
        return words | {
            "depth of no one": shares["held_by_prior"] + " points: no prior was given, and parallax is silent"
        }
    sigma, frame_sigma = prior["sigma"], [value for value in prior["frame_sigma"] or [] if value is not None]
    spread = f"; frame by frame {100 * min(frame_sigma):.0f} to {100 * max(frame_sigma):.0f} %" if frame_sigma else ""
    return words | {
        "depth from the prior": shares["held_by_prior"] + " points",
        "agreement with geometry": prior["agreement"] or "not known",
        "its error on this shot": "not known" if sigma is None else f"{100 * sigma:.0f} %{spread}",
        "weight": f"{_short(prior['weight'])} at a point, {_short(prior['camera_weight'])} while cameras were solved",
        "worth": f"about {_short(prior['measurements'])} independent measurements",
        "exponent": f"its depth was raised to the power {_short(prior['exponent'])}{_squeezed(prior['exponent'])}",
    }


def _squeezed(exponent: float | None) -> str:
    """What an exponent undoes, in words."""
    if exponent is None or abs(exponent - 1) < 0.05:
        return ""
    return ": it squeezes near and far together" if exponent > 1 else ": it pulls near and far apart"


def _short(value: float | None) -> str:
    """Three digits, and no 5.84e+03."""
    return "not known" if value is None else f"{float(f'{value:.3g}'):g}"


def _provenance(solve: dict[str, Any]) -> dict[str, str]:
    options = solve.get("options", {})
    told = ", ".join(f"{name} {value}" for name, value in options.items() if _was_asked(name, value))
    return {
        "depth model": _model(options.get("depth_model")),
        "asked for": told or "not known",
        "seed": str(solve.get("seed")),
        "last adjustment": str((solve.get("adjustment") or {}).get("status", "not known")),
        "versions": ", ".join(f"{name} {version}" for name, version in solve["versions"].items()),
    }


def _was_asked(name: str, value: Any) -> bool:
    """Whether an option is not as it is when nobody says anything."""
    told_elsewhere = name in ("stages", "depth_model", "seed")
    return not told_elsewhere and value not in (None, False, "", []) and value != DEFAULTS.get(name)


def _model(model: dict[str, str] | None) -> str:
    """Which one, what it gives, and the licence of its weights where that is known here."""
    if not model:
        return "none"
    known = next((k for name, k in CATALOG.items() if model["name"] in (name, k.hub_id)), None)
    licence = f"licence of the weights: {known.licence}" if known else "licence: that of whoever made it"
    revision = f", revision {model['revision']}" if model.get("revision") else ""
    return f"{model['name']}{revision}; gives {model['kind']}; {licence}"


def _rows(numbers: dict[str, Any]) -> list[list[str]]:
    columns = [numbers["frames"][name][:MAX_ROWS] for name in COLUMNS if name in numbers["frames"]]
    rows = zip(*columns, strict=True)
    return [["" if v is None else f"{v:.5g}" if isinstance(v, float) else str(v) for v in row] for row in rows]


def _jpeg(rgb: np.ndarray) -> str:
    """A picture as a data address, made coarser until it is small enough."""
    height, width = rgb.shape[:2]
    if width > PICTURE_WIDTH:
        size = PICTURE_WIDTH, round(height * PICTURE_WIDTH / width)
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    data = b""
    for quality in (88, 80, 70, 55, 40, 25):
        data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        if len(data) <= PICTURE_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(bytes(data)).decode("ascii")
