"""`frazil compose`: a bundle and layouts in; a copick project of whole tomograms, with every particle labeled, out."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from frazil.composition.denoise import KEPT_BYTES
from frazil.composition.layouts import PlannedTomogram, plan_drawn, plan_like, plan_table, with_contrasts
from frazil.composition.project import STATE, USER, CompositionProject
from frazil.composition.record import RECORD_FILE, CompositionRecord, Parameters
from frazil.core.console import say
from frazil.core.errors import OutputError, RequestError, SettingsError
from frazil.core.files import file_digest
from frazil.core.ledger import remove_own
from frazil.core.memory import machine_memory
from frazil.core.records import TiltRange, TomogramHeader
from frazil.core.settings import NoiseInterval, SamplerName, Units, check_number, check_seed
from frazil.io.copick.project import CONFIG_NAME
from frazil.io.copick.runs import USUAL_LEVELS, LabeledProject
from frazil.io.like import LikeOptions
from frazil.model.bundle import PRETRAINED, BundleCard, bundle_folder, load_bundle
from frazil.model.compute import Compute
from frazil.model.devices import choose_device
from frazil.sampling.options import choose_sampling

_BYTES_PER_PROCESS = 500_000_000
_BYTES_PER_VOXEL = 20  # when it is filtered: the tomogram and its spectrum, padded, twice
_STATE_BYTES_PER_VOXEL = 16
_WRITTEN_BYTES_PER_VOXEL = 10  # tomogram with its pyramid, and masks, compressed; an MRC copy is 4 more


class Composition(LabeledProject):
    """A composed project on disk."""

    user = USER
    made = "Composed"


def compose(
    bundle: str | Path = PRETRAINED,
    *,
    out: str | Path,
    like: LikeOptions | str | Path | None = None,
    picks: str | Path | None = None,
    units: Units | None = None,
    shape: tuple[int, int, int] | None = None,
    count: int | None = None,
    first: int | None = None,
    seed: int = 0,
    orientations: bool = True,
    tilt_range: TiltRange | None = None,
    contrast_of: str | None = None,
    sampler: SamplerName | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    guidance_interval: NoiseInterval | None = None,
    mrc: bool = False,
    device: str = "auto",
    workers: int = 1,
    dask: str | None = None,
    force: bool = False,
) -> Composition:
    """Write a copick project of whole tomograms, or resume an earlier call, in the middle of a tomogram too.

    A tomogram depends on its layout, the seed and its number (or the name of its run) alone, so a larger `count` adds to what is
    there.

    Parameters
    ----------
    bundle : folder of a bundle that takes layouts, or of the run that trained it; or ``pretrained``, the bundled model.
    out : folder of the project.
    like : an annotated project whose picks are the layouts, run by run. Without it and `picks`, layouts are drawn like those of
        the training tomograms.
    picks : CSV or STAR file of picks instead; one tomogram for each that it names.
    units : of the coordinates in `picks`, if it does not say so itself: ``voxel`` (of the bundle) or ``angstrom``.
    shape : z, y, x in voxels of a tomogram that has no other; None is that of the training tomograms.
    count : tomograms; None is 1, or all of `like` or `picks`.
    first : number of the first tomogram. With it several calls may work on one project at the same time, each on its own range,
        such as the tasks of a SLURM array.
    seed : of layouts and noise.
    orientations : tell the network the orientations; without, it chooses them, and picks have none.
    tilt_range : lowest and highest tilt in degrees, which decide the missing wedge; None is that of `like`, or of the training
        tomograms. A network that has seen only one range makes no other.
    contrast_of : training tomogram whose contrast all get, by a filter and a curve (`frazil.volume.contrast`); None draws another for each.
        A bundle that knows no contrasts leaves tomograms as its network makes them.
    sampler, steps, guidance, guidance_interval : see `frazil.sampling.options.SamplingOptions`.
    mrc : also write each tomogram as ``mrc/denoised/<run>.mrc``.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    workers : tomograms at a time, each in a process with one thread; 1 uses all threads for one tomogram.
    dask : address of a Dask scheduler that runs them instead.
    force : replace what an earlier call with other settings left in `out`.

    Raises
    ------
    BundleError : not a bundle, or damaged.
    OutputError : `out` holds something else, or cannot be written.
    PickError, SourceError : layouts that cannot be used.
    RequestError : a bundle that takes no layouts, a sampler or shape that it cannot serve, too little memory or disk.
    """
    for what, value, least in (("count", count, 1), ("first", first, 0), ("workers", workers, 1)):
        if value is not None:
            check_number(what, value, SettingsError, least=least)
    check_seed(seed, SettingsError)
    if units is not None and units not in get_args(Units):
        raise SettingsError(f"units {units}: not known; choose {' or '.join(get_args(Units))}")
    out, folder = Path(out), bundle_folder(Path(bundle))
    opened = load_bundle(folder)
    card = opened.card
    if not card.preset.model.layout_channels or card.voxel_size_angstrom is None:
        raise RequestError(
            f"{bundle}: makes boxes and takes no layouts; train a bundle that does: curate whole tomograms, then train on them"
        )
    options: Any = {"sampler": sampler, "steps": steps, "guidance": guidance, "guidance_interval": guidance_interval}
    sampling = choose_sampling(options, card.preset)
    if isinstance(like, (str, Path)):
        like = LikeOptions(Path(like))
    plans, source = _plans(card, like, picks, units, shape, count, first or 0, seed)
    if tilt_range is not None:
        plans = [replace(plan, tilt_range_degrees=tilt_range) for plan in plans]
    plans = with_contrasts(plans, card, seed, contrast_of)
    if like is not None:
        like.check_apart(out)
    chosen = choose_device(device)
    compute = _compute_of(out) or Compute.on(chosen.type, card.preset.training)
    parameters = Parameters(
        bundle_digest=opened.digest,
        seed=seed,
        source=source,
        orientations=orientations,
        sampling=sampling,
        precision=compute.precision,
        memory_format=compute.memory_format,
        levels=USUAL_LEVELS,
        mrc=mrc,
    )
    project = CompositionProject(out, folder.absolute(), card, parameters, str(chosen))
    shown = plans
    if project.earlier(plans, force=force) is not None:  # refuses before anything is touched
        shown = project.missing(plans)
    _check_room(project, shown, workers=workers if dask is None else 0)
    alone = workers == 1 and dask is None
    runs, made = project.fill(
        plans, verb="compose", shared=first is not None, workers=workers, dask=dask, force=force, threads=None if alone else 1
    )  # fmt: skip
    if first is None:
        remove_own(out / STATE)
    counts = {run: record.particles for run, record in runs.items()}
    if not made:
        say(f"{out}: all composed tomograms already exist ({len(plans)}); nothing to do")
    else:
        particles = sum(sum(of_run.values()) for of_run in counts.values())
        say(f"{out}: composed tomograms: {len(counts)}, particles: {particles:,}; copick opens {CONFIG_NAME}")
    return Composition(out, counts)


def _compute_of(out: Path) -> Compute | None:
    """Return what an earlier call computed in, on whatever machine, so that this one may add to it."""
    with suppress(OutputError):
        earlier = CompositionRecord.read(out / RECORD_FILE, OutputError).parameters
        return Compute(earlier.precision, earlier.memory_format)
    return None


def _plans(
    card: BundleCard,
    like: LikeOptions | None,
    picks: str | Path | None,
    units: Units | None,
    shape: tuple[int, int, int] | None,
    count: int | None,
    first: int,
    seed: int,
) -> tuple[list[PlannedTomogram], dict[str, Any]]:
    """Return the tomograms to compose, and what the record says of where their layouts come from."""
    multiple = 2**card.preset.model.halvings
    if shape is not None and min(shape) < multiple:
        raise RequestError(
            f"shape {','.join(map(str, shape))}: the network needs at least {multiple} voxels along each axis; choose a larger one"
        )
    usual = shape or (None if card.layouts is None else card.layouts.shape_voxel)
    if like is not None and picks is not None:
        raise SettingsError(f"picks {picks}: the project to be like brings its own; leave one of them out")
    if usual is None and like is None:
        raise RequestError("shape: the bundle does not say that of its training tomograms; give a shape in voxels")
    assert card.voxel_size_angstrom is not None
    header = TomogramHeader("", usual or (0, 0, 0), card.voxel_size_angstrom, "bundle", card.tilt_range_degrees)
    if usual is not None and _BYTES_PER_VOXEL * math.prod(usual) > machine_memory():
        raise RequestError(
            f"shape {','.join(map(str, usual))}: takes {_BYTES_PER_VOXEL * math.prod(usual) / 1e9:.0f} GB of memory, and this machine has "
            f"{machine_memory() / 1e9:.0f} GB; ask for a smaller shape"
        )
    if like is None and picks is None:
        assert usual is not None
        return plan_drawn(card, usual, range(first, first + (count or 1)), seed), {"drawn": {"shape_voxel": usual}}
    if like is not None:
        like = replace(like, voxel_size_angstrom=card.voxel_size_angstrom)
        plans, source = plan_like(card, like, header), {"like": like.parameters()}
    else:
        path = Path(str(picks))
        plans = plan_table(card, path, units, header)
        source = {
            "picks": {"file": str(path.resolve()), "digest": file_digest(path), "units": units, "shape_voxel": usual}
        }
    if first >= len(plans):
        raise SettingsError(f"first {first}: there are {len(plans)} layouts; give a lower one")
    return plans[first : None if count is None else first + count], source


def _check_room(project: CompositionProject, plans: Sequence[PlannedTomogram], *, workers: int) -> None:
    """Refuse tomograms that do not fit into memory, `workers` at a time (0: of other machines), or onto the disk."""
    if not plans:
        return
    largest = max(plans, key=lambda plan: math.prod(plan.shape_voxel))
    voxels, at_a_time = math.prod(largest.shape_voxel), min(max(workers, 1), len(plans))
    shape = ",".join(map(str, largest.shape_voxel))
    if workers and project.device == "cpu":
        threads = torch.get_num_threads() if workers == 1 else 1
        held = max(KEPT_BYTES, _BYTES_PER_VOXEL * voxels)  # layouts between the steps, then what is written
        held += len(project.card.maps) * voxels
        needed = _BYTES_PER_PROCESS + held + threads * project.window_bytes(largest.shape_voxel)
        if at_a_time * needed > machine_memory():
            raise RequestError(
                f"shape {shape}: {at_a_time} at a time take about {at_a_time * needed / 1e9:.1f} GB of memory, and this machine has "
                f"{machine_memory() / 1e9:.1f} GB; ask for a smaller shape or fewer workers"
            )
    there = next(folder for folder in (project.out.absolute(), *project.out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    written = _WRITTEN_BYTES_PER_VOXEL + 4 * project.parameters.mrc
    disk = at_a_time * _STATE_BYTES_PER_VOXEL * voxels + sum(written * math.prod(plan.shape_voxel) for plan in plans)
    if disk > free:
        raise RequestError(
            f"shape {shape}: {len(plans)} tomograms take about {disk / 1e9:.1f} GB on disk, and {there} has {free / 1e9:.1f} GB; ask for "
            "a smaller shape or fewer, or write elsewhere"
        )
