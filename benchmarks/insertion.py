"""A cube put into shots whose true cameras and depth are known: where it is seen, and what hides it.

usage: python benchmarks/insertion.py [SHARED_DATA] [--solved FOLDER]

The cube stands on a point of the solve. The same cube is drawn through the true cameras, after the similarity between
the two that fits all cameras best: overlap of the two masks (intersection over union), distance of their centroids.
A second cube stands half behind the nearest thing in the picture: part of its pixels that the aligned depth maps hide,
or leave, as true depth does. Depth maps aligned to the solve are compared with true depth. The sample shot is solved
here; of SHARED_DATA rendered_dolly, from FOLDER/rendered_dolly where it is solved already. Writes insertion.md and
insertion.json beside this file. Needs open3d.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

import sfm
from sfm import insertion
from sfm.depth import MapFolder
from sfm.depth.aligned import AlignedDepth, align_depth
from sfm.evaluation import MAX_TRUE_DEPTH, GroundTruth
from sfm.geometry import Rigid3
from sfm.geometry.transform import Sim3
from sfm.insertion.compositing import visible
from sfm.insertion.rendering import Layer, Renderer
from sfm.results import load_result
from sfm.scene import Reconstruction
from sfm.video import Video, reopen

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "data" / "sample_shot"
SEEN = 0.5  # of a pixel


@dataclass(frozen=True)
class Agreement:
    """Of a cube through solved and true cameras, over the frames: the worst overlap, the largest distance, px."""

    frames: int
    iou: float
    centroid_px: float


@dataclass(frozen=True)
class Occlusion:
    """Of a cube half behind something: part of its pixels right, on the worst frame and over all; part hidden."""

    frames: int
    worst: float
    right: float
    hidden: float


@dataclass(frozen=True)
class DepthError:
    """Of log depth beside the truth, median and 90th percentile, of aligned maps and of the model's own."""

    aligned: float
    aligned_90: float
    model: float


def solve_from_truth(scene: Reconstruction, truth: GroundTruth) -> Sim3:
    """The similarity from the truth's world to the solve's that fits all cameras best, their turns first."""
    known = np.flatnonzero(scene.registered)
    turn = np.einsum("nji,njk->ik", scene.cams_from_world.rotation[known], truth.cams_from_world.rotation[known])
    u, _, vt = np.linalg.svd(turn)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    a = truth.cams_from_world.centers_in_world[known] @ rotation.T
    b = scene.centers_in_world[known]
    scale = ((a - a.mean(0)) * (b - b.mean(0))).sum() / ((a - a.mean(0)) ** 2).sum()
    return Sim3(scale, rotation, b.mean(0) - scale * a.mean(0))


def through_true_cameras(scene: Reconstruction, truth: GroundTruth) -> Reconstruction:
    """The solve with the true cameras in place of its own, in its world."""
    cameras = solve_from_truth(scene, truth).apply_to_cameras(truth.cams_from_world)
    return replace(scene, camera=truth.camera, cams_from_world=Rigid3(cameras.rotation, cameras.translation))


def agreement(
    scene: Reconstruction, truth: GroundTruth, placement: insertion.Placement, frames: Iterable[int]
) -> Agreement:
    """How alike a placement is seen through solved and true cameras, in the frames that see it."""
    ours, theirs = Renderer(placement, scene), Renderer(placement, through_true_cameras(scene, truth))
    overlaps, distances = [], []
    for frame in frames:
        masks = [_mask(r.layer(frame), (truth.camera.height, truth.camera.width)) for r in (ours, theirs)]
        if not all(mask.any() for mask in masks):
            continue
        cover = [mask >= SEEN for mask in masks]
        overlaps.append((cover[0] & cover[1]).sum() / (cover[0] | cover[1]).sum())
        distances.append(np.linalg.norm(_centroid(masks[0]) - _centroid(masks[1])))
    return Agreement(len(overlaps), float(np.min(overlaps)), float(np.max(distances)))


