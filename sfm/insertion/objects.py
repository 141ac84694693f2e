"""Objects to put into a shot: built-in ones for tests, and files that Open3D reads.

An object's own axes are those of OBJ files: x right, y up, z towards who looks at it. It stands on y = 0 in the middle
of x and z, and its longest side is 1.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sfm.errors import InputError, require
from sfm.geometry.transform import Sim3

BUILT_IN = ("cube", "cone-grid", "checker")
MESH_SUFFIXES = (".obj", ".ply", ".stl", ".off", ".glb", ".gltf")
CLAY = np.array([0.46, 0.43, 0.39])  # linear reflectance
CELLS = 8  # of the checker along a side
FACETS = 40  # of a cone
FACES = np.array([[0.62, 0.20, 0.08], [0.10, 0.35, 0.52], [0.55, 0.50, 0.42]])  # of a cube: by x, z and y


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles with a colour each.

    vertices (n, 3); triangles (m, 3) int; colors (m, 3) linear reflectance, 0..1; normals (m, 3, 3) at the corners,
    unit, outwards; empty: flat triangles.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colors: np.ndarray
    normals: np.ndarray = field(default_factory=lambda: np.zeros((0, 3, 3)))

    def transformed(self, target_from_own: Sim3) -> "Mesh":
        """The same in another world."""
        turned = self.normals @ target_from_own.rotation.T
        return replace(self, vertices=target_from_own.apply(self.vertices), normals=turned)


def load_mesh(name: str | Path) -> Mesh:
    """`cube`, `checker`, `cone` (standing on its tip), or a file `.obj .ply .stl .off .glb .gltf`, y up.

    Colours of a file's vertices are kept and taken for sRGB; its textures are not. Raises `InputError` for a file that
    holds no triangles, `MissingDependencyError` without Open3D.
    """
    if str(name) in _MADE:
        return _MADE[str(name)]()
    path = Path(name)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise InputError(f"{name}: expected one of {', '.join(BUILT_IN)}, or a file {' '.join(MESH_SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{name}: no such file")
    return _standing(_read(path))


def _read(path: Path) -> Mesh:
    require("open3d", "open3d", "view", "a mesh of your own")
    import open3d

    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        read = open3d.io.read_triangle_mesh(str(path))  # pyright: ignore[reportArgumentType]
    vertices, triangles = np.asarray(read.vertices, float), np.asarray(read.triangles, int)
    if not len(triangles) or not np.isfinite(vertices).all():
        raise InputError(f"{path}: no triangles that can be read in it")
    colors = np.tile(CLAY, (len(triangles), 1))
    if read.has_vertex_colors():
        colors = (np.asarray(read.vertex_colors)[triangles].mean(axis=1)) ** 2.2
    normals = np.zeros((0, 3, 3))
    if read.has_vertex_normals():
        normals = np.asarray(read.vertex_normals, float)[triangles]
    return Mesh(vertices, triangles, colors, normals)


def _standing(mesh: Mesh) -> Mesh:
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    side = float((high - low).max())
    if not side > 0:
        raise InputError("the mesh is a single point; expected something with a size")
    base = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return replace(mesh, vertices=(mesh.vertices - base) / side)


def _cube() -> Mesh:
    corner = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)])
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 2, 6, 4], [1, 5, 7, 3], [0, 4, 5, 1], [2, 3, 7, 6]])
    triangles = quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    return Mesh(corner, triangles, FACES[[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]])


def _checker() -> Mesh:
    """A board of `CELLS` a side, hardly above the ground."""
    line = np.arange(CELLS + 1) / CELLS - 0.5
    x, z = np.meshgrid(line, line, indexing="ij")
    vertices = np.stack([x, np.full_like(x, 2e-3), z], axis=-1).reshape(-1, 3)
    column, row = (a.ravel() for a in np.meshgrid(np.arange(CELLS), np.arange(CELLS), indexing="ij"))
    first = column * (CELLS + 1) + row
    corners = np.column_stack([first, first + 1, first + CELLS + 2, first + CELLS + 1])
    triangles = corners[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    colors = np.where(((column + row) % 2)[:, None], [0.75, 0.75, 0.75], [0.03, 0.03, 0.03])
    return Mesh(vertices, triangles, np.repeat(colors, 2, axis=0))


def _cone() -> Mesh:
    """A marker whose tip is the point."""
    angle = 2 * np.pi * np.arange(FACETS) / FACETS
    rim = np.column_stack([0.3 * np.cos(angle), np.ones(FACETS), 0.3 * np.sin(angle)])
    vertices = np.vstack([[0, 0, 0], [0, 1, 0], rim])
    here, after = 2 + np.arange(FACETS), 2 + (np.arange(FACETS) + 1) % FACETS
    side = np.column_stack([np.zeros(FACETS, int), here, after])
    top = np.column_stack([np.ones(FACETS, int), after, here])
    stripes = np.where((np.arange(FACETS) // 5 % 2)[:, None], [0.75, 0.75, 0.72], [0.75, 0.16, 0.02])
    return Mesh(vertices, np.vstack([side, top]), np.vstack([stripes, stripes]))


_MADE = {"cube": _cube, "checker": _checker, "cone": _cone}
