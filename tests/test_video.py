"""Frames and their numbers: sequences, movies, damage, bad input."""

import json
import struct
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from numbered_frames import contents, index_of, picture

from sfm.errors import InputError, UsageError
from sfm.video import Shot, Video, VideoOptions, frame_ranges, open_video, to_gray


def write_image(path: Path, rgb: np.ndarray) -> Path:
    # OpenCV's default for float TIFF is lossy
    assert cv2.imwrite(str(path), rgb[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1] if path.suffix == ".tif" else [])
    return path


def write_sequence(folder: Path, numbers, name: str = "shot.{:04d}.png", **size) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        write_image(folder / name.format(number), picture(number % 64, **size))
    return folder


def write_movie(path: Path, frames: int = 30, fourcc: str = "mp4v", fps: float = 25) -> Path:
    movie = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), fps, (192, 96))
    assert movie.isOpened()
    for index in range(frames):
        movie.write(picture(index)[..., ::-1].copy())
    movie.release()
    return path


def write_exr(path: Path, channels: dict, **header) -> Path:
    with OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage} | header, channels) as f:
        f.write(str(path))
    return path


def test_index_survives_the_picture():
    assert [index_of(picture(i)) for i in range(64)] == list(range(64))


# sequences


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "shot.%04d.png",
        "shot.####.png",
        "shot.@@@@.png",
        "shot.#.png",
        "shot.%d.png",
        "shot.$F4.png",
        "shot.1001-1012.png",
        "shot.1001-1012#.png",
    ],
)
def test_sequence_patterns(tmp_path, pattern):
    write_sequence(tmp_path, range(1001, 1013))
    write_sequence(tmp_path, range(1001, 1004), name="other.{:04d}.png")
    video = open_video(tmp_path / pattern)
    assert video.shot.name == "shot"
    assert video.shot.frame_numbers.tolist() == list(range(1001, 1013))
    assert video.shot.frame_names[0] == "shot.1001.png"
    assert (video.shot.width, video.shot.height, video.shot.fps, video.shot.missing) == (192, 96, 24.0, ())
    assert contents(video) == [n % 64 for n in range(1001, 1013)]
    assert index_of(video.read(7)) == 1008 % 64
    assert not video.shot.is_movie
    assert open_video(video.shot.source).shot.as_dict() == video.shot.as_dict()


def test_range_in_the_pattern_limits_the_clip(tmp_path):
    write_sequence(tmp_path, range(1, 21), name="{:03d}.png")
    video = open_video(tmp_path / "5-12#.png")
    assert video.shot.frame_numbers.tolist() == list(range(5, 13))
    assert video.shot.name == tmp_path.name


def test_range_in_the_pattern_beyond_the_files(tmp_path, caplog):
    write_sequence(tmp_path, range(1003, 1010))
    video = open_video(tmp_path / "shot.1001-1012.png", VideoOptions("1002-1010"))
    assert contents(video) == [n % 64 for n in range(1003, 1010)]
    assert video.shot.missing == (1002, 1010) and "1002, 1010" in caplog.text


@pytest.mark.parametrize("name", ["take-{:04d}.png", "sh010v2_{:03d}.png", "{:05d}.png", "f{}.png"])
def test_numbers_are_positive_whatever_precedes_them(tmp_path, name):
    write_sequence(tmp_path, range(8, 13), name=name)
    video = open_video(tmp_path)
    assert video.shot.frame_numbers.tolist() == [8, 9, 10, 11, 12]
    assert contents(video) == [8, 9, 10, 11, 12]


def test_fifth_digit(tmp_path):
    write_sequence(tmp_path, range(9998, 10003))
    assert open_video(tmp_path / "shot.####.png").shot.frame_numbers.tolist() == list(range(9998, 10003))


def test_padding_given_is_the_padding_read(tmp_path):
    write_sequence(tmp_path, range(1, 4), name="shot.{:03d}.png")
    with pytest.raises(InputError, match="no file matches"):
        open_video(tmp_path / "shot.####.png")


