"""The output folder: complete or absent, and read back as it was."""

import json
import os
from dataclasses import replace
from pathlib import Path
from time import sleep

import cv2
import numpy as np
import pytest

from sfm import results
from sfm.bridging import bridge
from sfm.errors import InputError, UsageError
from sfm.export import export
from sfm.files import replacing
from sfm.geometry import Camera, Rigid3
from sfm.pipeline import reconstruct_tracks
from sfm.results import check_output, load_model, load_result, write_result
from sfm.solve_json import describe
from sfm.synthetic import make_shot
from sfm.video import Video

FRAMES, LOST = 7, 3
OPTIONS = {"input": "clip.mov", "seed": 5, "masks": Path("masks"), "focal_px": float("nan")}


@pytest.fixture(scope="module")
def solved():
    """A solve of 7 frames, one of them taken away afterwards, and the video of it, where another cannot be read."""
    truth = make_shot(
        "handheld", rng=np.random.default_rng(1), num_frames=FRAMES, num_tracks=90, noise_px=0.3, depth_error=0.2
    )
    scene, report = reconstruct_tracks(truth.tracks, truth.priors, truth.camera)
    cams, keep = scene.cams_from_world, np.arange(FRAMES) != LOST
    scene = replace(
        scene,
        registered=keep,
        cams_from_world=Rigid3(
            np.where(keep[:, None, None], cams.rotation, np.nan), np.where(keep[:, None], cams.translation, np.nan)
        ),
        depth_scale=np.where(keep, scene.depth_scale, np.nan),
        inliers=scene.inliers & keep[scene.tracks.frame],
    )
    picture = np.full((truth.camera.height, truth.camera.width, 3), 90, np.uint8)
    video = Video.from_arrays([picture] * 2 + [None] + [picture] * 4, name="clip", fps=25)
    for _ in video:
        pass
    return scene, report, video