def occlusion(
    scene: Reconstruction, truth: GroundTruth, placement: insertion.Placement, aligned: AlignedDepth,
    video: Video, frames: list[int],
) -> Occlusion:  # fmt: skip
    """What aligned maps hide of a placement beside what true depth does, seen through the true cameras."""
    assert truth.depth is not None
    scale = float(solve_from_truth(scene, truth).scale)
    ours, theirs = Renderer(placement, scene), Renderer(placement, through_true_cameras(scene, truth))
    size, right, hidden = (truth.camera.height, truth.camera.width), [], []
    for frame, aligned_map in zip(frames, aligned.maps(video, frames), strict=True):
        layer, true_layer = ours.layer(frame), theirs.layer(frame)
        if layer is None or true_layer is None or aligned_map is None:
            continue
        seen = _mask(layer, size, layer.alpha * visible(layer, aligned_map, size)[0])
        true_depth = scale * cv2.resize(
            truth.depth[frame].astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST
        )
        depth = _mask(true_layer, size, np.nan_to_num(true_layer.depth, nan=np.inf), empty=np.inf)
        on = _mask(true_layer, size) >= SEEN
        behind = true_depth < depth
        right.append(((seen >= SEEN) == ~behind)[on].mean())
        hidden.append(behind[on].mean())
    return Occlusion(len(right), float(np.min(right)), float(np.mean(right)), float(np.mean(hidden)))


def half_hidden(
    scene: Reconstruction, truth: GroundTruth, frame: int, size: float = 0.1
) -> tuple[insertion.Placement, float]:
    """A cube half behind the nearest thing: on a point of the set beside its outline, and the depth between them.

    Of the points that lie farther back than the nearest tenth of the picture those whose cube it hides by about a half.
    """
    assert truth.depth is not None
    near = np.quantile(truth.depth[frame].astype(float), 0.1)
    scale = float(solve_from_truth(scene, truth).scale)
    in_cam = scene.cams_from_world[frame].apply(scene.points)
    xy = scene.camera.at(frame).img_from_cam(in_cam)
    small = truth.depth[frame].astype(float)
    per_px = np.array(small.shape[::-1]) / [scene.camera.width, scene.camera.height]
    best, best_off, gap = None, np.inf, 0.0
    for track in np.flatnonzero(scene.has_point & (in_cam[:, 2] > 1.3 * near * scale)):
        half = 0.5 * size * scene.camera.focal_length.reshape(-1, 2)[0, 0]  # px: size is relative to the depth
        column, row = np.nan_to_num(xy[track] * per_px, nan=-1e6).astype(int)
        reach = int(np.ceil(half * per_px[0]))
        window = small[max(row - 2 * reach, 0) : row + 1, max(column - reach, 0) : column + reach + 1]
        if window.shape != (2 * reach + 1, 2 * reach + 1):
            continue
        before = window * scale < in_cam[track, 2] * (1 - size)
        nearest = window.min() < 1.1 * near
        off = abs(before.mean() - 0.5)
        if nearest and off < best_off:
            best, best_off = int(track), off
            gap = float(in_cam[track, 2] / (scale * window[before].mean()))
    assert best is not None
    spot = insertion.Spot(track=best, frame=frame)
    return insertion.placed(insertion.load_mesh("cube"), scene, spot, relative_size=size, upright="camera"), gap


def depth_error(aligned: AlignedDepth, truth: GroundTruth, video: Video, frames: list[int]) -> DepthError:
    """Of aligned maps and, each frame's scale taken out, of the model's own, where the truth is known."""
    assert truth.depth is not None
    scale = float(solve_from_truth(aligned.reconstruction, truth).scale)
    errors, own = [], []
    raw = aligned.model.maps(video.only(frames))
    for frame, aligned_map, depth_map in zip(frames, aligned.maps(video, frames), raw, strict=True):
        true = truth.depth[frame].astype(float)
        if aligned_map is None or depth_map is None:
            continue
        for values, into in ((aligned_map.depth / scale, errors), (depth_map.astype(float), own)):
            shown = cv2.resize(values, true.shape[::-1], interpolation=cv2.INTER_LINEAR)
            with np.errstate(divide="ignore", invalid="ignore"):
                error = np.log(shown / true)[(true > 0) & (true < MAX_TRUE_DEPTH)]
            into.append(error if into is errors else error - np.nanmedian(error))
    error, model = np.abs(np.concatenate(errors)), np.abs(np.concatenate(own))
    return DepthError(*(float(v) for v in (np.nanmedian(error), np.nanquantile(error, 0.9), np.nanmedian(model))))