def test_longest_sequence_of_a_folder(tmp_path, caplog):
    write_sequence(tmp_path, range(1, 4), name="ref.{:04d}.png")
    write_sequence(tmp_path, range(1001, 1006))
    (tmp_path / "notes.txt").write_text("slate 3 take 2")
    (tmp_path / ".hidden.0001.png").touch()
    assert len(open_video(tmp_path)) == 5
    assert "several sequences" in caplog.text and "ref.#.png (3)" in caplog.text


def test_gaps_are_kept_and_reported_once(tmp_path, caplog):
    write_sequence(tmp_path, [1001, 1002, 1003, 1006, 1007, 1009])
    video = open_video(tmp_path)
    assert video.shot.frame_numbers.tolist() == [1001, 1002, 1003, 1006, 1007, 1009]
    assert video.shot.missing == (1004, 1005, 1008)
    assert contents(video) == [n % 64 for n in (1001, 1002, 1003, 1006, 1007, 1009)]
    assert [r.getMessage() for r in caplog.records] == ["shot: 3 plate numbers have no frame: 1004-1005, 1008"]


@pytest.mark.parametrize(
    ("frames", "step", "expected"),
    [
        ("1003-1006", 1, [1003, 1004, 1005, 1006]),
        ("1009-", 1, [1009, 1010, 1011, 1012]),
        ("-1003", 1, [1001, 1002, 1003]),
        ("1001-1003,1010", 1, [1001, 1002, 1003, 1010]),
        (None, 4, [1001, 1005, 1009]),
        ("1002-1011", 3, [1002, 1005, 1008, 1011]),
    ],
)
def test_frames_and_step(tmp_path, frames, step, expected):
    video = open_video(write_sequence(tmp_path, range(1001, 1013)), VideoOptions(frames, step))
    assert video.shot.frame_numbers.tolist() == expected
    assert contents(video) == [n % 64 for n in expected]


def test_step_over_a_gap_keeps_the_rhythm(tmp_path):
    video = open_video(write_sequence(tmp_path, [1, 2, 3, 4, 6, 7, 8, 9]), VideoOptions(step=2))
    assert video.shot.frame_numbers.tolist() == [1, 3, 7, 9]
    assert video.shot.missing == (5,)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_frames_keep_their_upper_bits(tmp_path, rng, suffix):
    pictures = rng.integers(0, 65536, (3, 20, 30, 3), dtype=np.uint16)
    for i, deep in enumerate(pictures):
        write_image(tmp_path / f"deep.{i}{suffix}", deep)
    for i, rgb in open_video(tmp_path):
        assert rgb is not None and rgb.dtype == np.uint8
        assert np.array_equal(rgb, pictures[i] >> 8)


def test_float_tiff_is_scene_linear(tmp_path, rng):
    linear = rng.uniform(0, 1.2, (20, 30, 3)).astype(np.float32)
    for i in range(2):
        write_image(tmp_path / f"plate.{i}.tif", linear)
    video = open_video(tmp_path)
    rgb = video.read(1)
    assert rgb is not None and video.tone.colorspace == "linear"
    assert np.all(np.diff(rgb.reshape(-1)[np.argsort(linear, axis=None)].astype(int)) >= 0)


def test_exr_sequence_goes_through_one_curve(tmp_path, rng):
    linear = rng.uniform(-0.1, 1.5, (3, 20, 30, 3)).astype(np.float32)
    linear[0, 0, 0] = (np.nan, np.inf, -np.inf)
    for i, frame in enumerate(linear):
        write_exr(tmp_path / f"plate.{1001 + i}.exr", {"RGB": frame})
    video = open_video(tmp_path / "plate.####.exr")
    rgb = video.read(1)
    middle, white = np.median(linear[linear > 0]), np.nanquantile(linear[np.isfinite(linear)], 0.999)
    expected = 229.5 * np.log1p(4 * np.maximum(linear[1], 0) / middle) / np.log1p(4 * white / middle)
    assert rgb is not None and np.abs(rgb - expected)[expected < 225].max() < 1.5
    assert video.shot.frame_numbers.tolist() == [1001, 1002, 1003]
    first = video.read(0)
    assert first is not None and first[0, 0].tolist() == [0, 254, 0]


