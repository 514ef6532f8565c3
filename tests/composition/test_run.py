"""`frazil compose` from end to end: what the project holds, that it can be interrupted and shared out, what it refuses."""

import json

import copick
import mrcfile
import numpy as np
import pytest

from frazil.composition.denoise import Denoiser
from frazil.composition.run import compose
from frazil.core.errors import OutputError, PickError, RequestError, SettingsError
from frazil.core.records import Picks
from frazil.core.settings import SourceSettings
from frazil.dataset.run import curate
from frazil.io.copick.project import write_picks, write_segmentation
from frazil.io.sources import open_source
from frazil.io.star import read_particles
from frazil.io.tables import read_picks
from frazil.model.bundle import load_bundle

SHAPE = (20, 40, 48)


@pytest.fixture
def bundle(make_layout_bundle):
    return make_layout_bundle()


def contents(folder):
    hidden = {".lock", ".turn", ".written", "frazil.log", ".state", "copick.json", "composition.json"}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not hidden & {*path.parts}]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_file_tells_the_same_story(bundle, tmp_path):
    made = compose(bundle, out=tmp_path / "out", count=2, mrc=True, seed=4)
    root = copick.from_file(str(tmp_path / "out/copick.json"))
    assert made.runs == ["COMP_000", "COMP_001"] == sorted(run.name for run in root.runs)
    source = open_source(tmp_path / "out", SourceSettings())
    header = source.header("COMP_000")
    assert (header.shape_voxel, header.voxel_size_angstrom, header.tilt_range_degrees, header.simulated) == (
        SHAPE, 10.0125, (-48.0, 45.0), True,
    )  # fmt: skip
    volume = source.read("COMP_000").volume
    assert abs(volume.mean() - 2) < 4 * volume.std()  # gray values: 5 z + 2
    with mrcfile.open(tmp_path / "out/mrc/denoised/COMP_000.mrc") as mrc:
        assert np.array_equal(mrc.data, volume)
    picks = source.picks()
    assert sum(map(len, picks)) == sum(sum(counts.values()) for counts in made.counts.values()) == len(made.particles)
    table = read_picks(tmp_path / "out/tables/particles.csv")
    for some in picks:
        # only the ribosome has a template, so only its orientation can be told
        assert (some.rotations is not None) == (some.label == "ribosome")
        (same,) = (each for each in table if (each.tomogram, each.label) == (some.run, some.label))
        assert np.allclose(same.places * 10.0125, some.centers_angstrom)
        starred = read_particles(tmp_path / f"out/tables/{some.label}.star")
        (same,) = (each.placed(header) for each in starred if each.tomogram == some.run)
        assert np.allclose(same.centers_angstrom, some.centers_angstrom, atol=1e-3)


def test_viewers_find_what_a_class_looks_like_where_it_is_known(bundle, tmp_path):
    compose(bundle, out=tmp_path / "out", steps=1)
    root = copick.from_file(str(tmp_path / "out/copick.json"))
    templates = load_bundle(bundle).network.layout.templates[:, 0].numpy()
    for thing, template in zip(map(root.get_object, ("apo-ferritin", "ribosome")), templates, strict=True):
        assert (tmp_path / f"out/Objects/{thing.name}.zarr").exists() == template.any() == (thing.name == "ribosome")
        if template.any():
            assert np.array_equal(thing.numpy(), template)
            assert 0 < thing.map_threshold < template.max()


def test_masks_hold_each_particle_at_its_place(bundle, tmp_path):
    compose(bundle, out=tmp_path / "out", seed=4, steps=1)
    run = copick.from_file(str(tmp_path / "out/copick.json")).get_run("COMP_000")
    instances, classes = (run.get_segmentations(name=name)[0].numpy() for name in ("instances", "classes"))
    numbers = {"apo-ferritin": 1, "ribosome": 2}
    points = [(picks.pickable_object_name, point) for picks in run.picks for point in picks.points]
    assert sorted(point.instance_id for _, point in points) == list(range(1, len(points) + 1))
    for label, point in points:
        solid = np.argwhere(instances == point.instance_id)
        center = np.array([point.location.z, point.location.y, point.location.x]) / 10.0125
        assert (classes[instances == point.instance_id] == numbers[label]).all()
        if label == "apo-ferritin":  # a ball of 30 A where no template is known
            inside = np.linalg.norm(np.indices(SHAPE).reshape(3, -1).T - center, axis=1) < 30 / 10.0125
            assert len(solid) == inside.sum()


