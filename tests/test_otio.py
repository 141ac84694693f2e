"""The timeline, read back by OpenTimelineIO."""

import dataclasses

import numpy as np
import pytest
from test_film_formats import shot_with

from sfm.bridging import bridge
from sfm.errors import InputError
from sfm.export import write_otio

SOLVE = {"verdict": "REVIEW", "reasons": ["frames 1004-1005 were bridged"], "rms_px": 0.31, "likely_slide_px": None,
         "per_frame": [{"frame": 1001}], "bridged_frames": [1004, 1005]}  # fmt: skip


def read(path):
    otio = pytest.importorskip("opentimelineio")
    (clip,) = otio.adapters.read_from_file(str(path)).find_clips()
    return clip


def test_the_plate_by_its_numbers_and_what_the_solve_is_worth(rng, tmp_path):
    scene, shot = shot_with(rng)
    shot = dataclasses.replace(shot, source=str(tmp_path / "plate.####.png"))
    write_otio(scene, shot, tmp_path / "shot.otio", SOLVE)
    clip = read(tmp_path / "shot.otio")
    media = clip.media_reference
    assert (media.start_frame, media.frame_zero_padding, media.rate, media.frame_step) == (1001, 4, 25, 1)
    assert media.target_url_for_image_number(0) == (tmp_path / "plate.1001.png").as_uri()
    assert media.number_of_images_in_sequence() == 8 and media.end_frame() == 1008
    assert media.frame_for_time(clip.source_range.end_time_inclusive()) == 1008
    assert clip.source_range.start_time.value == 1001 and clip.source_range.duration.value == 8
    told = clip.metadata["sfm"]
    assert told["verdict"] == "REVIEW" and told["rms_px"] == 0.31 and told["likely_slide_px"] is None
    assert list(told["bridged_frames"]) == [1004, 1005] and "per_frame" not in told
    (marker,) = clip.markers
    assert (marker.name, marker.marked_range.start_time.value, marker.marked_range.duration.value) == (
        "no camera",
        1004,
        2,
    )


def test_interpolated_frames_steps_and_no_solve(rng, tmp_path):
    scene, shot = shot_with(rng)
    numbers = np.arange(2, 18, 2)
    names = tuple(f"plate_{number:05d}.exr" for number in numbers)
    stepped = dataclasses.replace(
        shot, frame_numbers=numbers, frame_names=names, source=str(tmp_path / "plate_#####.exr")
    )
    write_otio(bridge(scene), stepped, tmp_path / "shot.otio")
    clip = read(tmp_path / "shot.otio")
    media = clip.media_reference
    assert (media.frame_step, media.frame_zero_padding, media.start_frame) == (2, 5, 2)
    assert media.target_url_for_image_number(7) == (tmp_path / "plate_00016.exr").as_uri()
    assert [marker.name for marker in clip.markers] == ["interpolated camera", "interpolated camera"]
    assert clip.metadata["sfm"]["frames"] == 8 and clip.metadata["sfm"]["rms_px"] == pytest.approx(scene.rms_px())


def test_a_movie_and_no_plate(rng, tmp_path):
    otio = pytest.importorskip("opentimelineio")
    scene, shot = shot_with(rng)
    movie = dataclasses.replace(shot, source=str(tmp_path / "my clip.mov"), frame_numbers=np.arange(11, 19))
    write_otio(scene, movie, tmp_path / "shot.otio", SOLVE)
    clip = read(tmp_path / "shot.otio")
    assert isinstance(clip.media_reference, otio.schema.ExternalReference)
    assert clip.media_reference.target_url == (tmp_path / "my clip.mov").as_uri()
    assert clip.source_range.start_time.value == 11 and clip.media_reference.available_range.start_time.value == 1
    later = dataclasses.replace(movie, frame_numbers=np.arange(1011, 1019), first_frame=1001)
    write_otio(scene, later, tmp_path / "later.otio", SOLVE)
    clip = read(tmp_path / "later.otio")
    known = clip.media_reference.available_range
    assert (known.start_time.value, known.duration.value) == (1001, 18) and clip.source_range.start_time.value == 1011
    write_otio(scene, dataclasses.replace(shot, source="/somewhere/sparse"), tmp_path / "bare.otio")
    assert read(tmp_path / "bare.otio").media_reference.is_missing_reference
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_otio(scene, shot, tmp_path / "file" / "shot.otio")
