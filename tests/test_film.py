"""Films are decoded again, and pictures looked at where something must be."""

import dataclasses
import sys

import cv2
import numpy as np
import pytest
from solved import shot_of
from test_view import CAMERA, near_color, read_png, three_points

from sfm.cli import main
from sfm.errors import InputError, MissingDependencyError, UsageError
from sfm.geometry import Rigid3
from sfm.video import Video, open_video
from sfm.view.film import WARNING, write_contact_sheet, write_film
from sfm.view.movie import movie
from sfm.view.palette import BACKGROUND, FRUSTUM, depth_colors, depth_limits
from sfm.view.turntable import Turntable

FRAMES, LOST, BRIDGED, UNREADABLE = 12, 11, 10, 5
PLATE = (200, 120, 40)
HEIGHT, WIDTH = 360, 640
LIMITS = (2.0, 8.0)


@pytest.fixture(scope="module")
def scene():
    """Three points before a camera that slides; the last frame has no camera, the one before an interpolated one."""
    whole = three_points(frames=FRAMES)
    keep = np.arange(FRAMES) < BRIDGED
    cams = whole.cams_from_world
    return dataclasses.replace(
        whole,
        registered=keep,
        bridged=np.arange(FRAMES) == BRIDGED,
        cams_from_world=Rigid3(cams.rotation, np.where(np.arange(FRAMES)[:, None] == LOST, np.nan, cams.translation)),
        inliers=keep[whole.tracks.frame],
    )


def video_of(width: int = 1280, height: int = 720, fps: float = 24000 / 1001) -> Video:
    picture = np.full((height, width, 3), PLATE, np.uint8)
    return Video.from_arrays([None if i == UNREADABLE else picture for i in range(FRAMES)], "shot", fps)


