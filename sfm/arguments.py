"""What the arguments of the command line mean: which lens, which options, whose tracks. All of it is checked here."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sfm.depth import DepthKind, DepthModel, load
from sfm.depth.cache import cached
from sfm.depth.catalog import CATALOG, known
from sfm.errors import InputError, UsageError
from sfm.footage import frame_ranges
from sfm.geometry.camera import Camera
from sfm.hand_tracks import SIGMA_PX, HandTracks, read_hand_tracks
from sfm.images import MAX_PIXEL_ASPECT, MIN_PIXEL_ASPECT
from sfm.initialize import InitializeOptions
from sfm.interchange import ImportedTrack, read_track
from sfm.lens_metadata import focal_length_35mm, fov_deg_of
from sfm.masks import MaskOptions
from sfm.motion import MotionOptions
from sfm.movies import FROM_TIMECODE
from sfm.pipeline import Options
from sfm.prior_weight import PriorWeightOptions
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.sensors import sensor_mm
from sfm.survey import Survey
from sfm.survey_files import WrittenSurvey
from sfm.timeline import is_timeline, open_in_timeline
from sfm.track_files import align_tracks, read_numbered_tracks, read_tracks
from sfm.tracking import TrackingOptions
from sfm.video import Shot, Video, VideoOptions, open_video

OWN_DEPTH_SIGMA = 0.3  # relative, expected of the depth in a file of tracks; estimated anew over the shot
ODD_SIGMAS = 3.0  # of a track made by hand, from which it is told of
MIN_FOV_DEG, MAX_FOV_DEG = 0.5, 170.0  # horizontal; outside is a typing error, not a lens
READ_AS_DRAWN = MaskOptions()

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LensWords:
    """The lens as the command line describes it; None where it is silent."""

    camera: str | None = None  # FX,FY,CX,CY
    focal_px: float | None = None
    focal_mm: float | None = None
    sensor_mm: float | None = None  # width
    sensor: str | None = None  # name of a camera
    distortion: str | None = None  # OpenCV's coefficients
    pixel_aspect: float | None = None  # None: as the plate says, else 1


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


def check_lens(words: LensWords, refine_focal: bool = False, refine_principal_point: bool = False) -> None:
    """Raise `UsageError` unless the lens is given in one way at most, by numbers that can be."""
    ways = {"--camera": words.camera, "--focal-px": words.focal_px, "--focal-mm": words.focal_mm}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give the lens in one way")
    if words.sensor_mm is not None and words.sensor is not None:
        raise UsageError("--sensor-mm and --sensor: give the sensor in one way")
    if (words.focal_mm is None) != (words.sensor_mm is None and words.sensor is None):
        raise UsageError("--focal-mm: goes with the sensor, as --sensor-mm or as --sensor and the camera's name")
    for name, value in (
        ("--focal-px", words.focal_px), ("--focal-mm", words.focal_mm), ("--sensor-mm", words.sensor_mm),
    ):  # fmt: skip
        if value is not None and not 0 < value < 1e6:
            raise UsageError(f"{name} {value:g}: expected a positive number")
    if words.pixel_aspect is not None and not MIN_PIXEL_ASPECT < words.pixel_aspect < MAX_PIXEL_ASPECT:
        raise UsageError(f"--pixel-aspect {words.pixel_aspect:g}: expected width over height of a pixel, 2 for 2x")
    if words.camera is not None:
        _intrinsics(words.camera)
        if words.pixel_aspect not in (None, 1):
            raise UsageError("--camera and --pixel-aspect: FY over FX of --camera is the pixel aspect already")
    if words.sensor is not None:
        sensor_mm(words.sensor)
    if words.distortion is not None:
        _coefficients(words.distortion)
        if not given:
            raise UsageError("--distortion: needs the focal length it belongs to: --camera, --focal-px or --focal-mm")
        if refine_focal or refine_principal_point:
            name = "--refine-focal" if refine_focal else "--refine-principal-point"
            raise UsageError(f"--distortion and {name}: the lens is fixed where distortion is given; drop one")


def pixel_aspect(shot: Shot, words: LensWords) -> float:
    """The one given, else what the plate says of itself, else 1."""
    said, given = shot.pixel_aspect, words.pixel_aspect
    if given is None and words.camera is not None:
        fx, fy, *_ = _intrinsics(words.camera)
        given = float(fy / fx)
    if said is not None and given is not None and abs(said / given - 1) > 0.01:
        logger.warning(f"the plate says a pixel aspect of {said:g}; {given:g} was given, and is taken")
    elif said is not None and given is None and said != 1:
        logger.warning(f"pixel aspect {said:g}, as the plate says; --pixel-aspect overrules")
    return given or said or 1.0


def lens(shot: Shot, words: LensWords) -> Camera | None:
    """The camera that words which passed `check_lens` describe, None without a focal length.

    Of an anamorphic plate the focal length is the vertical one, see `Camera.from_focal_px`; the sensor's width is as it
    is, not desqueezed. Raises `UsageError` where the lens does not fit the plate.
    """
    width, height, aspect = shot.width, shot.height, words.pixel_aspect or 1.0
    if words.camera is not None:
        fx, fy, cx, cy = _intrinsics(words.camera)
        if not (0 < cx < width and 0 < cy < height):
            raise UsageError(f"--camera {words.camera}: its centre is outside the plate of {width} x {height} px")
        found = Camera(np.array([fx, fy]), np.array([cx, cy]), np.zeros(0), width, height)
    elif words.focal_mm is not None:
        focal_px = words.focal_mm / _shown_sensor_mm(shot, words) * width
        found = Camera.from_focal_px(focal_px, width, height, aspect)
    elif words.focal_px is not None:
        found = Camera.from_focal_px(words.focal_px, width, height, aspect)
    else:
        return None
    fov = float(found.horizontal_fov_deg)
    if not MIN_FOV_DEG < fov < MAX_FOV_DEG:
        raise UsageError(
            f"a focal length of {found.focal_length[0]:.4g} px sees {fov:.3g} degrees across this plate of {width} px; "
            f"expected {MIN_FOV_DEG:g} to {MAX_FOV_DEG:g}"
        )
    return found if words.distortion is None else _distorted(found, words.distortion)


def told_sensor_mm(options: Mapping[str, Any]) -> float | None:
    """Width of the sensor that a solve was told of, as its options are kept; None where it was not."""
    name = options.get("sensor")
    return sensor_mm(name)[0] if name else options.get("sensor_mm")


def _shown_sensor_mm(shot: Shot, words: LensWords) -> float:
    """Width of the sensor that the plate shows."""
    if words.sensor is None:
        return words.sensor_mm or 0.0
    wide, high = sensor_mm(words.sensor)
    if shot.width / shot.height < 0.97 * wide / high:
        logger.warning(
            f"--sensor {words.sensor}: {wide:g} x {high:g} mm, but the plate of {shot.width} x {shot.height} px is "
            "narrower: were its sides cropped, give the width that is left as --sensor-mm"
        )
    return wide


def _distorted(camera: Camera, distortion: str) -> Camera:
    """The camera with coefficients that bend the plate, but nowhere fold it."""
    found = replace(camera, distortion=_coefficients(distortion))
    corners = np.array([[x, y] for x in (0.0, camera.width) for y in (0.0, camera.height)])
    back = found.img_from_cam(np.column_stack([found.cam_from_img(corners), np.ones(4)]))
    if not np.abs(back - corners).max() < 1.0:
        raise UsageError(
            f"--distortion {distortion}: folds the picture before its corners; expected OpenCV's "
            "k1,k2,p1,p2,k3,k4,k5,k6 for this focal length"
        )
    return found


def _coefficients(distortion: str) -> np.ndarray:
    found = _numbers("--distortion", distortion, (2, 4, 5, 8), "2, 4, 5 or 8 numbers k1,k2,p1,p2,k3,k4,k5,k6")
    return np.pad(found, (0, max(0, 4 - len(found))))


def _intrinsics(camera: str) -> np.ndarray:
    found = _numbers("--camera", camera, (4,), "four numbers FX,FY,CX,CY")
    if not (np.all(found[:2] > 0) and np.all(found[:2] < 1e6)):
        raise UsageError(f"--camera {camera}: expected positive focal lengths and a centre, in px")
    return found


def check_readout(milliseconds: float) -> None:
    """Raise `UsageError` unless it may be the read-out time of a sensor."""
    if not 0 <= milliseconds < 1e6:
        raise UsageError(f"--readout-ms {milliseconds:g}: expected 0 or a positive number")


def readout(milliseconds: float, fps: float, step: int) -> float:
    """The read-out time in frames of the shot, every `step`-th of the clip's. Raises `UsageError` beyond one frame."""
    frames = milliseconds * fps / 1000
    if frames > 1:
        raise UsageError(f"--readout-ms {milliseconds:g}: longer than a frame, which takes {1000 / fps:.4g} ms")
    return frames / step


def _numbers(name: str, text: str, counts: tuple[int, ...], expected: str) -> np.ndarray:
    try:
        found = np.array([float(number) for number in text.split(",")])
    except ValueError:
        found = np.zeros(0)
    if len(found) not in counts or not np.isfinite(found).all():
        raise UsageError(f"{name} {text}: expected {expected}")
    return found


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


def starting_as_filmed(options: Options, video: Video) -> Options:
    """Options that start an unknown lens from the focal length the first frame's file says, where it says any."""
    file = video.file(0)
    focal = focal_length_35mm(file) if file is not None else None
    if file is None or focal is None:
        return options
    fov = fov_deg_of(focal, video.shot.width, video.shot.height, options.pixel_aspect)
    if not MIN_FOV_DEG < fov < MAX_FOV_DEG:
        return options
    logger.info(f"{file.name} says {focal:g} mm on 35 mm film, {fov:.1f} degrees across: the focal length starts there")
    return replace(options, start_fov_deg=fov)


def started_from(other: Path, shot: Shot) -> ImportedTrack:
    """A track to start from, on the frames of the shot. Raises `InputError` where it cannot be one of this shot."""
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
