"""`frazil calibrate` from end to end: a preset, a report, curves; going on after an interruption; what it refuses."""

import json
import tomllib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from frazil.core.errors import OutputError, SourceError
from frazil.core.files import write_json
from frazil.core.settings import SourceSettings
from frazil.dataset.tomograms.description import voxels_digest
from frazil.io.sources import open_source
from frazil.simulation.calibration import pieces
from frazil.simulation.calibration.fit import FITTED, read_numbers
from frazil.simulation.calibration.pieces import PieceGoal, read_pieces
from frazil.simulation.calibration.report import RECORD_FILE
from frazil.simulation.calibration.run import EVALUATIONS_FILE, calibrate
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.run import simulate

OPTIONS = {
    "specimen.shape_voxel": (28, 36, 32),
    "specimen.voxel_size_angstrom": 10.0,
    "specimen.ice_thickness_angstrom": "full",
    "specimen.particles_per_class": "beta-galactosidase=3,apo-ferritin=3",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Two small tomograms that stand for real ones."""
    out = tmp_path_factory.mktemp("real") / "project"
    simulate(out, preset="small", settings=OPTIONS, count=2, types=("denoised",), levels=1)
    return out


@pytest.fixture(scope="module")
def calibrated(project, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("calibrated") / "out"
    calibrate(project, out, preset="small", name="ours", evaluations=28, checks=2)
    return out


def test_the_command_fits_and_prints_the_table(project, tmp_path, run):
    code, out, said = run(
        "calibrate",
        "--out",
        tmp_path / "out",
        "--real",
        project,
        "--preset",
        "small",
        "--evaluations",
        3,
        "--checks",
        1,
    )
    assert code == 0
    assert "warning: evaluations 3" in said
    assert f"takes {len(FITTED) + 1}" in said
    assert "SIM_000: 28 x 36 x 32 measured voxels of 10.000 A" in out
    for part in ("power in XY", "missing wedge", "skew", "excess kurtosis", "ok", "calibrated.toml"):
        assert part in out


def test_the_preset_is_one_that_simulate_takes(calibrated):
    preset = load_simulation_preset(str(calibrated / "ours.toml"))
    assert preset.name == "ours"
    start = load_simulation_preset("small")
    assert preset.microscope.tilts == start.microscope.tilts, "what is not fitted is kept"
    assert any(read_numbers(preset)[one.key] != read_numbers(start)[one.key] for one in FITTED)
    assert 0.5 < preset.grey_std / start.grey_std < 2, "the gray values are those of the project"


def test_what_a_preset_was_calibrated_on_is_said_by_what_it_simulates(project, calibrated, tmp_path):
    source = open_source(project, SourceSettings())
    seen = {voxels_digest(source.read(run)): 10.0 for run in ("SIM_000", "SIM_001")}
    assert load_simulation_preset(str(calibrated / "ours.toml")).calibrated_on == seen
    simulate(tmp_path / "more", preset=str(calibrated / "ours.toml"), settings=OPTIONS, levels=1)
    assert json.loads((tmp_path / "more" / "simulation.json").read_text())["calibrated_on"] == seen


def test_the_report_has_every_number_beside_its_floor(calibrated):
    report = json.loads((calibrated / RECORD_FILE).read_text())
    assert report["schema_version"] == 2
    assert [piece["run"] for piece in report["problem"]["goals"][0]["pieces"]] == ["SIM_000", "SIM_001"]
    mass = "mass of apo-ferritin, kDa"
    assert set(report["fitted"]) == {one.key for one in FITTED} | {mass}
    assert report["fitted"][mass] == {"start": 480, "fitted": pytest.approx(480, abs=72)}
    assert len(report["checks"]) == 6
    for one in report["checks"]:
        assert one["passed"] == (abs(one["difference"]) <= one["tolerance"])
        assert one["floor"] >= 0
    assert (calibrated / "calibration.png").stat().st_size > 20_000


def test_a_better_preset_is_found(calibrated):
    lines = [json.loads(line) for line in (calibrated / EVALUATIONS_FILE).read_text().splitlines()]
    found = [np.square(line["differences"]).sum() for line in lines]
    assert min(found) < found[0]
    report = json.loads((calibrated / RECORD_FILE).read_text())
    best = lines[int(np.argmin(found))]["numbers"]
    for key, value in best.items():
        assert report["fitted"][key]["fitted"] == pytest.approx(value, rel=0.01)


@pytest.fixture
def interrupted(calibrated, tmp_path) -> Path:
    """A calibration that was killed while it wrote down its eighth evaluation before the end."""
    out = tmp_path / "out"
    out.mkdir()
    lines = (calibrated / EVALUATIONS_FILE).read_text().splitlines(keepends=True)
    (out / EVALUATIONS_FILE).write_text("".join(lines[:-8]) + lines[-8][:20])
    record = json.loads((calibrated / RECORD_FILE).read_text())
    write_json(out / RECORD_FILE, record | {"fitted": {}, "checks": []})
    return out


def test_what_was_evaluated_is_not_evaluated_again(project, calibrated, interrupted, monkeypatch):
    calls = []
    differences = PieceGoal.differences
    monkeypatch.setattr(PieceGoal, "differences", lambda self, preset: calls.append(1) or differences(self, preset))
    calibrate(project, interrupted, preset="small", name="ours", evaluations=28, checks=2)
    assert len(calls) == 8
    for name in ("ours.toml", RECORD_FILE):
        assert (interrupted / name).read_bytes() == (calibrated / name).read_bytes()


def test_a_finished_calibration_is_not_made_again(project, calibrated, monkeypatch, capsys):
    monkeypatch.setattr(PieceGoal, "build", None)
    rows = json.loads((calibrated / RECORD_FILE).read_text())["checks"]
    checks = calibrate(project, calibrated, preset="small", name="ours", evaluations=28, checks=2)
    assert "nothing to do" in capsys.readouterr().out
    assert [{**asdict(one), "passed": one.passed} for one in checks] == rows


def test_another_problem_needs_force(project, interrupted, refuses):
    with refuses(OutputError, "problem.seed 0 -> 3", "--force"):
        calibrate(project, interrupted, preset="small", seed=3, evaluations=2, checks=1)
    calibrate(project, interrupted, preset="small", seed=3, runs=["SIM_001"], evaluations=2, checks=1, force=True)
    report = json.loads((interrupted / RECORD_FILE).read_text())
    assert report["problem"]["seed"] == 3
    assert report["checks"][0]["floor"] is None, "one piece has no floor"
    assert tomllib.loads((interrupted / "calibrated.toml").read_text())["specimen"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("--run TS_9", ["TS_9", "SIM_000, SIM_001"]),
        ("--preset nothing", ["nothing", "czii"]),
        ("--evaluations 0", ["evaluations 0", "at least 1"]),
        ("--checks 0", ["checks 0", "at least 1"]),
        ("--name a_b", ["a_b", "a-b"]),
        ("--label virus-like-particle", ["virus-like-particle"]),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(project, tmp_path, run, arguments, parts):
    code, _, said = run("calibrate", "--out", tmp_path / "out", "--real", project, *arguments.split())
    assert code == 2
    said = said.strip()
    assert "\n" not in said
    for part in parts:
        assert part in said


def test_a_project_without_voxels_is_refused(project, monkeypatch):
    monkeypatch.setattr(pieces, "measured_piece", lambda tomogram: None)
    with pytest.raises(SourceError, match="no run with measured voxels"):
        read_pieces(open_source(project, SourceSettings()), ())


def test_slices_alone_or_with_tomograms(project, tmp_path, run):
    rng = np.random.default_rng(0)
    archive = tmp_path / "slices.npz"
    np.savez(
        archive,
        slices=rng.standard_normal((4, 3, 16, 16)),
        labels=np.array(["apo-ferritin"] * 4),
        voxel_size_angstrom=10.0,
    )
    options = ["--slices", archive, "--preset", "small", "--evaluations", 2, "--checks", 1]
    code, out, _ = run("calibrate", "--out", tmp_path / "both", "--real", project, *options)
    assert code == 0
    assert "SIM_000, SIM_001" in out
    assert "4 subtomograms, 10 A" in out
    assert (tmp_path / "both" / "calibration-2.png").stat().st_size > 20_000
    code, out, _ = run("calibrate", "--out", tmp_path / "alone", *options)
    assert code == 0
    assert "SIM_000" not in out
    bare = tmp_path / "bare.npz"
    np.savez(bare, **{name: value for name, value in np.load(archive).items() if name != "voxel_size_angstrom"})
    options = ["--slices", bare, *options[2:]]
    code, _, said = run("calibrate", "--out", tmp_path / "bare", *options)
    assert code == 2
    assert "says no voxel size" in said
    code, out, _ = run("calibrate", "--out", tmp_path / "bare", "--voxel-size", 12, *options)
    assert code == 0
    assert "4 subtomograms, 12 A" in out
    code, _, said = run("calibrate", "--out", tmp_path / "none")
    assert code == 2
    assert "nothing to fit to" in said


@pytest.mark.real
def test_the_czii_preset_looks_like_the_real_blocks(real_data):
    """The targets of the calibration, on fresh simulations of the blocks that it was fitted to."""
    preset = load_simulation_preset("czii")
    blocks = read_pieces(open_source(real_data, SourceSettings(level=1)), ["TS_6_4", "TS_69_2"])
    for result in PieceGoal(blocks, preset, seed=0).check(preset, iter([101, 102, 103])).checks:
        assert result.passed, result
