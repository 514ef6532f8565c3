"""A stage is kept as it was found, says what it cost, and what was found quickly counts until it is found in full."""

import numpy as np
import pytest

from frazil.core.console import share_bar
from frazil.evaluation.stages.stage import Material, Meter, Room, kept_stage, run_stage, to_record
from frazil.evaluation.volumes import Section, Sets, VolumeSet


class Learned:
    """Stands for the learned embedding: counts how often it is learned."""

    description = "made up"

    def __init__(self):
        self.times = 0

    def find(self):
        return self.times > 0

    def learn(self, sets, tell):
        tell(1.0)
        self.times += 1

    def __call__(self, volumes):
        return volumes.reshape(len(volumes), -1)[:, :3]


@pytest.fixture
def material():
    volumes = np.random.default_rng(0).standard_normal((6, 16, 16, 16), dtype=np.float32)
    some = VolumeSet(volumes, np.array(["a", "b"] * 3), tuple("uvwxyz"), 10.0)
    return Material(Sets(some, some, some), None, Learned())


def run(out, room, material, name="stage"):
    with share_bar() as bar:
        return run_stage(out, name, room, material, input_digest="sha256:1", bar=bar)


def test_it_is_kept_for_its_input_alone(material, tmp_path):
    record = run(tmp_path, Room(lambda material, tell: Section(warnings=("w",))), material)
    assert kept_stage(tmp_path, "stage", "sha256:1") == record
    assert kept_stage(tmp_path, "stage", "sha256:2") is None
    assert kept_stage(tmp_path, "another", "sha256:1") is None


def test_numbers_that_are_none_are_written_as_nothing():
    section = Section(per_sample={"doubt": np.array([1.0, np.nan, np.inf], dtype=np.float32)})
    assert to_record(section, "sha256:1", ()).per_sample == {"doubt": (1.0, None, None)}


def test_the_embedding_is_learned_by_the_first_stage_that_needs_it(material, tmp_path):
    nothing = Section()
    plain = run(tmp_path, Room(lambda material, tell: nothing), material)
    first = run(tmp_path, Room(lambda material, tell: nothing, learned=True), material)
    second = run(tmp_path, Room(lambda material, tell: nothing, learned=True), material)
    assert [[cost.name for cost in record.costs] for record in (plain, first, second)] == [
        ["stage"], ["embedding", "stage"], ["stage"]
    ]  # fmt: skip


def test_three_embeddings_are_at_hand_and_the_learned_one_is_named(material):
    assert list(material.embeddings) == ["learned", "random", "handcrafted"]
    assert material.embeddings["learned"].description == "made up"
    assert material.embeddings["learned"](material.sets.generated.volumes).shape == (6, 3)


def test_quickly_is_written_only_of_stages_that_have_a_quick_way(material, tmp_path):
    material.quick = True
    assert run(tmp_path, Room(lambda material, tell: Section(), has_quick=True), material).quick
    assert not run(tmp_path, Room(lambda material, tell: Section()), material).quick


def test_a_meter_sees_time_and_memory():
    meter = Meter()
    with meter.of("large"):
        large = np.ones(20_000_000)
    del large
    (cost,) = meter.costs
    assert cost.peak_memory_gb > 0.16
    assert cost.seconds >= 0
