import json
import shutil
from collections import Counter

import fsspec
import numpy as np
import pandas as pd
import pytest

from frazil.core.errors import AmbiguousTomogramError, MissingTomogramError, PickError, SourceError
from frazil.core.records import Picks
from frazil.core.settings import SourceSettings
from frazil.io.copick import project as writer
from frazil.io.sources import open_source

# The paper's Table 1.
INSTANCES = {
    "apo-ferritin": 375,
    "beta-amylase": 87,
    "beta-galactosidase": 112,
    "ribosome": 331,
    "thyroglobulin": 251,
    "virus-like-particle": 113,
}


def opened(path, **settings):
    return open_source(path, SourceSettings(**settings))


def tomogram(project, run, kind="denoised"):
    return project.path / f"ExperimentRuns/{run}/VoxelSpacing10.012/{kind}.zarr"


def test_kaggle_names_and_copick_names_read_the_same(make_project):
    project = make_project("czii")
    expected = opened(project.path).picks()
    for path in (project.path / "overlay").rglob("*.json"):
        path.rename(path.with_name(path.name.removeprefix("curation_0_")))
    read = opened(project.path, users=("curation",)).picks()
    assert [(p.run, p.label, p.user, p.session) for p in read] == [(p.run, p.label, "curation", "0") for p in expected]
    for one, other in zip(read, expected, strict=True):
        np.testing.assert_array_equal(one.centers_angstrom, other.centers_angstrom)


def test_picks_of_two_users_are_both_kept_and_filters_choose(tiny_project):
    extra = Picks("TS_2", "ribosome", np.array([[50.0, 60.0, 70.0]]))
    writer.write_picks(tiny_project.path, extra, user="anna", session="7")
    read = opened(tiny_project.path, labels=("ribosome",)).picks()
    assert [(p.run, p.user) for p in read] == [("TS_1", "tester"), ("TS_2", "anna"), ("TS_2", "tester")]
    (read,) = opened(tiny_project.path, users=("anna",), sessions=("7",)).picks()
    np.testing.assert_array_equal(read.centers_angstrom, extra.centers_angstrom)


def test_the_metadata_give_the_voxel_size_not_the_folder(tiny_project):
    for path in tiny_project.path.glob("ExperimentRuns/*/VoxelSpacing10.012"):
        path.rename(path.with_name("VoxelSpacing10.000"))
    assert opened(tiny_project.path).header("TS_1").voxel_size_angstrom == pytest.approx(10.0125)
    override = opened(tiny_project.path, voxel_size_angstrom=7.0)
    assert override.header("TS_1").voxel_size_angstrom == 7.0


def test_a_coarser_level_has_larger_voxels_and_the_same_picks(make_project):
    project = make_project("copick", levels=2)
    fine, coarse = opened(project.path), opened(project.path, level=1)
    assert coarse.header("TS_1").voxel_size_angstrom == pytest.approx(2 * 10.0125)
    assert coarse.read("TS_1").volume.shape == (12, 20, 24)
    for one, other in zip(fine.picks(), coarse.picks(), strict=True):
        np.testing.assert_array_equal(one.centers_angstrom, other.centers_angstrom)


def scale(project, run, sizes):
    """Write voxel sizes, one a level, into a tomogram's metadata."""
    path = tomogram(project, run, "denoised") / ".zattrs"
    content = json.loads(path.read_text())
    for level, size in enumerate(sizes):
        (transformation,) = content["multiscales"][0]["datasets"][level]["coordinateTransformations"]
        transformation["scale"] = size
    path.write_text(json.dumps(content))


def test_the_true_voxel_size_is_of_the_finest_level(make_project):
    project = make_project("copick", levels=2)
    true = {"voxel_size_angstrom": 7.0}
    assert opened(project.path, level=0, **true).header("TS_1").voxel_size_angstrom == 7.0
    assert opened(project.path, level=1, **true).header("TS_1").voxel_size_angstrom == pytest.approx(14.0)
    scale(project, "TS_1", [[9, 9, 10], [18, 18, 20]])  # only the ratio counts
    assert opened(project.path, level=1, **true).header("TS_1").voxel_size_angstrom == pytest.approx(14.0)


def test_the_true_voxel_size_mends_a_header_of_zeros(make_project, refuses):
    project = make_project("copick", levels=2)
    scale(project, "TS_1", [[0, 0, 0]] * 2)
    with refuses(SourceError, "denoised.zarr", "0 x 0 x 0", "voxel size"):
        opened(project.path).header("TS_1")
    assert opened(project.path, voxel_size_angstrom=10.0).header("TS_1").voxel_size_angstrom == 10.0
    with refuses(SourceError, "denoised.zarr", "how much coarser level 1", "level 0"):
        opened(project.path, level=1, voxel_size_angstrom=10.0).header("TS_1")


