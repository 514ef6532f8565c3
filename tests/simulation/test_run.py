"""`frazil simulate` from end to end: what the project holds, that it can be interrupted and shared out, what it refuses."""

import hashlib
import json
import shutil
from pathlib import Path

import copick
import mrcfile
import numpy as np
import pytest

from frazil.core.errors import OutputError, SettingsError, SimulationError
from frazil.core.settings import SourceSettings
from frazil.dataset.store import BoxStore
from frazil.io.copick.project import write_tomogram
from frazil.io.like import LikeOptions
from frazil.io.mrc import read_header, read_volume, write_volume
from frazil.io.sources import open_source
from frazil.simulation import project as simulation_project
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.run import simulate
from frazil.simulation.structures.built_in import DISTRACTORS, PARTICLES

OPTIONS = {
    "specimen.shape_voxel": (28, 40, 48),
    "specimen.voxel_size_angstrom": 20.0,
    "specimen.ice_thickness_angstrom": "full",
    "specimen.particles_per_class": 2,
    "specimen.surroundings.background_protein_mg_per_ml": 0.0,
    "specimen.structures": [],  # ideal particles, which models can be compared with
}
SMALL = load_simulation_preset("small", OPTIONS)
EVERYTHING = {"mrc": True, "types": ("wbp", "denoised", "clean")}
LITTLE = {"types": ("denoised",), "levels": 1}
TINY = "--preset small --shape 24,32,32 --voxel-size 20 --ice-thickness full --particles-per-class ribosome=1,apo-ferritin=2"


