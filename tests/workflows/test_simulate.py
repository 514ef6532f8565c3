import hashlib
import json
import shutil
import sys
from pathlib import Path

import copick
import numpy as np
import pytest

from frazil import cli
from frazil.errors import FrazilError, OutputError, SettingsError, SimulationError
from frazil.io.sources import open_source
from frazil.settings import SourceSettings
from frazil.simulation.microscope import MicroscopeSettings
from frazil.simulation.specimen import SpecimenSettings
from frazil.simulation.structures import PARTICLES
from frazil.workflows import simulate as workflow
from frazil.workflows.simulate import read_settings, simulate

SMALL = SpecimenSettings(
    shape_voxel=(28, 40, 48), voxel_size_angstrom=20.0, particles_per_class=dict.fromkeys(PARTICLES, 2)
)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Two tomograms with their clean densities. Read only: tests that change a project copy it."""
    out = tmp_path_factory.mktemp("simulated") / "project"
    simulate(out, count=2, seed=11, specimen=SMALL, clean=True)
    return out


@pytest.fixture
def copied(project, tmp_path) -> Path:
    return Path(shutil.copytree(project, tmp_path / "project"))


def test_copick_opens_it_like_a_real_project(project):
    root = copick.from_file(str(project / "copick.json"))
    assert sorted(run.name for run in root.runs) == ["SIM_000", "SIM_001"]
    radii = {thing.name: thing.radius for thing in root.pickable_objects}
    assert radii == {label: model.radius_angstrom for label, model in PARTICLES.items()}
    run = root.get_run("SIM_001")
    spacing = run.get_voxel_spacing(20.0)
    assert sorted(tomogram.tomo_type for tomogram in spacing.tomograms) == ["clean", "denoised"]
    volume = spacing.get_tomograms("denoised")[0].numpy()
    assert volume.shape == (28, 40, 48)
    assert volume.std() == pytest.approx(6.5e-6, rel=1e-3)
    picks = run.get_picks(object_name="ribosome", user_id="simulated", session_id="0")
    assert [len(some.points) for some in picks] == [2]
    assert picks[0].trust_orientation


def test_frazil_reads_it_like_a_real_project(project):
    source = open_source(project, SourceSettings(tomogram_type="denoised"))
    assert source.runs() == ["SIM_000", "SIM_001"]
    assert [(picks.run, picks.label, len(picks)) for picks in source.picks()] == [
        (run, label, 2) for run in source.runs() for label in sorted(PARTICLES)
    ]
    tomogram = source.read("SIM_000")
    assert tomogram.header.voxel_size_angstrom == pytest.approx(20.0)
    assert tomogram.header.tilt_range_degrees == (-45.0, 45.0)
    assert tomogram.chunk_present.all()


def test_the_manifest_tells_everything(project):
    manifest = json.loads((project / "simulation.json").read_text())
    assert manifest["schema_version"] == 1
    assert manifest["simulated"] is True
    assert manifest["axis_order"] == "zyx"
    assert manifest["runs"] == ["SIM_000", "SIM_001"]
    assert manifest["parameters"]["seed"] == 11
    assert SpecimenSettings.model_validate(manifest["parameters"]["specimen"]) == SMALL
    assert MicroscopeSettings.model_validate(manifest["parameters"]["microscope"]) == MicroscopeSettings()


def written_points(project: Path, run: str, label: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Centre (zyx, angstrom) and rotation (zyx) of each point, straight from copick's JSON."""
    content = json.loads((project / "ExperimentRuns" / run / "Picks" / f"simulated_0_{label}.json").read_text())
    points = []
    for point in content["points"]:
        matrix = np.array(point["transformation_"])
        assert matrix[3].tolist() == [0, 0, 0, 1]
        assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
        center = np.array([point["location"][axis] for axis in "zyx"]) + matrix[2::-1, 3]
        points.append((center, matrix[:3, :3][::-1, ::-1]))
    return points


