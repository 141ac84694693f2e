"""Fixtures every test may use: a seeded generator, the shared clips where they are, and no logged error goes unseen."""

import logging
import os
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from depth_clip import HEIGHT, WIDTH

from sfm.video import Video

SHARED = Path(__file__).resolve().parents[2] / "shared"
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample_shot"
MANY = 600  # tracks of the sample shot: what is put into it must stick as well as with the 2000 that are usual


@pytest.fixture(scope="session", autouse=True)
def nothing_of_this_machine(tmp_path_factory):
    """No network is asked for, and none of the models and maps that this machine keeps is found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in ("HF_HOME", "SFM_MODELS", "SFM_CACHE"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture
def rng(request) -> np.random.Generator:
    """A generator seeded from the test's own name: the same numbers every run, others in every test."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture
def video(rng) -> Video:
    """Three small frames, each with a picture of its own."""
    small = rng.integers(0, 256, (3, 9, 16, 3), dtype=np.uint8)
    return Video.from_arrays([cv2.resize(frame, (WIDTH, HEIGHT)) for frame in small])


@pytest.fixture
def shared() -> Path:
    """The folder of real clips beside the checkout; the test is skipped where it is not."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no shared clips at {SHARED / 'data'}")
    return SHARED


@pytest.fixture(scope="session")
def sample_result(tmp_path_factory) -> Path:
    """The sample shot solved as by the command line: a folder to read from, one for all workers of a run."""
    from filelock import FileLock

    worker = "PYTEST_XDIST_WORKER" in os.environ
    place = (tmp_path_factory.getbasetemp().parent if worker else tmp_path_factory.getbasetemp()) / "solved_sample"
    with FileLock(f"{place}.lock"):
        if not place.is_dir():
            _solve_sample(place)
    return place


def _solve_sample(place: Path) -> None:
    from sfm.geometry import Camera
    from sfm.pipeline import Options, reconstruct
    from sfm.results import write_result
    from sfm.tracking import TrackingOptions
    from sfm.video import open_video

    video, depth = open_video(SAMPLE / "sample.mp4"), str(SAMPLE / "depth")
    options = Options(tracking=TrackingOptions(max_tracks=MANY))
    scene, report, _ = reconstruct(video, depth, Camera.from_focal_px(622.65, width=640, height=360), options)
    told = {"depth": depth, "depth_model": {"name": depth, "kind": "depth", "revision": ""}}
    write_result(place, scene, report, video, told)


@pytest.fixture(scope="session")
def solved_sample(sample_result):
    """The sample shot solved: the reconstruction, its video, the truth, and its depth maps aligned."""
    from sfm.depth import MapFolder
    from sfm.depth.aligned import align_depth
    from sfm.evaluation import GroundTruth
    from sfm.results import load_result
    from sfm.video import reopen

    scene, shot, _ = load_result(sample_result)
    video = reopen(shot)
    truth = GroundTruth.load(SAMPLE / "gt.json", SAMPLE / "true_depth.npz")
    return scene, video, truth, align_depth(scene, video, MapFolder(SAMPLE / "depth"))


@pytest.fixture(autouse=True)
def no_logged_errors(caplog):
    """Any logged ERROR fails the test."""
    yield
    records = [record for when in ("setup", "call") for record in caplog.get_records(when)]
    errors = [record.getMessage() for record in records if record.levelno >= logging.ERROR]
    assert not errors, errors


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium, of the tests of pages."""
    from browser import open_browser

    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found
