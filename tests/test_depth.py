"""Depth maps to priors: the half-pixel convention, unknown pixels, every file format, wrong maps."""

import logging
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest

from sfm.depth import CallableModel, DepthModel, DepthOptions, MapFolder, load, sample_depth
from sfm.depth.maps import read_map
from sfm.errors import InputError
from sfm.scene import SKY, DepthPriors, Tracks
from sfm.video import Video, VideoOptions, open_video

WIDTH, HEIGHT = 160, 90


class Maps:
    """A depth model of arrays at hand."""

    sigma = 0.2
    name = "maps at hand"

    def __init__(self, maps, kind="depth"):
        self.given, self.kind = list(maps), kind

    def maps(self, video):
        return iter(self.given)


def make_video(frames: int = 2) -> Video:
    return Video.from_arrays([np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * frames)


def make_sequence(folder: Path, numbers) -> Video:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"shot.{number:04d}.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return open_video(folder)


def tracks_at(xy, frames: int) -> Tracks:
    """Every point of xy (n, 2) seen in every frame."""
    return Tracks.from_dense(np.broadcast_to(np.asarray(xy, dtype=float), (frames, len(xy), 2)))


def sample(depth_map, xy, kind="depth", options=DepthOptions()) -> DepthPriors:  # noqa: B008
    """What one map says at xy (n, 2): two frames, the second without map and tracks."""
    xy = np.asarray(xy, dtype=float)
    tracks = Tracks.from_dense(np.stack([xy, np.full_like(xy, np.nan)]))
    return sample_depth(Maps([depth_map, None], kind), make_video(), tracks, options)


def pixel_centres(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Plate coordinates of a map's pixel centres, top-left corner of the plate (0, 0)."""
    return np.meshgrid((np.arange(width) + 0.5) * WIDTH / width, (np.arange(height) + 0.5) * HEIGHT / height)


def ramp(x, y):
    return 3 + 0.02 * x + 0.05 * y


RESOLUTIONS = [(160, 90), (320, 180), (80, 45), (16, 9), (518, 291)]


@pytest.mark.parametrize("kind", ["depth", "disparity"])
@pytest.mark.parametrize(("width", "height"), RESOLUTIONS)
def test_a_ramp_is_read_exactly_at_any_resolution(rng, width, height, kind):
    """Wrong by half a pixel of either picture, this fails: the ramp is affine in plate coordinates."""
    border = max(WIDTH / width, HEIGHT / height) / 2
    xy = rng.uniform(border, (WIDTH - border, HEIGHT - border), (200, 2))
    priors = sample(ramp(*pixel_centres(width, height)), xy, kind)
    value = ramp(*xy.T)
    np.testing.assert_allclose(priors.depth, value if kind == "depth" else 1 / value, rtol=1e-12)


def test_the_first_pixel_is_its_own_centre():
    grid = np.arange(1, 1 + 9 * 16, dtype=float).reshape(9, 16)
    xy = [(5, 5), (15, 5), (5, 15), (155, 85)]
    priors = sample(grid, xy)
    assert priors.depth.tolist() == [1, 2, 17, 144]


def test_border_takes_the_nearest_pixel_and_outside_is_unknown():
    grid = np.arange(1, 1 + 9 * 16, dtype=float).reshape(9, 16)
    xy = [(0, 0), (160, 90), (0, 5), (80, 0), (-0.1, 45), (160.1, 45), (80, 90.1)]
    priors = sample(grid, xy)
    np.testing.assert_allclose(priors.depth, [1, 144, 1, 8.5, np.nan, np.nan, np.nan])
    assert np.array_equal(np.isnan(priors.sigma), np.isnan(priors.depth))


def test_metric_depth_is_depth(rng):
    xy = rng.uniform(1, 88, (50, 2))
    grid = ramp(*pixel_centres(160, 90))
    metric, depth = (sample(grid, xy, kind) for kind in ("metric", "depth"))
    np.testing.assert_array_equal(metric.depth, depth.depth)
    assert not metric.free_shift and not depth.free_shift and not sample(grid, xy, "disparity").free_shift


@pytest.mark.parametrize(("unit", "offset"), [(1.0, 0.0), (250.0, 3000.0), (0.01, -5.0)])
def test_affine_disparity_is_read_alike_in_every_unit_and_offset(rng, unit, offset):
    """Only the differences count; a map below zero throughout is as good as another."""
    true = 1 / ramp(*pixel_centres(160, 90))
    xy = rng.uniform(1, 88, (300, 2))
    priors = sample(unit * true + offset, xy, "affine_disparity")
    low, high = np.quantile(priors.depth, [0.01, 0.99])
    assert priors.free_shift and np.isfinite(priors.depth).all() and (priors.depth > 0).all()
    assert high / low == pytest.approx(10, rel=0.02)  # the range they start with
    disparity = 1 / ramp(*xy.T)
    slope = np.polyfit(disparity, 1 / priors.depth, 1)
    inner = (priors.depth > low) & (priors.depth < high)
    np.testing.assert_allclose((1 / priors.depth)[inner], np.polyval(slope, disparity)[inner], rtol=0.02)


def test_affine_disparity_at_edges_and_where_it_is_unknown():
    """Sigma and relief are of log depth: a step of disparity weighs more far away, where disparity is small."""
    grid = np.repeat([[-2.0, -1.0, 7.0, 8.0]], 9, axis=0).repeat(4, axis=1)
    grid[0, 0] = np.nan
    options = DepthOptions(edge_sigma=0.5, nearest_to_farthest=10)
    xy = [(5, 5), (20, 45), (140, 45), (40, 45), (120, 45), (60, 45), (100, 45)]
    priors = sample(grid, xy, "affine_disparity", options)
    assert np.isnan(priors.depth[0]) and np.isnan(priors.sigma[0])
    far, near, far_edge, near_edge, behind, before = range(1, 7)
    assert priors.depth[far] > priors.depth[far_edge] > priors.depth[near_edge] > priors.depth[near]
    assert priors.sigma[far] == priors.sigma[near] == 0.2 and priors.relief[near] == 0
    steps = np.log(priors.depth[[far, before]] / priors.depth[[behind, near]])
    np.testing.assert_allclose(priors.relief[[far_edge, near_edge]], steps, rtol=1e-6)
    np.testing.assert_allclose(priors.sigma[[far_edge, near_edge]], np.hypot(0.2, 0.5 * steps), rtol=1e-6)


@pytest.mark.parametrize("unknown", [np.nan, 0, -1, np.inf, -np.inf, 1e10])
@pytest.mark.parametrize("kind", ["depth", "disparity"])
def test_unknown_neighbours(unknown, kind):
    grid = np.full((9, 16), 2.0)
    grid[4, 8] = unknown  # its centre is (85, 45) on the plate
    near = [(85, 45), (76, 45), (94, 45), (85, 36), (94, 54)]
    beside = [(75, 45), (95, 45), (75, 35), (85, 35), (115, 45)]  # other pixel's centres: no weight on the unknown
    priors = sample(grid, near + beside, kind)
    assert np.isnan(priors.depth[:5]).all()
    np.testing.assert_allclose(priors.depth[5:], 2.0 if kind == "depth" else 0.5)


@pytest.mark.parametrize("shape", [(1, 2), (2, 4), (90, 160)])
def test_tiny_maps(shape):
    priors = sample(np.full(shape, 7.0), [(0, 0), (80, 45), (160, 90)])
    assert priors.depth.tolist() == [7, 7, 7]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint16, np.int32])
