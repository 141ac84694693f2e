"""Movies: read back by another reader, frame by frame."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from sfm.errors import InputError, UsageError
from sfm.video import open_video
from sfm.view import movie
from sfm.view.movie import write_movie

COLORS = [(200, 40, 30), (30, 180, 60), (40, 60, 210), (128, 128, 128)]


def plates(width: int = 192, height: int = 108):
    """Frames told apart by a flat colour, with a white square that moves."""
    for k, color in enumerate(COLORS):
        rgb = np.full((height, width, 3), color, np.uint8)
        rgb[10:40, 10 + 30 * k : 40 + 30 * k] = 255
        yield rgb


def boxes(path: Path) -> list[bytes]:
    """The top-level boxes of an MP4, in order."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        found.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_h264_that_browsers_play_with_the_frames_in_order(tmp_path, suffix):
    av = pytest.importorskip("av")
    path = tmp_path / f"shot{suffix}"
    write_movie(path, plates(), 24000 / 1001)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, stream.average_rate) == ("h264", "yuv420p", Fraction(24000, 1001))
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)
        read = [
            frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray() for frame in container.decode(stream)
        ]
    assert len(read) == len(COLORS)
    for k, (rgb, color) in enumerate(zip(read, COLORS, strict=True)):
        assert np.abs(rgb[60:].mean(axis=(0, 1)) - color).max() < 3
        assert rgb[15:35, 15 + 30 * k : 35 + 30 * k].min() > 240
    found = boxes(path)
    assert found.index(b"moov") < found.index(b"mdat")  # plays before all of it is there
    assert list(tmp_path.iterdir()) == [path]


def test_without_pyav_opencv_writes_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(movie, "_has_h264", lambda: False)
    path = tmp_path / "shot.mp4"
    write_movie(path, plates(), 25)
    assert "needs the package av" in caplog.text
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == len(COLORS)
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    capture.release()
    assert list(tmp_path.iterdir()) == [path]


def test_our_own_reader_numbers_it_from_1(tmp_path):
    write_movie(tmp_path / "shot.mp4", plates(), 24)
    video = open_video(tmp_path / "shot.mp4")
    assert video.shot.frame_numbers.tolist() == [1, 2, 3, 4]
    assert video.shot.fps == 24


def test_an_odd_plate_grows_by_its_last_row_and_column(tmp_path):
    write_movie(tmp_path / "shot.mp4", plates(191, 107), 24)
    shot = open_video(tmp_path / "shot.mp4").shot
    assert (shot.width, shot.height) == (192, 108)


def test_what_cannot_be_a_movie(tmp_path):
    with pytest.raises(UsageError, match=r"shot\.avi: a film is an MP4 or a MOV"):
        write_movie(tmp_path / "shot.avi", plates(), 24)
    with pytest.raises(InputError, match="no frame"):
        write_movie(tmp_path / "shot.mp4", [], 24)
    mixed = [*plates(), *plates(96, 96)]
    with pytest.raises(InputError, match="96 x 96 px in a movie of 192 x 108"):
        write_movie(tmp_path / "shot.mp4", mixed, 24)
    assert not list(tmp_path.iterdir())
