"""A stage is written as it was found, says what it cost, and what was found quickly counts until it is found in full."""

import json

import numpy as np
import pytest

from frazil.core.console import progress_bar
from frazil.core.errors import SourceError
from frazil.evaluation.records import STAGE_LOG, StageRecord, stage_file
from frazil.evaluation.stages.learned import all_embeddings
from frazil.evaluation.stages.material import Material
from frazil.evaluation.stages.run import Stage, run_stage
from frazil.evaluation.volumes import Sets, VolumeSet


class Learned:
    """Stands in for the learned embedding: counts how often it is learned."""

    description = "made up"

    def __init__(self):
        self.times = 0

    def find(self):
        return self.times > 0

    def learn(self, sets, on_step):
        on_step(1.0)
        self.times += 1

    def __call__(self, volumes):
        return volumes.reshape(len(volumes), -1)[:, :3]


@pytest.fixture
def learned():
    return Learned()


@pytest.fixture
def run(learned, tmp_path):
    volumes = np.random.default_rng(0).standard_normal((6, 16, 16, 16), dtype=np.float32)
    some = VolumeSet(volumes, np.array(["a", "b"] * 3), tuple("uvwxyz"), 10.0)

    def run(found=lambda material, on_step: StageRecord(), *, quick=False, **stage):
        material = Material(Sets(some, some, some), None, all_embeddings(learned), quick)
        with progress_bar(counted=False) as bar:
            return run_stage(tmp_path, "stage", Stage(found, **stage), material, learned, bar=bar)

    return run


def test_what_it_found_is_written(run, tmp_path):
    record = run(lambda material, on_step: StageRecord(warnings=("w",)))
    assert (record.warnings, record.quick) == (("w",), False)
    assert StageRecord.read(stage_file(tmp_path, "stage"), SourceError) == record.model_copy(update={"costs": ()})
    (line,) = (tmp_path / STAGE_LOG).read_text().splitlines()
    assert [json.loads(line)] == [dict(cost) for cost in record.costs]


def test_the_embedding_is_learned_by_the_first_stage_that_needs_it(run):
    records = [run(), run(learned=True), run(learned=True)]
    assert [[cost.name for cost in record.costs] for record in records] == [
        ["stage"], ["embedding", "stage"], ["stage"]
    ]  # fmt: skip


def test_three_embeddings_are_at_hand_and_the_learned_one_is_named(learned):
    embeddings = all_embeddings(learned)
    assert list(embeddings) == ["learned", "random", "handcrafted"]
    assert embeddings["learned"].description == "made up"


def test_quick_is_written_only_of_stages_that_have_a_quick_way(run):
    assert run(quick=True, has_quick=True).quick
    assert not run(quick=True).quick


def test_time_and_memory_are_measured(run):
    def large(material, on_step):
        np.ones(20_000_000).sum()
        return StageRecord()

    (cost,) = run(large).costs
    assert cost.peak_memory_gb > 0.16
    assert cost.seconds >= 0