def digests(folder: Path) -> dict[str, str]:
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and not {".written", "frazil.log"} & {*path.parts}
    )
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Two tomograms with all there is. Read only: tests that change a project copy it."""
    out = tmp_path_factory.mktemp("simulated") / "project"
    simulate(out, preset=SMALL, count=2, seed=11, **EVERYTHING)
    return out


@pytest.fixture
def copied(project, tmp_path) -> Path:
    return Path(shutil.copytree(project, tmp_path / "project"))


def manifest(folder: Path) -> dict:
    return json.loads((folder / "simulation.json").read_text())


# What the project holds


def test_copick_opens_it_like_a_real_project(project):
    root = copick.from_file(str(project / "copick.json"))
    assert "Simulated by frazil" in root.config.description
    assert sorted(run.name for run in root.runs) == ["SIM_000", "SIM_001"]
    radii = {thing.name: thing.radius for thing in root.pickable_objects}
    assert radii == {label: model.radius_angstrom for label, model in PARTICLES.items()}
    run = root.get_run("SIM_001")
    spacing = run.get_voxel_spacing(20.0)
    assert sorted(tomogram.tomo_type for tomogram in spacing.tomograms) == ["clean", "denoised", "wbp"]
    denoised = spacing.get_tomograms("denoised")[0]
    assert denoised.numpy().shape == (28, 40, 48)
    assert denoised.numpy("1").shape == (14, 20, 24)
    assert denoised.numpy().std() == pytest.approx(SMALL.grey_std, rel=1e-3)
    (picks,) = run.get_picks(object_name="ribosome", user_id="simulated", session_id="0")
    assert len(picks.points) == 2
    assert picks.trust_orientation


def test_masks_say_the_class_and_the_instance_of_every_particle(project):
    root = copick.from_file(str(project / "copick.json"))
    number_of = {thing.name: thing.label for thing in root.pickable_objects}
    assert number_of == manifest(project)["labels"] == {name: i for i, name in enumerate(sorted(PARTICLES), start=1)}
    run = root.get_run("SIM_000")
    classes, instances = (
        run.get_segmentations(name=name, user_id="simulated", session_id="0", is_multilabel=True, voxel_size=20.0)[0]
        for name in ("classes", "instances")
    )
    classes, instances = classes.numpy(), instances.numpy()
    assert classes.shape == instances.shape == (28, 40, 48)
    assert classes.dtype == np.uint8
    assert set(np.unique(classes)) == {0, *number_of.values()}
    assert np.array_equal(classes > 0, instances > 0)
    seen = set()
    for picks in run.picks:
        for point in picks.points:
            body = np.argwhere(instances == point.instance_id)
            assert {classes[tuple(voxel)] for voxel in body} == {number_of[picks.pickable_object_name]}
            place = np.array([point.location.z, point.location.y, point.location.x]) / 20.0
            inside = ((body > 0) & (body < np.array(classes.shape) - 1)).all()  # the border cuts some
            assert not inside or np.linalg.norm(body.mean(axis=0) - place) < 1.0
            seen.add(point.instance_id)
    assert seen == set(range(1, 13)) == set(np.unique(instances)) - {0}


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


def test_it_is_curated_like_a_real_project(project, tmp_path, run):
    store = tmp_path / "store"
    options = ("--preset", "smoke", "--tomogram-type", "wbp", "--box", "8", "--max-padding", "1")
    code, said, _ = run("curate", project, "--out", store, *options)
    assert (code, "24 boxes of 8^3 voxels at 20.000 A" in said) == (0, True)
    boxes = BoxStore.open(store)
    assert sorted(boxes.description.labels) == sorted(PARTICLES)
    assert boxes.particles.filter(like="rotation").notna().all(axis=None)


def test_everything_is_marked_simulated(project):
    marks = [json.loads(path.read_text())["frazil"]["simulated"] for path in project.rglob("*.zarr/.zattrs")]
    assert marks == [True] * (2 * (3 + 2) + len(PARTICLES))
    with mrcfile.open(project / "mrc/wbp/SIM_000.mrc") as mrc:
        assert mrc.header.label[0].startswith(b"Simulated by frazil")


def test_mrc_copies_are_the_same_tomograms(project):
    for kind in ("wbp", "denoised", "clean"):
        path = project / "mrc" / kind / "SIM_001.mrc"
        assert read_header(path).voxel_size_angstrom == pytest.approx(20.0)
        zarr = open_source(project, SourceSettings(tomogram_type=kind)).read("SIM_001").volume
        assert np.array_equal(read_volume(path), zarr)


def test_beside_mrc_copies_lie_their_picks(project):
    truth = {
        (some.run, some.label): some for some in open_source(project, SourceSettings(users=("simulated",))).picks()
    }
    tables = {"particles.csv": sorted(PARTICLES)} | {f"{label}.star": [label] for label in sorted(PARTICLES)}
    for table, labels in tables.items():
        settings = SourceSettings(picks_file=str(project / "mrc" / table))
        found = open_source(project / "mrc" / "denoised", settings).picks()
        assert [(some.run, some.label) for some in found] == [key for key in sorted(truth) if key[1] in labels]
        for some in found:
            expected = truth[some.run, some.label]
            np.testing.assert_allclose(some.centers_angstrom, expected.centers_angstrom, atol=1e-5)
            if table.endswith(".star"):
                np.testing.assert_allclose(some.rotations, expected.rotations, atol=1e-5)


def test_beside_mrc_copies_lie_their_tilts_and_templates(project):
    folder = project / "mrc"
    angles, dose, defocus = (
        np.loadtxt(folder / "tilts" / f"SIM_000{end}") for end in (".rawtlt", "_dose.txt", "_defocus.txt")
    )
    series = manifest(project)["runs"]["SIM_000"]["tilt_series"]
    assert (np.diff(angles) > 0).all()
    assert angles[[0, -1]].tolist() == [-45, 45]
    assert angles[np.argsort(dose)].tolist() == series["angles_degrees"]
    np.testing.assert_allclose(defocus[np.argsort(dose)], series["defocus_um"], rtol=1e-5)
    for label in PARTICLES:
        template, mask = (read_volume(folder / "templates" / f"{label}{end}.mrc") for end in ("", "_mask"))
        mass = -template.astype(np.float64)
        places = np.indices(mass.shape).reshape(3, -1)
        center = (places * mass.ravel()).sum(axis=1) / mass.sum()
        np.testing.assert_allclose(center, len(mass) // 2, atol=0.1)  # where picks are
        assert (mass * mask).sum() == pytest.approx(mass.sum(), rel=1e-3)
        assert mass.sum() > 0
        assert max(mask[0].max(), mask[:, 0].max(), mask[:, :, 0].max()) < 0.02


def test_viewers_get_a_map_of_each_class_and_a_surface(project):
    root = copick.from_file(str(project / "copick.json"))
    for label in PARTICLES:
        thing = root.get_object(label)
        density = thing.numpy()
        np.testing.assert_array_equal(density, -read_volume(project / "mrc/templates" / f"{label}.mrc"))
        assert 0 < thing.map_threshold < density.max()
        places = np.argwhere(density > thing.map_threshold) * 20.0 - len(density) // 2 * 20.0
        assert np.linalg.norm(places, axis=1).max() == pytest.approx(thing.radius, abs=20)


def test_octopi_finds_which_number_of_the_masks_is_which_class(project):
    content = json.loads((project / "logs/targets-simulated_0_classes.yaml").read_text())
    assert content["input"]["labels"] == manifest(project)["labels"]
    assert content["input"]["targets"].keys() == manifest(project)["labels"].keys()


def test_one_type_without_asking_and_only_those_that_are_asked_for(tmp_path):
    plain = simulate(tmp_path / "plain", preset=SMALL, levels=1)
    assert list(manifest(plain.path)["tomogram_types"]) == ["denoised"]
    assert open_source(plain.path, SourceSettings()).header("SIM_000").shape_voxel == (28, 40, 48)
    simulate(tmp_path / "out", preset=SMALL, types=("clean", "wbp"), levels=1)
    spacing = tmp_path / "out" / "ExperimentRuns" / "SIM_000" / "VoxelSpacing20.000"
    assert sorted(path.name for path in spacing.iterdir()) == ["clean.zarr", "wbp.zarr"]
    assert not (spacing / "wbp.zarr" / "1").exists()
    assert not (tmp_path / "out" / "mrc").exists()
    assert list(manifest(tmp_path / "out")["tomogram_types"]) == ["wbp", "clean"]


def test_the_manifest_tells_everything(project):
    content = manifest(project)
    assert (content["schema_version"], content["simulated"], content["axis_order"]) == (2, True, "zyx")
    parameters = content["parameters"]
    assert parameters["seed"] == 11
    settings = {name: parameters[name] for name in ("specimen", "microscope", "denoiser", "grey_std")}
    assert type(SMALL).model_validate(settings | {"name": content["preset"]}) == SMALL
    assert list(content["runs"]) == ["SIM_000", "SIM_001"]
    ribosome = content["structures"]["ribosome"]
    assert ribosome["mass_kda"] == PARTICLES["ribosome"].mass_kda
    assert len(ribosome["center_offset_angstrom"]) == 3
    run = content["runs"]["SIM_001"]
    assert run["frazil_version"] == content["frazil_version"]
    assert run["particles"] == dict.fromkeys(sorted(PARTICLES), 2)
    series = run["tilt_series"]
    assert series["angles_degrees"][:4] == [0, 3, -3, 6]
    assert {len(series[name]) for name in series if isinstance(series[name], list)} == {31}
    assert series["dose_before_e_per_angstrom2"][-1] == pytest.approx(30 / 31 * 62.93, abs=1e-4)
    lowest, highest = SMALL.microscope.optics.defocus_um
    spread = 5 * SMALL.microscope.optics.defocus_jitter_um
    assert all(lowest - spread < defocus < highest + spread for defocus in series["defocus_um"])
    wbp = open_source(project, SourceSettings(tomogram_type="wbp")).read("SIM_001").volume
    assert wbp.std() / run["grey_factor"] == pytest.approx(0.015, rel=0.5)  # contrast of a reconstruction


def written_points(project: Path, run: str, label: str) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Center (zyx, angstrom), rotation (zyx) and instance of each point, straight from copick's JSON."""
    content = json.loads((project / "ExperimentRuns" / run / "Picks" / f"simulated_0_{label}.json").read_text())
    points = []
    for point in content["points"]:
        matrix = np.array(point["transformation_"])
        assert matrix[3].tolist() == [0, 0, 0, 1]
        assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
        center = np.array([point["location"][axis] for axis in "zyx"]) + matrix[2::-1, 3]
        points.append((center, matrix[:3, :3][::-1, ::-1], point["instance_id"]))
    return points


