import json
import shutil

import numpy as np
import pytest
import starfile

from frazil.core.errors import MissingTomogramError, PickError, SettingsError, SourceError
from frazil.core.settings import SourceSettings
from frazil.dataset.run import source_settings
from frazil.io.mrc import write_volume
from frazil.io.sources import open_source


def opened(path, **settings):
    return open_source(path, SourceSettings(**settings))


@pytest.mark.parametrize("form", ["csv", "star"])
def test_a_missing_tomogram_hides_its_picks_and_is_named(make_project, form, refuses):
    project = make_project(form)
    (project.path / "TS_2.mrc").unlink()
    source = opened(project.path)
    assert source.runs() == ["TS_1", "TS_2"]
    for picks in source.picks():
        assert np.isnan(picks.centers_angstrom).all() == (picks.run == "TS_2")
        assert len(picks) == 4
    with refuses(MissingTomogramError, "no tomogram of TS_2", "rec_TS_2.mrc", "there are TS_1.mrc"):
        source.header("TS_2")
    with refuses(SourceError, "no run TS_9", "TS_1, TS_2"):
        source.read("TS_9")


@pytest.mark.parametrize("name", ["rec_TS_1.mrc", "TS_1_10.00Apx.mrc", "TS_1.rec"])
def test_tomograms_called_as_relion_warp_and_imod_call_them(make_project, name):
    project = make_project("star")
    (project.path / "TS_1.mrc").rename(project.path / name)
    source = opened(project.path)
    assert source.runs() == ["TS_1", "TS_2"]
    assert source.header("TS_1").run == "TS_1"
    np.testing.assert_array_equal(source.read("TS_1").volume, project.volumes["TS_1"])


def test_two_tomograms_of_one_run_are_refused(make_project, refuses):
    project = make_project("csv")
    shutil.copy(project.path / "TS_1.mrc", project.path / "rec_TS_1.mrc")
    with refuses(SourceError, "several tomograms of TS_1", "TS_1.mrc, rec_TS_1.mrc", "keep one"):
        opened(project.path).picks()


def test_a_tomogram_without_picks_is_a_run(make_project):
    project = make_project("csv")
    write_volume(project.path / "TS_10.mrc", np.zeros((4, 4, 4)), 10.0)
    assert opened(project.path).runs() == ["TS_1", "TS_10", "TS_2"]


def test_mrc_has_one_chunk_which_is_there_and_no_tilt_range_of_its_own(make_project):
    project = make_project("csv")
    tomogram = opened(project.path, tilt_range_degrees=(-60.0, 55.0)).read("TS_1")
    assert tomogram.chunk_voxel == (24, 40, 48)
    assert tomogram.chunk_present.tolist() == [[[True]]]
    assert tomogram.header.tilt_range_degrees == (-60.0, 55.0)


def test_the_table_may_lie_elsewhere(make_project, tmp_path):
    project = make_project("csv")
    table = tmp_path / "anna.csv"
    (project.path / "picks.csv").rename(table)
    assert sum(len(picks) for picks in opened(project.path, picks_file=str(table)).picks()) == 16


def test_other_star_files_beside_the_particles_are_left_alone(make_project):
    project = make_project("star")
    (project.path / "tomograms.star").write_text("data_global\n\nloop_\n_rlnTomoName #1\nTS_1\n")
    assert {picks.label for picks in opened(project.path).picks()} == {"apo-ferritin", "ribosome"}


def test_tables_that_are_missing_or_to_choose_from(make_project, tmp_path, refuses):
    project = make_project("csv")
    shutil.copy(project.path / "picks.csv", project.path / "more.csv")
    with refuses(SourceError, "several tables", "more.csv, picks.csv", "picks"):
        opened(project.path)
    with refuses(PickError, "absent.csv", "no such file", "picks"):
        opened(project.path, picks_file=str(tmp_path / "absent.csv"))
    for table in project.path.glob("*.csv"):
        table.unlink()
    with refuses(SourceError, "no table of picks", "picks"):
        opened(project.path)
    (project.path / "particles.star").write_text("data_particles\n\nloop_\n_rlnCoordinateX #1\n5\n")
    with refuses(PickError, "particles.star", "rlnCenteredCoordinateXAngst"):
        opened(project.path)


