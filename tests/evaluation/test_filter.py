"""`frazil filter`: the worst of each class do not come along, the receipt says why, and nothing of the user's is touched."""

import json

import copick
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import OutputError, RequestError, SourceError
from frazil.evaluation.filter import Receipt, deciding_number, filter_samples, keep_best
from frazil.evaluation.records import StageRecord
from frazil.evaluation.run import evaluate
from frazil.evaluation.scores import Score, known
from frazil.evaluation.stages.run import Stage
from frazil.io.labelled_folder import read_labelled_folder
from frazil.io.mrc import read_volume, write_volume
from frazil.sampling.run import sample


def corner_stage(material, on_step):
    """Judge a volume by its voxel (0, 0, 0)."""
    corner = material.sets.generated.volumes[:, 0, 0, 0].astype(float)
    score = Score(
        name="corner", title="Corner", question="realistic", value=float(corner.mean()), real=0.25, better="lower"
    )
    return StageRecord(scores=(score,), per_sample={"spectrum": known(corner)})


STAGES = {"physics": Stage(corner_stage), "usefulness": Stage(corner_stage)}


@pytest.fixture(autouse=True)
def stages(use_stages):
    use_stages(STAGES)


@pytest.fixture
def made(make_volumes):
    return make_volumes()


@pytest.fixture
def evaluation(real_boxes, made, tmp_path):
    return evaluate(real_boxes, made, tmp_path / "evaluation", name="ours").path


def sift(generated, out, evaluation, real=None, **options):
    return filter_samples(generated, out, evaluation=evaluation, real=real, **options).receipt


def corner(path):
    volume = read_volume(path)
    return (volume[0, 0, 0] - volume.mean()) / volume.std()


def test_the_worst_of_each_class_stay_behind(made, evaluation, tmp_path, contents):
    before = contents(made)
    receipt = sift(made, tmp_path / "kept", evaluation, keep=0.5)
    assert contents(made) == before
    kept = read_labelled_folder(tmp_path / "kept")
    assert [file.label for file in kept] == ["apo-ferritin", "apo-ferritin", "ribosome", "ribosome"]
    for file in kept:
        assert (tmp_path / "kept" / file.file).read_bytes() == (made / file.file).read_bytes()
    for label in ("apo-ferritin", "ribosome"):
        stay = [corner(tmp_path / "kept" / file.file) for file in kept if file.label == label]
        go = [corner(made / row.file) for row in receipt.dropped if row.label == label]
        assert len(go) == 2
        assert max(stay) < min(go)


def test_the_receipt_says_what_why_and_what_it_does(made, evaluation, tmp_path):
    receipt = sift(made, tmp_path / "kept", evaluation, keep=0.5)
    assert Receipt.read(tmp_path / "kept" / "receipt.json", SourceError) == receipt
    assert receipt.complete
    assert receipt.by == "spectrum"
    assert "50 % with the smallest 'spectrum'" in receipt.rule
    assert receipt.counts == {
        "before": {"apo-ferritin": 4, "ribosome": 4},
        "after": {"apo-ferritin": 2, "ribosome": 2},
    }
    numbers = [row.number for row in receipt.dropped]
    assert numbers == sorted(numbers, reverse=True)
    (effect,) = receipt.effect  # usefulness is expensive and not run again
    everything = [row.number for row in receipt.kept + receipt.dropped]
    assert effect.before == pytest.approx(np.mean(everything))
    assert effect.after == pytest.approx(np.mean([row.number for row in receipt.kept]))
    assert (effect.real_before, effect.real_after) == (0.25, 0.25)


def test_stages_that_are_asked_for_run_again(made, evaluation, tmp_path):
    assert len(sift(made, tmp_path / "kept", evaluation, only=("physics", "usefulness")).effect) == 2


