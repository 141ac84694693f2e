"""What the arguments of the command line mean: which clip, which options, whose tracks. They are checked here."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sfm.depth import DepthKind, DepthModel, load
from sfm.depth.cache import cached
from sfm.depth.catalog import CATALOG, known
from sfm.errors import InputError, UsageError
from sfm.footage import frame_ranges
from sfm.hand_tracks import SIGMA_PX, HandTracks, read_hand_tracks
from sfm.initialize import InitializeOptions
from sfm.masks import MaskOptions
from sfm.motion import MotionOptions
from sfm.movies import FROM_TIMECODE
from sfm.options import Options
from sfm.prior_weight import PriorWeightOptions
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.survey import Survey
from sfm.survey_files import WrittenSurvey
from sfm.timeline import is_timeline, open_in_timeline
from sfm.track_files import align_tracks, read_numbered_tracks, read_tracks
from sfm.tracking import TrackingOptions
from sfm.video import Shot, Video, VideoOptions, open_video

if TYPE_CHECKING:
    from sfm.interchange import ImportedTrack

OWN_DEPTH_SIGMA = 0.3  # relative, expected of the depth in a file of tracks; estimated anew over the shot
ODD_SIGMAS = 3.0  # of a track made by hand, from which it is told of
READ_AS_DRAWN = MaskOptions()

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClipWords:
    """The clip as the command line describes it; None where it is silent."""

    clip: str
    frames: str | None = None
    step: int = 1
    fps: float | None = None
    first_frame: str | None = None
    colorspace: str | None = None
    ocio: str | None = None
    name: str | None = None  # of a clip in a timeline
    handles: int = 0


def open_clip(words: ClipWords) -> Video:
    """The clip that words describe, out of a timeline where it is in one. Raises `UsageError` and `InputError`."""
    first: int | str | None = words.first_frame
    if words.first_frame is not None and words.first_frame != FROM_TIMECODE:
        if not words.first_frame.isdecimal():
            raise UsageError(f"--first-frame {words.first_frame}: expected a plate number such as 1001, or timecode")
        first = int(words.first_frame)
    if words.ocio is not None and words.colorspace is None:
        raise UsageError("--ocio: where the name that --colorspace gives is looked up; give both")
    options = VideoOptions(words.frames, words.step, words.fps, first, words.colorspace, words.ocio)
    if not is_timeline(words.clip):
        if words.name is not None or words.handles:
            raise UsageError("--clip and --handles: for a timeline, .otio or .edl, as INPUT")
        return open_video(words.clip, options)
    if words.frames is not None:
        raise UsageError("--frames: the timeline says which; --handles N takes more at either end")
    return open_in_timeline(words.clip, words.name, options, words.handles)


def options(
    depth_weight: float | None,
    refine_focal: bool,
    max_tracks: int | None,
    seed: int,
    *,
    pixel_aspect: float = 1.0,
    masks: MaskOptions = READ_AS_DRAWN,
    max_bridge: int = 12,
    refine_principal_point: bool = False,
    motion: Literal["auto", "static", "nodal", "free"] = "auto",
) -> Options:
    """Options of every stage."""
    if depth_weight is not None and not 0 <= depth_weight < 1e9:
        raise UsageError(f"--depth-weight {depth_weight:g}: expected 0 or a positive number")
    return Options(
        tracking=TrackingOptions() if max_tracks is None else TrackingOptions(max_tracks=max_tracks),
        masks=masks,
        initialize=InitializeOptions(seed=seed),
        prior_weight=PriorWeightOptions(weight=depth_weight),
        refine_focal=refine_focal,
        refine_principal_point=refine_principal_point,
        pixel_aspect=pixel_aspect,
        motion=MotionOptions(asked=motion),
        max_bridge=max_bridge,
    )


def started_from(other: Path, shot: Shot) -> "ImportedTrack":
    """A track to start from, on the frames of the shot. Raises `InputError` where it cannot be one of this shot."""
    from sfm.interchange import read_track

    track = read_track(other, clip=shot)
    scene = track.scene
    if scene.has_camera.sum() < 2:
        raise InputError(f"{other}: has a camera in fewer than 2 frames of {shot.name}")
    known = np.isfinite(scene.cams_from_world.translation[:, 0])
    logger.info(f"{other}: starts {np.count_nonzero(known)} of {len(known)} frames")
    return track


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was tracked by hand and measured on set, as the command line tells it."""

    hand: HandTracks | None
    written: WrittenSurvey
    shot: Shot
    numbers: Mapping[str, int]  # of tracks of your own

    @classmethod
    def told(cls, shot: Shot, tracks: Path | None, hand: Path | None, sigma_px: float | None, survey: WrittenSurvey):
        """Raises `InputError` for a file that is none, `UsageError` for a sigma without tracks."""
        if sigma_px is not None and (hand is None or not sigma_px > 0):
            raise UsageError("--hand-sigma: a positive number of px, of the tracks of --hand-tracks")
        made = None if hand is None else read_hand_tracks(hand, shot, sigma_px or SIGMA_PX)
        own = [] if tracks is None else read_numbered_tracks(tracks)[3].tolist()
        return cls(made, survey, shot, {str(number): index for index, number in enumerate(own)})

    def words(self) -> dict[str, Any]:
        """As `pipeline.reconstruct` takes them."""
        found: dict[str, Any] = {} if self.hand is None else {"hand_tracks": self.hand.tracks}
        return found | ({"survey": self._survey} if self.written.points or self.written.distances else {})

    def _survey(self, tracks: Tracks) -> Survey:
        return self.written.on(tracks, self.shot, {**self.numbers, **self._by_name(tracks)})

    def _by_name(self, tracks: Tracks) -> dict[str, int]:
        names = () if self.hand is None else self.hand.names
        return dict(zip(names, np.flatnonzero(tracks.by_hand).tolist(), strict=True))

    def tell(self, scene: Reconstruction) -> None:
        """Warn of tracks made by hand that the scene does not explain as well as they say."""
        tracks = scene.tracks
        errors = scene.track_rms_px()
        for name, track in self._by_name(tracks).items():
            rows = np.flatnonzero(tracks.track == track)
            lost = rows[~scene.inliers[rows] & scene.registered[tracks.frame[rows]]]
            if not scene.has_point[track]:
                logger.warning(f"hand track {name}: has no point; its {len(rows)} sightings agree with no place")
            elif len(lost):
                frames = frame_ranges(self.shot.frame_numbers[tracks.frame[lost]])
                logger.warning(f"hand track {name}: left out in frames {frames}, where it is absurdly far off")
            elif errors[track] > ODD_SIGMAS * np.sqrt(2) * tracks.sigma_px[track]:
                logger.warning(
                    f"hand track {name}: off by {errors[track]:.2f} px (RMS) where {tracks.sigma_px[track]:g} was told"
                )


