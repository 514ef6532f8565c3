"""Whole tomograms: what is stored is what was there, and a window shows it with the layout that belongs to it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from frazil.core.errors import OutputError, SettingsError, ShapeError, StoreError
from frazil.core.files import file_digest
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.core.settings import CurateSettings, SourceSettings, TrainingSettings
from frazil.dataset.plan import make_plan
from frazil.dataset.run import curate as run_curate
from frazil.dataset.store import BoxStore
from frazil.dataset.tables import CENTER_VOXEL
from frazil.dataset.tomograms import curate as curation
from frazil.dataset.tomograms.curate import curate_tomograms
from frazil.dataset.tomograms.store import TomogramStore
from frazil.dataset.tomograms.templates import without_noise
from frazil.dataset.tomograms.windows import Windows, turned
from frazil.volume.layout import Painter

SHAPE = (32, 48, 40)
AXES = np.array([1.5, 2.0, 4.0])


class Ellipsoids:
    """Dark ellipsoids in known orientations; where they stand is what the picks say."""

    kind, path = "made", Path("made")

    def __init__(self, runs=3, count=6, rotations=True, absent=False, radii=(("rod", 90.0),)):
        random = np.random.default_rng(4)
        self.absent, self.radii, self.volumes, self.places = absent, dict(radii), {}, {}
        grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
        for run in [f"TS_{number}" for number in range(runs)]:
            centers = random.uniform([10, 8, 8], np.array(SHAPE) - [10, 8, 8], (count, 3))
            turns = Rotation.random(count, random_state=5).as_matrix()
            volume = gaussian_filter(random.standard_normal(SHAPE), 0.5)
            for center, turn in zip(centers, turns, strict=True):
                volume -= 6 * np.exp(-((((grid - center) @ turn) / AXES) ** 2).sum(-1) / 2)
            self.volumes[run] = (volume * 3e-6 + 1e-5).astype(np.float32)
            self.places[run] = centers, turns if rotations else None

    def picks(self):
        return [Picks(run, "rod", centers * 10.0, turns) for run, (centers, turns) in self.places.items()]

    def radii_angstrom(self):
        return self.radii

    def header(self, run):
        return TomogramHeader(run, SHAPE, 10.0, run, (-45.0, 45.0))

    def read(self, run, planes=slice(None)):
        present = np.ones((4, 6, 5), dtype=bool)
        present[:, :1] = not self.absent
        return Tomogram(self.header(run), self.volumes[run][planes], (8, 8, 8), present, planes.start or 0)


def curate(source, path, **settings):
    plan = make_plan(source, SourceSettings(), CurateSettings(**{"box_size_voxel": 8, **settings}))
    return curate_tomograms(source, plan, path)


def windows(store, split="train", **options):
    painter = Painter(torch.from_numpy(store.templates), [5.0])
    settings = TrainingSettings(**{"half_turns": True} | options)
    return Windows(
        store, split, painter, settings, edge_voxel=16, multiple=16, classes=("rod",), in_memory=True
    )  # fmt: skip


def test_gray_values_come_back_and_particles_keep_their_places(tmp_path):
    source = Ellipsoids()
    store = curate(source, tmp_path / "store", validation_runs=("TS_1",))
    for run, volume in source.volumes.items():
        center, spread = store.description.moments[run]
        np.testing.assert_allclose(
            store.array(run)[:].astype(float) * spread + center, volume, atol=2e-3 * spread, rtol=1e-3
        )
        assert center == pytest.approx(np.median(volume), abs=1e-7)
        np.testing.assert_allclose(store.layout(run).center_voxel, source.places[run][0])
    assert set(store.particles.loc[store.particles["split"] == "validation", "run"]) == {"TS_1"}


def test_an_average_is_the_particle_itself(tmp_path):
    store = curate(Ellipsoids(runs=8), tmp_path / "store")
    (template,) = store.templates
    assert template.max() == pytest.approx(6 * 3e-6 / store.typical_moments.std, rel=0.15)
    grid = np.stack(np.meshgrid(*[np.arange(len(template)) - len(template) // 2] * 3, indexing="ij"), axis=-1)
    particle = template.max() * np.exp(-((grid / AXES) ** 2).sum(-1) / 2)
    near = (grid**2).sum(-1) < 81
    assert np.corrcoef(template[near], particle[near])[0, 1] > 0.98


@pytest.mark.parametrize("absent", [False, True])
def test_a_large_tomogram_is_read_by_slabs_with_the_same_result(tmp_path, monkeypatch, absent):
    whole = curate(Ellipsoids(absent=absent), tmp_path / "whole")
    monkeypatch.setattr(curation, "WHOLE_BYTES", 0)
    monkeypatch.setattr(curation, "CHUNK_VOXEL", 24)
    slabs = curate(Ellipsoids(absent=absent), tmp_path / "slabs")
    assert slabs.digest == whole.digest
    for run in whole.runs:
        np.testing.assert_array_equal(slabs.array(run)[:], whole.array(run)[:])
        if absent:
            np.testing.assert_array_equal(slabs.array(run, "measured")[:], whole.array(run, "measured")[:])
            assert not whole.array(run, "measured")[:, :8].any()
            assert whole.array(run, "measured")[:, 8:].all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"radii_angstrom": {"rod": 1e300}}, "radii_angstrom"),
        ({"radii_angstrom": {}}, "does not fit"),
        ({"tilt_range_degrees": (60.0, -60.0)}, "tilt"),
        ({"template_edge_voxel": 10**9}, "template_edge_voxel"),
        ({"moments": {}}, "other runs"),
        ({"moments": dict.fromkeys(("TS_0", "TS_1", "TS_2"), (0.0, 0.0))}, "gray values"),
        ({"regions": {run: {"train": ((0, 0, 0), (99, 9, 9))} for run in ("TS_0", "TS_1", "TS_2")}}, "a region"),
        ({"labels": ("blob",)}, "does not fit"),
    ],
)
def test_a_forged_description_is_refused(tmp_path, change, said):
    """With a digest that fits."""
    described = curate(Ellipsoids(), tmp_path / "store").description.model_copy(update=change)
    described.model_copy(update={"digest": described.own_digest()}).write(tmp_path / "store/dataset.json")
    with pytest.raises(StoreError, match=said):
        TomogramStore.open(tmp_path / "store")


@pytest.mark.parametrize("lost", ["volume/0.0.0", "measured", "measured/0.0.0"])
def test_a_store_that_lost_a_part_is_refused(tmp_path, lost):
    curate(Ellipsoids(absent=True), tmp_path / "store")
    path = tmp_path / "store/tomograms/00001" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(StoreError, match="missing"):
        TomogramStore.open(tmp_path / "store")


def test_a_damaged_chunk_is_refused(tmp_path):
    store = curate(Ellipsoids(), tmp_path / "store")
    (tmp_path / "store/tomograms/00001/volume/0.0.0").write_bytes(b"{}")
    with pytest.raises(StoreError, match=r"00001/volume: a chunk cannot be read .*--force"):
        store.array(store.runs[1])[:2]


def test_voxels_that_are_no_numbers_are_refused(tmp_path):
    store = curate(Ellipsoids(), tmp_path / "store")
    zarr.open(str(tmp_path / "store/tomograms/00000/volume"))[:] = np.nan
    with pytest.raises(StoreError, match=r"NaN or infinite voxels; .*--force"):
        windows(store).drawn(0, epoch=0)


@pytest.mark.parametrize("cells", [{"run": "TS_9"}, {"label": "blob"}, {"centre_z_voxel": "nan"}, {"split": "gap"}])
def test_a_forged_table_is_refused(tmp_path, cells):
    store = curate(Ellipsoids(), tmp_path / "store")
    store.particles.assign(**cells).to_csv(tmp_path / "store/particles.csv", index=False)
    digests = store.description.table_digests | {"particles.csv": file_digest(tmp_path / "store/particles.csv")}
    described = store.description.model_copy(update={"table_digests": digests})
    described.model_copy(update={"digest": described.own_digest()}).write(tmp_path / "store/dataset.json")
    with pytest.raises(StoreError, match=r"particles\.csv: damaged"):
        TomogramStore.open(tmp_path / "store")


def test_a_radius_that_nothing_says_is_measured(tmp_path):
    described = curate(Ellipsoids(runs=8, radii=()), tmp_path / "store").description
    assert described.measured_radii == ("rod",)
    assert 15 < described.radii_angstrom["rod"] < 60


def test_without_orientations_the_average_is_the_same_in_all_directions(tmp_path):
    store = curate(Ellipsoids(rotations=False), tmp_path / "store")
    (template,) = store.templates
    assert template.max() > 1
    np.testing.assert_allclose(template, template.transpose(2, 0, 1)[::-1], atol=1e-6)
    assert np.isnan(store.layout("TS_0").rotation).all()
    assert store.oriented == []


def test_of_two_averages_that_is_kept_which_they_share():
    random = np.random.default_rng(0)
    signal = gaussian_filter(random.standard_normal((25, 25, 25)), 1.5) * 1.5**1.5 * 4
    noise = random.standard_normal((2, 25, 25, 25))
    kept = without_noise(signal + noise)
    assert np.square(kept - signal).mean() < 0.2 * np.square(noise.mean(axis=0)).mean()
    np.testing.assert_allclose(without_noise(np.stack([signal, signal])), signal, atol=1e-9)
    assert np.abs(without_noise(noise)).max() < 0.2


def test_a_window_and_its_layout_are_of_one_turned_tomogram(tmp_path):
    items = windows(curate(Ellipsoids(), tmp_path / "store"))
    agreement = []
    for row in range(len(items)):
        item = items.drawn(row, epoch=1)
        if item.layout[0].std() > 0.1:
            agreement.append(np.corrcoef(-item.volume[0].ravel(), item.layout[0].ravel())[0, 1])
    assert len(agreement) > 5
    assert np.median(agreement) > 0.6
    assert torch.equal(items.drawn(3, 1).volume, items.drawn(3, 1).volume)
    assert not torch.equal(items.drawn(3, 1).volume, items.drawn(3, 2).volume)


def test_turning_a_layout_turns_its_particles(tmp_path):
    layout = curate(Ellipsoids(), tmp_path / "store").layout("TS_0")
    signs = np.array([1, -1, -1])
    twice = turned(turned(layout, signs, SHAPE), signs, SHAPE)
    np.testing.assert_allclose(twice.center_voxel, layout.center_voxel)
    np.testing.assert_allclose(twice.rotation, layout.rotation)
    assert np.linalg.det(turned(layout, signs, SHAPE).rotation) == pytest.approx(np.ones(6))


def test_windows_avoid_what_was_not_measured(tmp_path):
    items = windows(curate(Ellipsoids(absent=True), tmp_path / "store"), half_turns=False)
    assert all((items.drawn(row, 0).volume != 0).float().mean() > 0.99 for row in range(12))


def test_one_tomogram_is_split_in_slabs_that_share_no_voxel(tmp_path):
    store = curate(Ellipsoids(runs=1, count=30), tmp_path / "store", validation_fraction=0.4)
    regions, particles = store.description.regions["TS_0"], store.particles
    (train, validation) = (np.array(regions[name]) for name in ("train", "validation"))
    apart = np.maximum(validation[0] - train[1], train[0] - validation[1])
    assert sorted(apart.tolist())[-1] == 8  # the gap, along one axis
    for name, (first, end) in regions.items():
        centers = particles.loc[particles["split"] == name, CENTER_VOXEL].to_numpy()
        assert len(centers)
        assert ((centers > np.array(first) - 0.5) & (centers < np.array(end) - 0.5)).all()
    assert (particles["split"] == "validation").mean() == pytest.approx(0.4, abs=0.15)


def test_the_same_request_resumes_and_another_is_refused(tmp_path, refuses):
    source = Ellipsoids()
    before = curate(source, tmp_path / "store").digest
    (tmp_path / "store" / "dataset.json").unlink()
    for file in (tmp_path / "store" / "tomograms" / "00001").rglob("*"):
        if file.is_file():
            file.unlink()
    assert curate(source, tmp_path / "store").digest == before
    with refuses(OutputError, "another request", "box_size_voxel"):
        curate(source, tmp_path / "store", box_size_voxel=16)
    assert TomogramStore.open(tmp_path / "store").digest == before


def test_tomograms_too_thin_and_other_voxels_are_refused(tmp_path, refuses):
    store = curate(Ellipsoids(), tmp_path / "store")
    with refuses(ShapeError, "(zyx)", "needs 64"):
        Windows(
            store, "train", Painter(torch.zeros(1, 3, 3, 3), [5.0]), TrainingSettings(),
            edge_voxel=64, multiple=64, classes=("rod",), in_memory=False,
        )  # fmt: skip
    with refuses(SettingsError, "resample to 20 A", "keep their voxels"):
        curate(Ellipsoids(), tmp_path / "other", voxel_size_angstrom=20.0)


def test_a_rerun_does_nothing_and_force_writes_it_anew(make_project, tmp_path, capsys, refuses):
    project, out = make_project("copick"), tmp_path / "store"
    run_curate(project.path, out, whole=True, box_size_voxel=16)
    written = (out / "tomograms" / "00000" / "volume" / "0.0.0").stat().st_mtime_ns
    assert "wrote" in capsys.readouterr().out
    run_curate(project.path, out, whole=True, box_size_voxel=16)
    assert "nothing to do" in capsys.readouterr().out
    run_curate(project.path, out, whole=True, box_size_voxel=16, force=True)
    assert (out / "tomograms" / "00000" / "volume" / "0.0.0").stat().st_mtime_ns > written
    with refuses(StoreError, "holds whole tomograms, not boxes", "--whole"):
        BoxStore.open(out)
