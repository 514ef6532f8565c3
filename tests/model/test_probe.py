"""The probe times the very network, and decides the same way again."""

import pytest
import torch

from frazil.core.settings import DiffusionSettings, ModelSettings
from frazil.model.compute import Compute
from frazil.model.probe import Probe, candidates, probe
from frazil.model.unet import build_network

PLAIN, ROUGH = Compute.named("32-true"), Compute.named("bf16-mixed")


class Clock:
    """A clock on which every way of computing takes the seconds that are named; it is read before and after a pass."""

    def __init__(self, network, seconds):
        self.now, self.runs, self.seconds = 0.0, [], seconds
        network.register_forward_hook(lambda module, inputs, output: self.tick())

    def tick(self):
        compute = ROUGH if torch.is_autocast_enabled("cpu") else PLAIN
        self.runs.append(compute)
        self.now += self.seconds[compute]

    def __call__(self):
        return self.now


@pytest.fixture
def network():
    settings = ModelSettings(base_channels=8, embedding_width=8, front_end="haar", preconditioning="edm")
    return build_network(settings, 2, DiffusionSettings(timesteps=50))


@pytest.mark.parametrize(
    ("plain", "rough", "chosen"),
    [(0.1, 0.04, ROUGH), (0.1, 0.3, PLAIN), (0.1, 0.0999, PLAIN), (5.0, 0.5, ROUGH), (0.5, 5.0, PLAIN)],
)
def test_the_clearly_faster_one_is_chosen_and_in_doubt_the_plainest(network, plain, rough, chosen):
    clock = Clock(network, {PLAIN: plain, ROUGH: rough})
    found = probe(network, [PLAIN, ROUGH], box_size_voxel=16, device="cpu", gradients=True, clock=clock)
    assert found.chosen == chosen
    assert found.seconds == pytest.approx({PLAIN: plain, ROUGH: rough})
    assert clock.now < 2 * (plain + rough) + 1.5  # a pass each to warm up, then a second
    assert clock.runs[:2] == [PLAIN, ROUGH]
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(("box", "edge"), [(16, 16), (64, 64), (128, 64)])  # half of it after the front end
def test_the_timed_box_is_the_real_one_up_to_what_a_second_allows(network, box, edge):
    clock = Clock(network, {PLAIN: 5.0, ROUGH: 5.0})
    assert (
        probe(network, [PLAIN, ROUGH], box_size_voxel=box, device="cpu", gradients=False, clock=clock).box_size_voxel
        == edge
    )


def test_on_the_clock_of_this_machine_it_takes_about_a_second_and_leaves_random_numbers_alone(network):
    torch.manual_seed(1)
    before, usual, threads = torch.get_rng_state(), torch.get_num_threads(), []
    network.register_forward_hook(lambda module, inputs, output: threads.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        found = probe(network, [PLAIN, ROUGH], box_size_voxel=16, device="cpu", gradients=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(usual)
    assert set(threads) == {1}  # threads that wait for each other would count their waiting
    assert torch.equal(torch.get_rng_state(), before)
    assert all(0 < seconds < 5 for seconds in found.seconds.values())


def test_what_is_open_is_all_that_is_compared():
    assert candidates("32-true", None) == (PLAIN,)
    assert candidates("bf16-mixed", "contiguous") == (Compute("bf16-mixed", "contiguous"),)
    assert candidates("auto", None) == (PLAIN, ROUGH)
    assert candidates("auto", "contiguous") == (PLAIN, Compute("bf16-mixed", "contiguous"))


def test_what_was_decided_before_stands():
    assert candidates("auto", None, kept=ROUGH) == (ROUGH,)
    assert candidates("32-true", None, kept=ROUGH) == (PLAIN,)


def test_one_line_says_what_was_chosen_and_the_figures():
    line = str(Probe(ROUGH, {PLAIN: 0.21, ROUGH: 0.0814}, 64, gradients=True))
    assert line == (
        "bf16-mixed, the fastest here: 32-true 0.210 s, bf16-mixed 0.081 s a pass with gradients of one box of 64 voxels"
    )
