"""Movies of more than 8 bits by PyAV, and what a movie says of itself."""

import logging
import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numbered_frames import contents, index_of, picture

from sfm.errors import InputError, MissingDependencyError, UsageError
from sfm.timecode import frames_of, timecode_of
from sfm.video import Shot, VideoOptions, open_video, reopen

av = pytest.importorskip("av")
PRORES, H264 = ("prores_ks", "yuv422p10le"), ("libx264", "yuv420p10le")


@pytest.fixture(autouse=True)
def quiet_ffmpeg():
    av.logging.set_level(None)


def write_movie(path: Path, codec=PRORES, frames: int = 30, rate: str = "25", timecode: str = "", aspect: str = "1"):
    """Frames that carry their number, over a ramp of 16-bit greys."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec[0], rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = 192, 96, codec[1]
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if codec[0] == "libx264":
            stream.options = {"crf": "10", "bf": "3", "g": "12"}
        if timecode:
            stream.metadata["timecode"] = timecode
        for index in range(frames):
            deep = picture(index).astype(np.uint16) * 257
            deep[64:] = np.linspace(20000, 24000, 192).astype(np.uint16)[:, None]  # 16 levels of 8 bits, 62 of 10
            for packet in stream.encode(av.VideoFrame.from_ndarray(deep, format="rgb48le")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize(("suffix", "codec"), [("mov", PRORES), ("mp4", H264), ("mkv", H264)])
def test_ten_bits_are_kept_and_frames_in_order(tmp_path, suffix, codec):
    video = open_video(write_movie(tmp_path / f"clip.{suffix}", codec))
    assert (len(video), video.shot.width, video.shot.height, video.shot.fps) == (30, 192, 96, 25)
    assert contents(video) == list(range(30))
    assert [index_of(video.read(i)) for i in (17, 3, 29, 0)] == [17, 3, 29, 0]
    _, plate = next(iter(video.plates()))
    assert plate is not None and plate.dtype == np.uint16
    ramp = plate[72:92].astype(float).mean(axis=(0, 2))
    assert np.abs(ramp - np.linspace(20000, 24000, 192)).max() < 500
    assert len(np.unique(plate[80, :, 1])) > 30  # 8 bits have 16 levels here
    part = open_video(tmp_path / f"clip.{suffix}", VideoOptions("11-20", 3))
    assert contents(part) == [10, 13, 16, 19] and part.shot.frame_numbers.tolist() == [11, 14, 17, 20]


def test_eight_bits_stay_with_opencv(tmp_path):
    video = open_video(write_movie(tmp_path / "clip.mp4", ("libx264", "yuv420p")))
    _, plate = next(iter(video.plates()))
    assert plate is not None and plate.dtype == np.uint8 and contents(video) == list(range(30))


def test_without_pyav_it_is_eight_bits_of_the_same_frames(tmp_path, monkeypatch, caplog):
    path = write_movie(tmp_path / "clip.mov", aspect="2", timecode="00:00:41:17")
    deep = open_video(path)
    shown, third = contents(deep), deep.read(3)
    monkeypatch.setitem(sys.modules, "av", None)
    flat = open_video(path)
    assert "10 bits, of which OpenCV decodes 8" in caplog.text and "pip install" in caplog.text
    assert contents(flat) == shown == list(range(30))
    assert np.abs(flat.read(3).astype(int) - third).mean() < 3
    assert flat.shot.pixel_aspect == deep.shot.pixel_aspect == 2 and flat.shot.timecode == ""
    with pytest.raises(MissingDependencyError, match="av"):
        open_video(path, VideoOptions(first_frame="timecode"))


def test_a_log_movie_is_tracked_through_its_curve(tmp_path):
    path = write_movie(tmp_path / "clip.mov")
    plain, log = open_video(path), open_video(path, VideoOptions(colorspace="slog3"))
    assert plain.tone.as_is and log.tone.colorspace.startswith("S-Log3")
    assert contents(log) == contents(plain)
    _, plate = next(iter(log.plates()))
    assert plate is not None
    light = 10 ** ((plate[80] / 65535 * 1023 - 420) / 261.5) * 0.19 - 0.01  # Sony's
    expected = 229.5 * np.log1p(4 * light / log.tone.middle) / np.log1p(4 * log.tone.white / log.tone.middle)
    assert np.abs(log.read(0)[80] - expected).max() < 1 and expected.min() > 30


def test_phone_movie_of_ten_bits_is_turned_upright(tmp_path):
    path = write_movie(tmp_path / "clip.mp4", H264)
    data = bytearray(path.read_bytes())
    quarter_turn = (0, 0x10000, 0, -0x10000, 0, 0, 96 << 16, 0, 0x40000000)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *quarter_turn)
    path.write_bytes(data)
    video = open_video(path)
    assert (video.shot.width, video.shot.height) == (96, 192)
    assert [index_of(np.rot90(rgb)) for _, rgb in video if rgb is not None] == list(range(30))


def test_trimmed_movie_of_ten_bits(tmp_path, caplog):
    path = write_movie(tmp_path / "clip.mov")
    data = bytearray(path.read_bytes())
    ticks = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    at = data.index(b"elst") + 12
    duration, start = struct.unpack_from(">Ii", data, at)
    struct.pack_into(">Ii", data, at, duration // 2, start + ticks * 5 // 25)
    path.write_bytes(data)
    video = open_video(path)
    assert contents(video) == list(range(5, 20)) and "trimmed" in caplog.text


def test_damaged_movie_of_ten_bits_stays_in_step(tmp_path, rng):
    path = write_movie(tmp_path / "clip.mov")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data) - 4) if data[i : i + 4] == b"icpf"]
    assert len(starts) == 30
    data[starts[12] - 4 : starts[14] - 4] = rng.bytes(starts[14] - starts[12])
    path.write_bytes(data)
    video = open_video(path)
    assert contents(video) == [*range(12), None, None, *range(14, 30)]
    assert video.unreadable == [12, 13]


def test_a_movie_without_pictures(tmp_path):
    path = tmp_path / "sound.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    with pytest.raises(InputError, match=r"sound\.mov: no pictures in this movie, only audio$"):
        open_video(path)


# numbers


def test_the_first_frame_is_what_is_told(tmp_path, caplog):
    path = write_movie(tmp_path / "clip.mov", timecode="00:00:40:01")
    with caplog.at_level(logging.INFO):
        plain = open_video(path)
    assert plain.shot.frame_numbers[0] == 1 and plain.shot.timecode == "00:00:40:01"
    assert "00:00:40:01 would be frame 1001: --first-frame timecode" in caplog.text
    for first in (1001, "timecode"):
        video = open_video(path, VideoOptions("1005-1010", first_frame=first))
        shot = video.shot
        assert shot.frame_numbers.tolist() == list(range(1005, 1011)) and shot.first_frame == 1001
        assert shot.frame_names[0] == "clip.1005.png" and shot.timecode == "00:00:40:05"
        assert contents(video) == list(range(4, 10))
        again = reopen(Shot.from_dict(shot.as_dict()))
        assert contents(again) == list(range(4, 10)) and again.shot.as_dict() == shot.as_dict()
    assert (
        open_video(path, VideoOptions("1-2")).fingerprints()
        == open_video(path, VideoOptions("1001-1002", first_frame=1001)).fingerprints()
    )


def test_a_first_frame_that_cannot_be(tmp_path):
    path = write_movie(tmp_path / "clip.mov")
    with pytest.raises(UsageError, match=r"--first-frame timecode: .*clip\.mov: there is none in the file"):
        open_video(path, VideoOptions(first_frame="timecode"))
    import cv2

    for number in (1001, 1002):
        cv2.imwrite(str(tmp_path / f"s.{number}.png"), picture(1))
    with pytest.raises(UsageError, match="--first-frame 1: for movies; these plates carry their numbers, from 1001 on"):
        open_video(tmp_path / "s.#.png", VideoOptions(first_frame=1))


def test_a_rate_that_is_no_whole_number_and_squeezed_pixels(tmp_path):
    shot = open_video(write_movie(tmp_path / "a.mov", rate="24000/1001", timecode="10:00:00:23", aspect="2")).shot
    assert shot.fps == pytest.approx(24000 / 1001) and shot.pixel_aspect == 2 and shot.timecode == "10:00:00:23"


@pytest.mark.parametrize(("fps", "drop"), [(23.976, False), (24, False), (25, False), (29.97, True), (59.94, True)])
def test_time_code_counts_every_frame_once(fps, drop):
    counted = [frames_of(timecode_of(n, fps, drop), fps) for n in range(0, 200_000, 7)]
    assert counted == list(range(0, 200_000, 7))
    assert frames_of(timecode_of(round(fps) * 3600 * 24, 24), 24) is not None or not drop


def test_drop_frame_time_code_as_smpte_has_it():
    assert timecode_of(107892, 29.97, True) == "01:00:00;00"
    assert frames_of("00:01:00:02", 29.97) == 1802 and frames_of("nonsense", 24) is None
    assert frames_of("00:00:00:24", 24) is None and frames_of("00:61:00:00", 24) is None
