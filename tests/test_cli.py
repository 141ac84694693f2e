"""The command line, run on a real clip: every frame 4 of the sample shot at half size, as plates 1001 to 1012."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sfm import lens_arguments, pipeline, results
from sfm.cli import main
from sfm.depth import CallableModel, MapFolder
from sfm.depth.cache import CachedModel
from sfm.export import read_colmap
from sfm.geometry import Camera
from sfm.lens_arguments import LensWords
from sfm.masks import MaskOptions
from sfm.scene import Reconstruction
from sfm.track_files import write_tracks
from sfm.video import Shot, VideoOptions, open_video

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample_shot"
NUMBERS = range(1001, 1013)
FOCAL = 622.6526584459201 / 2
FEW = ("--max-tracks", "150")
ALONE = ("--depth", "none")


def sequence(folder: Path, pictures, first: int = 1001) -> Path:
    """Plates: arrays (height, width, 3) RGB, or the bytes of the file."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures, first):
        file = folder / f"plate.{number}.png"
        if isinstance(picture, bytes):
            file.write_bytes(picture)
        else:
            assert cv2.imwrite(str(file), picture[..., ::-1])
    return folder


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    video = open_video(SAMPLE / "sample.mp4", VideoOptions(step=4))
    return [cv2.resize(rgb, (320, 180), interpolation=cv2.INTER_AREA) for _, rgb in video if rgb is not None]


@pytest.fixture(scope="session")
def plate(pictures, tmp_path_factory) -> Path:
    """A folder with `frames`, a `depth` map per frame, and the truth."""
    place = tmp_path_factory.mktemp("plate")
    sequence(place / "frames", pictures)
    (place / "depth").mkdir()
    truth = json.loads((SAMPLE / "gt.json").read_text())
    truth |= {"width": 320, "height": 180, "frames": truth["frames"][::4]}
    for number, frame in zip(NUMBERS, truth["frames"], strict=True):
        depth_map = SAMPLE / "depth" / frame["name"]
        (place / "depth" / f"plate.{number}.png").write_bytes(depth_map.read_bytes())
        frame |= {"name": f"plate.{number}.png"} | {key: frame[key] / 2 for key in ("fx", "fy", "cx", "cy")}
    (place / "gt.json").write_text(json.dumps(truth))
    true_depth = np.load(SAMPLE / "true_depth.npz")["depth"][::4]
    np.savez_compressed(place / "true_depth.npz", depth=true_depth)
    return place


@pytest.fixture
def sfm(capsys):
    """Run a command line in this process: exit code, stdout, stderr."""

    def run(*args) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def solved(plate) -> tuple[Path, str, str]:
    """A result, and what the command that made it said on stdout and stderr: as a farm runs it, without a terminal."""
    out = plate / "out"
    command = [sys.executable, "-c", "from sfm.cli import main; main()", "reconstruct", plate / "frames", "-o", out]
    command += ["--depth", plate / "depth", "--camera", f"{FOCAL},{FOCAL},160,90", "--export", "chan", *FEW]
    process = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return out, process.stdout, process.stderr