def test_exr_is_laid_on_its_display_window(tmp_path):
    window = {
        "dataWindow": (np.array([-2, 3], np.int32), np.array([27, 22], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([39, 29], np.int32)),
    }
    plane = np.zeros((20, 30), np.float16)
    plane[5, 7] = 1.0
    for i in range(2):
        write_exr(tmp_path / f"over.{i}.exr", {"view.R": plane, "view.G": plane, "view.B": plane}, **window)
    video = open_video(tmp_path)
    rgb = video.read(0)
    assert rgb is not None and rgb.shape == (30, 40, 3)
    assert np.argwhere(rgb[..., 0]).tolist() == [[5 + 3, 7 - 2]]


def test_exr_without_colour(tmp_path):
    for i in range(2):
        write_exr(tmp_path / f"z.{i}.exr", {"Depth.Z": np.ones((4, 4), np.float32)})
    with pytest.raises(InputError, match=r"z\.0\.exr.*no colour.*Depth\.Z"):
        open_video(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "text"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "exr"])
def test_damaged_frame_is_skipped_and_reported_once(tmp_path, caplog, capfd, damage, suffix):
    for i in range(5):
        if suffix == "exr":
            write_exr(tmp_path / f"shot.{1001 + i}.exr", {"RGB": (picture(i) / 255).astype(np.float32)})
        else:
            write_image(tmp_path / f"shot.{1001 + i}.{suffix}", picture(i))
    victim = tmp_path / f"shot.1003.{suffix}"
    data = victim.read_bytes()
    half = len(data) // 2
    victim.write_bytes(
        {"cut": data[:half], "zeros": data[:half] + bytes(half), "empty": b"", "text": b"no" * 99}[damage]
    )
    video = open_video(tmp_path)
    for _ in range(2):
        assert contents(video) == [0, 1, None, 3, 4]
        assert video.unreadable == [2]
    assert video.read(2) is None
    assert [r.getMessage() for r in caplog.records] == ["shot: 1 of 5 frames cannot be decoded, skipped: 1003"]


def test_damaged_first_frame(tmp_path):
    write_sequence(tmp_path, range(1001, 1005))
    (tmp_path / "shot.1001.png").write_bytes(b"")
    assert contents(open_video(tmp_path)) == [None, 1002 % 64, 1003 % 64, 1004 % 64]


def test_frames_of_different_sizes(tmp_path):
    write_sequence(tmp_path, range(1001, 1005))
    write_image(tmp_path / "shot.1003.png", picture(0, width=96, height=48))
    video = open_video(tmp_path)
    with pytest.raises(InputError, match=r"shot\.1003\.png: 96 x 48 px.*192 x 96"):
        contents(video)
    with pytest.raises(InputError, match=r"shot\.1003\.png"):
        video.read(2)


# movies


@pytest.mark.parametrize(("suffix", "fourcc"), [("mp4", "mp4v"), ("mov", "mp4v"), ("avi", "MJPG"), ("mkv", "mp4v")])
def test_movie_frames_and_indices_agree(tmp_path, suffix, fourcc):
    video = open_video(write_movie(tmp_path / f"clip.{suffix}", fourcc=fourcc))
    assert (len(video), video.shot.width, video.shot.height) == (30, 192, 96)
    assert video.shot.fps == pytest.approx(25)
    assert video.shot.frame_numbers.tolist() == list(range(1, 31))
    assert video.shot.frame_names[0] == "clip.0001.png"
    assert video.shot.is_movie and video.shot.name == "clip"
    assert contents(video) == list(range(30))
    assert [index_of(video.read(i)) for i in (17, 3, 29, 0)] == [17, 3, 29, 0]


