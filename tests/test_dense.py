"""The dense cloud: as deep as the truth, within the bounds stated, and labelled for what it is."""

from dataclasses import replace

import insertion as measures
import numpy as np
import pytest
from plyfile import PlyData

from sfm import dense
from sfm.dense import COMMENT, DenseOptions, densify, write_cloud, write_mesh
from sfm.depth.callable import CallableModel
from sfm.errors import InputError, NoSolutionError

pytest.importorskip("open3d")


@pytest.fixture(scope="module")
def fused(solved_sample):
    _, video, _, aligned = solved_sample
    return densify(aligned, video, DenseOptions(max_frames=8, width=320))


def beside_truth(scene, truth, points: np.ndarray, frame: int) -> tuple[np.ndarray, float]:
    """Error of log depth of the nearest point in each pixel of the true depth, and the part of these that has one."""
    scale = float(measures.solve_from_truth(scene, truth).scale)
    true = truth.depth[frame].astype(float) * scale
    size = np.array(true.shape[::-1])
    in_cam = measures.through_true_cameras(scene, truth).cams_from_world[frame].apply(points)
    xy = truth.camera.at(frame).img_from_cam(in_cam) * size / [truth.camera.width, truth.camera.height]
    inside = np.isfinite(xy).all(axis=1) & ((xy >= 0) & (xy < size)).all(axis=1)
    column, row = xy[inside].astype(int).T
    nearest = np.full(true.shape, np.inf)
    np.minimum.at(nearest, (row, column), in_cam[inside, 2])
    seen = np.isfinite(nearest)
    return np.log(nearest[seen] / true[seen]), float(seen.mean())


def test_its_depth_is_that_of_the_truth(solved_sample, fused):
    scene, _, truth, _ = solved_sample
    error, covered = beside_truth(scene, truth, fused.points, 24)
    assert covered > 0.25
    assert np.median(np.abs(error)) < 0.02 and abs(np.median(error)) < 0.015
    assert np.quantile(np.abs(error), 0.9) < 0.1
    # the check would notice: a set a twentieth too deep
    assert np.median(np.abs(beside_truth(scene, truth, 1.05 * fused.points, 24)[0])) > 0.03


def test_files_say_what_holds_it(fused, tmp_path):
    import open3d

    write_cloud(fused, tmp_path / "cloud.ply")
    write_mesh(fused, tmp_path / "mesh.ply")
    cloud, mesh = (PlyData.read(str(tmp_path / name)) for name in ("cloud.ply", "mesh.ply"))
    assert COMMENT in cloud["vertex"].comments and COMMENT in mesh["vertex"].comments
    assert (np.asarray(cloud["vertex"]["support"]) == 2).all()
    read = open3d.io.read_triangle_mesh(str(tmp_path / "mesh.ply"))  # by another reader
    assert np.asarray(read.vertices) == pytest.approx(fused.points, abs=1e-3 * np.abs(fused.points).max())
    assert np.asarray(read.triangles).shape == fused.triangles.shape
    assert np.rint(255 * np.asarray(read.vertex_colors)) == pytest.approx(fused.colors, abs=1)


def test_colours_are_the_plates(solved_sample, fused):
    scene, video, _, _ = solved_sample
    rgb = video.read(24)
    in_cam = scene.cams_from_world[24].apply(fused.points)
    xy = scene.camera.img_from_cam(in_cam)
    inside = ((xy > 2) & (xy < [638, 358])).all(axis=1)
    shown = rgb[xy[inside, 1].astype(int), xy[inside, 0].astype(int)].astype(float)
    assert np.median(np.abs(shown - fused.colors[inside])) < 12


def test_memory_is_bounded(solved_sample, monkeypatch):
    _, video, _, aligned = solved_sample
    plain = densify(aligned, video, DenseOptions(max_frames=3, width=240))
    monkeypatch.setattr(dense, "MAX_BLOCKS", 300)
    coarser = densify(aligned, video, DenseOptions(max_frames=3, width=240))
    assert coarser.voxel > 1.2 * plain.voxel and 100 < len(coarser.points) < len(plain.points)
    with pytest.raises(InputError, match=r"voxel .* take gigabytes on this set; .* would do"):
        densify(aligned, video, DenseOptions(max_frames=3, width=240, voxel=plain.voxel))


@pytest.mark.parametrize("left", [0, 1])
def test_a_frame_that_agrees_with_hardly_any_other_is_left_out(solved_sample, monkeypatch, left):
    """None of its pixels, or one that Open3D does not look at."""
    _, video, _, aligned = solved_sample
    real = dense._agreed

    def agreed(views, index, options):
        mask = real(views, index, options)
        if index == 1:
            mask[:] = False
            mask[1, 1] = left
        return mask

    monkeypatch.setattr(dense, "_agreed", agreed)
    assert len(densify(aligned, video, DenseOptions(max_frames=4, width=240)).points) > 100


def test_maps_of_another_place_agree_on_nothing(solved_sample):
    _, video, _, aligned = solved_sample
    unlike = replace(aligned, model=CallableModel(_unlike), smoothness=replace(aligned.smoothness, noise=0.001))
    with pytest.raises(NoSolutionError):
        densify(unlike, video, DenseOptions(max_frames=4, width=240, max_sigma=1e-9))


def _unlike(frames: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 50, (len(frames), 90, 160))
