"""`insert` and `dense`: the solve put to use with the depth maps it was made with."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sfm.cli.words import DepthKind, app, calm_opencv
from sfm.errors import InputError, UsageError

if TYPE_CHECKING:
    from sfm.insertion import Spot


class Upright(StrEnum):
    """Which way is up for an object."""

    plane = "plane"
    camera = "camera"


Solved = Annotated[Path, typer.Argument(metavar="OUT", help="A result of sfm reconstruct.")]
Depth = Annotated[str | None, typer.Option(
    "--depth", metavar="DIR|MODEL|none", help="Depth maps. Default: those of the solve, in their folder or the cache.",
)]  # fmt: skip
Kind = Annotated[DepthKind | None, typer.Option("--depth-kind", help="What maps given with --depth hold.")]


@app.command()
def insert(
    result: Solved,
    mesh: Annotated[str, typer.Option(
        metavar="FILE|cube|cone-grid|checker", help=".obj .ply .stl .off .glb, y up. cone-grid: on the best points.",
    )],
    output: Annotated[Path, typer.Option(
        "--output", "-o", metavar="MOVIE|DIR", help=".mp4, .mov, or a folder of pictures.",
    )],
    at: Annotated[str | None, typer.Option(
        metavar="'track N'|X,Y", help="Where it stands: a track, or a pixel of --frame. Default: on the ground.",
    )] = None,
    frame: Annotated[int | None, typer.Option(metavar="N", help="Plate number that --at X,Y is of.")] = None,
    size: Annotated[float | None, typer.Option(
        metavar="S", min=0, help="Longest side, in the solve's unit. Default: a tenth of the depth there.",
    )] = None,
    frames: Annotated[str | None, typer.Option(metavar="1001-1040", help="Plate numbers. Default: all.")] = None,
    upright: Annotated[Upright, typer.Option(help="Along the normal of the surface there, or as the camera is held.")]
    = Upright.plane,
    turn: Annotated[float, typer.Option(metavar="DEG", help="About up.")] = 30.0,
    light: Annotated[str | None, typer.Option(
        metavar="AZ,EL", help="The lamp, degrees: 0 behind the camera, 90 at its right; above the ground.",
    )] = None,
    shadow: Annotated[float, typer.Option(min=0, max=1, metavar="0..1", help="Strength of the shadow.")] = 0.8,
    depth: Depth = None,
    depth_kind: Kind = None,
) -> None:  # fmt: skip
    """Put a digital object into the shot, hidden by what is in front of it."""
    calm_opencv()
    from sfm import console, insertion, result_arguments
    from sfm.depth.aligned import align_depth
    from sfm.footage import frame_ranges
    from sfm.insertion.compositing import check_insertion
    from sfm.insertion.rendering import Light
    from sfm.results import load_result
    from sfm.video import reopen

    check_insertion(output)
    scene, shot, _ = load_result(result)
    wanted, named = result_arguments.frames_of(shot, frames), result_arguments.frame_of(shot, frame)
    if mesh == "cone-grid" and at is not None:
        raise UsageError("--mesh cone-grid: stands on the best points; --at is for the others")
    place = named if named is not None else wanted[len(wanted) // 2]
    on_ground = at is None and bool(scene.has_camera[place])  # where these frames look
    spot, angles = insertion.parse_spot(at, place if on_ground else named), result_arguments.light_of(light)
    shape = None if mesh == "cone-grid" else insertion.load_mesh(mesh)
    told, loudness = console.error_console(), console.loudness(False, False, False)
    with console.logging_to(told, loudness), console.stages(told, loudness) as progress:
        video, aligned = reopen(shot), None
        kind = depth_kind.value if depth_kind else None
        if shape is not None:  # cones lie on what they test: nothing may hide them
            try:
                model = result_arguments.depth_of_result(result, video, depth, kind, _paces(progress))
                aligned = None if model is None else align_depth(scene, video, model)
            except InputError as error:
                if depth is not None:
                    raise
                told.print(f"nothing will hide the object: {error}")
        if shape is None:
            placement = insertion.cones_at_points(scene, place, size)
        else:
            placement = insertion.placed_in(
                shape, scene, video, spot, aligned, size=size, upright=upright.value, turn_deg=turn,
                relative_size=insertion.CHECKER_SIZE if mesh == "checker" else insertion.SIZE,
            )  # fmt: skip
        options = insertion.InsertOptions(Light(*angles) if angles else Light(), shadow)
        done = insertion.insert(
            output, scene, video, placement, aligned, frames=wanted, options=options,
            progress=console.pace(progress, "inserting"),
        )  # fmt: skip
    print(done.place)
    where = "on points of the picture" if shape is None else _where(spot)
    stands = "" if shape is None else f", {'on a plane of the points there' if placement.on_plane else 'upright'}"
    print(f"{mesh} of {placement.size:.3g}, put down {where}{stands}; frame {shot.frame_numbers[placement.frame]}")
    for numbers, what in (
        (done.without_camera, "without a camera, the plate as it is"),
        (done.unreadable, "that cannot be decoded"),
        (done.without_depth, "without a depth map, nothing hides the object"),
        (done.unseen, "that see nothing of the object"),
    ):
        if numbers:
            print(f"frames {what}: {frame_ranges(numbers, shot.frame_numbers)}")


def _where(spot: "Spot") -> str:
    if spot.track is not None:
        return f"on track {spot.track}"
    return "on the ground" if spot.pixel is None else "at {:g},{:g}".format(*spot.pixel)


@app.command()
def dense(
    result: Solved,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="CLOUD.ply", help="Where to.")],
    mesh: Annotated[Path | None, typer.Option(metavar="MESH.ply", help="A mesh too.")] = None,
    voxel: Annotated[float | None, typer.Option(
        min=0, metavar="V", help="How fine, in the solve's unit. Default: as the maps are.",
    )] = None,
    frames: Annotated[int, typer.Option("--max-frames", min=2, metavar="N", help="Fused, evenly spaced.")] = 60,
    far: Annotated[float, typer.Option(min=0, metavar="X", help="Left out beyond X times the median depth.")] = 3.0,
    depth: Depth = None,
    depth_kind: Kind = None,
) -> None:  # fmt: skip
    """Fuse the depth maps into a coloured cloud of the set, and a mesh."""
    calm_opencv()
    from sfm import console, result_arguments
    from sfm.dense import DenseOptions, check_ply, densify, write_cloud, write_mesh
    from sfm.depth.aligned import align_depth
    from sfm.results import load_result
    from sfm.video import reopen

    for place in filter(None, (output, mesh)):
        check_ply(place)
    scene, shot, _ = load_result(result)
    told, loudness = console.error_console(), console.loudness(False, False, False)
    with console.logging_to(told, loudness), console.stages(told, loudness) as progress:
        video, kind = reopen(shot), depth_kind.value if depth_kind else None
        model = result_arguments.depth_of_result(result, video, depth, kind, _paces(progress))
        if model is None:
            raise UsageError("--depth none: a dense cloud is made of depth maps")
        options = DenseOptions(voxel=voxel or None, max_frames=frames, far=far)
        fused = densify(
            align_depth(scene, video, model), video, options,
            lambda done, count: progress("fusing", done / count, f"{count // 2} frames"),
        )  # fmt: skip
        write_cloud(fused, output)
        if mesh is not None:
            write_mesh(fused, mesh)
    print(output)
    if mesh is not None:
        print(mesh)
    print(
        f"{len(fused.points):,} points, {len(fused.triangles):,} triangles, voxel {fused.voxel:.3g}, of {fused.frames}"
        f" frames, which agree on {100 * fused.kept:.0f} % of what their maps know well"
    )
    print("held by the depth prior, aligned to the solve's points: for layout and occlusion, not to measure")


def _paces(progress: Callable[[str, float, str], None]) -> Callable[[int, int], None]:
    """Tells of maps being computed, some frames of the shot first, then those that are wanted."""
    from sfm import console

    paces: dict[int, Callable[[int, int], None]] = {}
    return lambda done, count: paces.setdefault(count, console.pace(progress))(done, count)
