"""A dense cloud and a mesh of the set: aligned depth maps fused where frames agree (Curless and Levoy 1996, by Open3D).

What is between the tracks' points is the depth model's word, held to these points: it serves to look at the set, to
lay it out and to hide things behind, not to measure. The limits: only what several frames see alike is kept; what is
thinner than some pixels of a map, shiny, or moves is gone or wrong; surfaces farther than `DenseOptions.far` are left
out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from plyfile import PlyData, PlyElement

from sfm.depth.aligned import AlignedDepth
from sfm.errors import InputError, NoSolutionError, UsageError, require
from sfm.export.stmap import undistorted_camera
from sfm.files import replacing
from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3
from sfm.scene import Support
from sfm.video import Video

COMMENT = "held by a depth prior aligned to the solve's points: not measured by parallax"
AXES = "x right, y down, z forward, in the world of points.ply"
VERTEX = np.dtype(
    [
        *((name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")),
        *((name, "u1") for name in ("red", "green", "blue", "support")),
    ]
)
BLOCK = 8  # voxels along each side of what is allocated at once
MAX_BLOCKS = 48_000  # of 10 KiB each: memory stays below about 1 GB
TRUNCATION = 4.0  # voxels to either side of a surface that a frame speaks about
COARSER = 1.25  # times the voxel, tried until it fits


@dataclass(frozen=True, slots=True)
class DenseOptions:
    """Which part of the maps is believed, and how finely it is kept."""

    voxel: float | None = None  # in the solve's unit; None: one and a half pixels of a map at the median depth
    max_frames: int = 60  # evenly spaced over the shot; all are held in memory, 1 MB each
    width: int = 480  # px that maps are shrunk to
    max_sigma: float = 0.08  # of log depth: where points are too far away to hold the map it is left out
    agreeing: int = 2  # other frames that must see the surface there
    asked: int = 4  # other frames that are asked
    tolerance: float = 2.0  # sigmas within which two frames agree
    far: float = 3.0  # times the median depth of the points; farther surfaces are left out


@dataclass(frozen=True, slots=True, eq=False)
class DenseScene:
    """What was fused: points (n, 3), normals (n, 3), colors (n, 3) uint8 RGB, triangles (k, 3) int between the points.

    voxel: in the solve's unit; frames: how many were fused; kept: part of the maps' known pixels that was believed.
    """

    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    triangles: np.ndarray
    voxel: float
    frames: int
    kept: float


@dataclass(slots=True, eq=False)
class _View:
    """What an ideal pinhole sees of a frame: depth (h, w), 0 where not known well; sigma (h, w); rgb (h, w, 3)."""

    camera: Camera
    cam_from_world: Rigid3
    depth: np.ndarray
    sigma: np.ndarray
    rgb: np.ndarray


def densify(
    aligned: AlignedDepth, video: Video, options: DenseOptions = DenseOptions(),
    progress: Callable[[int, int], None] | None = None,
) -> DenseScene:  # fmt: skip
    """Fuse the aligned maps of a shot. progress: told of frames read and fused, and of how many that will be.

    Raises `NoSolutionError` where frames agree on nothing, `InputError` for a voxel too small for this machine,
    `MissingDependencyError` without Open3D.
    """
    require("open3d", "open3d", "view", "a dense cloud")
    tell = progress or (lambda done, count: None)
    cameras = np.flatnonzero(aligned.reconstruction.has_camera)
    frames = cameras[np.unique(np.linspace(0, len(cameras) - 1, options.max_frames).round().astype(int))].tolist()
    views = []
    for done, (frame, aligned_map, (_, rgb)) in enumerate(
        zip(frames, aligned.maps(video, frames), video.only(frames), strict=True), start=1
    ):
        if aligned_map is not None and rgb is not None:
            views.append(_view(aligned, frame, aligned_map, rgb, options))
        tell(done, 2 * len(frames))
    known = sum(int((view.depth > 0).sum()) for view in views)
    believed = [_agreed(views, index, options) for index in range(len(views))]
    kept = sum(int(mask.sum()) for mask in believed)
    if not kept:
        raise NoSolutionError(f"{aligned.model.name}: the frames agree on no surface; are these the maps of this shot?")
    for view, mask in zip(views, believed, strict=True):
        view.depth = np.where(mask, view.depth, 0).astype(np.float32)
    grid, voxel = _fused(views, options, lambda done: tell(len(frames) + done, 2 * len(frames)))
    tell(2 * len(frames), 2 * len(frames))
    return _extracted(grid, voxel, len(views), kept / known)


def check_ply(path: str | Path) -> None:
    """Raise `UsageError` unless a path is called like a PLY."""
    if Path(path).suffix.lower() != ".ply":
        raise UsageError(f"{path}: clouds and meshes are written as .ply")


def write_cloud(scene: DenseScene, path: str | Path) -> None:
    """As a binary PLY: position, normal, colour, `support` 2 as in `points.ply`, a comment that says what that is."""
    _write(path, [_vertices(scene)])


def write_mesh(scene: DenseScene, path: str | Path) -> None:
    """The same with the triangles between the points."""
    face = np.zeros(len(scene.triangles), [("vertex_indices", "<i4", (3,))])
    face["vertex_indices"] = scene.triangles
    _write(path, [_vertices(scene), PlyElement.describe(face, "face")])


def _vertices(scene: DenseScene) -> PlyElement:
    vertex = np.zeros(len(scene.points), VERTEX)
    columns = np.hstack([scene.points, scene.normals, scene.colors])
    for name, values in zip(VERTEX.names or (), columns.T, strict=False):
        vertex[name] = values
    vertex["support"] = Support.PRIOR
    return PlyElement.describe(vertex, "vertex", comments=[COMMENT, AXES])


def _write(path: str | Path, elements: list[PlyElement]) -> None:
    with replacing(path) as temporary:
        PlyData(elements, text=False, byte_order="<").write(temporary)


def _view(aligned: AlignedDepth, frame: int, aligned_map, rgb: np.ndarray, options: DenseOptions) -> _View:
    """A frame as its ideal pinhole sees it, shrunk; what the map does not know well is left out, edges too."""
    scene = aligned.reconstruction
    lens = scene.camera.at(frame)
    whole = undistorted_camera(lens)
    shrunk = min(options.width / whole.width, 1.0)
    width, height = round(whole.width * shrunk), round(whole.height * shrunk)
    factor = np.array([width / whole.width, height / whole.height])
    ideal = Camera(whole.focal_length * factor, whole.principal_point * factor, np.zeros(0), width, height)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ahead = (np.stack([x, y], axis=-1) - ideal.principal_point) / ideal.focal_length
    seen = lens.img_from_cam(np.concatenate([ahead, np.ones((height, width, 1))], axis=-1))

    def read(picture: np.ndarray, how: int, outside: float) -> np.ndarray:
        at = (seen * (picture.shape[1] / lens.width, picture.shape[0] / lens.height) - 0.5).astype(np.float32)
        return cv2.remap(picture, at[..., 0], at[..., 1], how, borderMode=cv2.BORDER_CONSTANT, borderValue=outside)

    median = _median_depth(aligned, frame)
    good = np.isfinite(aligned_map.depth) & (aligned_map.sigma < options.max_sigma) & (aligned_map.edge == 0)
    good &= aligned_map.depth < options.far * median
    depth = read(np.where(good, aligned_map.depth, 0).astype(np.float32), cv2.INTER_NEAREST, 0.0)
    sigma = read(np.where(good, aligned_map.sigma, 1).astype(np.float32), cv2.INTER_NEAREST, 1.0)
    size = max(round(rgb.shape[1] * shrunk), 1), max(round(rgb.shape[0] * shrunk), 1)
    color = read(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.INTER_LINEAR, 0.0)
    return _View(ideal, scene.cams_from_world[frame], depth, sigma, color)


def _median_depth(aligned: AlignedDepth, frame: int) -> float:
    scene = aligned.reconstruction
    depth = scene.cams_from_world[frame].apply(scene.points[scene.has_point])[:, 2]
    return float(np.median(depth[depth > 0])) if (depth > 0).any() else np.inf


def _agreed(views: list[_View], index: int, options: DenseOptions) -> np.ndarray:
    """Pixels (h, w) of a view whose surface enough of the others see where it does; all others where there are few."""
    view = views[index]
    row, column = np.nonzero(view.depth > 0)
    depth = view.depth[row, column].astype(float)
    ahead = (np.column_stack([column, row]) + 0.5 - view.camera.principal_point) / view.camera.focal_length
    points = view.cam_from_world.inverse().apply(np.column_stack([ahead, np.ones(len(row))]) * depth[:, None])
    others = [other for other in range(len(views)) if other != index]
    # far ones see it from elsewhere, near ones see it at all
    asked = sorted(others, key=lambda other: abs(other - index))
    asked = asked[:: max(len(asked) // (2 * options.asked), 1)][: options.asked]
    votes = np.zeros(len(row), int)
    for other in asked:
        votes += _seen_alike(views[other], points, view.sigma[row, column], options.tolerance)
    mask = np.zeros(view.depth.shape, bool)
    mask[row, column] = votes >= min(options.agreeing, len(asked))
    return mask


def _seen_alike(view: _View, points: np.ndarray, sigma: np.ndarray, tolerance: float) -> np.ndarray:
    """Whether a view has its surface at points (n, 3), within its doubt and theirs, sigma (n,); (n,) bool."""
    in_cam = view.cam_from_world.apply(points)
    xy = np.nan_to_num(view.camera.img_from_cam(in_cam), nan=-1.0)
    height, width = view.depth.shape
    inside = np.asarray(np.all((xy >= 0) & (xy < [width, height]), axis=1))
    column, row = np.where(inside[:, None], xy, 0).astype(int).T
    depth = view.depth[row, column]
    known = inside & (depth > 0)
    off = np.abs(np.log(np.where(known, in_cam[:, 2], 1) / np.where(known, depth, 1)))
    return known & (off < tolerance * np.hypot(sigma, view.sigma[row, column]))


def _fused(views: list[_View], options: DenseOptions, told: Callable[[int], None]):
    """Open3D's voxels with all views in them, and how large they are."""
    import open3d

    core, geometry = open3d.core, open3d.t.geometry
    voxel = _voxel(views, options)
    names, kinds = ("tsdf", "weight", "color"), (core.float32, core.float32, core.float32)
    grid = geometry.VoxelBlockGrid(names, kinds, ((1), (1), (3)), voxel, BLOCK, MAX_BLOCKS)
    for done, view in enumerate(views, start=1):
        depth = geometry.Image(core.Tensor(view.depth))
        rgb = geometry.Image(core.Tensor(np.ascontiguousarray(view.rgb).astype(np.float32) / 255))
        lens, pose = _open3d_camera(view)
        blocks = _touched(grid, view)
        if blocks is not None:
            grid.integrate(blocks, depth, rgb, lens, pose, 1.0, 1e30, TRUNCATION)
        told(done)
    return grid, voxel


