"""From what a plate's numbers stand for to the 8-bit picture that is tracked, the same way over the whole shot.

What is made for a display is tracked as it is. Linear and log plates go to scene-linear light and then through

    p(x) = 0.9 log(1 + 4 x / middle) / log(1 + 4 white / middle),  above 0.9: 0.9 + 0.1 t / (1 + t), t = 10 p - 9

with the median and the 99.9th percentile of the shot: near sRGB for a plate of ordinary contrast, and where lamps are
100 times as bright as the set both keep their contrast. Nothing clips. Of a colour space only the curve of its greys
counts, the same in each channel: tracking needs no gamut.
"""

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio

from sfm.errors import InputError, UsageError
from sfm.images import Header

AS_IS = "raw"
AS_THEY_ARE = {AS_IS: "raw", "srgb": "sRGB", "rec709": "rec709", "bt709": "rec709", "gamma22": "gamma2.2"}
LINEAR = {"linear", "lin", "scenelinear"}
# words of the set for spaces of the configuration below; which gamut goes with a curve does not matter here
CAMERA_LOGS = {
    "arri": "ARRI LogC3 (EI800)", "logc": "ARRI LogC3 (EI800)", "logc3": "ARRI LogC3 (EI800)", "logc4": "ARRI LogC4",
    "slog3": "S-Log3 S-Gamut3.Cine", "vlog": "V-Log V-Gamut", "log3g10": "Log3G10 REDWideGamutRGB",
    "canonlog2": "CanonLog2 CinemaGamut D55", "canonlog3": "CanonLog3 CinemaGamut D55", "dlog": "D-Log D-Gamut",
    "bmdfilm": "BMDFilm WideGamut Gen5", "davinci": "DaVinci Intermediate WideGamut", "adx": "ADX10",
}  # fmt: skip
STUDIO = "ocio://studio-config-latest"  # of ACES, within OpenColorIO
CINEON_BLACK, CINEON_WHITE, CINEON_STEP, FILM_GAMMA = 95, 685, 0.002, 0.6  # Kodak's: 10-bit codes, density a code
LOG_DPX = ("Printing density", "Logarithmic")
LARGEST = 65504.0  # half float's
MAX_RANGE = 2.0**14  # white over middle: no sensor sees more, and a shot half black is not to spend the picture on it
SAMPLES = 200_000  # numbers of a frame, to measure on


