"""A shot as FBX 7.4, ASCII: the camera with a key a frame and locators, for Unreal, 3ds Max, Unity and Blender 5.

Not verified in Unreal or 3ds Max. The file counts in centimetres, the film back in inches, time in ticks of frame 0; an
FBX camera looks along its own +x. Blender's importer shifts by a frame unless its "Offset" is 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from sfm.export.film_camera import MM_PER_INCH, FilmCamera, FilmOptions
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

TICKS = 46186158000  # a second
_ALONG_X = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # a camera's axes, of one that looks along -z
_CUSTOM_RATE = 14
_AXES = {"UpAxis": 1, "UpAxisSign": 1, "FrontAxis": 2, "FrontAxisSign": 1, "CoordAxis": 0, "CoordAxisSign": 1}
# y last: in the usual order a camera that looks along the world's -z is at the pole, where x and z are one
_XZY = ('P: "RotationOrder", "enum", "", "",1', 'P: "RotationActive", "bool", "", "",1')
_MODES = {"ApertureMode": 3, "GateFit": 2, "AspectRatioMode": 2}  # by focal length, as wide as the film back, in px
_ROOT = 0


def write_fbx(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write the camera and a locator for each of the points that are known best, at most `MAX_LOCATORS`.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot, replace(options, unit="cm"))
    x, z, y = Rotation.from_matrix(film.world_from_cams.rotation @ _ALONG_X).as_euler("xzy").T
    turns = np.degrees(np.unwrap(np.column_stack([x, y, z]), axis=0))
    places = film.world_from_cams.translation
    document = _Document()
    camera = document.add("Model", "camera", "Camera", [*_XZY, *_placed(places[0], turns[0])], "Version: 232")
    lens = document.add("NodeAttribute", "camera", "Camera", _lens(film), 'TypeFlags: "Camera"', "GeometryVersion: 124")
    document.link(camera, _ROOT)
    document.link(lens, camera)
    _animate(document, film, {
        "Lcl Translation": (camera, "XYZ", places), "Lcl Rotation": (camera, "XYZ", turns),
        "FocalLength": (lens, ("FocalLength",), film.focal_mm[:, None]),
    })  # fmt: skip
    best = film.best_tracks(reconstruction)
    for track, point in zip(film.tracks[best], film.points[best], strict=True):
        null = document.add("Model", f"track_{track}", "Null", _placed(point, np.zeros(3)), "Version: 232")
        document.link(null, _ROOT)
    comments = "".join(f"; {line}\n" for line in film.comments())
    with replacing(path) as temporary:
        temporary.write_text(
            f"; FBX 7.4.0 project file\n; by sfm\n{comments}\n{_header(film)}{document.text()}", encoding="utf-8"
        )


@dataclass(slots=True)
class _Document:
    """Objects, numbered as they are added, and what links them."""

    objects: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str, subclass: str, properties: Iterable[str], *lines: str) -> int:
        """Add an object with properties, after other lines; its number."""
        return self._numbered(kind, name, subclass, [*lines, _properties(properties)])

    def add_curve(self, ticks: np.ndarray, values: np.ndarray) -> int:
        """Add keys (n,) of a value, linear from one to the next; the number of the curve."""
        arrays = {
            "KeyTime": ticks.tolist(), "KeyValueFloat": [f"{v:.12g}" for v in values], "KeyAttrFlags": [4],
            "KeyAttrDataFloat": [0, 0, 0, 0], "KeyAttrRefCount": [len(ticks)],
        }  # fmt: skip
        lines = [f"{name}: *{len(cells)} {{\n\ta: {','.join(map(str, cells))}\n}}" for name, cells in arrays.items()]
        return self._numbered("AnimationCurve", "", "", ["Default: 0", "KeyVer: 4009", *lines])

    def link(self, child: int, parent: int, channel: str | None = None) -> None:
        """Hang an object below another, or with a channel drive that property of it."""
        self.links.append(f'C: "OO",{child},{parent}' if channel is None else f'C: "OP",{child},{parent}, "{channel}"')

    def text(self) -> str:
        """Both, as the file has them."""
        return _block("Objects", self.objects) + _block("Connections", self.links)

    def _numbered(self, kind: str, name: str, subclass: str, lines: list[str]) -> int:
        number = 1000 + len(self.objects)
        head = f'{kind}: {number}, "{kind.replace("Animation", "Anim")}::{name}", "{subclass}"'
        self.objects.append(_block(head, lines).replace(":  {", " {", 1).rstrip("\n"))
        return number


def _lens(film: FilmCamera) -> list[str]:
    """Properties of the camera's lens and film back, in mm and inches."""
    width, height = film.aperture_mm / MM_PER_INCH
    offset = film.window_offset[0] * [width, height]
    numbers = {
        "FilmWidth": width, "FilmHeight": height, "FilmAspectRatio": width / height, "FocalLength": film.focal_mm[0],
        "FilmOffsetX": offset[0], "FilmOffsetY": offset[1], "NearPlane": 1.0, "FarPlane": 1e6,
        "AspectWidth": film.shot.width, "AspectHeight": film.shot.height, "PixelAspectRatio": film.pixel_aspect,
    }  # fmt: skip
    modes = [f'P: "{name}", "enum", "", "",{value}' for name, value in _MODES.items()]
    return [*(_number(name, value) for name, value in numbers.items()), *modes]


