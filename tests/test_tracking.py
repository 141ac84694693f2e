"""The tracker on clips whose motion is known to a thousandth of a pixel.

Frames are a formula (waves and blobs) evaluated at exactly moved coordinates, four samples a pixel across, never warped
pictures: OpenCV's warps move in steps of 1/32 px.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from sfm.errors import InputError, NotEnoughTracksError
from sfm.masks import Masked, MaskOptions, load_masks
from sfm.patches import Patches
from sfm.scene import Tracks
from sfm.tracking import TrackingOptions, _Tracker, track_points
from sfm.video import Video

WIDTH, HEIGHT = 320, 200
SMALL = TrackingOptions(max_tracks=120, grid_cells=10)


class Wall:
    """A flat picture without end: waves and blobs, in px of the first frame, top-left corner (0, 0)."""

    def __init__(self, rng, waves: int = 24, blobs: int = 420):
        angle, length = rng.uniform(0, 2 * np.pi, waves), rng.uniform(9, 40, waves)
        self.wave = 2 * np.pi / length[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
        self.phase = rng.uniform(0, 2 * np.pi, waves)
        self.blob = rng.uniform(-60, [WIDTH + 120, HEIGHT + 60], (blobs, 2))
        self.radius, self.height = rng.uniform(1.8, 4, blobs), rng.uniform(-90, 90, blobs)

    def seen(self, A: np.ndarray, t: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Brightness at the places (columns, rows) of a picture whose content moved by x -> A x + t."""
        inverse = np.linalg.inv(A)
        value = np.full((len(rows), len(columns)), 128.0)
        for k, phase in zip(self.wave @ inverse, self.phase, strict=True):
            across, down = np.exp(1j * k[0] * (columns - t[0])), np.exp(1j * (k[1] * (rows - t[1]) + phase))
            value += 5 * (down[:, None] * across[None]).imag
        size = np.sqrt(np.linalg.det(A))
        for center, radius, height in zip(self.blob @ A.T + t, self.radius * size, self.height, strict=True):
            # A turns and grows, so round blobs stay round; beyond 5 radii they are below one grey level in 10^5
            a, b = np.searchsorted(columns, [center[0] - 5 * radius, center[0] + 5 * radius])
            c, d = np.searchsorted(rows, [center[1] - 5 * radius, center[1] + 5 * radius])
            bell_x = np.exp(-0.5 * ((columns[a:b] - center[0]) / radius) ** 2)
            bell_y = np.exp(-0.5 * ((rows[c:d] - center[1]) / radius) ** 2)
            value[c:d, a:b] += height * bell_y[:, None] * bell_x[None]
        return value


