"""`frazil simulate`: a preset and a seed in; a copick project of simulated tomograms and the truth about them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frazil.core.console import say, warn
from frazil.core.errors import SettingsError
from frazil.core.files import file_digest
from frazil.core.settings import check_number, check_seed
from frazil.io.copick.project import CONFIG_NAME
from frazil.io.copick.runs import USUAL_LEVELS, LabeledProject
from frazil.io.like import LikeOptions
from frazil.simulation.like import plan_like
from frazil.simulation.limits import check_grids, check_memory
from frazil.simulation.preset import SimulationPreset, load_simulation_preset
from frazil.simulation.project import USER, RunPlan, SimulationProject
from frazil.simulation.record import TYPES, Parameters
from frazil.simulation.specimen.settings import specimen_structures


class Simulation(LabeledProject):
    """A simulated project on disk."""

    user = USER
    made = "Simulated"


def simulate(
    out: Path | str,
    *,
    preset: SimulationPreset | str | Path = "czii",
    settings: Mapping[str, Any] | None = None,
    structures: Mapping[str, str | Path] | None = None,
    count: int | None = None,
    first: int | None = None,
    seed: int = 0,
    like: LikeOptions | str | Path | None = None,
    types: Sequence[str] = ("denoised",),
    levels: int | None = None,
    mrc: bool = False,
    workers: int = 1,
    dask: str | None = None,
    force: bool = False,
) -> Simulation:
    """Write a copick project of simulated tomograms, or resume an earlier call.

    Tomogram i depends on (seed, i) and the settings alone, so a larger `count` adds to what is there.

    Parameters
    ----------
    out : folder of the project.
    preset : a bundled preset (``czii``, ``small``), the path of a TOML file, or a preset.
    settings : dotted key to value, over the preset, e.g. ``{"specimen.shape_voxel": (64, 256, 256)}``.
    structures : file of a density map or of atoms for each of these classes, by label.
    count : tomograms; None is 1, or all runs of `like`.
    first : index of the first tomogram. With it several calls may work on one project at the same time, each on its own
        range, such as the tasks of a SLURM array.
    like : an annotated project whose picks are simulated again, run by run, instead of random places.
    types : tomogram types to write. A detector is trained on ``denoised`` or ``wbp``, a denoiser on ``even`` and
        ``odd``, or on ``wbp`` with ``clean`` as the truth. At the size of CZII's tomograms each takes about 0.3 GB, ``clean`` a
        tenth of it.
    levels : resolutions of the OME-Zarr pyramids; None is three, or as many as a small tomogram can have.
    mrc : also write each tomogram as ``mrc/<type>/<run>.mrc``, and beside them picks, tilts and templates for programs that read
        such files (`frazil.simulation.mrc_folder`).
    workers : tomograms at a time, each in a process with one thread.
    dask : address of a Dask scheduler that runs them instead.
    force : replace what an earlier call with other settings left in `out`.

    Raises
    ------
    OutputError : `out` holds something else, or cannot be written.
    SettingsError : a value that makes no sense.
    SimulationError : particles that do not fit into the ice, a structure that cannot be used, too little memory.
    SourceError, PickError : the project to be like cannot be used.
    """
    for what, value, least in (
        ("count", count, 1),
        ("first", first, 0),
        ("workers", workers, 1),
        ("levels", levels, 1),
    ):
        if value is not None:
            check_number(what, value, SettingsError, least=least)
    check_seed(seed, SettingsError)
    if unknown := [name for name in types if name not in TYPES]:
        raise SettingsError(f"types {', '.join(unknown)}: no such tomogram type; choose from {', '.join(TYPES)}")
    chosen = load_simulation_preset(preset, settings).with_structures(structures or {})
    specimen = chosen.specimen
    if isinstance(like, (str, Path)):
        like = LikeOptions(Path(like))
    if like is not None:
        like.check_apart(Path(out))
    begin = first or 0
    if like is None:
        plans, picked = [RunPlan(f"SIM_{index:03d}", index) for index in range(begin, begin + (count or 1))], None
    else:
        plans, picked = plan_like(like, specimen)
        if begin >= len(plans):
            raise SettingsError(f"first {begin}: {like.project} has {len(plans)} runs; give a lower one")
        plans = plans[begin : None if count is None else begin + count]
    found = specimen_structures(specimen, picked=picked)
    if unused := [entry.label for entry in specimen.structures if entry.source and entry.label not in found]:
        warn(f"structure of {', '.join(unused)} not used: none of it is asked for, see particles per class")
    check_grids([plan.grid(chosen) for plan in plans], found.values(), levels=levels)
    sources = [entry.source for entry in specimen.structures if entry.source and entry.label in found]
    parameters = Parameters(
        seed=seed,
        types=tuple(name for name in TYPES if name in types),
        levels=levels or USUAL_LEVELS,
        mrc=mrc,
        like=None if like is None else like.parameters(),
        structure_digests={source: file_digest(Path(source)) for source in sources},
        specimen=specimen,
        microscope=chosen.microscope,
        denoiser=chosen.denoiser,
        grey_std=chosen.grey_std,
    )
    labels = sorted(found.keys() - specimen.distractors(found))
    project = SimulationProject(Path(out), chosen, parameters, found, labels)
    return _simulate(project, plans, shared=first is not None, workers=workers, dask=dask, force=force)


def _simulate(
    project: SimulationProject, plans: Sequence[RunPlan], *, shared: bool, workers: int, dask: str | None, force: bool
) -> Simulation:
    """Simulate what is missing, and say what was done."""
    out, shown = project.out, plans
    if project.earlier(plans, force=force) is not None:  # refuses before anything is touched
        shown = project.missing(plans)
    if dask is None:
        grids = [plan.grid(project.preset) for plan in shown]
        check_memory(grids, list(project.structures.values()), workers=workers)
    runs, seconds = project.fill(plans, verb="simulate", shared=shared, workers=workers, dask=dask, force=force)
    counts = {run: record.particles for run, record in runs.items()}
    if not seconds:
        say(f"{out}: all simulated tomograms already exist ({len(plans)}); nothing to do")
        return Simulation(out, counts)
    particles = sum(sum(of_run.values()) for of_run in counts.values())
    say(f"{out}: simulated tomograms: {len(counts)}, particles: {particles:,}; copick opens {CONFIG_NAME}")
    parts = [f"{stage} {sum(run[stage] for run in seconds) / len(seconds):.1f}" for stage in seconds[0]]
    say(f"seconds per tomogram: {', '.join(parts)}")
    return Simulation(out, counts)
