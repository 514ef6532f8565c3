"""From noise to one tomogram of any shape: step by step, window by window, with the volume on disk.

A step of a sampler is a sum (`StepWeights`), so a window writes its core of the next volume as soon as it is predicted. All that the
steps need lies in memory-mapped files, twice: a call that was killed continues after the last step that was finished.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from threading import Event

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import nn

from frazil.composition.windows import Slices, Window, padded_shape, tile
from frazil.core.errors import BundleError
from frazil.core.files import output_errors, write_json
from frazil.core.ledger import remove_own
from frazil.core.reading import read_json
from frazil.core.records import NULL_LABEL, Condition, Layout, TiltRange
from frazil.core.seeds import numpy_generator
from frazil.core.settings import DiffusionSettings, SamplingSettings
from frazil.diffusion.sampler import HEIGHT_GUIDED_SIGMA, guided_prediction, read_layout
from frazil.diffusion.schedule import make_solver
from frazil.io.npz import HEADER_ERRORS
from frazil.model.compute import Compute
from frazil.volume.crop import crop
from frazil.volume.layout import Painter, outside_heights

_BLOCK_VOXEL = 64
"""Edge of the blocks of noise, each drawn on its own."""

_DONE_FILE = "done.json"

KEPT_BYTES = 1_000_000_000
"""What of the layouts of a tomogram's windows is kept between steps; a full one of CZII has 1.7 GB."""


@dataclass(frozen=True)
class Denoiser:
    """A network with all that decides how it denoises, but for the layout.

    Parameters
    ----------
    network : on `device`, laid out for `compute`.
    multiple : of which the edges of a window must be multiples.
    heights : between which training particles lie, see `frazil.diffusion.sampler.sample_volumes`.
    """

    network: nn.Module
    painter: Painter
    multiple: int
    tilt_range_degrees: TiltRange | None
    diffusion: DiffusionSettings
    sampling: SamplingSettings
    compute: Compute
    device: torch.device
    heights: tuple[float, float] | None = None

    def denoise(
        self,
        layout: Layout,
        shape_voxel: Sequence[int],
        folder: Path,
        *,
        maps: Sequence[Bool[np.ndarray, "z y x"]] = (),
        seed: int,
        index: int | str,
        windows: Sequence[Window] | None = None,
        threads: int = 1,
        on_step: Callable[[float], None] | None = None,
    ) -> Float[np.ndarray, "z y x"]:
        """Return one tomogram in units of its spread: a view of a file in `folder`, where an earlier call may have left finished steps.

        Parameters
        ----------
        maps : label maps of the whole tomogram; without, they are empty.
        seed, index : the noise descends from them, step and place.
        windows : None are those of `tile`.
        threads : windows at a time; each is computed on one thread, so that their number changes no bit.
        on_step : called after every window with its share of a step.
        """
        padded = padded_shape(shape_voxel, self.multiple)
        windows = tile(padded, self.multiple) if windows is None else windows
        run = _Run(self, layout, maps, shape_voxel[0], (seed, index), folder, padded)
        state = run.state
        stopped = Event()

        def work(step: int, window: Window) -> None:
            if not stopped.is_set():
                run.step(step, window)
                if on_step is not None:
                    on_step(1 / len(windows))

        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for step in range(state.done, len(run.weights)):
                if step == 0:
                    list(pool.map(run.begin, windows))
                list(pool.map(work, [step] * len(windows), windows))
                state.finish_step(step + 1)
        finally:  # an error or Ctrl-C must not wait for all windows
            stopped.set()
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)
        z, y, x = shape_voxel
        return state.x[state.done % 2][:z, :y, :x]


class _State:
    """The volume before and after a step, and the predictions of two steps, in files."""

    def __init__(self, folder: Path, shape_voxel: tuple[int, int, int], steps: int) -> None:
        self._done = folder / _DONE_FILE
        paths = [folder / f"{name}.npy" for name in ("x-even", "x-odd", "x0-even", "x0-odd")]
        with output_errors(folder):
            try:  # what a call that was killed has come to, unless it is damaged
                self.done = range(steps + 1).index(read_json(self._done, BundleError)["steps"])
                arrays = [np.lib.format.open_memmap(path, mode="r+") for path in paths]
                if any(array.shape != shape_voxel or array.dtype != np.float32 for array in arrays):
                    raise ValueError("of another tomogram")
            except (BundleError, KeyError, OSError, *HEADER_ERRORS):
                remove_own(folder)
                folder.mkdir(parents=True)
                self.done, arrays = 0, [_empty(path, shape_voxel) for path in paths]
        self.x, self.x0 = arrays[:2], arrays[2:]

    def forget(self) -> None:
        """Leave pages that were read or written to the system, so that memory doesn't grow with the tomogram."""
        for one in (*self.x, *self.x0):
            one.base.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]

    def finish_step(self, done: int) -> None:
        """Say that so many steps are done. What they wrote outlives this process; nothing waits for the disk."""
        write_json(self._done, {"steps": done})
        self.done = done


def _empty(path: Path, shape_voxel: tuple[int, int, int]) -> Float[np.memmap, "z y x"]:
    made = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape_voxel)
    if hasattr(os, "posix_fallocate"):  # macOS lacks it; a full disk would else kill the process later
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return made


