"""`sfm insert` and `sfm dense` from the command line: files, lines, errors."""

import json
import shutil

import pytest
from plyfile import PlyData

from sfm.cli import main
from sfm.video import open_video

pytest.importorskip("open3d")


@pytest.fixture(scope="module")
def result(sample_result, tmp_path_factory):
    """One that may be changed."""
    return shutil.copytree(sample_result, tmp_path_factory.mktemp("cli") / "out")


def run(capsys, *words) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(end.value.code), out, err


def test_insert_writes_a_movie(result, tmp_path, capsys):
    movie = tmp_path / "test.mp4"
    words = ("--mesh", "cube", "--at", "320,250", "--frame", 10, "--frames", "10-13", "--size", 60)
    code, out, err = run(capsys, "insert", result, *words, "-o", movie)
    assert code == 0, err
    assert out.splitlines()[0] == str(movie)
    assert "cube of 60, put down at 320,250, " in out and out.splitlines()[1].endswith("frame 10")
    assert len(open_video(movie)) == 4


def test_a_folder_may_have_a_dot_in_its_name(result, tmp_path, capsys):
    words = ("--mesh", "cube", "--at", "320,250", "--frame", 10, "--frames", "10-11", "--depth", "none")
    code, _, err = run(capsys, "insert", result, *words, "-o", tmp_path / "sh010.v002")
    assert code == 0 and len(list((tmp_path / "sh010.v002").iterdir())) == 2, err
    code, _, err = run(capsys, "insert", result, *words, "-o", tmp_path / "film.avi")
    assert code == 2 and ".mp4 or .mov" in err


def test_cones_need_no_place_and_no_depth(result, tmp_path, capsys):
    code, _, err = run(capsys, "insert", result, "--mesh", "cone-grid", "--frames", "1,48", "-o", tmp_path / "cones")
    assert code == 0, err
    assert len(list((tmp_path / "cones").iterdir())) == 2
    code, _, err = run(capsys, "insert", result, "--mesh", "cone-grid", "--at", "track 1", "-o", tmp_path / "other")
    assert code == 2 and "--at is for the others" in err


def test_without_the_maps_nothing_hides_and_a_line_says_so(result, tmp_path, capsys):
    solve = json.loads((result / "solve.json").read_text())
    kept = json.dumps(solve)
    solve["options"]["depth"] = str(tmp_path / "gone")
    (result / "solve.json").write_text(json.dumps(solve))
    try:
        words = ("--mesh", "cube", "--at", "320,250", "--frame", 10, "--frames", "10-11")
        code, _, err = run(capsys, "insert", result, *words, "-o", tmp_path / "test.mp4")
    finally:
        (result / "solve.json").write_text(kept)
    assert code == 0 and "nothing will hide the object" in err and "--depth" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mesh", "cube", "--at", "here"), "expected 'track 12'"),
        (("--mesh", "ball"), "expected one of cube, cone-grid, checker"),
        (("--mesh", "cube", "--frames", "900-950"), "none of the shot's, which are 1-48"),
        (("--mesh", "cube", "--frame", "900"), "none of the shot's"),
        (("--mesh", "cube", "--light", "up"), "two angles in degrees"),
        (("--mesh", "cube", "--at", "track 999999"), "has no point"),
        (("--mesh", "cube", "--at", "1,1", "--depth", "/no/such/folder"), "no/such/folder"),
    ],
)
def test_what_cannot_be_meant_is_one_line(result, tmp_path, capsys, words, said):
    code, _, err = run(capsys, "insert", result, *words, "-o", tmp_path / "test.mp4")
    assert code in (2, 3) and said in err.splitlines()[-1]
    assert not (tmp_path / "test.mp4").exists()


def test_dense_writes_both_and_says_what_they_are(result, tmp_path, capsys):
    words = ("-o", tmp_path / "cloud.ply", "--mesh", tmp_path / "set.ply", "--max-frames", 4)
    code, out, err = run(capsys, "dense", result, *words)
    assert code == 0, err
    assert "held by the depth prior" in out and "voxel" in out
    assert len(PlyData.read(str(tmp_path / "cloud.ply"))["vertex"].data) > 1000
    assert len(PlyData.read(str(tmp_path / "set.ply"))["face"].data) > 1000
    code, _, err = run(capsys, "dense", result, "-o", tmp_path / "cloud.txt")
    assert code == 2 and "written as .ply" in err