def test_number_types(dtype):
    grid = np.full((9, 16), 60000, dtype)  # two of them overflow a half float and a 16-bit integer
    priors = sample(grid, [(33.3, 44.4)])
    np.testing.assert_allclose(priors.depth, float(grid[0, 0]))


def test_values_too_large_or_small_to_be_meant():
    grid = np.full((9, 16), 5.0)
    grid[:, 4:8], grid[:, 8:12] = 1e300, 1e-310
    for kind in ("depth", "disparity"):
        priors = sample(grid, [(20, 45), (60, 45), (100, 45)], kind)
        assert np.isfinite(priors.depth).tolist() == [True, False, False]


def test_sigma_grows_at_depth_edges():
    grid = np.full((9, 16), 2.0)
    grid[:, 8:] = 8.0
    options = DepthOptions(edge_sigma=0.5)
    priors = sample(grid, [(40, 45), (80, 45), (75, 45)], options=options)
    np.testing.assert_allclose(priors.sigma, [0.2, np.hypot(0.2, 0.5 * np.log(4)), 0.2])
    np.testing.assert_allclose(priors.relief, [0, np.log(4), np.log(4)], atol=1e-6)


@pytest.mark.parametrize("kind", ["depth", "disparity"])
def test_sigma_grows_in_the_sky(kind):
    depth = np.full((9, 16), 10.0)
    depth[:3], depth[3:5] = 4000.0, 150.0
    xy = [[80.0, 15.0], [80.0, 40.0], [80.0, 80.0]]
    priors = sample(depth if kind == "depth" else 1 / depth, xy, kind)
    np.testing.assert_allclose(priors.depth, [4000, 150, 10])
    np.testing.assert_allclose(priors.sigma, [np.hypot(0.2, np.log(4000 / (SKY * 150))), 0.2, 0.2])


