"""`frazil evaluate` with curves of real slices: beside real boxes, and where there are none."""

import numpy as np
import pytest

from frazil.core.errors import RequestError, SourceError
from frazil.dataset.slices import read_real_slices
from frazil.evaluation.records import EvaluationInputs
from frazil.evaluation.run import evaluate

VOXEL = 10.0125


@pytest.fixture
def slices(tmp_path):
    """Slices of white noise in an archive that does not say its voxel size."""
    path = tmp_path / "slices.npz"
    drawn = np.random.default_rng(0).standard_normal((6, 3, 16, 16)).astype(np.float32)
    np.savez(path, slices=drawn, labels=np.array(["apo-ferritin", "ribosome"] * 3))
    return path


def test_volumes_are_judged_without_any_real_box(make_volumes, slices, tmp_path, capsys):
    made = make_volumes(count=5, box=16)
    evaluation = evaluate(None, made, tmp_path / "out", against_curves=slices).evaluation
    said = capsys.readouterr().out.splitlines()
    assert "Compared with curves of 6 real subtomograms (slices.npz)." in said
    assert [line.split("?")[0] for line in said if "?" in line] == ["near real data"]  # nothing else can be asked
    assert {score.question for score in evaluation.scores} == {"near real data"}
    assert evaluation.curves.counts == {"apo-ferritin": 3, "ribosome": 3}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Compared with curves of 6 real subtomograms (slices.npz)." in page
    assert "held-out" not in page.split("<main>")[0]
    evaluate(None, made, tmp_path / "out", against_curves=slices)
    assert "nothing to do" in capsys.readouterr().out


def test_other_curves_are_compared_anew_and_boxes_are_not(
    make_box_store, make_volumes, slices, tmp_path, use_stages, capsys
):
    from frazil.evaluation.records import StageRecord
    from frazil.evaluation.stages.curves import curves
    from frazil.evaluation.stages.run import Stage

    ran = []

    def physics(material, on_step):
        ran.append("physics")
        return StageRecord()

    use_stages({"physics": Stage(physics), "curves": Stage(curves)})
    real, made = make_box_store(box=16), make_volumes(box=16)
    first = evaluate(real, made, tmp_path / "out").evaluation
    assert (first.curves, first.scores, ran) == (None, (), ["physics"])
    second = evaluate(real, made, tmp_path / "out", against_curves=slices).evaluation
    assert ran == ["physics"]
    spectrum = next(score for score in second.scores if score.name == "curves_spectrum_dex")
    known = read_real_slices(slices, voxel_size_angstrom=VOXEL).curves
    louder = tuple(tuple(value + 1 for value in row) for row in known.log10_power)
    known.model_copy(update={"log10_power": louder}).write(tmp_path / "curves.json")
    third = evaluate(real, made, tmp_path / "out", against_curves=tmp_path / "curves.json").evaluation
    assert ran == ["physics"]
    moved = next(score for score in third.scores if score.name == "curves_spectrum_dex")
    assert moved.value > spectrum.value + 0.8
    assert "Compared with 8 held-out real boxes" in capsys.readouterr().out
    assert EvaluationInputs.read(tmp_path / "out" / "stages" / "inputs.json", SourceError).curves_digest


def test_what_does_not_fit_is_refused(make_box_store, make_volumes, slices, tmp_path, refuses):
    made = make_volumes(box=16)
    with refuses(RequestError, "nothing to compare with", "curves of real data"):
        evaluate(None, made, tmp_path / "out")
    with refuses(RequestError, "no stage 'physics'", "choose among curves"):
        evaluate(None, made, tmp_path / "out", against_curves=slices, only="physics")
    with refuses(RequestError, "no stage 'curves'", "choose among physics"):
        evaluate(make_box_store(box=16), made, tmp_path / "out", only="curves")
    known = read_real_slices(slices, voxel_size_angstrom=20.0).curves
    known.write(tmp_path / "curves.json")
    with refuses(RequestError, "16 voxels of 10.0125 A", "curves.json has 16 voxels of 20 A", "resampl"):
        evaluate(None, made, tmp_path / "out", against_curves=tmp_path / "curves.json")
    with refuses(RequestError, "measured at 20 A", "10.0125 A", "at 20 A"):
        evaluate(make_box_store(box=16), made, tmp_path / "out", against_curves=tmp_path / "curves.json")
    assert not (tmp_path / "out").exists()