@pytest.mark.parametrize("label", PARTICLES)
def test_the_model_moved_by_the_written_matrix_lies_on_the_clean_tomogram(project, label):
    model = PARTICLES[label]
    clean = open_source(project, SourceSettings(tomogram_type="clean")).read("SIM_000").volume
    (mask,) = copick.from_file(str(project / "copick.json")).get_run("SIM_000").get_segmentations(name="instances")
    instances = mask.numpy()
    solid = np.linalg.norm(model.grains[0], axis=1).max() + 1.18 * model.sigma_angstrom  # half height of the last grain
    for center, rotation, instance in written_points(project, "SIM_000", label):
        around = np.linalg.norm(np.moveaxis(np.indices(clean.shape), 0, -1) * 20.0 - center, axis=-1)
        body = (around < solid) & np.isin(instances, (0, instance))  # its own, no neighbor's

        def match(turn: np.ndarray) -> float:
            drawn = model.density(clean.shape, 20.0, rotation=turn, center_voxel=center / 20.0)  # noqa: B023
            return float(np.corrcoef(drawn[body], -clean[body])[0, 1])  # noqa: B023

        assert match(rotation) > 0.9
        if model.symmetry in ("C1", "C2", "D2"):  # an orientation that is wrong must show
            quarter = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float)
            assert match(rotation @ quarter) < match(rotation) - 0.03
            assert match(rotation.T) < match(rotation) - 0.03


