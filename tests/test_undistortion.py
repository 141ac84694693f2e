"""The undistorted plate: pictures go there and back, and the camera that goes with it sees what the plate showed."""

import dataclasses

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from test_export import perturbed

from sfm.errors import UsageError
from sfm.export.stmap import (
    redistort_map,
    undistort_map,
    undistorted,
    undistorted_camera,
    write_stmap,
    write_stmaps,
)
from sfm.geometry import Camera
from sfm.images import read_exr
from sfm.undistortion import write_undistorted
from sfm.video import Video, open_video

LENS = Camera([300.0, 310.0], [170.0, 80.0], [-0.15, 0.03, 0.001, -0.002], 320, 180)


def small(rng, *what, **others):
    """A solve of plates of 480 x 270."""
    scene, shot = perturbed(rng, *what, **others)
    camera, tracks = scene.camera, scene.tracks
    size = {"width": camera.width // 4, "height": camera.height // 4}
    of_lens = {"focal_length": camera.focal_length / 4, "principal_point": camera.principal_point / 4}
    camera, tracks = dataclasses.replace(camera, **of_lens, **size), dataclasses.replace(tracks, xy=tracks.xy / 4)
    return dataclasses.replace(scene, camera=camera, tracks=tracks), dataclasses.replace(shot, **size)


def test_the_larger_plate_holds_all_of_the_plate_and_is_centred():
    ideal = undistorted_camera(LENS)
    assert (ideal.principal_point == [ideal.width / 2, ideal.height / 2]).all() and not len(ideal.distortion)
    corners = np.array([[0, 0], [320, 0], [0, 180], [320, 180.0]])
    there = LENS.cam_from_img(corners) * ideal.focal_length + ideal.principal_point
    assert (there >= -1e-3).all() and (there <= np.array([ideal.width, ideal.height]) + 1e-3).all()
    assert min(there[:, 0].min(), ideal.width - there[:, 0].max()) < 1  # and not more than it must
    plain = Camera([300.0, 300.0], [160.0, 90.0], [], 320, 180)
    same = undistorted_camera(plain)
    assert (same.width, same.height) == (320, 180)


def test_a_lens_that_folds_is_refused():
    with pytest.raises(UsageError, match="folds the plate"):
        undistorted_camera(
            dataclasses.replace(LENS, distortion=np.array([-0.6, 0.0, 0.0, 0.0]), focal_length=[150.0, 150.0])
        )


def test_maps_are_inverse_of_each_other():
    """A point of the plate, through one map and then the other."""
    ideal = undistorted_camera(LENS)
    there, back = redistort_map(LENS, ideal), undistort_map(LENS, ideal)
    assert there.shape == (180, 320, 2) and back.shape == (ideal.height, ideal.width, 2)
    at = [(1 - there[..., 1]) * ideal.height - 0.5, there[..., 0] * ideal.width - 0.5]
    s, t = (map_coordinates(back[..., k], at, order=3) for k in (0, 1))
    inner = np.s_[4:-4, 4:-4]
    column, row = np.meshgrid(np.arange(320) + 0.5, np.arange(180) + 0.5)
    assert np.abs(320 * s - column)[inner].max() < 0.01 and np.abs(180 * (1 - t) - row)[inner].max() < 0.01


def test_openimageio_warps_as_it_should(tmp_path):
    """A smooth picture, undistorted by st_warp, is what the ideal camera sees of it."""
    oiio = pytest.importorskip("OpenImageIO")
    ideal = undistorted_camera(LENS)
    write_stmap(undistort_map(LENS, ideal), tmp_path / "undistort.exr")
    write_stmap(redistort_map(LENS, ideal), tmp_path / "redistort.exr")

    def middles(camera):
        return np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)

    def ramps(camera):
        part = middles(camera) / [camera.width, camera.height]
        return np.concatenate([part, 0 * part[..., :1]], axis=-1).astype(np.float32)

    def warped(picture, map_file):
        source, st = oiio.ImageBuf(np.ascontiguousarray(picture)), oiio.ImageBuf(str(map_file))
        whole = oiio.ROI(0, st.spec().width, 0, st.spec().height, 0, 1, 0, 3)
        return oiio.ImageBufAlgo.st_warp(source, st, "triangle", 2.0, 0, 1, False, True, whole).get_pixels(oiio.FLOAT)

    flat = warped(ramps(LENS), tmp_path / "undistort.exr")
    p = (middles(ideal) - ideal.principal_point) / ideal.focal_length
    true = LENS.img_from_cam(np.concatenate([p, np.ones_like(p[..., :1])], -1))
    inside = ((true > 3) & (true < np.array([320, 180]) - 3)).all(-1)
    assert inside.sum() > 40000
    assert np.abs(flat[..., :2] * [320, 180] - true)[inside].max() < 0.02
    bent = warped(ramps(ideal), tmp_path / "redistort.exr")
    size = np.array([ideal.width, ideal.height])
    true = LENS.cam_from_img(middles(LENS)) * ideal.focal_length + ideal.principal_point
    inside = ((true > 3) & (true < size - 3)).all(-1)
    assert inside.sum() > 50000
    assert np.abs(bent[..., :2] * size - true)[inside].max() < 0.02
    back = warped(flat, tmp_path / "redistort.exr")
    assert np.abs(back - ramps(LENS))[6:-6, 6:-6, :2].max() * 320 < 0.05


