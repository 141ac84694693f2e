"""Plots of the report as SVG to be set into a page: text stays text, colours are the page's, light, dark or printed.

Drawn by Matplotlib without its global state, in stand-in colours that become CSS variables. Series take the blue,
orange and bluish green of Okabe and Ito (2008), which colour-blind people tell apart; the page defines them.
"""

import io
import re
from typing import Any

import numpy as np

INK, GRID, FIRST, SECOND, THIRD = "#010101", "#020202", "#030303", "#040404", "#050505"  # no colour a plot would have
CSS = {INK: "currentColor", GRID: "var(--grid)", FIRST: "var(--blue)", SECOND: "var(--orange)", THIRD: "var(--green)"}
DECADES = 30.0  # times as much from one end of a histogram to the other: fewer get more numbers
SIZE, HALF = (9.4, 1.9), (4.6, 2.3)  # inches; the page scales them to its width
MARGINS = {"left": 0.09, "right": 0.92, "bottom": 0.25, "top": 0.87}  # the same of all: their plate numbers line up
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
}


def frame_plots(numbers: dict[str, Any], limits: tuple[float, float]) -> dict[str, str]:
    """A plot over the plate numbers by what it shows; of those numbers only that `report_numbers` could tell.
    A coverage or a focal length that is the same in every frame has none, nor has the speed of a camera that stands.

    limits: HD px of a frame's error where the verdict stops saying PASS for the shot, and for the frame.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        return _frame_plots(numbers, limits)


def _frame_plots(numbers: dict[str, Any], limits: tuple[float, float]) -> dict[str, str]:
    frames = {name: _array(values) for name, values in numbers["frames"].items() if name != "name"}
    scale = numbers["hd_px_per_px"]
    plots = {"error": _error(frames, limits, scale), "tracks": _tracks(frames)}
    if "cells" in frames and _varies(frames["cells"]):
        plots["coverage"] = _line(frames, "cells", "cells of 9 with tracks", top=9.5, steps=True)
    if _varies(frames["focal_px"]):
        plots["focal"] = _line(frames, "focal_px", "focal length, px", zero=False)
    if "speed" in frames:
        if moves := bool((np.nan_to_num(frames["speed"]) > 0).any()):
            plots["speed"] = _line(frames, "speed", f"camera speed,\n{numbers['unit']} a frame")
        plots["turn"] = _line(frames, "turn_deg", "camera turn,\ndegrees a frame")
        if moves:
            plots["acceleration"] = _acceleration(frames, numbers["unit"])
    return plots


def histogram_plot(histogram: dict[str, Any], label: str, factor: float = 1.0) -> str:
    """Points by a value on a logarithmic scale, those the prior holds on top of those the tracks know."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        return _histogram(histogram, label, factor)


def _histogram(histogram: dict[str, Any], label: str, factor: float) -> str:
    from matplotlib.ticker import LogLocator

    figure, axes = _axes("points", HALF, left=0.13, right=0.95, bottom=0.21, top=0.96)
    edges = factor * np.array(histogram["edges"])
    known, held = (np.array(histogram[name]) for name in ("triangulated", "held_by_prior"))
    axes.bar(edges[:-1], known, np.diff(edges), align="edge", color=FIRST, label="triangulated")
    axes.bar(edges[:-1], held, np.diff(edges), bottom=known, align="edge", color=SECOND, label="held by the prior")
    filled = np.flatnonzero(known + held)
    axes.set_xscale("log")
    axes.set_xlim(float(edges[max(filled[0] - 2, 0)]), float(edges[min(filled[-1] + 3, len(edges) - 1)]))
    axes.set_xlabel(label)
    low, high = axes.get_xlim()
    # within a decade its powers alone would hardly say where a bar is
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < DECADES * low else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_ylim(top=1.3 * float((known + held).max()))  # room for the legend
    axes.legend(fontsize=8)
    return _svg(figure, label)


def _error(frames: dict[str, np.ndarray], limits: tuple[float, float], scale: float) -> str:
    figure, axes = _axes("RMS error,\npx on an HD plate")
    numbers, rms = frames["frame"], frames["rms_hd_px"]
    axes.plot(numbers, rms, color=FIRST, marker="." if len(numbers) < 120 else "", label="verdict's error")
    axes.plot(numbers, frames["rms_px"] * scale, color=SECOND, linewidth=0.9, label="error in every direction")
    top = 1.15 * np.nanmax([*rms, *frames["rms_px"] * scale, 0.0])
    for limit, style, what in zip(limits, (":", "--"), ("shot", "frame"), strict=True):
        if limit < 2 * top:
            axes.axhline(limit, color=INK, linestyle=style, linewidth=0.8, label=f"most for PASS, {what}")
            top = max(top, 1.1 * limit)
    axes.set_ylim(0, top or 1.0)
    right = axes.secondary_yaxis("right", functions=_times(1 / scale))
    right.set_ylabel("px of the plate")
    return _finish(figure, axes, frames, "error of every frame", legend=True)


