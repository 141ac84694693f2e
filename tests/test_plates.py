"""Plates of film: what is read of EXR, DPX and TIFF, how they become pictures, a solve that cannot tell."""

import json
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest
from numbered_frames import contents, picture
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from sfm import tone
from sfm.errors import InputError, UsageError
from sfm.geometry import Camera, Sim3
from sfm.images import Header, read_alpha, read_header, read_plate
from sfm.masks import MaskOptions, load_masks
from sfm.pipeline import Options, reconstruct
from sfm.scene import Reconstruction
from sfm.tone import Tone, find_tone
from sfm.tracking import TrackingOptions
from sfm.video import Shot, Video, VideoOptions, open_video, reopen

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample_shot"


def write(path: Path, pixels: np.ndarray, kind: str, window: tuple[int, int, int, int] | None = None, **said) -> Path:
    """A plate by OpenImageIO. window: x, y of the data, size of the display window; said: attributes, `_` for `:`."""
    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, kind)
    if window:
        spec.x, spec.y, spec.full_width, spec.full_height = window
        spec.full_x = spec.full_y = 0
    for name, value in said.items():
        kind_and_value = value if isinstance(value, tuple) else (value,)
        spec.attribute(name.replace("_", ":"), *kind_and_value)
    file = oiio.ImageOutput.create(str(path))
    assert file is not None and file.open(str(path), spec) and file.write_image(pixels) and file.close(), path
    return path


def linear_of(srgb: np.ndarray) -> np.ndarray:
    """Light (IEC 61966-2-1) of 8-bit values."""
    part = srgb / 255.0
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def test_every_depth_comes_as_it_is_stored(tmp_path, rng):
    shape = (9, 14, 3)
    sixteen = rng.integers(0, 65536, shape, dtype=np.uint16)
    assert np.array_equal(read_plate(write(tmp_path / "a.tif", sixteen, "uint16")), sixteen)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)[..., ::-1], sixteen)
    ten = rng.integers(0, 1024, shape)
    deep = read_plate(write(tmp_path / "a.dpx", (ten / 1023).astype(np.float32), "uint16", oiio_BitsPerSample=10))
    assert deep is not None and deep.dtype == np.uint16 and np.array_equal(np.rint(deep / 65535 * 1023), ten)
    light = rng.normal(0, 100, shape)
    for suffix, kind, dtype in (
        ("exr", "half", np.float16),
        ("exr", "float", np.float32),
        ("tif", "float", np.float32),
    ):
        read = read_plate(write(tmp_path / f"f.{suffix}", light.astype(dtype), kind))
        assert read is not None and read.dtype == dtype and np.array_equal(read, light.astype(dtype))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_tiff_is_turned_as_it_says(tmp_path, rng, turn):
    pillow = pytest.importorskip("PIL.Image")
    from PIL import ImageOps

    path = write(tmp_path / "a.tif", rng.integers(0, 256, (7, 11, 3), dtype=np.uint8), "uint8", Orientation=turn)
    with pillow.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_plate(path), expected)


def test_what_a_dpx_says(tmp_path):
    for number in (1001, 1002):
        said = {"dpx_Transfer": "Printing density", "dpx_FrameRate": 25.0, "dpx_TimeCode": "01:02:03:04"}
        write(tmp_path / f"s.{number}.dpx", (picture(number % 64) / 255).astype(np.float32), "uint16", None,
              oiio_BitsPerSample=10, PixelAspectRatio=2.0, **said)  # fmt: skip
    video = open_video(tmp_path)
    shot = video.shot
    assert (shot.fps, shot.timecode, shot.pixel_aspect) == (25.0, "01:02:03:04", 2.0)
    assert (video.tone.colorspace, video.tone.why) == ("cineon", "its header says Printing density")
    assert contents(video) == [1001 % 64, 1002 % 64]
    assert open_video(tmp_path, VideoOptions(fps=24.0)).shot.fps == 24.0


def test_what_an_exr_says_by_another_writer(tmp_path):
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "pixelAspectRatio": 1.5,
        "framesPerSecond": Fraction(24000, 1001), "timeCode": OpenEXR.TimeCode(10, 20, 30, 4, *[0] * 14),
    }  # fmt: skip
    with OpenEXR.File(header, {"RGBA": np.ones((4, 6, 4), np.float16)}) as file:
        file.write(str(tmp_path / "a.exr"))
    said = read_header(tmp_path / "a.exr")
    assert said.pixel_aspect == 1.5 and said.timecode == "10:20:30:04" and said.fps == pytest.approx(24000 / 1001)
    assert said.floating and said.alpha and said.window is None