def test_the_result_shows_what_is_in_it(copied):
    found = simulate(copied, preset=SMALL, count=2, seed=11, **EVERYTHING)
    assert found.path == copied
    assert found.counts["SIM_001"] == dict.fromkeys(sorted(PARTICLES), 2)
    assert list(found.particles.columns) == ["run", "label", "z_angstrom", "y_angstrom", "x_angstrom"]
    assert len(found.particles) == 24
    assert all(part in found._repr_html_() for part in (str(copied), "SIM_001", "ribosome"))


# The same again


def test_a_tomogram_depends_on_the_seed_and_its_index_alone(project, tmp_path):
    simulate(tmp_path / "one", preset=SMALL, count=1, seed=11, **EVERYTHING)
    one, two = (digests(folder / "ExperimentRuns" / "SIM_000") for folder in (tmp_path / "one", project))
    assert len(one) > 20
    assert one == two
    simulate(tmp_path / "other", preset=SMALL, count=1, seed=12, **EVERYTHING)
    other = digests(tmp_path / "other" / "ExperimentRuns" / "SIM_000")
    assert other.keys() == one.keys()
    changed = {name for name in one if other[name] != one[name]}
    assert changed == {name for name in one if name.startswith("Picks/") or name.endswith(("/0/0/0", "tomogram.json"))}


def test_workers_write_the_same_bytes(project, tmp_path):
    out = tmp_path / "project"
    simulate(out, preset=SMALL, count=2, seed=11, **EVERYTHING, workers=2)
    assert digests(out / "ExperimentRuns") == digests(project / "ExperimentRuns")
    assert digests(out / "mrc") == digests(project / "mrc")
    assert (out / "simulation.json").read_bytes() == (project / "simulation.json").read_bytes()


