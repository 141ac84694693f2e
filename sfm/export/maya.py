"""A shot as a Maya ASCII scene: camera with a key a frame, and locators.

Not verified in Maya: built as Maya's own files are, and read back by a parser of ours alone. Centimetres, degrees,
film back in inches, rotation order zxy.
"""

from pathlib import Path

import numpy as np

from sfm.export.film_camera import MM_PER_INCH, FilmCamera, FilmOptions
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

_RATES: dict[float, str] = {24: "film", 25: "pal", 30: "ntsc", 48: "show", 50: "palf", 60: "ntscf"}
_RATES |= {rate: f"{rate:g}fps" for rate in (23.976, 29.97, 47.952, 59.94, 119.88)}
_ZXY, _OVERSCAN, _LINEAR = 2, 3, 2


def write_maya(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write the camera and a locator for each of the points that are known best, at most `MAX_LOCATORS`.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot, FilmOptions(options.sensor_mm, "cm"))
    best = film.best_tracks(reconstruction)
    width, height = film.aperture_mm / MM_PER_INCH
    offset = film.window_offset[0] * [width, height]
    near = min(_RATES, key=lambda rate: abs(rate - shot.fps))
    rate = _RATES[near] if abs(near - shot.fps) < 0.002 else f"{shot.fps:g}fps"
    first, last = int(shot.frame_numbers[0]), int(shot.frame_numbers[-1])
    lines = [
        "//Maya ASCII 2022 scene", *(f"//{line}" for line in film.comments()), 'requires maya "2022";',
        f"currentUnit -l centimeter -a degree -t {rate};",
        'createNode transform -n "shotcam";', f'\tsetAttr ".ro" {_ZXY};',
        'createNode camera -n "shotcamShape" -p "shotcam";', '\tsetAttr -k off ".v";',
        f'\tsetAttr ".cap" -type "double2" {width:.10g} {height:.10g};',
        f'\tsetAttr ".hfo" {offset[0]:.10g};', f'\tsetAttr ".vfo" {offset[1]:.10g};', f'\tsetAttr ".ff" {_OVERSCAN};',
        f'\tsetAttr ".fl" {film.focal_mm[0]:.10g};',
        '\tsetAttr ".ncp" 1;', '\tsetAttr ".fcp" 1000000;',
    ]  # fmt: skip
    channels = [
        ("TL", "translate", axis, values)
        for axis, values in zip("XYZ", film.world_from_cams.translation.T, strict=True)
    ]
    channels += [("TA", "rotate", axis, values) for axis, values in zip("XYZ", film.euler_zxy_deg.T, strict=True)]
    links = []
    for kind, name, axis, values in channels:
        lines += _curve(f"shotcam_{name}{axis}", kind, film.frame_numbers, values)
        links.append(f'connectAttr "shotcam_{name}{axis}.o" "shotcam.{name[0]}{axis.lower()}";')
    if np.ptp(film.focal_mm):
        lines += _curve("shotcam_focalLength", "TU", film.frame_numbers, film.focal_mm)
        links.append('connectAttr "shotcam_focalLength.o" "shotcamShape.fl";')
    for track, point in zip(film.tracks[best], film.points[best], strict=True):
        at = " ".join(f"{value:.10g}" for value in point)
        lines += [f'createNode transform -n "track_{track}";', f'\tsetAttr ".t" -type "double3" {at};',
                  f'createNode locator -n "track_{track}Shape" -p "track_{track}";']  # fmt: skip
    ends = [f"playbackOptions -min {first} -max {last} -ast {first} -aet {last};", f"// End of {shot.name}"]
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*lines, *links, *ends]) + "\n", encoding="utf-8")


def _curve(name: str, kind: str, frames: np.ndarray, values: np.ndarray) -> list[str]:
    keys = " ".join(f"{frame} {value:.10g}" for frame, value in zip(frames, values, strict=True))
    return [f'createNode animCurve{kind} -n "{name}";', f'\tsetAttr ".tan" {_LINEAR};', '\tsetAttr ".wgt" no;',
            f'\tsetAttr -s {len(frames)} ".ktv[0:{len(frames) - 1}]"  {keys};']  # fmt: skip