def test_maps_without_the_plates(rng, tmp_path):
    """The same as with them; of a zoom that distorts one of each a frame."""
    scene, shot = perturbed(rng, "OPENCV")
    lens = dataclasses.replace(LENS, width=96, height=54, focal_length=[90.0, 90.0], principal_point=[50.0, 25.0])
    shot = dataclasses.replace(shot, width=96, height=54)
    write_stmaps(dataclasses.replace(scene, camera=lens), shot, tmp_path / "one")
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == ["redistort.exr", "undistort.exr"]
    found = read_exr(tmp_path / "one" / "redistort.exr")
    assert found is not None
    np.testing.assert_array_equal(found["R"], redistort_map(lens, undistorted_camera(lens))[..., 0].astype(np.float32))
    frames = len(shot.frame_numbers)
    zoom = dataclasses.replace(lens, focal_length=np.linspace(90, 99, frames)[:, None].repeat(2, 1))
    write_stmaps(dataclasses.replace(scene, camera=zoom), shot, tmp_path / "zoom")
    names = {file.name for file in (tmp_path / "zoom").iterdir()}
    assert names == {f"{way}.{n}.exr" for way in ("undistort", "redistort") for n in shot.frame_numbers}


def test_stmap_file_says_what_is_inside(tmp_path):
    st = undistort_map(LENS, undistorted_camera(LENS))
    write_stmap(st, tmp_path / "map.exr")
    found = read_exr(tmp_path / "map.exr")
    assert found is not None and found["R"].dtype == np.float32
    np.testing.assert_array_equal(found["R"], st[..., 0].astype(np.float32))
    np.testing.assert_array_equal(found["A"] > 0, ((st >= 0) & (st <= 1)).all(-1))
    assert found["G"][0].mean() > found["G"][-1].mean()  # from bottom to top


def test_the_solve_sees_the_same_on_the_larger_plate(rng):
    scene, shot = perturbed(rng, "OPENCV")
    there, larger = undistorted(scene, shot)
    assert (larger.width, larger.height) == (there.camera.width, there.camera.height)
    before, after = (each.reprojection_errors() for each in (scene, there))
    known = np.isfinite(before)
    # an error of a pixel is as long a way on the undistorted plate, but for what the lens stretches
    np.testing.assert_allclose(after[known], before[known], rtol=0.5, atol=0.05)
    exact, same = perturbed(rng)
    np.testing.assert_allclose(
        undistorted(exact, same)[0].reprojection_errors(), exact.reprojection_errors(), atol=1e-9
    )