def test_an_interrupted_filtering_resumes_and_a_finished_one_does_nothing(
    made, evaluation, tmp_path, monkeypatch, capsys
):
    whole = sift(made, tmp_path / "whole", evaluation)

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("frazil.evaluation.filter.evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            sift(made, tmp_path / "kept", evaluation)
    assert not json.loads((tmp_path / "kept" / "receipt.json").read_text())["complete"]
    assert sift(made, tmp_path / "kept", evaluation) == whole
    assert "nothing to do" not in capsys.readouterr().out
    assert sift(made, tmp_path / "kept", evaluation) == whole
    assert "nothing to do" in capsys.readouterr().out


def test_another_filtering_is_replaced_only_by_force_and_only_what_it_wrote(made, evaluation, tmp_path, refuses):
    sift(made, tmp_path / "kept", evaluation, keep=0.9)
    (tmp_path / "kept" / "mine.mrc").write_bytes(b"mine")
    with refuses(OutputError, str(tmp_path / "kept"), "keep 0.9 -> 0.5", "--force"):
        sift(made, tmp_path / "kept", evaluation, keep=0.5)
    sift(made, tmp_path / "kept", evaluation, keep=0.5, force=True)
    assert len(list((tmp_path / "kept").glob("*.mrc"))) == 4 + 1
    assert (tmp_path / "kept" / "mine.mrc").read_bytes() == b"mine"


def test_numbers_belong_to_names_and_not_to_lines(made, evaluation, tmp_path, refuses):
    whole = sift(made, tmp_path / "whole", evaluation, keep=0.5)
    path = evaluation / "samples.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(lines)]) + "\n")
    assert sift(made, tmp_path / "kept", evaluation, keep=0.5).kept == whole.kept
    path.write_text("\n".join([head, *lines[1:]]) + "\n")
    with refuses(SourceError, "samples.csv", "does not list the volumes"):
        sift(made, tmp_path / "other", evaluation)


def test_the_list_alone(made, evaluation, tmp_path):
    receipt = sift(made, tmp_path / "kept", evaluation, keep=0.5, list_only=True)
    assert not list((tmp_path / "kept").rglob("*.mrc"))
    assert len(receipt.kept) == 4
    assert not receipt.volumes_copied


def test_a_box_store_is_listed(make_box_store, real_boxes, tmp_path):
    other = make_box_store(name="other", seed=1)
    receipt = sift(other, tmp_path / "kept", None, real_boxes, keep=0.5)
    assert not receipt.volumes_copied
    assert receipt.kept[0].file is None
    assert not (tmp_path / "kept" / "labels.csv").exists()


def test_samples_keep_manifest_star_and_copick_project(make_bundle, real_boxes, tmp_path):
    folder = tmp_path / "samples"
    sample(make_bundle(), out=folder, label="all", count=2, device="cpu", steps=1, copick=False)
    receipt = sift(folder, tmp_path / "kept", None, real_boxes, keep=0.5)
    manifest = json.loads((tmp_path / "kept" / "manifest.json").read_text())
    names = [row.name for row in receipt.kept]
    assert [entry["name"] for entry in manifest["samples"]] == names
    assert all((tmp_path / "kept" / entry["file"]).is_file() for entry in manifest["samples"])
    text = (tmp_path / "kept" / "particles.star").read_text()
    assert [name in text for name in names + [row.name for row in receipt.dropped]] == [True, True, False, False]
    assert sorted(run.name for run in copick.from_file(str(tmp_path / "kept" / "copick.json")).runs) == sorted(names)


def test_masks_of_samples_are_kept(make_layout_bundle, make_box_store, tmp_path):
    sample(make_layout_bundle(), out=tmp_path / "samples", label="all", count=2, device="cpu", steps=1)
    receipt = sift(tmp_path / "samples", tmp_path / "kept", None, make_box_store(box=16), keep=0.5)
    before, after = (copick.from_file(str(tmp_path / name / "copick.json")) for name in ("samples", "kept"))
    for row in receipt.kept:
        for mask in ("classes", "instances"):
            one, other = (
                project.get_run(row.name).get_segmentations(name=mask)[0].numpy() for project in (before, after)
            )
            assert np.array_equal(one, other)
            assert one.any()


def test_without_an_evaluation_real_boxes_are_needed(made, real_boxes, tmp_path, refuses):
    with refuses(RequestError, str(made), "as evaluation", "as real"):
        sift(made, tmp_path / "kept", None)
    receipt = sift(made, tmp_path / "kept", None, real_boxes)
    assert receipt.effect[0].name == "corner"
    assert (tmp_path / "kept" / "evaluation-before" / "metrics.json").exists()


def test_an_evaluation_of_something_else_is_refused(made, evaluation, real_boxes, make_box_store, tmp_path, refuses):
    other = make_box_store(name="other", seed=9)
    with refuses(RequestError, str(other), "not the real boxes"):
        sift(made, tmp_path / "kept", evaluation, other)
    evaluate(real_boxes, made, tmp_path / "some", limit=3)
    with refuses(RequestError, str(tmp_path / "some"), "only 3 volumes"):
        sift(made, tmp_path / "kept", tmp_path / "some")
    write_volume(made / "ribosome-00000.mrc", np.arange(512.0).reshape(8, 8, 8), 10.0125)
    with refuses(RequestError, str(evaluation), "other volumes"):
        sift(made, tmp_path / "kept", evaluation)


def test_what_cannot_be_is_refused(made, evaluation, real_boxes, tmp_path, refuses):
    with refuses(RequestError, str(made), "choose another folder"):
        sift(made, made, evaluation)
    with refuses(RequestError, "by 'beauty'", "spectrum"):
        sift(made, tmp_path / "kept", evaluation, by="beauty")
    with refuses(RequestError, "keep 0:"):
        sift(made, tmp_path / "kept", evaluation, keep=0.0)
    with refuses(SourceError, "metrics.json", "no such file"):
        sift(made, tmp_path / "kept", made)
    real_boxes.rename(tmp_path / "moved")
    with refuses(SourceError, str(real_boxes), "as real"):
        sift(made, tmp_path / "kept", evaluation)
    assert sift(made, tmp_path / "kept", evaluation, tmp_path / "moved").complete


def test_the_command_line(run, made, evaluation, tmp_path, monkeypatch):
    code, out, _ = run(
        "filter", made, "--evaluation", evaluation, "--out", tmp_path / "kept", "--keep", "0.5", "--by", "spectrum"
    )
    assert code == 0
    assert "4 of 8 volumes kept" in out
    assert "before" in out
    assert "Corner" in out


def test_the_largest_numbers_of_each_class_go():
    labels = np.array(["a", "b", "a", "b", "a", "b"])
    kept = keep_best(np.array([1.0, 10.0, 3.0, 30.0, 2.0, 20.0]), labels, 0.6)
    assert kept.tolist() == [True, True, False, False, True, True]


def test_nine_tenths_of_ten_are_nine():
    assert keep_best(np.arange(10.0), np.array(["a"] * 10), 0.9).sum() == 9


def test_equal_numbers_go_by_their_place():
    assert keep_best(np.ones(4), np.array(["a"] * 4), 0.5).tolist() == [True, True, False, False]


def test_volumes_without_a_number_are_kept():
    assert keep_best(np.array([np.nan, 1.0, 2.0]), np.array(["a"] * 3), 0.5).tolist() == [True, True, False]


@given(st.lists(st.tuples(st.floats(-9, 9), st.sampled_from("abc")), min_size=1, max_size=40), st.floats(0.01, 1))
def test_the_share_holds_in_each_class_and_none_that_goes_is_better(volumes, keep):
    numbers, labels = np.array([number for number, _ in volumes]), np.array([label for _, label in volumes])
    kept = keep_best(numbers, labels, keep)
    for label in set(labels):
        own = labels == label
        assert keep * own.sum() - 1e-6 <= (kept & own).sum() < keep * own.sum() + 1
        if (~kept & own).any():
            assert numbers[kept & own].max() <= numbers[~kept & own].min()


def test_shares_that_cannot_be_are_refused(refuses):
    for keep in (0.0, -1.0, 1.5):
        with refuses(RequestError, f"keep {keep:g}", "0.9"):
            keep_best(np.ones(2), np.array(["a", "a"]), keep)
    with refuses(RequestError, "no volume has this number", "filter by another"):
        keep_best(np.full(2, np.nan), np.array(["a", "a"]), 0.9)


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        (["spectrum", "typicality"], "typicality"),
        (["ring", "spectrum"], "spectrum"),
        (["spectrum", "class doubt"], "class doubt"),
    ],
)
def test_the_number_is_chosen_in_a_stated_order(available, chosen):
    assert deciding_number(None, available) == chosen
    assert deciding_number(available[0], available) == available[0]


def test_numbers_that_are_not_there_are_refused(refuses):
    with refuses(RequestError, "by 'beauty'", "ring, spectrum"):
        deciding_number("beauty", ["ring", "spectrum"])
    with refuses(RequestError, "none of typicality", "filter by 'ring'"):
        deciding_number(None, ["ring"])