def test_interrupted_it_continues_to_the_same_bytes(bundle, tmp_path, monkeypatch):
    compose(bundle, out=tmp_path / "whole", count=2)
    step, calls = Denoiser.denoise, []

    def stopped(self, *arguments, on_step, **options):
        def stop(share):
            calls.append(share)
            if len(calls) == 5:
                raise KeyboardInterrupt

        return step(self, *arguments, on_step=stop, **options)

    monkeypatch.setattr(Denoiser, "denoise", stopped)
    with pytest.raises(KeyboardInterrupt):
        compose(bundle, out=tmp_path / "part", count=2)
    assert list((tmp_path / "part/.state").iterdir())
    compose(bundle, out=tmp_path / "part", count=2)
    assert len(calls) == 5 + 2  # of three steps, one was done and one is repeated
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    assert not (tmp_path / "part/.state").exists()


def test_workers_and_ranges_write_the_same_bytes(bundle, tmp_path, capsys):
    compose(bundle, out=tmp_path / "one", count=2)
    compose(bundle, out=tmp_path / "two", count=2, workers=2)
    for first in (1, 0):
        compose(bundle, out=tmp_path / "parts", count=1, first=first)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "parts")
    compose(bundle, out=tmp_path / "one", count=2)
    assert "nothing to do" in capsys.readouterr().out


def test_another_tilt_range_is_told_to_the_network_and_written(bundle, tmp_path):
    volumes = {}
    for tilts in ((-45.0, 45.0), (-60.0, 30.0)):
        composed = compose(bundle, out=tmp_path / str(tilts), tilt_range=tilts, steps=1)
        source = open_source(composed.path, SourceSettings())
        volumes[tilts] = source.read("COMP_000").volume
        assert source.header("COMP_000").tilt_range_degrees == tilts
    assert (volumes[-45.0, 45.0] != volumes[-60.0, 30.0]).any()


def test_the_height_guides_as_the_bundle_says(make_layout_bundle, tmp_path):
    volumes = []
    for name, scale in (("plain", 1.0), ("guided", 4.0)):
        composed = compose(make_layout_bundle(name=name, height_guidance=scale), out=tmp_path / f"by {name}")
        volumes.append(open_source(composed.path, SourceSettings()).read("COMP_000").volume)
    assert (volumes[0] != volumes[1]).any()


def test_each_tomogram_gets_the_contrast_of_a_training_tomogram(bundle, tmp_path):
    def told(out, **options):
        compose(bundle, out=tmp_path / out, steps=1, **options)
        record = json.loads((tmp_path / out / "composition.json").read_text())
        return {run: of_run["contrast_of"] for run, of_run in record["runs"].items()}

    drawn = told("drawn", count=8)
    assert set(drawn.values()) == {"TS_5", "TS_7"}
    assert told("again", count=2) == {run: drawn[run] for run in ("COMP_000", "COMP_001")}
    assert told("other-wedge", tilt_range=(-60.0, 60.0)) == {"COMP_000": None}
    volumes = []
    for run in ("TS_5", "TS_7"):
        assert told(run, contrast_of=run) == {"COMP_000": run}
        volumes.append((open_source(tmp_path / run, SourceSettings()).read("COMP_000").volume - 2) / 5)
    np.testing.assert_allclose(volumes[1], 10**0.3 * volumes[0], atol=1e-3 * volumes[0].std())
    with pytest.raises(RequestError, match=r"contrast of TS_1: .* it knows TS_5, TS_7"):
        told("unknown", contrast_of="TS_1")
    with pytest.raises(RequestError, match=r"contrast of TS_7: its tilts .* ask for the same"):
        told("wedge", contrast_of="TS_7", tilt_range=(-60.0, 60.0))