@dataclass(frozen=True, slots=True)
class Tone:
    """How plates become pictures. colorspace: of the plate; why it is that; config: of OCIO that has it, empty where
    none is needed; middle, white: median and 99.9th percentile of the shot's scene-linear light, 0 of plates that are
    tracked as they are."""

    colorspace: str = AS_IS
    why: str = ""
    config: str = ""
    middle: float = 0.0
    white: float = 0.0

    @property
    def as_is(self) -> bool:
        """Made for a display: no curve."""
        return _word(self.colorspace) in AS_THEY_ARE

    def picture(self, plate: np.ndarray) -> np.ndarray:
        """The plate, of any type that `read_plate` gives, as uint8."""
        if plate.dtype == np.uint8 and self.as_is:
            return plate
        plate = _half(plate)
        return _table(self, plate.dtype.str)[plate.view(np.uint16) if plate.dtype == np.float16 else plate]

    def measured(self, plates: Iterable[np.ndarray]) -> "Tone":
        """With what these plates of the shot show."""
        if self.as_is:
            return self
        light = np.concatenate([self._light(plate) for plate in plates] or [np.zeros(0)])
        lit = light[light > 0]
        if not len(lit):
            return replace(self, middle=0.18, white=1.0)
        middle, white = float(np.median(lit)), float(np.quantile(light, 0.999))
        return replace(self, middle=max(middle, white / MAX_RANGE), white=max(white, middle))

    def told(self) -> str:
        """In words, for the log."""
        if self.as_is:
            return f"{self.colorspace} ({self.why}): tracked as it is"
        span = f"median {self.middle:.3g}, white at {self.white:.3g}"
        return f"{self.colorspace} ({self.why}): tracked through one curve for the shot, {span}"

    def _light(self, plate: np.ndarray) -> np.ndarray:
        values = _half(plate).reshape(-1)
        values = values[:: max(len(values) // SAMPLES, 1)]
        codes = values.view(np.uint16) if values.dtype == np.float16 else values
        light = _linear(self.colorspace, self.config, values.dtype.str)[codes]
        return light[np.isfinite(light)]


def find_tone(asked: str | None, config: str | None, suffix: str, header: Header) -> Tone:
    """What plates of a kind of file stand for: what is asked for, else what the format and its header say.

    asked: raw, sRGB, rec709: as it is; linear; a camera's log curve by a word of `CAMERA_LOGS`, cineon; or a name of
    the OCIO configuration `config`, else of $OCIO, else of ACES studio's. Raises `InputError` where a configuration
    cannot be read or nobody knows the name.
    """
    told = config or os.environ.get("OCIO", "")
    if config:
        _checked(config)
    if asked is not None:
        return _named(asked, told)
    if suffix == ".exr" or (header.floating and suffix != ".dpx"):
        return Tone("linear", "so is every EXR" if suffix == ".exr" else "numbers are floats")
    if suffix == ".cin" or header.transfer in LOG_DPX:
        return Tone("cineon", f"its header says {header.transfer}" if header.transfer else "so is every Cineon file")
    if header.transfer == "Linear":
        return Tone("linear", "its header says so")
    said = f"its header says {header.transfer}" if header.transfer else "nothing else was said"
    return Tone(AS_IS, said)


def _named(asked: str, config: str) -> Tone:
    word = _word(asked)
    if word in AS_THEY_ARE:
        return Tone(AS_THEY_ARE[word], "asked for")
    if word in LINEAR:
        return Tone("linear", "asked for")
    if config and _checked(config).getColorSpaceIndex(asked) >= 0:
        return Tone(_checked(config).resolve(asked), "asked for", config)
    if word == "cineon":
        return Tone("cineon", "asked for")
    studio = _checked(STUDIO)
    name = CAMERA_LOGS.get(word, asked)
    if studio.getColorSpaceIndex(name) >= 0:
        return Tone(studio.resolve(name), "asked for", STUDIO)
    known = [*AS_THEY_ARE.values(), "linear", "cineon", *CAMERA_LOGS]
    for spaces in (studio, _checked(config)) if config else (studio,):
        known += [name for space in spaces.getColorSpaceNames() for name in (space, *spaces.getAliases(space))]
    by_word = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(asked.casefold(), by_word, 4, 0.5)
    near = [by_word[word] for word in close] or ["linear", "ACEScg", "logc3", "slog3", "cineon", "sRGB"]
    raise UsageError(
        f"--colorspace {asked}: nobody knows it{config and f', nor does {config}'}; near it: {', '.join(near)}"
    )


def _word(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


@cache
def _checked(config: str) -> oiio.ColorConfig:
    found = oiio.ColorConfig(config)
    wrong = found.geterror() or ("" if config.startswith("ocio://") or Path(config).is_file() else "no such file")
    if wrong:
        raise InputError(f"{config}: no OCIO configuration that can be read ({' '.join(wrong.split())})")
    return found


def _half(plate: np.ndarray) -> np.ndarray:
    """Floats as half floats, which have an exact table; integers as they are."""
    if plate.dtype.kind != "f" or plate.dtype == np.float16:
        return plate
    with np.errstate(over="ignore"):
        return plate.astype(np.float16)


def _codes(dtype: str) -> np.ndarray:
    """Every number of a type, float32, in the order of its bits; integers as 0 .. 1."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    return np.linspace(0, 1, np.iinfo(kind).max + 1, dtype=np.float32)


@cache
def _table(tone: Tone, dtype: str) -> np.ndarray:
    """Picture of every number of a type, uint8. NaN is black."""
    if tone.as_is:
        shown = _codes(dtype)
        if dtype == np.dtype(np.uint16).str:
            return (np.arange(65536) >> 8).astype(np.uint8)
    else:
        light = np.clip(np.nan_to_num(_linear(tone.colorspace, tone.config, dtype), nan=0.0), 0, LARGEST)
        shown = 0.9 * np.log1p(4 * light / tone.middle) / np.log1p(4 * tone.white / tone.middle)
        over = 10 * np.maximum(shown, 0.9) - 9
        shown = np.where(shown > 0.9, 0.9 + 0.1 * over / (1 + over), shown)
    return np.rint(255 * np.clip(np.nan_to_num(shown, nan=0.0), 0, 1)).astype(np.uint8)


@cache
def _linear(colorspace: str, config: str, dtype: str) -> np.ndarray:
    """Scene-linear light of every number of a type, as a grey."""
    codes = _codes(dtype)
    if colorspace == "linear":
        return codes
    if not config:
        return _cineon(codes)
    known = np.nan_to_num(codes, nan=0.0, posinf=LARGEST, neginf=-LARGEST)
    ramp = oiio.ImageBuf(np.repeat(known.reshape(256, -1, 1), 3, axis=2))
    to = _checked(config).getColorSpaceNameByRole("scene_linear")
    found: Any = oiio.ImageBufAlgo.colorconvert(ramp, colorspace, to or "", unpremult=False, colorconfig=config)
    if not to or found.has_error:
        raise InputError(f"{config}: does not take {colorspace} to scene_linear ({found.geterror() or 'no such role'})")
    light = found.get_pixels("float")[..., 1].reshape(-1)
    return np.where(np.isnan(codes), np.nan, light)


def _cineon(codes: np.ndarray) -> np.ndarray:
    """Kodak's density code as light, 0 at film's black, 1 at its white ("Conversion of 10-bit log film data", 1995)."""
    with np.errstate(over="ignore", invalid="ignore"):
        light = 10 ** ((1023 * codes.astype(float) - CINEON_WHITE) * CINEON_STEP / FILM_GAMMA)
    black = 10 ** ((CINEON_BLACK - CINEON_WHITE) * CINEON_STEP / FILM_GAMMA)
    return (light - black) / (1 - black)
