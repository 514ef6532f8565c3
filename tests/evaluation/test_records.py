"""What an evaluation leaves on disk comes back as it was, and what cannot be understood is refused in one line."""

import csv
import io
import math

import pytest

from frazil.core.errors import SourceError
from frazil.evaluation.records import METRICS_FILE, read_evaluation, read_samples, score_table
from frazil.evaluation.scores import ClosePair, Evaluation, Line, Plot, Score, SetDescription, StageCost, Verdict

SCORE = Score(
    name="spectrum_xy_dex", title="Spectrum, XY", question="realistic", unit="dex", value=0.125, interval=(0.1, 0.2), real=0.05,
    noise=2.0, better="lower", count=12, note="a, b",
)  # fmt: skip
PLOT = Plot(
    name="spectrum_xy",
    title="t",
    x_title="x",
    y_title="y",
    x=(0.1, 0.2),
    lines=(Line(name="generated", y=(1.0, None)),),
)
PAIR = ClosePair(sample="a", box="b", distance=0.5, ratio=0.9, rotation="x", shift_voxel=(0, -1, 2))


@pytest.fixture
def evaluation():
    described = SetDescription(path="p", kind="box store", voxel_size_angstrom=10.0, box_size_voxel=8, counts={"a": 3})
    return Evaluation(
        name="ours",
        generated=described,
        held_out=described,
        training=described,
        seed=1,
        verdicts=(Verdict(question="new", answer="yes", sentence="s"),),
        scores=(
            SCORE,
            Score(name="kid", title="KID", question="realistic", label="ribosome", value=None, better="lower"),
        ),
        plots=(PLOT,),
        close_pairs=(PAIR,),
        stages=(StageCost(name="physics"),),
        warnings=("w",),
    )


def test_an_evaluation_comes_back(evaluation, tmp_path):
    evaluation.write(tmp_path / METRICS_FILE)
    assert read_evaluation(tmp_path) == evaluation


def test_samples_are_read_bit_for_bit_and_gaps_are_nan(tmp_path):
    (tmp_path / "samples.csv").write_text(
        'name,label,doubt,typicality\n"a,b",x,0.3333333333333333,-1e-300\nc,nan,,2.0\n'
    )
    found = read_samples(tmp_path)
    assert found["name"].tolist() == ["a,b", "c"]
    assert found["label"].tolist() == ["x", "nan"]
    assert found["typicality"].tolist() == [-1e-300, 2.0]
    assert found["doubt"][0] == 1 / 3
    assert math.isnan(found["doubt"][1])


def test_scores_as_a_table(evaluation):
    rows = list(csv.DictReader(io.StringIO(score_table([evaluation]).to_csv(index=False))))
    assert [row["name"] for row in rows] == ["spectrum_xy_dex", "kid"]
    assert [rows[0][name] for name in ("generator", "value", "real", "note")] == ["ours", "0.125", "0.05", "a, b"]
    assert (rows[0]["interval_low"], rows[0]["interval_high"], rows[0]["real_interval_low"]) == ("0.1", "0.2", "")
    assert (rows[1]["value"], rows[1]["label"]) == ("", "ribosome")


def test_a_damaged_sample_table_is_refused(tmp_path, refuses):
    (tmp_path / "samples.csv").write_text("name,label,doubt\na,x,much\n")
    with refuses(SourceError, "samples.csv, line 2, column doubt", "'much'"):
        read_samples(tmp_path)
