"""Every example runs as it stands and does what its text promises."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from sfm.least_squares import sparse_jacobian

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder: what it returns and what it says."""
    monkeypatch.chdir(tmp_path)

    def run(name: str):
        found = runpy.run_path(str(EXAMPLES / name))["main"]()
        assert not list(tmp_path.iterdir())
        return found, capsys.readouterr().out

    return run


def test_they_are_short_start_by_themselves_and_are_all_here():
    examples = sorted(EXAMPLES.glob("*.py"))
    names = ["0_quickstart.py", "1_own_tracks.py", "2_own_depth.py", "3_bundle_adjustment_in_the_large.py"]
    assert [example.name for example in examples] == names
    for example in examples:
        text = example.read_text()
        assert len(text.splitlines()) <= 66 and text.endswith('if __name__ == "__main__":\n    main()\n'), example.name


def test_quickstart_gives_every_frame_a_camera(run):
    scene, said = run("0_quickstart.py")
    assert scene.registered.all() and len(scene.registered) == 12
    assert 0.02 < scene.rms_px() < 0.3
    assert said.startswith("PASS") and "(12, 3)" in said and "1 to 12" in said


def test_own_tracks_meet_the_truth(run):
    error, said = run("1_own_tracks.py")
    assert 1e-4 < error < 0.02
    assert f"{100 * error:.2f} %" in said


def test_own_depth_is_believed_as_little_as_it_deserves(run):
    report, said = run("2_own_depth.py")
    assert report.prior_given and 0.1 < report.prior_weight.depth_sigma
    assert report.prior_weight.measurements < 200
    assert "12 frames" in said


def test_bundle_adjustment_in_the_large(tmp_path, capsys):
    """A file written from a made-up truth: its cost goes to that of the noise, and the derivatives are right."""
    rng = np.random.default_rng(0)
    example = runpy.run_path(str(EXAMPLES / "3_bundle_adjustment_in_the_large.py"))
    cameras = np.column_stack([0.1 * rng.standard_normal((5, 6)), np.tile([800, -0.1, 0.02], (5, 1))])
    cameras[:, 5] -= 8
    points = rng.uniform(-2, 2, (40, 3))
    camera, point = (index.ravel() for index in np.indices((5, 40)))
    seen = np.column_stack([camera, point, np.zeros((200, 2))])
    exact = _bal(example, seen, cameras, points)
    seen[:, 2:] = exact.at(exact.start).residuals(slice(None)).T[np.lexsort((exact.eliminated_index, exact.kept_index))]
    seen[:, 2:] += 0.5 * rng.standard_normal((200, 2))
    problem = _bal(example, seen, cameras, points + 0.1 * rng.standard_normal(points.shape))
    columns = sparse_jacobian(problem, problem.start).toarray()
    for column in rng.choice(len(problem.start), 40, replace=False):
        h = 1e-6 * np.eye(len(problem.start))[column]
        ahead, behind = (problem.at(problem.start + step).residuals(slice(None)).ravel() for step in (h, -h))
        np.testing.assert_allclose((ahead - behind) / 2e-6, columns[:, column], atol=2e-4 * np.abs(columns).max())
    file = tmp_path / "problem.txt"
    file.write_text(_text(seen, cameras, points + 0.1 * rng.standard_normal(points.shape)))
    _, report = example["main"](str(file))
    assert 10 < report.cost < 0.5 * 0.25 * 400 < 1e3 < report.initial_cost
    assert "Converged" in capsys.readouterr().out


def _bal(example, *what):
    return example["Bal"](np.array(_text(*what).split(), float))


def _text(seen, cameras, points) -> str:
    lines = [f"{len(cameras)} {len(points)} {len(seen)}"]
    lines += [f"{int(c)} {int(p)} {x!r} {y!r}" for c, p, x, y in seen.tolist()]
    return "\n".join([*lines, *(repr(float(v)) for v in np.r_[cameras.ravel(), points.ravel()])])