@pytest.mark.parametrize("rate", [float("nan"), 1e-40, 1e30, -24.0])
def test_rubbish_in_a_header_is_not_believed(tmp_path, rate):
    path = write(tmp_path / "a.dpx", np.zeros((4, 6, 3), np.float32), "uint16", dpx_FrameRate=24.0)
    data = bytearray(path.read_bytes())
    order = ">" if data[:4] == b"SDPX" else "<"
    struct.pack_into(f"{order}II", data, 1628, 0xFFFFFFFE, 1)  # pixel aspect
    struct.pack_into(f"{order}f", data, 1724, rate)
    path.write_bytes(data)
    said = read_header(path)
    assert said.pixel_aspect is None and said.fps is None


@pytest.mark.parametrize(
    ("suffix", "kind", "keep"), [("exr", "half", 0.5), ("dpx", "uint16", 0.6), ("tif", "float", 0.5)]
)
def test_damaged_plates(tmp_path, caplog, capfd, suffix, kind, keep, rng):
    for number in range(1001, 1005):
        write(tmp_path / f"s.{number}.{suffix}", (picture(number % 64) / 255).astype(np.float32), kind)
    victim = tmp_path / f"s.1003.{suffix}"
    whole = victim.read_bytes()
    for damaged in (whole[: int(keep * len(whole))], whole[:100], rng.bytes(3000), b""):
        victim.write_bytes(damaged)
        caplog.clear()
        assert contents(open_video(tmp_path)) == [1001 % 64, 1002 % 64, None, 1004 % 64]
        assert [r.getMessage() for r in caplog.records] == ["s: 1 of 4 frames cannot be decoded, skipped: 1003"]
    for file in tmp_path.iterdir():
        file.write_bytes(rng.bytes(3000))
    with pytest.raises(InputError, match=rf"s\.1001-1004#\.{suffix}: none of its 4 frames can be decoded") as caught:
        open_video(tmp_path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


# windows and masks


def test_the_plate_is_the_display_window(tmp_path, rng):
    light = rng.uniform(0.1, 1, (90, 160, 3)).astype(np.float16)
    for n, (x, y) in enumerate(((0, 0), (-16, -6), (20, 10), (200, 0))):  # as large, overscan, small, beside it
        height, width = {(20, 10): (50, 100)}.get((x, y), (90 - y, 160 - x) if x < 0 else (90, 160))
        data = np.ones((height, width, 3), np.float16)
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, 160), min(y + height, 90)
        if x1 > x0:
            data[y0 - y : y1 - y, x0 - x : x1 - x] = light[y0:y1, x0:x1]
        path = write(tmp_path / f"s.{n + 1}.exr", data, "half", (x, y, 160, 90))
        plate, expected = read_plate(path), np.zeros_like(light)
        if x1 > x0:
            expected[y0:y1, x0:x1] = light[y0:y1, x0:x1]
        assert np.array_equal(plate, expected), (x, y)
    mask = load_masks(None, open_video(tmp_path))
    assert mask(0) is None and mask(1) is None  # overscan is cut off, nothing is missing
    part, none = mask(2), mask(3)
    assert part is not None and none is not None and not none.any()
    assert np.argwhere(part).min(0).tolist() == [10 + 2, 20 + 2] and np.argwhere(part).max(0).tolist() == [57, 117]


def test_nothing_is_tracked_outside_the_data_window_nor_along_its_edge(tmp_path):
    for number, (_, rgb) in enumerate(open_video(SAMPLE / "sample.mp4", VideoOptions("1-6")), start=1001):
        assert rgb is not None
        light = linear_of(rgb).astype(np.float16)[30:, :500]
        write(tmp_path / f"s.{number}.exr", light, "half", (0, 30, 640, 360))
    from sfm.tracking import track_points

    video = open_video(tmp_path)
    tracks = track_points(video, TrackingOptions(max_tracks=200), load_masks(None, video))
    assert tracks.num_tracks > 100
    assert tracks.xy[:, 0].max() < 494 and tracks.xy[:, 1].min() > 36


