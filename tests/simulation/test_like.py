"""Planning a simulation like a project: which picks, on which grid, with which classes."""

import json

import numpy as np
import pytest

from frazil.core.errors import AmbiguousTomogramError, PickError, SettingsError, SourceError
from frazil.core.records import Picks
from frazil.core.settings import SourceSettings
from frazil.io.copick.project import write_picks, write_tomogram
from frazil.io.like import LikeOptions
from frazil.simulation.like import plan_like as plan_project
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.project import RunPlan

SPECIMEN = load_simulation_preset("czii", {"specimen.ice_thickness_angstrom": "full"}).specimen


def plan_like(options: LikeOptions) -> list[RunPlan]:
    return plan_project(options, SPECIMEN)[0]


@pytest.mark.parametrize("form", ["copick", "czii", "csv", "star"])
def test_every_form_of_source_is_simulated_again(make_project, form):
    project = make_project(form)
    plans = plan_like(LikeOptions(project.path))
    assert plan_project(LikeOptions(project.path), SPECIMEN)[1] == list(project.labels)
    assert [plan.run for plan in plans] == [plan.index for plan in plans] == list(project.runs)
    truth = {(picks.run, picks.label): picks.centers_angstrom for picks in project.picks}
    for plan in plans:
        assert plan.like.header.shape_voxel == (24, 40, 48)
        assert plan.like.header.voxel_size_angstrom == pytest.approx(10.0125)
        for some in plan.like.picks:
            assert np.allclose(some.centers_angstrom, truth[some.run, some.label], atol=0.1)


def test_runs_and_classes_can_be_chosen(make_project):
    path = make_project("copick").path
    one = plan_like(LikeOptions(path, runs=("TS_2",)))
    assert [plan.run for plan in one] == ["TS_2"]
    ribosomes = plan_like(LikeOptions(path, SourceSettings(labels=("ribosome",))))
    assert {some.label for plan in ribosomes for some in plan.like.picks} == {"ribosome"}


def test_at_another_voxel_size_the_extent_is_kept(tiny_project):
    plans = plan_like(LikeOptions(tiny_project.path, voxel_size_angstrom=20.0))
    header = plans[0].like.header
    assert (header.shape_voxel, header.voxel_size_angstrom) == ((12, 20, 24), 20.0)


def test_without_tomograms_the_settings_say_the_grid(tiny_project, capsys):
    for path in tiny_project.path.glob("ExperimentRuns/*/VoxelSpacing*/*.zarr/0/.zarray"):
        if "TS_1" in str(path):
            path.unlink()
    plans = plan_like(LikeOptions(tiny_project.path))
    headers = {plan.run: plan.like.header for plan in plans}
    assert headers["TS_1"].shape_voxel == (184, 630, 630)
    assert headers["TS_1"].voxel_size_angstrom == 10.012444
    assert headers["TS_2"].shape_voxel == (24, 40, 48)
    warning = capsys.readouterr().err
    assert "no tomogram of TS_1 at level 0" in warning
    assert "184x630x630 voxels (z, y, x) of 10.0124 A" in warning
    coarse = plan_like(LikeOptions(tiny_project.path, voxel_size_angstrom=20.0))
    assert coarse[0].like.header.shape_voxel == (92, 315, 315)


def test_several_tomograms_are_left_to_the_user(tiny_project, refuses):
    zeros = np.zeros((8, 8, 8), np.float32)
    write_tomogram(tiny_project.path, run="TS_1", volume=zeros, voxel_size_angstrom=10.0125, tomogram_type="wbp")
    with refuses(AmbiguousTomogramError, "several tomograms", "tomogram type"):
        plan_like(LikeOptions(tiny_project.path))
    chosen = LikeOptions(tiny_project.path, SourceSettings(tomogram_type="denoised"))
    assert plan_like(chosen)[0].like.header.shape_voxel == (24, 40, 48)


def test_a_class_picked_by_two_is_refused(tiny_project, refuses):
    write_picks(tiny_project.path, Picks("TS_1", "ribosome", np.full((1, 3), 90.0)), user="model", session="3")
    with refuses(PickError, "ribosome of TS_1", "model (session 3), tester (session 1)", "by user and session"):
        plan_like(LikeOptions(tiny_project.path))
    plans = plan_like(LikeOptions(tiny_project.path, SourceSettings(users=("model",))))
    assert [len(some) for plan in plans for some in plan.like.picks] == [1]


def test_runs_without_picks_are_left_out_or_refused(tiny_project, refuses):
    for path in (tiny_project.path / "ExperimentRuns" / "TS_1" / "Picks").iterdir():
        path.unlink()
    assert [plan.run for plan in plan_like(LikeOptions(tiny_project.path))] == ["TS_2"]
    with refuses(PickError, "no picks in run TS_1", "runs with picks are TS_2"):
        plan_like(LikeOptions(tiny_project.path, runs=("TS_1",)))
    for path in (tiny_project.path / "ExperimentRuns" / "TS_2" / "Picks").iterdir():
        path.unlink()
    with refuses(PickError, str(tiny_project.path), "no picks"):
        plan_like(LikeOptions(tiny_project.path))


def test_picks_in_voxels_need_their_tomogram(make_project, refuses):
    project = make_project("csv")
    (project.path / "TS_1.mrc").unlink()
    with refuses(PickError, "picks of TS_1 are in voxels", "tomogram is missing", "leave the run out"):
        plan_like(LikeOptions(project.path))
    assert plan_like(LikeOptions(project.path, runs=("TS_2",)))[0].run == "TS_2"


def test_a_digest_tells_picks_and_grids_apart(tiny_project):
    def digests(**options):
        return [plan.digest for plan in plan_like(LikeOptions(tiny_project.path, **options))]

    first = digests()
    assert len(set(first)) == 2
    assert digests() == first
    assert set(digests(voxel_size_angstrom=11.0)).isdisjoint(first)
    path = next(tiny_project.path.glob("ExperimentRuns/TS_1/Picks/*.json"))
    content = json.loads(path.read_text())
    content["points"][0]["location"]["x"] += 1.0
    path.write_text(json.dumps(content))
    assert digests()[0] != first[0]
    assert digests()[1] == first[1]


def test_a_voxel_size_that_cannot_be_is_refused(tmp_path, refuses):
    with refuses(SettingsError, "voxel size -3 A", "above 0"):
        plan_like(LikeOptions(tmp_path, voxel_size_angstrom=-3.0))


def test_ice_that_is_thicker_than_a_tomogram_fills_it(tiny_project, capsys):
    plan_project(LikeOptions(tiny_project.path), load_simulation_preset("czii").specimen)
    warning = capsys.readouterr().err
    assert "1100 A thick" in warning
    assert "TS_1, TS_2" in warning


def test_what_is_no_project_is_refused(tmp_path, refuses):
    with refuses(SourceError, str(tmp_path), "no annotated tomograms"):
        plan_like(LikeOptions(tmp_path))


@pytest.mark.real
def test_all_picks_of_the_challenge(real_data):
    plans = plan_like(LikeOptions(real_data))
    assert len(plans) == 7
    assert sum(len(some) for plan in plans for some in plan.like.picks) == 1269
    assert {plan.like.header.shape_voxel for plan in plans} == {(184, 630, 630)}
