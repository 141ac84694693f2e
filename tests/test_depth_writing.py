"""Maps computed once: what is written, what is kept, what is refused, what it looks like, and the cache."""

import json
import logging
from dataclasses import replace

import cv2
import numpy as np
import OpenEXR
import pytest

from sfm.depth import CallableModel, MapFolder
from sfm.depth.cache import CachedModel, cached
from sfm.depth.maps import read_map
from sfm.depth.writing import IDENTITY, about_map, write_maps
from sfm.errors import InputError, UsageError
from sfm.video import Video, VideoOptions, open_video
from sfm.view.depth_preview import map_colors, write_previews

WIDTH, HEIGHT = 160, 90
NUMBERS = range(1001, 1007)


class Network:
    """A model that counts the frames it is asked for: depth is the brightness of the frame plus 1, near at the left."""

    def __init__(self):
        self.seen: list[int] = []
        self.stop_after = 10**9

    def __call__(self, frames):
        for frame in frames:
            if len(self.seen) == self.stop_after:
                raise KeyboardInterrupt
            self.seen.append(int(frame[0, 0, 0]))
        ramp = np.linspace(0, 1, 16)
        return np.stack([np.tile(frame[0, 0, 0] + 1 + ramp, (9, 1)) for frame in frames])

    def model(self, **others) -> CallableModel:
        made = CallableModel(self, sigma=0.07, batch_size=1, name="net", revision="r1", settings={"size": (9, 16)})
        return replace(made, **others)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def video(tmp_path) -> Video:
    (tmp_path / "plates").mkdir()
    for number in NUMBERS:
        plate = np.full((HEIGHT, WIDTH, 3), number - 1000, np.uint8)
        cv2.imwrite(str(tmp_path / "plates" / f"shot.{number}.png"), plate)
    return open_video(tmp_path / "plates")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "maps"


def near_edges(model, video) -> list[float]:
    return [round(float(depth_map[0, 0]), 3) for depth_map in model.maps(video)]


# what is written


@pytest.mark.parametrize("map_format", ["npz", "exr"])
def test_a_map_per_frame_that_is_read_back(video, network, out, map_format):
    told = []
    maps = write_maps(network.model(), video, out, map_format, progress=lambda *done: told.append(done))
    assert sorted(file.name for file in out.iterdir()) == ["depth.json", *(f"shot.{n}.{map_format}" for n in NUMBERS)]
    assert near_edges(maps, video) == near_edges(MapFolder(out), video) == [2, 3, 4, 5, 6, 7]
    assert told == [(done, 6) for done in range(7)]
    found = read_map(out / f"shot.1003.{map_format}")
    assert found is not None and found.dtype == np.float16
    np.testing.assert_allclose(found, np.tile(4 + np.linspace(0, 1, 16), (9, 1)), rtol=1e-3)


def test_what_is_said_of_them(video, network, out):
    model = network.model(kind="affine_disparity", seen=type("Seen", (), {"field_of_view_deg": 41.5}))
    maps = write_maps(model, video, out)
    about = json.loads((out / "depth.json").read_text())
    assert about == {
        "model": "net", "revision": "r1", "kind": "affine_disparity", "sigma": 0.07, "field_of_view_deg": 41.5,
        "settings": {"size": [9, 16]}, "clip": "shot", "format": "npz", "sfm": about["sfm"],
    }  # fmt: skip
    assert (maps.kind, maps.sigma, maps.field_of_view_deg) == ("affine_disparity", 0.07, 41.5)
    label = about_map(out / "shot.1001.npz")
    assert label is not None and all(label[key] == about[key] for key in (*IDENTITY, "field_of_view_deg"))


def test_exr_is_what_other_programs_read(video, network, out):
    write_maps(network.model(), video, out, "exr")
    with OpenEXR.File(str(out / "shot.1001.exr")) as file:
        assert list(file.channels()) == ["Z"] and file.channels()["Z"].pixels.dtype == np.float16
        assert json.loads(file.header()["about"])["model"] == "net"