def test_like_a_project(bundle, make_project, tmp_path):
    project = make_project("copick", rotations=True, picks_per_label=1)
    made = compose(bundle, out=tmp_path / "out", like=project.path, steps=1)
    assert made.runs == list(project.runs)
    again = open_source(tmp_path / "out", SourceSettings())
    for truth, some in zip(project.picks, again.picks(), strict=True):
        assert np.allclose(some.centers_angstrom, truth.centers_angstrom)
        if truth.label == "ribosome":
            assert np.allclose(some.rotations, truth.rotations)
    compose(bundle, out=tmp_path / "unturned", like=project.path, steps=1, orientations=False)
    assert all(some.rotations is None for some in open_source(tmp_path / "unturned", SourceSettings()).picks())


def test_label_maps_are_told_and_written_back(make_layout_bundle, make_project, tmp_path, capsys):
    bundle = make_layout_bundle(maps=("film", "membrane"))
    project = make_project("copick", picks_per_label=1)
    marked = {run: volume > 0.5 for run, volume in project.volumes.items()}
    for name, runs in (("membrane", ("TS_1", "TS_2")), ("film", ("TS_1",))):
        for run in runs:
            volume = 5 * marked[run].astype(np.uint8)
            write_segmentation(project.path, run=run, volume=volume, voxel_size_angstrom=10.0125, name=name, user="me")
    compose(bundle, out=tmp_path / "out", like=project.path, steps=1)
    (warned,) = [line for line in capsys.readouterr().err.splitlines() if "label map" in line]
    assert "TS_2: film" in warned
    assert {"film", "membrane"} <= json.loads((tmp_path / "out/composition.json").read_text())["segmentations"].keys()
    store = curate(tmp_path / "out", tmp_path / "store", maps=["membrane", "film"], whole=True, box_size_voxel=16)
    for run in store.runs:
        film, membrane = store.array(run, "maps")[:]
        assert np.array_equal(membrane, marked[run])
        assert np.array_equal(film, marked[run] & (run == "TS_1"))
    before = open_source(tmp_path / "out", SourceSettings()).read("TS_2").volume
    compose(bundle, out=tmp_path / "again", like=project.path, steps=1, workers=2)
    assert contents(tmp_path / "again") == contents(tmp_path / "out")
    for path in project.path.glob("ExperimentRuns/TS_2/Segmentations/*"):
        path.rename(tmp_path / "away")
    with pytest.raises(OutputError, match="TS_2"):
        compose(bundle, out=tmp_path / "out", like=project.path, steps=1)
    compose(bundle, out=tmp_path / "without", like=project.path, steps=1)
    assert (open_source(tmp_path / "without", SourceSettings()).read("TS_2").volume != before).any()


def test_maps_of_another_voxel_size_are_told_at_the_same_places(make_layout_bundle, make_project, tmp_path):
    """And those of a drawn layout are empty."""
    project = make_project("copick", picks_per_label=1, voxel_size_angstrom=5.0, shape_voxel=(48, 80, 96))
    for run in project.runs:
        volume = np.zeros((48, 80, 96), dtype=np.uint8)
        volume[:, 40:, :24] = 1
        write_segmentation(project.path, run=run, volume=volume, voxel_size_angstrom=5.0, name="film", user="me")
    made = compose(make_layout_bundle(maps=("film",)), out=tmp_path / "out", like=project.path, steps=1)
    found = copick.from_file(str(made.path / "copick.json")).get_run("TS_1").get_segmentations(name="film")[0].numpy()
    assert found.shape == (24, 40, 48)
    assert found[:, 20:, :12].all()
    assert found.sum() == 24 * 20 * 12
    drawn = compose(make_layout_bundle(maps=("film",)), out=tmp_path / "drawn", steps=1)
    (mask,) = copick.from_file(str(drawn.path / "copick.json")).get_run("COMP_000").get_segmentations(name="film")
    assert not mask.numpy().any()


