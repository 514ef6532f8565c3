"""A bundle as a generator: what is asked for is what comes, and sample i depends on (seed, i) alone."""

from threading import Event

import numpy as np
import pytest
import torch

import frazil
from frazil.core.errors import BundleError, RequestError
from frazil.core.presets import load_preset
from frazil.model.bundle import Bundle, load_bundle
from frazil.model.compute import Compute
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.request import Request
from frazil.sampling.samples import Samples


class Echo(torch.nn.Module):
    """Predicts a volume that says what the network was told: the number of the class, z, y and x in four voxels."""

    def forward(self, x_t, t, condition):
        volume = torch.zeros_like(x_t)
        volume[:, 0, 0, 0, 0] = condition.label
        volume[:, 0, 0, 0, 1:4] = condition.position
        return volume


class Remembering(torch.nn.Module):
    """Predicts the noisy volume itself, so that the first noise decides the sample."""

    def forward(self, x_t, t, condition):
        return x_t


class Broken(torch.nn.Module):
    """Predicts NaN."""

    def forward(self, x_t, t, condition):
        return x_t * float("nan")


@pytest.fixture
def threads():
    """Return a function that calls another with a number of torch threads, and sets it back."""

    def call(number, function):
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            result = function()
            assert torch.get_num_threads() == number
            return result
        finally:
            torch.set_num_threads(before)

    return call


@pytest.fixture
def generator(make_bundle):
    return frazil.load(make_bundle(), device="cpu")


def with_network(bundle, network, **options):
    loaded = load_bundle(bundle)
    return ParticleGenerator(Bundle(network, loaded.card, loaded.digest), device="cpu", **options)


def test_the_network_is_told_the_class_and_the_position_in_zyx(make_bundle):
    echo = with_network(make_bundle(), Echo())
    samples = echo.sample(label=["ribosome", "apo-ferritin"], position=(0.1, 0.2, 0.3), count=2, batch_size=3)
    assert samples.labels == ["ribosome", "ribosome", "apo-ferritin", "apo-ferritin"]
    assert samples.indices == [0, 1, 2, 3]
    assert samples.voxel_size_angstrom == 10.0125
    np.testing.assert_allclose(samples.positions, [[0.1, 0.2, 0.3]] * 4)
    # the last step of eq. 3 returns the predicted clean volume itself
    expected = [[1, 0.1, 0.2, 0.3]] * 2 + [[0, 0.1, 0.2, 0.3]] * 2
    np.testing.assert_allclose(samples.volumes[:, 0, 0, :4], expected, atol=1e-6)
    assert samples.volumes.shape == (4, 8, 8, 8)
    assert samples.volumes.dtype == np.float32


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("sampler", ["ddpm", "sde-dpm++", "dpm++"])
def test_no_bit_of_a_sample_depends_on_the_batch_size_on_the_cpu(generator, sampler, precision):
    alone, *others = (
        generator.sample(
            label="ribosome", count=4, seed=3, sampler=sampler, steps=3, batch_size=size, precision=precision
        )
        for size in (1, 2, 3)
    )
    assert alone.volumes.std() > 0.1
    assert np.abs(alone.volumes[0] - alone.volumes[1]).max() > 0.1
    for other in others:
        np.testing.assert_array_equal(other.volumes, alone.volumes)


def test_a_part_of_a_request_agrees_with_the_whole(generator):
    whole = generator.sample(label="ribosome", count=5, seed=3, batch_size=1)
    part = generator.sample(label="ribosome", count=2, seed=3, batch_size=1, first=3)
    assert part.indices == [3, 4]
    np.testing.assert_array_equal(part.volumes, whole.volumes[3:])


def test_finished_samples_are_not_computed_again_and_the_rest_is_the_same(generator):
    plan = generator.plan([Request(label="ribosome", count=5)], seed=3, batch_size=2)
    whole = Samples.joined(list(generator.run(plan))).volumes
    rest = Samples.joined(list(generator.run(plan, plan.batches([0, 1, 4]))))
    assert rest.indices == [2, 3]
    np.testing.assert_array_equal(rest.volumes, whole[2:4])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_bit_of_a_sample_depends_on_the_number_of_threads(generator, threads, precision):
    one, three = (
        threads(number, lambda: generator.sample(label="ribosome", count=5, seed=3, precision=precision))
        for number in (1, 3)
    )
    assert three.indices == one.indices
    np.testing.assert_array_equal(three.volumes, one.volumes)


