"""`frazil evaluate`: what it writes, that nothing is done twice, that an interrupted call goes on, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from frazil.core.errors import OutputError, RequestError, SourceError
from frazil.core.files import atomic_path, write_json
from frazil.evaluation.examples import read_examples
from frazil.evaluation.inputs.generated import Reading
from frazil.evaluation.records import EvaluationInputs, StageRecord, read_evaluation, read_samples
from frazil.evaluation.run import evaluate
from frazil.evaluation.scores import ClosePair, Score, known
from frazil.evaluation.stages.run import Stage
from frazil.io.mrc import write_volume


class Stages(dict):
    """Two tiny stages that say what they see; counts how often each ran, and stops in `stop_in`."""

    def __init__(self):
        self.ran = []
        self.stop_in = None
        super().__init__(
            physics=Stage(lambda material, on_step: self._run("physics", material, on_step)),
            memorisation=Stage(lambda material, on_step: self._run("memorisation", material, on_step)),
        )

    def _run(self, name, material, on_step):
        if self.stop_in == name:
            raise KeyboardInterrupt
        self.ran.append(name)
        on_step(0.5)
        sets = material.sets
        spread = np.array([float(np.abs(volume).mean()) for volume in sets.generated.volumes])
        return StageRecord(
            scores=(
                Score(
                    name=f"spectrum_{name}", title="Mean", question="realistic", value=float(spread.mean()), real=0.5, better="lower",
                    count=len(sets.generated),
                ),
            ),
            close_pairs=(
                ClosePair(
                    sample=sets.generated.names[0], box=sets.training.names[-1], distance=0.5, ratio=1.0, rotation="y",
                    shift_voxel=(0, 1, 0),
                ),
            ) if name == "memorisation" else (),
            warnings=("said twice",),
            per_sample={f"{name} number": known(np.where(np.arange(len(spread)) == 1, np.nan, spread))},
        )  # fmt: skip


@pytest.fixture
def stages(use_stages):
    return use_stages(Stages())


@pytest.fixture
def judge(real_boxes, make_volumes, tmp_path, stages):
    """Return a function that evaluates the same volumes against the same boxes."""
    generated = make_volumes()
    return lambda **options: evaluate(real_boxes, generated, tmp_path / "out", **options).evaluation


def test_what_is_written(judge, tmp_path):
    evaluation = judge()
    out = tmp_path / "out"
    assert read_evaluation(out) == evaluation
    assert evaluation.name == "made"
    assert [score.name for score in evaluation.scores] == ["spectrum_physics", "spectrum_memorisation"]
    assert [stage.name for stage in evaluation.stages] == ["physics", "memorisation"]
    log = [json.loads(line) for line in (tmp_path / "out" / "stages" / "log.jsonl").read_text().splitlines()]
    assert [line["name"] for line in log] == [stage.name for stage in evaluation.stages]
    assert all(line["peak_memory_gb"] > 0.01 for line in log)
    assert evaluation.warnings.count("said twice") == 1
    assert [verdict.question for verdict in evaluation.verdicts] == [
        "realistic",
        "near real data",
        "varied",
        "new",
        "right class",
        "useful",
    ]
    samples = read_samples(out)
    assert samples["name"][0] == "apo-ferritin-00000.mrc"
    assert list(samples) == ["name", "label", "physics number", "memorisation number"]
    assert np.isnan(samples["physics number"][1])
    examples = read_examples(out / "examples.npz")
    assert examples.generated.labels == ("apo-ferritin",) * 4 + ("ribosome",) * 4
    assert examples.pair_sample.shape == examples.pair_box.shape == (1, 3, 8, 8)
    assert (out / "report.html").read_text() == "report"


def test_a_finished_evaluation_does_nothing_and_says_so(judge, stages, tmp_path, capsys, contents):
    first = judge()
    before = contents(tmp_path / "out")
    capsys.readouterr()
    assert judge() == first
    assert stages.ran == ["physics", "memorisation"]
    assert contents(tmp_path / "out") == before
    assert "nothing to do" in capsys.readouterr().out


def test_a_finished_evaluation_is_answered_by_the_current_rules(judge, tmp_path):
    first = judge()
    file = tmp_path / "out" / "metrics.json"
    told = json.loads(file.read_text())
    other = [verdict | {"answer": "no", "sentence": "by other rules"} for verdict in told["verdicts"]]
    write_json(file, told | {"verdicts": other})
    assert judge().verdicts == first.verdicts


def test_an_interrupted_evaluation_goes_on(judge, stages, tmp_path, capsys):
    stages.stop_in = "memorisation"
    with pytest.raises(KeyboardInterrupt):
        judge()
    assert not (tmp_path / "out" / "metrics.json").exists()
    stages.stop_in = None
    evaluation = judge()
    assert stages.ran == ["physics", "memorisation"]
    assert len(evaluation.scores) == 2
    assert "physics already finished; resuming with memorisation" in capsys.readouterr().out


def test_the_same_again_gives_the_same_scores(judge, tmp_path):
    first = judge()
    again = judge(force=True)
    assert (again.scores, again.plots, again.verdicts) == (first.scores, first.plots, first.verdicts)


def test_stages_may_be_run_one_by_one(judge, stages):
    assert len(judge(only=("physics",)).scores) == 1
    assert len(judge(only=("memorisation",)).scores) == 2
    assert stages.ran == ["physics", "memorisation"]


def test_what_was_found_quickly_is_found_again_in_full(judge, stages):
    stages["memorisation"] = replace(stages["memorisation"], has_quick=True)
    judge(quick=True)
    judge(quick=True)
    judge(only=("physics",))
    assert stages.ran == ["physics", "memorisation"]
    judge()
    judge(quick=True)
    assert stages.ran == ["physics", "memorisation", "memorisation"]


def test_another_name_and_a_lost_report_need_no_stage(judge, stages, tmp_path):
    judge(report=False)
    assert not (tmp_path / "out" / "report.html").exists()
    assert judge(name="theirs").name == "theirs"
    assert (tmp_path / "out" / "report.html").exists()
    assert read_evaluation(tmp_path / "out").name == "theirs"
    assert stages.ran == ["physics", "memorisation"]


def test_other_inputs_are_refused_and_replaced_only_by_force(judge, stages, tmp_path, refuses):
    judge()
    with refuses(OutputError, str(tmp_path / "out"), "seed", "--force"):
        judge(seed=1)
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert judge(seed=1, force=True).seed == 1
    assert stages.ran == ["physics", "memorisation"] * 2
    assert (tmp_path / "out" / "mine.txt").exists()


def test_what_cannot_be_read_leaves_nothing_and_blocks_nothing(judge, tmp_path, refuses, contents):
    bad = tmp_path / "made" / "ribosome-00000.mrc"
    good = bad.read_bytes()
    write_volume(bad, np.full((8, 8, 8), np.nan), 10.0125)
    with refuses(SourceError, "ribosome-00000"):
        judge()
    assert not (tmp_path / "out").exists()
    bad.write_bytes(good)
    judge()
    write_volume(bad, np.full((8, 8, 8), np.nan), 10.0125)
    before = contents(tmp_path / "out")
    with refuses(SourceError, "ribosome-00000"):
        judge(force=True)
    assert contents(tmp_path / "out") == before


def test_another_tilt_range_is_another_input(judge, real_boxes, refuses):
    """It decides which power counts as the missing wedge's, and which turns keep it; the boxes stay the same."""
    judge()
    file = real_boxes / "dataset.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps(described | {"tilt_range_degrees": [-50.0, 50.0]}))
    with refuses(OutputError, "tilt_range_degrees", "--force"):
        judge()


