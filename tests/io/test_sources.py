import numpy as np
import pytest

from frazil.core.errors import SourceError
from frazil.core.settings import SourceSettings
from frazil.io.sources import open_source

KINDS = {"copick": "copick project", "czii": "CZII folder", "csv": "MRC + CSV", "star": "MRC + STAR"}


@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("rotations", [False, True])
def test_all_four_forms_say_the_same(make_project, form, rotations):
    project = make_project(form, rotations=rotations)
    source = open_source(project.path, SourceSettings())
    assert (source.kind, source.path) == (KINDS[form], project.path)
    assert source.runs() == list(project.runs)
    for read, true in zip(source.picks(), project.picks, strict=True):
        assert (read.run, read.label) == (true.run, true.label)
        np.testing.assert_allclose(read.centers_angstrom, true.centers_angstrom, atol=1e-3)
        if form == "csv" or not rotations:
            assert read.rotations is None
        else:
            np.testing.assert_allclose(read.rotations, true.rotations, atol=1e-6)
    for run in project.runs:
        header, tomogram = source.header(run), source.read(run)
        assert header == tomogram.header
        assert (header.run, header.shape_voxel) == (run, project.volumes[run].shape)
        assert header.voxel_size_angstrom == pytest.approx(project.voxel_size_angstrom, rel=1e-6)
        assert tomogram.volume.dtype == np.float32
        assert tomogram.chunk_present.all()
        np.testing.assert_array_equal(tomogram.volume, project.volumes[run])


def test_the_particles_are_where_the_picks_say(tiny_project):
    source = open_source(tiny_project.path, SourceSettings())
    header, volume = source.header("TS_1"), source.read("TS_1").volume
    for picks in source.picks():
        if picks.run == "TS_1":
            z, y, x = np.rint(picks.centers_angstrom / header.voxel_size_angstrom).astype(int).T
            assert (volume[z, y, x] < -1).mean() > 0.8  # dark, noise apart


def test_a_project_opens_by_its_configuration_its_folder_and_its_tree(tiny_project):
    for remove in (False, True):
        config = tiny_project.path / "copick.json"
        paths = [tiny_project.path] if remove else [tiny_project.path, config]
        if remove:
            config.unlink()
        for path in paths:
            source = open_source(path, SourceSettings())
            assert source.kind == "copick project"
            assert len(source.picks()) == 4


def test_what_is_no_source_lists_the_four_forms(tmp_path, refuses):
    forms = ["copick.json", "static/ExperimentRuns", "CSV of picks", "STAR files"]
    (tmp_path / "notes.txt").write_text("")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with refuses(SourceError, str(path), *forms):
            open_source(path, SourceSettings())
    with refuses(SourceError, "absent", "no such file"):
        open_source(tmp_path / "absent", SourceSettings())


def test_a_table_of_picks_is_no_use_to_a_source_that_has_its_own(tiny_project, make_project, refuses):
    for path in (tiny_project.path, tiny_project.path / "copick.json", make_project("czii", name="czii").path):
        with refuses(SourceError, str(path), "its own picks", "picks extra.csv"):
            open_source(path, SourceSettings(picks_file="extra.csv"))