def test_from_a_table(bundle, tmp_path):
    (tmp_path / "picks.csv").write_text(
        "experiment,particle_type,x,y,z\nTS_1,ribosome,12,10,8\nTS_2,apo-ferritin,9,9,9\n"
    )
    made = compose(
        bundle, out=tmp_path / "out", picks=tmp_path / "picks.csv", units="voxel", shape=(32, 32, 32), steps=1
    )
    assert made.particles["z_angstrom"].tolist() == pytest.approx([8 * 10.0125, 9 * 10.0125])


def test_other_requests_are_refused(bundle, tmp_path, refuses):
    compose(bundle, out=tmp_path / "out", steps=1)
    with refuses(OutputError, "seed 0 -> 1", "--force"):
        compose(bundle, out=tmp_path / "out", steps=1, seed=1)
    compose(bundle, out=tmp_path / "out", steps=1, seed=1, force=True)


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ("TS,ribosome,12,10,8\nTS,apo-ferritin,14,10,8", ("overlap", "ribosome at x,y,z 120,100,80 A", "remove")),
        ("TS,ribosome,12,10,99", ("outside", "32,32,32", "remove")),
        ("TS,nucleosome,12,10,9", ("nucleosome", "apo-ferritin, ribosome", "rename")),
        ("T\0S,ribosome,12,10,9", ("T\\x00S", "not a valid folder name", "printable")),
        (f"{'TS' * 101},ribosome,12,10,9", ("TSTS", "not a valid folder name", "at most 200")),
    ],
)
def test_bad_layouts_are_refused(bundle, tmp_path, refuses, rows, parts):
    (tmp_path / "picks.csv").write_text("experiment,particle_type,x,y,z\n" + rows + "\n")
    with refuses(PickError, *parts):
        compose(bundle, out=tmp_path / "out", picks=tmp_path / "picks.csv", units="voxel", shape=(32, 32, 32))


def test_what_makes_no_sense_is_refused(bundle, make_bundle, make_project, tmp_path, refuses):
    out = tmp_path / "out"
    (tmp_path / "picks.csv").write_text("experiment,particle_type,x,y,z\nTS,ribosome,12,10,9\n")
    with refuses(PickError, "picks.csv", "voxel", "angstrom"):
        compose(bundle, out=out, picks=tmp_path / "picks.csv")
    with refuses(RequestError, "8,40,40", "16 voxels"):
        compose(bundle, out=out, shape=(8, 40, 40))
    with refuses(RequestError, "30000,30000,30000", "memory"):
        compose(bundle, out=out, like=None, picks=tmp_path / "picks.csv", units="voxel", shape=(30000, 30000, 30000))
    with refuses(SettingsError, "units parsec", "angstrom"):
        compose(bundle, out=out, picks=tmp_path / "picks.csv", units="parsec")
    with refuses(RequestError, "1001 steps", "choose 1 to"):
        compose(bundle, out=out, steps=1001)
    with refuses(RequestError, "boxes", "curate whole tomograms"):
        compose(make_bundle(name="boxes"), out=out)
    project = make_project("copick", picks_per_label=1)
    with refuses(SettingsError, "is the project"):
        compose(bundle, out=project.path, like=project.path)
    improper = Picks("TS_1", "ribosome", np.array([[80.0, 80, 80]]), -np.eye(3)[None])
    write_picks(project.path, improper, user="someone")
    with refuses(PickError, "not a rotation", "correct it"):
        compose(bundle, out=out, like=project.path)
    assert not out.exists()


def test_a_layout_without_a_particle_is_refused(make_layout_bundle, tmp_path, refuses):
    """A volume so small that none of the few particles of a training tomogram falls into it."""
    with refuses(PickError, "COMP_000", "0 particles"):
        compose(make_layout_bundle(), out=tmp_path / "out", shape=(16, 16, 16), seed=2)