@pytest.mark.parametrize("label", PARTICLES)
def test_the_model_moved_by_the_written_matrix_lies_on_the_clean_tomogram(project, label):
    model = PARTICLES[label]
    clean = open_source(project, SourceSettings(tomogram_type="clean")).read("SIM_000").volume
    for center, rotation in written_points(project, "SIM_000", label):
        around = np.linalg.norm(np.moveaxis(np.indices(clean.shape), 0, -1) * 20.0 - center, axis=-1)
        body = around < model.solid_radius_angstrom

        def match(turn: np.ndarray) -> float:
            drawn = model.density(clean.shape, 20.0, rotation=turn, center_voxel=center / 20.0)  # noqa: B023
            return float(np.corrcoef(drawn[body], -clean[body])[0, 1])  # noqa: B023

        assert match(rotation) > 0.97
        if model.symmetry in ("C1", "C2", "D2"):  # an orientation that is wrong must show
            quarter = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float)
            assert match(rotation @ quarter) < match(rotation) - 0.03
            assert match(rotation.T) < match(rotation) - 0.03


def test_particles_are_dark_in_the_tomogram(project):
    volume = open_source(project, SourceSettings(tomogram_type="denoised")).read("SIM_001").volume
    for label in ("ribosome", "thyroglobulin", "beta-galactosidase"):
        for center, _ in written_points(project, "SIM_001", label):
            z, y, x = np.rint(center / 20.0).astype(int)
            assert volume[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3].mean() < -0.5 * volume.std()


def test_a_tomogram_depends_on_the_seed_and_its_index_alone(project, tmp_path):
    simulate(tmp_path / "one", count=1, seed=11, specimen=SMALL, clean=True)
    one, two = (digests(folder / "ExperimentRuns" / "SIM_000") for folder in (tmp_path / "one", project))
    assert len(one) > 8
    assert one == two
    simulate(tmp_path / "other", count=1, seed=12, specimen=SMALL, clean=True)
    other = digests(tmp_path / "other" / "ExperimentRuns" / "SIM_000")
    assert other.keys() == one.keys()
    changed = {name for name in one if other[name] != one[name]}
    assert changed == {name for name in one if name.startswith("Picks/") or "/0/0/" in name}
    assert {name.split("/")[0] for name in changed} == {"Picks", "VoxelSpacing20.000"}


def test_a_finished_project_is_left_alone(copied, capsys):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    simulate(copied, count=2, seed=11, specimen=SMALL, clean=True)
    assert "all simulated tomograms are there already (2); nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before


def test_more_tomograms_are_added_to_those_that_are_there(copied):
    first = digests(copied / "ExperimentRuns")
    simulate(copied, count=3, seed=11, specimen=SMALL, clean=True)
    after = digests(copied / "ExperimentRuns")
    assert first.items() < after.items()
    assert {name.split("/")[0] for name in after} == {"SIM_000", "SIM_001", "SIM_002"}


