"""A solve in words, out of what `solve.json` says: for the end of a run and for the report."""

from typing import Any

from sfm.footage import frame_ranges

COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")  # of distortion, as OpenCV orders them


def in_words(solve: dict[str, Any]) -> dict[str, str]:
    """What is known of a solve, by what it is about. Raises `KeyError` for one of before some number was told."""
    return {
        "frames": _frames(solve),
        "error": _error(solve),
        "slide": _slide(solve),
        "motion": _motion(solve),
        "lens": _lens(solve),
        **({"shutter": shutter} if (shutter := _shutter(solve)) else {}),
        **({"plates": _plates(solve)} if solve.get("shot", {}).get("tone") else {}),
        **({"masks": _masks(solve)} if solve.get("masks") else {}),
        "depth prior": _prior(solve),
        "points": _points(solve),
        **({"survey": _survey(solve["survey"])} if solve.get("survey") else {}),
    }


def _frames(solve: dict[str, Any]) -> str:
    text = f"{solve['registered']} of {solve['frames']} have a camera"
    numbers = [frame["frame"] for frame in solve["per_frame"]]
    for key, what in (
        ("bridged_frames", "interpolated for"),
        ("unregistered_frames", "none for"),
        ("unreadable_frames", "unreadable"),
        ("missing_frames", "missing on disk"),
    ):
        if solve[key]:
            text += f"; {what} {frame_ranges(solve[key], None if key == 'missing_frames' else numbers)}"
    return text


def _error(solve: dict[str, Any]) -> str:
    whitened, plain = solve["whitened_rms_px"], solve["rms_px"]
    to_hd = 1920 / solve["camera"]["width"]
    along = f"; in every direction, sliding along edges too, {plain:.3f} px, {plain * to_hd:.2f} px (HD)"
    return f"verdict's {whitened:.3f} px RMS, {whitened * to_hd:.2f} px (HD){'' if whitened == plain else along}"


def _slide(solve: dict[str, Any]) -> str:
    slide = solve["likely_slide_px"]
    if slide is None:
        return "of an object put into the shot: not known"
    hd = slide * 1920 / solve["camera"]["width"]
    return f"an object put into the shot is likely to slide by up to {max(hd, 0.01):.2f} px on an HD plate"


def _motion(solve: dict[str, Any]) -> str:
    meaning = {
        "static": "static: the camera does not move",
        "nodal": "nodal: the camera only turns",
        "small_parallax": "small parallax",
        "large_parallax": "large parallax",
    }
    text = meaning[solve["motion"]] + (", with a zoom" if solve["zoom"] else "")
    angle = solve["parallax_deg"]
    return text if angle is None else f"{text}; the median track turned by {angle:.2f} degrees when that was decided"


def _lens(solve: dict[str, Any]) -> str:
    focal = [frame["focal_px"] for frame in solve["per_frame"]]
    length = f"{focal[0]:.6g} px" if min(focal) == max(focal) else f"{min(focal):.1f} to {max(focal):.1f} px"
    if not solve["camera"]["focal_given"]:
        still = solve["motion"] == "static"
        given = "assumed: a camera that stands still cannot tell" if still else "estimated from the tracks, not given"
    elif solve["zoom"]:
        given = "zooming around the one given"
    else:
        given = (
            "refined from the one given" if (solve["options"].get("stages") or {}).get("refine_focal") else "as given"
        )
    bent = solve["camera"]["distortion"]
    named = [f"{name} {k:.3g}" for name, k in zip(COEFFICIENTS, bent, strict=False) if k]
    distortion = f"; distortion {', '.join(named)}" if named else ""
    fov = solve["camera"]["horizontal_fov_deg"]
    told = f"focal length {length}, {fov:.1f} degrees across, {given}{_focal_sigma(solve)}"
    return f"{told}{distortion}{_principal_point(solve)}"


def _shutter(solve: dict[str, Any]) -> str:
    """What a rolling shutter would do that nobody told; of a camera that is not known and may move."""
    readout = solve["camera"]["readout"]
    if readout:
        return f"rolling, read out in {readout:.2g} of a frame"
    untold = solve["camera"]["lens"].get("untold_readout")
    if untold:
        ms = 1000 * untold / solve["shot"]["fps"]
        return f"looks like a rolling one, read out in about {untold:g} of a frame ({ms:.0f} ms): tell it, --readout-ms"
    if solve["camera"]["focal_given"] or solve["motion"] == "static":
        return ""
    return "taken for a global one; a rolling one, as phones have, bends focal length and path: tell it, --readout-ms"


def _focal_sigma(solve: dict[str, Any]) -> str:
    """How well the tracks know a focal length they were asked for."""
    lens = solve["camera"]["lens"]
    if not lens["refined"] or lens["focal_sigma"] is None or solve["motion"] == "static":
        return ""
    if not lens["focal_known"]:
        return ": a guess, which the tracks cannot better"
    return f", known to {100 * lens['focal_sigma']:.1f} %"


def _principal_point(solve: dict[str, Any]) -> str:
    lens, place = solve["camera"]["lens"], solve["camera"]["principal_point_px"]
    if not lens["principal_sigma_px"]:
        return ""
    if not lens["principal_known"]:
        return "; the tracks cannot tell the principal point, which stays where it was"
    sigma = max(lens["principal_sigma_px"])
    return f"; principal point {place[0]:.1f}, {place[1]:.1f} px, known to {sigma:.1f} px"


def _prior(solve: dict[str, Any]) -> str:
    prior, sigma = solve["depth_prior"], solve["depth_sigma"]
    if not prior["given"]:
        return "none: the scale is arbitrary and distances rest on parallax alone"
    model = solve["options"].get("depth_model")
    name = f"{model['name']}: " if model else ""
    if prior["agreement"] == "contradicts" and not prior["weight"]:
        return f"{name}contradicts the geometry, and was left out of the solve"
    if not prior["weight"]:
        return f"{name}started the solve, then was left out of it (weight 0)"
    wrong = "error unknown" if sigma is None else f"off by {100 * sigma:.0f} %"
    if sigma is not None and prior["agreement"] == "unchecked":
        wrong = f"said to be off by {100 * sigma:.0f} %, which no parallax checks"
    worth = f"counted as about {prior['measurements']:.0f} measurements (weight {prior['weight']:.3g} a point)"
    return f"{name}{wrong}, {worth}"


def _points(solve: dict[str, Any]) -> str:
    points = solve["points"]
    held = "held by the depth prior" if solve["depth_prior"]["given"] else "of unknown depth"
    return f"{points['total']:,}: {points['triangulated']:,} triangulated, {points['held_by_prior']:,} {held}"


def _plates(solve: dict[str, Any]) -> str:
    tone = solve["shot"]["tone"]
    return f"taken for {tone['colorspace']} ({tone['why']})"


def _masks(solve: dict[str, Any]) -> str:
    masks = solve["masks"]
    return (
        f"{masks['frames']} of {solve['frames']} frames have one; {100 * masks['part']:.1f} % of these is not tracked"
    )


def _survey(survey: dict[str, Any]) -> str:
    told = []
    for what in ("points", "distances"):
        sigmas = [one["sigmas"] for one in survey[what] if one["sigmas"] is not None]
        if sigmas:
            rms = (sum(off**2 for off in sigmas) / len(sigmas)) ** 0.5
            named = what if len(sigmas) > 1 else what[:-1]
            told.append(f"{len(sigmas)} {named} off by {rms:.2g} of their sigmas (RMS), the worst by {max(sigmas):.2g}")
    return "; ".join(told) or "none of it is on a track with a point"