class _Run:
    """One tomogram that is being denoised."""

    def __init__(
        self,
        denoiser: Denoiser,
        layout: Layout,
        maps: Sequence[Bool[np.ndarray, "z y x"]],
        depth_voxel: int,
        seed: tuple[int, int | str],
        folder: Path,
        padded_voxel: tuple[int, int, int],
    ) -> None:
        self.of, self.layout, self.maps, self.depth_voxel, self.seed = denoiser, layout, maps, depth_voxel, seed
        sampling = denoiser.sampling
        solver = make_solver(sampling.sampler, denoiser.diffusion, sampling.steps)
        self.weights = solver.weights
        self.state = _State(folder, padded_voxel, len(self.weights))
        self.timesteps = solver.timesteps
        lowest, highest = sampling.guidance_interval or (0.0, math.inf)
        self.scales = [sampling.guidance if lowest <= sigma <= highest else 1.0 for sigma in solver.sigmas]
        push = sampling.height_guidance - 1
        self.pushes = [push if sigma >= HEIGHT_GUIDED_SIGMA else 0.0 for sigma in solver.sigmas]
        self._kept: dict[tuple[int, ...], Condition] = {}
        self._room_bytes = KEPT_BYTES

    def begin(self, window: Window) -> None:
        """Fill the core of a window with the first noise."""
        self.state.x[0][window.core] = self._noise(0, window.core)

    @torch.no_grad()
    def step(self, step: int, window: Window) -> None:
        """Predict a window, and write its core of the next volume."""
        now, after = step % 2, 1 - step % 2
        weights, core = self.weights[step], window.core
        x = self.state.x[now]
        x0 = self._predict(step, window, x[window.whole])[window.core_in_whole]
        stepped = weights.x * x[core] + weights.x0 * x0
        if weights.x0_before:
            stepped += weights.x0_before * self.state.x0[after][core]
        if weights.noise:
            stepped += weights.noise * self._noise(step + 1, core)
        self.state.x[after][core] = stepped
        self.state.x0[now][core] = x0
        self.state.forget()

    def _predict(self, step: int, window: Window, x: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "z y x"]:
        """Return the clean volume that the network sees in a window."""
        of, device = self.of, self.of.device
        t = torch.full((1,), self.timesteps[step], device=device)
        with of.compute.autocast(device.type):
            condition = self._condition(window)
            push = None
            if of.heights is not None and self.pushes[step]:
                planes = self._paint(window)[None].to(device)
                condition = replace(condition, layout=planes)
                push = self.pushes[step] * outside_heights(planes, of.heights)
            noisy = torch.from_numpy(np.array(x))[None, None].to(device)
            clean = guided_prediction(of.network, noisy, t, condition, self.scales[step], push)
        if not clean.isfinite().all():
            raise BundleError(
                f"step {step + 1}: the network gives values that are not finite with {of.sampling.sampler}, "
                f"{of.compute}; try another sampler or bundle"
            )
        return clean[0, 0].cpu().numpy()

    def _condition(self, window: Window) -> Condition:
        """Return what a window is told, read by the network; as much as there is room for is kept for the next step."""
        place = tuple(axis.start for axis in window.core)
        if place in self._kept:
            return self._kept[place]
        tilts = self.of.tilt_range_degrees
        condition = Condition(
            label=torch.full((1,), NULL_LABEL),
            position=torch.full((1, 3), math.nan),
            layout=self._paint(window)[None],
            tilt_range_degrees=None if tilts is None else torch.tensor([tilts]),
        ).to(self.of.device)
        condition = read_layout(self.of.network, condition)
        size = sum(part.nbytes for part in condition.read)
        if all(scale == 1 for scale in self.scales) and size <= self._room_bytes:  # guidance hides the layout itself
            self._room_bytes -= size
            self._kept[place] = condition = replace(condition, layout=None)
        return condition

    def _paint(self, window: Window) -> Float[torch.Tensor, "planes z y x"]:
        """Paint the particles that reach into a window."""
        start = np.array([axis.start for axis in window.whole])
        beyond = np.maximum(start - self.layout.center_voxel, self.layout.center_voxel - start - window.shape_voxel)
        near = self.layout[(beyond < self.of.painter.reach_voxel).all(axis=1)]
        maps = [crop(one, start.tolist(), window.shape_voxel) for one in self.maps]
        return self.of.painter.paint(near, start.tolist(), window.shape_voxel, self.depth_voxel, maps)

    def _noise(self, step: int, part: Slices) -> Float[np.ndarray, "z y x"]:
        """Return normal noise of a part of the volume, which is the same whatever the part."""
        noise = np.empty([axis.stop - axis.start for axis in part], dtype=np.float32)
        spans = [range(axis.start // _BLOCK_VOXEL, -(-axis.stop // _BLOCK_VOXEL)) for axis in part]
        seed, index = self.seed
        for block in product(*spans):
            generator = numpy_generator(seed, "composition", index, step, *block)
            drawn = generator.standard_normal((_BLOCK_VOXEL,) * 3, dtype=np.float32)
            into, out_of = [], []
            for axis, number in zip(part, block, strict=True):
                first = number * _BLOCK_VOXEL
                low, high = max(axis.start, first), min(axis.stop, first + _BLOCK_VOXEL)
                into.append(slice(low - axis.start, high - axis.start))
                out_of.append(slice(low - first, high - first))
            noise[tuple(into)] = drawn[tuple(out_of)]
        return noise