def test_the_tilt_range_comes_from_the_tomogram_or_else_from_the_settings(tiny_project):
    settings = {"tilt_range_degrees": (-60.0, 60.0)}
    assert opened(tiny_project.path, **settings).header("TS_1").tilt_range_degrees == (-48.0, 45.0)
    attributes = tomogram(tiny_project, "TS_1") / ".zattrs"
    content = json.loads(attributes.read_text())
    del content["frazil"]
    attributes.write_text(json.dumps(content))
    assert opened(tiny_project.path, **settings).header("TS_1").tilt_range_degrees == (-60.0, 60.0)
    assert opened(tiny_project.path).header("TS_1").tilt_range_degrees is None


def test_absent_chunks_are_known(make_project):
    project = make_project("copick", shape_voxel=(8, 16, 140))
    (tomogram(project, "TS_1") / "0/0/0/1").unlink()
    read = opened(project.path).read("TS_1")
    assert read.chunk_voxel == (8, 16, 128)
    assert read.chunk_present.tolist() == [[[True, False]]]
    assert (read.volume[:, :, 128:] == 0).all()


def test_a_project_stays_readable_when_its_folder_moves(tiny_project, tmp_path):
    moved = tmp_path / "elsewhere"
    tiny_project.path.rename(moved)
    assert opened(moved).runs() == ["TS_1", "TS_2"]
    assert opened(moved / "copick.json").header("TS_1").shape_voxel == (24, 40, 48)


def test_roots_beside_the_configuration_are_found(make_project):
    project = make_project("czii")
    config = {"pickable_objects": [], "static_root": "static", "overlay_root": "overlay"}
    (project.path / "copick.json").write_text(json.dumps(config))
    source = opened(project.path)
    assert source.kind == "copick project"
    assert len(source.picks()) == 4
    assert source.read("TS_2").volume.shape == (24, 40, 48)


@pytest.mark.parametrize(
    ("root", "arguments", "why"),
    [
        ("reference://", {"fo": "x.json"}, "file system that frazil does not open"),
        ("simplecache::s3://bucket", {}, "file system that frazil does not open"),
        ("ssh://host/tiny", {"proxy_command": "touch /tmp/owned"}, "proxy_command"),
    ],
)
def test_file_systems_that_run_commands_are_refused(tmp_path, refuses, root, arguments, why):
    path = tmp_path / "copick.json"
    path.write_text(json.dumps({"pickable_objects": [], "overlay_root": root, "overlay_fs_args": arguments}))
    with refuses(SourceError, str(path), root, why):
        opened(path)


def test_any_fsspec_storage_that_copick_opens(tiny_project, monkeypatch):
    monkeypatch.setattr("frazil.io.copick.source._PROTOCOLS", {"", "memory"})  # stands for what is not on this machine
    memory = fsspec.filesystem("memory")
    for path in tiny_project.path.rglob("*"):
        if path.is_file():
            memory.pipe(f"/tiny/{path.relative_to(tiny_project.path)}", path.read_bytes())
    config = {"config_type": "filesystem", "pickable_objects": [], "overlay_root": "memory:///tiny"}
    path = tiny_project.path.parent / "remote.json"
    path.write_text(json.dumps(config))
    source = opened(path)
    assert sum(len(picks) for picks in source.picks()) == 16
    read = source.read("TS_1")
    np.testing.assert_array_equal(read.volume, tiny_project.volumes["TS_1"])
    assert read.chunk_present.all()
    memory.rm("/tiny", recursive=True)


def test_other_copick_back_ends_go_through_the_library(tiny_project, monkeypatch):
    expected = [picks.centers_angstrom.tolist() for picks in opened(tiny_project.path).picks()]
    monkeypatch.setattr("frazil.io.copick.picks.CopickRootFSSpec", type("Other", (), {}))
    read = opened(tiny_project.path).picks()
    assert [picks.centers_angstrom.tolist() for picks in read] == expected
    assert {(picks.user, picks.origin) for picks in read if picks.run == "TS_1" and picks.label == "ribosome"} == {
        ("tester", "TS_1: tester_1_ribosome")
    }


def test_the_configuration_knows_radii(tiny_project, make_project):
    assert opened(tiny_project.path).radii_angstrom() == {"apo-ferritin": 30.0, "ribosome": 60.0}
    assert opened(make_project("czii", name="czii").path).radii_angstrom() == {}


def test_a_configuration_that_leaves_optional_fields_empty(tiny_project):
    file = tiny_project.path / "copick.json"
    empty = {"name": None, "description": None, "version": None}
    file.write_text(json.dumps(json.loads(file.read_text()) | empty))
    assert not opened(tiny_project.path).header("TS_1").simulated


