"""A clip out of a cut: which media, which plates, how many more, and what is said where that cannot be told."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from numbered_frames import contents, picture
from test_movies import write_movie
from test_plates import write

from sfm import arguments
from sfm.errors import InputError, MissingDependencyError, SfmError, UsageError
from sfm.timecode import frames_of, timecode_of
from sfm.timeline import open_in_timeline
from sfm.video import VideoOptions

otio = pytest.importorskip("opentimelineio")
PLAIN = VideoOptions()


def plates(folder: Path, numbers, suffix: str = "exr", **said) -> Path:
    folder.mkdir()
    for number in numbers:
        pixels = (picture(number % 64) / 255).astype(np.float32)
        write(folder / f"sh.{number}.{suffix}", pixels, "half" if suffix == "exr" else "uint16", None, **said)
    return folder


def span(start: int, count: int, rate: float = 24):
    return otio.opentime.TimeRange(otio.opentime.RationalTime(start, rate), otio.opentime.RationalTime(count, rate))


def timeline(path: Path, *clips) -> Path:
    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    track.extend(clips)
    sound = otio.schema.Track("A1", kind=otio.schema.TrackKind.Audio)
    sound.append(otio.schema.Clip("sound", source_range=span(0, 10)))
    cut = otio.schema.Timeline("cut")
    cut.tracks.extend([track, sound])
    otio.adapters.write_to_file(cut, str(path))
    return path


def sequence(base: str, available=(86400, 40), start: int = 1001):
    return otio.schema.ImageSequenceReference(
        base, "sh.", ".exr", start_frame=start, frame_zero_padding=4, rate=24, available_range=span(*available)
    )


def edl(path: Path, *events: str) -> Path:
    """Events: "reel in out name"."""
    lines, at = ["TITLE: CUT", "FCM: NON-DROP FRAME", ""], 86400
    for number, event in enumerate(events, start=1):
        reel, begin, end, name = event.split()
        count = (frames_of(end, 24) or 0) - (frames_of(begin, 24) or 0)
        record = f"{timecode_of(at, 24)} {timecode_of(at + count, 24)}"
        lines += [f"{number:03d}  {reel:8} V     C        {begin} {end} {record}", f"* FROM CLIP NAME: {name}"]
        at += count
    path.write_text("\n".join(lines) + "\n")
    return path


def test_plates_of_a_timeline_with_handles(tmp_path, caplog):
    plates(tmp_path / "sh010", range(1001, 1041))
    clip = otio.schema.Clip("sh010", sequence((tmp_path / "sh010").as_uri()), span(86408, 12))
    cut = timeline(tmp_path / "cut.otio", clip)
    video = open_in_timeline(cut, "sh010", PLAIN)
    assert video.shot.frame_numbers.tolist() == list(range(1009, 1021)) and video.shot.fps == 24
    assert contents(video) == [n % 64 for n in range(1009, 1021)]
    with caplog.at_level(logging.INFO):
        more = open_in_timeline(cut, "sh010", PLAIN, handles=10)
    assert more.shot.frame_numbers[[0, -1]].tolist() == [1001, 1030]  # there are but 8 before it
    assert "handles of 8 and 10, there being no 10 on both sides" in caplog.text


def test_media_beside_the_timeline_and_at_another_rate(tmp_path):
    """Relative paths are the timeline's; a cut at 25 of media at 50 counts the media's frames."""
    plates(tmp_path / "sh010", range(1001, 1041))
    media = sequence("sh010", available=(0, 40))
    media.rate = 50
    media.available_range = span(0, 40, 50)
    video = open_in_timeline(
        timeline(tmp_path / "c.otio", otio.schema.Clip("a", media, span(4, 6, 25))), "a", VideoOptions()
    )
    assert video.shot.frame_numbers.tolist() == list(range(1009, 1021)) and video.shot.fps == 50


def test_a_movie_of_a_timeline(tmp_path):
    movie = write_movie(tmp_path / "a b.mov", rate="24", timecode="10:00:00:00")
    start = 10 * 3600 * 24
    whole = otio.schema.ExternalReference(movie.as_uri(), span(start, 30))
    untold = otio.schema.ExternalReference(str(movie))
    cut = timeline(
        tmp_path / "cut.otio", otio.schema.Clip("ranged", whole, span(start + 5, 8)),
        otio.schema.Clip("by timecode", untold, span(start + 5, 8)), otio.schema.Clip("all", untold),
        otio.schema.Clip("from its start", untold, span(5, 8)),
    )  # fmt: skip
    for name in ("ranged", "by timecode"):
        video = open_in_timeline(cut, name, PLAIN)
        assert contents(video) == list(range(5, 13)) and video.shot.frame_numbers[0] == 6
        assert video.shot.timecode == "10:00:00:05"
        plate = open_in_timeline(cut, name, VideoOptions(first_frame=1001))
        assert plate.shot.frame_numbers[0] == 1006 and contents(plate) == list(range(5, 13))
    assert len(open_in_timeline(cut, "all", PLAIN)) == 30
    with pytest.raises(InputError, match="clip from its start is frames"):
        open_in_timeline(cut, "from its start", PLAIN)  # the movie's time code says otherwise


def test_an_edl_and_the_time_code_of_its_media(tmp_path):
    write_movie(tmp_path / "A001C003.mov", rate="24", timecode="10:00:00:00")
    plates(tmp_path / "sh020", range(1001, 1031), "dpx", dpx_TimeCode="01:00:10:00", dpx_FrameRate=24.0)
    for number in range(1002, 1031):  # every plate its own
        pixels = (picture(number % 64) / 255).astype(np.float32)
        code = f"01:00:{10 + (number - 1001) // 24}:{(number - 1001) % 24:02d}"
        write(tmp_path / "sh020" / f"sh.{number}.dpx", pixels, "uint16", None, dpx_TimeCode=code, dpx_FrameRate=24.0)
    plates(tmp_path / "sh030", range(1001, 1031))
    cut = edl(
        tmp_path / "cut.edl", "A001C003 10:00:00:05 10:00:00:13 sh010", "A002 01:00:10:04 01:00:10:20 sh020",
        "A003 00:00:41:17 00:00:42:05 sh030", "A003 05:00:00:00 05:00:01:00 sh030",
    )  # fmt: skip
    by_reel = open_in_timeline(cut, "sh010", PLAIN)
    assert contents(by_reel) == list(range(5, 13))
    by_header = open_in_timeline(cut, "sh020", PLAIN)
    assert by_header.shot.frame_numbers[[0, -1]].tolist() == [1005, 1020] and by_header.shot.timecode == "01:00:10:04"
    by_number = open_in_timeline(cut, "sh030#1", PLAIN)  # 00:00:41:17 is frame 1001
    assert by_number.shot.frame_numbers[[0, -1]].tolist() == [1001, 1012]
    with pytest.raises(InputError, match=r"clip sh030 begins at 05:00:00:00, and .*sh\.1001-1030#\.exr has no time"):
        open_in_timeline(cut, "sh030#2", PLAIN)


def test_a_retimed_clip_is_told_of(tmp_path, caplog):
    plates(tmp_path / "sh010", range(1001, 1041))
    clip = otio.schema.Clip("sh010", sequence("sh010"), span(86400, 12))
    clip.effects.append(otio.schema.LinearTimeWarp(time_scalar=2.0))
    assert len(open_in_timeline(timeline(tmp_path / "cut.otio", clip), "sh010", PLAIN)) == 12
    assert "sh010 is retimed in the cut" in caplog.text


def test_what_is_said_where_it_cannot_be_told(tmp_path):
    plates(tmp_path / "sh010", range(1001, 1011))
    missing = otio.schema.Clip("gone", otio.schema.ExternalReference("file:///nowhere/gone.mov"), span(0, 10))
    long = otio.schema.Clip("long", sequence("sh010"), span(86400, 12))
    bare = otio.schema.Clip("bare", source_range=span(0, 10))
    twice = [otio.schema.Clip("sh010", sequence("sh010"), span(86400 + k, 5)) for k in (0, 2)]
    still = otio.schema.Clip("still", sequence("sh010"), span(0, 10, rate=0))
    endless = otio.schema.Clip("endless", otio.schema.ExternalReference("x" * 5000), span(0, 10))
    above = otio.schema.Clip(f"../{tmp_path.name}/sh010", source_range=span(0, 10))
    untold = [otio.schema.Clip("untold"), otio.schema.Clip("untold")]
    cut = timeline(tmp_path / "cut.otio", missing, long, bare, *twice)
    odd = timeline(tmp_path / "odd.otio", still, endless, above, *untold)
    (tmp_path / "bad.otio").write_text("{ no")
    (tmp_path / "bad.edl").write_text("no list of edits\n")
    write_movie(tmp_path / "pal.mov", rate="25")
    list_ = edl(tmp_path / "cut.edl", "AX 00:00:00:00 00:00:01:00 pal")
    cases: list[tuple[Path, str | None, type[SfmError], str]] = [
        (cut, None, UsageError, r"which clip\? --clip takes one of gone, long, bare, sh010$"),
        (cut, "sh01", UsageError, "no clip is called sh01; there are gone, long, bare, sh010$"),
        (cut, "sound", UsageError, "no clip is called sound"),
        (cut, "sh010", UsageError, r"2 clips are called sh010: 'sh010#1' \(5 frames from 01:00:00:00 on\), 'sh010#2'"),
        (cut, "sh010#3", UsageError, "2 clips are called sh010"),
        (
            cut,
            "gone",
            InputError,
            r"clip gone: its media /nowhere/gone\.mov is not there, nor is a movie or folder gone",
        ),
        (
            cut,
            "bare",
            InputError,
            "the timeline does not say where its media is, nor is a movie or folder bare beside it",
        ),
        (cut, "long", InputError, r"clip long is frames 1001-1012, but .* has 1001-1010"),
        (odd, "still", InputError, "clip still has a time that is none; expected frames at a rate above 0"),
        (odd, "endless", InputError, r"the media of clip endless cannot be looked for \(File name too long\)"),
        (odd, above.name, InputError, "the timeline does not say where its media is$"),
        (odd, "untold", UsageError, r"2 clips are called untold: 'untold#1' \(from nowhere that is told\)"),
        (tmp_path / "bad.otio", "a", InputError, r"bad\.otio: not a timeline that can be read"),
        (tmp_path / "bad.edl", "a", InputError, r"bad\.edl: not a timeline that can be read at 24 fps; --fps"),
        (tmp_path / "none.edl", "a", InputError, r"none\.edl: no such file"),
        (list_, "pal", UsageError, "an EDL does not say its rate; its media runs at 25: give --fps 25"),
    ]
    for path, name, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            open_in_timeline(path, name, PLAIN)
        assert "\n" not in str(caught.value)
    assert len(open_in_timeline(cut, "sh010#2", PLAIN)) == 5
    assert len(open_in_timeline(list_, "pal", VideoOptions(fps=25.0))) == 25


def test_words_of_the_command_line(tmp_path, monkeypatch):
    plates(tmp_path / "sh010", range(1001, 1041))
    cut = str(timeline(tmp_path / "cut.otio", otio.schema.Clip("sh010", sequence("sh010"), span(86408, 12))))
    words = arguments.ClipWords(cut, step=4, name="sh010", handles=2)
    assert arguments.open_clip(words).shot.frame_numbers.tolist() == [1007, 1011, 1015, 1019]
    for wrong, message in (
        (arguments.ClipWords(cut, frames="1001-1004", name="sh010"), "--frames: the timeline says which"),
        (arguments.ClipWords(str(tmp_path / "sh010"), name="sh010"), "--clip and --handles: for a timeline"),
        (arguments.ClipWords(str(tmp_path / "sh010"), first_frame="one"), "--first-frame one: expected a plate number"),
    ):
        with pytest.raises(UsageError, match=message):
            arguments.open_clip(wrong)
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(MissingDependencyError, match=r"\[timeline\]: .* -m pip install OpenTimelineIO$"):
        open_in_timeline(cut, "sh010", PLAIN)
