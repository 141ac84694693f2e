"""A shot as a script for After Effects: a comp with camera, plate and nulls; File > Scripts > Run Script File.

Not verified in After Effects: by its documented camera, x right, y down, z into the screen, in px of the comp, 0 at its
top left; a camera's zoom is its focal length in px; orientation turns about z, then y, then x. Of pixels that are not
square x counts in their width, as Blender's exporter has it. Its limit: a camera looks through the middle of its comp;
a plate whose principal point is elsewhere lies off the middle of a larger comp, and that in one of the plate's size.
"""

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from sfm.export.film_camera import FLIP, FilmCamera, FilmOptions
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

MAX_NULLS = 100
CENTRED_PX = 1e-3

_SCRIPT = """// Camera and points of a shot, by sfm. After Effects: File > Scripts > Run Script File.
// Not verified in After Effects.
{comments}
(function () {{
    var SHOT = {data};

    function newComp(name, size) {{
        var made = app.project.items.addComp(name, size[0], size[1], SHOT.pixelAspect, SHOT.duration, SHOT.fps);
        made.displayStartTime = SHOT.first / SHOT.fps;
        made.comment = SHOT.comment;
        return made;
    }}

    function transform(layer, property) {{
        return layer.property("ADBE Transform Group").property(property);
    }}

    // a sequence is imported from the first file of its name on, which may come before the shot
    function firstOnDisk(file) {{
        var pattern = /^(.*?)(\\d+)(\\.\\w+)$/, own = pattern.exec(decodeURI(file.name));
        if (!own) return SHOT.first;
        var lowest = Number(own[2]), others = file.parent.getFiles();
        for (var i = 0; i < others.length; i++) {{
            var other = pattern.exec(decodeURI(others[i].name));
            if (other && other[1] === own[1] && other[3] === own[3]) lowest = Math.min(lowest, Number(other[2]));
        }}
        return lowest;
    }}

    function importPlate() {{
        var file = new File(SHOT.plate);
        if (!SHOT.plate || !file.exists) return null;
        var wanted = new ImportOptions(file);
        wanted.sequence = !SHOT.movie;
        var item = app.project.importFile(wanted);
        item.pixelAspect = SHOT.pixelAspect;
        if (!SHOT.movie) item.mainSource.conformFrameRate = SHOT.fps;
        return {{item: item, start: ((SHOT.movie ? 1 : firstOnDisk(file)) - SHOT.first) / SHOT.fps}};
    }}

    function addPlate(comp, plate, at) {{
        var layer = comp.layers.add(plate.item);
        layer.startTime = plate.start;
        transform(layer, "ADBE Position").setValue(at);
        layer.moveToEnd();
        return layer;
    }}

    app.beginUndoGroup("sfm " + SHOT.name);
    var space = newComp(SHOT.centred ? SHOT.name : SHOT.name + " 3D", SHOT.space);
    var camera = space.layers.addCamera("camera", [SHOT.space[0] / 2, SHOT.space[1] / 2]);
    camera.autoOrient = AutoOrientType.NO_AUTO_ORIENT;
    transform(camera, "ADBE Position").setValuesAtTimes(SHOT.times, SHOT.positions);
    transform(camera, "ADBE Orientation").setValuesAtTimes(SHOT.times, SHOT.orientations);
    camera.property("ADBE Camera Options Group").property("ADBE Camera Zoom").setValuesAtTimes(SHOT.times, SHOT.zooms);
    for (var i = 0; i < SHOT.nulls.length; i++) {{
        var mark = space.layers.addNull(SHOT.duration);
        mark.name = SHOT.nulls[i].name;
        mark.threeDLayer = true;
        transform(mark, "ADBE Anchor Point").setValue([0, 0, 0]);
        transform(mark, "ADBE Position").setValue(SHOT.nulls[i].position);
        mark.shy = true;
        mark.moveToEnd();
    }}
    space.hideShyLayers = true;

    var plate = importPlate(), shown = space;
    if (plate) addPlate(space, plate, SHOT.plateAt).guideLayer = !SHOT.centred;
    if (!SHOT.centred) {{
        shown = newComp(SHOT.name, SHOT.size);
        transform(shown.layers.add(space), "ADBE Position").setValue(SHOT.spaceAt);
        if (plate) addPlate(shown, plate, [SHOT.size[0] / 2, SHOT.size[1] / 2]);
    }}
    shown.openInViewer();
    app.endUndoGroup();
}}());
"""


def write_jsx(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write the script: a key a frame, none where there is no camera, and the points that are known best as nulls.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot, options)
    size, center, aspect = film.size, film.principal_point[0], film.pixel_aspect
    centred = bool(np.abs(center - size / 2).max() < CENTRED_PX)
    space = size if centred else 2 * np.ceil(np.maximum(center, size - center))
    px = _px_a_unit(film)

    def in_comp(places: np.ndarray) -> np.ndarray:
        return px * FLIP * places / [aspect, 1, 1] + [*space / 2, 0]

    best = film.best_tracks(reconstruction, MAX_NULLS)
    turns = Rotation.from_matrix(FLIP[:, None] * film.world_from_cams.rotation * FLIP).as_euler("XYZ", degrees=True)
    first, last = int(shot.frame_numbers[0]), int(shot.frame_numbers[-1])
    plate_at = space / 2 + size / 2 - center if not centred else size / 2
    comments = [*film.comments(), f"{px:g} px of the comp are a unit of length, {options.unit}"]
    data = {
        "name": shot.name, "comment": "; ".join(comments), "size": size.tolist(), "space": space.tolist(),
        "centred": centred, "plateAt": plate_at.tolist(), "spaceAt": (size / 2 + space / 2 - plate_at).tolist(),
        "pixelAspect": aspect, "fps": shot.fps, "first": first, "duration": (last - first + 1) / shot.fps,
        "plate": film.first_plate, "movie": shot.is_movie,
        "times": ((film.frame_numbers - first) / shot.fps).tolist(),
        "positions": in_comp(film.world_from_cams.translation).tolist(), "orientations": turns.tolist(),
        "zooms": film.focal_px[:, 1].tolist(),
        "nulls": [{"name": f"track_{track}", "position": place} for track, place in zip(
            film.tracks[best].tolist(), in_comp(film.points[best]).tolist(), strict=True)],
    }  # fmt: skip
    text = _SCRIPT.format(comments="\n".join(f"// {line}" for line in comments), data=json.dumps(data))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _px_a_unit(film: FilmCamera) -> float:
    """The power of ten that puts the middle of the scene nearest to where a px of the comp is a px of space."""
    if not len(film.points):
        return 100.0
    away = np.median(np.linalg.norm(film.points - film.world_from_cams.translation[0], axis=1))
    return float(10.0 ** np.round(np.log10(film.focal_px[0, 1] / away)))
