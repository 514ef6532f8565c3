"""A student's one step ends where its teacher's several end."""

import pytest
import torch

from frazil.core.records import NULL_LABEL, Condition
from frazil.core.seeds import numpy_generator
from frazil.core.settings import DiffusionSettings, SamplingSettings
from frazil.diffusion.distillation import Distillation
from frazil.diffusion.sampler import sample_volumes
from frazil.diffusion.schedule import make_solver, noise_levels
from frazil.model.noise import NoiseSchedule

SETTINGS = DiffusionSettings()
CONDITION = Condition(torch.tensor([0]), torch.full((1, 3), 0.5))


class OfNormalData:
    """The exact denoiser of voxels with mean 0.3 and this standard deviation; it counts its evaluations."""

    def __init__(self, std):
        self.std, self.schedule, self.count = std, NoiseSchedule.from_settings(SETTINGS), 0

    def __call__(self, x, t, condition):
        self.count += 1
        abar = self.schedule.abar(t).float()[:, None, None, None, None]
        gain = abar.sqrt() * self.std**2 / (abar * self.std**2 + 1 - abar)
        return 0.3 + gain * (x - abar.sqrt() * 0.3)


class Student:
    """Predicts exactly the target of its teacher."""

    def __init__(self, teacher, distillation):
        self.teacher, self.distillation = teacher, distillation

    def __call__(self, x, t, condition):
        step = torch.tensor([self.distillation.timesteps.index(int(one)) for one in t])
        return self.distillation.target(self.teacher, x, step, condition)


def sample(network, sampler, steps):
    return sample_volumes(
        network, CONDITION, box_size_voxel=16, generators=[numpy_generator(1, "sample", 0)], settings=SETTINGS,
        sampling=SamplingSettings(sampler=sampler, steps=steps),
    )  # fmt: skip


@pytest.mark.parametrize("evaluations", [2, 4])
def test_a_perfect_student_samples_what_its_teacher_samples(evaluations):
    teacher, distillation = OfNormalData(0.5), Distillation.of(SETTINGS, evaluations)
    found = sample(Student(teacher, distillation), "distilled", evaluations)
    assert teacher.count == 4 * evaluations
    exact = sample(OfNormalData(0.5), "dpm++", 200)
    assert float((found - exact).abs().max()) < (0.05 if evaluations == 4 else 0.25)
    naive = sample(OfNormalData(0.5), "distilled", evaluations)
    assert float((naive - exact).abs().max()) > 3 * float((found - exact).abs().max())


def test_of_data_that_are_one_point_the_target_is_that_point():
    distillation = Distillation.of(SETTINGS, 4)
    step = torch.arange(4)
    x = torch.randn(4, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    target = distillation.target(lambda x, t, condition: torch.full_like(x, 0.7), x, step, CONDITION)
    torch.testing.assert_close(target, torch.full_like(x, 0.7), atol=1e-3, rtol=0)


def test_guidance_of_the_teacher_is_taught_too():
    """Where the label says 0.7 and no label 0.2, twice the difference is 1.2."""

    def teacher(x, t, condition):
        return torch.where(condition.label == NULL_LABEL, 0.2, 0.7)[:, None, None, None, None].expand_as(x)

    step = torch.arange(4)
    x = torch.randn(4, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    condition = Condition(torch.zeros(4, dtype=torch.int64), torch.full((4, 3), 0.5))
    target = Distillation.of(SETTINGS, 4).target(teacher, x, step, condition, guidance=2.0)
    torch.testing.assert_close(target, torch.full_like(x, 1.2), atol=1e-3, rtol=0)


def test_guidance_by_the_height_is_taught_where_noise_is_high():
    """Where the height says a ripple of 0.5, three times that is 1.5; the last two of four steps are below sigma 2."""
    ripple = torch.tensor([0.5, -0.5, 0.5, -0.5])

    def teacher(x, t, condition):
        return torch.zeros_like(x) + 0.2 + condition.layout[:, -2:-1] * ripple

    step = torch.tensor([0, 2, 3])
    x = torch.randn(3, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    condition = Condition(torch.zeros(3, dtype=torch.int64), torch.full((3, 3), 0.5), torch.ones(3, 4, 4, 4, 4))
    push = torch.tensor([[2.0, 0, 0, 2]]).expand(3, 4)
    target = Distillation.of(SETTINGS, 4).target(teacher, x, step, condition, push=push)
    expected = (0.2 + ripple).expand_as(x).clone()
    expected[0, :, [0, 3]] = 0.2 + 3 * ripple
    torch.testing.assert_close(target, expected, atol=1e-3, rtol=0)


def test_levels_are_even_and_all_steps_are_drawn_alike():
    distillation = Distillation.of(SETTINGS, 4)
    assert distillation.timesteps == tuple(make_solver("distilled", SETTINGS, 4).timesteps)
    assert distillation.timesteps[0] == 999
    sigmas = noise_levels(SETTINGS)[list(distillation.timesteps)]
    ratios = sigmas[:-1] / sigmas[1:]
    assert ratios == pytest.approx(ratios.mean(), rel=0.15)
    drawn = distillation.step_of(torch.arange(1000))
    assert torch.bincount(drawn).tolist() == [250] * 4
    assert distillation.level(torch.tensor([0, 3])).tolist() == [999, distillation.timesteps[3]]
    for first, inner in zip(distillation.timesteps, distillation.between, strict=True):
        assert inner[0] == first
        assert list(inner) == sorted(inner, reverse=True)