def _voxel(views: list[_View], options: DenseOptions) -> float:
    """The voxel asked for, or the finest from one and a half pixels on that fits into memory."""
    known = [view for view in views if (view.depth > 0).any()]
    pixel = [float(np.median(view.depth[view.depth > 0])) / view.camera.focal_length[0] for view in known]
    voxel = options.voxel or 1.5 * float(np.median(pixel))
    while (count := _blocks(known, voxel)) > MAX_BLOCKS:
        if options.voxel is not None:
            least = voxel * np.sqrt(count / MAX_BLOCKS)
            raise InputError(f"voxel {voxel:g}: so small ones take gigabytes on this set; {least:.2g} would do")
        voxel *= COARSER
    return voxel


def _blocks(views: list[_View], voxel: float) -> int:
    """How many blocks of voxels of this size hold the surfaces of the views."""
    import open3d

    core, geometry = open3d.core, open3d.t.geometry
    grid = geometry.VoxelBlockGrid(("tsdf",), (core.float32,), ((1),), voxel, BLOCK, 1)
    found = np.zeros((0, 3), np.int32)
    for view in views:
        blocks = _touched(grid, view)
        if blocks is not None:
            found = np.unique(np.concatenate([found, blocks.numpy()]), axis=0)
        if len(found) > MAX_BLOCKS:
            break
    return len(found)


