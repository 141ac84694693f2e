"""The house stands: one direction of imports, light to import, nobody prints but those whose job it is."""

import ast
from pathlib import Path

import pytest

import sfm

ROOT = Path(sfm.__file__).parent

# a module imports only what stands above it; a package counts as one, its files in any order without a circle
ORDER = [
    "errors",
    "files",
    "threads",
    "geometry",
    "scene",
    "timecode",
    "images",
    "tone",
    "movies",
    "footage",
    "video",
    "timeline",
    "track_files",
    "hand_tracks",
    "patches",
    "flow",
    "lost_tracks",
    "corners",
    "masks",
    "tracking",
    "depth_law",
    "depth",
    "residuals",
    "least_squares",
    "prior_alignment",
    "survey",
    "survey_files",
    "bundle_adjustment",
    "rolling_shutter",
    "outliers",
    "initialize",
    "zoom",
    "moving_bodies",
    "mapping",
    "start",
    "prior_weight",
    "motion",
    "calibration",
    "likely_slide",
    "verdict",
    "options",
    "mapped_shot",
    "bridging",
    "comparison",
    "solve",
    "pipeline",
    "evaluation",
    "synthetic",
    "summary",
    "planes",
    "ground",
    "scene_frame",
    "export",
    "view",
    "undistortion",
    "insertion",
    "dense",
    "solve_json",
    "results",
    "interchange",
    "doctor",
    "sensors",
    "lens_metadata",
    "lens_arguments",
    "arguments",
    "result_arguments",
    "console",
    "cli",
]
HEAVY = {"torch", "open3d", "transformers", "kornia", "onnxruntime", "pxr", "PIL", "matplotlib", "jinja2"}
HEAVY |= {"av", "opentimelineio", "viser"}
MAY_PRINT = {"cli", "console.py", "doctor.py"}
NO_MODULE = {"utils", "util", "common", "core", "base", "types", "helpers", "misc"}

FILES = sorted(ROOT.rglob("*.py"))
INSIDE = [path for path in FILES if path != ROOT / "__init__.py"]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _dotted(path: Path) -> str:
    """`sfm.geometry.camera`; a package's `__init__` is the package."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.AST) -> list[str]:
    """Dotted names imported anywhere in a tree; of `from sfm.x import y` both `sfm.x` and `sfm.x.y`."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out from sfm"
            names += [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _imported_on_load(tree: ast.Module) -> list[str]:
    """Dotted names imported when the module is loaded: outside functions."""
    todo, found = list(tree.body), []
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found += _imported(node)
        todo += list(ast.iter_child_nodes(node))
    return found


def test_every_module_has_a_place():
    there = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in INSIDE}
    assert there - set(ORDER) == set(), "add the new module to ORDER, where its imports allow"
    assert set(ORDER) - there == set(), "ORDER names a module that is gone"


@pytest.mark.parametrize("path", INSIDE, ids=_name)
def test_imports_point_upwards(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    modules = {name.split(".")[1] for name in _imported(_tree(path)) if name.startswith("sfm.")}
    for other in modules & set(ORDER) - {own}:
        assert ORDER.index(other) < ORDER.index(own), f"{_name(path)} imports sfm.{other}, which stands below it"


def test_no_import_goes_in_a_circle():
    """Over files, packages taken apart; a package's own `__init__` is entered only by those outside it."""
    names = {_dotted(path): path for path in INSIDE}
    graph = {
        name: sorted({other for other in _imported(_tree(path)) if other in names and other != name})
        for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join((*trail, name))}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert graph["sfm.mapping"], "the walk found no import at all"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_nothing_heavy_is_imported_on_load(path):
    heavy = {name.split(".")[0] for name in _imported_on_load(_tree(path))} & HEAVY
    assert not heavy, f"{_name(path)} imports {heavy} at the top: move it into the function that needs it"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_only_the_command_line_prints(path):
    if path.relative_to(ROOT).parts[0] in MAY_PRINT:
        return
    calls = [n for n in ast.walk(_tree(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    lines = [call.lineno for call in calls if call.func.id == "print"]
    assert not lines, f"{_name(path)} prints in lines {lines}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_geometry_needs_only_arrays(path):
    if path.parent.name != "geometry":
        return
    allowed = {"numpy", "scipy", "cv2", "sfm", "dataclasses", "weakref"}
    assert {name.split(".")[0] for name in _imported(_tree(path))} <= allowed


def test_no_module_without_a_subject():
    assert not {part for path in FILES for part in path.relative_to(ROOT).with_suffix("").parts} & NO_MODULE


def test_every_public_name_is_there():
    for name in sfm.__all__:
        assert getattr(sfm, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        sfm.__getattr__("nothing_of_the_kind")