def test_interrupted_it_goes_on(project, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write_tomogram = workflow.write_tomogram

    def killed(root, **options):
        if options["run"] == "SIM_001":
            raise KeyboardInterrupt
        return write_tomogram(root, **options)

    monkeypatch.setattr(workflow, "write_tomogram", killed)
    with pytest.raises(KeyboardInterrupt):
        simulate(out, count=2, seed=11, specimen=SMALL, clean=True)
    (out / "ExperimentRuns" / "SIM_001" / "leftover.partial").write_text("half")
    assert json.loads((out / "simulation.json").read_text())["runs"] == ["SIM_000"]
    monkeypatch.setattr(workflow, "write_tomogram", write_tomogram)
    kept = (out / "ExperimentRuns" / "SIM_000" / "VoxelSpacing20.000" / "denoised.zarr" / ".zattrs").stat().st_mtime_ns
    simulate(out, count=2, seed=11, specimen=SMALL, clean=True)
    assert digests(out / "ExperimentRuns") == digests(project / "ExperimentRuns")
    assert (out / "ExperimentRuns/SIM_000/VoxelSpacing20.000/denoised.zarr/.zattrs").stat().st_mtime_ns == kept


def test_other_settings_need_force(copied):
    before = digests(copied)
    with pytest.raises(OutputError, match=r"holds tomograms with seed 11; pass --force to replace them"):
        simulate(copied, count=1, seed=12, specimen=SMALL, clean=True)
    microscope = MicroscopeSettings(tilt_range_degrees=(-60, 60))
    with pytest.raises(OutputError, match=r"tilt_range_degrees \[-45\.0, 45\.0\]; pass --force"):
        simulate(copied, count=1, seed=11, specimen=SMALL, microscope=microscope, clean=True)
    assert digests(copied) == before
    only = SMALL.model_copy(update={"particles_per_class": {"ribosome": 1}})
    simulate(copied, count=1, seed=12, specimen=only, force=True)
    assert [path.name for path in (copied / "ExperimentRuns").iterdir()] == ["SIM_000"]
    assert [picks.label for picks in open_source(copied, SourceSettings()).picks()] == ["ribosome"]


def test_a_folder_of_somebody_else_is_never_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="did not write; choose a new folder"):
        simulate(tmp_path, count=1, specimen=SMALL, force=True)
    with pytest.raises(OutputError, match="did not write; choose a new folder"):
        simulate(tmp_path / "notes.txt", count=1, specimen=SMALL, force=True)
    with pytest.raises(OutputError, match="a part of the path is a file, not a folder; choose another folder"):
        simulate(tmp_path / "notes.txt" / "out", count=1, specimen=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_packing_that_fails_leaves_the_folder_free_for_other_settings(tmp_path):
    crowded = SMALL.model_copy(update={"particles_per_class": {"ribosome": 90}})
    with pytest.raises(SimulationError, match="ribosome: room for"):
        simulate(tmp_path / "out", count=1, specimen=crowded)
    assert not (tmp_path / "out" / "ExperimentRuns").exists()
    simulate(tmp_path / "out", count=1, specimen=SMALL.model_copy(update={"particles_per_class": {"ribosome": 1}}))


@pytest.mark.parametrize("text", ['{"schema', "[]", '{"schema_version": 1}'])
def test_a_damaged_manifest_is_named_and_can_be_replaced(copied, text):
    (copied / "simulation.json").write_text(text)
    with pytest.raises(OutputError, match=r"simulation\.json: damaged; pass --force"):
        simulate(copied, count=1, seed=11, specimen=SMALL)
    simulate(copied, count=1, seed=11, specimen=SMALL, force=True)
    assert json.loads((copied / "simulation.json").read_text())["runs"] == ["SIM_000"]


def test_a_newer_manifest_is_refused(copied):
    manifest = json.loads((copied / "simulation.json").read_text())
    (copied / "simulation.json").write_text(json.dumps(manifest | {"schema_version": 2}))
    with pytest.raises(OutputError, match=r"simulation\.json: written by a newer frazil; upgrade frazil"):
        simulate(copied, count=1, seed=11, specimen=SMALL, force=True)


def test_no_tomograms_are_refused(tmp_path):
    with pytest.raises(SimulationError, match=r"count 0: .*at least 1"):
        simulate(tmp_path / "out", count=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shape_voxel": "64,256"}, SettingsError, "shape_voxel '64,256': too few numbers; see frazil simulate --help"),
        ({"shape_voxel": "a,b,c"}, SettingsError, "shape_voxel 'a,b,c': .*valid integer"),
        ({"particles_per_class": "many"}, SettingsError, "particles_per_class 'many': .*valid integer"),
        ({"voxel_size_angstrom": float("nan")}, SettingsError, "voxel_size_angstrom nan: .*finite"),
        ({"voxel_size_angstrom": 70.0}, SimulationError, "voxel size 70 A: coarser than apo-ferritin"),
    ],
)
def test_settings_that_cannot_be_read_are_named(options, error: type[FrazilError], message):
    with pytest.raises(error, match=message):
        read_settings(SpecimenSettings, options)


def run_command(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["frazil", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_the_command_writes_a_project(tmp_path, monkeypatch):
    out = tmp_path / "out"
    options = "--count 1 --seed 4 --shape 24,32,32 --voxel-size 20 --particles-per-class ribosome=1,apo-ferritin=2"
    assert run_command(monkeypatch, "simulate", str(out), *options.split(), "--tilt-range", "-51,54") == 0
    source = open_source(out, SourceSettings())
    assert {picks.label: len(picks) for picks in source.picks()} == {"apo-ferritin": 2, "ribosome": 1}
    header = source.header("SIM_000")
    assert (header.shape_voxel, header.tilt_range_degrees) == ((24, 32, 32), (-51.0, 54.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--tilt-range -95,45", "tilt beyond 90 degrees"),
        ("--tilt-range 45,-45", "lowest not below highest"),
        ("--tilt-step 0", "tilt step 0"),
        ("--voxel-size 80", "coarser than apo-ferritin"),
        ("--particles-per-class proteasome=3", "proteasome: no such particle"),
        ("--shape 24,32,32 --voxel-size 20 --particles-per-class 50", "room for"),
        ("--shape 24,32", "too few numbers"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, message):
    assert run_command(monkeypatch, "simulate", str(tmp_path / "out"), *arguments.split()) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("frazil: ")]
    assert len(lines) == 1
    assert message in lines[0]
