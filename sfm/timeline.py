"""One clip of a cut as the shot to solve: its media, plate numbers and rate out of an OTIO timeline or a CMX 3600 EDL.

An EDL holds neither rate nor, as a rule, paths: media lies beside it under the name of the clip or the reel, and the
media's own time code says which of its frames are meant.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from sfm.errors import InputError, UsageError, reason, require
from sfm.footage import Footage, frame_ranges, open_footage
from sfm.images import IMAGE_SUFFIXES
from sfm.movies import DEFAULT_FPS, MOVIE_SUFFIXES
from sfm.timecode import frames_of, timecode_of
from sfm.video import Video, VideoOptions, video_of

EDL, TIMELINES = ".edl", (".otio", ".edl")

logger = logging.getLogger(__name__)


def is_timeline(path: str | Path) -> bool:
    """Whether a path is called like one."""
    return Path(path).suffix.lower() in TIMELINES


def open_in_timeline(path: str | Path, name: str | None, options: VideoOptions, handles: int = 0) -> Video:
    """The frames of a cut's clip, and `handles` more at either end as far as there are any.

    name: of the clip, `NAME#2` for the second of that name. `options.fps` is the rate of an EDL too. Raises
    `UsageError` where none is named, or several are called alike, with what there is; `InputError` where the timeline
    or the media cannot be read, or nothing says which frames of the media are meant.
    """
    path = Path(path)
    clip = _named(path, list(_clips(path, options.fps or DEFAULT_FPS)), name)
    _check_times(path, clip)
    try:
        media = _media(path, clip)
    except OSError as error:
        raise InputError(
            f"{path}: the media of clip {clip.name[:40]} cannot be looked for ({reason(error)})"
        ) from error
    source = open_footage(media, options.first_frame)
    rate = _rate(path, clip, source, options)
    first, last = _numbers(clip, source, rate)
    there = source.expected
    if first < there[0] or last > there[-1]:
        raise InputError(
            f"{path}: clip {clip.name} is frames {first}-{last}, but {source.label} has {frame_ranges(there)}"
        )
    low, high = max(first - handles, there[0]), min(last + handles, there[-1])
    short = "" if (low, high) == (first - handles, last + handles) else f", there being no {handles} on both sides"
    held = f" with handles of {first - low} and {high - last}{short}" if handles else ""
    logger.info(f"clip {clip.name} of {path}: frames {first}-{last} of {source.label}{held}")
    if any(getattr(effect, "time_scalar", 1.0) != 1.0 for effect in clip.effects):
        logger.warning(f"{path}: clip {clip.name} is retimed in the cut; the plate is solved at its own speed")
    return video_of(source, replace(options, frames=f"{low}-{high}", fps=options.fps or rate))


def _clips(path: Path, rate: float) -> Iterator[Any]:
    """Clips with media of the video tracks, in the order of the cut."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    edl = path.suffix.lower() == EDL
    packages = "OpenTimelineIO otio-cmx3600-adapter" if edl else "OpenTimelineIO"
    require("opentimelineio", packages, "timeline", f"reading {path.name}")
    import opentimelineio as otio

    if edl and "cmx_3600" not in otio.adapters.available_adapter_names():
        require("otio_cmx3600_adapter", packages, "timeline", f"reading {path.name}")
    try:
        rates: dict[str, Any] = {"rate": rate} if edl else {}
        read = otio.adapters.read_from_file(str(path), **rates)  # its clips know their tracks as long as it lives
        found = list(read.find_clips())
    except Exception as error:  # of whatever kind: adapters are plug-ins
        at = f" at {rate:g} fps; --fps says another" if edl else ""
        raise InputError(f"{path}: not a timeline that can be read{at} ({reason(error)})") from error
    for clip in found:
        track = clip.parent()
        sound = track is not None and getattr(track, "kind", "") == otio.schema.TrackKind.Audio
        if not sound and not isinstance(clip.media_reference, otio.schema.GeneratorReference):
            yield clip


def _named(path: Path, clips: list[Any], name: str | None) -> Any:
    if not clips:
        raise InputError(f"{path}: no clip with pictures in this timeline")
    asked, _, which = (name or "").partition("#")
    alike = [clip for clip in clips if clip.name == name] or [clip for clip in clips if clip.name == asked]
    if which.isdecimal() and 0 < int(which) <= len(alike):
        return alike[int(which) - 1]
    if len(alike) == 1 and not which:
        return alike[0]
    if not alike:
        wrong = "which clip? --clip takes one of" if name is None else f"no clip is called {name}; there are"
        raise UsageError(f"{path}: {wrong} {', '.join(dict.fromkeys(clip.name for clip in clips))}")
    places = ", ".join(f"'{asked}#{k}' ({_place(clip)})" for k, clip in enumerate(alike, start=1))
    raise UsageError(f"{path}: {len(alike)} clips are called {asked}: {places}; give one of these to --clip")


