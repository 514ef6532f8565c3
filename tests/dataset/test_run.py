import re
import shutil
from functools import partial

import numpy as np
import pytest

from frazil.core.presets import load_preset
from frazil.core.settings import SourceSettings
from frazil.dataset.run import curate, source_settings
from frazil.dataset.store import BoxStore
from frazil.dataset.tomograms.store import TomogramStore
from frazil.io.copick.source import CopickSource
from frazil.io.mrc_source import MrcSource


@pytest.fixture
def run(run):
    """Return a function that runs `frazil curate ...` and gives exit code, standard output and standard error."""
    return partial(run, "curate")


@pytest.fixture
def small(run, tmp_path):
    """Return a function that curates a project to small boxes in the folder `store`."""

    def small(project, *options, out="store"):
        return run(project.path, "--out", tmp_path / out, "--preset", "smoke", "--box", 8, *options)

    return small


def rows(output):
    """Class -> numbers of its row in the printed table."""
    found = {}
    for line in output.splitlines():
        name, *numbers = line.split() or [""]
        if numbers and all(re.fullmatch(r"[\d,]+", number) for number in numbers):
            found[name] = [int(number.replace(",", "")) for number in numbers]
    return found


@pytest.mark.parametrize("form", ["copick", "czii", "csv", "star"])
def test_every_form_of_source_gives_the_boxes_of_its_picks(make_project, tmp_path, form):
    project = make_project(form)
    store = curate(project.path, tmp_path / "store", preset="smoke", box_size_voxel=8)
    assert len(store) == 16
    assert store.description.voxel_size_angstrom == pytest.approx(project.voxel_size_angstrom, rel=1e-6)
    truth = {
        (picks.run, picks.label, *np.round(center, 2)): np.rint(center / project.voxel_size_angstrom).astype(int)
        for picks in project.picks
        for center in picks.centers_angstrom
    }
    for row in store.particles.itertuples():
        center = np.array([row.centre_z_angstrom, row.centre_y_angstrom, row.centre_x_angstrom])
        # tables of picks have fewer digits
        key = min(
            (key for key in truth if key[:2] == (row.run, row.label)),
            key=lambda key: np.linalg.norm(np.array(key[2:]) - center),
        )
        assert np.linalg.norm(np.array(key[2:]) - center) < 0.1
        padded = np.pad(project.volumes[row.run], 8)
        start = truth.pop(key) + 4
        np.testing.assert_allclose(
            store.volume(row.box), padded[tuple(slice(s, s + 8) for s in start)], rtol=1e-6, atol=1e-6
        )
    assert truth == {}


def test_the_command_from_picks_to_store_and_again(tiny_project, small, tmp_path):
    out = tmp_path / "store"
    command = partial(small, tiny_project, "--tilt-range", "-45,45", "--validation-run", "TS_2")
    code, output, _ = command()
    assert code == 0
    assert rows(output)["ribosome"] == [12, 8, 8, 0]  # size in voxels of the radius in its configuration, found, used
    assert rows(output)["total"] == [16, 16, 0]
    assert "split by tomogram: 8 training, 8 validation (runs TS_2)" in output
    assert f"wrote {out}: 16 boxes" in output
    store = BoxStore.open(out)
    assert store.description.tilt_range_degrees == tiny_project.tilt_range_degrees  # the file knows better
    assert store.description.source_kind == "copick project"
    code, output, _ = command()
    assert code == 0
    assert "nothing to do" in output
    code, _, errors = command("--seed", 1)
    assert code == 2
    assert "--force" in errors
    assert command("--seed", 1, "--force")[0] == 0
    assert BoxStore.open(out).description.seed == 1


def test_force_replaces_a_damaged_store(tiny_project, small, tmp_path):
    small(tiny_project)
    (tmp_path / "store/particles.csv").unlink()
    code, _, errors = small(tiny_project)
    assert (code, "--force" in errors) == (2, True)
    assert small(tiny_project, "--force")[0] == 0
    assert len(BoxStore.open(tmp_path / "store")) == 16