@pytest.fixture(scope="module")
def written(solved, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "deep" / "out"
    write_result(folder, *solved, OPTIONS, log="what was done\n")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def strict(path: Path) -> dict:
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def chosen(folder: Path) -> set[int]:
    """First, middle and last frame with a camera, and the one with the largest error where it can be decoded."""
    rms = [(row["whitened_rms_px"] or 0.0, row["frame"]) for row in strict(folder / "solve.json")["per_frame"]]
    return {1, 5, 7, max(rms)[1]} - {3}


def test_everything_is_there(written):
    pictures = {f"overlay_{by}_{number:04d}.png" for by in ("depth", "residual") for number in chosen(written)}
    expected = {"reconstruction.npz", "solve.json", "points.ply", "trajectory.tum", "sfm.log", "top_view.png", "sparse"}
    expected |= {"report.html", "report.json"}
    assert {file.name for file in written.iterdir()} == expected | pictures
    assert set(strict(written / "solve.json")["files"]) == expected | pictures
    assert os.listdir(written.parent) == ["out"]
    assert (written / "sfm.log").read_text() == "what was done\n"
    for picture in written.glob("*.png"):
        assert cv2.imread(str(picture)).std() > 5


@pytest.mark.parametrize(("told", "kept"), [("maps", "here"), ("auto", "as told"), ("a/network", "as told")])
def test_depth_maps_are_found_again_from_elsewhere(solved, tmp_path, monkeypatch, told, kept):
    for folder in ("maps", "auto"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    options = describe(*solved, {**OPTIONS, "depth": told})["options"]
    assert options["depth"] == (str(tmp_path / told) if kept == "here" else told)


def test_an_interrupt_while_pictures_are_drawn_leaves_nothing(solved, tmp_path, monkeypatch):
    """The threads that draw are waited for, for a folder cannot go while files come into it."""

    def slow(reconstruction, shot, rgb, frame, path, *how):
        if frame == 0:
            raise KeyboardInterrupt
        sleep(0.05)
        with replacing(path) as temporary:
            temporary.write_bytes(b"late")

    monkeypatch.setattr(results, "write_overlay", slow)
    with pytest.raises(KeyboardInterrupt):
        write_result(tmp_path / "out", *solved, OPTIONS)
    sleep(0.3)
    assert list(tmp_path.iterdir()) == []


def test_a_lens_that_cannot_be_undone_does_not_cost_the_solve(solved, tmp_path, caplog):
    """The lens may be found by the solve: what to export was asked for before."""
    scene, report, video = solved
    camera = scene.camera
    folds = Camera(camera.focal_length, camera.principal_point, [-3.0, 0, 0, 0], camera.width, camera.height)
    bent = replace(scene, camera=folds)
    for formats in (["csv", "nk"], ["stmap"]):
        with pytest.raises(UsageError, match="folds the plate"):
            export(bent, video.shot, tmp_path / "none", formats)
    assert not (tmp_path / "none").exists()
    write_result(tmp_path / "out", bent, report, video, OPTIONS, formats=["csv", "nk"])
    assert "not exported: csv, nk: this lens cannot be undistorted" in caplog.text
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"solve.json", "sparse", "points.ply"} <= names and not {"shot.nk", "camera.csv"} & names


def test_read_back_as_it_was(solved, written):
    scene, _, video = solved
    loaded, shot, solve = load_result(written)
    for name in ("registered", "points", "inliers", "depth_scale", "support", "point_sigma"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(scene, name))
    np.testing.assert_array_equal(loaded.cams_from_world.rotation, scene.cams_from_world.rotation)
    np.testing.assert_array_equal(loaded.tracks.xy, scene.tracks.xy)
    assert loaded.depth_sigma == scene.depth_sigma
    assert shot.as_dict() == video.shot.as_dict()
    assert solve == strict(written / "solve.json")


def test_solve_json_says_what_the_solve_is(solved, written):
    scene, report, video = solved
    solve = strict(written / "solve.json")
    assert solve["verdict"] == report.verdict.value and solve["reasons"] == report.reasons
    assert (solve["motion"], solve["zoom"]) == (report.motion.motion.value, False)
    assert (solve["frames"], solve["registered"]) == (FRAMES, FRAMES - 1)
    assert solve["unregistered_frames"] == [LOST + 1]
    assert solve["unreadable_frames"] == [3]
    assert solve["missing_frames"] == []
    assert solve["seed"] == 5
    assert solve["options"] == {"input": "clip.mov", "seed": 5, "masks": "masks", "focal_px": None}
    assert solve["versions"]["sfm"] and solve["versions"]["numpy"] == np.__version__
    assert 0.05 < solve["depth_sigma"] < 0.6
    assert solve["depth_prior"]["given"] and solve["depth_prior"]["weight"] > 0
    assert solve["points"]["total"] == np.isfinite(scene.points[:, 0]).sum()
    assert solve["points"]["total"] == solve["points"]["triangulated"] + solve["points"]["held_by_prior"]
    assert set(solve["motion_bic"]) >= {"static", "nodal", "free"}
    assert solve["shot"] == video.shot.as_dict()

    rows = solve["per_frame"]
    assert [row["frame"] for row in rows] == list(range(1, FRAMES + 1))
    assert [row["name"] for row in rows] == list(video.shot.frame_names)
    lost = rows[LOST]
    assert (lost["registered"], lost["rms_px"], lost["depth_scale"], lost["tracks"]) == (False, None, None, 0)
    # by hand: the pinhole written out
    squares = {}
    for frame, track, xy, used in zip(
        scene.tracks.frame, scene.tracks.track, scene.tracks.xy, scene.inliers, strict=True
    ):
        if used:
            R, t = scene.cams_from_world.rotation[frame], scene.cams_from_world.translation[frame]
            x, y, z = R @ scene.points[track] + t
            (fx, fy), (cx, cy) = scene.camera.focal_length, scene.camera.principal_point
            squares.setdefault(int(frame), []).append((fx * x / z + cx - xy[0]) ** 2 + (fy * y / z + cy - xy[1]) ** 2)
    for row in rows:
        if row["registered"]:
            assert row["tracks"] == len(squares[row["frame"] - 1])
            assert row["rms_px"] == pytest.approx(np.sqrt(np.mean(squares[row["frame"] - 1])))
            assert row["depth_scale"] == pytest.approx(scene.depth_scale[row["frame"] - 1])
            assert row["focal_px"] == pytest.approx(scene.camera.focal_length[0])
    assert solve["rms_px"] == pytest.approx(np.sqrt(np.mean(np.concatenate(list(squares.values())))))


def test_bridged_frames_are_named(solved):
    scene, report, video = solved
    solve = describe(bridge(scene), report, video, {})
    assert (solve["registered"], solve["bridged_frames"], solve["unregistered_frames"]) == (FRAMES - 1, [LOST + 1], [])
    row = solve["per_frame"][LOST]
    assert (row["registered"], row["bridged"], row["tracks"]) == (False, True, 0) and row["bridge_error_px"] > 0
    assert solve["per_frame"][0]["bridged"] is False and solve["per_frame"][0]["bridge_error_px"] is None


def test_the_readme_explains_every_key(written):
    solve = strict(written / "solve.json")
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    for key in (set(solve) - {"format_version"}) | set(solve["per_frame"][0]) | set(solve["points"]):
        assert f"`{key}`" in readme, key
    for name in ("overlay_depth_*.png", *(file for file in solve["files"] if not file.startswith("overlay"))):
        assert f"`{name}" in readme, name


def test_sigma_is_unknown_without_a_prior(solved):
    scene, report, video = solved
    solve = describe(scene, replace(report, prior_given=False), video, {})
    assert solve["depth_sigma"] is None and solve["depth_prior"]["given"] is False


def test_colmap_model_opens_elsewhere_and_here(solved, written):
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction(str(written / "sparse" / "0"))
    assert sorted(image.name for image in model.images.values()) == [
        f"clip.{number:04d}.png" for number in range(1, FRAMES + 1) if number != LOST + 1
    ]
    for place in (written / "sparse" / "0", written / "sparse"):
        scene, shot = load_model(place)
        assert shot.frame_numbers.tolist() == [1, 2, 3, 5, 6, 7]
        assert scene.has_point.sum() == len(model.points3D)
    scene, shot = load_model(written)
    assert len(shot.frame_numbers) == FRAMES and not scene.registered[LOST]


def test_frames_of_a_foreign_model_are_counted_where_their_names_do_not(solved, tmp_path):
    scene, _, video = solved
    shot = replace(video.shot, frame_names=tuple("abcdefg"))
    results.export(scene, shot, tmp_path, ["colmap"])
    assert load_model(tmp_path)[1].frame_numbers.tolist() == [1, 2, 3, 4, 5, 6]


def test_nothing_is_replaced_unasked(solved, written):
    before = tree(written)
    with pytest.raises(UsageError, match="--force replaces it"):
        write_result(written, *solved, OPTIONS)
    assert tree(written) == before


def test_force_replaces_when_the_new_one_is_complete(solved, written, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    write_result(folder, *solved, OPTIONS)
    before = tree(folder)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(results, "write_overlay", interrupted)
        write_result(folder, *solved, {"seed": 6}, force=True)
    assert tree(folder) == before and os.listdir(tmp_path) == ["out"]

    write_result(folder, *solved, {"seed": 6}, force=True)
    assert strict(folder / "solve.json")["seed"] == 6 and os.listdir(tmp_path) == ["out"]


def test_what_sfm_did_not_write_is_never_deleted(solved, tmp_path):
    foreign = tmp_path / "comp"
    foreign.mkdir()
    (foreign / "shot.nk").write_text("precious")
    with pytest.raises(UsageError, match="no result of sfm"):
        check_output(foreign, force=True)

    out = tmp_path / "out"
    write_result(out, *solved, OPTIONS)
    (out / "shot.nk").write_text("precious")
    with pytest.raises(UsageError, match=r"did not write \(shot.nk\)"):
        write_result(out, *solved, OPTIONS, force=True)
    assert (out / "shot.nk").read_text() == "precious"

    (out / "solve.json").write_text("{}")
    with pytest.raises(UsageError, match="not written by sfm"):
        check_output(out, force=True)


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        check_output(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        check_output(tmp_path / "file" / "out")
    check_output(tmp_path / "new" / "out")
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty")
    assert sorted(os.listdir(tmp_path)) == ["empty", "file"]


def test_an_empty_folder_and_the_current_one_may_be_given(solved, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_result(".", *solved, OPTIONS)
    assert (folder / "solve.json").is_file() and os.listdir(tmp_path) == ["here"]


def test_folders_that_hold_no_result(tmp_path, written):
    with pytest.raises(InputError, match="no such folder"):
        load_result(tmp_path / "none")
    with pytest.raises(InputError, match=r"no solve.json"):
        load_model(tmp_path)
    (tmp_path / "solve.json").write_text("{")
    with pytest.raises(InputError, match=r"solve.json: cannot be read"):
        load_result(tmp_path)
    (tmp_path / "solve.json").write_bytes((written / "solve.json").read_bytes())
    with pytest.raises(InputError, match=r"reconstruction.npz"):
        load_result(tmp_path)
