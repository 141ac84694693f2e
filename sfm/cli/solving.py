"""`reconstruct` and `depth`: from a clip to cameras, or to depth maps."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sfm.cli.words import (
    DEPTH,
    DEPTH_HELP,
    FLIP_HELP,
    FRAMES,
    KIND_HELP,
    LENS,
    RUN,
    SURVEY,
    TRACKS,
    ClipName,
    Colorspace,
    DepthKind,
    FirstFrame,
    Handles,
    Ocio,
    Up,
    app,
    calm_opencv,
    check_loudness,
    names,
    option,
)
from sfm.errors import BelowGateError, UsageError


class MaskPolarity(StrEnum):
    """The colour of a mask that is not tracked."""

    black = "black"
    white = "white"


class MapFormat(StrEnum):
    """What `depth` writes."""

    npz = "npz"
    exr = "exr"


class Kind(StrEnum):
    """What the camera may have done."""

    auto = "auto"
    static = "static"
    nodal = "nodal"
    free = "free"


class Gate(StrEnum):
    """The verdict that `reconstruct` must reach."""

    PASS = "PASS"
    REVIEW = "REVIEW"


DOWNLOAD_HELP = (
    "An interrupted run goes on where it stopped. sfm depth download NAME [-o DIR] fetches a network, to be carried to "
    "a machine that cannot reach the hub; a NAME that is none lists those there are."
)


@app.command()
def reconstruct(
    clip: Annotated[
        str, typer.Argument(metavar="INPUT", help="A movie, a folder of frames, shot.####.exr, or a timeline")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the result.")],
    camera: Annotated[str | None, option(LENS, "In px of the full-size plate.", metavar="FX,FY,CX,CY")] = None,
    focal_px: Annotated[float | None, option(LENS, "Focal length in px, centred.", metavar="PX")] = None,
    focal_mm: Annotated[
        float | None, option(LENS, "Focal length; needs --sensor-mm or --sensor.", metavar="MM")
    ] = None,
    sensor_mm: Annotated[float | None, option(LENS, "Width of sensor the plate shows.", metavar="MM")] = None,
    sensor: Annotated[
        str | None, option(LENS, "The camera instead, by name: 'ARRI Alexa Mini', 'full frame'.", metavar="NAME")
    ] = None,
    distortion: Annotated[
        str | None, option(LENS, "OpenCV's, of a lens that is given.", metavar="K1,K2[,P1,P2[,K3[,K4,K5,K6]]]")
    ] = None,
    pixel_aspect: Annotated[
        float | None,
        option(LENS, "Width over height of a pixel; 2 for 2x anamorphic. Default: as the plate says.", metavar="A"),
    ] = None,
    refine_focal: Annotated[
        bool, option(LENS, "Refine what is given; nothing given is always refined.", "--refine-focal")
    ] = False,
    refine_principal_point: Annotated[
        bool,
        option(LENS, "Of a cropped plate, a shifted lens: look for it too.", "--refine-principal-point"),
    ] = False,
    readout_ms: Annotated[
        float, option(LENS, "A rolling shutter's read-out, top row to bottom row; 0: a global one.", metavar="MS")
    ] = 0.0,
    depth: Annotated[str, option(DEPTH, DEPTH_HELP, metavar="DIR|MODEL|auto|none")] = "auto",
    depth_kind: Annotated[DepthKind | None, option(DEPTH, KIND_HELP)] = None,
    flip_check: Annotated[bool, option(DEPTH, FLIP_HELP, "--flip-check")] = False,
    no_cache: Annotated[bool, option(DEPTH, "Do not keep a network's maps for the next run.", "--no-cache")] = False,
    depth_weight: Annotated[
        float | None, option(DEPTH, "0: only start from it. Default: estimated.", min=0, metavar="W")
    ] = None,
    frames: Annotated[str | None, option(FRAMES, "Plate numbers to solve.", metavar="1001-1072")] = None,
    step: Annotated[int, option(FRAMES, "Solve every N-th frame.", min=1, metavar="N")] = 1,
    fps: Annotated[float | None, option(FRAMES, "Default: the file's own, else 24.", min=0.01, metavar="FPS")] = None,
    first_frame: FirstFrame = None,
    clip_name: ClipName = None,
    handles: Handles = 0,
    colorspace: Colorspace = None,
    ocio: Ocio = None,
    masks: Annotated[
        str | None,
        option(
            TRACKS, "An image per frame; the plate's alpha; a folder CLIP_mask, else alpha.", metavar="DIR|alpha|auto"
        ),
    ] = None,
    mask_polarity: Annotated[
        MaskPolarity | None, option(TRACKS, "What is not tracked. Default, of DIR: black; transparent is black.")
    ] = None,
    mask_dilate: Annotated[int, option(TRACKS, "Grow what is not tracked.", min=0, metavar="PX")] = 0,
    max_bridge: Annotated[
        int, option(FRAMES, "Interpolate cameras across so many frames without any; 0: none.", min=0, metavar="N")
    ] = 12,
    max_tracks: Annotated[int | None, option(TRACKS, "At a time. Default: 2000.", min=8, metavar="N")] = None,
    tracks: Annotated[Path | None, option(TRACKS, "Your own instead: .csv or .npz.", metavar="FILE")] = None,
    hand_tracks: Annotated[
        Path | None, option(TRACKS, "Made by hand, beside the others: .csv, 3DE's .txt, Nuke's .nk.", metavar="FILE")
    ] = None,
    hand_sigma: Annotated[float | None, option(TRACKS, "How far off these may be. Default: 0.3.", metavar="PX")] = None,
    survey: Annotated[
        Path | None, option(SURVEY, "Known points: a CSV of track,X,Y,Z[,sigma].", metavar="FILE")
    ] = None,
    survey_up: Annotated[Up, option(SURVEY, "The axis of the survey that points up.")] = Up.y,
    distance: Annotated[
        list[str] | None,
        option(SURVEY, "'track 12, track 87 = 2.0 m +- 0.01', or a CSV; several.", metavar="WORDS|FILE"),
    ] = None,
    start_camera: Annotated[
        Path | None,
        option(RUN, "A track to refine, and its lens: a result, or all that sfm import reads.", metavar="OTHER"),
    ] = None,
    motion: Annotated[
        Kind, option(RUN, "What the camera did, where you know better: stood still, only turned, moved.")
    ] = Kind.auto,
    seed: Annotated[int, option(RUN, "The same seed gives the same result.", min=0)] = 0,
    force: Annotated[bool, option(RUN, "Replace an older result, once the new one is done.", "--force")] = False,
    formats: Annotated[
        list[str] | None,
        option(RUN, "For other programs, as sfm export writes: usd, vfx.", "--export", metavar="NAME,..."),
    ] = None,
    fail_below: Annotated[Gate | None, option(RUN, "Exit with 5 on a worse verdict; the result is kept.")] = None,
    quiet: Annotated[bool, option(RUN, "Say nothing but errors.", "--quiet")] = False,
    verbose: Annotated[bool, option(RUN, "Say what is decided, and why.", "--verbose")] = False,
    debug: Annotated[bool, option(RUN, "Say everything; errors with a traceback.", "--debug")] = False,
) -> None:
    """Solve a shot: cameras and points from a clip."""
    check_loudness(quiet, verbose, debug)
    if tracks is not None and (masks is not None or max_tracks is not None):
        raise UsageError("--tracks: takes the tracker's place, which --masks and --max-tracks are for")
    if masks is None and (mask_dilate or mask_polarity is not None):
        raise UsageError("--mask-polarity and --mask-dilate: say how to read masks; give these with --masks")
    if masks in ("alpha", "auto") and mask_polarity is None:
        raise UsageError(
            f"--masks {masks}: mattes are drawn either way; say with --mask-polarity what is not tracked: black, white"
        )
    if survey is None and survey_up is not Up.y:
        raise UsageError("--survey-up: says how to read the points of --survey")
    if depth.lower() == "none" and (depth_weight or depth_kind or flip_check):
        raise UsageError("--depth none: --depth-weight, --depth-kind and --flip-check are for a depth prior")
    asked = {name: value for name, value in locals().items() if name not in ("quiet", "verbose", "debug", "force")}
    calm_opencv(debug)
    from sfm import arguments, console, lens_arguments, pipeline, results
    from sfm import export as exporters
    from sfm.masks import MaskOptions
    from sfm.survey_files import read_survey

    words = lens_arguments.LensWords(camera, focal_px, focal_mm, sensor_mm, sensor, distortion, pixel_aspect)
    lens_arguments.check_lens(words, refine_focal, refine_principal_point)
    mask_options = MaskOptions(mask_polarity.value if mask_polarity else "black", mask_dilate)
    options = arguments.options(
        depth_weight,
        refine_focal,
        max_tracks,
        seed,
        masks=mask_options,
        max_bridge=max_bridge,
        refine_principal_point=refine_principal_point,
        motion=motion.value,
    )
    lens_arguments.check_readout(readout_ms)
    measured_on_set = read_survey(survey, distance or (), survey_up.value)
    exported = exporters.named(names(formats or []))
    results.check_output(output, force)
    told, loudness = console.error_console(), console.loudness(quiet, verbose, debug)
    with console.logging_to(told, loudness) as log, console.stages(told, loudness) as progress:
        video = arguments.open_clip(
            arguments.ClipWords(clip, frames, step, fps, first_frame, colorspace, ocio, clip_name, handles)
        )
        aspect = lens_arguments.pixel_aspect(video.shot, words)
        words, options = replace(words, pixel_aspect=aspect), replace(options, pixel_aspect=aspect)
        lens = lens_arguments.lens(video.shot, words)
        begun = arguments.started_from(start_camera, video.shot) if start_camera is not None else None
        lens = begun.scene.camera if lens is None and begun is not None else lens
        asked["sensor_mm"] = asked["sensor_mm"] or (begun.sensor_mm if begun is not None else None)
        film = exporters.FilmOptions(lens_arguments.told_sensor_mm(asked))
        options = options if lens is not None else lens_arguments.starting_as_filmed(options, video)
        options = replace(options, readout=lens_arguments.readout(readout_ms, video.shot.fps, step))
        measured = arguments.Measured.told(video.shot, tracks, hand_tracks, hand_sigma, measured_on_set)
        given = arguments.own_tracks(tracks, video.shot) if tracks is not None else {}
        if "depth" in given:
            given = arguments.with_depth_asked_for(given, depth, depth_kind is not None or flip_check)
        if "depth" not in given:
            kept = None if no_cache else console.pace(progress)
            kind = depth_kind.value if depth_kind else None
            given["depth"] = arguments.depth_model(depth, kind, video, flip_check, kept)
            asked["depth_model"] = arguments.identified(given["depth"])
        reconstruction, report, _ = pipeline.reconstruct(
            video,
            camera=lens,
            options=options,
            masks=masks,
            progress=progress,
            start_camera=None if begun is None else begun.scene,
            **given,
            **measured.words(),
        )
        measured.tell(reconstruction)
        progress("writing", 0.0, str(output))
        asked["stages"] = options
        solve = results.write_result(
            output, reconstruction, report, video, asked, log=log(), force=force, formats=exported, film=film
        )
    if not quiet:
        places = [exporters.PLACES[name] for name in exported]
        there = [place for place in places if (output / place).exists()]  # a lens may not allow one
        console.summarize(console.output_console(), solve, str(output), there)
        if note := exporters.lens_note(reconstruction, exported):
            console.note(note)
    worse = {None: (), Gate.REVIEW: ("FAIL",), Gate.PASS: ("FAIL", "REVIEW")}[fail_below]
    if solve["verdict"] in worse:
        raise BelowGateError(f"{output}: verdict {solve['verdict']}, below the {fail_below} asked for")


@app.command("depth", epilog=DOWNLOAD_HELP)
def write_depth(
    words: Annotated[list[str], typer.Argument(metavar="INPUT | download NAME", help="A clip as for reconstruct.")],
    output: Annotated[Path | None, option(DEPTH, "Folder for the maps.", "--output", "-o", metavar="DIR")] = None,
    model: Annotated[str, option(DEPTH, "As --depth of reconstruct.", metavar="MODEL|auto")] = "auto",
    map_format: Annotated[MapFormat, option(DEPTH, "Half precision where it suffices.", "--format")] = MapFormat.npz,
    kind: Annotated[DepthKind | None, option(DEPTH, KIND_HELP)] = None,
    flip_check: Annotated[bool, option(DEPTH, FLIP_HELP, "--flip-check")] = False,
    frames: Annotated[str | None, option(FRAMES, "Plate numbers.", metavar="1001-1072")] = None,
    step: Annotated[int, option(FRAMES, "Every N-th frame.", min=1, metavar="N")] = 1,
    first_frame: FirstFrame = None,
    clip_name: ClipName = None,
    handles: Handles = 0,
    colorspace: Colorspace = None,
    ocio: Ocio = None,
    force: Annotated[bool, option(RUN, "Throw away the maps that are there, of any model.", "--force")] = False,
    no_preview: Annotated[bool, option(RUN, "No pictures and no movie of the maps.", "--no-preview")] = False,
    quiet: Annotated[bool, option(RUN, "Say nothing but errors.", "--quiet")] = False,
    verbose: Annotated[bool, option(RUN, "Say what is decided, and why.", "--verbose")] = False,
    debug: Annotated[bool, option(RUN, "Say everything; errors with a traceback.", "--debug")] = False,
) -> None:
    """Compute depth maps once, to look at, to keep and to carry; or download a network."""
    check_loudness(quiet, verbose, debug)
    calm_opencv(debug)
    from sfm import arguments, console

    clip, name = arguments.depth_words(words, output)
    told, loudness = console.error_console(), console.loudness(quiet, verbose, debug)
    with console.logging_to(told, loudness), console.stages(told, loudness) as progress:
        if clip is None:
            written = [arguments.download(name, output)]
        else:
            from sfm.depth.writing import write_maps
            from sfm.view.depth_preview import write_previews

            video = arguments.open_clip(
                arguments.ClipWords(clip, frames, step, None, first_frame, colorspace, ocio, clip_name, handles)
            )
            source = arguments.depth_model(model, kind.value if kind else None, None, flip_check)
            if source is None or output is None:
                raise UsageError("--model none: nothing to compute maps with")
            maps = write_maps(source, video, output, map_format.value, force=force, progress=console.pace(progress))
            written = [output]
            if not no_preview:
                progress("preview", 0.0, "")
                written += write_previews(maps, video, output)
    if not quiet:
        print("\n".join(map(str, written)))