def test_a_finished_run_leaves_what_other_workers_are_writing(tmp_path, monkeypatch):
    write_run, half_written = simulation_project.SimulationProject.write_run, tmp_path / "project/.SIM_009.4711.partial"

    def watched(self, plan, **options):
        assert plan.index == 0 or half_written.is_dir()
        half_written.mkdir(exist_ok=True)
        return write_run(self, plan, **options)

    monkeypatch.setattr(simulation_project.SimulationProject, "write_run", watched)
    simulate(tmp_path / "project", preset=SMALL, count=2, seed=11, **LITTLE)
    assert half_written.exists()


def test_ranges_of_one_project_give_the_same_bytes(project, tmp_path):
    """As the tasks of a job array do, in any order."""
    for first in (1, 0):
        said = simulate(tmp_path / "project", preset=SMALL, first=first, count=1, seed=11, **EVERYTHING)
    assert said.runs == ["SIM_000", "SIM_001"]
    for name in ("ExperimentRuns", "mrc"):
        assert digests(tmp_path / "project" / name) == digests(project / name)
    assert (tmp_path / "project/simulation.json").read_bytes() == (project / "simulation.json").read_bytes()


def test_a_finished_project_is_left_alone(copied, capsys):
    seen = [path for path in copied.rglob("*") if not {".lock", ".written", "frazil.log"} & {*path.parts}]
    before = {path: path.stat().st_mtime_ns for path in seen}
    simulate(copied, preset=SMALL, count=2, seed=11, **EVERYTHING)
    assert "all simulated tomograms already exist (2); nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in seen} == before


def test_more_tomograms_are_added_to_those_that_are_there(copied, capsys):
    first = digests(copied / "ExperimentRuns")
    simulate(copied, preset=SMALL, count=3, seed=11, **EVERYTHING)
    after = digests(copied / "ExperimentRuns")
    assert first.items() < after.items()
    assert {name.split("/")[0] for name in after} == {"SIM_000", "SIM_001", "SIM_002"}
    said = capsys.readouterr().out
    assert "simulated tomograms: 3, particles: 36" in said
    assert "seconds per tomogram: specimen " in said