def _animate(document: _Document, film: FilmCamera, channels: dict[str, tuple]) -> None:
    """A curve for every part of every channel: by name its owner, the parts' names, and values (n, parts)."""
    ticks = np.rint(film.frame_numbers * TICKS / film.shot.fps).astype(np.int64)
    start, stop = _span(film.shot)
    stack = document.add("AnimationStack", "shot", "", [_time("LocalStart", start), _time("LocalStop", stop)])
    layer = document.add("AnimationLayer", "layer", "", [])
    document.link(layer, stack)
    for channel, (owner, parts, values) in channels.items():
        first = [_number(f"d|{part}", value) for part, value in zip(parts, values[0], strict=True)]
        node = document.add("AnimationCurveNode", channel.removeprefix("Lcl "), "", first)
        document.link(node, layer)
        document.link(node, owner, channel)
        for part, column in zip(parts, values.T, strict=True):
            document.link(document.add_curve(ticks, column), node, f"d|{part}")


def _header(film: FilmCamera) -> str:
    start, stop = _span(film.shot)
    settings = [
        *(f'P: "{name}", "int", "Integer", "",{value}' for name, value in _AXES.items()),
        _number("UnitScaleFactor", 1.0), _number("OriginalUnitScaleFactor", 1.0),
        f'P: "TimeMode", "enum", "", "",{_CUSTOM_RATE}', _number("CustomFrameRate", film.shot.fps),
        _time("TimeSpanStart", start), _time("TimeSpanStop", stop),
    ]  # fmt: skip
    version = ["FBXHeaderVersion: 1003", "FBXVersion: 7400", 'Creator: "sfm"']
    return _block("FBXHeaderExtension", version) + _block("GlobalSettings", ["Version: 1000", _properties(settings)])


def _span(shot: Shot) -> tuple[int, int]:
    """First and last frame, ticks."""
    first, last = (round(float(end) * TICKS / shot.fps) for end in shot.frame_numbers[[0, -1]])
    return first, last


def _block(name: str, lines: Iterable[str]) -> str:
    return f"{name}:  {{\n" + "".join(f"\t{line}\n" for block in lines for line in block.splitlines()) + "}\n"


def _properties(lines: Iterable[str]) -> str:
    return _block("Properties70", lines).rstrip("\n")


def _number(name: str, value: float) -> str:
    return f'P: "{name}", "Number", "", "A",{value:.12g}'


def _time(name: str, ticks: int) -> str:
    return f'P: "{name}", "KTime", "Time", "",{ticks}'


def _placed(place: np.ndarray, turn: np.ndarray) -> list[str]:
    vectors = (("Lcl Translation", place), ("Lcl Rotation", turn))
    return [f'P: "{name}", "{name}", "", "A",' + ",".join(f"{v:.12g}" for v in vector) for name, vector in vectors]
