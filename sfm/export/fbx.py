"""A shot as FBX 7.4, ASCII: the camera with a key a frame and locators, for Unreal, 3ds Max, Unity and Blender 5.

Not verified in Unreal or 3ds Max. The file counts in centimetres, the film back in inches, time in ticks of frame 0; an
FBX camera looks along its own +x. Blender's importer shifts by a frame unless its "Offset" is 0.
"""

import itertools
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
# y last: in the usual order a camera that looks along the world's -z is at the pole, where x and z are one
_XZY = ('P: "RotationOrder", "enum", "", "",1', 'P: "RotationActive", "bool", "", "",1')
_MODES = {"ApertureMode": 3, "GateFit": 2, "AspectRatioMode": 2}  # by focal length, as wide as the film back, in px


def write_fbx(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write the camera and a locator for each of the points that are known best, at most `MAX_LOCATORS`.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot, FilmOptions(options.sensor_mm, "cm"))
    x, z, y = Rotation.from_matrix(film.world_from_cams.rotation @ _ALONG_X).as_euler("xzy").T
    turn = np.degrees(np.unwrap(np.column_stack([x, y, z]), axis=0))
    place = film.world_from_cams.translation
    best = film.best_tracks(reconstruction)
    ticks = np.rint(film.frame_numbers * TICKS / shot.fps).astype(np.int64)
    span = [round(float(end) * TICKS / shot.fps) for end in shot.frame_numbers[[0, -1]]]
    ids = itertools.count(1000)
    camera, lens, stack, layer = (next(ids) for _ in range(4))
    width, height = film.aperture_mm / MM_PER_INCH
    offset = film.window_offset[0] * [width, height]
    static = {
        "FilmWidth": width, "FilmHeight": height, "FilmAspectRatio": width / height, "FocalLength": film.focal_mm[0],
        "FilmOffsetX": offset[0], "FilmOffsetY": offset[1], "NearPlane": 1.0, "FarPlane": 1e6,
    }  # fmt: skip
    whole = {"AspectWidth": shot.width, "AspectHeight": shot.height, "PixelAspectRatio": film.pixel_aspect}
    objects = [
        _object("NodeAttribute", lens, "camera", "Camera", [
            *(_number(name, value) for name, value in (static | whole).items()),
            *(f'P: "{name}", "enum", "", "",{value}' for name, value in _MODES.items()),
        ], 'TypeFlags: "Camera"', "GeometryVersion: 124"),
        _object("Model", camera, "camera", "Camera", [*_XZY, *_placed(place[0], turn[0])], "Version: 232"),
        _object("AnimationStack", stack, "shot", "", [
            f'P: "LocalStart", "KTime", "Time", "",{span[0]}', f'P: "LocalStop", "KTime", "Time", "",{span[1]}'
        ]),
        _object("AnimationLayer", layer, "layer", "", []),
    ]  # fmt: skip
    links = [f'"OO",{camera},0', f'"OO",{lens},{camera}', f'"OO",{layer},{stack}']
    animated = [("Lcl Translation", camera, "T", place), ("Lcl Rotation", camera, "R", turn)]
    animated += [("FocalLength", lens, "FocalLength", film.focal_mm[:, None])]
    for channel, owner, name, values in animated:
        node, parts = next(ids), ("FocalLength",) if values.shape[1] == 1 else "XYZ"
        defaults = [_number(f"d|{part}", value) for part, value in zip(parts, values[0], strict=True)]
        objects.append(_object("AnimationCurveNode", node, name, "", defaults))
        links += [f'"OO",{node},{layer}', f'"OP",{node},{owner}, "{channel}"']
        for part, column in zip(parts, values.T, strict=True):
            curve = next(ids)
            objects.append(_curve(curve, ticks, column))
            links.append(f'"OP",{curve},{node}, "d|{part}"')
    for track, point in zip(film.tracks[best], film.points[best], strict=True):
        null = next(ids)
        objects.append(_object("Model", null, f"track_{track}", "Null", _placed(point, np.zeros(3)), "Version: 232"))
        links.append(f'"OO",{null},0')
    comments = "".join(f"; {line}\n" for line in film.comments())
    text = f"; FBX 7.4.0 project file\n; by sfm\n{comments}\n" + _header(shot, span) + _block("Objects", objects)
    text += _block("Connections", [f"C: {link}" for link in links])
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _header(shot: Shot, span: list[int]) -> str:
    settings = [
        f'P: "{name}", "int", "Integer", "",{value}'
        for name, value in (("UpAxis", 1), ("UpAxisSign", 1), ("FrontAxis", 2), ("FrontAxisSign", 1), ("CoordAxis", 0),
                            ("CoordAxisSign", 1))
    ]  # fmt: skip
    settings += [_number("UnitScaleFactor", 1.0), _number("OriginalUnitScaleFactor", 1.0)]
    settings += [f'P: "TimeMode", "enum", "", "",{_CUSTOM_RATE}', _number("CustomFrameRate", shot.fps)]
    settings += [
        f'P: "TimeSpanStart", "KTime", "Time", "",{span[0]}',
        f'P: "TimeSpanStop", "KTime", "Time", "",{span[1]}',
    ]
    version = ["FBXHeaderVersion: 1003", "FBXVersion: 7400", 'Creator: "sfm"']
    return _block("FBXHeaderExtension", version) + _block("GlobalSettings", ["Version: 1000", _properties(settings)])


def _block(name: str, lines: list[str]) -> str:
    return f"{name}:  {{\n" + "".join(f"\t{line}\n" for block in lines for line in block.splitlines()) + "}\n"


def _properties(lines: list[str]) -> str:
    return _block("Properties70", lines).rstrip("\n")


def _object(kind: str, number: int, name: str, subclass: str, properties: list[str], *lines: str) -> str:
    prefix = {"AnimationStack": "AnimStack", "AnimationLayer": "AnimLayer", "AnimationCurveNode": "AnimCurveNode"}
    head = f'{kind}: {number}, "{prefix.get(kind, kind)}::{name}", "{subclass}"'
    body = [*lines, _properties(properties)]
    return _block(head, body).replace(":  {", " {", 1).rstrip("\n")


def _number(name: str, value: float) -> str:
    return f'P: "{name}", "Number", "", "A",{value:.12g}'


def _placed(place: np.ndarray, turn: np.ndarray) -> list[str]:
    vectors = (("Lcl Translation", place), ("Lcl Rotation", turn))
    return [f'P: "{name}", "{name}", "", "A",' + ",".join(f"{v:.12g}" for v in vector) for name, vector in vectors]


def _curve(number: int, ticks: np.ndarray, values: np.ndarray) -> str:
    """Linear from key to key."""
    count = len(ticks)
    lines = ["Default: 0", "KeyVer: 4009"]
    arrays = {
        "KeyTime": ticks.tolist(), "KeyValueFloat": [f"{v:.12g}" for v in values], "KeyAttrFlags": [4],
        "KeyAttrDataFloat": [0, 0, 0, 0], "KeyAttrRefCount": [count],
    }  # fmt: skip
    for name, cells in arrays.items():
        lines.append(f"{name}: *{len(cells)} {{\n\ta: {','.join(map(str, cells))}\n}}")
    return _block(f'AnimationCurve: {number}, "AnimCurve::", ""', lines).replace(":  {", " {", 1).rstrip("\n")