def test_a_dry_run_reads_no_voxel_and_writes_nothing(tiny_project, run, tmp_path):
    for chunk in tiny_project.path.rglob("denoised.zarr/0/0"):
        shutil.rmtree(chunk)  # the voxels
    before = sorted(tmp_path.rglob("*"))
    code, output, errors = run(tiny_project.path, "--dry-run", "--out", tmp_path / "store")
    assert code == 0
    assert rows(output)["total"] == [16, 16, 0]
    assert "dry run: no voxel was read, nothing was written" in output
    assert errors == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_needs_no_tomogram(tiny_project, run):
    for tomogram in tiny_project.path.rglob("VoxelSpacing*"):
        shutil.rmtree(tomogram)
    code, output, errors = run(tiny_project.path, "--dry-run")
    assert code == 0
    assert rows(output)["ribosome"] == [120, 8, 0, 8, 8]  # its size in angstrom: nothing says the voxel size
    assert rows(output)["total"] == [16, 0, 16, 16]
    (line,) = errors.splitlines()
    assert line.startswith("warning: curating this would stop: ")
    assert line.endswith("choose a tomogram type and voxel spacing of these")


def test_without_out_and_dry_run(tiny_project, run):
    code, _, errors = run(tiny_project.path)
    assert code == 2
    assert "out is missing" in errors


def test_the_preset_of_the_paper_says_how_many_boxes_overlap(tiny_project, run, tmp_path):
    code, output, errors = run(tiny_project.path, "--out", tmp_path / "store", "--preset", "paper", "--box", 16)
    assert code == 0
    assert "split by particle: 14 training, 2 validation" in output
    overlapping = BoxStore.open(tmp_path / "store").description.overlapping_validation_boxes
    assert f"{overlapping} of 2 validation boxes ({overlapping / 2:.1%}) overlap a training box" in errors
    paper = load_preset("paper").curate
    assert (paper.box_size_voxel, paper.split_by, paper.validation_fraction) == (64, "particle", 0.1)


def test_a_single_tomogram_is_split_by_slabs_where_it_has_room(make_project, small):
    project = make_project(runs=("TS_1",))
    code, output, _ = small(project)
    assert code == 0
    assert re.search(r"split by slabs of the only tomogram: [1-7] training, 1 validation", output)
    code, output, errors = small(project, "--box", 48, out="large")
    assert code == 0
    assert "8 training, 0 validation" in output
    assert "no validation boxes: only run TS_1 has boxes" in errors
    assert "split by particle" in errors


def test_runs_that_are_named_are_all_that_is_taken(tiny_project, small, tmp_path):
    code, _, _ = small(tiny_project, "--run", "TS_2")
    assert code == 0
    assert set(BoxStore.open(tmp_path / "store").particles["run"]) == {"TS_2"}
    code, _, _ = small(tiny_project, "--run", "TS_2", "--whole", "--validation-fraction", 0, out="whole")
    assert code == 0
    assert TomogramStore.open(tmp_path / "whole").runs == ["TS_2"]


def test_one_missing_tomogram_is_said_loudly(tiny_project, small):
    for tomogram in tiny_project.path.rglob("TS_1/VoxelSpacing*"):
        shutil.rmtree(tomogram)
    code, output, errors = small(tiny_project)
    assert code == 0
    assert rows(output)["total"] == [16, 8, 8, 8]
    assert "no tomogram" in output
    assert "TS_1 has no tomogram, its 8 picks are left out" in errors