def _touched(grid, view: _View):
    """Coordinates of the blocks that the surface of a view is in; None where it has too little of one.

    Open3D looks at every fourth pixel, and takes it for an error if none of these has a depth.
    """
    import open3d

    depth = open3d.t.geometry.Image(open3d.core.Tensor(view.depth))  # pyright: ignore[reportCallIssue, reportArgumentType]
    try:
        return grid.compute_unique_block_coordinates(depth, *_open3d_camera(view), 1.0, 1e30, TRUNCATION)
    except RuntimeError as error:
        if "No block is touched" in str(error):
            return None
        raise


def _open3d_camera(view: _View):
    """Intrinsics, the first pixel's centre at 0, and pose, as Open3D takes them."""
    import open3d

    matrix, pose = view.camera.matrix(), np.eye(4)
    matrix[:2, 2] -= 0.5
    pose[:3] = view.cam_from_world.as_matrix()
    return open3d.core.Tensor(matrix), open3d.core.Tensor(pose)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _extracted(grid, voxel: float, frames: int, kept: float) -> DenseScene:
    """Where the fused surface is: the mesh's corners are the cloud."""
    surface = grid.extract_triangle_mesh(min(2.0, float(frames) - 0.5))
    if not len(surface.vertex.positions):
        raise NoSolutionError("the frames agree on too little for a surface; try a larger --voxel")
    points = surface.vertex.positions.numpy().astype(float)
    colors = np.rint(255 * np.clip(surface.vertex.colors.numpy(), 0, 1)).astype(np.uint8)
    triangles = surface.triangle.indices.numpy().astype(np.int64)
    normals = surface.vertex.normals.numpy().astype(float)
    return DenseScene(points, normals, colors, triangles, voxel, frames, kept)