def test_interrupted_it_goes_on(project, tmp_path, monkeypatch):
    out = tmp_path / "project"

    def killed(root, **options):
        if options["run"] == "SIM_001":
            raise KeyboardInterrupt
        return write_tomogram(root, **options)

    monkeypatch.setattr(simulation_project, "write_tomogram", killed)
    with pytest.raises(KeyboardInterrupt):
        simulate(out, preset=SMALL, count=2, seed=11, **EVERYTHING)
    assert [path.name for path in (out / "ExperimentRuns").iterdir()] == ["SIM_000"]
    assert list(manifest(out)["runs"]) == ["SIM_000"]
    monkeypatch.undo()
    kept = (out / "ExperimentRuns/SIM_000/tomogram.json").stat().st_mtime_ns
    simulate(out, preset=SMALL, count=2, seed=11, **EVERYTHING)
    assert digests(out / "ExperimentRuns") == digests(project / "ExperimentRuns")
    assert (out / "ExperimentRuns/SIM_000/tomogram.json").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    "gone",
    [
        "VoxelSpacing20.000/clean.zarr",
        "tomogram.json",
        "Picks/simulated_0_ribosome.json",
        "../../mrc/denoised/SIM_001.mrc",
    ],
)
def test_a_run_that_lost_a_file_is_simulated_again(project, copied, gone):
    path = copied / "ExperimentRuns" / "SIM_001" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    own = copied / "ExperimentRuns/SIM_001/Picks/me_1_ribosome.json"
    own.write_text("my picks")
    kept = (copied / "ExperimentRuns/SIM_000/tomogram.json").stat().st_mtime_ns
    simulate(copied, preset=SMALL, count=2, seed=11, **EVERYTHING)
    assert (copied / "ExperimentRuns/SIM_000/tomogram.json").stat().st_mtime_ns == kept
    assert own.read_text() == "my picks"
    own.unlink()
    after, before = digests(copied), digests(project)
    for name in ("copick.json", ".lock"):  # the first says where it lies
        del after[name], before[name]
    assert after == before


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_too_little_memory_is_said_in_one_line(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(simulation_project, "simulate_tomogram", fail)
    with pytest.raises(SimulationError, match=r"SIM_000: not enough memory; ask for a smaller shape.*fewer workers"):
        simulate(tmp_path / "out", preset=SMALL)
    assert not (tmp_path / "out").exists()


def test_a_worker_that_fails_ends_it_in_one_line(tmp_path, run):
    too_many = ("--preset", "small", "--shape", "24,32,32", "--voxel-size", "20", "--ice-thickness", "full")
    out = tmp_path / "out"
    code, _, error = run(
        "simulate", "--out", out, *too_many, "--particles-per-class", "ribosome=40", "--count", "3", "--workers", "2"
    )
    lines = [line for line in error.splitlines() if line.startswith("frazil: ")]
    assert code == 2
    assert len(lines) == 1
    assert "frazil: SIM_00" in lines[0]
    assert "particles: 40 would fill" in lines[0]
    assert not out.exists()


# What is there already


def test_other_settings_need_force(copied, refuses):
    before = digests(copied)
    with refuses(OutputError, "seed 11 -> 12", "--force"):
        simulate(copied, preset=SMALL, count=1, seed=12, **EVERYTHING)
    with refuses(OutputError, "types wbp,denoised,clean -> denoised; levels 3 -> 1; mrc true -> false"):
        simulate(copied, preset=SMALL, count=1, seed=11, **LITTLE)
    assert digests(copied) == before
    only = load_simulation_preset("small", OPTIONS | {"specimen.particles_per_class": {"ribosome": 1}})
    simulate(copied, preset=only, count=1, seed=12, **LITTLE, force=True)
    assert [path.name for path in (copied / "ExperimentRuns").iterdir()] == ["SIM_000"]
    assert not (copied / "mrc").exists()
    assert [picks.label for picks in open_source(copied, SourceSettings()).picks()] == ["ribosome"]


def test_files_of_somebody_else_are_never_touched(tmp_path, refuses):
    (tmp_path / "copick.json").write_text("mine")
    with refuses(OutputError, "copick.json", "did not write it"):
        simulate(tmp_path, preset=SMALL, force=True)
    with refuses(OutputError, "copick.json", "is a file"):
        simulate(tmp_path / "copick.json", preset=SMALL, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["copick.json"]


def test_a_packing_that_fails_leaves_the_folder_free_for_other_settings(tmp_path):
    crowded = load_simulation_preset("small", OPTIONS | {"specimen.particles_per_class": {"ribosome": 90}})
    with pytest.raises(SimulationError, match="SIM_000: particles: 90 would fill"):
        simulate(tmp_path / "out", preset=crowded)
    assert not (tmp_path / "out").exists()
    simulate(tmp_path / "out", preset=SMALL, **LITTLE)
    before = digests(tmp_path / "out")
    with pytest.raises(SimulationError, match="SIM_000: particles: 90 would fill"):
        simulate(tmp_path / "out", preset=crowded, **LITTLE, force=True)
    assert digests(tmp_path / "out") == before


def test_a_project_is_not_replaced_by_what_is_like_it(copied, refuses):
    with refuses(SettingsError, f"out {copied}", "is the project that it is to be like"):
        simulate(copied, preset=SMALL, like=copied, force=True)


def test_picks_that_were_edited_are_never_simulated_over(copied, refuses):
    picks = copied / "ExperimentRuns/SIM_000/Picks/simulated_0_ribosome.json"
    picks.write_text(picks.read_text() + " ")
    with refuses(OutputError, picks.name, "changed since frazil simulate wrote it", "move it away"):
        simulate(copied, preset=SMALL, count=2, seed=11, **EVERYTHING)
    simulate(copied, preset=SMALL, count=1, seed=12, **LITTLE, force=True)
    assert (copied / "kept" / picks.relative_to(copied)).read_text().endswith(" ")


# Structures from files


def ball(path: Path, voxel_size_angstrom: float) -> Path:
    grid = np.moveaxis(np.indices((24, 24, 24)), 0, -1) - 12.0
    write_volume(path, (np.linalg.norm(grid, axis=-1) < 6).astype(np.float32), voxel_size_angstrom)
    return path


def test_a_structure_from_a_file_is_put_in_and_its_digest_kept(tmp_path, capsys, refuses, monkeypatch):
    path = ball(tmp_path / "ball.mrc", 10.0)
    options = {"preset": "small", "settings": OPTIONS | {"specimen.particles_per_class": "ball=2,ribosome=1"}, **LITTLE}
    simulate(tmp_path / "out", structures={"ball": path}, **options)
    content = manifest(tmp_path / "out")
    assert content["labels"] == {"ball": 1, "ribosome": 2}
    assert content["runs"]["SIM_000"]["particles"] == {"ball": 2, "ribosome": 1}
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert content["parameters"]["structure_digests"] == {str(path.resolve()): digest}
    monkeypatch.chdir(tmp_path)
    simulate(tmp_path / "out", structures={"ball": "./ball.mrc"}, **options)
    assert "nothing to do" in capsys.readouterr().out, "the same file, however it is typed"
    ball(path, 12.0)
    with refuses(OutputError, f"structure_digests.{path.resolve()} {digest[:19]} -> sha256:", "--force"):
        simulate(tmp_path / "out", structures={"ball": path}, **options)


def test_distractors_are_told_in_the_manifest(tmp_path):
    given = OPTIONS | {"specimen.particles_per_class": f"ribosome=1,{next(iter(DISTRACTORS))}=2"}
    simulate(tmp_path / "out", preset="small", settings=given, **LITTLE)
    (distractor,) = manifest(tmp_path / "out")["runs"]["SIM_000"]["distractors"].values()
    assert distractor["count"] == 2
    centers, rotations = np.array(distractor["centers_angstrom"]), np.array(distractor["rotations"])
    assert ((centers > 0) & (centers < np.array([28, 40, 48]) * 20.0)).all()
    assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    assert rotations.shape == (2, 3, 3)


# The command


def test_the_command_writes_a_project(tmp_path, run):
    out = tmp_path / "out"
    options = "--seed 4 --tilt-range -51,55 --tilt-step 5 --dose 100 --defocus 2,2.5 --set denoiser.noise_left=0.5"
    code, _, _ = run("simulate", "--out", out, *TINY.split(), *options.split(), "--types", "denoised")
    assert code == 0
    source = open_source(out, SourceSettings())
    assert {picks.label: len(picks) for picks in source.picks()} == {"apo-ferritin": 2, "ribosome": 1}
    header = source.header("SIM_000")
    assert (header.shape_voxel, header.tilt_range_degrees) == ((24, 32, 32), (-51.0, 54.0))
    content = manifest(out)
    assert content["parameters"]["denoiser"]["noise_left"] == 0.5
    series = content["runs"]["SIM_000"]["tilt_series"]
    assert len(series["angles_degrees"]) == 22
    assert series["dose_e_per_angstrom2"] == pytest.approx(100 / 22)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("--count 0", ("count 0", "at least 1")),
        ("--levels 20", ("levels 20", "5 at most")),
        ("--shape 200000,400000,400000", ("shape 200000,400000,400000", "at most 65536")),
        ("--set nonsense", ("--set nonsense", "--set microscope.optics.voltage_kv=200")),
        ("--types wbp,ctf", ("types ctf", "wbp, denoised, even, odd, clean")),
        ("--preset czi", ("preset czi", "czii, small")),
        ("--tilt-range -95,45", ("tilt range -95,45", "within -85 and 85")),
        ("--voxel-size 80", ("voxel size 80 A", "coarser than apo-ferritin", "finer")),
        ("--shape 24,32", ("specimen.shape_voxel = 24,32", "too few numbers")),
        ("--particles-per-class clathrin=3", ("clathrin: no such structure", "ribosome", "a file with a map")),
        ("--shape 24,32,32 --voxel-size 20 --ice-thickness full --particles-per-class 50", ("would fill", "fewer")),
        ("--ice-thickness thin", ("ice_thickness_angstrom = 'thin'", "valid number")),
        ("--set microscope.optic.voltage_kv=200", ("microscope.optic is not a setting", "optics")),
        ("--structure ribosome", ("--structure ribosome", "label=path")),
        ("--structure ribosome=nowhere.mrc", ("nowhere.mrc", "no such file")),
        ("--run TS_1", ("choose runs", "--like")),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(tmp_path, run, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    preset = () if "--preset" in arguments else ("--preset", "small")
    code, _, error = run("simulate", "--out", out, *preset, *arguments.split())
    lines = [line for line in error.splitlines() if line.startswith("frazil: ")]
    assert code == 2
    assert len(lines) == 1
    for part in parts:
        assert part in lines[0]
    assert not out.exists()


# Like a project


def test_like_a_project_it_has_the_same_runs_and_places(make_project, tmp_path, run):
    real = make_project("copick", rotations=True, shape_voxel=(30, 40, 48), picks_per_label=2)
    out = tmp_path / "out"
    options = ("--preset", "small", "--ice-thickness", "full", "--types", "denoised", "--like", real.path)
    code, said, _ = run("simulate", "--out", out, *options)
    assert (code, "simulated tomograms: 2, particles: 8" in said) == (0, True)
    source = open_source(out, SourceSettings())
    assert source.runs() == ["TS_1", "TS_2"]
    for new, old in zip(source.picks(), real.picks, strict=True):
        assert (new.run, new.label) == (old.run, old.label)
        assert np.allclose(new.centers_angstrom, old.centers_angstrom)
        assert np.allclose(new.rotations, old.rotations)
    header = source.header("TS_2")
    assert header.shape_voxel == (30, 40, 48)
    assert header.voxel_size_angstrom == pytest.approx(10.0125)
    assert run("simulate", "--out", out, *options)[1].count("nothing to do") == 1


def test_a_run_of_a_project_does_not_depend_on_the_others(make_project, tmp_path):
    real = make_project("copick", shape_voxel=(30, 40, 48), picks_per_label=2)
    preset = load_simulation_preset("small", {"specimen.ice_thickness_angstrom": "full"})
    both, one = tmp_path / "both", tmp_path / "one"
    simulate(both, preset=preset, like=LikeOptions(real.path), **LITTLE)
    simulate(one, preset=preset, like=LikeOptions(real.path, runs=("TS_2",)), **LITTLE)
    assert [path.name for path in (one / "ExperimentRuns").iterdir()] == ["TS_2"]
    assert digests(one / "ExperimentRuns" / "TS_2") == digests(both / "ExperimentRuns" / "TS_2")
    simulate(one, preset=preset, like=LikeOptions(real.path), **LITTLE)
    assert digests(one / "ExperimentRuns") == digests(both / "ExperimentRuns")


def test_picks_that_were_changed_meanwhile_are_noticed(make_project, tmp_path):
    real = make_project("copick", runs=("TS_1",), shape_voxel=(30, 40, 48), picks_per_label=1)
    preset = load_simulation_preset("small", {"specimen.ice_thickness_angstrom": "full"})
    simulate(tmp_path / "out", preset=preset, like=LikeOptions(real.path), **LITTLE)
    path = next(real.path.glob("ExperimentRuns/TS_1/Picks/*_ribosome.json"))
    content = json.loads(path.read_text())
    content["points"][0]["location"]["x"] += 8.0
    path.write_text(json.dumps(content))
    with pytest.raises(OutputError, match=r"other picks of TS_1.*--force"):
        simulate(tmp_path / "out", preset=preset, like=LikeOptions(real.path), **LITTLE)
    simulate(tmp_path / "out", preset=preset, like=LikeOptions(real.path), **LITTLE, force=True)
    (new,) = (some for some in open_source(tmp_path / "out", SourceSettings()).picks() if some.label == "ribosome")
    assert new.centers_angstrom[0, 2] == content["points"][0]["location"]["x"]
