"""What a sample may depend on: its seed and its condition, and neither its batch nor global random state."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from frazil.core.errors import RequestError
from frazil.core.records import Condition
from frazil.core.seeds import numpy_generator
from frazil.core.settings import DiffusionSettings, ModelSettings, SamplingSettings
from frazil.diffusion.sampler import guided_prediction, sample_volumes
from frazil.diffusion.schedule import make_solver
from frazil.model.unet import build_network

PAPER = DiffusionSettings()
SAMPLERS = ["ddpm", "ddim", "dpm++", "sde-dpm++"]


def condition_of(count):
    return Condition(torch.arange(count) % 2, torch.linspace(0.1, 0.9, 3 * count).view(count, 3))


def generators(count, first=0):
    return [numpy_generator(0, "sample", index) for index in range(first, first + count)]


@pytest.fixture(scope="module")
def network():
    return build_network(ModelSettings(base_channels=8, embedding_width=16), 2).eval()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_last_step_ends_at_the_clean_volume(sampler, steps):
    # -13 is where z-scored tomograms end
    truth = torch.linspace(-13, 5, 512).view(1, 1, 8, 8, 8)
    samples = sample_volumes(
        lambda x_t, t, condition: truth.expand_as(x_t),
        condition_of(2),
        box_size_voxel=8,
        generators=generators(2),
        settings=PAPER,
        sampling=SamplingSettings(sampler=sampler, steps=steps),
    )
    torch.testing.assert_close(samples, truth.expand(2, -1, -1, -1, -1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("guidance", [1.0, 1.7])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_is_bitwise_the_same_in_every_batch(network, sampler, guidance, precision):
    count = 4
    condition = condition_of(count)

    def run(first, size):
        return sample_volumes(
            network,
            condition[first : first + size],
            box_size_voxel=8,
            generators=generators(min(size, count - first), first),
            settings=PAPER,
            sampling=SamplingSettings(sampler=sampler, steps=3, guidance=guidance),
            precision=precision,
        )

    together = run(0, count)
    assert together.std() > 0
    for size in (1, 3):
        assert torch.equal(torch.cat([run(first, size) for first in range(0, count, size)]), together)
    assert not torch.equal(together[0], together[2])


def test_boxes_need_not_be_cubes_and_progress_is_told(network):
    told = []
    samples = sample_volumes(
        network,
        condition_of(1),
        box_size_voxel=(8, 16, 24),
        generators=generators(1),
        settings=PAPER,
        sampling=SamplingSettings(sampler="dpm++", steps=3, guidance=2.0),
        on_step=lambda: told.append(1),
    )
    assert samples.shape == (1, 1, 8, 16, 24)
    assert samples.dtype == torch.float32
    assert len(told) == 3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_global_random_state_is_neither_used_nor_changed(network, sampler):
    def run():
        return sample_volumes(
            network,
            condition_of(1),
            box_size_voxel=8,
            generators=generators(1),
            settings=PAPER,
            sampling=SamplingSettings(sampler=sampler, steps=3),
        )

    torch.manual_seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the very state
    first = run()
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    torch.manual_seed(2)
    assert torch.equal(run(), first)


def test_the_first_noise_of_a_sample_is_that_of_its_generator():
    seen = []

    def record(x_t, t, condition):
        seen.append(x_t)
        return x_t

    sample_volumes(
        record,
        condition_of(2),
        box_size_voxel=8,
        generators=generators(2),
        settings=PAPER,
        sampling=SamplingSettings(steps=1),
    )
    expected = [numpy_generator(0, "sample", i).standard_normal((1, 8, 8, 8), dtype=np.float32) for i in (0, 1)]
    np.testing.assert_array_equal(seen[0], expected)


def test_the_network_sees_the_timesteps_of_the_solver():
    seen = []

    def record(x_t, t, condition):
        seen.append(t.tolist())
        return x_t

    sample_volumes(
        record,
        condition_of(2),
        box_size_voxel=8,
        generators=generators(2),
        settings=PAPER,
        sampling=SamplingSettings(steps=4),
    )
    assert seen == [[t, t] for t in make_solver("ddpm", PAPER, 4).timesteps]


def test_one_generator_a_sample_is_demanded(network, refuses):
    with refuses(RequestError, "3 generators", "2 samples", "one per sample"):
        sample_volumes(network, condition_of(2), box_size_voxel=8, generators=generators(3), settings=PAPER)


def by_label(x_t, t, condition):
    """Predict the number of the class, -1 without one."""
    return torch.zeros_like(x_t) + condition.label.view(-1, 1, 1, 1, 1)


@pytest.mark.parametrize(("scale", "expected"), [(0, [-1, -1]), (1, [0, 3]), (2, [1, 7]), (0.5, [-0.5, 1])])
def test_guidance_moves_away_from_the_prediction_without_a_label(scale, expected):
    condition = Condition(torch.tensor([0, 3]), torch.full((2, 3), 0.5))
    predicted = guided_prediction(by_label, torch.zeros(2, 1, 2, 2, 2), torch.tensor([7, 7]), condition, scale)
    assert predicted[:, 0, 0, 0, 0].tolist() == expected
    assert condition.label.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("guidance", "interval", "passes"),
    [
        (1.0, None, "111111"),
        (2.0, None, "222222"),
        (2.0, (0.0, 0.5), "111222"),  # sigma falls from 157 to 0.01
        (2.0, (0.1, 30.0), "122211"),
        (2.0, (1e3, 1e4), "111111"),
        (0.0, None, "111111"),
        (1.0, (0.1, 30.0), "111111"),
    ],
)
def test_the_second_pass_is_made_only_where_it_guides(guidance, interval, passes):
    solver = make_solver("dpm++", PAPER, 6)
    assert solver.sigmas == pytest.approx([157, 22.8, 3.3, 0.48, 0.07, 0.01], rel=0.1)
    calls = []

    def record(x_t, t, condition):
        calls.append(int(t[0]))
        return x_t

    sample_volumes(
        record,
        condition_of(1),
        box_size_voxel=8,
        generators=generators(1),
        settings=PAPER,
        sampling=SamplingSettings(sampler="dpm++", steps=6, guidance=guidance, guidance_interval=interval),
    )
    assert "".join(str(calls.count(t)) for t in solver.timesteps) == passes


RIPPLE = torch.tensor([3.0, -3.0]).repeat(4)


def by_height(x_t, t, condition):
    """Predict 2 with a ripple along x where the height is known, else 5."""
    return torch.zeros_like(x_t) + 5 + condition.layout[:, -2:-1] * (RIPPLE - 3)


def layout_of(depth, *, known=True):
    planes = torch.zeros(4, depth, 8, 8)
    planes[1:3] = 1
    planes[-1] = torch.linspace(-1, 1, depth)[:, None, None]
    planes[-2:] *= known
    return replace(condition_of(1), layout=planes[None])


def test_guidance_by_the_height_exaggerates_plane_by_plane_and_keeps_their_means():
    condition, push = layout_of(4), torch.tensor([[0.0, 1.0, 7.0, 0.0]])
    predicted = guided_prediction(by_height, torch.zeros(1, 1, 4, 8, 8), torch.tensor([7]), condition, 1, push)
    for plane, ripple in zip(predicted[0, 0], (1, 2, 8, 1), strict=True):
        assert torch.equal(plane, (2 + ripple * RIPPLE).expand(8, 8))
    assert condition.layout[0, -2].min() == 1


@pytest.mark.parametrize(("known", "heights", "passes"), [
    (True, (0.2, 0.8), "222111"), (True, (-0.1, 1.1), "111111"), (True, None, "111111"), (False, (0.2, 0.8), "111111"),
])  # fmt: skip
def test_the_height_guides_at_high_noise_and_outside_alone(known, heights, passes):
    calls, solver = [], make_solver("dpm++", PAPER, 6)

    def record(x_t, t, condition):
        calls.append(int(t[0]))
        return by_height(x_t, t, condition)

    volume = sample_volumes(
        record, layout_of(8, known=known), box_size_voxel=8, generators=generators(1), settings=PAPER, heights=heights,
        sampling=SamplingSettings(sampler="dpm++", steps=6, height_guidance=3.0),
    )  # fmt: skip
    assert "".join(str(calls.count(t)) for t in solver.timesteps) == passes
    expected = 2 + RIPPLE if known else torch.tensor(5.0)
    torch.testing.assert_close(volume, expected.expand_as(volume), atol=0.1, rtol=0)  # as the last steps say


def test_guidance_of_one_changes_no_bit(network):
    def run(**guidance):
        sampling = SamplingSettings(sampler="sde-dpm++", steps=4, **guidance)
        return sample_volumes(
            network, condition_of(2), box_size_voxel=8, generators=generators(2), settings=PAPER, sampling=sampling
        )

    plain, outside = run(), run(guidance=3.0, guidance_interval=(1e3, 1e4))
    guided = run(guidance=3.0)
    assert torch.equal(plain, outside)
    assert not torch.equal(plain, guided)
