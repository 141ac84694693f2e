"""A survey as people write it, on the tracks of a shot, and a solve that ends where it says."""

import dataclasses

import numpy as np
import pytest
from solved import shot_of
from test_survey import SET, surveyed

from sfm.errors import InputError, UsageError
from sfm.options import Options
from sfm.pipeline import reconstruct_tracks
from sfm.scene import Tracks
from sfm.survey_files import MeasuredDistance, read_survey
from sfm.synthetic import make_shot
from sfm.verdict import Verdict

XY = np.array([[[10.0, 20.0], [300.0, 40.0]], [[12.0, 21.0], [302.0, 41.0]]])
TRACKS = Tracks.from_dense(XY)


@pytest.fixture
def shot(rng):
    return shot_of(make_shot("dolly", rng=rng).camera, 2)


def test_points_by_track_and_by_place(tmp_path, shot):
    text = "track,frame,x,y,X,Y,Z,sigma,note\n0,,,,1,2,3,0.02,door\n,1002,301.5,42,4,5,6,,window\n"
    (tmp_path / "points.csv").write_text(text)
    for up, expected in (("y", [[1, -2, -3], [4, -5, -6]]), ("z", [[1, -3, 2], [4, -6, 5]])):
        survey = read_survey(tmp_path / "points.csv", up=up).on(TRACKS, shot, {})
        assert survey.tracks.tolist() == [0, 1] and survey.sigma.tolist() == [0.02, 0.01]
        np.testing.assert_array_equal(survey.positions, expected)
    (tmp_path / "named.csv").write_text("\ufefftrack,X,Y,Z\ndoor 2,1,2,3\n")
    assert read_survey(tmp_path / "named.csv").on(TRACKS, shot, {"door 2": 1}).tracks.tolist() == [1]
    # a name counts before the number of a track that looks like it
    (tmp_path / "number.csv").write_text("track,X,Y,Z\n0,1,2,3\n")
    assert read_survey(tmp_path / "number.csv").on(TRACKS, shot, {"0": 1}).tracks.tolist() == [1]


@pytest.mark.parametrize(
    ("words", "one", "two", "length", "sigma"),
    [
        ("track 12, track 87 = 2.0 m +- 0.01", "12", "87", 2.0, 0.01),
        ("12,87=250cm", "12", "87", 2.5, 0.0125),
        ("left edge of the door, 7 = 6 ft +/- 1 in", "left edge of the door", "7", 1.8288, 0.0254),
        ("a,b = .5 ± 2 mm", "a", "b", 0.5, 0.002),
        ("a, b = 30 mm +- 1", "a", "b", 0.03, 0.001),
    ],
)
def test_distances_in_words(words, one, two, length, sigma):
    (found,) = read_survey(None, [words]).distances
    assert (found.one, found.two) == (one, two)
    assert (found.length, found.sigma) == (pytest.approx(length), pytest.approx(sigma))


@pytest.mark.parametrize("words", ["12 = 2", "a, b = -2 m", "a, b = 2 miles", "a, b = 0", "a, b = 2 +- 0"])
def test_words_that_are_none(words):
    with pytest.raises(UsageError, match="--distance"):
        read_survey(None, [words])


def test_distances_in_a_file(tmp_path, shot):
    (tmp_path / "d.csv").write_text("track_a,track_b,distance,sigma\n0,1,2.5,\n1,0,3,0.2\n")
    found = read_survey(None, [str(tmp_path / "d.csv"), "0, 1 = 4"])
    assert found.distances[0] == MeasuredDistance("0", "1", 2.5, 0.0125) and len(found.distances) == 3
    assert found.on(TRACKS, shot, {}).pairs.tolist() == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("track,x,y,z\n0,1,2,3\n", "first line must be track,X,Y,Z or frame,x,y,X,Y,Z"),
        ("track,X,Y,Z\n0,1,2\n", "line 2: no 'Z'; expected numbers"),
        ("track,X,Y,Z\n0,1,2,a\n", "line 2: could not convert"),
        ("track,X,Y,Z,sigma\n0,1,2,3,-1\n", "line 2: sigma -1; expected a positive"),
        ("track,X,Y,Z\n9,1,2,3\n", "no track '9'; there are 0 to 1"),
        ("track,X,Y,Z\n0,1,2,3\n0,1,2,4\n", "two of its points are the same track"),
        ("frame,x,y,X,Y,Z\n1001,100,100,1,2,3\n", "no track within 3 px of 100, 100 in frame 1001"),
        ("frame,x,y,X,Y,Z\n7,100,100,1,2,3\n", "frame 7 is not in plate"),
    ],
)
def test_surveys_that_are_none(tmp_path, shot, text, said):
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_survey(tmp_path / "points.csv").on(TRACKS, shot, {})
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_survey(tmp_path / "none.csv")
    with pytest.raises(InputError, match="from track 1 to itself"):
        read_survey(None, ["1, 1 = 2"]).on(TRACKS, shot, {})


@pytest.mark.parametrize("with_depth", [True, False])
def test_a_solve_ends_in_the_survey(rng, with_depth):
    """In its world and at its size, whatever the prior's unit; and the reprojection is what it was."""
    truth = make_shot("handheld", rng=rng, num_frames=12, num_tracks=120, noise_px=0.3, depth_error=0.2, depth_unit=7.0)
    priors, survey = truth.priors if with_depth else None, surveyed(truth, rng, 8, 3, sigma=0.01)
    plain, _ = reconstruct_tracks(truth.tracks, priors, truth.camera)
    found, report = reconstruct_tracks(truth.tracks, priors, truth.camera, Options(survey=survey))
    assert report.survey is survey
    off = np.concatenate(report.survey_sigmas)
    assert 0.2 < np.sqrt(np.square(off).mean()) < 1.5
    assert found.rms_px() == pytest.approx(plain.rms_px(), rel=0.01)
    centers = SET.apply(truth.cams_from_world.centers_in_world)
    # 0.4 of a metre is its unit; known points eight metres away, a hundredth of a unit off
    assert 1e-4 < np.median(np.linalg.norm(found.centers_in_world - centers, axis=1)) < 0.05
    errors = np.linalg.norm(found.points[survey.tracks] - SET.apply(truth.points)[survey.tracks], axis=1)
    assert np.median(errors) < 3 * 0.01
    ratio = found.points_in_cam()[:, 2] / truth.priors.depth
    if with_depth:
        assert np.nanmedian(np.abs(ratio / found.depth_scale[truth.tracks.frame] - 1)) < 0.3


def test_a_survey_that_is_wrong_is_told(rng):
    truth = make_shot("orbit", rng=rng, num_frames=12, num_tracks=120, noise_px=0.3)
    survey = surveyed(truth, rng, 8, sigma=0.005)
    wrong = survey.positions.copy()
    wrong[2] += [0.3, 0.0, 0.1]
    survey = dataclasses.replace(survey, positions=wrong)
    _, report = reconstruct_tracks(truth.tracks, None, truth.camera, Options(survey=survey))
    assert report.verdict is Verdict.REVIEW
    assert any("surveyed points off by up to" in reason for reason in report.reasons)
    assert report.survey_sigmas[0].argmax() == 2