def refused(outcome: tuple[int, str, str], code: int, message: str, out: Path | None = None) -> None:
    """One line that says what is wrong, the right exit code, and nothing left behind."""
    assert outcome[0] == code, outcome
    errors = [line for line in outcome[2].splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and outcome[2].splitlines()[-1] == errors[0]
    assert re.search(message, errors[0]), errors[0]
    assert "Traceback" not in outcome[2] and outcome[1] == ""
    if out is not None:
        assert not [file.name for file in out.parent.iterdir() if file.name.startswith(out.name)]


# what it does


def test_reconstruct_writes_a_result_and_says_what_it_is(solved, plate):
    out, said, told = solved
    solve = json.loads((out / "solve.json").read_text())
    assert solve["registered"] == solve["frames"] == 12
    assert said.startswith(solve["verdict"])
    assert "12 of 12 have a camera" in said and "311.326 px, 54.4 degrees across, as given" in said and str(out) in said
    stages = [line.split()[0] for line in told.splitlines()]
    assert stages == ["tracking", "depth", "initializing", "mapping", "adjusting", "writing"]
    assert re.search(r"mapping 12 of 12 frames, \d+ points, \d.\d\d px \(\d", told)
    assert "\x1b" not in said + told
    assert "motion: " in (out / "sfm.log").read_text()
    assert solve["options"]["depth_model"] == {"name": str(plate / "depth"), "kind": "depth", "revision": ""}
    assert f"depth prior  {plate / 'depth'}: off by" in said
    assert solve["options"]["camera"] == f"{FOCAL},{FOCAL},160,90" and solve["seed"] == 0
    assert solve["options"]["stages"]["tracking"]["max_tracks"] == 150


def test_a_camera_comes_round_and_is_compared(solved, plate, sfm, tmp_path):
    """Out as USD and back in on the clip; the same camera, and one that is turned away."""
    assert sfm("export", solved[0], "--format", "usd,chan", "-o", tmp_path)[0] == 0
    code, said, _ = sfm("import", tmp_path / "shot.usd", "-o", tmp_path / "in", "--clip", plate / "frames")
    assert code == 0 and "12 of 12 frames have a camera" in said
    assert json.loads((tmp_path / "in" / "solve.json").read_text())["shot"]["frame_names"][0] == "plate.1001.png"
    assert sfm("export", tmp_path / "in", "--format", "nk,ply,usd")[0] == 0
    code, said, _ = sfm("evaluate", tmp_path / "in", plate / "gt.json", plate / "true_depth.npz", "--json")
    assert code == 0 and json.loads(said)["coverage"] == 100.0
    same = json.loads(sfm("evaluate", solved[0], "--against", tmp_path / "in", "--json")[1])
    assert same["frames"] == 12 and same["worst_px"] < 0.01
    rows = np.loadtxt(tmp_path / "camera.chan")
    rows[6, 5] += 0.5
    np.savetxt(tmp_path / "turned.chan", rows, fmt="%.10g")
    code, said, _ = sfm("evaluate", solved[0], "--against", tmp_path / "turned.chan")
    assert code == 0 and re.search(r"worst_frame +1007", said) and re.search(r"max_rotation_deg +0\.4", said)


def test_a_survey_hand_tracks_and_a_start(solved, plate, sfm, tmp_path):
    """Twice as large and moved, as if it had been measured so: by place, by name and as a distance."""
    scene, _, _ = results.load_result(solved[0])
    tracks = scene.tracks
    known = np.argsort(np.where(scene.has_point & (tracks.lengths > 8), scene.point_sigma, np.inf))[:9]
    measured = 2 * scene.points * [1, -1, -1] + [5, 6, 7]  # y up
    lines = ["frame,x,y,X,Y,Z,sigma"]
    for track in known[:7]:
        row = np.flatnonzero(tracks.track == track)[2]
        x, y = tracks.xy[row]
        X, Y, Z = measured[track]
        lines.append(f"{1001 + tracks.frame[row]},{x},{y},{X},{Y},{Z},{0.01 * np.ptp(measured[known])}")
    (tmp_path / "points.csv").write_text("\n".join(lines))
    hand = ["2"]
    for name, track in (("door", known[7]), ("lamp", known[8])):
        rows = np.flatnonzero(tracks.track == track)
        hand += [name, "0", str(len(rows))]
        hand += [f"{tracks.frame[k] + 1} {tracks.xy[k, 0]} {180 - tracks.xy[k, 1]}" for k in rows]
    (tmp_path / "hand.txt").write_text("\n".join(hand))
    length = np.linalg.norm(measured[known[7]] - measured[known[8]])
    code, said, log = sfm(
        "reconstruct", plate / "frames", "-o", tmp_path / "out", "--depth", plate / "depth", *FEW, "--start-camera",
        solved[0], "--survey", tmp_path / "points.csv", "--hand-tracks", tmp_path / "hand.txt", "--hand-sigma", "0.2",
        "--distance", f"door, lamp = {length} m +- {0.02 * length}",
    )  # fmt: skip
    assert code == 0, log
    assert "frames 1-12 are taken to count from the clip's first, 1001" in log
    assert re.search(r"survey +7 points off by .* sigmas .*; 1 distance off by", said)
    solve = json.loads((tmp_path / "out" / "solve.json").read_text())
    assert len(solve["survey"]["points"]) == 7 and solve["camera"]["focal_given"]
    found, _, _ = results.load_result(tmp_path / "out")
    at = [one["track"] for one in solve["survey"]["points"]]
    off = np.linalg.norm(found.points[at] * [1, -1, -1] - measured[known[:7]], axis=1)
    assert off.max() < 0.1 * np.ptp(measured[known], axis=0).max()
    assert found.tracks.by_hand.sum() == 2 and found.has_point[-2:].all()


def test_measured_things_refuse_in_one_line(plate, sfm, tmp_path):
    run = ("reconstruct", plate / "frames", "-o", tmp_path / "out", *ALONE)
    refused(sfm(*run, "--survey", tmp_path / "no.csv"), 3, "no.csv: no such file", tmp_path / "out")
    refused(
        sfm(*run, "--distance", "1 and 2 are close"), 2, "--distance '1 and 2 are close': expected", tmp_path / "out"
    )
    refused(sfm(*run, "--distance", "1, 2 = close"), 2, "expected 'track 12, track 87", tmp_path / "out")
    refused(sfm(*run, "--hand-tracks", tmp_path / "no.txt"), 3, "no.txt: cannot be read", tmp_path / "out")
    refused(sfm(*run, "--hand-sigma", "0.3"), 2, "--hand-sigma: a positive number", tmp_path / "out")
    refused(sfm(*run, "--start-camera", tmp_path / "no.usd"), 3, "no.usd: no such file", tmp_path / "out")


def test_import_refuses_in_one_line(plate, sfm, tmp_path):
    (tmp_path / "a.chan").write_text("1 2 3\n")
    refused(sfm("import", tmp_path / "a.chan", "-o", tmp_path / "out"), 3, "give --size WIDTHxHEIGHT, or --clip")
    refused(sfm("import", tmp_path / "a.chan", "-o", tmp_path / "out", "--size", "9"), 2, "expected WIDTHxHEIGHT")
    size = ("--size", "320x180")
    refused(sfm("import", tmp_path / "a.chan", "-o", tmp_path / "out", *size), 3, "line 1: 3 columns", tmp_path / "out")
    both = (*size, "--clip", plate / "frames")
    refused(sfm("import", tmp_path / "a.chan", "-o", tmp_path / "out", *both), 2, "--size and --clip")
    refused(sfm("import", tmp_path / "b.abc", "-o", tmp_path / "out", *size), 3, "b.abc: no such file")
    (tmp_path / "b.abc").write_text("")
    refused(sfm("import", tmp_path / "b.abc", "-o", tmp_path / "out", *size), 3, "cameras are read from .usd")
    refused(sfm("evaluate", plate), 2, "give the truth, or another track")


def test_evaluate_a_result_and_its_colmap_model(solved, plate, sfm):
    code, said, _ = sfm("evaluate", solved[0], plate / "gt.json", plate / "true_depth.npz", "--json")
    measures = json.loads(said)
    assert code == 0 and measures["coverage"] == 100
    assert 0.01 < measures["ate_pct"] < 5 and 0.001 < measures["slide_px"] < 1
    code, said, _ = sfm("evaluate", solved[0] / "sparse" / "0", plate / "gt.json", plate / "true_depth.npz", "--json")
    assert json.loads(said) == measures
    code, said, _ = sfm("evaluate", solved[0], plate / "gt.json")
    assert code == 0 and re.search(rf"ate_pct +{measures['ate_pct']} +error of the camera path", said)
    assert "slide" not in said
    refused(sfm("evaluate", solved[0], plate / "none.json"), 3, "none.json: no such file")


def test_export_elsewhere(solved, sfm, tmp_path):
    code, said, _ = sfm("export", solved[0], "--format", "ply,tum", "-o", tmp_path)
    assert code == 0 and said.split() == [str(tmp_path / "points.ply"), str(tmp_path / "trajectory.tum")]
    assert sorted(os.listdir(tmp_path)) == ["points.ply", "trajectory.tum"]
    assert (tmp_path / "trajectory.tum").read_text() == (solved[0] / "trajectory.tum").read_text()
    refused(sfm("export", solved[0], "--format", "3ds", "-o", tmp_path / "x"), 2, "3ds", tmp_path / "x")
    refused(sfm("export", solved[0], "--format", "csv", "--sensor-mm", "-1", "-o", tmp_path / "x"), 2, "--sensor-mm")
    refused(sfm("export", tmp_path, "--format", "ply"), 3, "no result")


def test_undistort(solved, sfm, tmp_path):
    """This lens does not distort: the plates come out as they were; a second time into the same folder is refused."""
    code, said, told = sfm("undistort", solved[0], "-o", tmp_path / "flat", "--format", "chan")
    assert (
        code == 0
        and "nothing to undo" in told
        and [Path(line).name for line in said.split()] == ["plates", "camera.chan"]
    )
    plates = sorted((tmp_path / "flat" / "plates").iterdir())
    source = json.loads((solved[0] / "solve.json").read_text())["shot"]
    assert Path(source["source"]).is_absolute() and len(plates) == len(source["frame_numbers"])
    was = cv2.imread(str(Path(source["source"]).parent / source["frame_names"][0]))
    np.testing.assert_allclose(cv2.imread(str(plates[0])).astype(int), was, atol=2)
    refused(sfm("undistort", solved[0], "-o", tmp_path / "flat"), 2, "holds undistorted plates already; --force")
    refused(sfm("undistort", solved[0], "-o", tmp_path / "b", "--format", "3ds"), 2, "format 3ds", tmp_path / "b")
    refused(sfm("export", solved[0], "--format", ","), 2, "names no format")


def test_export_for_film(solved, sfm, tmp_path):
    assert "film back 36 x" in (solved[0] / "camera.chan").read_text()
    assert "camera.chan" in json.loads((solved[0] / "solve.json").read_text())["files"]
    code, said, wrong = sfm(
        "export", solved[0], "--format", "vfx", "--format", "ply", "-o", tmp_path, "--sensor-mm", "24.89"
    )
    assert code == 0, wrong
    assert {Path(line).name for line in said.split()} >= {"shot.usd", "shot.nk", "camera.chan"}
    assert "film back 24.89 x" in (tmp_path / "camera.chan").read_text()


def test_orient_a_result(solved, plate, sfm, tmp_path):
    """Every file of the result follows, older exports are named, and the solve itself is not touched."""
    out = tmp_path / "out"
    shutil.copytree(solved[0], out)
    kept = (out / "reconstruction.npz").read_bytes()
    code, said, wrong = sfm("orient", out, "--up", "0,1,0.2", "--units", "cm")
    assert code == 0, wrong
    assert "up is as it was told" in said and "the scale is the solve's own" in said
    assert "export again: camera.chan" in said
    assert (out / "reconstruction.npz").read_bytes() == kept
    assert "scene_frame.json" in json.loads((out / "solve.json").read_text())["files"]
    scene, model = results.load_result(out)[0], read_colmap(out / "sparse" / "0")[0]
    np.testing.assert_allclose(model.points, scene.points[scene.has_point])
    assert sfm("export", out, "--format", "chan,otio", "-o", tmp_path)[0] == 0
    assert "lengths in cm" in (tmp_path / "camera.chan").read_text()
    assert f'"verdict": "{results.solve_of(out)["verdict"]}"' in (tmp_path / "shot.otio").read_text()
    measures = [json.loads(sfm("evaluate", place, plate / "gt.json", "--json")[1]) for place in (out, solved[0])]
    assert measures[0] == measures[1]
    assert sfm("export", out, "--format", "csv", "-o", out)[0] == 0  # its own folder by name
    assert "camera.csv" in json.loads((out / "solve.json").read_text())["files"]
    refused(sfm("orient", out, "--reset", "--up", "0,1,0"), 2, "--reset: takes the frame away; --up, ")
    code, said, _ = sfm("orient", out, "--reset")
    assert code == 0 and "as it was solved" in said and not (out / "scene_frame.json").exists()
    for file in ("points.ply", "trajectory.tum", "sparse/0/images.bin"):
        assert (out / file).read_bytes() == (solved[0] / file).read_bytes()
    refused(sfm("orient", tmp_path / "none"), 3, "no such folder")


def test_view_hands_over_to_the_viewer(solved, sfm, tmp_path, monkeypatch):
    from sfm.view import window

    seen = []
    monkeypatch.setattr(window, "show", lambda *args: seen.append(args))
    monkeypatch.setattr(window, "screenshot", lambda *args: seen.append(args))
    assert sfm("view", solved[0])[0] == 0
    last = str(NUMBERS[-1])
    args = ("view", solved[0], "--screenshot", tmp_path / "a.png", "--color-by", "sigma", "--frame", last, "--through")
    assert sfm(*args)[1].strip().endswith("a.png")
    (scene, shot, options, video), (_, _, path, other, _) = seen
    assert isinstance(scene, Reconstruction) and shot.frame_numbers.tolist() == list(NUMBERS)
    assert video.read(0) is not None
    assert (options.color_by, options.frame, options.through) == ("plate", 0, False)
    assert (other.color_by, other.frame, other.through, path) == ("sigma", len(NUMBERS) - 1, True, tmp_path / "a.png")
    refused(sfm("view", tmp_path), 3, "no result")
    refused(sfm("view", solved[0], "--frame", "7"), 2, f"--frame 7: not one of the shot's, {NUMBERS[0]}-{last}")
    refused(sfm("view", solved[0], "--web", "--save-html", tmp_path / "v.html"), 2, "choose one")


def test_view_writes_a_page_and_does_without_plates(solved, sfm, tmp_path):
    code, said, told = sfm("view", solved[0], "--save-html", tmp_path / "v.html")
    assert (code, said.strip(), told) == (0, str(tmp_path / "v.html"), "")
    shutil.copytree(solved[0], tmp_path / "moved")
    solve = json.loads((tmp_path / "moved" / "solve.json").read_text())
    solve["shot"]["source"] = str(tmp_path / "gone.####.png")
    (tmp_path / "moved" / "solve.json").write_text(json.dumps(solve))
    code, said, told = sfm("view", tmp_path / "moved", "--save-html", tmp_path / "w.html")
    assert code == 0 and "without plates" in told
    pages = [(tmp_path / name).read_text().count("data:image/jpeg") for name in ("v.html", "w.html")]
    assert pages == [len(NUMBERS), 0]


def test_view_serves_a_page_until_interrupted(solved, sfm, monkeypatch):
    from sfm.view import web

    asked = []

    class Fake:
        url = "http://localhost:8099"

        def __init__(self, *args, **settings):
            asked.append((args[2], settings))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            asked.append("closed")

        def wait(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(web, "WebViewer", Fake)
    code, said, told = sfm("view", solved[0], "--web", "--port", "8099", "--through")
    assert code == 0 and said.startswith("http://localhost:8099 ") and told == ""
    assert asked[0][0].through and asked[0][1] == {"host": "localhost", "port": 8099} and asked[1] == "closed"


def test_the_same_again_is_the_same(solved, plate, sfm, tmp_path):
    out = tmp_path / "out"
    args = ["reconstruct", plate / "frames", "--depth", plate / "depth", "-o", out, *FEW]
    code, said, told = sfm(*args, "--camera", f"{FOCAL},{FOCAL},160,90", "--quiet")
    assert (code, said, told) == (0, "", "")
    one, two = (Reconstruction.load(folder / "reconstruction.npz") for folder in (solved[0], out))
    np.testing.assert_array_equal(one.points, two.points)
    np.testing.assert_array_equal(one.cams_from_world.translation, two.cams_from_world.translation)


def test_doctor_version_and_help(sfm):
    code, said, _ = sfm("doctor")
    assert code == 0 and np.__version__ in said and "[view]" in said and "FFmpeg" in said
    assert re.fullmatch(r"sfm \d+\.\d+\.\d+\n", sfm("--version")[1])
    for args in ((), ("--help",)):
        code, said, _ = sfm(*args)
        assert code == 0 and all(
            name in said for name in ("reconstruct", "depth", "view", "evaluate", "orient", "export", "doctor")
        )


def test_doctor_takes_nothing(sfm):
    code, _, told = sfm("doctor", "extra")
    assert code == 2 and "unexpected extra argument" in told and "INPUT" not in told
    assert "more than one INPUT" in sfm("reconstruct", "a", "b", "-o", "c")[2]


def test_a_result_that_lost_its_numbers_says_so(solved, sfm, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(solved[0], out)
    code, whole, _ = sfm("orient", out)
    assert code == 0
    oriented = results.load_model(out)[0]
    (out / "solve.json").unlink()
    code, said, told = sfm("orient", out)
    assert (
        code == 0 and "incomplete, its solve.json is gone" in told and said.splitlines()[:2] == whole.splitlines()[:2]
    )
    np.testing.assert_allclose(results.load_model(out)[0].points, oriented.points)
    code, _, told = sfm("export", out, "--format", "chan")
    assert code == 0 and "incomplete" in told
    (out / "reconstruction.npz").unlink()
    shutil.copy(solved[0] / "solve.json", out)
    refused(sfm("export", out, "--format", "chan"), 3, "reconstruction.npz: is missing")


def test_doctor_says_what_an_extra_would_give(sfm, monkeypatch):
    from sfm import doctor

    monkeypatch.setattr(doctor, "EXTRAS", {"view": (("no-such-package",), "a window")})
    monkeypatch.setattr(doctor, "CORE", {"numpy": "no_such_module"})
    code, said, _ = sfm("doctor")
    assert code == 1
    assert "cannot be imported" in said
    assert "a window: missing no-such-package" in said and "-m pip install no-such-package" in said


# the lens


HD = Shot("s", np.arange(2), ("a", "b"), 1920, 1080, 24.0, "s.mov")


def lens_of(shot: Shot = HD, **words) -> Camera:
    found = lens_arguments.lens(shot, LensWords(**words))
    assert found is not None
    return found


def test_every_way_to_give_the_lens():
    assert lens_arguments.lens(HD, LensWords()) is None
    cinema = lens_of(focal_mm=35.0, sensor_mm=24.89)
    assert cinema.focal_length.tolist() == pytest.approx([35 / 24.89 * 1920] * 2)
    assert cinema.principal_point.tolist() == [960, 540]
    assert lens_of(focal_px=1500.0).focal_length.tolist() == [1500, 1500]
    full = lens_of(camera="1500, 1510,961,541.5")
    assert [*full.focal_length.tolist(), *full.principal_point.tolist()] == [1500, 1510, 961, 541.5]


def test_a_sensor_by_name_and_a_plate_narrower_than_it(caplog):
    assert lens_of(focal_mm=35.0, sensor="red komodo").focal_length[0] == pytest.approx(35 / 27.03 * 1920)
    assert "narrower" in caplog.text  # 16:9 of a 17:9 sensor: the sides are cropped
    caplog.clear()
    lens_of(focal_mm=35.0, sensor="ARRI Alexa Mini")  # 16:9 of 3:2: above and below
    assert caplog.text == ""


def test_an_anamorphic_lens_is_named_after_its_vertical_focal_length():
    """50 mm 2x on the 4:3 of an Alexa Mini sees as wide as 25 mm, and as high as 50 mm."""
    squeezed = Shot("s", np.arange(2), ("a", "b"), 2880, 2160, 24.0, "s.mov")
    found = lens_of(squeezed, focal_mm=50.0, sensor="ARRI Alexa Mini 2.8K 4:3", pixel_aspect=2.0)
    half_angles = np.array([2880, 2160]) / 2 / found.focal_length
    np.testing.assert_allclose(half_angles, [23.76 / 2 / 25, 17.82 / 2 / 50])
    assert lens_of(focal_px=3000.0, pixel_aspect=1.5).focal_length.tolist() == [2000, 3000]


@pytest.mark.parametrize(
    ("text", "coefficients"),
    [
        ("-.1,.02", [-0.1, 0.02, 0, 0]),
        ("-.1,.02,.001,0", [-0.1, 0.02, 0.001, 0]),
        ("-.1,.02,0,0,.01", [-0.1, 0.02, 0, 0, 0.01]),
        ("0,0,0,0,0,.01,.02,.03", [0, 0, 0, 0, 0, 0.01, 0.02, 0.03]),
    ],
)
def test_distortion_of_the_lens(text, coefficients):
    for words in ({"focal_px": 1500.0}, {"camera": "1500,1500,960,540"}, {"focal_mm": 35.0, "sensor_mm": 25.0}):
        assert lens_of(distortion=text, **words).distortion.tolist() == coefficients
    assert not len(lens_of(focal_px=1500.0).distortion)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--focal-px", "800", "--camera", "1,1,1,1"], "--camera and --focal-px: give the lens in one way"),
        (["--focal-mm", "35"], "goes with the sensor, as --sensor-mm or as --sensor "),
        (["--sensor-mm", "35"], "--focal-mm: goes with the sensor"),
        (["--sensor", "RED Komodo"], "--focal-mm: goes with the sensor"),
        (["--focal-mm", "35", "--sensor", "RED Komodo", "--sensor-mm", "27"], "give the sensor in one way"),
        (["--focal-mm", "35", "--sensor", "red komod"], "red komod: not known; the nearest are RED Komodo, "),
        (["--focal-px", "800", "--pixel-aspect", "0"], "--pixel-aspect 0: expected width over height"),
        (["--pixel-aspect", "nan"], "--pixel-aspect nan: expected width over height"),
        (["--camera", "800,800,160,90", "--pixel-aspect", "2"], "is the pixel aspect already"),
        (["--distortion", "-.1,.01"], "needs the focal length it belongs to"),
        (["--focal-px", "800", "--distortion", "-.1,.01,0"], "-.1,.01,0: expected 2, 4, 5 or 8 numbers"),
        (["--focal-px", "800", "--distortion", "-.1,nan"], "expected 2, 4, 5 or 8 numbers"),
        (["--focal-px", "800", "--distortion", "-.1,0", "--refine-focal"], "drop one"),
        (["--focal-px", "800", "--distortion", "-.1,0", "--refine-principal-point"], "drop one"),
        (["--mask-polarity", "white"], "give these with --masks"),
        (["--mask-dilate", "3"], "give these with --masks"),
        (["--masks", "m", "--mask-dilate", "-1"], "mask-dilate"),
        (["--masks", "m", "--mask-polarity", "grey"], "mask-polarity"),
        (["--masks", "alpha"], "say with --mask-polarity what is not tracked"),
        (["--masks", "auto"], "say with --mask-polarity what is not tracked"),
        (["--clip", "sh010"], "--clip and --handles: for a timeline"),
        (["--ocio", "studio.ocio"], "--ocio: where the name that --colorspace gives is looked up"),
        (["--survey-up", "z"], "--survey-up: says how to read the points of --survey"),
        (["--first-frame", "x"], "--first-frame x: expected a plate number"),
        (["--handles", "-1"], "handles"),
        (["--focal-px", "-800"], "expected a positive number"),
        (["--focal-px", "nan"], "expected a positive number"),
        (["--focal-px", "wide"], "focal-px"),
        (["--camera", "800,800,160"], "expected four numbers"),
        (["--camera", "800,800,160,x"], "expected four numbers"),
        (["--camera", "0,800,160,90"], "positive"),
        (["--camera", "800,800,nan,90"], "expected four numbers"),
        (["--depth-weight", "-1"], "depth-weight"),
        (["--depth-weight", "inf"], "expected 0 or a positive number"),
        (["--readout-ms", "-5"], r"--readout-ms -5: expected 0 or a positive number"),
        (["--readout-ms", "nan"], "expected 0 or a positive number"),
        (["--max-bridge", "-1"], "max-bridge"),
        (["--depth-kind", "distance"], "depth-kind"),
        (["--max-tracks", "0"], "max-tracks"),
        (["--step", "0"], "step"),
        (["--fps", "0"], "fps"),
        (["--seed", "-1"], "seed"),
        (["--quiet", "--verbose"], "choose one"),
        (["--tracks", "t.csv", "--masks", "m"], "takes the tracker's place"),
        (["--colour"], r"--colour.*sfm reconstruct --help"),
    ],
)
def test_usage(sfm, tmp_path, args, message):
    outcome = sfm("reconstruct", "no such clip", "-o", tmp_path / "out", *args)
    refused(outcome, 2, message, tmp_path / "out")


def test_usage_that_depends_on_the_clip(sfm, plate, tmp_path):
    for args, message in (
        (["--camera", "2000,2000,960,540"], r"outside the plate of 320 x 180"),
        (["--focal-px", "3.5"], r"a focal length of 3.5 px sees 177 degrees across this plate of 320 px"),
        (["--focal-mm", "35", "--sensor-mm", "0.1"], r"sees 0.164 degrees across"),
        (["--focal-px", "300", "--distortion", "-2,0"], r"--distortion -2,0: folds the picture before its corners"),
        (["--readout-ms", "50"], r"--readout-ms 50: longer than a frame, which takes 41.67 ms"),
    ):
        refused(sfm("reconstruct", plate / "frames", "-o", tmp_path / "o", *args), 2, message, tmp_path / "o")
    refused(sfm("reconstruct", plate / "frames"), 2, "--output")
    refused(sfm("solve", plate), 2, "solve")


# bad input


def test_clips_that_are_none(sfm, pictures, tmp_path):
    (tmp_path / "text.mp4").write_text("not a movie")
    (tmp_path / "cut.mp4").write_bytes((SAMPLE / "sample.mp4").read_bytes()[:200_000])
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    sequence(tmp_path / "one", pictures[:1])
    sequence(tmp_path / "sizes", [*pictures[:3], pictures[3][:100], *pictures[4:6]])
    sequence(tmp_path / "black", [np.zeros((180, 320, 3), np.uint8)] * 6)
    sequence(tmp_path / "grey", [np.full((180, 320, 3), 118, np.uint8)] * 6)
    for clip, code, message in (
        ("none.mov", 3, "none.mov: no such file"),
        ("none.####.exr", 3, "none"),
        ("text.mp4", 3, "text.mp4: not a movie"),
        ("cut.mp4", 3, "cut.mp4: one frame"),
        ("notes.txt", 3, "neither a movie"),
        ("empty", 3, "no images in it"),
        ("one", 3, "one frame; a shot needs at least 2"),
        ("sizes", 3, r"plate.1004.png: 320 x 100 px, but the shot starts with 320 x 180"),
        ("black", 4, "frames 1001-1006 have no corner"),
        ("grey", 4, "frames 1001-1006 have no corner"),
    ):
        refused(sfm("reconstruct", tmp_path / clip, "-o", tmp_path / "out", *ALONE), code, message, tmp_path / "out")


@pytest.mark.parametrize("frames", ["990-1005", "1005-1020", "2000-2010", "1005", "first"])
def test_frames_outside_the_clip(sfm, plate, tmp_path, frames):
    outcome = sfm("reconstruct", plate / "frames", "-o", tmp_path / "out", "--frames", frames)
    refused(outcome, 2 if frames == "first" else 3, "1001-1012|one frame|expected plate numbers", tmp_path / "out")


def test_a_cut_is_named_and_not_solved_across(sfm, pictures, tmp_path, rng):
    other = [cv2.GaussianBlur(rng.integers(0, 256, (180, 320, 3), dtype=np.uint8), (0, 0), 1.5)] * 6
    clip = sequence(tmp_path / "cut", [*pictures[:6], *other])
    out = tmp_path / "out"
    refused(
        sfm("reconstruct", clip, "-o", out, *FEW, *ALONE),
        3,
        r"1006.*1007.*--frames 1001-1006 .*--frames 1007-1012",
        out,
    )


def test_masks_that_do_not_fit(sfm, plate, pictures, tmp_path):
    sequence(tmp_path / "small", [picture[::2, ::2] for picture in pictures])
    (tmp_path / "empty").mkdir()
    for masks, message in (
        ("small", "mask is 160x90, the plate is 320x180"),
        ("empty", "no mask"),
        ("none", "no such"),
    ):
        outcome = sfm("reconstruct", plate / "frames", "-o", tmp_path / "out", "--masks", tmp_path / masks)
        refused(outcome, 3, message, tmp_path / "out")


def test_depth_that_does_not_fit(sfm, plate, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "square").mkdir()
    for number in NUMBERS:
        np.save(tmp_path / "other" / f"plate.{number + 500}.npy", np.ones((90, 160)))
        np.save(tmp_path / "square" / f"plate.{number}.npy", np.ones((90, 90)))
    for depth, message in (
        ("none at all", "no such folder"),
        ("empty", "no depth maps in it"),
        ("other", "named after a frame"),
        ("square", r"90 x 90, the frame 320 x 180: another aspect ratio"),
    ):
        outcome = sfm("reconstruct", plate / "frames", "-o", tmp_path / "out", "--depth", tmp_path / depth, *FEW)
        refused(outcome, 3, message, tmp_path / "out")


def test_what_is_damaged_is_skipped_and_reported(sfm, plate, pictures, tmp_path):
    """A frame cut short, one missing on disk, maps missing for two frames, and every bad value a map can hold."""
    clip = sequence(tmp_path / "clip", pictures)
    file = clip / "plate.1006.png"
    file.write_bytes(file.read_bytes()[:1000])
    (clip / "plate.1009.png").unlink()
    (tmp_path / "maps").mkdir()
    for number in (n for n in NUMBERS if n not in (1003, 1004)):
        depth_map = cv2.imread(str(plate / "depth" / f"plate.{number}.png"), cv2.IMREAD_UNCHANGED).astype(float)
        for column, bad in enumerate((np.nan, 0, -3, np.inf, -np.inf, 1e10)):
            depth_map[:, 20 * column : 20 * column + 3] = bad
        np.save(tmp_path / "maps" / f"plate.{number}.npy", depth_map)
    code, said, told = sfm(
        "reconstruct", clip, "-o", tmp_path / "out", "--depth", tmp_path / "maps", "--focal-px", FOCAL, *FEW
    )
    assert code == 0, told
    solve = json.loads((tmp_path / "out" / "solve.json").read_text())
    assert solve["unreadable_frames"] == solve["bridged_frames"] == [1006] and solve["unregistered_frames"] == []
    assert solve["missing_frames"] == [1009]
    assert (solve["frames"], solve["registered"]) == (11, 10)
    assert solve["verdict"] != "PASS"
    assert (
        "interpolated for 1006" in said
        and "none for" not in said
        and "unreadable 1006" in said
        and "missing on disk 1009" in said
    )
    warnings = [line for line in told.splitlines() if line.startswith("warning: ")]
    assert any("cannot be decoded, skipped: 1006" in line for line in warnings)
    assert any("no depth map for 2 of 11 frames: 1003-1004" in line for line in warnings)
    unknown = [row["frame"] for row in solve["per_frame"] if row["depth_scale"] is None]
    assert 1006 in unknown and 1001 not in unknown


def test_output_folders_that_are_taken(sfm, plate, solved, tmp_path):
    args = ["reconstruct", plate / "frames", "-o"]
    before = (solved[0] / "solve.json").read_bytes()
    refused(sfm(*args, solved[0]), 2, "holds a result already; --force replaces it")
    assert (solved[0] / "solve.json").read_bytes() == before
    refused(sfm(*args, plate / "frames", "--force"), 2, "no result of sfm")
    (tmp_path / "file").write_text("")
    refused(sfm(*args, tmp_path / "file"), 2, "is a file")
    refused(sfm(*args, tmp_path / "file" / "out"), 3, "cannot be written")
    refused(sfm(*args, "/proc/sfm/out"), 3, "cannot be written")


def test_interrupted_leaves_nothing(sfm, plate, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    args = ["reconstruct", plate / "frames", "-o", tmp_path / "out", "--step", "2", *FEW]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "reconstruct", interrupt)
        refused(sfm(*args), 130, "interrupted", tmp_path / "out")
    monkeypatch.setattr(results, "write_overlay", interrupt)
    refused(sfm(*args, "--depth", plate / "depth", "--focal-px", FOCAL), 130, "interrupted", tmp_path / "out")


def test_the_unexpected_is_one_line_and_debug_shows_where(sfm, plate, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("matrix is\nsingular")

    monkeypatch.setattr(pipeline, "reconstruct", fail)
    args = ["reconstruct", plate / "frames", "-o", tmp_path / "out"]
    refused(sfm(*args), 1, r"unexpected RuntimeError: matrix is singular \(run again with --debug", tmp_path / "out")
    code, _, told = sfm(*args, "--debug")
    assert code == 1 and "Traceback" in told and "in fail" in told


def test_depth_beside_the_clip_is_used_unless_told_otherwise(called, plate):
    assert called()["depth"] == MapFolder(plate / "depth")
    assert called("--depth-kind", "disparity")["depth"].kind == "disparity"
    assert called("--depth", "none")["depth"] is None


def test_without_a_prior_unless_told_so_it_stops(sfm, pictures, tmp_path):
    """The tests are cut off from the hub, and know no network."""
    clip = sequence(tmp_path / "alone" / "frames", pictures)
    args = ["reconstruct", clip, "-o", tmp_path / "out", "--focal-px", FOCAL, *FEW]
    ways = r"no maps beside the clip; .*`sfm depth download depth-anything-v2-small.*or --depth none to solve without"
    refused(sfm(*args), 3, ways, tmp_path / "out")
    code, said, _ = sfm(*args, *ALONE)
    assert code == 0 and "depth prior  none" in said
    solve = json.loads((tmp_path / "out" / "solve.json").read_text())
    assert solve["depth_sigma"] is None and solve["verdict"] != "PASS", "a verdict nobody asked about ends well"


def test_own_tracks_take_the_trackers_place(sfm, plate, solved, tmp_path):
    scene, shot, _ = results.load_result(solved[0])
    write_tracks(tmp_path / "mine.csv", scene.tracks, shot.frame_numbers)
    code, said, _ = sfm(
        "reconstruct", plate / "frames", "-o", tmp_path / "out", "--depth", plate / "depth", "--focal-px", FOCAL,
        "--tracks", tmp_path / "mine.csv",
    )  # fmt: skip
    assert code == 0 and "12 of 12 have a camera" in said
    mine = Reconstruction.load(tmp_path / "out" / "reconstruction.npz")
    np.testing.assert_allclose(mine.tracks.xy, scene.tracks.xy, atol=1e-6)
    (tmp_path / "bad.csv").write_text("frame,x,y\n")
    args = ["reconstruct", plate / "frames", "-o", tmp_path / "new", "--tracks"]
    refused(sfm(*args, tmp_path / "bad.csv"), 3, "bad.csv: .*no column track", tmp_path / "new")
    write_tracks(tmp_path / "far.npz", scene.tracks, shot.frame_numbers + 100)
    refused(sfm(*args, tmp_path / "far.npz"), 3, "1101-1112, the clip has 1001-1012", tmp_path / "new")


def test_distortion_is_obeyed_and_written_everywhere(sfm, plate, solved, tmp_path):
    """The tracks of the solved shot as a lens with distortion would have shown them give the same path."""
    scene, shot, _ = results.load_result(solved[0])
    bent = replace(scene.camera, distortion=np.array([-0.2, 0.05, 0, 0]))
    on_plane = scene.camera.cam_from_img(scene.tracks.xy)
    xy = bent.img_from_cam(np.column_stack([on_plane, np.ones(len(on_plane))]))
    assert np.abs(xy - scene.tracks.xy).max() > 3
    write_tracks(tmp_path / "bent.csv", replace(scene.tracks, xy=xy), shot.frame_numbers)
    code, _, told = sfm(
        "reconstruct", plate / "frames", "-o", tmp_path / "out", *ALONE, "--tracks", tmp_path / "bent.csv",
        "--camera", f"{FOCAL},{FOCAL},160,90", "--distortion", "-0.2,0.05",
    )  # fmt: skip
    assert code == 0, told
    solve = json.loads((tmp_path / "out" / "solve.json").read_text())
    assert solve["camera"]["distortion"] == [-0.2, 0.05, 0, 0] and solve["options"]["distortion"] == "-0.2,0.05"
    measures = json.loads(sfm("evaluate", tmp_path / "out", plate / "gt.json", "--json")[1])
    assert measures["rpe_rot_deg"] < 0.1, "with the distortion left in it is 0.6"
    found = Reconstruction.load(tmp_path / "out" / "reconstruction.npz")
    np.testing.assert_array_equal(found.camera.distortion, bent.distortion)
    exported, _ = read_colmap(tmp_path / "out" / "sparse" / "0")
    np.testing.assert_array_equal(exported.camera.distortion, bent.distortion)


def test_a_verdict_below_the_one_asked_for(sfm, plate, tmp_path):
    """REVIEW at best, with no depth prior."""
    args = [
        "reconstruct",
        plate / "frames",
        *ALONE,
        "--max-tracks",
        "120",
        "--step",
        "2",
        "--focal-px",
        FOCAL,
        "--quiet",
    ]
    code, _, said = sfm(*args, "-o", tmp_path / "out", "--fail-below", "PASS")
    verdict = json.loads((tmp_path / "out" / "solve.json").read_text())["verdict"]
    assert verdict != "PASS" and code == 5
    assert said.strip() == f"error: {tmp_path / 'out'}: verdict {verdict}, below the PASS asked for"


def test_warnings_of_other_packages_go_to_the_log_only(capsys):
    from sfm import console

    with console.logging_to(console.error_console(), console.Loudness.NORMAL) as log:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn("overflow encountered", RuntimeWarning, stacklevel=1)
        logging.getLogger("sfm.depth").warning("no depth map for 2 frames")
        logging.getLogger("sfm.depth").info("depth at 90 sightings")
    assert capsys.readouterr().err == "warning: no depth map for 2 frames\n"
    assert all(text in log() for text in ("overflow encountered", "no depth map for 2 frames", "depth at 90 sightings"))


class Reached(Exception):
    """The solver was called."""


@pytest.fixture
def called(sfm, plate, tmp_path, monkeypatch):
    """What the solver is called with."""

    def run(*args, clip=plate / "frames"):
        given = {}

        def solve(video, **others):
            given.update(others, video=video)
            raise Reached

        monkeypatch.setattr(pipeline, "reconstruct", solve)
        code, _, told = sfm("reconstruct", clip, "-o", tmp_path / "out", *args)
        assert code == 1 and "Reached" in told
        return given

    return run


def test_what_is_asked_reaches_the_solver(called, tmp_path):
    given = called(
        "--frames", "1002-1010", "--step", "3", "--fps", "25", "--depth", tmp_path, "--depth-kind", "disparity",
        "--depth-weight", "0", "--seed", "7", "--max-tracks", "50", "--refine-focal", "--masks", "mattes",
        "--camera", "300,310,161,92", "--readout-ms", "15", "--max-bridge", "5",
        "--refine-principal-point", "--motion", "nodal",
    )  # fmt: skip
    options, shot = given["options"], given["video"].shot
    assert shot.frame_numbers.tolist() == [1002, 1005, 1008] and shot.fps == 25
    assert (given["depth"], given["masks"]) == (MapFolder(str(tmp_path), "disparity"), "mattes")
    assert options.prior_weight.weight == 0 and options.refine_focal and options.refine_principal_point
    assert options.initialize.seed == 7 and options.tracking.max_tracks == 50
    assert given["camera"].focal_length.tolist() == [300, 310]
    assert options.max_bridge == 5 and options.motion.asked == "nodal"
    assert options.readout == pytest.approx(0.125), "of 3 / 25 s, the time between the frames solved"


def test_how_masks_are_read_and_an_anamorphic_plate_reach_the_solver(called):
    given = called("--masks", "mattes", "--mask-polarity", "white", "--mask-dilate", "5", "--pixel-aspect", "2")
    assert given["camera"] is None
    assert given["options"] == pipeline.Options(masks=MaskOptions("white", 5), pixel_aspect=2.0)
    given = called("--focal-px", "600", "--pixel-aspect", "2", "--distortion", "-.1,0")
    assert given["camera"].focal_length.tolist() == [300, 600]
    assert given["camera"].distortion.tolist() == [-0.1, 0, 0, 0]


def film(folder: Path, pictures, **said) -> Path:
    """The plates as film has them: half-float linear EXRs, by a writer of its own; said: their header."""
    import OpenEXR

    folder.mkdir()
    for number, rgb in zip(NUMBERS, pictures, strict=True):
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **said}
        with OpenEXR.File(header, {"RGB": ((rgb / 255.0) ** 2.2).astype(np.float16)}) as file:
            file.write(str(folder / f"plate.{number}.exr"))
    return folder


def test_what_the_plate_says_of_its_pixels_unless_it_is_told(called, pictures, tmp_path):
    plates = film(tmp_path / "squeezed", pictures, pixelAspectRatio=2.0)
    given = called("--focal-px", "600", *ALONE, clip=plates)
    assert given["camera"].focal_length.tolist() == [300, 600] and given["video"].shot.pixel_aspect == 2
    assert called(*ALONE, clip=plates)["options"].pixel_aspect == 2
    told = called("--focal-px", "600", "--pixel-aspect", "1", *ALONE, clip=plates)
    assert told["camera"].focal_length.tolist() == [600, 600] and told["options"].pixel_aspect == 1
    assert called("--camera", "600,600,160,90", *ALONE, clip=plates)["options"].pixel_aspect == 1


def test_a_film_plate_from_end_to_end(sfm, pictures, tmp_path):
    """What was taken of the plates is in the log and in the result, which shows them again as they were solved."""
    import OpenEXR

    code = OpenEXR.TimeCode(10, 20, 30, 4, *[0] * 14)
    plates = film(tmp_path / "film", pictures, pixelAspectRatio=2.0, timeCode=code)
    out = tmp_path / "out"
    args = ("--camera", f"{FOCAL},{FOCAL},160,90", *FEW, *ALONE)
    code, _, told = sfm("reconstruct", plates, "-o", out, *args)
    assert code == 0, told
    assert "the plate says a pixel aspect of 2; 1 was given, and is taken" in told
    solve = json.loads((out / "solve.json").read_text())
    shot, log = solve["shot"], (out / "sfm.log").read_text()
    assert (shot["timecode"], shot["pixel_aspect"], shot["tone"]["colorspace"]) == ("10:20:30:04", 2.0, "linear")
    assert "plate: linear (so is every EXR): tracked through one curve for the shot, median" in log
    assert solve["camera"]["pixel_aspect"] == 1 and solve["options"]["colorspace"] is None
    code, *_ = sfm("reconstruct", plates, "-o", tmp_path / "raw", *args, "--colorspace", "raw", "--step", "3")
    assert code == 0 and "raw (asked for): tracked as it is" in (tmp_path / "raw" / "sfm.log").read_text()
    outcome = sfm("reconstruct", plates, "-o", tmp_path / "x", *args, "--colorspace", "logc5")
    refused(outcome, 2, "--colorspace logc5: nobody knows it; near it: ", tmp_path / "x")
    outcome = sfm(
        "reconstruct", plates, "-o", tmp_path / "x", *args, "--colorspace", "house", "--ocio", tmp_path / "no.ocio"
    )
    refused(outcome, 3, "no.ocio: no OCIO configuration that can be read", tmp_path / "x")


def test_first_frame_of_a_movie_is_that_of_every_output(sfm, tmp_path):
    out = tmp_path / "out"
    code, _, told = sfm(
        "reconstruct", SAMPLE / "sample.mp4", "-o", out, "--first-frame", "1001", "--frames", "1005-1045", "--step",
        "8", "--focal-px", "622.65", "--depth", SAMPLE / "depth", "--export", "nk,blender,chan,csv", *FEW,
    )  # fmt: skip
    assert code == 0, told
    assert "maps count from 1, the movie from 1001" in told
    solve = json.loads((out / "solve.json").read_text())
    assert solve["shot"]["frame_numbers"] == list(range(1005, 1046, 8)) and solve["shot"]["first_frame"] == 1001
    assert solve["depth_prior"]["given"]
    assert (out / "overlay_depth_1005.png").is_file()
    assert (out / "camera.chan").read_text().splitlines()[-1].split()[0] == "1045"
    nodes = (out / "shot.nk").read_text()
    assert all(
        re.search(words, nodes)
        for words in (r"\n first 5\n last 45\n", r'frame_mode "start at"\n frame 1005\n', r"first_frame 1005\n")
    )
    assert '"movie_start": 1001' in (out / "blender_shot.py").read_text()
    assert read_colmap(out / "sparse" / "0")[1][0] == "sample.1005.png"


def test_an_unknown_lens_starts_from_what_the_first_frame_says(called, pictures, tmp_path):
    image_of = pytest.importorskip("PIL.Image")
    exif = image_of.Exif()
    exif[0x8769] = {0xA405: 18}
    for number in NUMBERS:
        image_of.fromarray(pictures[0]).save(tmp_path / f"still.{number}.jpg", exif=exif.tobytes())
    assert called(*ALONE, clip=tmp_path)["options"] == pipeline.Options(start_fov_deg=pytest.approx(90))
    given = called(*ALONE, "--focal-px", "600", clip=tmp_path)
    assert given["options"] == pipeline.Options() and given["camera"].focal_length[0] == 600


def test_what_is_not_asked_is_left_to_the_solver(called):
    given = called()
    assert given["options"] == pipeline.Options()
    assert given["camera"] is given["masks"] is None
    assert "tracks" not in given


def test_depth_of_own_tracks_reaches_the_solver(called, pictures, tmp_path):
    sequence(tmp_path / "alone", pictures)
    (tmp_path / "t.csv").write_text("frame,track,x,y,depth\n1001,5,10,20,3.5\n1003,5,11,21,\n2000,5,1,1,9\n")
    given = called("--tracks", tmp_path / "t.csv", clip=tmp_path / "alone")  # with maps or a network nowhere
    assert given["tracks"].frame.tolist() == [0, 2] and given["tracks"].xy.tolist() == [[10, 20], [11, 21]]
    np.testing.assert_array_equal(given["depth"].depth, [3.5, np.nan])


def test_maps_of_a_network_are_kept_for_the_next_run(called, plate, tmp_path, monkeypatch):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))
    network = tmp_path / "net.onnx"
    save_brightness(network)
    model = called("--depth", network)["depth"]
    assert isinstance(model, CachedModel) and model.folder.is_relative_to(tmp_path / "cache" / "depth")
    assert isinstance(called("--depth", network, "--no-cache")["depth"], CallableModel)