def test_everything_that_goes_with_the_undistorted_plate(rng, tmp_path):
    scene, shot = small(rng, "OPENCV")
    pictures = rng.integers(0, 255, (len(shot.frame_names), shot.height // 8, shot.width // 8, 3), np.uint8)
    plates = [cv2.resize(picture, (shot.width, shot.height), interpolation=cv2.INTER_CUBIC) for picture in pictures]
    written = write_undistorted(tmp_path / "flat", scene, Video.from_arrays(plates, "sh010"), ["nk", "colmap"])
    ideal = undistorted_camera(scene.camera)
    video = open_video(written["plates"])
    assert (video.shot.width, video.shot.height, len(video)) == (ideal.width, ideal.height, len(plates))
    assert (
        f"{ideal.width} {ideal.height} 0 0" in written["nk"].read_text()
        and "sh010.####.png" in written["nk"].read_text()
    )
    assert str(tmp_path / "flat" / "plates") in written["nk"].read_text() and ".tmp" not in written["nk"].read_text()
    st = undistort_map(scene.camera, ideal)
    row, column = ideal.height // 2, ideal.width // 3
    x, y = st[row, column, 0] * shot.width - 0.5, (1 - st[row, column, 1]) * shot.height - 0.5
    seen = cv2.remap(plates[2], np.float32([[x]]), np.float32([[y]]), cv2.INTER_CUBIC)[0, 0]
    np.testing.assert_allclose(video.read(2)[row, column], seen, atol=2)


def test_exr_plates_stay_linear_and_a_zoom_has_a_map_a_frame(rng, tmp_path):
    import OpenEXR

    scene, shot = small(rng, "zoom", lost=())
    camera = dataclasses.replace(scene.camera, distortion=np.array([-0.1, 0.02, 0.0, 0.0]))
    scene = dataclasses.replace(scene, camera=camera)
    (tmp_path / "linear").mkdir()
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    light = np.full((shot.height, shot.width), 4.0, np.float32)  # brighter than white
    for number in shot.frame_numbers:
        with OpenEXR.File(header, {"R": light, "G": 0.5 * light, "B": 0.25 * light}) as file:
            file.write(str(tmp_path / "linear" / f"sh.{number}.exr"))
    written = write_undistorted(tmp_path / "flat", scene, open_video(tmp_path / "linear"), ["nerfstudio"])
    names = sorted(file.name for file in (tmp_path / "flat").glob("*distort.*"))
    assert names == sorted(f"{way}.{n}.exr" for n in shot.frame_numbers for way in ("redistort", "undistort"))
    plate = read_exr(written["plates"] / f"sh.{shot.frame_numbers[3]}.exr")
    assert plate is not None and plate["R"].dtype == np.float16
    assert plate["R"].max() == pytest.approx(4, rel=0.3) and np.median(plate["G"]) == 2
    first, last = (read_exr(tmp_path / "flat" / f"undistort.{n}.exr") for n in shot.frame_numbers[[0, -1]])
    assert first is not None and last is not None and np.abs(first["R"] - last["R"]).max() > 1e-3


def test_a_log_plate_stays_log_in_sixteen_bits(rng, tmp_path):
    """Not the picture that was tracked: the plate's own numbers, and more of them than eight bits hold."""
    from test_plates import write

    scene, shot = small(rng, "OPENCV", lost=())
    (tmp_path / "log").mkdir()
    ramp = np.broadcast_to(np.linspace(0.3, 0.35, shot.width, dtype=np.float32)[:, None], (shot.height, shot.width, 3))
    for number in shot.frame_numbers:
        write(tmp_path / "log" / f"sh.{number}.dpx", np.ascontiguousarray(ramp), "uint16", dpx_Transfer="Logarithmic")
    video = open_video(tmp_path / "log")
    assert video.tone.colorspace == "cineon"
    written = write_undistorted(tmp_path / "flat", scene, video, ["nerfstudio"])
    plate = cv2.imread(str(written["plates"] / f"sh.{shot.frame_numbers[3]}.png"), cv2.IMREAD_UNCHANGED)
    middle = plate[plate.shape[0] // 2]
    inside = middle[middle.max(axis=1) > 0.29 * 65535][4:-4]  # cubic interpolation overshoots at the edge
    assert plate.dtype == np.uint16 and inside.max() <= 0.351 * 65535 and len(np.unique(inside)) > 40


def test_whole_or_not_at_all_and_replaced_only_when_told(rng, tmp_path):
    scene, _ = small(rng, "OPENCV")
    size = (scene.camera.height, scene.camera.width, 3)
    video = Video.from_arrays([np.full(size, 10 * k, np.uint8) for k in range(8)], "sh010")
    folder = tmp_path / "flat"

    def interrupt(part):
        if part > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_undistorted(folder, scene, video, ["chan"], progress=interrupt)
    assert not list(tmp_path.iterdir())
    write_undistorted(folder, scene, video, ["chan"])
    with pytest.raises(UsageError, match="undistorted plates already; --force"):
        write_undistorted(folder, scene, video, ["chan"])
    written = write_undistorted(folder, scene, video, ["colmap"], force=True)
    assert {file.name for file in folder.iterdir()} == {"plates", "sparse", "undistort.exr", "redistort.exr"}
    assert written["colmap"].is_dir() and [file.name for file in tmp_path.iterdir()] == ["flat"]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"did not write \(notes.txt\)"):
        write_undistorted(folder, scene, video, ["chan"], force=True)