@pytest.fixture(scope="module")
def decoded(scene, tmp_path_factory):
    """The film's stream and its pictures, RGB as a player of BT.709 shows them."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("film") / "f.mp4"
    told = []
    write_film(scene, video_of(), path, height=HEIGHT, report=lambda done, count: told.append((done, count)))
    assert told[0] == (0, FRAMES) and told[-1] == (FRAMES, FRAMES)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        about = (
            stream.codec_context.name,
            stream.codec_context.pix_fmt,
            stream.average_rate,
            float(stream.duration * stream.time_base),
        )
    to_rgb = [f.reformat(format="rgb24", src_colorspace=1, dst_colorspace=1).to_ndarray().astype(int) for f in frames]
    return about, to_rgb, [frame.colorspace for frame in frames]


def test_the_film_is_h264_of_the_right_length_rate_and_size(decoded):
    (codec, pixels, rate, seconds), pictures, colorspaces = decoded
    assert (codec, pixels) == ("h264", "yuv420p")
    assert rate == pytest.approx(24000 / 1001) and rate.denominator == 1001
    assert seconds == pytest.approx(FRAMES * 1001 / 24000, abs=1e-3)
    assert len(pictures) == FRAMES
    assert {picture.shape for picture in pictures} == {(HEIGHT + 36, 3 * WIDTH, 3)}
    assert {int(space) for space in colorspaces} == {1}  # BT.709


def test_the_first_panel_is_the_plate_in_its_colours(decoded):
    _, pictures, _ = decoded
    panel = pictures[0][10 : HEIGHT - 10, 10 : WIDTH - 10]
    assert np.abs(panel - PLATE).max() <= 3
    assert np.ptp(pictures[UNREADABLE][10:100, 10 : WIDTH - 10]) <= 6  # grey, and says so below
    assert pictures[UNREADABLE][160:200, 100:540].max() > 200


def test_the_second_panel_has_every_track_where_it_is(scene, decoded):
    _, pictures, _ = decoded
    here = scene.tracks.in_frame(9)
    expected = depth_colors(np.array([2.0, 4.0, 8.0]), LIMITS).astype(int)
    for track, xy in enumerate(scene.tracks.xy[here] / 2):
        column, row = xy.astype(int)
        dot = pictures[9][row, WIDTH + column]  # of 1.6 px, its colour stored at half the size
        assert np.argmin(np.linalg.norm(expected - dot, axis=1)) == track
        assert np.linalg.norm(expected[track] - dot) < 90


def test_frames_without_a_camera_are_shown_as_that(decoded):
    _, pictures, _ = decoded
    for panel in (1, 2):
        said = [near_color(p[:60, panel * WIDTH : (panel + 1) * WIDTH], WARNING, 70).sum() for p in pictures]
        assert said[LOST] > 15 and said[BRIDGED] > said[LOST]  # "camera interpolated" is the longer
        assert max(said[:BRIDGED]) == 0 or panel == 1  # the dots of the second panel may be as orange


def test_overlay_only_is_as_large_as_the_plate(scene, tmp_path):
    av = pytest.importorskip("av")
    odd = dataclasses.replace(scene, camera=dataclasses.replace(CAMERA, width=1281, height=721))
    write_film(odd, video_of(1281, 721), tmp_path / "f.mov", overlay_only=True)
    with av.open(str(tmp_path / "f.mov")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == FRAMES and pictures[0].shape == (720, 1280, 3)
    column, row = scene.tracks.xy[scene.tracks.in_frame(0)][0].astype(int)
    color = depth_colors(np.array([2.0]), LIMITS)[0]
    assert near_color(pictures[0][row, column].astype(int), color, 40)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 7.5, 100.0])
def test_the_turning_points_stay_in_the_panel_and_keep_their_colours(scene, seconds):
    turning = Turntable(scene, 640, 360, 200.0)
    picture = turning.picture(3, seconds, LIMITS).astype(int)
    for color in depth_colors(np.array([2.0, 4.0, 8.0]), LIMITS):
        rows, columns = np.nonzero(near_color(picture, color, 30))
        assert 2 < len(rows) < 60 and np.ptp(rows) < 12 and np.ptp(columns) < 12
        assert 5 < rows.mean() < 355 and 5 < columns.mean() < 635
    assert near_color(picture, FRUSTUM, 30).sum() > 10
    assert near_color(picture, BACKGROUND, 2).mean() > 0.9


def test_the_points_turn_at_their_speed(scene):
    """Seen from above the middle point goes round the pivot by 12 degrees in a second."""
    turning = Turntable(scene, 640, 360, 10.0)
    one, two = (turning._eye(s).apply(turning._points) for s in (1.0, 2.0))
    down = turning._eye(0.0).rotation[:, 1]
    flat = [place - turning._eye(0.0).apply(turning._pivot) for place in (one, two)]
    flat = [place - np.outer(place @ down, down) for place in flat]
    cosine = np.sum(flat[0] * flat[1], axis=1) / np.prod(np.linalg.norm(flat, axis=2), axis=0)
    np.testing.assert_allclose(np.degrees(np.arccos(cosine)), 12.0, atol=1e-6)


def test_the_scale_bar_is_as_long_as_it_says(scene):
    turning = Turntable(scene, 640, 360, 10.0)
    length, px = turning.scale_bar()
    across = np.linalg.inv(turning._eye(0.0).rotation) @ np.array([length, 0, 0])
    ends = turning._place(turning._eye(0.0).apply(np.array([turning._pivot, turning._pivot + across])))
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(px)
    assert 30 < px < 320 and f"{length:e}"[0] in "125"


def test_points_that_the_frame_does_not_see_are_dim(scene):
    blind = dataclasses.replace(scene, inliers=scene.inliers & (scene.tracks.track != 1))
    picture = Turntable(blind, 640, 360, 1.0).picture(0, 0.0, LIMITS).astype(int)
    near, middle, far = depth_colors(np.array([2.0, 4.0, 8.0]), LIMITS)
    assert near_color(picture, near, 30).any() and near_color(picture, far, 30).any()
    assert not near_color(picture, middle, 30).any()
    assert near_color(picture, 0.55 * middle + 0.45 * BACKGROUND, 15).any()


def test_the_contact_sheet_has_every_frame_of_a_short_shot(scene, tmp_path):
    write_contact_sheet(scene, video_of(), tmp_path / "c.png")
    picture = read_png(tmp_path / "c.png")
    assert picture.shape == (56 + 3 * (270 + 34 + 12), 4 * (480 + 12) + 12, 3)
    color = depth_colors(np.array([2.0]), depth_limits(np.array([2.0, 4.0, 8.0])))[0]
    for frame in range(FRAMES):
        top, left = 56 + frame // 4 * 316, 12 + frame % 4 * 492
        cell, caption = picture[top : top + 270, left : left + 480], picture[top + 272 : top + 304, left : left + 480]
        assert near_color(cell, color, 30).any() == (frame < BRIDGED)
        assert near_color(cell[:40], WARNING, 60).any() == (frame >= BRIDGED)
        assert caption.max() > 120


def test_names_and_packages_are_checked_before_the_work(scene, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"f\.avi: a film is an MP4 or a MOV; give it a name that ends in"):
        write_film(scene, video_of(), tmp_path / "f.avi")
    with pytest.raises(InputError, match=r"c\.jpg: a contact sheet is a PNG"):
        write_contact_sheet(scene, video_of(), tmp_path / "c.jpg")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"writing a film needs av, of the extra \[film\]"):
        write_film(scene, video_of(), tmp_path / "f.mp4")
    lost = dataclasses.replace(scene, registered=np.zeros(FRAMES, bool), bridged=np.zeros(FRAMES, bool))
    with pytest.raises(InputError, match="no registered frame"):
        write_contact_sheet(lost, video_of(), tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_film_leaves_nothing(tmp_path):
    pytest.importorskip("av")
    with pytest.raises(KeyboardInterrupt), movie(tmp_path / "f.mp4", 64, 64, 24.0) as write:
        write(np.zeros((64, 64, 3), np.uint8))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="cannot be written"),
        movie(tmp_path / "file" / "f.mp4", 64, 64, 24.0) as write,
    ):
        write(np.zeros((64, 64, 3), np.uint8))


@pytest.fixture
def result(scene, tmp_path):
    """A folder of plates and a result of them: what the command reads."""
    import json

    (tmp_path / "plates").mkdir()
    for number in range(1001, 1001 + FRAMES):
        cv2.imwrite(str(tmp_path / "plates" / f"plate.{number}.png"), np.full((720, 1280, 3), 90, np.uint8))
    shot = dataclasses.replace(shot_of(CAMERA, FRAMES), source=str(tmp_path / "plates" / "plate.####.png"))
    assert open_video(tmp_path / "plates").shot.frame_names == shot.frame_names
    (tmp_path / "out").mkdir()
    scene.save(tmp_path / "out" / "reconstruction.npz")
    (tmp_path / "out" / "solve.json").write_text(json.dumps({"shot": shot.as_dict()}))
    return tmp_path / "out"


def test_the_command(result, tmp_path, capsys):
    pytest.importorskip("av")
    with pytest.raises(SystemExit) as exit_:
        main(
            [
                "film",
                str(result),
                "-o",
                str(tmp_path / "f.mp4"),
                "--contact",
                str(tmp_path / "c.png"),
                "--height",
                "120",
            ]
        )
    told = capsys.readouterr()
    assert exit_.value.code == 0, told.err
    assert told.out.split() == [str(tmp_path / "f.mp4"), str(tmp_path / "c.png")]
    assert f"film {FRAMES} of {FRAMES} frames" in told.err and (tmp_path / "f.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [([], 2, "--output: where should the film go"), (["-o", "f.gif"], 2, "f.gif: a film is an MP4 or a MOV")],
)
def test_the_command_refuses_in_one_line(result, capsys, words, code, message):
    pytest.importorskip("av")
    with pytest.raises(SystemExit) as exit_:
        main(["film", str(result), *words])
    assert exit_.value.code == code and message in capsys.readouterr().err


def test_plates_that_are_gone_are_one_line(result, tmp_path, capsys):
    (tmp_path / "plates" / "plate.1005.png").unlink()
    with pytest.raises(SystemExit) as exit_:
        main(["film", str(result), "-o", str(tmp_path / "f.mp4")])
    assert exit_.value.code == 3 and len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "f.mp4").exists()