def test_a_class_that_gives_no_box_is_said(tiny_project, small, tmp_path):
    for picks in tiny_project.path.rglob("*ribosome.json"):
        content = picks.read_text()
        picks.write_text(re.sub(r'"points": \[.*\]', '"points": []', content, flags=re.DOTALL))
    code, output, errors = small(tiny_project)
    assert code == 0
    assert rows(output)["ribosome"] == [12, 0, 0, 0]
    assert "label ribosome has no picks" in errors
    assert BoxStore.open(tmp_path / "store").description.labels == ("apo-ferritin",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--level", 3], r"resolution level 3 does not exist; on disk: 0; choose level 0"),
        (["--preset", "smoke", "--box", 60], "60.*multiple of 8"),
        (["--max-padding", 1.5], r"max_padding = 1.5"),
        (["--split", "class"], r"split_by = 'class': .*tomogram"),
        (
            ["--validation-run", "TS_1", "--split", "particle"],
            r"\(TS_1\), but the split is by particle; split by tomogram",
        ),
        (["--tilt-range", "steep"], r"--tilt-range steep: .* e.g. -45,45"),
        (["--voxel-size", 0], r"voxel size 0.0: .*equal to 0.01"),
        (["--voxel-size", 3], r"picks of TS_\d lie outside .*--drop-outside"),
        (["--voxel-size", "inf"], r"voxel size inf: .*finite number; correct it"),
        (["--resample-to", "inf"], r"voxel_size_angstrom = inf: .*finite number"),
        (["--run", "TS_3"], r"run TS_3: has no picks in .*; those that have are TS_1, TS_2$"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_remedy(tiny_project, run, tmp_path, options, message):
    code, _, errors = run(tiny_project.path, "--out", tmp_path / "store", *options)
    assert code == 2
    (line,) = errors.splitlines()
    assert line.startswith("frazil: ")
    assert re.search(message, line), line
    assert not (tmp_path / "store").exists()


def damage_metadata(tomogram):
    (tomogram / ".zattrs").write_text("{")


def no_voxel_size(tomogram):
    text = (tomogram / ".zattrs").read_text()
    (tomogram / ".zattrs").write_text(text.replace("10.0125", "0"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_metadata, r"TS_1/.*\.zattrs: damaged, .*; copy the tomogram again"),
        (no_voxel_size, r"TS_1/.*0 x 0 x 0 A.*voxel size"),
    ],
)
def test_damage_in_one_of_two_runs_stops_in_one_line(tiny_project, small, damage, message):
    (tomogram,) = tiny_project.path.rglob("TS_1/*/denoised.zarr")
    damage(tomogram)
    code, _, errors = small(tiny_project)
    (line,) = errors.splitlines()
    assert (code, re.search(message, line) is not None) == (2, True), line


def test_the_remedy_for_a_voxel_size_of_zero_works(make_project, small, tmp_path):
    project = make_project("copick", levels=2)
    assert small(project, "--level", 1, out="right")[0] == 0
    assert small(project, "--level", 1, "--voxel-size", 10.0125, out="same")[0] == 0
    right, same = BoxStore.open(tmp_path / "right"), BoxStore.open(tmp_path / "same")
    assert same.digest == right.digest  # the true size is that of level 0
    for tomogram in project.path.rglob("denoised.zarr"):
        no_voxel_size(tomogram)
    assert small(project, "--voxel-size", 10.0125, out="mended")[0] == 0
    assert BoxStore.open(tmp_path / "mended").description.voxel_size_angstrom == 10.0125


def test_no_tomogram_at_all_is_one_line(tiny_project, small):
    for level in tiny_project.path.rglob("denoised.zarr/0"):
        shutil.rmtree(level)
    code, _, errors = small(tiny_project)
    (line,) = errors.splitlines()
    assert code == 2
    assert "none of its 1 resolution levels is on disk" in line
    assert line.endswith("(1 more runs have no tomogram either)")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("occupied", "particles.csv: frazil curate did not write it and will not replace it"),
        ("occupied/particles.csv/store", "a part of the path is a file, not a folder; choose another folder"),
        ("damaged", "dataset.json: damaged"),
        ("x" * 300, "the name is too long; choose a shorter one"),
    ],
)
def test_a_place_that_cannot_be_taken_is_one_line_before_any_warning_or_bar(
    tiny_project, small, tmp_path, where, message
):
    for tomogram in tiny_project.path.rglob("TS_1/VoxelSpacing*"):
        shutil.rmtree(tomogram)  # worth a warning
    for name, text in (("occupied/particles.csv", "mine"), ("damaged/dataset.json", "{")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    code, _, errors = small(tiny_project, out=where)
    (line,) = errors.splitlines()
    assert (code, message in line) == (2, True), line


def test_a_source_that_is_not_there(run, tmp_path):
    code, _, errors = run(tmp_path / "nowhere", "--out", tmp_path / "store")
    assert (code, "nowhere: no such file or folder" in errors) == (2, True)
    code, _, errors = run(tmp_path / ("x" * 300), "--out", tmp_path / "store")
    (line,) = errors.splitlines()
    assert (code, "cannot be read (File name too long); check the path" in line) == (2, True)


def test_a_store_in_a_notebook(tiny_project, tmp_path):
    store = curate(str(tiny_project.path), str(tmp_path / "a <b>"), preset="smoke", box_size_voxel=8)
    assert repr(store) == f"BoxStore({str(store.path)!r}: 16 boxes of 8^3 voxels)"
    html = store._repr_html_()
    for part in ("a &lt;b&gt;", "16 boxes of 8^3 voxels at 10.012 A", "8 training, 8 validation", "<td>ribosome</td>"):
        assert part in html


def test_options_that_are_not_given_keep_their_default():
    assert source_settings(level=None, users=[], labels=["a"]) == SourceSettings(labels=("a",))


@pytest.mark.real
def test_the_table_of_the_real_picks(real_data, run):
    code, output, _ = run(real_data, "--dry-run")
    assert code == 0
    found = {name: numbers[1] for name, numbers in rows(output).items() if name != "total"}
    assert found == {
        "apo-ferritin": 375,
        "beta-amylase": 87,
        "beta-galactosidase": 112,
        "ribosome": 331,
        "thyroglobulin": 251,
        "virus-like-particle": 113,
    }
    assert rows(output)["total"][0] == 1269


@pytest.mark.real
def test_real_voxels_and_what_is_absent_of_them(real_data, tmp_path):
    import zarr

    settings = {"box_size_voxel": 32, "validation_runs": ("TS_69_2",)}
    store = curate(real_data, tmp_path / "store", select=SourceSettings(level=1), **settings)
    assert store.description.voxel_size_angstrom == pytest.approx(20.0249, abs=1e-4)
    assert sum(count.found for count in store.description.counts) == 1269
    # only the chunk z all, y 256:315, x 256:315 of three tomograms is on disk
    there = np.pad(np.zeros((92, 315, 315), dtype=bool), 32)
    there[32:124, 288:347, 288:347] = True
    for row in store.particles.itertuples():
        place = tuple(
            slice(round(c) + 16, round(c) + 48) for c in (row.centre_z_voxel, row.centre_y_voxel, row.centre_x_voxel)
        )
        assert row.padding == 1 - there[place].mean()
        np.testing.assert_array_equal(store.measured(row.box), there[place])
    first = store.particles[store.particles["run"] == "TS_6_4"].iloc[0]
    array = zarr.open(str(next(real_data.glob("static/ExperimentRuns/TS_6_4/*/denoised.zarr"))), mode="r")["1"]
    place = tuple(
        slice(round(first[f"centre_{axis}_voxel"]) + 16, round(first[f"centre_{axis}_voxel"]) + 48) for axis in "zyx"
    )
    np.testing.assert_array_equal(store.volume(first["box"]), np.pad(array[...], 32)[place])
    assert 5e-6 < store.particles.loc[store.particles["padding"] == 0, "std_padded"].median() < 9e-6


def test_brackets_in_a_name_are_no_markup(make_project, tmp_path, run):
    project = make_project("csv", runs=("TS_1",))
    text = (project.path / "picks.csv").read_text().replace("ribosome", "[red]y")
    (project.path / "picks.csv").write_text(text)
    _, output, _ = run(project.path, "--dry-run", "--preset", "smoke", "--box", 8)
    assert "[red]y" in output


@pytest.mark.parametrize("form", ["copick", "csv"])
@pytest.mark.parametrize("settings", [{}, {"voxel_size_angstrom": 14.0}, {"max_padding": 0.0}], ids=str)
def test_slabs_of_a_large_tomogram_give_the_same_boxes(make_project, tmp_path, monkeypatch, form, settings):
    project = make_project(form, shape_voxel=(40, 40, 48), picks_per_label=8)
    options = {"preset": "smoke", "box_size_voxel": 8, **settings}
    whole = curate(project.path, tmp_path / "whole", **options)
    kind = MrcSource if form == "csv" else CopickSource
    read, planes = kind._read, []

    def counted(self, run, some):
        planes.append(some.stop - some.start)
        return read(self, run, some)

    monkeypatch.setattr(kind, "_read", counted)
    monkeypatch.setattr("frazil.dataset.runs.WHOLE_BYTES", 0)
    monkeypatch.setattr("frazil.dataset.runs.SLAB_BYTES", 4 * 40 * 48 * 16)
    slabs = curate(project.path, tmp_path / "slabs", **options)
    assert max(planes) <= (23 if "voxel_size_angstrom" in settings else 16)  # a resampled box reaches far
    assert len(planes) > 4
    for file in whole.path.rglob("*"):
        if file.is_file() and (file.suffix == ".csv" or "boxes.zarr" in file.parts):
            assert file.read_bytes() == (slabs.path / file.relative_to(whole.path)).read_bytes()
    assert slabs.digest == whole.digest