def test_each_observation_gets_its_own_frames_depth(rng):
    xy = rng.uniform(5, 80, (4, 6, 2))
    visible = rng.random((4, 6)) < 0.7
    tracks = Tracks.from_dense(xy, visible)
    priors = sample_depth(Maps([np.full((9, 16), f + 1.0) for f in range(4)]), make_video(4), tracks)
    assert priors.depth.tolist() == (tracks.frame + 1.0).tolist()


def test_frames_without_a_map_are_unknown(caplog):
    with caplog.at_level(logging.INFO):
        priors = sample_depth(Maps([np.ones((9, 16)), None, np.ones((9, 16))]), make_video(3), tracks_at([(9, 9)], 3))
    assert np.isnan(priors.depth).tolist() == [False, True, False]
    assert [r.levelname for r in caplog.records] == ["WARNING"] and "33% are unknown" in caplog.text


def test_summary_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        sample(np.full((9, 16), 2.5), [(9, 9), (20, 20)])
    assert "depth for 2 of 2 observations, 2.5 to 2.5" in caplog.text


def test_maps_that_do_not_fit(rng):
    tracks = tracks_at(rng.uniform(0, 90, (25, 2)), 2)
    good = np.ones((9, 16))
    for maps, words in [
        ([good, np.ones((90, 120))], r"frames\.0002\.png is 120 x 90, the frame 160 x 90.*wrong shot"),
        ([np.ones((160, 90))], "another aspect ratio"),
        ([np.ones((90, 160, 3))], "expected 2 axes"),
        ([good], "gave 1 depth maps for 2 frames"),
        ([good] * 3, "gave more than 2 depth maps for 2 frames"),
        ([np.zeros((9, 16))] * 2, "only 0 of 50 observations"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            sample_depth(Maps(maps), make_video(), tracks)
        assert "\n" not in str(caught.value) and "maps at hand" in str(caught.value)
    with pytest.raises(ValueError, match=r"tracks: got 2 frames, expected the 3"):
        sample_depth(Maps([]), make_video(3), tracks)


@pytest.mark.parametrize(("width", "height"), [(518, 294), (24, 14), (256, 144), (163, 90)])
def test_aspect_ratios_rounded_by_networks_pass(width, height):
    priors = sample(np.ones((height, width)), [(50, 50)])
    assert priors.depth.tolist() == [1]


# folders


def write_pfm(path: Path, values: np.ndarray) -> None:
    """Debevec's format: rows from the bottom up, little endian when the scale is negative."""
    height, width = values.shape
    path.write_bytes(f"Pf\n{width} {height}\n-1.0\n".encode() + values[::-1].astype("<f4").tobytes())


def write_exr(path: Path, channels: dict, **header) -> None:
    with OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage} | header, channels) as f:
        f.write(str(path))


WRITERS = {
    "f64.npy": lambda path, values: np.save(path, values),
    "f16.npy": lambda path, values: np.save(path, values.astype(np.float16)),
    "axis.npy": lambda path, values: np.save(path, values[None]),
    "one.npz": lambda path, values: np.savez_compressed(path, anything=values),
    "key.npz": lambda path, values: np.savez(path, depth=values, other=np.ones(3)),
    "z.exr": lambda path, values: write_exr(path, {"Z": values.astype(np.float32)}),
    "layer.exr": lambda path, values: write_exr(
        path, {"Depth.Z": values.astype(np.float16), "R": np.ones(values.shape, np.float32)}
    ),
    "v.exr": lambda path, values: write_exr(path, {"Depth.V": values.astype(np.float32)}),
    "rgb.exr": lambda path, values: write_exr(path, {"RGB": np.stack([values.astype(np.float32)] * 3, axis=-1)}),
    "odd.exr": lambda path, values: write_exr(path, {"mydepth": values.astype(np.float32)}),
    "f32.pfm": write_pfm,
    "u16.png": lambda path, values: cv2.imwrite(str(path), values.astype(np.uint16)),
    "rgb16.png": lambda path, values: cv2.imwrite(str(path), np.stack([values.astype(np.uint16)] * 3, axis=-1)),
    "f32.tif": lambda path, values: cv2.imwrite(str(path), values.astype(np.float32)),
    "u16.tiff": lambda path, values: cv2.imwrite(str(path), values.astype(np.uint16)),
}


