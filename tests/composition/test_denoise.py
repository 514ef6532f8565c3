"""Denoising in windows: the same as in one piece, the same after an interruption, the same noise everywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from frazil.composition.denoise import Denoiser
from frazil.composition.windows import tile
from frazil.core.records import NULL_LABEL, Condition, Layout
from frazil.core.seeds import numpy_generator
from frazil.core.settings import SamplingSettings
from frazil.diffusion.sampler import sample_volumes
from frazil.model.bundle import load_bundle
from frazil.model.compute import Compute
from frazil.model.layout import painter_of

SHAPE, SMALL = (16, 32, 96), (16, 32, 48)
LAYOUT = Layout(
    np.array([1, 0, 1]), np.array([[8.2, 9, 9.6], [5, 28, 12], [11, 20, 40]]), np.tile(np.eye(3), (3, 1, 1))
)


@pytest.fixture
def denoiser(make_layout_bundle) -> Denoiser:
    bundle = load_bundle(make_layout_bundle())
    return Denoiser(
        bundle.network, painter_of(bundle.network, bundle.card), 2**bundle.card.preset.model.halvings, (-48.0, 45.0),
        bundle.card.preset.diffusion, SamplingSettings(sampler="dpm++", steps=4), Compute.named("32-true"), torch.device("cpu"),
    )  # fmt: skip


@pytest.mark.parametrize("sampler", ["dpm++", "ddim", "ddpm", "sde-dpm++"])
@pytest.mark.parametrize(("guidance", "height_guidance"), [(1.0, 1.0), (1.5, 1.0), (1.0, 4.0), (1.5, 4.0)])
def test_one_window_is_a_sampled_volume(denoiser, tmp_path, sampler, guidance, height_guidance):
    class Noise:
        """The noise of the composition, step by step."""

        step = -1

        def standard_normal(self, shape, dtype):
            self.step += 1
            drawn = numpy_generator(3, "composition", 7, self.step, 0, 0, 0).standard_normal((64,) * 3, dtype=dtype)
            return drawn[None, : shape[1], : shape[2], : shape[3]]

    sampling = SamplingSettings(sampler=sampler, steps=4, guidance=guidance, height_guidance=height_guidance)
    heights = (0.3, 0.6)
    composed = replace(denoiser, sampling=sampling, heights=heights).denoise(LAYOUT, SMALL, tmp_path, seed=3, index=7)
    condition = Condition(
        torch.full((1,), NULL_LABEL), torch.full((1, 3), torch.nan), denoiser.painter.paint(LAYOUT, (0, 0, 0), SMALL, 16)[None],
        torch.tensor([denoiser.tilt_range_degrees]),
    )  # fmt: skip
    sampled = sample_volumes(
        denoiser.network,
        condition,
        box_size_voxel=SMALL,
        generators=[Noise()],
        settings=denoiser.diffusion,
        sampling=sampling,
        heights=heights,
    )
    volume = sampled[0, 0].numpy()
    assert np.abs(composed - volume).max() < 1e-4 * volume.std()


def test_a_part_has_the_noise_of_the_whole(denoiser, tmp_path):
    """Where the network predicts zeros, the volume of a stochastic sampler is its noise, whatever the windows."""
    silent = replace(
        denoiser, network=lambda x, t, condition: x * 0, sampling=SamplingSettings(sampler="ddpm", steps=3)
    )
    shape = (16, 80, 150)
    folders = [tmp_path / name for name in "ab"]
    for folder, largest in zip(folders, (10**7, 16**3), strict=True):
        silent.denoise(
            LAYOUT, shape, folder, seed=1, index=0, windows=tile((16, 80, 160), 16, halo_voxel=0, largest_voxel=largest)
        )
    one, other = (np.load(folder / "x-even.npy") for folder in folders)  # before the last step
    assert one.std() > 0.001
    assert np.array_equal(one, other)
    assert abs(np.corrcoef(one[:, :64, :64].ravel(), one[:, :64, 64:128].ravel())[0, 1]) < 0.02


def test_what_is_kept_of_layouts_saves_work_and_changes_no_byte(denoiser, tmp_path, monkeypatch):
    windows = tile(SHAPE, 16, largest_voxel=16 * 32 * 64)
    branch, passes = denoiser.network.layout, []
    branch.register_forward_hook(lambda *_: passes.append(None))
    kept = denoiser.denoise(LAYOUT, SHAPE, tmp_path / "kept", seed=3, index=7, windows=windows)
    assert len(passes) == len(windows)
    monkeypatch.setattr("frazil.composition.denoise.KEPT_BYTES", 0)
    anew = denoiser.denoise(LAYOUT, SHAPE, tmp_path / "anew", seed=3, index=7, windows=windows)
    assert len(passes) == (1 + 4) * len(windows)
    assert kept.tobytes() == anew.tobytes()


def test_interrupted_it_continues_to_the_same_bytes(denoiser, tmp_path):
    windows = tile(SHAPE, 16, largest_voxel=16 * 32 * 64)
    assert len(windows) == 2
    whole = denoiser.denoise(LAYOUT, SHAPE, tmp_path / "whole", seed=3, index=7, windows=windows, threads=2)
    calls = []

    def stop(_: float) -> None:
        calls.append(None)
        if len(calls) == 2 * len(windows) + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoiser.denoise(LAYOUT, SHAPE, tmp_path / "part", seed=3, index=7, windows=windows, on_step=stop)
    calls = [None] * 1000
    rest: list[float] = []
    resumed = denoiser.denoise(LAYOUT, SHAPE, tmp_path / "part", seed=3, index=7, windows=windows, on_step=rest.append)
    assert sum(rest) == pytest.approx(2)  # of four steps; the broken one is repeated
    assert resumed.tobytes() == whole.tobytes()


@pytest.mark.parametrize("damage", ["steps", "nothing", "short", "other"])
def test_a_damaged_state_is_begun_again(denoiser, tmp_path, damage):
    whole = denoiser.denoise(LAYOUT, SHAPE, tmp_path / "whole", seed=3, index=7).copy()
    denoiser.denoise(LAYOUT, SHAPE, tmp_path / "part", seed=3, index=7)
    if damage == "short":
        (tmp_path / "part/x-odd.npy").write_bytes((tmp_path / "part/x-odd.npy").read_bytes()[:1000])
    elif damage == "other":
        np.save(tmp_path / "part/x0-even.npy", np.zeros((2, 2, 2), np.float32))
    else:
        (tmp_path / "part/done.json").write_text('{"steps": 1000}' if damage == "steps" else "{}")
    assert denoiser.denoise(LAYOUT, SHAPE, tmp_path / "part", seed=3, index=7).tobytes() == whole.tobytes()


def test_the_volume_depends_on_layout_and_seed(denoiser, tmp_path):
    def made(name: str, layout: Layout, index: int) -> np.ndarray:
        return denoiser.denoise(layout, SHAPE, tmp_path / name, seed=3, index=index)

    one = made("one", LAYOUT, 0)
    for name, layout, index in (
        ("other", LAYOUT, 1),
        ("fewer", LAYOUT[np.array([0])], 0),
        ("hidden", LAYOUT.without_rotations(), 0),
    ):
        assert np.abs(made(name, layout, index) - one).max() > 1e-3