def known_point(scene: Reconstruction, frame: int) -> int:
    """The best known track near the middle of a frame's picture."""
    tracks = scene.tracks.track[scene.inliers & (scene.tracks.frame == frame)]
    xy = scene.camera.at(frame).img_from_cam(scene.cams_from_world[frame].apply(scene.points[tracks]))
    size = np.array([scene.camera.width, scene.camera.height])
    central = (np.abs(xy / size - 0.5) < 0.25).all(axis=1)
    return int(tracks[central][np.nanargmin(scene.point_sigma[tracks[central]])])


def _mask(
    layer: Layer | None, size: tuple[int, int], values: np.ndarray | None = None, empty: float = 0.0
) -> np.ndarray:
    """Values of a layer, its cover by default, on the whole plate."""
    whole = np.full(size, empty)
    if layer is not None:
        height, width = layer.alpha.shape
        part = layer.alpha if values is None else values
        whole[layer.top : layer.top + height, layer.left : layer.left + width] = part
    return whole


def _centroid(mask: np.ndarray) -> np.ndarray:
    row, column = np.mgrid[: mask.shape[0], : mask.shape[1]]
    return np.array([(mask * column).sum(), (mask * row).sum()]) / mask.sum()


def measured(result: Path, depth: Path, truth: GroundTruth) -> dict[str, dict]:
    """All of it for one solved shot."""
    scene, shot, _ = load_result(result)
    video = reopen(shot)
    frames = np.flatnonzero(scene.registered).tolist()
    aligned = align_depth(scene, video, MapFolder(depth))
    middle = frames[len(frames) // 2]
    cube = insertion.placed(insertion.load_mesh("cube"), scene, insertion.Spot(track=known_point(scene, middle)))
    hidden, gap = half_hidden(scene, truth, middle)
    return {
        "agreement": asdict(agreement(scene, truth, cube, frames)),
        "occlusion": asdict(occlusion(scene, truth, hidden, aligned, video, frames)) | {"depth_ratio": gap},
        "depth": asdict(depth_error(aligned, truth, video, frames[::6])),
    }


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", nargs="?", type=Path)
    parser.add_argument("--solved", type=Path)
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        place = solved(SAMPLE / "sample.mp4", SAMPLE / "depth", (622.65, 640, 360), Path(folder) / "sample")
        truth = GroundTruth.load(SAMPLE / "gt.json", SAMPLE / "true_depth.npz")
        found["sample shot"] = measured(place, SAMPLE / "depth", truth)
        if given.shared:
            dolly = given.shared / "rendered_dolly"
            place = given.solved / "rendered_dolly" if given.solved else Path(folder) / "dolly"
            if not given.solved:
                solved(dolly / "frames", dolly / "prior", (682.6667, 768, 432), place)
            truth = GroundTruth.load(dolly / "gt.json", dolly / "depth.npz")
            found["rendered push-in"] = measured(place, dolly / "prior", truth)
    (HERE / "insertion.json").write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "insertion.md").write_text(_table(found))
    print(_table(found))


def solved(clip: Path, depth: Path, lens: tuple[float, int, int], place: Path) -> Path:
    """Solve a clip whose lens (focal length, width and height, px) is known, into a result's folder."""
    from sfm.results import write_result
    from sfm.video import open_video

    focal, width, height = lens
    video = open_video(clip)
    scene, report, _ = sfm.reconstruct(video, depth, sfm.Camera.from_focal_px(focal, width=width, height=height))
    write_result(place, scene, report, video, {"depth": str(depth)})
    return place


def _table(found: dict[str, dict]) -> str:
    rows = [
        "| shot | frames | overlap of masks, worst | centroid off, worst, px | occlusion right, worst / mean |"
        " hidden | depth ratio | maps off, median (90 %) | the model's own |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, parts in found.items():
        seen, behind, depth = parts["agreement"], parts["occlusion"], parts["depth"]
        rows.append(
            f"| {name} | {seen['frames']} | {seen['iou']:.4f} | {seen['centroid_px']:.3f} |"
            f" {100 * behind['worst']:.1f} / {100 * behind['right']:.1f} % | {100 * behind['hidden']:.0f} % |"
            f" {behind['depth_ratio']:.2f} | {100 * depth['aligned']:.1f} ({100 * depth['aligned_90']:.0f}) % |"
            f" {100 * depth['model']:.1f} % |"
        )
    return "# A cube in the shot, beside the truth\n\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
