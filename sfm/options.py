"""Options of the whole method, stage by stage."""

from dataclasses import dataclass, field

from sfm.calibration import CalibrationOptions
from sfm.depth import DepthOptions
from sfm.errors import UsageError
from sfm.initialize import InitializeOptions
from sfm.likely_slide import SlideOptions
from sfm.mapping import MappingOptions
from sfm.masks import MaskOptions
from sfm.motion import MotionOptions
from sfm.moving_bodies import MovingBodiesOptions
from sfm.outliers import OutlierOptions
from sfm.prior_weight import PriorWeightOptions
from sfm.start import StartOptions
from sfm.survey import Survey
from sfm.tracking import TrackingOptions
from sfm.verdict import VerdictOptions


@dataclass(frozen=True, slots=True)
class Options:
    """Options of every stage."""

    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    masks: MaskOptions = field(default_factory=MaskOptions)
    depth: DepthOptions = field(default_factory=DepthOptions)
    initialize: InitializeOptions = field(default_factory=InitializeOptions)
    moving_bodies: MovingBodiesOptions = field(default_factory=MovingBodiesOptions)
    start: StartOptions = field(default_factory=StartOptions)
    mapping: MappingOptions | None = None  # None: by where the tracks come from
    motion: MotionOptions = field(default_factory=MotionOptions)
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)
    prior_weight: PriorWeightOptions = field(default_factory=PriorWeightOptions)
    slide: SlideOptions = field(default_factory=SlideOptions)
    verdict: VerdictOptions = field(default_factory=VerdictOptions)
    refine_focal: bool = False  # refine a focal length that was given; one that was not always is
    refine_principal_point: bool = False  # drawn to the one given, or the plate's middle, within 3 % of the width
    start_fov_deg: float = 50.0  # horizontal, where no lens is given: between a phone (65) and 35 mm on Super 35 (39)
    start_fov_sigma: float = 0.3  # how far off that may be, of log focal length
    pixel_aspect: float = 1.0  # where no lens is given: width over height of a stored pixel, 2 for 2x anamorphic
    max_iterations: int = 60  # of the last adjustment
    max_bridge: int = 12  # frames in a row without a camera that are given one between those around them; 0 none
    survey: Survey | None = None  # points and distances measured on set, by the tracks' numbers
    readout: float = 0.0  # frames a rolling shutter takes from the top row to the bottom one, 0 .. 1

    def __post_init__(self):
        if not 0 <= self.readout <= 1:
            raise UsageError(f"readout {self.readout:g}: expected 0 to 1 frame from the top row to the bottom one")


# tracks that a person made or checked: few, nearly all right, and none to be counted less for being less precise
BY_HAND = MappingOptions(outliers=OutlierOptions(wrong_part=0.05, weigh_tracks=False))