def test_movie_colours_are_rgb(tmp_path):
    rgb = open_video(write_movie(tmp_path / "clip.mp4")).read(0)
    assert rgb is not None and np.abs(rgb[-20:].reshape(-1, 3).mean(0) - (200, 0, 60)).max() < 12


def test_movie_range_and_step(tmp_path):
    video = open_video(write_movie(tmp_path / "clip.mp4"), VideoOptions("11-20", 3, 12.5))
    assert video.shot.frame_numbers.tolist() == [11, 14, 17, 20]
    assert video.shot.fps == 12.5
    assert contents(video) == [10, 13, 16, 19]
    assert index_of(video.read(2)) == 16


def test_movie_where_seeking_overshoots(tmp_path, monkeypatch):
    real = cv2.VideoCapture

    class Overshooting:
        def __init__(self, *args):
            self.capture = real(*args)

        def __getattr__(self, name):
            return getattr(self.capture, name)

        def set(self, key, value):
            return self.capture.set(key, value + 5 if key == cv2.CAP_PROP_POS_FRAMES else value)

    monkeypatch.setattr(cv2, "VideoCapture", Overshooting)
    video = open_video(write_movie(tmp_path / "clip.mp4"), VideoOptions("11-20"))
    assert contents(video) == list(range(10, 20))


def test_movie_cut_short(tmp_path, caplog):
    movie = write_movie(tmp_path / "clip.avi", fourcc="MJPG")
    data = movie.read_bytes()
    movie.write_bytes(data[: int(len(data) * 0.6)])
    video = open_video(movie)
    assert 10 < len(video) < 25
    assert contents(video) == list(range(len(video)))
    assert "announces 30 frames" in caplog.text