def test_a_stage_that_a_killed_call_finished_is_told_later(judge, stages, tmp_path, contents):
    judge(only=("physics",))
    told = contents(tmp_path / "out")
    judge()
    for file in (
        "metrics.json",
        "samples.csv",
        "report.html",
    ):  # as if the second call had been killed before it wrote them
        with atomic_path(tmp_path / "out" / file) as temporary:
            temporary.write_bytes(told[file])
    assert len(judge(only=("memorisation",)).scores) == 2
    assert "memorisation number" in read_samples(tmp_path / "out")
    assert stages.ran == ["physics", "memorisation"]


def test_how_volumes_were_read_is_kept(judge, tmp_path):
    judge(voxel_size_angstrom=10.0125, limit=3, seed=2, labels={0: "ribosome"})
    inputs = EvaluationInputs.read(tmp_path / "out" / "stages" / "inputs.json", SourceError)
    assert inputs.reading == Reading(voxel_size_angstrom=10.0125, limit=3, seed=2, labels={0: "ribosome"})


def test_numbers_of_two_versions_are_not_mixed(judge, tmp_path, refuses):
    judge()
    path = tmp_path / "out" / "stages" / "inputs.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"frazil_version": "0.0.9"}))
    with refuses(OutputError, "0.0.9", "--force"):
        judge()


def test_a_notebook_shows_verdicts_and_real_baselines(real_boxes, make_volumes, tmp_path, stages):
    found = evaluate(real_boxes, make_volumes(), tmp_path / "out", name="<made>")
    shown = found._repr_html_()
    assert "&lt;made&gt;" in shown
    assert "realistic" in shown
    assert "<td>0.5</td>" in shown  # the real baseline
    assert found.report.read_text() == "report"
    assert list(found.scores["name"]) == ["spectrum_physics", "spectrum_memorisation"]


def test_the_command_line_says_what_is_missing(run, real_boxes):
    code, _, error = run("evaluate", real_boxes, "--out", "x")
    assert code == 2
    assert "REAL GENERATED --out DIR" in error
    code, _, error = run("evaluate", real_boxes / "none", real_boxes, "--out", "x")
    assert code == 2
    assert "frazil curate" in error


def test_the_command_line_judges_with_the_true_stages(run, make_box_store, make_volumes, tmp_path):
    real = make_box_store(box=16, picks_per_label=6)
    generated = make_volumes(box=16, count=5)
    code, out, error = run("evaluate", real, generated, "--out", tmp_path / "o", "--only", "physics")
    assert (code, "realistic?" in out, "physics" in error) == (0, True, True)
    evaluation = read_evaluation(tmp_path / "o")
    assert "spectrum_xy_dex" in {score.name for score in evaluation.scores}
    assert evaluation.verdicts[0].answer == "no"  # noise is not realistic
    assert "<html" in (tmp_path / "o" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"threads": 0}, "threads 0"),
        ({"voxel_size_angstrom": -3.0}, "voxel size -3"),
        ({"voxel_size_angstrom": float("nan")}, "voxel size nan"),
        ({"limit": 0}, "limit 0"),
        ({"only": ["beauty"]}, "'beauty'"),
    ],
)
def test_values_that_cannot_be_are_refused(judge, refuses, options, value):
    with refuses(RequestError, value):
        judge(**options)
