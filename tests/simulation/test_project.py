"""A simulated project on disk: what is finished, what another request is, and what several processes may do."""

import json
import shutil

import pytest

from frazil.core.errors import OutputError
from frazil.core.files import file_digest
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.project import RunPlan, SimulationProject
from frazil.simulation.record import Parameters
from frazil.simulation.specimen.settings import specimen_structures

OPTIONS = {
    "specimen.shape_voxel": (24, 32, 32),
    "specimen.voxel_size_angstrom": 20.0,
    "specimen.ice_thickness_angstrom": "full",
    "specimen.particles_per_class": {"ribosome": 1},
}
PRESET = load_simulation_preset("small", OPTIONS)
PLANS = [RunPlan("SIM_000", 0)]


def project(out, *, seed=0, preset=PRESET) -> SimulationProject:
    settings = {name: getattr(preset, name) for name in ("specimen", "microscope", "denoiser", "grey_std")}
    parameters = Parameters(
        seed=seed, types=("denoised",), levels=1, mrc=False, like=None, structure_digests={}, **settings
    )
    return SimulationProject(out, preset, parameters, specimen_structures(preset.specimen), ["ribosome"])


def begin(project: SimulationProject, *, shared=False, force=False) -> None:
    with project.folder.held(shared=shared):
        project.begin(PLANS, shared=shared, force=force)


@pytest.fixture
def written(tmp_path):
    """A project of one run."""
    new = project(tmp_path / "out")
    assert new.earlier(PLANS, force=False) is None
    assert new.missing(PLANS) == PLANS
    assert not new.out.exists(), "to look writes nothing"
    begin(new)
    new.write_run(PLANS[0])
    new.finish(shared=False)
    return new


def test_a_finished_run_is_known_again(written):
    assert written.earlier(PLANS, force=False).parameters.seed == 0
    assert written.missing(PLANS) == []
    (run,) = written.runs().values()
    assert (run.index, run.particles, run.shape_voxel) == (0, {"ribosome": 1}, (24, 32, 32))
    assert written.earlier(PLANS, force=False).runs == {"SIM_000": run}


def test_the_name_of_a_preset_decides_nothing(written):
    renamed = PRESET.model_copy(update={"name": "mine"})
    assert project(written.out, preset=renamed).earlier(PLANS, force=False) is not None


def test_a_damaged_record_of_a_run_makes_it_again(written):
    (written.out / "ExperimentRuns/SIM_000/tomogram.json").write_text('{"index')
    assert written.missing(PLANS) == PLANS


@pytest.mark.parametrize("text", ['{"schema', "[]"])
def test_a_damaged_record_is_named_and_can_be_replaced(written, text, refuses):
    (written.out / "simulation.json").write_text(text)
    with refuses(OutputError, "simulation.json", "--force"):
        written.earlier(PLANS, force=False)
    with written.folder.held():
        work = written.begin(PLANS, shared=False, force=True)
        assert (written.out / "ExperimentRuns").exists()
        work.folder.finish()
    assert not (written.out / "ExperimentRuns").exists()
    assert (written.out / "kept/simulation.json").read_text() == text


def test_what_differs_is_named_with_both_values(written, refuses):
    other = load_simulation_preset("small", OPTIONS | {"microscope.optics.voltage_kv": 200, "grey_std": 1.0})
    there = f"microscope.optics.voltage_kv 300 -> 200; grey_std {PRESET.grey_std:.7g} -> 1"
    with refuses(OutputError, there, "--force"):
        project(written.out, preset=other).earlier(PLANS, force=False)


def test_starting_over_leaves_what_is_not_its_own(written):
    (written.out / ".SIM_009.4711.partial").mkdir()
    (written.out / "notes.txt").write_text("mine")
    mine = written.out / "ExperimentRuns/SIM_000/Picks/me_0_ribosome.json"
    mine.write_text("mine")
    with written.folder.held():
        project(written.out, seed=1).begin(PLANS, shared=False, force=True).folder.finish()
    assert mine.read_text() == "mine"
    shutil.rmtree(written.out / "ExperimentRuns")
    assert {path.name for path in written.out.iterdir()} == {
        ".lock",
        ".written",
        "frazil.log",
        "notes.txt",
        "simulation.json",
    }


def test_what_a_killed_call_left_goes_when_it_resumes(written):
    with written.folder.held(shared=True):
        (written.out / ".SIM_009.4711.partial").mkdir()
        begin(written, shared=True)
    assert (written.out / ".SIM_009.4711.partial").exists(), "it may be another process that is at work"
    begin(written)
    assert not (written.out / ".SIM_009.4711.partial").exists()


def test_a_project_without_runs_is_removed(tmp_path):
    new = project(tmp_path / "out")
    with new.folder.held():
        new.begin(PLANS, shared=False, force=False)
        new.finish(shared=False)
    assert not new.out.exists()


def test_processes_that_share_a_project_gather_each_others_runs(written):
    other = project(written.out)
    with written.folder.held(shared=True), other.folder.held(shared=True):
        begin(other, shared=True)
        other.write_run(RunPlan("SIM_007", 7))
        before = file_digest(other.folder.record_path)
        written.finish(shared=True)
    content = json.loads(written.folder.record_path.read_text())
    assert list(content["runs"]) == ["SIM_000", "SIM_007"]
    assert file_digest(other.folder.record_path) != before


def test_a_shared_project_is_never_replaced(written, refuses):
    for force in (False, True):
        with refuses(OutputError, str(written.out), "another request"):
            begin(project(written.out, seed=1), shared=True, force=force)
    with written.folder.held(shared=True), refuses(OutputError, "another process"):
        begin(project(written.out, seed=1), force=True)


@pytest.mark.parametrize("vesicles", [0, 1])
def test_the_membrane_is_written_where_there_are_vesicles(tmp_path, vesicles):
    options = OPTIONS | {
        "specimen.shape_voxel": (32, 40, 40),
        "specimen.surroundings.vesicles": vesicles,
        "specimen.surroundings.vesicle_radius_angstrom": (120.0, 150.0),
    }
    new = project(tmp_path / "out", preset=load_simulation_preset("small", options))
    begin(new)
    new.write_run(PLANS[0])
    new.finish(shared=False)
    assert ("membrane" in json.loads((tmp_path / "out/simulation.json").read_text())["segmentations"]) == bool(vesicles)
    masks = list((tmp_path / "out").glob("ExperimentRuns/*/Segmentations/*membrane*"))
    assert len(masks) == vesicles
