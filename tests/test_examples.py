"""Every example runs as it stands and does what its text promises."""

import runpy
from pathlib import Path

import pytest

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
    assert [example.name for example in examples] == ["0_quickstart.py", "1_own_tracks.py", "2_own_depth.py"]
    for example in examples:
        text = example.read_text()
        assert len(text.splitlines()) < 60 and text.endswith('if __name__ == "__main__":\n    main()\n'), example.name


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
