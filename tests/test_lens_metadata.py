"""The focal length that a file says: of a still and of a movie, wherever in it, and of files that say nothing."""

import struct
from pathlib import Path

import numpy as np
import pytest

from sfm.lens_metadata import QUICKTIME_KEY, focal_length_35mm, fov_deg_of


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def meta(key: bytes, kind: int, value: bytes) -> bytes:
    """Apple's list of two keys, of which the second is asked for."""
    keys = box(b"keys", struct.pack(">II", 0, 2), box(b"mdta", b"com.apple.quicktime.make"), box(b"mdta", key))
    items = (box(struct.pack(">I", n), box(b"data", struct.pack(">II", *v[:1], 0), v[1])) for n, v in
             ((1, (1, b"Apple")), (2, (kind, value))))  # fmt: skip
    return box(b"meta", box(b"hdlr", b"\0" * 24), keys, box(b"ilst", *items))


def movie(path: Path, *of_movie: bytes, of_track: bytes = b"") -> Path:
    pictures = struct.pack(">I4sQ", 1, b"mdat", 16 + 1000) + b"\0" * 1000  # the form for 4 GB and more
    header = box(b"moov", box(b"mvhd", b"\0" * 100), box(b"trak", box(b"tkhd", b"\0" * 84), of_track), *of_movie)
    path.write_bytes(box(b"ftyp", b"qt  ") + pictures + header)
    return path


@pytest.mark.parametrize(
    ("kind", "value"),
    [(21, b"\x1a"), (22, b"\0\x1a"), (67, b"\0\0\0\x1a"), (23, struct.pack(">f", 26)), (24, struct.pack(">d", 26)),
     (1, b"26")],
)  # fmt: skip
def test_a_phones_movie_says_it_of_the_picture_or_of_the_whole(tmp_path, kind, value):
    said = meta(QUICKTIME_KEY, kind, value)
    assert focal_length_35mm(movie(tmp_path / "a.MOV", of_track=said)) == 26
    assert focal_length_35mm(movie(tmp_path / "b.mov", said)) == 26
    with_version = box(b"meta", b"\0\0\0\0" + said[8:])
    assert focal_length_35mm(movie(tmp_path / "c.mp4", with_version)) == 26


def test_movies_that_say_nothing(tmp_path, rng):
    assert focal_length_35mm(movie(tmp_path / "other.mov", meta(b"com.apple.quicktime.model", 1, b"X"))) is None
    assert focal_length_35mm(movie(tmp_path / "zero.mov", meta(QUICKTIME_KEY, 21, b"\0"))) is None
    assert focal_length_35mm(movie(tmp_path / "words.mov", meta(QUICKTIME_KEY, 1, b"wide"))) is None
    whole = movie(tmp_path / "whole.mov", meta(QUICKTIME_KEY, 21, b"\x1a")).read_bytes()
    for end in range(0, len(whole) - 1, 7):  # cut short anywhere: no answer, never an exception
        (tmp_path / "cut.mov").write_bytes(whole[:end])
        assert focal_length_35mm(tmp_path / "cut.mov") is None
    (tmp_path / "noise.mp4").write_bytes(rng.bytes(5000))
    assert focal_length_35mm(tmp_path / "noise.mp4") is None
    assert focal_length_35mm(tmp_path / "gone.mov") is None


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_a_still_says_it(tmp_path, name):
    image_of = pytest.importorskip("PIL.Image")
    image = image_of.fromarray(np.zeros((20, 30, 3), np.uint8))
    exif = image_of.Exif()
    exif[0x8769] = {0xA405: 28}
    image.save(tmp_path / name, exif=exif.tobytes())
    assert focal_length_35mm(tmp_path / name) == 28
    image.save(tmp_path / name)
    assert focal_length_35mm(tmp_path / name) is None
    (tmp_path / name).write_text("no picture")
    assert focal_length_35mm(tmp_path / name) is None


def test_the_longer_side_counts_as_36_mm():
    assert fov_deg_of(18.0, 1500, 1000) == pytest.approx(90)
    assert fov_deg_of(18.0, 1000, 1500) == pytest.approx(np.degrees(2 * np.arctan(2 / 3)))  # held upright
    assert fov_deg_of(18.0, 750, 1000, pixel_aspect=2.0) == pytest.approx(90)