def test_alpha_as_mask_of_either_polarity(tmp_path):
    pixels = np.full((90, 160, 4), 0.5, np.float16)
    pixels[20:40, 50:70, 3] = 0
    for number in (1, 2):
        write(tmp_path / f"s.{number}.exr", pixels, "half")
        cv2.imwrite(str(tmp_path / f"p.{number}.png"), (pixels.astype(np.float32) * 255).astype(np.uint8))
        cv2.imwrite(str(tmp_path / f"j.{number}.jpg"), np.zeros((90, 160, 3), np.uint8))
    for name in ("s.#.exr", "p.#.png"):
        video = open_video(tmp_path / name)
        black, white = (load_masks("alpha", video, MaskOptions(colour))(1) for colour in ("black", "white"))
        assert black is not None and white is not None
        assert np.argwhere(black == 0).min(0).tolist() == [20, 50] and (black == 0).sum() == 400
        assert np.array_equal(black, 1 - white)
    with pytest.raises(InputError, match=r"--masks alpha: j\.1\.jpg has no alpha; give a folder"):
        load_masks("alpha", open_video(tmp_path / "j.#.jpg"))
    assert read_alpha(tmp_path / "j.1.jpg") is None


def test_masks_beside_the_clip_when_asked(tmp_path, caplog):
    plates, masks = tmp_path / "sh010", tmp_path / "sh010_mask"
    plates.mkdir()
    for number in (1, 2):
        cv2.imwrite(str(plates / f"v2.{number}.png"), picture(number))
    video = open_video(plates)
    with pytest.raises(InputError, match=r"--masks auto: v2\.1\.png has no alpha, nor a folder .*sh010_mask"):
        load_masks("auto", video)
    masks.mkdir()
    for number in (1, 2):
        drawn = np.full((96, 192), 255, np.uint8)
        drawn[:10] = 0
        cv2.imwrite(str(masks / f"v2.{number}.png"), drawn)
    with caplog.at_level("INFO"):
        found = load_masks("auto", video)(0)
    assert found is not None and not found[:10].any() and found[10:].all()
    assert f"those beside the clip, {masks}" in caplog.text
    assert load_masks(None, video)(0) is None  # only when asked


# tone


def test_a_curve_is_the_shots_whatever_its_exposure(tmp_path, rng):
    """Four stops darker gives the same pictures; a dark frame among bright ones stays dark: nothing flickers."""
    light = rng.lognormal(-1.7, 1, (4, 40, 60, 3)).astype(np.float32)
    light[2] *= 0.01
    for stops, folder in ((0, tmp_path / "as_is"), (-4, tmp_path / "dark")):
        folder.mkdir()
        for number, frame in enumerate(light, start=1):
            write(folder / f"s.{number}.exr", frame * 2.0**stops, "float")
    bright, dark = (open_video(tmp_path / name) for name in ("as_is", "dark"))
    for index in range(4):
        assert np.abs(bright.read(index).astype(int) - dark.read(index)).max() <= 1
    assert bright.read(2).mean() < 0.2 * bright.read(1).mean()
    assert dark.tone.white == pytest.approx(bright.tone.white / 16, rel=1e-3)
    assert "one curve for the shot" in bright.tone.told()


def test_highlights_keep_their_contrast(rng):
    """A set at 0.18 and windows 100 times as bright that fill a twentieth of the picture: both are there."""
    light = rng.uniform(0.05, 0.4, (100, 100, 3)).astype(np.float32)
    light[:5] = rng.uniform(10, 30, (5, 100, 3))
    curve = Tone("linear").measured([light])
    shown = curve.picture(light)
    assert shown[:5].max() < 240 and np.ptp(shown[:5].astype(int)) > 20  # three quarters of a stop and a half
    assert np.ptp(shown[5:].astype(int)) > 45  # exposed for the windows, sRGB would leave 25
    beyond = curve.picture(np.array([30, 60, 120, 1000], np.float32))
    assert (np.diff(beyond.astype(int)) > 0).all()  # above what the shot was measured to be


def test_an_ordinary_plate_looks_as_on_a_display():
    srgb = np.arange(256, dtype=np.uint8)
    seen = Tone("linear", middle=0.18, white=1.0).picture(linear_of(srgb).astype(np.float32)).astype(int)
    assert np.abs(seen - srgb)[:230].max() < 20 and (np.diff(seen) >= 0).all()


@pytest.mark.parametrize(
    ("word", "decoded"),
    [
        # ARRI, "ALEXA Log C curve", EI 800; Sony, "S-Log3 technical summary"; Panasonic, "V-Log / V-Gamut"
        ("logc3", lambda t: (10 ** ((t - 0.385537) / 0.247190) - 0.052272) / 5.555556),
        ("ARRI", lambda t: (10 ** ((t - 0.385537) / 0.247190) - 0.052272) / 5.555556),
        ("s-log3", lambda t: 10 ** ((t * 1023 - 420) / 261.5) * 0.19 - 0.01),
        ("V-Log", lambda t: 10 ** ((t - 0.598206) / 0.241514) - 0.00873),
        ("cineon", lambda t: (10 ** ((1023 * t - 685) / 300) - 10 ** (-590 / 300)) / (1 - 10 ** (-590 / 300))),
        ("ACEScg", lambda t: t),
        ("lin_rec709", lambda t: t),
    ],
)
def test_camera_logs_are_the_makers(word, decoded):
    found = find_tone(word, None, ".dpx", Header())
    light = tone._linear(found.colorspace, found.config, "<u2")
    codes = np.arange(20000, 65536, 500)
    assert light[codes] == pytest.approx(decoded(codes / 65535), rel=2e-4)


