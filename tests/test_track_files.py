"""Tracks of another tracker, as files."""

import csv
from pathlib import Path

import numpy as np
import pytest

from sfm.errors import InputError, UsageError
from sfm.scene import Tracks
from sfm.synthetic import make_shot
from sfm.track_files import align_tracks, read_tracks, write_tracks


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
@pytest.mark.parametrize("with_depth", [True, False])
def test_read_returns_what_was_written(tmp_path, rng, suffix, with_depth):
    shot = make_shot("orbit", rng=rng, num_frames=6, num_tracks=40, track_length=3)
    depth = np.where(rng.random(len(shot.tracks)) < 0.2, np.nan, shot.priors.depth) if with_depth else None
    numbers = np.array([1001, 1002, 1004, 1005, 1006, 1010])
    write_tracks(tmp_path / f"t{suffix}", shot.tracks, numbers, depth)
    tracks, frame_numbers, read_depth = read_tracks(tmp_path / f"t{suffix}")
    np.testing.assert_array_equal(frame_numbers, numbers)
    np.testing.assert_array_equal(tracks.frame, shot.tracks.frame)
    # tracks that are never seen have no line in the file: the rest close ranks
    np.testing.assert_array_equal(tracks.track, np.unique(shot.tracks.track, return_inverse=True)[1])
    np.testing.assert_allclose(tracks.xy, shot.tracks.xy, atol=1e-6)
    if depth is None:
        assert read_depth is None
    else:
        np.testing.assert_allclose(read_depth, depth, rtol=1e-8)


def test_csv_is_what_the_format_says(tmp_path):
    tracks = Tracks([0, 1, 1], [0, 0, 1], [[0.5, 0.25], [1.5, 2.0], [100.125, 7.0]], 2, 2)
    write_tracks(tmp_path / "t.csv", tracks, [1001, 1003], [2.0, np.nan, 4.5])
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["1001", "1003", "1003"]
    assert [row["track"] for row in rows] == ["0", "0", "1"]
    assert [float(row["x"]) for row in rows] == [0.5, 1.5, 100.125]
    assert [float(row["y"]) for row in rows] == [0.25, 2.0, 7.0]
    assert [row["depth"] for row in rows] == ["2", "nan", "4.5"]


def test_csv_by_hand(tmp_path):
    """Columns in any order, others ignored, a spreadsheet's mark and line ends, sightings in any order."""
    text = "\ufeffTrack, depth ,x,y,Frame,label\r\n7,,10.5,20,1002,a\r\n3,-1,1,2,1001,b\r\n7,5,11,21,1001,c\r\n"
    tracks, numbers, depth = read_tracks(write(tmp_path / "t.csv", text))
    assert numbers.tolist() == [1001, 1002]
    assert tracks.track.tolist() == [0, 1, 1]  # 3 before 7
    assert tracks.frame.tolist() == [0, 0, 1]
    assert tracks.xy.tolist() == [[1, 2], [11, 21], [10.5, 20]]
    np.testing.assert_array_equal(depth, [np.nan, 5, np.nan])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column frame"),
        ("1,1,2,3\n", "no column frame"),
        ("frame,track,x\n1,1,2\n", "no column y"),
        ("frame,track,x,y\n", "holds no observation"),
        ("frame,track,x,y\n1,1,2\n", "not a file of tracks"),
        ("frame,track,x,y\n1,1,2,three\n", "three"),
        ("frame,track,x,y\n1,1.5,2,3\n", r"track 1.5 in observation 1; expected whole numbers"),
        ("frame,track,x,y\n1,1,2,3\n1,2,nan,3\n", "observation 2; expected finite"),
        ("frame,track,x,y\n1001,8,2,3\n1001,8,4,5\n", "track 8 is seen twice in frame 1001"),
    ],
)
def test_malformed_csv_is_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        read_tracks(write(tmp_path / "t.csv", text))
    assert "\n" not in str(error.value) and "t.csv" in str(error.value)


def test_malformed_npz_is_one_line(tmp_path):
    one = np.ones(3)
    cases = {
        "no .xy.": {"frame": one, "track": one},
        "expected": {"frame": one, "track": one, "xy": np.ones((2, 2))},
        "depth": {"frame": one, "track": one, "xy": np.ones((3, 2)), "depth": np.ones(2)},
        "could not convert": {"frame": np.array(["a", "b", "c"]), "track": one, "xy": np.ones((3, 2))},
    }
    for message, arrays in cases.items():
        np.savez(tmp_path / "t.npz", **arrays)
        with pytest.raises(InputError, match=message):
            read_tracks(tmp_path / "t.npz")
    write(tmp_path / "t.npz", "not a zip")
    with pytest.raises(InputError, match="not a file of tracks"):
        read_tracks(tmp_path / "t.npz")


def test_other_files(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_tracks(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"\.csv and \.npz"):
        read_tracks(tmp_path / "t.txt")
    tracks = Tracks([0], [0], [[1, 2]], 1, 1)
    with pytest.raises(UsageError, match=r"\.csv or \.npz"):
        write_tracks(tmp_path / "t.txt", tracks)
    with pytest.raises(InputError, match="cannot be written"):
        write_tracks("/proc/none/t.csv", tracks)
    with pytest.raises(ValueError, match="frame_numbers"):
        write_tracks(tmp_path / "t.csv", tracks, [1, 2])
    assert not list(tmp_path.iterdir())


def test_align_by_plate_number(caplog):
    tracks = Tracks([0, 1, 2, 1], [0, 0, 0, 1], [[1, 1], [2, 2], [3, 3], [4, 4]], 3, 2, whitening=np.ones((2, 2, 2)))
    aligned, keep = align_tracks(tracks, [1001, 1003, 1009], [1000, 1001, 1002, 1003])
    assert aligned.num_frames == 4
    assert aligned.frame.tolist() == [1, 3, 3]
    assert aligned.track.tolist() == [0, 0, 1]
    assert keep.tolist() == [True, True, False, True]
    assert aligned.whitening.tolist() == tracks.whitening.tolist()
    assert "1 of 4 observations" in caplog.text
    with pytest.raises(InputError, match="1001-1009, the clip has 1-48"):
        align_tracks(tracks, [1001, 1003, 1009], np.arange(1, 49))
