"""The command line: parses and calls, nothing else. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from frazil.core.errors import FrazilError
from frazil.core.version import __version__

app = typer.Typer(
    name="frazil",
    help="Learn from annotated cryo-electron tomograms; generate realistic, labelled 3D particle volumes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"frazil {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Learn from annotated cryo-electron tomograms; generate realistic, labelled 3D particle volumes."""


# Commands stand below in the order of the work: simulate, curate, train, import-weights, sample, figures, evaluate, filter, report.


@app.command("simulate")
def simulate_command(
    out: Annotated[Path, typer.Argument(help="Folder for the copick project.")],
    preset: Annotated[str, typer.Option(help="czii, small, or a TOML file; options go over it.")] = "czii",
    count: Annotated[
        int | None, typer.Option(help="Tomograms; may be raised later.  [dim]\\[default: 1][/dim]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Tomogram i depends on the seed, i and the settings alone.")] = 0,
    shape: Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Voxels of a tomogram.")] = None,
    voxel_size: Annotated[float | None, typer.Option(metavar="A", help="Edge of a voxel in angstrom.")] = None,
    particles_per_class: Annotated[
        str | None, typer.Option(metavar="N", help="Of all six particles, or e.g. ribosome=20,apo-ferritin=30.")
    ] = None,
    concentrations: Annotated[
        str | None, typer.Option(metavar="N", help="The same in particles per cubic micrometre of ice.")
    ] = None,
    crowding: Annotated[
        float | None, typer.Option(help="Share of the ice that particles fill, at most 0.3, in these proportions.")
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=FILE", help="Density map (MRC) or atoms (mmCIF, PDB) of a class; may be repeated."),
    ] = None,
    ice_thickness: Annotated[str | None, typer.Option(metavar="A", help="Or full: ice fills the tomogram.")] = None,
    tilt_range: Annotated[str | None, typer.Option(metavar="LOWEST,HIGHEST", help="Degrees.")] = None,
    tilt_step: Annotated[float | None, typer.Option(help="Degrees between tilts.")] = None,
    dose: Annotated[float | None, typer.Option(help="Of the whole tilt series, electrons per square angstrom.")] = None,
    defocus: Annotated[
        str | None, typer.Option(metavar="LOWEST,HIGHEST", help="Micrometres; each tomogram draws its own.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, e.g. --set microscope.optics.voltage_kv=200."),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(metavar="PROJECT", help="Simulate the picks of this project again, run by run.")
    ] = None,
    run: Annotated[list[str] | None, typer.Option(help="With --like: only this run; may be repeated.")] = None,
    user: Annotated[list[str] | None, typer.Option(help="With --like: only picks of this user.")] = None,
    session: Annotated[list[str] | None, typer.Option(help="With --like: only picks of this session.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="With --like: only this class; may be repeated.")] = None,
    picks: Annotated[Path | None, typer.Option(help="With --like: CSV or STAR of picks apart from MRC files.")] = None,
    tomogram_type: Annotated[str | None, typer.Option(help="With --like: says shape and voxel size.")] = None,
    voxel_spacing: Annotated[float | None, typer.Option(help="With --like: of the tomogram's folder.")] = None,
    level: Annotated[int | None, typer.Option(help="With --like: resolution level, 0 is the finest.")] = None,
    true_voxel_size: Annotated[
        float | None, typer.Option(metavar="A", help="With --like: if its headers are wrong.")
    ] = None,
    types: Annotated[str, typer.Option(help="Tomogram types to write.")] = "wbp,denoised,clean",
    levels: Annotated[
        int | None, typer.Option(help="Resolutions of each OME-Zarr.  [dim]\\[default: 3, fewer if small][/dim]")
    ] = None,
    mrc: Annotated[bool, typer.Option("--mrc", help="Also write each tomogram as mrc/TYPE/RUN.mrc.")] = False,
    workers: Annotated[int, typer.Option(help="Tomograms at a time; each takes one core, 3.2 GB for czii.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace a simulation with other settings.")] = False,
) -> None:
    """Simulate annotated tomograms and write them as a copick project, with masks and orientations.

    Interrupted, the same command goes on where it stood.
    """
    from frazil.cli.options import parse_settings
    from frazil.simulation.like import like_options
    from frazil.simulation.run import SimulatedOutput, parse_types, simulate, simulation_preset

    options = {
        "specimen.shape_voxel": shape,
        "specimen.voxel_size_angstrom": voxel_size if like is None or shape else None,
        "specimen.particles_per_class": particles_per_class,
        "specimen.concentrations": concentrations,
        "specimen.crowding": crowding,
        "specimen.ice_thickness_angstrom": ice_thickness,
        "microscope.tilts.range_degrees": tilt_range,
        "microscope.tilts.step_degrees": tilt_step,
        "microscope.tilts.dose_e_per_angstrom2": dose,
        "microscope.optics.defocus_um": defocus,
    }
    settings = parse_settings(setting or [], example="microscope.optics.voltage_kv=200")
    simulate(
        out,
        simulation_preset(preset, options, settings, structure or []),
        count=count,
        seed=seed,
        like=like_options(
            like,
            runs=run,
            voxel_size_angstrom=voxel_size,
            users=user,
            sessions=session,
            labels=label,
            picks_file=str(picks) if picks else None,
            tomogram_type=tomogram_type,
            voxel_spacing_angstrom=voxel_spacing,
            level=level,
            true_voxel_size_angstrom=true_voxel_size,
        ),
        output=SimulatedOutput(parse_types(types), levels, mrc),
        workers=workers,
        force=force,
    )


@app.command("calibrate")
def calibrate_command(
    out: Annotated[Path, typer.Argument(help="Folder for the preset, the report and its curves.")],
    real: Annotated[Path, typer.Option(metavar="PROJECT", help="Annotated tomograms, as frazil curate takes them.")],
    preset: Annotated[str, typer.Option(help="Where the fit starts: czii, small, or a TOML file.")] = "czii",
    name: Annotated[str, typer.Option(help="Of the fitted preset, written as OUT/NAME.toml.")] = "calibrated",
    run: Annotated[list[str] | None, typer.Option(help="Fit to this run; may be repeated.")] = None,
    fall: Annotated[
        float | None,
        typer.Option(
            metavar="DEX",
            help="If only coarse voxels are there: known fall of in-plane power, 0.1 to 0.45 cycles per 10 A.",
        ),
    ] = None,
    evaluations: Annotated[int, typer.Option(help="Simulations that the search may make, of each piece.")] = 400,
    replicates: Annotated[int, typer.Option(help="Simulations of a piece that are averaged in the search.")] = 1,
    checks: Annotated[int, typer.Option(help="Simulations of each piece with fresh seeds, after the fit.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the simulations.")] = 0,
    tomogram_type: Annotated[str | None, typer.Option(help="E.g. denoised, where there are several.")] = None,
    voxel_spacing: Annotated[float | None, typer.Option(help="Of the tomogram's folder, angstrom.")] = None,
    level: Annotated[int | None, typer.Option(help="Resolution level of OME-Zarr, 0 is the finest.")] = None,
    voxel_size: Annotated[
        float | None, typer.Option(help="True voxel size of the finest level, if the header is wrong, angstrom.")
    ] = None,
    user: Annotated[list[str] | None, typer.Option(help="Only picks of this user; may be repeated.")] = None,
    session: Annotated[list[str] | None, typer.Option(help="Only picks of this session; may be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only picks of this class; may be repeated.")] = None,
    picks: Annotated[Path | None, typer.Option(help="CSV or STAR of picks, if it is not beside the MRC files.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin anew.")] = False,
) -> None:
    """Fit a simulation preset to real tomograms with picks: spectra, missing wedge, grey values.

    Simulates the picks at their places and compares with what was measured there. Interrupted, the same command goes on.
    """
    from frazil.dataset.run import source_settings
    from frazil.simulation.calibration.run import calibrate

    calibrate(
        real,
        out,
        preset=preset,
        name=name,
        source_settings=source_settings(
            tomogram_type=tomogram_type,
            voxel_spacing_angstrom=voxel_spacing,
            level=level,
            voxel_size_angstrom=voxel_size,
            users=user,
            sessions=session,
            labels=label,
            picks_file=str(picks) if picks else None,
        ),
        runs=run or (),
        fine_fall_dex=fall,
        evaluations=evaluations,
        replicates=replicates,
        checks=checks,
        seed=seed,
        force=force,
    )


@app.command("curate")
def curate_command(
    source: Annotated[
        Path,
        typer.Argument(help="A copick project or its configuration, a CZII folder, or MRC files with a CSV or STAR."),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the box store.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table from the picks alone.")] = False,
    preset: Annotated[str, typer.Option(help="paper, fast, smoke, or a TOML file; options go first.")] = "fast",
    tomogram_type: Annotated[str | None, typer.Option(help="E.g. denoised, where there are several.")] = None,
    voxel_spacing: Annotated[float | None, typer.Option(help="Of the tomogram's folder, angstrom.")] = None,
    level: Annotated[int | None, typer.Option(help="Resolution level of OME-Zarr, 0 is the finest.")] = None,
    voxel_size: Annotated[
        float | None, typer.Option(help="True voxel size of the finest level, if the header is wrong, angstrom.")
    ] = None,
    user: Annotated[list[str] | None, typer.Option(help="Only picks of this user; may be repeated.")] = None,
    session: Annotated[list[str] | None, typer.Option(help="Only picks of this session; may be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only boxes of this class; may be repeated.")] = None,
    picks: Annotated[Path | None, typer.Option(help="CSV or STAR of picks, if it is not beside the MRC files.")] = None,
    tilt_range: Annotated[str | None, typer.Option(help="Lowest and highest tilt in degrees, e.g. -45,45.")] = None,
    box: Annotated[int | None, typer.Option(help="Edge of a box in voxels; preset fast takes multiples of 16.")] = None,
    resample_to: Annotated[float | None, typer.Option(help="Voxel size of the boxes, angstrom.")] = None,
    max_padding: Annotated[float | None, typer.Option(help="Leave out boxes with a larger share of padding.")] = None,
    drop_outside: Annotated[bool, typer.Option("--drop-outside", help="Leave out picks outside the tomogram.")] = False,
    split: Annotated[str | None, typer.Option(help="By tomogram, or by particle (the paper).")] = None,
    validation_run: Annotated[list[str] | None, typer.Option(help="This run validates; may be repeated.")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Share of runs or boxes that validate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a store with other settings.")] = False,
) -> None:
    """Cut boxes around annotated particles into a box store.

    Interrupted, the same command continues. Prints how many particles were found, used and left out, and why.
    """
    from frazil.core.presets import load_preset
    from frazil.dataset.run import curate, parse_tilt_range, source_settings

    chosen = {
        "box_size_voxel": box,
        "voxel_size_angstrom": resample_to,
        "max_padding": max_padding,
        "drop_outside": drop_outside or None,
        "split_by": split,
        "validation_runs": validation_run or None,
        "validation_fraction": validation_fraction,
        "seed": seed,
    }
    overrides = {f"curate.{key}": value for key, value in chosen.items() if value is not None}
    curate(
        source,
        out,
        source_settings(
            tomogram_type=tomogram_type,
            voxel_spacing_angstrom=voxel_spacing,
            level=level,
            voxel_size_angstrom=voxel_size,
            users=user,
            sessions=session,
            labels=label,
            picks_file=str(picks) if picks else None,
            tilt_range_degrees=parse_tilt_range(tilt_range) if tilt_range else None,
        ),
        load_preset(preset, overrides).curate,
        dry_run=dry_run,
        force=force,
    )


@app.command("train")
def train_command(
    store: Annotated[Path, typer.Argument(help="Box store that [bold]frazil curate[/bold] wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: checkpoint, losses, Figure 1, bundle.")],
    preset: Annotated[str, typer.Option(help="paper, fast, smoke, or a TOML file.")] = "fast",
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="BUNDLE", help="Begin with the weights, and the network, of a trained bundle."),
    ] = None,
    class_from: Annotated[
        list[str] | None,
        typer.Option(metavar="NEW=OLD", help="With --from: class NEW begins as its class OLD; may be repeated."),
    ] = None,
    keep_classes: Annotated[
        bool, typer.Option("--keep-classes", help="With --from: also keep its classes that the store does not have.")
    ] = False,
    other_voxel_size: Annotated[
        bool, typer.Option("--other-voxel-size", help="With --from: though the store has another voxel size.")
    ] = False,
    freeze: Annotated[
        list[str] | None,
        typer.Option(help="Keep a part as it is: embedding, encoder, bottleneck, decoder, output; may be repeated."),
    ] = None,
    half_turns: Annotated[
        bool | None,
        typer.Option("--half-turns/--no-half-turns", help="Turn boxes by 180 degrees, as the wedge allows."),
    ] = None,
    box: Annotated[int | None, typer.Option(help="Train on a smaller cube of each box, voxels.")] = None,
    shift: Annotated[
        int | None, typer.Option(metavar="VOXELS", help="With --box: move that cube at random, up to so far.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training boxes; may be raised later.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Boxes per optimiser step, over all devices.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Share a step between N passes, to save memory.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam, constant.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="32-true, bf16-mixed, or auto: the faster one here, found in a second.")
    ] = None,
    memory_format: Annotated[
        str | None, typer.Option(help="contiguous, channels-last or auto; else what suits the precision.")
    ] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the average of the weights; 0 keeps none.")] = None,
    normalisation: Annotated[str | None, typer.Option(help="padded (the paper) or measured voxels only.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Epochs between validations.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, shuffling and noise.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, e.g. --set model.conditioning=sum.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on each node.")] = 1,
    num_nodes: Annotated[int, typer.Option(min=1, help="Nodes; SLURM is detected.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning strategy; auto is DDP for several devices.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Prefetching processes for each device.")] = None,
    max_time: Annotated[str | None, typer.Option(help="Stop before this time: MM, HH:MM:SS or DD:HH:MM:SS.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin anew over a run with other settings.")] = False,
) -> None:
    """Train the conditional diffusion model on a box store.

    Killed or out of time, the same command goes on where it stood.
    """
    from frazil.cli.options import parse_duration, parse_settings
    from frazil.core.presets import load_preset
    from frazil.training.fit import Hardware
    from frazil.training.run import train
    from frazil.training.start import base_request, refuse_other_network

    chosen = {
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "learning_rate": learning_rate,
        "precision": precision,
        "memory_format": memory_format,
        "ema_decay": ema,
        "normalisation": normalisation,
        "half_turns": half_turns,
        "box_size_voxel": box,
        "shift_voxel": shift,
        "freeze": freeze or None,
        "validate_every": validate_every,
        "seed": seed,
    }
    overrides = {f"training.{key}": value for key, value in chosen.items() if value is not None}
    settings = parse_settings(setting or [])
    request = base_request(
        start, class_from=class_from or (), keep_classes=keep_classes, other_voxel_size=other_voxel_size
    )
    if request is not None:
        refuse_other_network(settings)
    train(
        store,
        out,
        load_preset(preset, overrides | settings),
        start=request,
        hardware=Hardware(accelerator, devices, num_nodes, strategy, workers),
        max_seconds=parse_duration(max_time) if max_time else None,
        force=force,
    )


@app.command("import-weights")
def import_weights_command(
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE.pt", help="Checkpoint of the paper's authors.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    voxel_size: Annotated[
        float | None, typer.Option(metavar="ANGSTROM", help="Of their boxes; 10.012444 for the CZII set.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another bundle at the same place.")] = False,
) -> None:
    """Turn a checkpoint of the paper's authors into a bundle, without running any code in it."""
    from frazil.model.authors import import_weights

    import_weights(checkpoint, out, voxel_size_angstrom=voxel_size, force=force)


@app.command("sample")
def sample_command(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="Bundle that [bold]frazil train[/bold] or import-weights wrote, or the run folder; else the model that frazil "
            "brings along, which learnt from simulated tomograms.",
            show_default=False,
        ),
    ] = Path("pretrained"),
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for MRC volumes, manifest, copick project, STAR.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="Class to sample; repeat it for several, or say all.")
    ] = None,
    position: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,Z", help="Place in the tomogram, 0 to 1 of its extent.  [dim]\\[default: 0.5,0.5,0.5][/dim]"
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", help="Samples of each label.  [dim]\\[default: 1][/dim]")
    ] = None,
    requests: Annotated[
        Path | None, typer.Option(help="CSV with the columns label, x, y, z, count, instead of the three above.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Sample i depends on the seed and i alone.")] = 0,
    sampler: Annotated[
        str | None, typer.Option(help="ddpm (the paper), ddim, dpm++, sde-dpm++ or unipc; else the bundle's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of the sampler; else its usual number.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Exaggerates what sets the class apart; 1 is none; else the bundle's.")
    ] = None,
    guidance_interval: Annotated[
        str | None, typer.Option(metavar="LOWEST,HIGHEST", help="Noise levels that are guided; 1 is noise as signal.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples computed at once; else what suits the device.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="32-true, bf16-mixed, or auto: the faster one here; else the bundle's.")
    ] = None,
    memory_format: Annotated[
        str | None, typer.Option(help="contiguous, channels-last or auto; else what suits the precision.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or several: cuda:0,cuda:1.")] = "auto",
    devices: Annotated[int, typer.Option(help="Processes on each node, each with a device of its own.")] = 1,
    num_nodes: Annotated[int, typer.Option(help="Nodes; SLURM and torchrun are detected.")] = 1,
    voxel_size: Annotated[
        float | None,
        typer.Option(metavar="ANGSTROM", help="Only for a bundle that does not know it (imported weights)."),
    ] = None,
    copick: Annotated[bool, typer.Option("--copick/--no-copick", help="Also write a copick project.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace the samples of another request.")] = False,
) -> None:
    """Generate labelled particle volumes with a bundle.

    Interrupted, the same command goes on where it stood.
    """
    from frazil.sampling.request import SampleOptions, gather_requests, parse_interval
    from frazil.sampling.run import sample

    sample(
        bundle,
        out,
        gather_requests(label or [], position, count, requests),
        options=SampleOptions(
            seed=seed,
            sampler=sampler,
            steps=steps,
            guidance=guidance,
            guidance_interval=parse_interval(guidance_interval) if guidance_interval is not None else None,
            batch_size=batch_size,
            precision=precision,
            memory_format=memory_format,
            device=device,
            devices=devices,
            num_nodes=num_nodes,
            voxel_size_angstrom=voxel_size,
        ),
        copick=copick,
        force=force,
    )