@pytest.mark.parametrize("number", [1, 2])
def test_an_interrupt_in_a_step_ends_the_sampling(generator, threads, number, monkeypatch):
    """The first piece (of two samples) is interrupted; any other begins one step and learns in the next that it is over."""
    stopped, steps = Event(), []
    monkeypatch.setattr("frazil.sampling.generator.Event", lambda: stopped)

    def interrupt(count):
        steps.append(count)
        if steps.count(2) == 4 and count == 2:
            raise KeyboardInterrupt
        if steps.count(2) > 4 or count == 1:
            assert stopped.wait(60)

    with pytest.raises(KeyboardInterrupt):
        threads(number, lambda: generator.sample(label="ribosome", count=8, batch_size=1 + number, on_step=interrupt))
    assert len(steps) <= 4 + number


def test_the_seed_decides_the_noise(make_bundle):
    remembering = with_network(make_bundle(), Remembering())
    first, again, other = (remembering.sample(label="ribosome", seed=seed).volumes for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] < 0.2


def test_global_random_state_is_neither_read_nor_changed(generator):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = generator.sample(label="ribosome").volumes
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.testing.assert_array_equal(generator.sample(label="ribosome").volumes, first)


def test_progress_counts_every_evaluation_of_every_volume(generator):
    counts = []
    generator.sample(label="ribosome", count=5, sampler="dpm++", steps=4, batch_size=2, on_step=counts.append)
    assert sum(counts) == 5 * 4


def test_bf16_stays_near_float32_and_leaves_no_trace(generator):
    before = generator.sample(label="ribosome", count=2).volumes
    rough = generator.sample(label="ribosome", count=2, precision="bf16-mixed").volumes
    np.testing.assert_array_equal(generator.sample(label="ribosome", count=2).volumes, before)
    assert not np.array_equal(rough, before)
    assert np.corrcoef(rough.ravel(), before.ravel())[0, 1] > 0.99


def test_the_bundle_suggests_sampler_and_steps(generator):
    request = [Request(label="ribosome")]
    assert (generator.plan(request).sampler, generator.plan(request).steps) == ("ddpm", 6)
    assert generator.plan(request, sampler="ddim").steps == 6  # the usual 50 are more than there are timesteps


@pytest.fixture
def guided(make_bundle):
    """A generator whose bundle was trained with hidden labels, and suggests guidance."""
    return frazil.load(
        make_bundle(name="guided", preset=guided_preset()),
        device="cpu",
    )


def guided_preset():
    settings = {"training.class_dropout": 0.1, "sampling.guidance": 1.5, "sampling.guidance_interval": [0.3, 5.0]}
    small = {"diffusion.timesteps": 6, "model.embedding_width": 8, "sampling.steps": 6}
    return load_preset("smoke", small | settings)


def test_the_bundle_suggests_guidance(guided):
    request = [Request(label="ribosome")]

    def chosen(**options):
        plan = guided.plan(request, **options)
        return plan.guidance, plan.guidance_interval

    assert chosen() == (1.5, (0.3, 5.0))
    assert chosen(guidance=2.0) == (2.0, (0.3, 5.0))
    assert chosen(guidance_interval=(0.1, 1.0)) == (1.5, (0.1, 1.0))
    assert chosen(guidance=1.0) == (1.0, None)
    assert chosen(guidance=0.0) == (0.0, (0.3, 5.0))


def test_guidance_changes_the_samples_and_no_bit_of_them_depends_on_the_batch_size(guided):
    options = {"label": "ribosome", "count": 3, "guidance_interval": (0.0, 1e3)}
    one, all_ = (guided.sample(guidance=2.0, batch_size=size, **options).volumes for size in (1, 3))
    np.testing.assert_array_equal(one, all_)
    assert np.abs(one - guided.sample(label="ribosome", count=3, guidance=1.0).volumes).max() > 1e-3
    without = [guided.sample(label=label, guidance=0.0, guidance_interval=(0.0, 1e3)) for label in guided.labels]
    np.testing.assert_array_equal(without[0].volumes, without[1].volumes)


@pytest.mark.parametrize("native", ["bf16-mixed", "32-true"])
def test_the_precision_is_that_of_the_training_but_where_it_would_be_emulated(
    generator, make_bundle, monkeypatch, native
):
    monkeypatch.setattr("frazil.model.compute.native_precision", lambda device: native)
    request = [Request(label="ribosome")]
    assert generator.plan(request).compute == Compute("32-true", "contiguous")
    rough = load_preset("smoke", {"training.precision": "bf16-mixed", "model.embedding_width": 8})
    assert frazil.load(make_bundle(name="rough", preset=rough), device="cpu").plan(request).compute == Compute(
        native, "channels-last"
    )


