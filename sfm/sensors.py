"""How wide the sensors of cameras are, by name.

From the Camera Sensor Database, <https://emberlightvfx.github.io/Camera-Sensor-Database/>, which collects what makers
publish; film gauges and still formats from <https://en.wikipedia.org/wiki/Image_sensor_format>; the iPhone from its
48 MP of 1.22 micrometres. A name without a mode means the whole width: a recording that crops it, as phones do to
steady a video, shows less of the sensor than this.
"""

import difflib
import re

from sfm.errors import UsageError

# mm, width and height of what the widest mode shows, or the mode that is named
SENSORS_MM: dict[str, tuple[float, float]] = {
    "ARRI Alexa": (23.76, 13.37),
    "ARRI Alexa 35": (28.0, 19.2),
    "ARRI Alexa 35 4K": (24.9, 14.0),
    "ARRI Alexa 35 3.8K": (23.3, 13.1),
    "ARRI Alexa 65": (54.12, 25.58),
    "ARRI Alexa LF": (36.7, 25.54),
    "ARRI Alexa LF UHD": (31.68, 17.82),
    "ARRI Alexa Mini": (28.25, 18.17),
    "ARRI Alexa Mini 3.2K": (26.4, 14.85),
    "ARRI Alexa Mini 2.8K": (23.76, 13.37),
    "ARRI Alexa Mini 2.8K 4:3": (23.76, 17.82),
    "ARRI Amira": (28.25, 18.17),
    "RED Dragon 6K": (30.7, 15.8),
    "RED Epic 5K": (27.65, 14.58),
    "RED Helium 8K": (29.9, 15.77),
    "RED Komodo": (27.03, 14.26),
    "RED Monstro 8K": (40.96, 21.6),
    "RED V-Raptor VV": (40.96, 21.6),
    "Panavision DXL2": (40.96, 21.6),
    "Sony Venice": (35.9, 24.0),
    "Sony Venice S35": (24.3, 12.8),
    "Sony Venice 2": (35.9, 24.0),
    "Sony Burano": (35.9, 20.2),
    "Sony F55": (24.0, 12.7),
    "Sony FX3": (35.6, 23.8),
    "Sony FX6": (35.6, 23.8),
    "Sony FX9": (35.7, 18.8),
    "Sony A7 III": (35.6, 23.8),
    "Sony A7S": (35.8, 20.1),
    "Canon C300": (24.6, 13.8),
    "Canon C500": (26.21, 13.82),
    "Canon 5D": (36.0, 20.25),
    "Canon 7D": (22.3, 12.5),
    "Blackmagic Cinema Camera 6K": (36.0, 24.0),
    "Blackmagic Pocket 4K": (18.96, 10.0),
    "Blackmagic Pocket 6K": (23.1, 12.99),
    "Blackmagic URSA Mini Pro 4.6K": (25.34, 14.25),
    "Panasonic GH5": (17.3, 13.0),
    "Panasonic VariCam LT": (23.6, 13.3),
    "Fujifilm X-H2S": (23.5, 15.6),
    "DJI Mavic": (6.17, 3.47),
    "DJI Phantom 4 Pro": (12.8, 7.2),
    "DJI Zenmuse X7": (23.5, 12.5),
    "DJI Zenmuse X9-8K": (36.0, 19.0),
    "GoPro HERO7": (6.17, 4.63),
    "iPhone 15 Pro": (9.8, 7.3),
    "Full frame": (36.0, 24.0),
    "Micro Four Thirds": (17.3, 13.0),
    "Super 35 film": (24.89, 18.66),
    "Super 16 film": (12.52, 7.41),
    "Super 8 film": (5.79, 4.01),
}


def sensor_mm(name: str) -> tuple[float, float]:
    """Width and height in mm of a sensor of `SENSORS_MM`, in any case and however its words are set apart.

    Raises `UsageError` that tells the names nearest to one that is not there.

    >>> sensor_mm("arri-alexa mini")
    (28.25, 18.17)
    """
    by_key = {_key(known): known for known in SENSORS_MM}
    if _key(name) not in by_key:
        nearest = difflib.get_close_matches(_key(name), by_key, n=5, cutoff=0.0)
        raise UsageError(
            f"--sensor {name}: not known; the nearest are {', '.join(by_key[key] for key in nearest)}; "
            "for any other give --sensor-mm"
        )
    return SENSORS_MM[by_key[_key(name)]]


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())