@app.command("figures")
def figures_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the figures, each as PNG and PDF.")],
    store: Annotated[Path | None, typer.Option(help="Box store, for real examples of every class.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Folder that [bold]frazil sample[/bold] wrote.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder that [bold]frazil train[/bold] wrote, for the losses.")
    ] = None,
    examples: Annotated[int, typer.Option(help="Real examples and samples of a class, at most.")] = 5,
    seed: Annotated[int, typer.Option(help="Draws the real examples; whole boxes and validation boxes go first.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace other figures.")] = False,
) -> None:
    """Draw the paper's figures: loss curves, and slices of real examples and samples of every class."""
    from frazil.figures.run import figures

    figures(out, store=store, samples=samples, run=run, examples=examples, seed=seed, force=force)


@app.command("evaluate")
def evaluate_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="REAL GENERATED",
            help="Box store with a split; then samples of frazil, a folder of MRC files with labels, or another box store. "
            "With --compare: folders of finished evaluations.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for metrics.json, samples.csv and report.html.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the generator, in comparisons.  [dim]\\[default: its folder][/dim]")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="STAGES",
            help="Some of physics, memorisation, diversity, features, usefulness, with commas between; the rest later.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    labels: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Of classes that file names number: 0=ribosome,1=thyroglobulin.")
    ] = None,
    voxel_size: Annotated[
        float | None, typer.Option(metavar="ANGSTROM", help="Of the generated volumes, if their headers are wrong.")
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring generated volumes to the real voxel size; crop the larger boxes.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Generated volumes of a class at most, drawn by the seed.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Usefulness in a quarter of the time: one seed, no intervals.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Of the computation; else as many as there are cores.")] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Also write the HTML file.")] = True,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put finished evaluations side by side instead: evaluate --compare A B C.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an evaluation of other inputs.")] = False,
) -> None:
    """Judge generated volumes: realistic, varied, new, of the right class, useful?

    Every number stands beside what real volumes reach. Interrupted, the same command goes on.
    """
    from frazil.core.errors import RequestError

    if compare:
        from frazil.evaluation.compare import compare as compare_evaluations

        compare_evaluations(paths, out, force=force)
        return
    if len(paths) != 2 or out is None:
        raise RequestError("frazil evaluate takes REAL GENERATED --out DIR, or --compare DIR DIR...; see --help")
    from frazil.evaluation.inputs.judged import JudgedOptions
    from frazil.evaluation.run import EvaluateOptions, evaluate

    real, generated = paths
    evaluate(
        real,
        generated,
        out,
        options=EvaluateOptions(
            seed=seed,
            only=tuple(stage.strip() for stage in only.split(",")) if only else (),
            name=name,
            judged=JudgedOptions(labels=labels, voxel_size_angstrom=voxel_size, limit=limit),
            resample=resample,
            quick=quick,
            threads=threads,
            report=report,
            force=force,
        ),
    )


