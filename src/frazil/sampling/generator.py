"""A bundle that makes labeled particle volumes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Literal, Unpack, cast, get_args

import numpy as np
import torch

from frazil.core.errors import BundleError, RequestError
from frazil.core.records import Condition, Layout
from frazil.core.seeds import numpy_generator
from frazil.core.settings import PrecisionChoice, check_number, check_seed
from frazil.diffusion.sampler import sample_volumes
from frazil.model.bundle import Bundle, BundleCard, load_bundle
from frazil.model.compute import Compute
from frazil.model.devices import bytes_per_box, check_memory, choose_device, default_batch_size, memory_of
from frazil.model.layout import painter_of
from frazil.sampling.arrange import Neighbours, arrange, box_condition, read_neighbours
from frazil.sampling.manifest import Sample, SampleRequest
from frazil.sampling.options import SamplingOptions, choose_sampling
from frazil.sampling.request import CENTER, Position, Request, expand
from frazil.sampling.samples import Samples, describe_size


class ParticleGenerator:
    """Samples volumes of the classes that a bundle knows.

    Every array of frazil is **zyx**: volumes are `(n, z, y, x)`, positions are `(z, y, x)`. Only the command line and
    files for other programs use x, y, z.

    Parameters
    ----------
    bundle : a trained network with its card.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    voxel_size_angstrom : edge of a voxel, only for a bundle that does not know it (imported weights).

    Raises
    ------
    RequestError : the device does not exist here, or the voxel size contradicts the bundle's.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", voxel_size_angstrom: float | None = None) -> None:
        self.device = choose_device(device)
        self.card: BundleCard = bundle.card
        self.digest = bundle.digest
        self.voxel_size_angstrom = _voxel_size(bundle.card, voxel_size_angstrom)
        self._network = bundle.network.to(self.device).eval()
        self.painter = None if bundle.card.layouts is None else painter_of(bundle.network, bundle.card)

    @classmethod
    def from_bundle(
        cls, folder: str | Path, *, device: str = "auto", voxel_size_angstrom: float | None = None
    ) -> ParticleGenerator:
        """Open the bundle in `folder`, or in the run folder of `frazil train`; see `frazil.load`."""
        choose_device(device)  # before the weights are read
        return cls(load_bundle(folder), device=device, voxel_size_angstrom=voxel_size_angstrom)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names that can be asked for."""
        return self.card.labels

    @property
    def box_size_voxel(self) -> int:
        """Edge of the volumes."""
        return self.card.box_size_voxel

    def __repr__(self) -> str:
        size = describe_size(self.box_size_voxel, self.voxel_size_angstrom)
        return (
            f"ParticleGenerator({', '.join(self.labels)}; {size}; {self.device}; "
            f"{self.card.provenance or 'unknown provenance'})"
        )

    def sample(
        self,
        *,
        label: str | Sequence[str],
        position: Position = CENTER,
        count: int = 1,
        seed: int = 0,
        first: int = 0,
        neighbours: str | Path = "none",
        on_step: Callable[[int], None] | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Samples:
        """Sample volumes of one class, or `count` of each of several.

        Parameters
        ----------
        label : one of `labels`, several of them, or ``all``.
        position : **z, y, x** of the particle in its tomogram, divided by the tomogram's extent, each in [0, 1].
        count : number of samples of each label.
        seed, first : sample i descends from (seed, i), and is counted from `first`: ask for five more with ``first=5``.
        neighbours : what is around the particle: see `plan`.
        on_step : called after every step with the number of volumes in it, for progress.
        **options : sampler, steps, guidance, guidance_interval, batch_size, precision: see `SamplingOptions`.

        Returns
        -------
        Volumes `(n, z, y, x)`, float32, normalized as in the training data; particles are dark and centered at voxel `D // 2` of the box.

        Raises
        ------
        RequestError : anything that cannot be served; the message names what can.
        """
        requests = expand(label, position, count, known=self.labels)
        request = self.plan(requests, seed=seed, first=first, neighbours=neighbours, **options)
        return Samples.joined(list(self.run(request, on_step=on_step)))

    def plan(
        self,
        requests: Sequence[Request],
        *,
        seed: int = 0,
        first: int = 0,
        workers: int = 1,
        earlier: SampleRequest | None = None,
        neighbours: str | Path = "none",
        **options: Unpack[SamplingOptions],
    ) -> SampleRequest:
        """Check what is asked for against the bundle, and complete it by what the bundle suggests; see `sample`.

        Parameters
        ----------
        workers : processes that share the memory of this machine.
        neighbours : what is around the particle: ``none``; ``typical`` ones, as in the training tomograms; or a table of picks in the
            frame of the particle, with it in the middle (a CSV in angstrom). Its tomograms are boxes, which samples take in turn.
        earlier : request that this one may resume: what is left to the device stays as it was.

        Raises
        ------
        RequestError : anything in it that cannot be served.
        PickError : neighbors that cannot be.
        """
        if not requests:
            raise RequestError(f"nothing is asked for; name at least one label: {', '.join(self.labels)}")
        for request in requests:
            request.check(self.labels)
        if neighbours != "none" and self.painter is None:
            raise RequestError(
                f"neighbours {neighbours}: the bundle places one particle and knows no layouts; leave it out, or train on whole "
                "tomograms (frazil curate --whole)"
            )
        told = self._neighbours(neighbours, {request.label for request in requests})
        batch_size = options.get("batch_size")
        if batch_size is None and earlier is not None:
            batch_size = earlier.batch_size
        if batch_size is not None:
            check_number("batch size", batch_size, RequestError)
        check_seed(seed, RequestError)
        check_number("first sample", first, RequestError, least=0)
        model = self.card.preset.model
        sampling = choose_sampling(options, self.card.preset)
        usual = Compute.on(self.device.type, self.card.preset.training) if earlier is None else earlier.compute
        precision = options.get("precision") or usual.precision
        if precision not in get_args(PrecisionChoice):
            raise RequestError(
                f"precision {precision!r}: not known; choose one of {', '.join(get_args(PrecisionChoice))}"
            )
        if precision == "auto":
            compute = Compute.native(self.device.type) if earlier is None else usual
        else:
            compute = usual if precision == usual.precision else Compute.named(precision)
        planned = SampleRequest(
            **sampling.model_dump(),
            bundle_digest=self.digest,
            voxel_size_angstrom=None if np.isnan(self.voxel_size_angstrom) else self.voxel_size_angstrom,
            seed=seed,
            precision=compute.precision,
            memory_format=compute.memory_format,
            batch_size=batch_size or default_batch_size(self.device, model, self.box_size_voxel, compute.precision),
            requests=tuple(requests),
            first=first,
            neighbours=told,
        )
        check_memory(
            self.device, model, self.box_size_voxel,
            batch_size=min(planned.batch_size, len(planned)), precision=planned.precision, processes=workers,
        )  # fmt: skip
        return planned

    def run(
        self,
        request: SampleRequest,
        batches: Iterable[Sequence[Sample]] | None = None,
        *,
        on_step: Callable[[int], None] | None = None,
    ) -> Generator[Samples]:
        """Compute `batches` of `request` (None: all of them), in order; yield samples as soon as they are done.

        On a CPU several threads share a batch, each with some of its samples, and every network pass runs on one thread: the
        number of threads of a pass would change the last bits of a sample.

        Parameters
        ----------
        on_step : called after every step with the number of volumes in it.

        Raises
        ------
        RequestError : a batch does not fit in memory.
        BundleError : the network gives values that are not finite.
        """
        batches = request.batches() if batches is None else batches
        request.compute.lay_out(self._network)
        step = on_step or (lambda _: None)
        if self.device.type != "cpu":
            for batch in batches:
                yield self._compute(request, batch, step)
            return
        per_box = bytes_per_box(self.card.preset.model, self.box_size_voxel, request.precision)
        threads = max(1, min(torch.get_num_threads(), memory_of(self.device) // per_box))
        size = -(-request.batch_size // threads)
        pieces = (batch[start : start + size] for batch in batches for start in range(0, len(batch), size))
        with closing(self._share(request, pieces, threads, step)) as parts:
            yield from parts

    def _share(
        self, request: SampleRequest, pieces: Iterable[Sequence[Sample]], threads: int, on_step: Callable[[int], None]
    ) -> Generator[Samples]:
        """Compute `pieces` on several threads of this process; yield them in order, few ahead of who takes them."""
        stopped = Event()

        def step(count: int) -> None:
            if stopped.is_set():
                raise InterruptedError
            on_step(count)

        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        waiting: deque[Future[Samples]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(self._compute, request, piece, step))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # an error or Ctrl-C must not wait for volumes that take minutes
            stopped.set()
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)  # a part of it is set for all threads of a process

    def _compute(self, request: SampleRequest, batch: Sequence[Sample], on_step: Callable[[int], None]) -> Samples:
        """Sample one batch."""
        indices, labels, positions = (list(column) for column in zip(*batch, strict=True))
        layouts = self._layouts(request, indices, labels)
        if self.painter is None:
            condition = Condition(
                torch.tensor([self.labels.index(label) for label in labels]),
                torch.tensor(positions, dtype=torch.float32),
            )
        else:
            condition = box_condition(layouts, positions, self.card, self.painter)
        try:
            volumes = sample_volumes(
                self._network, condition,
                box_size_voxel=self.box_size_voxel,
                generators=[numpy_generator(request.seed, "sample", index) for index in indices],
                settings=self.card.preset.diffusion, sampling=request,
                device=self.device, precision=request.precision, heights=self.card.heights,
                on_step=lambda: on_step(len(batch)),
            )  # fmt: skip
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                size = request.batch_size
                advice = f"choose a batch size of {size // 2}" if size > 1 else "use a device with more memory"
                raise RequestError(
                    f"a batch of {size} boxes of {self.box_size_voxel} voxels does not fit in the memory of {self.device}; "
                    f"{advice}"
                ) from None
            raise
        if not volumes.isfinite().all():
            raise BundleError(
                f"samples {indices[0]} to {indices[-1]}: the network gives values that are not finite with "
                f"{request.sampler}, {request.steps} steps, {request.precision}; try ddpm with 32-true, or another bundle"
            )
        return Samples(
            volumes[:, 0].cpu().numpy(), labels, np.array(positions), request.seed, indices, self.voxel_size_angstrom,
            layouts,
        )  # fmt: skip

    def _neighbours(self, asked: str | Path, labels: Collection[str]) -> Neighbours:
        """Return what is asked for beside particles of these classes; read, if it is a table, and checked."""
        if asked in ("none", "typical"):
            return cast("Literal['none', 'typical']", asked)
        path = Path(asked)
        if not path.is_file():
            raise RequestError(f"neighbours {asked}: neither none nor typical, nor a file; give one of the three")
        return read_neighbours(path, self.card, sorted(labels))

    def _layouts(self, request: SampleRequest, indices: Sequence[int], labels: Sequence[str]) -> list[Layout]:
        """Draw which particles are in each box; none for a bundle without layouts."""
        if self.painter is None:
            return []
        return [
            arrange(
                label, card=self.card, box_size_voxel=self.box_size_voxel, neighbours=request.neighbours,
                random=numpy_generator(request.seed, "layout", index), index=index,
            )
            for index, label in zip(indices, labels, strict=True)
        ]  # fmt: skip


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