def _tracks(frames: dict[str, np.ndarray]) -> str:
    figure, axes = _axes("tracks used")
    axes.fill_between(frames["frame"], frames["tracks"], color=FIRST, alpha=0.35, linewidth=0, label="all used")
    axes.plot(frames["frame"], frames["tracks"], color=FIRST)
    axes.fill_between(frames["frame"], frames["held_by_prior"], color=SECOND, linewidth=0, label="held by the prior")
    axes.set_ylim(bottom=0)
    return _finish(figure, axes, frames, "tracks of every frame", legend=True)


def _acceleration(frames: dict[str, np.ndarray], unit: str) -> str:
    """Twice: in the world's unit, and as the parallax the verdict judges it by."""
    figure, axes = _axes(f"acceleration,\n{unit} a frame²")
    axes.plot(frames["frame"], frames["acceleration"], color=FIRST)
    axes.set_ylim(0, 1.1 * np.nanmax([*frames["acceleration"], 0.0]) or 1.0)
    both = (frames["acceleration"] > 0) & np.isfinite(frames["jump_hd_px"])
    if both.any():
        ratio = float(np.median(frames["jump_hd_px"][both] / frames["acceleration"][both]))
        right = axes.secondary_yaxis("right", functions=_times(ratio))
        right.set_ylabel("off the path,\npx (HD)")
    return _finish(figure, axes, frames, "acceleration of the camera")


def _line(
    frames: dict[str, np.ndarray], name: str, label: str, *, zero: bool = True, top: float | None = None, steps=False
) -> str:
    figure, axes = _axes(label)
    values = frames[name]
    axes.plot(frames["frame"], values, color=FIRST, drawstyle="steps-mid" if steps else "default")
    known = values[np.isfinite(values)]
    if zero:
        axes.set_ylim(0, top or 1.15 * float(np.max(known, initial=0.0)) or 1.0)
    elif len(known):
        margin = max(0.1 * float(np.ptp(known)), 0.01 * abs(float(known.mean())))  # a lens that does not zoom is flat
        axes.set_ylim(known.min() - margin, known.max() + margin)
    return _finish(figure, axes, frames, label.replace("\n", " "), whole=steps)


def _axes(label: str, size: tuple[float, float] = SIZE, **margins: float):
    from matplotlib.figure import Figure

    figure = Figure(size)
    axes = figure.subplots(gridspec_kw=margins or MARGINS)
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish(
    figure, axes, frames: dict[str, np.ndarray], name: str, *, legend: bool = False, whole: bool = False
) -> str:
    """Plate numbers below; grey where there is no camera, hatched where it is interpolated."""
    from matplotlib.ticker import MaxNLocator

    numbers = frames["frame"]
    for mask, hatch in ((frames["bridged"] > 0, "////"), ((frames["registered"] + frames["bridged"]) == 0, "")):
        for first, last in _runs(mask):
            face = "none" if hatch else GRID
            axes.axvspan(numbers[first] - 0.5, numbers[last] + 0.5, facecolor=face, edgecolor=GRID, hatch=hatch, lw=0)
    axes.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.ticklabel_format(useOffset=False, axis="x")
    axes.set_xlabel("plate number")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=whole))
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 5))  # longer ones would run into the label
    axes.yaxis.set_label_coords(-0.065, 0.5)
    if legend:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=8, borderaxespad=0.1)
    return _svg(figure, name)


def _svg(figure, name: str) -> str:
    """The drawing, as wide as where it is put. Ids would clash with those of other plots: all get the name before."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    stream, prefix = io.StringIO(), re.sub(r"\W+", "-", name)
    with matplotlib.rc_context({"svg.hashsalt": name}):  # the same every time
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(id="|url\(#|xlink:href="#)', rf"\1{prefix}-", svg)
    svg = re.sub(r"<svg [^>]*>", lambda start: re.sub(r' (width|height)="[^"]*"', "", start[0]), svg, count=1)
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    for stand_in, variable in CSS.items():
        svg = svg.replace(stand_in, variable)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)


def _varies(values: np.ndarray) -> bool:
    """Whether what is known is not the same in every frame."""
    return len(np.unique(values[np.isfinite(values)])) > 1


def _array(values: list) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _times(factor: float):
    """What takes a number of the left axis to the right one, and back."""
    return (lambda left: np.asarray(left) * factor), (lambda right: np.asarray(right) / factor)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of true."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(first), int(end) - 1) for first, end in change.reshape(-1, 2)]