@pytest.mark.parametrize(
    ("suffix", "header", "colorspace"),
    [
        (".exr", Header(floating=True), "linear"),
        (".tif", Header(floating=True), "linear"),
        (".tif", Header(), "raw"),
        (".dpx", Header(transfer="Logarithmic"), "cineon"),
        (".dpx", Header(transfer="Linear"), "linear"),
        (".dpx", Header(transfer="ITU-R 709-4"), "raw"),
        (".cin", Header(), "cineon"),
        (".jpg", Header(), "raw"),
    ],
)
def test_what_is_taken_where_nobody_says(suffix, header, colorspace):
    assert find_tone(None, None, suffix, header).colorspace == colorspace
    assert find_tone("sRGB", None, suffix, header) == Tone("sRGB", "asked for")


CONFIG = """ocio_profile_version: 2
roles: {scene_linear: set, default: set}
file_rules: [!<Rule> {name: Default, colorspace: default}]
displays: {d: [!<View> {name: v, colorspace: set}]}
colorspaces:
  - !<ColorSpace> {name: set}
  - !<ColorSpace>
      name: House Log
      aliases: [house]
      to_scene_reference: !<LogTransform> {base: 10, direction: inverse}
"""


def test_an_ocio_configuration_of_the_house(tmp_path, monkeypatch):
    config = tmp_path / "house.ocio"
    config.write_text(CONFIG)
    found = find_tone("house", str(config), ".dpx", Header())
    assert (found.colorspace, found.config) == ("House Log", str(config))
    assert tone._linear(found.colorspace, found.config, "<u2")[[0, 65535]] == pytest.approx([1, 10], rel=1e-4)
    assert find_tone("slog3", str(config), ".dpx", Header()).config == tone.STUDIO  # the set's words are known too
    with pytest.raises(UsageError, match="house: nobody knows it"):
        find_tone("house", None, ".dpx", Header())
    monkeypatch.setenv("OCIO", str(config))
    assert find_tone("House Log", None, ".dpx", Header()) == found
    assert find_tone(None, None, ".exr", Header(floating=True)).colorspace == "linear"
    with pytest.raises(
        UsageError, match=r"--colorspace huose: nobody knows it, nor does .*house\.ocio; near it: .*house"
    ):
        find_tone("huose", None, ".dpx", Header())
    config.write_text("ocio_profile_version: nonsense")
    for broken in (tmp_path / "broken.ocio", tmp_path / "none.ocio"):
        (tmp_path / "broken.ocio").write_text("ocio_profile_version: nonsense")
        with pytest.raises(InputError, match=rf"{broken.name}: no OCIO configuration that can be read") as caught:
            find_tone(None, str(broken), ".exr", Header())
        assert "\n" not in str(caught.value)


def test_a_result_shows_the_pictures_that_were_solved(tmp_path, rng):
    light = rng.lognormal(-1.7, 1, (6, 40, 60, 3)).astype(np.float32)
    for number, frame in enumerate(light, start=1001):
        write(tmp_path / f"s.{number}.exr", frame * number % 7, "float")
    video = open_video(tmp_path, VideoOptions("1001-1003"))
    again = reopen(Shot.from_dict(json.loads(json.dumps(video.shot.as_dict()))))
    assert again.tone == video.tone
    for index in range(3):
        assert np.array_equal(again.read(index), video.read(index))
    part = open_video(tmp_path, VideoOptions("1004-1006", tone=video.tone))
    assert part.fingerprints()[0] != open_video(tmp_path, VideoOptions("1004-1006")).fingerprints()[0]


def test_results_of_before_are_read(tmp_path):
    old = {
        "name": "s", "frame_numbers": [1001, 1002], "frame_names": ["s.1001.exr", "s.1002.exr"], "width": 60,
        "height": 40, "fps": 24.0, "source": "s.####.exr", "missing": [],
    }  # fmt: skip
    shot = Shot.from_dict(old)
    assert (shot.first_frame, shot.pixel_aspect, shot.timecode, shot.tone) == (1, None, "", None)


