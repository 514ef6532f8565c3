"""The manifest of a simulated project: damaged ones, those of other versions, and what differs."""

import json

import pytest

from frazil.core.errors import OutputError
from frazil.simulation.project import RunPlan, SimulationProject
from frazil.simulation.run import simulation_preset
from frazil.simulation.specimen.recipe import specimen_structures

OPTIONS = {
    "specimen.shape_voxel": (24, 32, 32),
    "specimen.voxel_size_angstrom": 20.0,
    "specimen.ice_thickness_angstrom": "full",
    "specimen.particles_per_class": {"ribosome": 1},
}
PRESET = simulation_preset("small", OPTIONS, {})
PLANS = [RunPlan("SIM_000", 0)]


def project(out, *, seed=0, preset=PRESET) -> SimulationProject:
    return SimulationProject(out, preset, seed, specimen_structures(preset.specimen), ("denoised",), 1, False, {})


@pytest.fixture
def written(tmp_path):
    """A project of one run."""
    new = project(tmp_path / "out")
    assert new.finished(PLANS, force=False) == {}
    assert not new.out.exists(), "to look writes nothing"
    new.begin()
    done = new.write_run(PLANS[0])
    new.write_manifest({done.run: done.record})
    return new


def test_a_finished_run_is_known_again(written):
    runs = written.finished(PLANS, force=False)
    assert list(runs) == ["SIM_000"]
    assert runs["SIM_000"]["index"] == 0
    assert runs["SIM_000"]["particles"] == {"ribosome": 1}
    assert runs["SIM_000"]["shape_voxel"] == [24, 32, 32]


def test_the_name_of_a_preset_decides_nothing(written):
    renamed = PRESET.model_copy(update={"name": "mine"})
    assert list(project(written.out, preset=renamed).finished(PLANS, force=False)) == ["SIM_000"]


@pytest.mark.parametrize("text", ['{"schema', "[]", '{"schema_version": 1}', '{"schema_version": "new"}'])
def test_a_damaged_manifest_is_named_and_can_be_replaced(written, text, refuses):
    (written.out / "simulation.json").write_text(text)
    with refuses(OutputError, "simulation.json: damaged", "--force", "new folder"):
        written.finished(PLANS, force=False)
    assert written.finished(PLANS, force=True) == {}
    written.begin()
    assert not (written.out / "ExperimentRuns").exists()


def test_a_newer_manifest_is_refused(written, refuses):
    content = json.loads((written.out / "simulation.json").read_text())
    (written.out / "simulation.json").write_text(json.dumps(content | {"schema_version": 3}))
    for force in (False, True):
        with refuses(OutputError, "simulation.json: written by a newer frazil", "upgrade frazil"):
            written.finished(PLANS, force=force)


def test_a_project_of_the_first_simulator_is_not_mixed_with_this_one(written, refuses):
    old = {"schema_version": 1, "parameters": {"seed": 0, "clean": False}, "runs": ["SIM_000"]}
    (written.out / "simulation.json").write_text(json.dumps(old))
    with refuses(OutputError, "holds tomograms with an older simulator", "--force"):
        written.finished(PLANS, force=False)
    assert written.finished(PLANS, force=True) == {}


def test_what_differs_is_named_with_the_values_that_are_there(written, refuses):
    other = simulation_preset("small", OPTIONS | {"microscope.optics.voltage_kv": 200, "grey_std": 1.0}, {})
    there = f"microscope.optics.voltage_kv 300 -> 200, grey_std {PRESET.grey_std:.7g} -> 1"
    with refuses(OutputError, f"holds tomograms with other settings ({there}); pass --force"):
        project(written.out, preset=other).finished(PLANS, force=False)
    more = simulation_preset(
        "small", OPTIONS | {"specimen.particles_per_class": {"ribosome": 1, "apo-ferritin": 1}}, {}
    )
    with refuses(OutputError, "(specimen.particles_per_class.apo-ferritin none -> 1)", "--force"):
        project(written.out, preset=more).finished(PLANS, force=False)


def test_leftovers_go_when_it_begins_anew(written):
    (written.out / ".SIM_009.partial").mkdir()
    (written.out / "notes.txt").write_text("mine")
    assert project(written.out, seed=1).finished(PLANS, force=True) == {}
    project(written.out, seed=1).begin()
    assert sorted(path.name for path in written.out.iterdir()) == ["copick.json", "notes.txt", "simulation.json"]


def test_a_discarded_project_leaves_what_is_not_its_own(written):
    (written.out / "notes.txt").write_text("mine")
    written.discard()
    assert [path.name for path in written.out.iterdir()] == ["notes.txt"]