@pytest.mark.parametrize(
    ("values", "kind", "dtype"),
    [
        ([1.0, 500.0], "depth", np.float16),
        ([1.0, 70000.0], "depth", np.float32),  # beyond the largest half
        ([1.0, 1e-6], "disparity", np.float32),  # far away, and lost in half
        ([1.0, 0.0], "disparity", np.float16),
        ([1.0, np.nan], "depth", np.float16),
        ([1.0, np.inf], "depth", np.float16),
        ([-3.0, 1e-6], "affine_disparity", np.float16),
        ([1000.3, 1001.0], "affine_disparity", np.float32),  # the differences are what counts
    ],
)
def test_half_precision_only_where_it_says_the_same(video, out, values, kind, dtype):
    grid = np.tile(np.repeat(values, 8), (9, 1))
    model = CallableModel(lambda frames: np.stack([grid] * len(frames)), kind, name="net")
    write_maps(model, video, out)
    found = read_map(out / "shot.1001.npz")
    assert found is not None and found.dtype == dtype
    np.testing.assert_allclose(found, grid, rtol=1e-3, atol=3e-3 if kind == "affine_disparity" else 0)


def test_movies_and_arrays_are_named_after_their_frames(network, out):
    write_maps(network.model(), Video.from_arrays([np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2, "clip"), out)
    assert (out / "clip.0002.npz").is_file()


# what is kept


def test_an_interrupted_run_goes_on(video, network, out):
    network.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        write_maps(network.model(), video, out)
    assert sorted(file.name for file in out.iterdir()) == ["depth.json", *(f"shot.{n}.npz" for n in NUMBERS[:3])]
    network.stop_after, told = 99, []
    maps = write_maps(network.model(), video, out, progress=lambda *done: told.append(done))
    assert network.seen == [1, 2, 3, 4, 5, 6] and told[0] == (3, 6)
    assert near_edges(maps, video) == [2, 3, 4, 5, 6, 7]
    write_maps(network.model(), video, out)
    assert len(network.seen) == 6


def test_only_what_is_damaged_or_changed_is_computed_again(video, network, out, tmp_path):
    write_maps(network.model(), video, out)
    whole = (out / "shot.1002.npz").read_bytes()
    (out / "shot.1002.npz").write_bytes(whole[: len(whole) // 2])
    (out / "shot.1003.npz").write_bytes(b"")
    whole = (out / "shot.1004.npz").read_bytes()
    values = whole.index(b"depth.npy") + 40  # the note beside them stays whole
    (out / "shot.1004.npz").write_bytes(whole[:values] + bytes(8) + whole[values + 8 :])
    assert about_map(out / "shot.1004.npz") is not None and read_map(out / "shot.1004.npz") is None
    (out / "shot.1005.npz").unlink()
    cv2.imwrite(str(tmp_path / "plates" / "shot.1006.png"), np.full((HEIGHT, WIDTH, 3), 60, np.uint8))
    network.seen.clear()
    maps = write_maps(network.model(), video, out)
    assert network.seen == [2, 3, 4, 5, 60]
    assert near_edges(maps, video) == [2, 3, 4, 5, 6, 61]


def test_more_frames_of_the_clip_are_added(video, network, out, tmp_path):
    write_maps(network.model(), open_video(tmp_path / "plates", VideoOptions(step=2)), out)
    write_maps(network.model(), video, out)
    assert network.seen == [1, 3, 5, 2, 4, 6]


def test_frames_that_cannot_be_decoded_get_no_map(network, out, tmp_path, video, caplog):
    (tmp_path / "plates" / "shot.1002.png").write_bytes(b"cut")
    broken = open_video(tmp_path / "plates")
    maps = write_maps(network.model(), broken, out)
    assert network.seen == [1, 3, 4, 5, 6] and not (out / "shot.1002.npz").exists()
    write_maps(network.model(), broken, out)
    assert [r.getMessage() for r in caplog.records] == ["shot: 1 of 6 frames cannot be decoded, skipped: 1002"]
    write_previews(maps, broken, out)


# what is refused


@pytest.mark.parametrize(
    ("change", "word"),
    [({"revision": "r2"}, "revision"), ({"name": "other"}, "model"), ({"kind": "disparity"}, "kind"),
     ({"settings": {}}, "settings")],
)  # fmt: skip
def test_maps_of_another_model_are_replaced_only_by_force(video, network, out, change, word):
    write_maps(network.model(), video, out)
    before = (out / "shot.1001.npz").read_bytes()
    with pytest.raises(UsageError, match=rf"holds maps of shot by net, of another {word}; --force replaces"):
        write_maps(network.model(**change), video, out)
    assert (out / "shot.1001.npz").read_bytes() == before
    part = video.only([0, 1])
    write_maps(network.model(**change), part, out, force=True)
    assert sorted(file.name for file in out.glob("*.npz")) == ["shot.1001.npz", "shot.1002.npz"]  # none is left over


def test_folders_of_somebody_else_are_left_alone(video, network, out, tmp_path):
    model = network.model()
    plates = tmp_path / "plates"
    with pytest.raises(UsageError, match="holds files that sfm depth did not write"):
        write_maps(model, video, plates, force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write_maps(model, video, tmp_path / "file")
    write_maps(model, video, out)
    np.savez(out / "mine.npz", depth=np.ones((9, 16)))
    for force in (False, True):
        with pytest.raises(UsageError, match=r"holds maps sfm did not write \(mine\.npz\)"):
            write_maps(model, video, out, force=force)
    with pytest.raises(InputError, match="cannot be written"):
        write_maps(model, video, "/proc/sfm/maps")
    assert len(network.seen) == 6


def test_models_that_give_no_maps(video, out):
    class Odd:
        kind, sigma, name = "depth", 0.1, "odd"

        def __init__(self, *maps):
            self.given = maps

        def maps(self, video):
            return iter(self.given)

    for given, words in (
        ([None] * 6, "odd: gave no depth map for any of the 6 frames"),
        ([np.ones((9, 16))], "odd: gave 1 depth maps for 6 frames"),
        ([np.ones((9, 16, 3))] * 6, r"odd: gave float64 of shape \(9, 16, 3\)"),
    ):
        with pytest.raises(InputError, match=words):
            write_maps(Odd(*given), video, out, force=True)  # pyright: ignore[reportArgumentType]


# what it looks like


def test_near_is_red_and_far_is_blue():
    ramp = np.linspace(1, 10, 20)[None]
    for kind, values in (("metric", ramp), ("disparity", 1 / ramp), ("affine_disparity", 5 / ramp - 9)):
        known = values[np.isfinite(values)]
        red, _, blue = map_colors(values, kind, (float(known.min()), float(known.max())))[0].astype(int).T
        assert red[0] > 180 > 80 > blue[0] and blue[-1] > red[-1], kind
    gray = map_colors(np.array([[np.nan, 0.0, -1.0, 1.0]]), "disparity", (0.0, 1.0))[0]
    assert (np.ptp(gray, axis=1) == 0).tolist() == [True, True, True, False]


@pytest.mark.parametrize("kind", ["depth", "affine_disparity"])
def test_previews(video, network, out, kind):
    maps = write_maps(network.model(kind=kind), video, out)
    written = write_previews(maps, video, out)
    assert [f.name for f in written] == [*(f"preview_{n}.png" for n in (1001, 1004, 1006)), "preview.mp4"]
    assert not [file for file in out.iterdir() if file.name.startswith(".") or file.suffix == ".tmp"]
    picture = cv2.imread(str(written[0]))
    assert picture is not None and picture.shape == (9, 16, 3) and np.ptp(picture) > 100
    movie = open_video(out / "preview.mp4")
    assert len(movie) == 6 and (movie.shot.width, movie.shot.height) == (2 * WIDTH, HEIGHT)
    last = movie.read(5)
    assert last is not None and np.abs(last[:, : WIDTH - 8].astype(int) - 6).max() < 12  # the plate is at the left
    assert near_edges(MapFolder(out), video) == [2, 3, 4, 5, 6, 7]  # pictures beside maps are no maps


# the cache


def test_maps_are_computed_once(video, network, out):
    told = []
    for _ in range(2):
        model = cached(network.model(), video, out, lambda *done: told.append(done))
        assert isinstance(model, CachedModel)
        model.maps(video)
        assert near_edges(model, video) == [2, 3, 4, 5, 6, 7]
        assert (model.kind, model.sigma, model.name) == ("depth", 0.07, "net")
    assert network.seen == [1, 2, 3, 4, 5, 6]
    assert told == [*((done, 6) for done in range(7)), (6, 6)]


def test_nothing_is_computed_before_it_is_asked_for(video, network, out):
    cached(network.model(), video, out).maps(video)
    assert not network.seen


@pytest.mark.parametrize("change", [{"revision": "r2"}, {"kind": "disparity"}, {"settings": {}}, {"name": "n"}])
def test_another_model_has_a_place_of_its_own(video, network, out, change):
    for model in (network.model(), network.model(**change)):
        near_edges(cached(model, video, out), video)
    assert len(network.seen) == 12 and len(list(out.iterdir())) == 2


def test_another_clip_or_other_frames_have_a_place_of_their_own(video, network, out, tmp_path):
    first = cached(network.model(), video, out)
    part = cached(network.model(), video.only([0, 1]), out)
    cv2.imwrite(str(tmp_path / "plates" / "shot.1001.png"), np.full((HEIGHT, WIDTH, 3), 50, np.uint8))
    changed = cached(network.model(), video, out)
    assert len({model.folder for model in (first, part, changed) if isinstance(model, CachedModel)}) == 3


def test_damaged_cache_is_computed_again(video, network, out):
    model = cached(network.model(), video, out)
    near_edges(model, video)
    assert isinstance(model, CachedModel)
    (model.folder / "shot.1002.npz").write_bytes(b"damaged")
    assert near_edges(model, video) == [2, 3, 4, 5, 6, 7] and network.seen[6:] == [2]
    (model.folder / "depth.json").write_text("{")
    assert near_edges(model, video) == [2, 3, 4, 5, 6, 7] and len(network.seen) == 13


def test_the_field_of_view_is_kept_with_the_maps(video, network, out):
    seen = type("Seen", (), {"field_of_view_deg": 33.0})
    near_edges(cached(network.model(seen=seen), video, out), video)
    again = cached(network.model(), video, out)
    assert again.field_of_view_deg == 33  # pyright: ignore[reportAttributeAccessIssue]


def test_what_nothing_tells_apart_is_not_cached(video, network, out, monkeypatch, caplog):
    for model in (network.model(revision=""), MapFolder(out)):
        assert cached(model, video, out) is model
    assert not out.exists()
    out.write_text("a file in the way")
    with caplog.at_level(logging.WARNING):
        model = network.model()
        assert cached(model, video, out) is model
    assert "depth maps are not kept" in caplog.text


def test_where_the_cache_is(video, network, monkeypatch, tmp_path):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))
    near_edges(cached(network.model(), video), video)
    assert len(list((tmp_path / "cache" / "depth").glob("*/shot.*.npz"))) == 6


@pytest.mark.parametrize("text", ["[]", '{"kind": "x"}', '{"kind": "depth", "field_of_view_deg": "wide"}', "{"])
def test_a_cache_whose_description_is_damaged_is_computed_again(video, network, out, text):
    model = cached(network.model(), video, out)
    near_edges(model, video)
    assert isinstance(model, CachedModel)
    (model.folder / "depth.json").write_text(text)
    assert near_edges(cached(network.model(), video, out), video) == [2, 3, 4, 5, 6, 7]
    assert json.loads((model.folder / "depth.json").read_text())["model"]


def test_previews_are_no_maps(network, out, tmp_path, caplog):
    pictures = [np.full((90, 160, 3), 40 * i, np.uint8) for i in range(4)]
    video = Video.from_arrays(pictures, name="clip")
    maps = write_maps(network.model(), video, out)
    write_previews(maps, video, out)
    assert list(out.glob("preview_*.png"))
    assert len([m for m in MapFolder(out).maps(video) if m is not None]) == 4
    assert "told apart" not in caplog.text