def _motion(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Affine motion of the picture, frame 0 to `frame`: a drift with a slow turn and growth, never whole pixels."""
    angle, size = 0.0008 * frame, 1 + 0.0012 * frame
    A = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return A, np.array([-0.613 * frame, -0.271 * frame])


def _frame(wall: Wall, frame: int, rng, grain: float = 1.5, width: int = WIDTH, height: int = HEIGHT, samples: int = 4):
    """A frame as a sensor sees it: mean over each pixel, grain, 8 bits."""
    A, t = _motion(frame)
    scale = width / WIDTH
    columns, rows = ((np.arange(n * samples) + 0.5) / samples / scale for n in (width, height))
    value = wall.seen(A, t, columns, rows)
    value = value.reshape(height, samples, width, samples).mean((1, 3)) + grain * rng.standard_normal((height, width))
    return np.repeat(np.clip(np.rint(value), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def wall() -> Wall:
    return Wall(np.random.default_rng(7))


@pytest.fixture(scope="module")
def frames(wall) -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    return [_frame(wall, i, rng) for i in range(41)]


def _clip(frames, name: str = "clip") -> Video:
    return Video.from_arrays(frames, name, 24.0)


def _errors(tracks: Tracks, width: int = WIDTH) -> np.ndarray:
    """Distance of every sighting from where the track's first sighting has moved, px of the plate."""
    start = np.searchsorted(tracks.track, np.arange(tracks.num_tracks))
    motions = [_motion(i) for i in range(tracks.num_frames)]
    A, t = np.stack([m[0] for m in motions]), np.stack([m[1] for m in motions]) * width / WIDTH
    first = tracks.frame[start][tracks.track]
    on_wall = np.linalg.solve(A[first], (tracks.xy[start][tracks.track] - t[first])[..., None])[..., 0]
    expected = np.einsum("nij,nj->ni", A[tracks.frame], on_wall) + t[tracks.frame]
    return np.linalg.norm(tracks.xy - expected, axis=1)


def _age(tracks: Tracks) -> np.ndarray:
    start = np.searchsorted(tracks.track, np.arange(tracks.num_tracks))
    return tracks.frame - tracks.frame[start][tracks.track]


@pytest.fixture(scope="module")
def tracked(frames) -> Tracks:
    return track_points(_clip(frames), SMALL)


def test_positions_after_forty_frames(tracked):
    old = _age(tracked) == 40
    assert old.sum() >= 20
    assert 1e-4 < np.median(_errors(tracked)[old]) < 0.05
    assert np.quantile(_errors(tracked)[old], 0.9) < 0.15
    assert not np.median(_errors(tracked)[_age(tracked) > 0]) == 0


def test_flow_alone_drifts(frames, tracked, monkeypatch):
    """The same tracker without the match against the first appearance is worse: that match is what takes drift out."""

    def no_refinement(self, image, xy, active):
        return xy, self.affine.copy(), np.where(active, 1.0, -1.0), np.zeros(len(xy))

    monkeypatch.setattr(Patches, "refine", no_refinement)
    plain = track_points(_clip(frames), SMALL)
    drift, refined = (np.median(_errors(t)[_age(t) == 40]) for t in (plain, tracked))
    assert drift > 1.5 * refined


def test_tracks_have_the_shape_the_rest_relies_on(tracked):
    assert tracked.num_frames == 41
    assert (tracked.lengths >= SMALL.min_length).all()
    assert (tracked.xy > 0).all()
    assert (tracked.xy < [WIDTH, HEIGHT]).all()
    first = tracked.frame[np.searchsorted(tracked.track, np.arange(tracked.num_tracks))]
    assert (np.diff(first) >= 0).all(), "tracks are numbered by first appearance"
    assert (first > 0).any(), "new tracks start where the picture moves in"
    assert np.ptp(tracked.colors, axis=1).max() == 0, "grey plates have grey tracks"


def test_a_corner_lies_on_a_pixel_centre_at_first(frames):
    """OpenCV calls the first pixel's centre (0, 0), the library (0.5, 0.5): shifted once."""
    tracks = track_points(_clip(frames[:5]), SMALL)
    first = tracks.xy[np.searchsorted(tracks.track, np.arange(tracks.num_tracks))]
    np.testing.assert_allclose(first % 1, 0.5)


def test_a_lone_spot_is_found_where_it_is():
    """Blobs at known places: the pixel convention end to end."""
    rng = np.random.default_rng(3)
    centers = np.stack(np.meshgrid(np.arange(40, 290, 40), np.arange(40, 180, 40)), -1).reshape(-1, 2) + 0.5
    centers = centers + rng.integers(-3, 4, centers.shape)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)

    def picture(shift: float) -> np.ndarray:
        value = np.full((HEIGHT, WIDTH), 60.0)
        for cx, cy in centers:
            value += 150 * np.exp(-0.5 * ((x - cx - shift) ** 2 + (y - cy) ** 2) / 3.0**2)
        return np.repeat(np.clip(np.rint(value), 0, 255).astype(np.uint8)[..., None], 3, axis=2)

    tracks = track_points(_clip([picture(0.3 * i) for i in range(6)]), replace(SMALL, min_distance=20, grid_cells=5))
    middle = tracks.xy[tracks.frame == 0]
    nearest = np.linalg.norm(middle[:, None] - centers[None], axis=-1).min(1)
    assert len(middle) >= 15
    assert np.median(nearest) < 1.5
    start = np.searchsorted(tracks.track, np.arange(tracks.num_tracks))
    moved = (
        tracks.xy
        - tracks.xy[start][tracks.track]
        - 0.3 * (tracks.frame - tracks.frame[start][tracks.track])[:, None] * np.array([1, 0])
    )
    assert np.median(np.abs(moved)) < 0.02


@pytest.mark.parametrize("working_width", [320, 240])
def test_coordinates_are_those_of_the_plate(wall, working_width):
    """Tracked at a smaller size, told in the plate's own pixels, the half-pixel right: growth is about the corner."""
    rng = np.random.default_rng(9)
    wide = [_frame(wall, i, rng, width=480, height=300, samples=3) for i in range(0, 12)]
    tracks = track_points(_clip(wide), replace(SMALL, working_width=working_width))
    old = _age(tracks) == 11
    assert old.sum() >= 20
    assert np.median(_errors(tracks, 480)[old]) < 0.08
    assert tracks.xy[:, 0].max() > 400
    # the first sighting is the centre of a working pixel: so many plate pixels wide
    first = tracks.xy[np.searchsorted(tracks.track, np.arange(tracks.num_tracks))] * working_width / 480
    np.testing.assert_allclose(first % 1, 0.5, atol=1e-9)