# a solve


def reprojection_apart(one: Reconstruction, other: Reconstruction, frames: np.ndarray) -> np.ndarray:
    """Points of one solve through the cameras of another, px from where its own put them, after the similarity that
    makes this least. A camera on a straight path leaves the turn about it open, so that centres alone align nothing.

    frames: index in the other of each frame of the one, -1 where it has none.
    """
    used = one.inliers & (frames[one.tracks.frame] >= 0)
    frame, points = one.tracks.frame[used], one.points[one.tracks.track[used]]
    seen = one.camera.img_from_cam(one.cams_from_world[frame].apply(points))
    both = np.flatnonzero(frames >= 0)
    near = Sim3.from_points(one.centers_in_world[both], other.centers_in_world[frames[both]])

    def off(change: np.ndarray, some: slice) -> np.ndarray:
        moved = Rotation.from_rotvec(change[:3]).apply(near.apply(points[some])) * np.exp(change[6]) + change[3:6]
        there = other.camera.img_from_cam(other.cams_from_world[frames[frame[some]]].apply(moved))
        return there - seen[some]

    some = slice(None, None, max(len(points) // 5000, 1))
    change = least_squares(lambda x: off(x, some).ravel(), np.zeros(7), x_scale="jac").x
    return np.linalg.norm(off(change, slice(None)), axis=1)


def film_plates(video: Video, folder: Path, gap: set[int]) -> Path:
    """A clip of sRGB pictures as half-float linear EXRs from 1001 on, 24 px of overscan left and above, 40 px short at
    the right."""
    folder.mkdir()
    for index, rgb in video:
        if index in gap or rgb is None:
            continue
        light = linear_of(rgb).astype(np.float16)
        data = np.pad(light[:, :-40], ((24, 0), (24, 0), (0, 0)), mode="edge")
        write(folder / f"plate.{1001 + index}.exr", data, "half", (-24, -24, rgb.shape[1], rgb.shape[0]))
    return folder


def test_linear_plates_solve_as_the_pictures_they_were_made_of(tmp_path):
    clip, options = (
        open_video(SAMPLE / "sample.mp4", VideoOptions(step=3)),
        Options(tracking=TrackingOptions(max_tracks=300)),
    )
    plates = film_plates(clip, tmp_path / "plates", gap={6})
    camera = Camera.from_focal_px(622.6526584459201, 640, 360)
    one, _, _ = reconstruct(clip, "none", camera, options)
    other, _, shot = reconstruct(plates, "none", camera, options)
    assert shot.missing == (1007,) and shot.tone is not None and shot.tone.colorspace == "linear"
    frames = np.searchsorted(shot.frame_numbers, np.arange(1001, 1017))
    frames[6] = -1
    apart = reprojection_apart(one, other, frames)
    print(f"\nEXR beside MP4: rms {np.sqrt((apart**2).mean()):.4f} px, largest {apart.max():.4f}")
    assert len(apart) > 2000 and np.sqrt((apart**2).mean()) < 0.05
    # and the comparison sees what it should: a camera turned by a hundredth of a degree is 0.1 px off
    turned = other.cams_from_world.rotation.copy()
    turned[9] = Rotation.from_euler("y", 0.03, degrees=True).as_matrix() @ turned[9]
    bent = replace(other, cams_from_world=replace(other.cams_from_world, rotation=turned))
    assert reprojection_apart(one, bent, frames).max() > 0.25


@pytest.mark.slow
def test_linear_plates_of_the_rendered_dolly(shared, tmp_path):
    folder = shared / "data" / "rendered_dolly"
    plates = film_plates(open_video(folder / "frames"), tmp_path / "plates", gap={19, 20})
    lens = json.loads((folder / "gt.json").read_text())["frames"][0]
    camera = Camera([lens["fx"], lens["fy"]], [lens["cx"], lens["cy"]], [], 768, 432)
    one, _, _ = reconstruct(folder / "frames", folder / "prior", camera)
    other, _, shot = reconstruct(plates, folder / "prior", camera)
    assert shot.missing == (1020, 1021)
    frames = np.searchsorted(shot.frame_numbers, np.arange(1001, 1073))
    frames[19:21] = -1
    apart = reprojection_apart(one, other, frames)
    print(f"\nEXR beside JPG: rms {np.sqrt((apart**2).mean()):.4f} px, largest {apart.max():.4f}")
    assert np.sqrt((apart**2).mean()) < 0.05 and apart.max() < 0.2
