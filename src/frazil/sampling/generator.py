"""A bundle that makes labelled particle volumes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import numpy as np
import torch

from frazil.core.errors import BundleError, RequestError
from frazil.core.records import Condition, Samples
from frazil.core.seeds import numpy_generator
from frazil.core.settings import MemoryFormatChoice, NoiseInterval, PrecisionChoice, SamplerName
from frazil.diffusion.sampler import sample_volumes
from frazil.diffusion.schedule import resolve_steps
from frazil.model.bundle import Bundle, BundleCard, load_bundle
from frazil.model.compute import Compute
from frazil.model.devices import check_memory, choose_devices, default_batch_size
from frazil.model.probe import Probe, candidates, probe
from frazil.sampling.plan import SamplePlan, check_guidance, check_request, choose
from frazil.sampling.table import CENTRE, Position, Request

Batch = list[tuple[int, str, Position]]


class ParticleGenerator:
    """Samples volumes of the classes that a bundle knows.

    Every array of frazil is **zyx**: volumes are `(n, z, y, x)`, positions are `(z, y, x)`. Only the command line and
    files for other programs speak x, y, z.

    Parameters
    ----------
    bundle : a trained network with its card.
    device : ``auto``, ``cpu``, ``cuda``, ``cuda:1``, or several joined by commas, which share the samples.
    voxel_size_angstrom : edge of a voxel, only for a bundle that does not know it (imported weights).

    Raises
    ------
    RequestError : the device does not exist here, or the voxel size contradicts the bundle's.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", voxel_size_angstrom: float | None = None) -> None:
        self.devices = choose_devices(device)
        self.card: BundleCard = bundle.card
        self.digest = bundle.digest
        self.voxel_size_angstrom = _voxel_size(bundle.card, voxel_size_angstrom)
        self.probed: Probe | None = None
        """What the last plan was decided by, where it left something to a probe."""
        # the first device takes the network itself, every further one a copy
        self._networks = [
            (bundle.network if number == 0 else copy.deepcopy(bundle.network)).to(device).eval()
            for number, device in enumerate(self.devices)
        ]

    @classmethod
    def from_bundle(
        cls, folder: str | Path, *, device: str = "auto", voxel_size_angstrom: float | None = None
    ) -> ParticleGenerator:
        """Open the bundle in `folder`, or in the run folder of `frazil train`; see the class for the options.

        Raises
        ------
        BundleError : the folder is no bundle, is damaged, or has a newer schema.
        RequestError : the device does not exist here, or the voxel size contradicts the bundle's.
        """
        choose_devices(device)  # before the weights are read
        return cls(load_bundle(folder), device=device, voxel_size_angstrom=voxel_size_angstrom)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names that can be asked for."""
        return self.card.labels

    @property
    def box_size_voxel(self) -> int:
        """Edge of the volumes."""
        return self.card.box_size_voxel

    def plan(
        self,
        requests: Sequence[Request],
        *,
        seed: int = 0,
        sampler: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        guidance_interval: NoiseInterval | None = None,
        batch_size: int | None = None,
        precision: str | None = None,
        memory_format: str | None = None,
        first: int = 0,
        processes: int = 1,
    ) -> SamplePlan:
        """Check a request against the bundle and write it out.

        Parameters
        ----------
        requests : what to sample, in order.
        seed : sample i descends from (seed, i).
        sampler : ``ddpm`` (the paper), ``ddim``, ``dpm++``, ``sde-dpm++`` or ``unipc``; None takes the bundle's.
        steps : of the sampler; None takes the bundle's for its own sampler, else the usual number.
        guidance : how much to exaggerate what sets a class apart: 1 is no guidance, 0 ignores the label; None takes the bundle's.
            It costs a second network evaluation a step.
        guidance_interval : lowest and highest noise level that is guided, in sigma = sqrt((1 - abar) / abar); None takes the
            bundle's.
        batch_size : samples computed at once; None suits the device. It never changes the noise of a sample, and on the
            CPU not a bit of it. Other devices may round differently from batch size to batch size, as a CPU may from
            number to number of threads: by some 1e-5 in ``32-true`` and visibly in ``bf16-mixed``.
        precision : ``32-true`` or ``bf16-mixed``; None takes that of the bundle's training; ``auto`` takes the faster one on
            this machine, as a probe of one second finds it: another machine may decide, and round, differently.
        memory_format : ``contiguous`` or ``channels-last``, which moves the last bits; None takes the bundle's, or what suits
            the precision; ``auto`` is as above.
        first : number of the first sample: ask for five more with ``first=5``.
        processes : that share the memory of this machine.

        Raises
        ------
        RequestError : anything in it that cannot be served.
        """
        if not requests:
            raise RequestError("the request is empty; ask for at least one label")
        for request in requests:
            check_request(request, self.labels)
        if batch_size is not None and batch_size < 1:
            raise RequestError(f"batch size {batch_size}: choose at least 1")
        if first < 0:
            raise RequestError(f"first sample {first}: samples are numbered from 0")
        preset, defaults = self.card.preset, self.card.preset.sampling
        sampler_name = choose(SamplerName, "sampler", sampler or defaults.sampler)
        compute = self._choose_compute(precision, memory_format)
        guidance = defaults.guidance if guidance is None else guidance
        if guidance_interval is None and guidance != 1:
            guidance_interval = defaults.guidance_interval
        check_guidance(guidance, guidance_interval, trained=preset.training.class_dropout > 0)
        if steps is None and sampler_name == defaults.sampler:
            steps = defaults.steps
        plan = SamplePlan(
            tuple(requests),
            seed=seed,
            sampler=sampler_name,
            steps=resolve_steps(sampler_name, preset.diffusion, steps),
            batch_size=batch_size
            or default_batch_size(self.devices, preset.model, self.box_size_voxel, compute.precision),
            precision=compute.precision,
            memory_format=compute.memory_format,
            first=first,
            guidance=guidance,
            guidance_interval=guidance_interval,
        )
        check_memory(
            self.devices, preset.model, self.box_size_voxel,
            batch_size=min(plan.batch_size, len(plan)), precision=plan.precision, processes=processes,
        )  # fmt: skip
        return plan

    def sample(
        self,
        *,
        label: str | Sequence[str],
        position: Position = CENTRE,
        count: int = 1,
        seed: int = 0,
        sampler: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        guidance_interval: NoiseInterval | None = None,
        batch_size: int | None = None,
        precision: str | None = None,
        memory_format: str | None = None,
        first: int = 0,
        on_step: Callable[[int], None] | None = None,
    ) -> Samples:
        """Sample volumes of one class, or `count` of each of several.

        Parameters
        ----------
        label : one of `labels`, or several of them.
        position : **z, y, x** of the particle in its tomogram, divided by the tomogram's extent, each in [0, 1].
        count : number of samples of each label.
        seed, sampler, steps, guidance, guidance_interval, batch_size, precision, memory_format, first : as in `plan`.
        on_step : called after every step with the number of volumes in it, for progress.

        Returns
        -------
        Volumes `(n, z, y, x)`, float32, z-scored; particles are dark and stand at voxel `D // 2` of the box.

        Raises
        ------
        RequestError : anything that cannot be served; the message names what can.
        """
        labels = [label] if isinstance(label, str) else list(label)
        z, y, x = (float(value) for value in position)
        plan = self.plan(
            [Request(name, (z, y, x), count) for name in labels],
            seed=seed, sampler=sampler, steps=steps, guidance=guidance, guidance_interval=guidance_interval,
            batch_size=batch_size, precision=precision, memory_format=memory_format, first=first,
        )  # fmt: skip
        parts = sorted(self.run(plan, on_step=on_step), key=lambda part: part.indices[0])
        return Samples(
            np.concatenate([part.volumes for part in parts]),
            [name for part in parts for name in part.labels],
            np.concatenate([part.positions for part in parts]),
            seed,
            [index for part in parts for index in part.indices],
            self.voxel_size_angstrom,
        )

    def run(
        self,
        plan: SamplePlan,
        *,
        finished: Iterable[int] = (),
        rank: int = 0,
        size: int = 1,
        on_step: Callable[[int], None] | None = None,
    ) -> Iterator[Samples]:
        """Compute the batches of `plan` that are not finished; yield each as soon as it is done.

        Several devices take batches as they become free, so batches may come out of order; what is in them is the same.

        Parameters
        ----------
        finished, rank, size : what of the plan to compute, see `SamplePlan.batches`.
        on_step : called after every step with the number of volumes in it.

        Raises
        ------
        RequestError : a batch does not fit in memory.
        BundleError : the network gives values that are not finite.
        """
        batches = plan.batches(finished, rank=rank, size=size)
        step = on_step or (lambda _: None)
        if len(self.devices) == 1:
            for batch in batches:
                yield self._compute(0, plan, batch, step)
        else:
            yield from self._share(plan, batches, step)

    def _choose_compute(self, precision: str | None, memory_format: str | None) -> Compute:
        """Return how the network is computed; asks a probe where that is left open."""
        trained = Compute.of(self.card.preset.training)
        precision_name = choose(PrecisionChoice, "precision", precision or trained.precision)
        if memory_format is None:
            known = trained.memory_format if precision_name == trained.precision else None
        else:
            known = choose(MemoryFormatChoice, "memory format", memory_format)
        among = candidates(precision_name, known)
        self.probed = None
        if len(among) > 1:
            self.probed = probe(
                self._networks[0], among, box_size_voxel=self.box_size_voxel, device=self.devices[0], gradients=False
            )
        return among[0] if self.probed is None else self.probed.chosen

    def _share(self, plan: SamplePlan, batches: list[Batch], on_step: Callable[[int], None]) -> Iterator[Samples]:
        """Compute `batches` on all devices, one thread a device."""
        free: SimpleQueue[int] = SimpleQueue()
        for number in range(len(self.devices)):
            free.put(number)
        stopped = Event()

        def step(count: int) -> None:
            if stopped.is_set():
                raise InterruptedError
            on_step(count)

        def compute(batch: Batch) -> Samples:
            number = free.get()
            try:
                return self._compute(number, plan, batch, step)
            finally:
                free.put(number)

        with ThreadPoolExecutor(len(self.devices)) as pool:
            futures = [pool.submit(compute, batch) for batch in batches]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:  # an error or Ctrl-C must not wait for volumes that take minutes
                stopped.set()
                for future in futures:
                    future.cancel()

    def _compute(self, number: int, plan: SamplePlan, batch: Batch, on_step: Callable[[int], None]) -> Samples:
        """Sample one batch on device `number`."""
        device = self.devices[number]
        indices, labels, positions = (list(column) for column in zip(*batch, strict=True))
        condition = Condition(
            torch.tensor([self.labels.index(label) for label in labels]),
            torch.tensor(positions, dtype=torch.float32),
        )
        network = plan.compute.lay_out(self._networks[number])
        try:
            volumes = sample_volumes(
                network, condition,
                box_size_voxel=self.box_size_voxel,
                generators=[numpy_generator(plan.seed, "sample", index) for index in indices],
                settings=self.card.preset.diffusion, sampler=plan.sampler, steps=plan.steps,
                guidance=plan.guidance, guidance_interval=plan.guidance_interval,
                device=device, precision=plan.precision,
                on_step=lambda: on_step(len(batch)),
            )  # fmt: skip
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise RequestError(_too_large(device, len(batch), self.box_size_voxel)) from None
            raise
        if not volumes.isfinite().all():
            raise BundleError(
                f"samples {indices[0]} to {indices[-1]}: the network gives values that are not finite with "
                f"{plan.sampler}, {plan.steps} steps, {plan.precision}; try ddpm with 32-true, or another bundle"
            )
        return Samples(
            volumes[:, 0].cpu().numpy(), labels, np.array(positions), plan.seed, indices, self.voxel_size_angstrom
        )


def _voxel_size(card: BundleCard, given: float | None) -> float:
    """Return the bundle's voxel size, or the one that the user gives where the bundle has none (NaN if neither has)."""
    known = card.voxel_size_angstrom
    if given is not None and not (np.isfinite(given) and given > 0):
        raise RequestError(f"voxel size {given:g} A: give a positive number of angstrom")
    if known is None:
        return float("nan") if given is None else given
    if given is not None and abs(given - known) > 1e-3 * known:
        raise RequestError(f"voxel size {given:g} A: the bundle was trained at {known:g} A; leave the option out")
    return known


def _too_large(device: torch.device, batch: int, box: int) -> str:
    advice = f"pass --batch-size {batch // 2}" if batch > 1 else "use a device with more memory"
    return f"a batch of {batch} boxes of {box} voxels does not fit in the memory of {device}; {advice}"