@app.command("filter")
def filter_command(
    generated: Annotated[Path, typer.Argument(help="Volumes that were evaluated.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for copies of what stays, and receipt.json.")],
    keep: Annotated[float, typer.Option(metavar="SHARE", help="Of each class, the share that stays.")] = 0.9,
    by: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Column of samples.csv to drop by, larger is worse; else typicality."),
    ] = None,
    evaluation: Annotated[Path | None, typer.Option(help="Folder of frazil evaluate for these volumes.")] = None,
    real: Annotated[Path | None, typer.Option(help="Box store; else that of the evaluation.")] = None,
    only: Annotated[
        str | None, typer.Option(metavar="STAGES", help="To evaluate again on what stays; else all but usefulness.")
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Write the receipt and copy no volumes.")] = False,
    copick: Annotated[bool, typer.Option("--copick/--no-copick", help="Also write a copick project.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace what another filtering left.")] = False,
) -> None:
    """Keep the better generated volumes, and say what that does to every number. Nothing is deleted."""
    from frazil.evaluation.filter.run import FilterOptions, filter_samples

    filter_samples(
        generated,
        out,
        evaluation=evaluation,
        real=real,
        options=FilterOptions(
            keep=keep,
            by=by,
            only=tuple(stage.strip() for stage in only.split(",")) if only else (),
            list_only=list_only,
            copick=copick,
            force=force,
        ),
    )


@app.command("report")
def report_command(
    evaluation: Annotated[Path, typer.Argument(help="Folder that [bold]frazil evaluate[/bold] wrote.")],
) -> None:
    """Write the HTML report of an evaluation anew."""
    from frazil.evaluation.report.run import report

    report(evaluation)


def main() -> None:
    """Run the command line; what a user caused ends in one line on standard error and exit code 2."""
    try:
        app()
    except FrazilError as error:
        typer.secho(f"frazil: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        if _comes_from_interrupt(stop):
            typer.secho("frazil: run the same command again to continue", fg="yellow", err=True)
            sys.exit(130)
        raise


def _comes_from_interrupt(error: BaseException | None) -> bool:
    """Tell whether Ctrl-C stands at the beginning of the chain; Typer turns it into an exit with code 1."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