@pytest.mark.parametrize("case", WRITERS)
def test_every_format_is_read_as_written(tmp_path, rng, case):
    values = rng.integers(1, 2000, (9, 16)).astype(float)
    path = tmp_path / f"0001{Path(case).suffix}"
    WRITERS[case](path, values)
    found = read_map(path)
    assert found is not None
    np.testing.assert_array_equal(found, values)


def test_exr_outside_its_data_window_is_unknown(tmp_path):
    window = {
        "dataWindow": (np.array([2, 1], np.int32), np.array([13, 7], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([15, 8], np.int32)),
    }
    write_exr(tmp_path / "a.exr", {"Z": np.full((7, 12), 3.0, np.float32)}, **window)
    found = read_map(tmp_path / "a.exr")
    assert found is not None and found.shape == (9, 16)
    assert np.isnan(found[0]).all() and np.isnan(found[:, :2]).all() and (found[1:8, 2:14] == 3).all()


def test_files_that_are_no_depth_map(tmp_path, rng):
    np.save(tmp_path / "shape.npy", np.ones((4, 9, 16, 2)))
    np.save(tmp_path / "complex.npy", np.ones((9, 16), complex))
    np.save(tmp_path / "flat.npy", np.ones(16))
    np.savez(tmp_path / "two.npz", a=np.ones((9, 16)), b=np.ones((9, 16)))
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((9, 16), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "colour.png"), rng.integers(0, 65535, (9, 16, 3), dtype=np.uint16))
    write_exr(tmp_path / "colour.exr", {"RGB": rng.random((9, 16, 3)).astype(np.float32)})
    write_exr(tmp_path / "mattes.exr", {n: np.ones((9, 16), np.float32) for n in ("m.one", "m.two")})
    for name, words in [
        ("shape.npy", r"shape \(4, 9, 16, 2\); expected \(height, width\)"),
        ("complex.npy", "type complex128"),
        ("flat.npy", "expected"),
        ("two.npz", "holds arrays a, b; expected one"),
        ("gray.png", "8-bit"),
        ("colour.png", "3 channels that differ"),
        ("colour.exr", "3 channels that differ"),
        ("mattes.exr", r"no depth in this EXR \(channels m\.one, m\.two\)"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            read_map(tmp_path / name)
        assert name in str(caught.value)


def save_maps(folder: Path, maps: dict[str, float]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, value in maps.items():
        np.save(folder / name, np.full((9, 16), value))
    return folder


def values_of(model: DepthModel, video: Video) -> list[float | None]:
    return [None if depth is None else float(depth[0, 0]) for depth in model.maps(video)]


def test_maps_are_matched_by_name(tmp_path):
    video = make_sequence(tmp_path / "plates", [1001, 1002, 1003])
    folder = save_maps(tmp_path / "maps", {f"shot.{n}.npy": n for n in (1003, 1001, 1002)})
    save_maps(folder, {"other.1001.npy": 7})
    assert values_of(MapFolder(folder), video) == [1001, 1002, 1003]


@pytest.mark.parametrize("name", ["{}.npy", "depth_{:06d}.npy", "shot.{}_depth.npy", "take2_v03.{}.npy"])
def test_maps_are_matched_by_number(tmp_path, name):
    video = make_sequence(tmp_path / "plates", [1001, 1003, 1004])
    folder = save_maps(tmp_path / "maps", {name.format(n): n for n in range(1000, 1010)})
    assert values_of(MapFolder(folder), video) == [1001, 1003, 1004]


def test_missing_maps_are_listed(tmp_path, caplog):
    video = make_sequence(tmp_path / "plates", range(1001, 1011))
    folder = save_maps(tmp_path / "maps", {f"{n}.npy": n for n in (1001, 1002, 1006, 1007, 1009, 1010)})
    assert values_of(MapFolder(folder), video) == [1001, 1002, None, None, None, 1006, 1007, None, 1009, 1010]
    assert [r.getMessage() for r in caplog.records] == [
        f"{folder}: no depth map for 4 of 10 frames: 1003-1005, 1008",
    ]


def test_whole_numbers_called_metric_are_millimetres(tmp_path):
    video = make_sequence(tmp_path / "plates", [1001, 1002])
    folder = save_maps(tmp_path / "maps", {})
    for number in (1001, 1002):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((9, 16), 1500 + number, np.uint16))
    assert values_of(MapFolder(folder, "metric"), video) == [2.501, 2.502]
    assert values_of(MapFolder(folder, "depth"), video) == [2501, 2502]
    (folder / "depth.json").write_text('{"kind": "metric"}')
    assert values_of(MapFolder(folder), video) == [2.501, 2.502]
    floats = save_maps(tmp_path / "floats", {f"{n}.npy": float(n) for n in (1001, 1002)})
    assert values_of(MapFolder(floats, "metric"), video) == [1001, 1002]


def test_damaged_maps_are_skipped_and_listed(tmp_path, caplog):
    video = make_sequence(tmp_path / "plates", range(1001, 1006))
    folder = save_maps(tmp_path / "maps", {f"{n}.npy": n for n in range(1001, 1006)})
    (folder / "1002.npy").write_bytes(b"")
    (folder / "1003.npy").write_bytes((folder / "1003.npy").read_bytes()[:200])
    (folder / "1005.npy").write_bytes(b"no numbers here")
    assert values_of(MapFolder(folder), video) == [1001, None, None, 1004, None]
    assert "3 of 5 depth maps cannot be read, skipped: 1002-1003, 1005" in caplog.text
    for n in (1001, 1004):
        (folder / f"{n}.npy").write_bytes(b"")
    with pytest.raises(InputError, match="none of its 5 depth maps can be read"):
        values_of(MapFolder(folder), video)


@pytest.mark.parametrize("suffix", ["npz", "exr", "png", "pfm", "tif"])
def test_damaged_map_of_every_format(tmp_path, suffix):
    for damage in (b"", b"nonsense" * 20):
        (tmp_path / f"a.{suffix}").write_bytes(damage)
        assert read_map(tmp_path / f"a.{suffix}") is None


def test_pictures_beside_the_maps_are_ignored(tmp_path):
    """Depth programs write a coloured PNG for the eye beside the numbers."""
    video = make_sequence(tmp_path / "plates", [1001, 1002])
    folder = save_maps(tmp_path / "maps", {"shot.1001.npy": 5, "shot.1002.npy": 6})
    for n in (1001, 1002):
        cv2.imwrite(str(folder / f"shot.{n}.png"), np.zeros((9, 16, 3), np.uint8))
    assert values_of(MapFolder(folder), video) == [5, 6]


def test_wrong_folders_are_refused_before_any_frame_is_read(tmp_path):
    video = make_sequence(tmp_path / "plates", [1001, 1002])
    empty = tmp_path / "empty"
    empty.mkdir()
    with_network = tmp_path / "network"
    with_network.mkdir()
    (with_network / "net.tflite").write_bytes(b"a network")
    others = save_maps(tmp_path / "others", {"shot.2001.npy": 1})
    twins = save_maps(tmp_path / "twins", {"left.1001.npy": 1, "right.1001.npy": 2})
    for folder, words in [
        (tmp_path / "nowhere", "no such folder of depth maps"),
        (empty, r"no depth maps in it \(read are \.npy"),
        (with_network, r"for the network in it give .*net\.tflite"),
        (others, r"none of its 1 depth maps \(shot\.2001\.npy .*\) is named after a frame.*shot\.1001\.png"),
        (twins, r"right\.1001\.npy: a second depth map for frame 1001, beside left\.1001\.npy"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            MapFolder(folder).maps(video)
        assert str(folder) in str(caught.value)


def make_movie(path: Path, frames: int) -> Video:
    movie = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 24, (WIDTH, HEIGHT))
    for _ in range(frames):
        movie.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    movie.release()
    return open_video(path)


def test_maps_of_a_movie(tmp_path, caplog):
    video = make_movie(tmp_path / "clip.mp4", 3)
    named = save_maps(tmp_path / "named", {f"clip.{n:04d}.npy": n for n in (1, 2, 3)})
    numbered = save_maps(tmp_path / "numbered", {f"{n:05d}.npy": n for n in (1, 2, 3)})
    assert values_of(MapFolder(named), video) == values_of(MapFolder(numbered), video) == [1, 2, 3]
    assert not caplog.records
    from_zero = save_maps(tmp_path / "zero", {f"{n:05d}.npy": n for n in (0, 1, 2)})
    assert values_of(MapFolder(from_zero), video) == [0, 1, 2]
    assert "map 0 is taken for frame 1" in caplog.text
    part = open_video(tmp_path / "clip.mp4", VideoOptions(frames="2-3"))
    assert values_of(MapFolder(from_zero), part) == [1, 2]


def test_zero_in_integer_maps_is_unknown(tmp_path):
    video = make_sequence(tmp_path / "plates", [1, 2])
    for n in (1, 2):
        values = np.full((9, 16), 1500, np.uint16)
        values[:, 8:] = 0
        cv2.imwrite(str(tmp_path / f"{n}.png"), values)
    priors = sample_depth(MapFolder(tmp_path), video, tracks_at([(40, 45), (120, 45)], 2))
    np.testing.assert_array_equal(priors.depth, [1500, 1500, np.nan, np.nan])


# functions, and what `load` understands


def test_function_gets_batches_and_keeps_order():
    calls = []

    def brightness(frames):
        calls.append(frames.shape)
        return frames[:, ::10, ::10, 0].astype(np.float16) + 1

    pictures = [np.full((HEIGHT, WIDTH, 3), i, np.uint8) for i in range(7)]
    video = Video.from_arrays([*pictures[:3], None, *pictures[4:]])
    model = CallableModel(brightness, batch_size=3)
    assert values_of(model, video) == [1, 2, 3, None, 5, 6, 7]
    assert calls == [(3, 90, 160, 3), (2, 90, 160, 3), (1, 90, 160, 3)]


@pytest.mark.parametrize(
    "result",
    [lambda f: f[..., 0][0], lambda f: f, lambda f: f[:1, ..., 0], lambda f: "depth", lambda f: f[:, :0, :, 0]],
)
def test_function_with_a_wrong_result(result):
    with pytest.raises(InputError, match=r"depth function: returned shape .* expected \(2, height, width\)"):
        list(CallableModel(result).maps(make_video(2)))


def test_load(tmp_path):
    assert load("none") is None and load(None) is None
    folder = load(str(tmp_path), "disparity")
    assert isinstance(folder, MapFolder) and folder.kind == "disparity"
    function = load(lambda frames: frames[..., 0], "disparity")
    assert isinstance(function, CallableModel) and function.kind == "disparity"
    own = Maps([])
    assert load(own) is own and isinstance(own, DepthModel)
    for spec, said in (
        (tmp_path / "nowhere", "nowhere': no such folder or file$"),
        ("zoe-depth", "or model; (did you mean|models are)"),
        (7, "expected a path, a name"),
        ("", "expected a path, a name"),
    ):
        with pytest.raises(InputError, match=said):
            load(spec)
    with pytest.raises(InputError, match="expected one of metric, depth, disparity"):
        load("none", "inverse")  # pyright: ignore[reportArgumentType]


# real maps


def test_real_sensor_depth(shared):
    """HoloLens: 16-bit millimetres with holes; a room is between half a metre and ten metres deep."""
    data = shared / "data" / "hololens_office"
    video = open_video(data / "rgb")
    grid = np.stack(np.meshgrid(np.arange(40, 540, 60), np.arange(40, 360, 60)), axis=-1).reshape(-1, 2)
    priors = sample_depth(MapFolder(data / "depth"), video, tracks_at(grid, len(video)))
    known = np.isfinite(priors.depth)
    assert known.mean() > 0.4
    assert 500 < np.median(priors.depth[known]) < 10000


def test_real_prior_is_near_the_true_depth(shared):
    """Sampled alike, the network-like maps and the true ones (another resolution) must tell near from far alike."""
    data = shared / "data" / "rendered_dolly"
    video = open_video(data / "frames")
    grid = np.stack(np.meshgrid(np.arange(24.0, 760, 48), np.arange(24.0, 430, 48)), axis=-1).reshape(-1, 2)
    tracks = tracks_at(grid, len(video))
    prior = sample_depth(MapFolder(data / "prior"), video, tracks)
    with np.load(data / "depth.npz") as arrays:
        truth = sample_depth(Maps(arrays["depth"]), video, tracks)
    assert np.isfinite(prior.depth).all()
    both = np.isfinite(truth.depth)
    assert np.corrcoef(np.log(prior.depth[both]), np.log(truth.depth[both]))[0, 1] > 0.9