def own_tracks(path: Path, shot: Shot) -> dict[str, Any]:
    """`tracks` on the frames of the shot, and `depth` where the file has any, as `pipeline.reconstruct` takes them."""
    tracks, frame_numbers, depth = read_tracks(path)
    tracks, keep = align_tracks(tracks, frame_numbers, shot.frame_numbers)
    if depth is None or not np.isfinite(depth[keep]).any():
        return {"tracks": tracks}
    sigma = np.where(np.isfinite(depth[keep]), OWN_DEPTH_SIGMA, np.nan)
    return {"tracks": tracks, "depth": DepthPriors(depth[keep], sigma)}


def depth_model(
    spec: str,
    kind: DepthKind | None,
    video: Video | None,
    flip_check: bool = False,
    kept: Callable[[int, int], None] | None = None,
) -> DepthModel | None:
    """The model that `--depth` or `--model` means, None for "none". Maps beside the clip count where video is given.

    kept: told of frames done and in all while the maps of a network are computed and kept for the next run; None keeps
    none.
    """
    model = load(spec, kind, video.shot if video is not None else None, flip_check)
    return model if model is None or video is None or kept is None else cached(model, video, progress=kept)


def identified(model: DepthModel | None) -> dict[str, str] | None:
    """What tells afterwards which model "auto" was, for `solve.json`."""
    if model is None:
        return None
    return {"name": model.name, "kind": model.kind, "revision": str(getattr(model, "revision", ""))}


def depth_words(words: list[str], output: Path | None) -> tuple[str | None, str]:
    """The clip that `sfm depth` is given, or None and the name of the network to download."""
    if words[0] == "download" and (len(words) > 1 or not Path("download").exists()):
        if len(words) != 2:
            raise UsageError(f"sfm depth download: expected one name of {', '.join(CATALOG)}")
        return None, words[1]
    if len(words) > 1:
        raise UsageError(f"{words[1]}: expected one clip; a pattern of frames needs quotes")
    if output is None:
        raise UsageError("--output: where should the maps go?")
    return words[0], ""


def download(name: str, folder: Path | None) -> Path:
    """Fetch a network of the catalogue; without a folder to where it is found by its name."""
    from sfm.depth import hugging_face

    return hugging_face.download(name, known(name), folder or hugging_face.models_folder() / name)


def with_depth_asked_for(given: dict[str, Any], depth: str, of_a_model: bool) -> dict[str, Any]:
    """Own tracks that hold depth, when --depth is given too: `none` leaves it out, anything else is one too many.

    of_a_model: an option of depth models was given.
    """
    if of_a_model:
        raise UsageError("--depth-kind and --flip-check: for depth models; the tracks hold depth already")
    if depth == "auto":
        return given
    if depth.lower() != "none":
        raise UsageError(f"--depth {depth}: the tracks hold depth already; give --depth none, or tracks without depth")
    return {name: value for name, value in given.items() if name != "depth"}