def test_a_missing_tomogram(tiny_project, refuses):
    shutil.rmtree(tiny_project.path / "ExperimentRuns/TS_2/VoxelSpacing10.012")
    source = opened(tiny_project.path)
    with refuses(MissingTomogramError, "TS_2 has no denoised tomogram", "10.012", "TS_1"):
        source.read("TS_2")
    with refuses(SourceError, "no run TS_9", "TS_1, TS_2"):
        source.header("TS_9")
    shutil.rmtree(tiny_project.path / "ExperimentRuns/TS_1/VoxelSpacing10.012")
    with refuses(MissingTomogramError, "no tomogram", "there are: none"):
        opened(tiny_project.path).header("TS_1")


def test_a_missing_level(make_project, refuses):
    project = make_project("copick", levels=2)
    shutil.rmtree(tomogram(project, "TS_1") / "0")
    with refuses(MissingTomogramError, "denoised.zarr", "level 0 is listed but missing", "level 1"):
        opened(project.path).header("TS_1")


def test_tomograms_to_choose_from(tiny_project, refuses):
    more = {"volume": np.zeros((4, 4, 4), np.float32), "tomogram_type": "wbp"}
    writer.write_tomogram(tiny_project.path, run="TS_2", voxel_size_angstrom=10.0125, **more)
    writer.write_tomogram(tiny_project.path, run="TS_2", voxel_size_angstrom=20.0, **more)
    there = ["denoised at voxel spacing 10.012", "wbp at voxel spacing 10.012", "wbp at voxel spacing 20.000"]
    for run in ("TS_1", "TS_2"):  # one choice for the project, so that types never mix
        with refuses(AmbiguousTomogramError, "several tomograms", *there, "tomogram type and voxel spacing"):
            opened(tiny_project.path).header(run)
    with refuses(AmbiguousTomogramError, "several tomograms", *there):
        opened(tiny_project.path, tomogram_type="wbp").header("TS_2")
    with refuses(MissingTomogramError, "no tomogram ctf at voxel spacing 13.000", *there):
        opened(tiny_project.path, tomogram_type="ctf", voxel_spacing_angstrom=13).header("TS_2")
    chosen = opened(tiny_project.path, tomogram_type="wbp", voxel_spacing_angstrom=20).header("TS_2")
    assert (chosen.shape_voxel, chosen.voxel_size_angstrom) == ((4, 4, 4), 20.0)
    assert opened(tiny_project.path, tomogram_type="denoised").header("TS_1").shape_voxel == (24, 40, 48)


def test_voxels_of_one_angstrom_that_cannot_be(make_project, refuses):
    project = make_project("copick", voxel_size_angstrom=1.0, levels=2)
    assert opened(project.path).header("TS_1").voxel_size_angstrom == 1.0  # the picks fit
    far = Picks("TS_1", "ribosome", np.array([[50.0, 60.0, 470.0]]))
    writer.write_picks(project.path, far, user="anna")
    for level in (0, 1):
        with refuses(SourceError, "denoised.zarr", "1.0 A", "1 of 1 picks of ribosome", "voxel size 10.012"):
            opened(project.path, level=level).header("TS_1")
    assert opened(project.path, voxel_size_angstrom=10.0).header("TS_1").voxel_size_angstrom == 10.0


def test_damaged_pick_files(tiny_project, refuses):
    path = tiny_project.path / "ExperimentRuns/TS_1/Picks/tester_1_ribosome.json"
    path.write_text("{")
    with refuses(PickError, "tester_1_ribosome.json", "damaged", "remove it"):
        opened(tiny_project.path).picks()
    path.write_text('{"points": [{"location": {"x": 1, "y": NaN, "z": 2}}]}')
    with refuses(PickError, "tester_1_ribosome.json", "point 0", "nan"):
        opened(tiny_project.path).picks()
    path.rename(path.with_name("tester_ribosome.json"))
    with refuses(PickError, "tester_ribosome.json", "rename it"):
        opened(tiny_project.path).picks()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("{", ["config.json", "JSON"]),
        ("[]", ["config.json", "list"]),
        ("{}", ["config.json", "no pickable_objects", "check the path"]),
        ('{"pickable_objects": [], "config_type": "tape"}', ["config.json", "tape"]),
        ('{"pickable_objects": [], "overlay_root": "nowhere://x"}', ["config.json", "nowhere"]),
        ('{"pickable_objects": [], "overlay_root": "/absent"}', ["config.json", "no runs", "overlay_root"]),
    ],
)
def test_configurations_that_cannot_be_used(tmp_path, content, parts, refuses):
    (tmp_path / "config.json").write_text(content)
    with refuses(SourceError, *parts):
        opened(tmp_path / "config.json").runs()


@pytest.mark.real
def test_the_real_picks_are_those_of_the_papers_table_1(real_data):
    counts = Counter()
    for picks in opened(real_data).picks():
        counts[picks.label] += len(picks)
        assert picks.rotations is None  # the curators placed centers only
    assert counts == INSTANCES
    assert counts.total() == 1269