def _check_times(path: Path, clip: Any) -> None:
    """Raise `InputError` where a time of a clip is none: the format lets a rate be 0."""
    ranges = (clip.source_range, clip.media_reference.available_range)
    times = [time for span in ranges if span is not None for time in (span.start_time, span.duration)]
    if not all(time.rate > 0 and isfinite(time.rate) and isfinite(time.value) for time in times):
        raise InputError(f"{path}: clip {clip.name} has a time that is none; expected frames at a rate above 0")


def _place(clip: Any) -> str:
    """Where in its media a clip is."""
    cut = clip.source_range or clip.media_reference.available_range
    if cut is None or not cut.start_time.rate > 0:
        return "from nowhere that is told"
    start = cut.start_time
    return f"{int(cut.duration.value)} frames from {timecode_of(round(start.value), start.rate)} on"


def _media(path: Path, clip: Any) -> Path:
    """The movie, folder or pattern that a clip is cut from."""
    told = _told(clip)
    if told:
        target = Path(told)
        if target.suffix.lower() in IMAGE_SUFFIXES and not re.search(r"[#@%$]", target.name):
            target = target.with_name(re.sub(r"\d+$", "#", target.stem) + target.suffix)
        target = path.parent / target  # an absolute one stays itself
        if target.exists() or (re.search(r"[#@%$]", target.name) and target.parent.is_dir()):
            return target
    reel = clip.metadata.get("cmx_3600", {}).get("reel", "")
    names = [Path(name).stem if Path(name).suffix.lower() in (*MOVIE_SUFFIXES, *IMAGE_SUFFIXES) else name
             for name in dict.fromkeys((clip.name, reel)) if name == Path(name).name != ""]  # fmt: skip
    for name in names:
        beside = sorted(p for p in path.parent.iterdir() if p.stem == name and p.suffix.lower() in MOVIE_SUFFIXES)
        beside += [p for p in (path.parent / name,) if p.is_dir()]
        if beside:
            return beside[0]
    missing = f"its media {told} is not there" if told else "the timeline does not say where its media is"
    beside = f", nor is a movie or folder {' or '.join(names)} beside it" if names else ""
    raise InputError(f"{path}: clip {clip.name}: {missing}{beside}")


def _told(clip: Any) -> str:
    """Path of the media as the timeline has it, a pattern for a sequence; empty where it has none."""
    from opentimelineio import schema, url_utils

    media = clip.media_reference
    if isinstance(media, schema.ImageSequenceReference):
        url = f"{media.target_url_base.rstrip('/')}/{media.name_prefix}#{media.name_suffix}"
    else:
        url = getattr(media, "target_url", "") or ""
    if not url.startswith("file:"):
        return url
    base, _, last = url.rpartition("/")  # # and %04d are no escapes
    return f"{url_utils.filepath_from_url(base)}/{last if re.search(r'#|%0?[0-9]*d', last) else _unescaped(last)}"


def _unescaped(text: str) -> str:
    from urllib.parse import unquote

    return unquote(text)


def _rate(path: Path, clip: Any, source: Footage, options: VideoOptions) -> float:
    """Frames a second of the media. An EDL's is told, or the media's own has to be 24."""
    if path.suffix.lower() == EDL:
        said = source.header_of(source.numbers[0]).fps
        if options.fps is None and said and round(said) != round(DEFAULT_FPS):
            raise UsageError(f"{path}: an EDL does not say its rate; its media runs at {said:g}: give --fps {said:g}")
        return options.fps or said or DEFAULT_FPS
    cut = clip.source_range or clip.media_reference.available_range
    rate = getattr(clip.media_reference, "rate", 0) or (cut.start_time.rate if cut is not None else 0)
    return float(rate or options.fps or source.fps)


def _numbers(clip: Any, source: Footage, rate: float) -> tuple[int, int]:
    """First and last plate number of a clip."""
    media, there, header = clip.media_reference, source.expected, source.header_of(source.numbers[0])
    if clip.source_range is None and media.available_range is None:
        return there[0], there[-1]
    cut = clip.trimmed_range()
    start, count = _frames(cut.start_time, rate), _frames(cut.duration, rate)
    begun = frames_of(header.timecode, rate) if header.timecode else None
    if media.available_range is not None:
        first = getattr(media, "start_frame", there[0]) + start - _frames(media.available_range.start_time, rate)
    elif begun is not None:
        first = source.numbers[0] + start - begun
    elif there[0] <= start and start + count - 1 <= there[-1]:
        first = start  # cut by plate number
    elif start + count <= len(there) and there[0] == source.first_frame and start < there[0]:
        first = there[0] + start
    else:
        raise InputError(
            f"clip {clip.name} begins at {timecode_of(start, rate)}, and {source.label} has no time code to count from "
            "(of movies PyAV reads it): give the media itself, with --frames"
        )
    return first, first + count - 1


def _frames(time: Any, rate: float) -> int:
    """A time in frames; time code counts 23.976 as 24."""
    return round(time.value if round(time.rate) == round(rate) else time.rescaled_to(rate).value)