def test_a_box_that_cannot_fit_in_memory_is_refused_before_anything_is_computed(generator, monkeypatch, refuses):
    monkeypatch.setattr("frazil.model.devices.memory_of", lambda device, processes=1: 2**22 // processes)
    request = [Request(label="ribosome", count=7)]
    assert generator.plan(request).batch_size == 32  # more than there are
    with refuses(RequestError, "a batch of 7 boxes of 8 voxels", "GiB", "cpu has", "a batch size of 5"):
        generator.plan(request, workers=2)


def test_a_bundle_without_voxel_size_takes_the_given_one(make_bundle):
    bundle = make_bundle(voxel_size_angstrom=None)
    assert np.isnan(frazil.load(bundle, device="cpu").voxel_size_angstrom)
    assert "voxels of unknown size" in repr(frazil.load(bundle, device="cpu").sample(label="ribosome", steps=1))
    given = ParticleGenerator.from_bundle(bundle, device="cpu", voxel_size_angstrom=10.0)
    assert given.sample(label="ribosome", steps=1).voxel_size_angstrom == 10.0


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"label": "ribosom"}, ("ribosom", "apo-ferritin, ribosome")),
        ({"label": []}, ("nothing is asked for", "apo-ferritin, ribosome")),
        ({"label": "ribosome", "position": (0.5, 0.5)}, ("position (0.5, 0.5)", "z, y, x")),
        ({"label": "ribosome", "position": (0.5, 0.5, -0.1)}, ("position x = -0.1", "0 to 1")),
        ({"label": "ribosome", "count": -2}, ("count -2", "at least 1")),
        ({"label": "ribosome", "steps": 0}, ("0 steps", "1 to 6")),
        ({"label": "ribosome", "steps": 7}, ("7 steps", "1 to 6")),
        (
            {"label": "ribosome", "sampler": "euler"},
            ("sampler = 'euler'", "'ddpm', 'ddim', 'dpm++', 'sde-dpm++' or 'distilled'"),
        ),
        ({"label": "ribosome", "precision": "16"}, ("precision '16'", "32-true, bf16-mixed, auto")),
        ({"label": "ribosome", "step": 3}, ("step: not an option", "steps")),
        ({"label": "ribosome", "guidance": -0.5}, ("guidance = -0.5", "greater than or equal to 0")),
        ({"label": "ribosome", "guidance": float("nan")}, ("guidance = nan", "finite")),
        ({"label": "ribosome", "guidance": 2.0}, ("guidance 2", "every label shown", "training.class_dropout=0.1")),
        (
            {"label": "ribosome", "guidance": 2.0, "guidance_interval": (5.0, 0.3)},
            ("guidance_interval = (5.0, 0.3)", "lower", "first"),
        ),
        (
            {"label": "ribosome", "guidance": 2.0, "guidance_interval": (-1.0, 5.0)},
            ("guidance_interval = (-1.0, 5.0)", "from 0"),
        ),
        ({"label": "ribosome", "guidance_interval": (0.3, 5.0)}, ("interval 0.3,5", "guidance 1")),
        ({"label": "ribosome", "batch_size": 0}, ("batch size 0", "at least 1")),
        ({"label": "ribosome", "first": -1}, ("first sample -1", "at least 0")),
        ({"label": "ribosome", "seed": None}, ("seed None", "a whole number")),
        ({"label": "ribosome", "seed": 1.5}, ("seed 1.5", "a whole number")),
    ],
)
def test_what_cannot_be_served_is_refused(generator, options, parts, refuses):
    with refuses(RequestError, *parts):
        generator.sample(**options)


@pytest.mark.parametrize(
    ("voxel_size", "parts"), [(5.0, ("5 A", "10.0125 A", "leave")), (0.0, ("0 A", "positive")), (-1.0, ("-1 A",))]
)
def test_a_voxel_size_that_cannot_be_is_refused(make_bundle, voxel_size, parts, refuses):
    with refuses(RequestError, *parts):
        ParticleGenerator.from_bundle(make_bundle(), device="cpu", voxel_size_angstrom=voxel_size)


def test_values_that_are_not_finite_are_refused(make_bundle, refuses):
    with refuses(BundleError, "samples 0 to ", "not finite", "ddpm"):
        with_network(make_bundle(), Broken()).sample(label="ribosome", count=2, batch_size=2)


def test_a_batch_that_does_not_fit_in_memory_is_refused(make_bundle, refuses):
    class Hungry(torch.nn.Module):
        def forward(self, x_t, t, condition):
            return torch.empty(2**60)

    with refuses(RequestError, "batch of 4 boxes", "memory of cpu", "batch size of 2"):
        with_network(make_bundle(), Hungry()).sample(label="ribosome", count=4, batch_size=4)


def test_a_notebook_shows_what_a_generator_knows_and_what_it_made(generator):
    assert "apo-ferritin, ribosome; 8^3 voxels of 10.012 A; cpu" in repr(generator)
    samples = generator.sample(label=["ribosome", "apo-ferritin"], count=2)
    assert repr(samples) == "Samples(2 ribosome, 2 apo-ferritin; 8^3 voxels of 10.012 A, seed 0)"
    html = samples._repr_html_()
    assert html.count("data:image/png;base64,") == 4
    assert html.count(">ribosome<") == 2