@pytest.mark.real
def test_the_real_picks_are_the_table_in_voxels_times_the_voxel_size(real_data):
    table = pd.read_csv(real_data / "picks_level0_voxels.csv")
    for picks in opened(real_data).picks():
        rows = table[(table.experiment == picks.run) & (table.particle_type == picks.label)]
        expected = rows[["z_vox", "y_vox", "x_vox"]].to_numpy() * 10.012444
        np.testing.assert_allclose(picks.centers_angstrom, expected, atol=1e-3)


@pytest.mark.real
def test_the_real_voxels(real_data, refuses):
    source = opened(real_data, level=1)
    header = source.header("TS_6_4")
    assert (header.shape_voxel, header.voxel_size_angstrom) == ((92, 315, 315), pytest.approx(20.024889, abs=1e-5))
    tomogram = source.read("TS_6_4")
    assert tomogram.chunk_voxel == (256, 256, 256)
    assert tomogram.chunk_present.tolist() == [[[False, False], [False, True]]]
    assert tomogram.volume.dtype == np.float32
    assert (tomogram.volume[:, :256] == 0).all()
    assert tomogram.volume[:, 256:, 256:].std() > 0
    with refuses(MissingTomogramError, "TS_6_4", "level 0", "level 1"):
        opened(real_data).header("TS_6_4")
    with refuses(MissingTomogramError, "TS_99_9", "TS_5_4, TS_69_2, TS_6_4"):
        source.header("TS_99_9")


NAMES = ["tomo[bin4]", "a*", "b?c", "[x]", "d!e{1,2}"]


def test_names_with_the_characters_of_patterns_are_names(make_project):
    plain = make_project("copick", runs=("tomo", *NAMES), name="plain")
    odd = make_project("czii", runs=("tomo", *NAMES), name="in [2] *?")
    for project in (plain, odd):
        source = opened(project.path)
        assert source.runs() == sorted(project.runs)
        assert [(p.run, p.label, len(p)) for p in source.picks()] == [
            (run, label, 4) for run in sorted(project.runs) for label in project.labels
        ]
        for run in project.runs:
            tomogram = source.read(run)
            assert tomogram.chunk_present.all()
            np.testing.assert_array_equal(tomogram.volume, project.volumes[run])


def test_picks_count_from_where_a_crop_was_cut_out(tiny_project):
    path = tomogram(tiny_project, "TS_1") / ".zattrs"
    content = json.loads(path.read_text())
    content["multiscales"][0]["datasets"][0]["coordinateTransformations"].append(
        {"type": "translation", "translation": [0, 100.0, -50.0]}
    )
    path.write_text(json.dumps(content))
    header = opened(tiny_project.path).header("TS_1")
    assert header.first_voxel_angstrom == (0, 100, -50)
    np.testing.assert_allclose(
        header.to_voxel(np.array([10.0125, 200.25, 0.0])), [1, (200.25 - 100) / 10.0125, 50 / 10.0125]
    )


def test_a_copy_of_a_project_reads_its_own_picks(tiny_project, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_project.path, copy)
    extra = Picks("TS_2", "ribosome", np.array([[50.0, 60.0, 70.0]]))
    writer.write_picks(copy, extra, user="tester", session="1")
    assert [len(p) for p in opened(copy).picks()] == [4, 4, 4, 1]
    assert "another copy" in capsys.readouterr().err
    assert [len(p) for p in opened(tiny_project.path).picks()] == [4, 4, 4, 4]
    assert not capsys.readouterr().err


def test_a_configuration_beside_other_runs_names_its_own_root(make_project):
    one, other = make_project("copick", name="one"), make_project("copick", name="other", runs=("X", "Y"))
    (one.path / "view.json").write_text((other.path / "copick.json").read_text())
    assert opened(one.path / "view.json").runs() == ["X", "Y"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "10.000_anna_3_membrane.zarr",
            "for each class: copick convert seg2picks -i 'membrane:anna/3@10.0' -o 'CLASS:",
        ),
        (
            "10.000_anna_3_all-multilabel.zarr",
            "copick process split -i 'all:anna/3@10.0', then copick convert seg2picks",
        ),
    ],
)
def test_segmentations_without_picks_name_the_conversion(make_project, name, said, refuses):
    project = make_project("copick")
    for file in project.path.glob("**/Picks/*.json"):
        file.unlink()
    with refuses(PickError, "no picks; each run needs"):
        opened(project.path).picks()
    (project.path / "ExperimentRuns" / "TS_1" / "Segmentations" / name).mkdir(parents=True)
    with refuses(PickError, "no picks, but segmentations", "copick-utils", said):
        opened(project.path).picks()