def test_the_same_clip_gives_the_same_tracks(frames, tracked):
    again = track_points(_clip(frames), SMALL)
    for name in ("frame", "track", "xy", "colors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tracked, name))


@pytest.mark.parametrize("max_tracks", [30, 120])
def test_no_more_tracks_than_asked_for(frames, max_tracks):
    options = replace(SMALL, max_tracks=max_tracks, grid_cells=4)
    tracks = track_points(_clip(frames[:12]), options)
    # cells hold whole tracks, so the total is rounded up to 4 x 3 cells
    assert np.bincount(tracks.frame).max() <= max_tracks + 12
    assert np.bincount(tracks.frame).max() >= 0.5 * max_tracks


def test_fewer_tracks_than_cells(frames):
    tracks = track_points(_clip(frames[:4]), replace(SMALL, max_tracks=20, grid_cells=16))
    assert 10 <= np.bincount(tracks.frame).max() <= 40


def test_tracks_are_spread_over_the_picture(tracked):
    xy = tracked.xy[tracked.frame == 20]
    cell = (xy // [WIDTH / 4, HEIGHT / 3]).astype(int)
    assert len(np.unique(cell, axis=0)) == 12


def test_progress_is_told(frames):
    told = []
    track_points(_clip(frames[:5]), SMALL, progress=lambda done, alive: told.append((done, alive)))
    assert [done for done, _ in told] == [1, 2, 3, 4, 5]
    assert all(alive > 20 for _, alive in told)


# masks


def test_nothing_is_tracked_where_the_mask_is_black(frames):
    def mask(index: int) -> np.ndarray | None:
        image = np.full((HEIGHT, WIDTH), 255, np.uint8)
        image[:, 100 : 200 + 2 * index] = 0
        return image

    tracks = track_points(_clip(frames[:15]), SMALL, mask)
    # the mask is asked where flow leads; the last correction, some tenths of a pixel, comes after
    inside = (tracks.xy[:, 0] > 101) & (tracks.xy[:, 0] < 199 + 2 * tracks.frame)
    assert not inside.any()
    assert (tracks.xy[:, 0] < 100).sum() > 50
    assert (tracks.xy[:, 0] > 240).sum() > 50


def test_a_mask_of_everything_leaves_nothing(frames):
    with pytest.raises(NotEnoughTracksError, match="masked"):
        track_points(_clip(frames[:5]), SMALL, lambda i: np.zeros((HEIGHT, WIDTH), np.uint8))


def test_masks_of_a_folder(frames, tmp_path, caplog):
    video = _clip(frames[:4])
    black = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.imwrite(str(tmp_path / "clip.0001.png"), black)
    cv2.imwrite(str(tmp_path / "clip.0003.png.png"), black)
    mask = load_masks(tmp_path, video)
    assert "2 of 4 frames have no mask" in caplog.text
    assert mask(1) is None
    dim = np.zeros((HEIGHT, WIDTH), np.uint16)
    dim[5, 7] = 200  # nothing in the upper eight of its 16 bits
    cv2.imwrite(str(tmp_path / "clip.0002.tiff"), dim)
    deep = load_masks(tmp_path, video)(1)
    assert deep is not None and deep[5, 7] and np.count_nonzero(deep) == 1
    for index in (0, 2):
        image = mask(index)
        assert image is not None
        assert not image.any()


def _mask(folder, image: np.ndarray, options: MaskOptions) -> np.ndarray:
    cv2.imwrite(str(folder / "clip.0001.png"), image)
    found = load_masks(folder, Video.from_arrays([np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2, "clip"), options)(0)
    assert found is not None
    return found


def test_masks_of_either_colour(tmp_path):
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[20:60, 30:90], image[60, 30:90] = 255, 90  # white above a soft edge
    black, white = (_mask(tmp_path, image, MaskOptions(colour)) for colour in ("black", "white"))
    np.testing.assert_array_equal(black > 0, image > 0)
    np.testing.assert_array_equal(white > 0, image == 0)


@pytest.mark.parametrize("colour", ["black", "white"])
def test_what_is_not_tracked_grows(tmp_path, colour):
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[100, 150] = True
    image = np.where(hole == (colour == "white"), 255, 0).astype(np.uint8)
    assert np.argwhere(_mask(tmp_path, image, MaskOptions(colour)) == 0).tolist() == [[100, 150]]
    grown = np.argwhere(_mask(tmp_path, image, MaskOptions(colour, dilate_px=6)) == 0) - [100, 150]
    assert abs(grown).max() == 6 and np.hypot(*grown.T).max() < 6.5, "a disc, not a square"
    assert len(grown) > np.pi * 5.5**2


@pytest.mark.parametrize("value", [0, 255])
def test_the_alpha_of_a_mask_of_one_colour(tmp_path, value):
    image = np.full((HEIGHT, WIDTH, 4), value, np.uint8)
    image[..., 3] = 0
    image[20:60, 30:90, 3] = 200
    np.testing.assert_array_equal(_mask(tmp_path, image, MaskOptions()) > 0, image[..., 3] > 0)
    np.testing.assert_array_equal(_mask(tmp_path, image, MaskOptions("white")) > 0, image[..., 3] == 0)
    image[:10, :, :3] = 255 - value  # colours that differ say more than alpha
    np.testing.assert_array_equal(_mask(tmp_path, image, MaskOptions()) > 0, image[..., 0] > 0)


def test_mask_options_that_are_none(frames, tmp_path):
    for options, message in (
        (MaskOptions(dilate_px=-1), "dilation of -1 px: expected 0 or more"),
        (MaskOptions("grey"), "polarity 'grey': expected black or white"),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(InputError, match=message):
            load_masks(tmp_path, _clip(frames[:2]), options)


def test_masks_that_do_not_fit(frames, tmp_path):
    video = _clip(frames[:4])
    with pytest.raises(InputError, match="no such folder"):
        load_masks(tmp_path / "nowhere", video)
    with pytest.raises(InputError, match=r"clip\.0001\.png"):
        load_masks(tmp_path, video)
    cv2.imwrite(str(tmp_path / "clip.0001.png"), np.zeros((10, 20), np.uint8))
    with pytest.raises(InputError, match="mask is 20x10, the plate is 320x200"):
        load_masks(tmp_path, video)(0)


# bad frames


@pytest.mark.parametrize("bad", ["flash", "black", "unreadable"])
@pytest.mark.parametrize("count", [1, 2])
def test_bad_frames_are_bridged(frames, bad, count):
    value = {"flash": np.full_like(frames[0], 255), "black": np.zeros_like(frames[0]), "unreadable": None}[bad]
    spoiled: list[np.ndarray | None] = [*frames[:5], *[value] * count, *frames[5 + count : 14]]
    tracks = track_points(_clip(spoiled), SMALL)
    per_frame = np.bincount(tracks.frame, minlength=14)
    assert (per_frame[5 : 5 + count] == 0).all(), "a bad frame shows nothing"
    assert (per_frame[:5] > 50).all()
    through = np.intersect1d(tracks.track[tracks.frame == 4], tracks.track[tracks.frame == 5 + count])
    assert len(through) > 0.7 * per_frame[4]
    assert np.median(_errors(tracks)[_age(tracks) > 8]) < 0.05


def _out_of_focus(frame: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(frame, (0, 0), 12)


def _swept(frame: np.ndarray) -> np.ndarray:
    """By a move of 41 px along the diagonal while the shutter is open."""
    return cv2.filter2D(frame, -1, np.eye(41) / 41)


@pytest.mark.parametrize("spoil", [_out_of_focus, _swept])
def test_a_long_blur_is_no_cut(frames, spoil):
    """More frames than a track may miss otherwise, grain on all of them; behind it the tracks go on."""
    rng = np.random.default_rng(5)
    spoiled = [spoil(frame) if 5 <= k < 12 else frame for k, frame in enumerate(frames[:20])]
    grain = 2 * rng.standard_normal((20, HEIGHT, WIDTH, 1))
    tracks = track_points(_clip(np.clip(np.array(spoiled) + grain, 0, 255).astype(np.uint8)), SMALL)
    per_frame = np.bincount(tracks.frame, minlength=20)
    assert (per_frame[5:12] == 0).all() and (per_frame[12:] > 50).all()
    through = np.intersect1d(tracks.track[tracks.frame == 4], tracks.track[tracks.frame == 12])
    assert len(through) > 0.7 * per_frame[4]


def test_a_cut_behind_a_blur_is_a_cut(frames):
    other, rng = Wall(np.random.default_rng(99)), np.random.default_rng(98)
    blurred = [_out_of_focus(frame) for frame in frames[9:13]]
    with pytest.raises(InputError, match=r"from frame 9 to 10: a cut"):
        track_points(_clip([*frames[:9], *blurred, *[_frame(other, i, rng) for i in range(8)]]), SMALL)


def test_brightness_may_change(frames):
    """A lamp that dims to 60 % and a camera that lifts its blacks."""
    gain = np.linspace(1, 0.6, 12)
    dimmed = [np.rint(f * g + 20 * (1 - g)).astype(np.uint8) for f, g in zip(frames[:12], gain, strict=True)]
    tracks = track_points(_clip(dimmed), SMALL)
    old = _age(tracks) == 11
    assert old.sum() > 30
    assert np.median(_errors(tracks)[old]) < 0.05


def test_a_cut_is_named(frames):
    other = Wall(np.random.default_rng(99))
    rng = np.random.default_rng(98)
    after = [_frame(other, i, rng) for i in range(8)]
    with pytest.raises(InputError) as raised:
        track_points(_clip([*frames[:9], *after], "plate"), SMALL)
    message = str(raised.value)
    assert "plate" in message
    assert "from frame 9 to 10" in message
    assert "--frames 1-9" in message
    assert "--frames 10-17" in message


def test_a_cut_near_the_end_is_reported(frames, caplog):
    other, rng = Wall(np.random.default_rng(99)), np.random.default_rng(98)
    tracks = track_points(_clip([*frames[:9], *[_frame(other, i, rng) for i in range(2)]]), SMALL)
    assert np.bincount(tracks.frame, minlength=11)[9:].sum() == 0
    assert "last 2 frames" in caplog.text


@pytest.mark.parametrize("value", [0, 90])
def test_nothing_to_follow(value):
    flat = [np.full((HEIGHT, WIDTH, 3), value, np.uint8)] * 6
    with pytest.raises(NotEnoughTracksError, match="frames 1-6"):
        track_points(_clip(flat), SMALL)


def test_the_input_is_not_changed(frames):
    before = [f.copy() for f in frames[:4]]
    track_points(_clip(frames[:4]), SMALL)
    for one, two in zip(before, frames, strict=False):
        np.testing.assert_array_equal(one, two)


# the patches by themselves


def _smooth(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image[..., 0].astype(np.float32), (0, 0), 0.8)


def test_a_patch_finds_its_place_and_its_warp(wall, frames):
    rng = np.random.default_rng(11)
    first, later = _smooth(frames[0]), _smooth(_frame(wall, 30, rng))
    A, t = _motion(30)
    start = rng.integers([70, 60], [WIDTH - 40, HEIGHT - 40], (60, 2)).astype(np.float32)
    truth = (start + 0.5) @ A.T + t - 0.5
    patches = Patches.cut(first, start, 10)
    off = rng.uniform(-0.7, 0.7, truth.shape)
    xy, affine, correlation, split = patches.refine(later, truth + off, np.ones(60, bool))
    good = correlation > 0.8
    assert good.mean() > 0.9
    assert np.median(np.linalg.norm(xy - truth, axis=1)[good]) < 0.05
    assert np.median(np.abs(affine[good] - A)) < 0.01
    assert np.median(split[good]) < 0.1


def test_a_patch_does_not_match_another_place(frames):
    image = _smooth(frames[0])
    xy = np.array([[80.0, 80.0], [200.0, 120.0], [250.0, 60.0]])
    elsewhere = Patches.cut(image, xy, 10).refine(image, xy[::-1] + 25.0, np.ones(3, bool))[2]
    assert (elsewhere < 0.9).all()
    assert np.median(elsewhere) < 0.8


def test_patches_not_active_are_left_alone(frames):
    image = _smooth(frames[0])
    xy = np.array([[80.0, 80.0], [200.0, 120.0]])
    found, affine, correlation, _ = Patches.cut(image, xy, 10).refine(image, xy + 0.3, np.array([True, False]))
    np.testing.assert_allclose(found[0], xy[0], atol=0.02)
    np.testing.assert_allclose(found[1], xy[1] + 0.3, atol=1e-5)
    assert correlation[1] == -1
    assert correlation[0] > 0.999
    np.testing.assert_array_equal(affine[1], np.eye(2))


def test_patches_are_forgotten_in_place(frames):
    image = cv2.cvtColor(frames[0], cv2.COLOR_RGB2GRAY).astype(np.float32)
    xy = np.random.default_rng(0).uniform(20, 100, (300, 2)).round().astype(np.float32)
    every, patches = Patches.cut(image, xy, 10), Patches.cut(image, xy, 10)
    kept = np.arange(300) % 3 > 0
    kept[250:] = True
    order = patches.keep(kept)
    assert sorted(order) == np.flatnonzero(kept).tolist()
    for name in ("template", "descent", "inverse_hessian", "halves", "affine", "whitening"):
        np.testing.assert_array_equal(getattr(patches, name), getattr(every, name)[order])


def test_a_patch_across_an_edge_in_depth_splits(frames, wall):
    """Left half moves, right half does not: its halves want to move apart."""
    image = _smooth(frames[0])
    moved = _smooth(_frame(wall, 2, np.random.default_rng(12)))
    mixed = np.where(np.arange(WIDTH)[None] < 160, image, moved)
    start = np.array([[160.0, y] for y in range(40, 160, 12)])
    patches = Patches.cut(image, start, 10)
    across = patches.refine(mixed, start + np.array([0.6, 0.3]), np.ones(len(start), bool))[3]
    whole = patches.refine(image, start, np.ones(len(start), bool))[3]
    assert np.median(whole) < 0.05
    assert np.median(across) > max(0.08, 3 * np.median(whole))


def test_a_patch_knows_the_direction_it_may_slide_in():
    """An edge at 30 degrees, a corner, and the edge with more and more texture to hold it."""
    y, x = np.mgrid[:100, :100] - 50.0
    along = np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
    across = np.array([-along[1], along[0]])
    edge = 128 + 80 * np.tanh((x * across[0] + y * across[1]) / 2)
    corner = 128 + 80 * np.tanh(x) * np.tanh(y)
    for image, precision in ((edge, 0.05), (corner, 1.0)):
        (whitening,) = Patches.cut(image.astype(np.float32), np.array([[50.0, 50.0]]), 10).whitening
        np.testing.assert_allclose(whitening, whitening.T, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(whitening @ across), 1, atol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(whitening @ along), precision, rtol=0.05)
    texture = np.random.default_rng(3).standard_normal((100, 100))
    images = ((edge + contrast * texture).astype(np.float32) for contrast in (2.0, 8.0, 30.0))
    held = [np.linalg.norm(Patches.cut(image, np.array([[50.0, 50.0]]), 10).whitening @ along) for image in images]
    assert 0.05 < held[0] < held[1] < held[2] < 1


def test_tracks_slide_where_they_say(wall):
    """Stripes with a little texture: errors lie along the stripes, and whitening says so of each track."""
    rng = np.random.default_rng(21)
    stripes = 90 * np.sign(np.sin(np.arange(WIDTH) / 9.0))[None, :, None]
    clip = [
        np.clip(128 + stripes + 0.08 * (_frame(wall, 0, rng).astype(float) - 128) + 3 * rng.standard_normal(
            (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8)
        for _ in range(8)
    ]  # fmt: skip
    tracks = track_points(_clip(clip), SMALL)
    first = np.searchsorted(tracks.track, np.arange(tracks.num_tracks))
    off = tracks.xy - tracks.xy[first][tracks.track]
    white = tracks.whitened(off)
    assert tracks.whitening.shape == (tracks.num_tracks, 2, 2)
    later = tracks.frame > 3
    plain_ratio, white_ratio = (np.std(v[later, 1]) / np.std(v[later, 0]) for v in (off, white))
    assert plain_ratio > 4 and 0.3 < white_ratio < 2


def test_the_tracker_names_what_it_keeps(frames):
    """Ids, positions and patches stay together as tracks come and go."""
    tracker = _Tracker(_clip(frames[:6]), SMALL, None)
    for index, image in _clip(frames[:6]):
        tracker.step(index, tracker.prepared(image))
        assert len(tracker.ids) == len(tracker.xy) == len(tracker.missed) == len(tracker.patches)
        assert len(np.unique(tracker.ids)) == len(tracker.ids)


def test_a_mask_remembers_what_it_cut():
    image = np.ones((10, 20), np.uint8)
    image[:, :5] = 0
    mask = Masked(lambda index: image if index != 1 else None)
    assert [mask(index) is None for index in (0, 1, 2, 0)] == [False, True, False, False]
    assert mask.parts == {0: 0.25, 2: 0.25}