# depth maps


def save_brightness(path: Path) -> None:
    """A network whose depth is the brightness of the picture."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    node = helper.make_node("ReduceMean", ["picture", "axes"], ["depth"])
    source = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, "h", "w"])
    target = helper.make_tensor_value_info("depth", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph([node], "net", [source], [target], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    helper.set_model_props(model, {"kind": "disparity", "mean": "[0, 0, 0]", "std": "[1, 1, 1]", "long_side": "84"})
    onnx.save(model, path)


def test_depth_writes_maps_and_pictures_of_them(sfm, plate, tmp_path):
    save_brightness(tmp_path / "net.onnx")
    out = tmp_path / "depth"
    args = ["depth", plate / "frames", "-o", out, "--model", tmp_path / "net.onnx", "--frames", "1003-1008"]
    code, said, told = sfm(*args)
    assert code == 0, told
    assert said.split()[0] == str(out) and said.split()[-1] == str(out / "preview.mp4")
    assert re.search(r"^depth 6 of 6 frames, [\d.e+]+ frames/s \(", told, re.MULTILINE)
    assert {file.name for file in out.glob("*.npz")} == {f"plate.{n}.npz" for n in range(1003, 1009)}
    assert json.loads((out / "depth.json").read_text())["kind"] == "disparity"
    refused(sfm(*args, "--kind", "depth"), 2, "of another kind; --force replaces them")
    code, said, told = sfm(*args, "--format", "exr", "--force", "--no-preview", "--step", "5")
    assert code == 0 and sorted(os.listdir(out)) == ["depth.json", "plate.1003.exr", "plate.1008.exr"], told
    assert sfm(*args, "--force", "--quiet") == (0, "", "")


def test_an_interrupted_depth_run_keeps_what_is_done(sfm, plate, tmp_path, monkeypatch):
    from sfm.depth import writing

    save_brightness(tmp_path / "net.onnx")
    written, write = [], writing._write

    def interrupt(*args):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(args[0])
        write(*args)

    out = tmp_path / "depth"
    args = ["depth", plate / "frames", "-o", out, "--model", tmp_path / "net.onnx", "--no-preview"]
    with monkeypatch.context() as patch:
        patch.setattr(writing, "_write", interrupt)
        refused(sfm(*args), 130, "interrupted")
    assert len(list(out.glob("*.npz"))) == 4
    code, _, told = sfm(*args, "--verbose")
    assert code == 0 and "4 depth maps kept, 8 computed by net.onnx" in told


def test_depth_usage(sfm, plate, tmp_path):
    frames, out = plate / "frames", tmp_path / "out"
    for args, code, message in (
        ([frames], 2, "--output"),
        ([], 2, "INPUT"),
        ([frames, frames, "-o", out], 2, "expected one clip"),
        ([frames, "-o", out, "--model", "none"], 2, "nothing to compute maps with"),
        ([frames, "-o", out, "--model", "zoe"], 3, "did you mean zoedepth"),
        ([frames, "-o", out, "--kind", "inverse"], 2, "kind"),
        ([frames, "-o", out, "--format", "png"], 2, "format"),
        ([frames, "-o", out, "--quiet", "--verbose"], 2, "choose one"),
        ([tmp_path / "none.mov", "-o", out], 3, "no such file"),
        (["download"], 2, "expected one name of depth-anything-v2-small, "),
        (["download", "zoe", "depth"], 2, "expected one name of depth-anything-v2-small, "),
        (["download", "dept-pro"], 3, "did you mean depth-pro"),
        (["download", "depth-pro"], 3, r"apple/DepthPro-hf cannot be downloaded \(HF_HUB_OFFLINE is set\)"),
    ):
        refused(sfm("depth", *args), code, message, out)


def test_download_tells_the_licence_and_where_it_went(sfm, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("transformers")
    from sfm.depth import hugging_face

    fetched = []

    def fetch(hub_id, revision, local_dir, allow_patterns):
        fetched.append((hub_id, revision))
        return str(local_dir)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    monkeypatch.setattr(hugging_face, "_reach_hub", lambda: None)
    monkeypatch.setenv("SFM_MODELS", str(tmp_path / "models"))
    code, said, told = sfm("depth", "download", "depth-pro", "-o", tmp_path / "here")
    assert code == 0 and said == f"{tmp_path / 'here'}\n"
    assert "apple/DepthPro-hf, licence Apple ML research (non-commercial)" in told
    assert sfm("depth", "download", "zoedepth")[1] == f"{tmp_path / 'models' / 'zoedepth'}\n"
    assert [hub_id for hub_id, _ in fetched] == ["apple/DepthPro-hf", "Intel/zoedepth-nyu-kitti"]


def test_speed_and_what_is_left():
    from sfm import console

    told = []
    report = console.pace(lambda *args: told.append(args))
    clock = iter([100.0, 130.0, 160.0, 190.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console.time, "monotonic", lambda: next(clock))
        for done in (12, 24, 60, 72):
            report(done, 72)
    assert [text for *_, text in told] == [
        "12 of 72 frames",
        "24 of 72 frames, 0.4 frames/s, 2 min left",
        "60 of 72 frames, 0.8 frames/s, 15 s left",
        "72 of 72 frames, 0.67 frames/s",
    ]
    assert told[1][:2] == ("depth", pytest.approx(1 / 3))


def test_a_taken_output_is_found_before_the_work(sfm, plate, solved, monkeypatch):
    monkeypatch.setattr(pipeline, "reconstruct", lambda *_, **__: pytest.fail("tracked for nothing"))
    refused(sfm("reconstruct", plate / "frames", "-o", solved[0]), 2, "holds a result already")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_render_farm_may_stop_it(plate, tmp_path):
    """SIGTERM while the result is written: nothing of it stays."""
    code = (
        "import os, signal, sys; from sfm import results; from sfm.cli import main;"
        "results.write_top_view = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM);"
        f"main(['reconstruct', {str(plate / 'frames')!r}, '-o', {str(tmp_path / 'o')!r}, '--depth', 'none',"
        f" '--focal-px', '{FOCAL}', '--step', '2', '--max-tracks', '120', '--quiet'])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stderr) == (130, "error: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_options_that_contradict_each_other_about_depth(sfm, plate, tmp_path):
    args = ["reconstruct", plate / "frames", "-o", tmp_path / "o", "--depth", "none"]
    for option in (["--depth-weight", "3"], ["--depth-kind", "depth"], ["--flip-check"]):
        refused(sfm(*args, *option), 2, "--depth none: .* are for a depth prior")


def test_a_wildcard_that_the_shell_expanded(sfm, plate, tmp_path):
    files = sorted((plate / "frames").iterdir())
    refused(sfm("reconstruct", *files, "-o", tmp_path / "o"), 2, "give the folder of frames, or a pattern in quotes")


def test_a_damaged_movie_is_one_line_whatever_the_decoder_says(tmp_path):
    """In a process of its own: FFmpeg writes to stderr from C, and is told to be quiet once."""
    (tmp_path / "cut.mp4").write_text("not a movie")
    code = (
        f"from sfm.cli import main; main(['reconstruct', {str(tmp_path / 'cut.mp4')!r}, '-o', {str(tmp_path / 'o')!r}])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.returncode == 3
    assert process.stderr.count("\n") == 1 and "not a movie OpenCV can read" in process.stderr


@pytest.mark.parametrize(
    ("given", "motion", "zoom", "refine", "said"),
    [
        (True, "small_parallax", False, False, "as given"),
        (True, "small_parallax", False, True, "refined from the one given"),
        (True, "nodal", True, False, "zooming around the one given"),
        (False, "large_parallax", False, False, "estimated from the tracks, not given"),
        (False, "static", False, False, "a camera that stands still cannot tell"),
    ],
)
def test_the_summary_says_where_the_lens_comes_from(solved, capsys, given, motion, zoom, refine, said):
    from sfm import console

    solve = json.loads((solved[0] / "solve.json").read_text())
    solve["camera"]["focal_given"], solve["options"]["stages"]["refine_focal"] = given, refine
    console.summarize(console.output_console(), solve | {"motion": motion, "zoom": zoom}, "out")
    lens = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("lens"))
    assert lens.endswith(said)


@pytest.mark.parametrize(("slide", "said"), [(0.2, "by up to 1.20 px on an HD plate"), (None, "not known")])
def test_the_summary_says_how_far_an_object_is_likely_to_slide(solved, capsys, slide, said):
    from sfm import console

    solve = json.loads((solved[0] / "solve.json").read_text())
    assert solve["likely_slide_px"] is None or 0 < solve["likely_slide_px"] < 5
    console.summarize(console.output_console(), solve | {"likely_slide_px": slide}, "out")
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("slide"))
    assert told.endswith(said)


def test_the_summary_says_what_was_masked_and_exported(solved, capsys):
    from sfm import console

    solve = json.loads((solved[0] / "solve.json").read_text())
    assert solve["masks"] is None
    console.summarize(console.output_console(), solve | {"masks": {"frames": 3, "part": 0.25}}, "out", ["camera.chan"])
    said = capsys.readouterr().out
    assert f"3 of {solve['frames']} frames have one; 25.0 % of these is not tracked" in said
    assert re.search(r"^plates +taken for ", said, re.M) and re.search(r"^ +camera.chan +exported$", said, re.M)