def test_a_voxel_size_of_one_is_refused_with_picks_in_voxels(make_project, refuses):
    project = make_project("csv", voxel_size_angstrom=1.0)
    with refuses(SourceError, "TS_1.mrc", "1.0 A", "voxel size 10.012"):
        opened(project.path).picks()
    read = opened(project.path, voxel_size_angstrom=10.0)
    assert read.header("TS_1").voxel_size_angstrom == 10.0
    np.testing.assert_allclose(read.picks()[0].centers_angstrom, 10 * project.picks[0].centers_angstrom)


def test_a_voxel_size_of_one_is_refused_with_picks_in_angstrom_outside(make_project, refuses):
    project = make_project("star")
    for run in project.runs:
        write_volume(project.path / f"{run}.mrc", project.volumes[run], 1.0)
    with refuses(SourceError, "TS_1.mrc", "1.0 A", "picks of apo-ferritin", "voxel size 10.012"):
        opened(project.path).picks()
    read = opened(project.path, voxel_size_angstrom=project.voxel_size_angstrom).picks()
    np.testing.assert_allclose(read[0].centers_angstrom, project.picks[0].centers_angstrom, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"level": 1}, "level 1"),
        ({"tomogram_type": "wbp"}, "tomogram type wbp"),
        ({"voxel_spacing_angstrom": 10.0}, "voxel spacing 10.0"),
    ],
)
def test_what_mrc_files_do_not_have_cannot_be_chosen(make_project, settings, option, refuses):
    with refuses(SourceError, "project", option, "leave it out"):
        opened(make_project("csv").path, **settings)


def test_a_voxel_size_of_zero_is_refused(make_project, refuses):
    project = make_project("csv")
    write_volume(project.path / "TS_2.mrc", project.volumes["TS_2"], 0.0)
    with refuses(SourceError, "TS_2.mrc", "0 x 0 x 0", "voxel size"):
        opened(project.path).picks()


@pytest.mark.parametrize(("form", "other"), [("star", "TS_1.tomostar"), ("star", "rec_TS_1"), ("csv", "TS_1.rec")])
def test_one_tomogram_under_two_names_is_one_run(make_project, form, other):
    project = make_project(form)
    for table in (path for path in project.path.iterdir() if path.suffix in (".csv", ".star")):
        lines = table.read_text().splitlines()
        for number in [number for number, line in enumerate(lines) if line.startswith("TS_1")][::2]:
            lines[number] = lines[number].replace("TS_1", other, 1)
        table.write_text("\n".join(lines) + "\n")
    source = opened(project.path)
    assert source.runs() == ["TS_1", "TS_2"]
    assert {picks.run for picks in source.picks()} == {"TS_1", "TS_2"}
    assert sum(len(picks) for picks in source.picks()) == 16


@pytest.mark.parametrize("there", [True, False])
def test_a_name_with_what_relion_and_warp_add_finds_the_plain_file(make_project, there):
    project = make_project("star", runs=("rec_A_10.00Apx", "B"))
    (project.path / "rec_A_10.00Apx.mrc").rename(project.path / ("A.mrc" if there else "C.mrc"))
    source = opened(project.path)
    assert source.runs() == (["B", "rec_A_10.00Apx"] if there else ["B", "C", "rec_A_10.00Apx"])
    assert np.isfinite(source.picks()[-1].centers_angstrom).all() == there


def test_a_copy_of_a_star_file_is_no_class(make_project, refuses):
    project = make_project("star")
    text = (project.path / "ribosome.star").read_text().replace("frazilLabel", "rlnNote")
    for name in ("ribosome.star", "run_it025_data.star"):
        (project.path / name).write_text(text)
    with refuses(PickError, "ribosome.star", "run_it025_data.star", "8 particles at the same places", "as picks"):
        opened(project.path)