def test_movie_damaged_in_the_middle_stays_in_step(tmp_path, rng, caplog):
    movie = write_movie(tmp_path / "clip.mp4", fourcc="MJPG")
    data = bytearray(movie.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = rng.bytes(3000)
    movie.write_bytes(data)
    video = open_video(movie)
    shown = contents(video)
    assert len(video) == 30 and 1 <= shown.count(None) < 15
    assert all(index in (None, place) for place, index in enumerate(shown))
    assert video.unreadable == [place for place, index in enumerate(shown) if index is None]
    frames = [video.read(place) for place in range(30)]
    assert [None if rgb is None else index_of(rgb) for rgb in frames] == shown
    assert "cannot be decoded, skipped" in caplog.text


def test_movie_that_lost_a_stretch_keeps_its_numbers(tmp_path, caplog):
    """A Matroska cluster overwritten: neither its packets nor their time stamps are left, but the rest has its own."""
    movie = write_movie(tmp_path / "clip.mkv", frames=60, fourcc="MJPG")
    data = bytearray(movie.read_bytes())
    cluster = b"\x1f\x43\xb6\x75"
    second = data.index(cluster, data.index(cluster) + 4)
    data[second : second + 12] = bytes(12)
    movie.write_bytes(data)
    video = open_video(movie)
    assert 3 < len(video.shot.missing) < 30 and len(video) + len(video.shot.missing) == 60
    assert contents(video) == (video.shot.frame_numbers - 1).tolist()
    assert index_of(video.read(len(video) - 2)) == 58
    assert f"{video.shot.missing[0]}-{video.shot.missing[-1]}" in caplog.text


def test_first_frames_of_a_movie_without_picture(tmp_path):
    """Packets the decoder refuses are frames that cannot be decoded, and the rest keeps its numbers."""
    movie = write_movie(tmp_path / "clip.mp4", fourcc="MJPG")
    data = bytearray(movie.read_bytes())
    start = data.index(b"\xff\xd8\xff")
    end = data.index(b"\xff\xd8\xff", start + 3)
    data[start:end] = bytes(end - start)
    movie.write_bytes(data)
    video = open_video(movie)
    assert contents(video) == [None, *range(1, 30)]
    assert video.shot.frame_numbers[0] == 1


def test_trimmed_movie_holds_what_a_player_shows(tmp_path, caplog):
    """An edit list, as phones write when a clip is trimmed: the frames outside are in the file but not in the clip."""
    movie = write_movie(tmp_path / "clip.mp4")
    data = bytearray(movie.read_bytes())
    ticks = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    at = data.index(b"elst") + 12
    duration, start = struct.unpack_from(">Ii", data, at)
    struct.pack_into(">Ii", data, at, duration // 2, start + ticks * 5 // 25)
    movie.write_bytes(data)
    video = open_video(movie)
    assert contents(video) == list(range(5, 20))
    assert video.shot.frame_numbers.tolist() == list(range(1, 16))
    assert "trimmed" in caplog.text


def test_phone_movie_is_turned_upright(tmp_path):
    movie = write_movie(tmp_path / "clip.mp4")
    data = bytearray(movie.read_bytes())
    quarter_turn = (0, 0x10000, 0, -0x10000, 0, 0, 96 << 16, 0, 0x40000000)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *quarter_turn)
    movie.write_bytes(data)
    video = open_video(movie)
    assert (video.shot.width, video.shot.height) == (96, 192)
    for index, rgb in video:
        assert rgb is not None and index_of(np.rot90(rgb)) == index
    assert index_of(np.rot90(video.read(9))) == 9


# bad input


def test_errors_name_the_problem(tmp_path):
    sequence = write_sequence(tmp_path / "plates", range(1001, 1011))
    single = write_sequence(tmp_path / "single", [1001])
    empty = tmp_path / "empty"
    empty.mkdir()
    unnumbered = tmp_path / "stills"
    write_sequence(unnumbered, range(3), name="still_{}_b.png")
    (tmp_path / "fake.mp4").write_bytes(b"this is no movie\n" * 100)
    (tmp_path / "notes.txt").write_text("neither")
    twice = write_sequence(tmp_path / "twice", [1, 2], name="s{:03d}.png")
    write_sequence(twice, [1], name="s{}.png")
    rotten = write_sequence(tmp_path / "rotten", [1, 2])
    for file in rotten.iterdir():
        file.write_bytes(b"")
    write_movie(tmp_path / "short.mp4", frames=1)
    for path, options, words in [
        (tmp_path / "nowhere.mp4", {}, r"nowhere\.mp4: no such file"),
        (tmp_path / "nowhere", {}, "no such file or folder"),
        (tmp_path / "nowhere/shot.####.png", {}, "no such folder"),
        (sequence / "other.####.png", {}, "no file matches"),
        (sequence / "shot.2001-2010.png", {}, "no file matches.*2001-2010"),
        (tmp_path / "fake.mp4", {}, r"fake\.mp4: not a movie"),
        (tmp_path / "notes.txt", {}, "neither a movie .* nor an image sequence"),
        (empty, {}, "no images in it"),
        (unnumbered, {}, "not numbered"),
        (twice, {}, r"frame 1 is there twice.*s001\.png.*s1\.png"),
        (rotten, {}, "none of its 2 frames can be decoded"),
        (single, {}, "one frame; a shot needs at least 2"),
        (sequence / "shot.1004.png", {}, r"one frame; a shot needs at least 2.*shot\.####\.png"),
        (tmp_path / "short.mp4", {}, "one frame; a shot needs at least 2"),
        (sequence, {"frames": "1004"}, "one frame; a shot needs at least 2"),
        (sequence, {"step": 20}, "one frame; a shot needs at least 2"),
        (sequence, {"step": 0}, "step 0: expected 1 or more"),
        (sequence, {"fps": -1.0}, "fps"),
        (sequence, {"frames": "1001-1080"}, "frames 1001-1080: outside shot, which has 1001-1010"),
        (sequence, {"frames": "1-5"}, "outside shot"),
        (sequence, {"frames": "first-last"}, "expected plate numbers"),
        (sequence, {"frames": ""}, "expected plate numbers|outside"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            open_video(path, VideoOptions(**options))
        assert "\n" not in str(caught.value)


# values


def test_shot_survives_json(tmp_path):
    shot = open_video(write_sequence(tmp_path, [1001, 1003, 1004])).shot
    copy = Shot.from_dict(json.loads(json.dumps(shot.as_dict())))
    assert copy.as_dict() == shot.as_dict()
    assert copy.frame_numbers.tolist() == [1001, 1003, 1004] and copy.missing == (1002,)
    assert not copy.frame_numbers.flags.writeable


def test_video_of_arrays():
    video = Video.from_arrays([picture(0), None, picture(2)], name="mine", fps=30)
    assert contents(video) == [0, None, 2]
    assert video.shot.frame_names == ("mine.0001.png", "mine.0002.png", "mine.0003.png")
    with pytest.raises(InputError, match="no frame"):
        Video.from_arrays([])


def test_frame_ranges():
    assert frame_ranges([1033, 1004, 1005, 1006, 1010]) == "1004-1006, 1010, 1033"
    assert frame_ranges(np.array([7])) == "7"
    assert frame_ranges([]) == ""


def test_gray_weighs_green_most():
    gray = to_gray(np.eye(3, dtype=np.uint8).reshape(1, 3, 3) * 255)
    assert gray.shape == (1, 3) and gray[0, 1] > gray[0, 0] > gray[0, 2]


# real clips


@pytest.mark.parametrize(
    ("path", "count", "size", "first"),
    [
        ("golf/clip.mov", 40, (1920, 1080), 1),
        ("bedroom/clip.mp4", 200, (960, 540), 1),
        ("rendered_dolly/frames", 72, (768, 432), 1001),
        ("hololens_office/rgb", 90, (540, 360), None),
    ],
)
def test_real_clips(shared, path, count, size, first):
    video = open_video(shared / "data" / path)
    assert len(video) == count and (video.shot.width, video.shot.height) == size
    assert first is None or video.shot.frame_numbers[0] == first
    assert video.read(len(video) - 1) is not None


def test_frames_of_a_real_movie_are_in_order(shared):
    """Sampled at random and in a range, a movie with B-frames gives what playing it gives."""
    path = shared / "data" / "bedroom" / "clip.mp4"
    played = [rgb[::9, ::9].copy() for _, rgb in open_video(path) if rgb is not None]
    assert len(played) == 200
    steps = [float(np.abs(a.astype(float) - b).mean()) for a, b in pairwise(played)]
    assert max(steps) < 3 * np.median(steps)  # a slow hand-held move: frames out of order would jump
    video = open_video(path, VideoOptions("91-120", 7))
    for index, rgb in video:
        assert rgb is not None and np.array_equal(rgb[::9, ::9], played[90 + 7 * index])
    rgb = video.read(2)
    assert rgb is not None and np.array_equal(rgb[::9, ::9], played[104])


def test_frames_counted_from_one_are_told_by_their_plate_numbers(tmp_path):
    for number in range(1001, 1011):
        cv2.imwrite(str(tmp_path / f"a.{number}.png"), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(InputError, match=r"which has 1001-1010; counted from 1 these are 1001-1006$"):
        open_video(tmp_path, VideoOptions(frames="1-6"))
    with pytest.raises(InputError, match=r"which has 1001-1010$"):
        open_video(tmp_path, VideoOptions(frames="1-60"))
    for words in ("abc", "1006-1001"):
        with pytest.raises(UsageError, match=words):
            open_video(tmp_path, VideoOptions(frames=words))
