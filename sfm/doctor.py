"""What is installed, what is broken, and what a missing extra would give: for `sfm doctor`."""

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from sfm import __version__

# package -> the module it is imported as
CORE = {
    "numpy": "numpy",
    "scipy": "scipy",
    "opencv-python": "cv2",
    "OpenImageIO": "OpenImageIO",
    "fileseq": "fileseq",
    "plyfile": "plyfile",
    "threadpoolctl": "threadpoolctl",
    "platformdirs": "platformdirs",
    "typer": "typer",
    "rich": "rich",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
}
# extra -> its packages, and what they give
EXTRAS = {
    "depth": (("torch", "kornia", "transformers", "pillow", "onnxruntime"), "depth networks"),
    "tflite": (("ai-edge-litert",), "depth networks in .tflite files"),
    "usd": (("usd-core",), "sfm export --format usd"),
    "alembic": (("alembic3d",), "sfm export --format abc"),
    "film": (("av",), "sfm film, sfm insert: movies as H.264; movies of 10 and more bits and time code read"),
    "timeline": (("OpenTimelineIO", "otio-cmx3600-adapter"), "clips out of .otio and .edl; sfm export --format otio"),
    "view": (("open3d",), "sfm view: the 3D window and its screenshots; sfm insert, sfm dense"),
    "web": (("viser",), "sfm view --web: the same in a browser"),
}


def diagnosis() -> tuple[list[str], bool]:
    """What is installed, one line each, and whether the core is complete."""
    lines = [f"sfm {__version__}, Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores"]
    healthy = True
    for package, module in CORE.items():
        fault = _import_fault(module)
        healthy &= not fault
        lines.append(f"  {package:<16}{_installed(package) or 'not installed':<16}{fault}".rstrip())
    for extra, (packages, gives) in EXTRAS.items():
        missing = [package for package in packages if _installed(package) is None]
        have = ", ".join(f"{package} {_installed(package)}" for package in packages if package not in missing)
        lines.append(f"[{extra}] {gives}: {'installed' if not missing else 'missing ' + ', '.join(missing)}")
        lines += [f"  {have}"] if have else []
        lines += [f"  {sys.executable} -m pip install {' '.join(missing)}"] if missing else []
        fault = _import_fault("open3d") if extra == "view" and not missing else ""
        lines += [f"  {fault}"] if fault else []
    lines.append(_movies())
    return lines, healthy


def _installed(package: str) -> str | None:
    names = (package, f"{package}-headless", f"{package}-contrib-python") if package == "opencv-python" else (package,)
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _import_fault(module: str) -> str:
    """Why a module cannot be imported; empty when it can."""
    try:
        import_module(module)
    except ImportError as error:
        return f"cannot be imported ({error}); on Debian or Ubuntu: make system"
    return ""


def _movies() -> str:
    import cv2

    found = "FFMPEG" in [cv2.videoio_registry.getBackendName(b) for b in cv2.videoio_registry.getBackends()]
    if _installed("av") is not None and not _import_fault("av"):
        deep = "their headers, time code, and what has 10 and more bits with PyAV"
    else:
        deep = "10 and more bits and time code need PyAV"
    if not found:
        return "movies: this OpenCV has no FFmpeg, which reads those of 8 bits; use image sequences"
    return f"movies: 8 bits read with OpenCV's FFmpeg; {deep}"