def test_dotfiles_and_other_suffixes_beside_the_tomograms(make_project):
    project = make_project("csv")
    for name in ("._picks.csv", "._TS_1.mrc", ".hidden.star"):
        (project.path / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    (project.path / "picks.csv").rename(project.path / "PICKS.CSV")
    (project.path / "TS_1.mrc").rename(project.path / "TS_1.MRC")
    source = opened(project.path)
    assert source.runs() == ["TS_1", "TS_2"]
    np.testing.assert_array_equal(source.read("TS_1").volume, project.volumes["TS_1"])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("TS_1.mod", ("IMOD", "model2point", "experiment, particle_type, x, y, z")),
        ("TS_1.coords", ("TomoTwin", "a CSV with the columns experiment")),
        ("TS_1.box", ("EMAN", "a CSV with the columns")),
        ("picks.xml", ("DeepFinder", "a CSV with the columns")),
        ("picks.json", ("EMAN2", "a CSV with the columns")),
    ],
)
def test_picks_of_other_programs_are_named_with_the_way_in(make_project, name, parts, refuses):
    project = make_project("csv")
    (project.path / "picks.csv").unlink()
    (project.path / name).write_bytes(b"1 2 3\n")
    with refuses(PickError, name, *parts):
        opened(project.path, picks_file=str(project.path / name))
    ambiguous = name.endswith((".xml", ".json"))
    with refuses(SourceError if ambiguous else PickError, "no table of picks" if ambiguous else name):
        opened(project.path)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (("bin4_1_full.mrc", "bin4_2_full.mrc"), ("bin4_*_full=TS_*",)),
        (("first.mrc", "second.mrc"), ("first=TS_1", "second=TS_2")),
    ],
)
def test_tables_with_other_names_are_matched(make_project, files, match, refuses):
    project = make_project("star")
    for run, file in zip(project.runs, files, strict=True):
        (project.path / f"{run}.mrc").rename(project.path / file)
    with refuses(MissingTomogramError, "no tomogram of TS_1", f"{files[0][:-4]}=TS_1"):
        opened(project.path).header("TS_1")
    source = opened(project.path, match=match)
    assert source.runs() == ["TS_1", "TS_2"]
    for run in project.runs:
        np.testing.assert_array_equal(source.read(run).volume, project.volumes[run])


@pytest.mark.parametrize("pair", ["TS_1", "a*=b", "=x", "a*b*=*c"])
def test_a_match_that_is_none(pair, refuses):
    with refuses(SettingsError, "match", pair):
        source_settings(match=(pair,))


def test_a_match_is_for_tables(make_project, refuses):
    with refuses(SourceError, "leave out match a=b"):
        opened(make_project("copick").path, match=("a=b",))


def _score(path, form, scores):
    """Give the picks of a project scores, one after the other."""
    if form == "csv":
        header, *lines = path.joinpath("picks.csv").read_text().split()
        rows = [f"{header},score", *(f"{line},{score}" for line, score in zip(lines, scores, strict=False))]
        path.joinpath("picks.csv").write_text("\n".join(rows) + "\n")
    elif form == "star":
        for file in path.glob("*.star"):
            blocks = starfile.read(file)
            blocks["particles"]["rlnLCCmax"] = scores[: len(blocks["particles"])]
            starfile.write(blocks, file, overwrite=True)
    else:
        for file in path.rglob("Picks/*.json"):
            content = json.loads(file.read_text())
            for point, score in zip(content["points"], scores, strict=False):
                point["score"] = score
            file.write_text(json.dumps(content))


@pytest.mark.parametrize("form", ["csv", "star", "copick"])
def test_picks_below_the_score_are_left_out(make_project, form):
    project = make_project(form, rotations=form != "csv")
    _score(project.path, form, [0.1, 0.5, 0.9, 0.2] * 4)
    chosen = opened(project.path, min_score=0.5).picks()
    for all_picks, some in zip(opened(project.path).picks(), chosen, strict=True):
        np.testing.assert_array_equal(some.centers_angstrom, all_picks.centers_angstrom[1:3])
        assert some.scores.tolist() == [0.5, 0.9]
        assert (some.rotations is None) == (form == "csv")


def test_picks_without_scores_have_no_least(make_project, refuses):
    with refuses(PickError, "min score 0.5", "no score"):
        opened(make_project("csv").path, min_score=0.5).picks()
