"""`frazil prove`: does a picker gain from generated tomograms? One command, one answer with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from frazil.core.console import progress_bar, say, say_table, say_written
from frazil.core.documents import differences
from frazil.core.errors import PickError, SettingsError, SourceError
from frazil.core.executor import executor
from frazil.core.files import write_text
from frazil.core.settings import CurateSettings, SourceSettings, check_number
from frazil.dataset.contrast import warn_of_contrast
from frazil.dataset.plan import check_plan, make_plan
from frazil.dataset.tomograms.curate import curate_tomograms
from frazil.dataset.tomograms.store import TomogramStore
from frazil.io.sources import SomeRuns, Source, open_source, source_at
from frazil.proof.arms import ANNOTATED, Arm, all_arms, chosen_arms
from frazil.proof.leaks import check_leaks
from frazil.proof.records import (
    PICKS_FILE,
    REPORT_FILE,
    RESULT_FILE,
    STORES,
    TRIALS,
    Interval,
    Proof,
    ProofRequest,
    proof_folder,
)
from frazil.proof.report import report_html
from frazil.proof.score import BETA, CZII_WEIGHTS
from frazil.proof.summary import Tested, summarize, tested
from frazil.proof.trial import TrialWork, references


def prove(
    project: Path | str,
    *,
    train: Sequence[str],
    test: Sequence[str] = (),
    pick: Sequence[str] = (),
    out: Path | str,
    projects: Mapping[str, Path | str] | Sequence[Path | str] = (),
    source: SourceSettings | None = None,
    arms: Sequence[str] = (),
    mixtures: Sequence[int] = (1, 2, 4),
    seeds: int = 5,
    steps: int = 800,
    weights: Mapping[str, float] | None = None,
    workers: int = 1,
    dask: str | None = None,
    force: bool = False,
) -> Proof:
    """Train the same picker on several kinds of data with equal effort, and score it on test tomograms. Called again, it resumes.

    Prints F-beta(4) of each arm, and its gain over the best arm that needs nothing but the annotated tomograms.

    Parameters
    ----------
    project : annotated tomograms, as for `frazil.curate`.
    train, test : runs of it. A test run is never seen by pickers, thresholds or, as far as digests can tell, generators.
    pick : more runs, which are picked and not scored, because nobody labeled them, or not all of them.
    out : folder of the proof.
    projects : composed or simulated projects to mix in; by name, or named after their folders.
    source : which picks and tomograms of `project`; its level decides the voxel size.
    arms : names of the arms to compare; none compares all.
    mixtures : windows of made tomograms for one of annotated ones.
    seeds : pickers of each arm.
    steps : of the training of a picker.
    weights : of classes in the score; others have the challenge's, or 1.
    workers, dask : see `frazil.core.executor.executor`; each worker trains one picker.
    force : replace a proof of another request.

    Returns
    -------
    The result, as in ``proof.json``.

    Raises
    ------
    PickError : no picks in the test runs, classes that one project lacks, or a test tomogram that was trained on.
    SettingsError : runs, arms or numbers that cannot be.
    SourceError : voxel sizes that differ, or what cannot be read.
    """
    for what, number in (("seeds", seeds), ("steps", steps), *(("mixture", ratio) for ratio in mixtures)):
        check_number(what, number, SettingsError)
    path, select = Path(out), source or SourceSettings()
    named = _named(projects)
    opened = open_source(Path(project), select)
    if select.more_picks_file is not None:
        _refuse_more_to_test(opened, select, test)
    sources: dict[str, Source] = {ANNOTATED: _annotated(opened, train, test, pick)}
    header = opened.header(train[0])
    sources |= {name: _made(Path(made), header.voxel_size_angstrom) for name, made in named.items()}
    labels = _shared_labels(sources, select)
    every = chosen_arms(all_arms(list(named), mixtures), arms)
    unknown = set(weights or ()) - set(labels)
    if unknown:
        raise SettingsError(f"weight of {min(unknown)}: no such class; the classes are {', '.join(labels)}")
    request = ProofRequest(
        project=str(Path(project).resolve()), source=select, train=tuple(train), test=tuple(test), pick=tuple(pick),
        projects={name: str(Path(made).resolve()) for name, made in named.items()}, steps=steps,
        weights=dict.fromkeys(labels, 1.0) | {k: v for k, v in CZII_WEIGHTS.items() if k in labels} | dict(weights or {}),
    )  # fmt: skip
    if not sum(request.weights.values()) > 0 or min(request.weights.values()) < 0:
        raise SettingsError("weights: none is above 0, or one is below; give at least one class a weight")
    folder = proof_folder(path, list(sources))

    def compare(old: ProofRequest, new: ProofRequest) -> list[str]:
        of_projects = {f"projects.{name}" for name in old.projects | new.projects}
        # nobody asks for the last two: trials of an older frazil have another digest, and are trained again
        return differences(old, new, {"projects", "weights", *of_projects, "batch_size", "learning_rate"})

    folder.earlier(request, force=force, compare=compare)
    with folder.held():
        work, _ = folder.begin(request, force=force, compare=compare)
        work.check()
        request.write(work.record_path)
        stores = _curate(sources, request, work.path)
        warn_of_contrast(stores[ANNOTATED])
        checked = check_leaks(request, stores)
        trials = TrialWork(opened, work.path, request, labels, {name: store.digest for name, store in stores.items()})
        _carry_out(trials, every, seeds, workers=workers, dask=dask)
        proof = _summarize(trials, stores[ANNOTATED], every, seeds, checked)
        proof.write(work.path / RESULT_FILE)
        if proof.arms:
            write_text(work.path / REPORT_FILE, report_html(proof))
        path = work.finish()
    if pick:
        say_written(path / TRIALS, f"{PICKS_FILE} of each picker, in {', '.join(pick)} too")
    if proof.arms:
        _say(proof)
        say_written(path / REPORT_FILE, "the report: open it in a browser")
    return proof


def _named(projects: Mapping[str, Path | str] | Sequence[Path | str]) -> dict[str, Path]:
    pairs = (
        projects.items() if isinstance(projects, Mapping) else [(Path(made).resolve().name, made) for made in projects]
    )
    named: dict[str, Path] = {}
    for name, made in pairs:
        if name in named or name == ANNOTATED:
            raise SettingsError(f"project {made}: another one is called {name}; rename its folder")
        named[name] = Path(made)
    return named


def _annotated(source: Source, train: Sequence[str], test: Sequence[str], pick: Sequence[str]) -> Source:
    path, picked = source.path, {some.run for some in source.picks()}
    for what, runs in (("train", train), ("test", test)):
        if not runs and not (what == "test" and pick):
            raise SettingsError(f"{what}: name at least one run; those with picks are {', '.join(sorted(picked))}")
        for run in runs:
            if run not in picked:
                raise PickError(
                    f"{path}: no picks in {what} run {run}; runs with picks are {', '.join(sorted(picked)) or 'none'}"
                )
    if absent := sorted(set(pick) - set(source.runs())):
        raise SettingsError(f"pick {absent[0]}: no such run in {path}; there are {', '.join(source.runs())}")
    if both := sorted(set(train) & {*test, *pick}):
        raise SettingsError(f"test or pick {both[0]}: is a training run too; a test tomogram must not be seen")
    return SomeRuns(source, [*train, *test])


def _refuse_more_to_test(source: Source, select: SourceSettings, test: Sequence[str]) -> None:
    """Refuse picks that nobody annotated as references."""
    own = open_source(source.path, select.model_copy(update={"more_picks_file": None}))
    counts = [{run: sum(len(some) for some in of.picks() if some.run == run) for run in test} for of in (source, own)]
    if more := [run for run in test if counts[0][run] != counts[1][run]]:
        raise PickError(
            f"{select.more_picks_file}: has picks in test run {more[0]}, which is scored against what people annotated; complete the "
            "training runs alone"
        )


def _made(path: Path, voxel_size_angstrom: float) -> Source:
    """Open a project at the level whose voxels are those of the annotated tomograms."""
    finest = open_source(path, SourceSettings())
    runs = sorted({some.run for some in finest.picks()})
    if not runs:
        raise PickError(f"{path}: no picks; a made project has one for every particle")
    if source := source_at(path, SourceSettings(), voxel_size_angstrom, runs[0]):
        return source
    raise SourceError(
        f"{path}: its voxels of {finest.header(runs[0]).voxel_size_angstrom:.2f} A, also binned, are not those of the annotated "
        f"tomograms, {voxel_size_angstrom:.2f} A; choose another --level (in Python: source), or make it again at that voxel size"
    )


def _shared_labels(sources: Mapping[str, Source], select: SourceSettings) -> tuple[str, ...]:
    """Return the classes; refuse those that only some of the projects know."""
    known = {name: {some.label for some in source.picks()} for name, source in sources.items()}
    wanted = set(select.labels) or known[ANNOTATED]
    for name, own in known.items():
        if missing := sorted(wanted - own):
            raise PickError(
                f"{sources[name].path}: has no {', '.join(missing)}, which other arms know; leave the class out with --label (in Python: "
                "source), or add it"
            )
    return tuple(sorted(wanted))


def _curate(sources: Mapping[str, Source], request: ProofRequest, folder: Path) -> dict[str, TomogramStore]:
    stores = {}
    with progress_bar() as bar:
        for name, source in sources.items():
            select = request.source if name == ANNOTATED else SourceSettings(level=source._settings.level)
            held = request.test if name == ANNOTATED else ()
            settings = CurateSettings(validation_fraction=0, validation_runs=held)
            plan = make_plan(source, select, settings)
            check_plan(plan)
            task = bar.add_task(f"reading {name}", total=len(plan.headers))
            read = partial(bar.advance, task)
            stores[name] = curate_tomograms(source, plan, folder / STORES / name, force=True, on_progress=read)
    return stores


def _carry_out(trials: TrialWork, arms: Sequence[Arm], seeds: int, *, workers: int, dask: str | None) -> None:
    """Train and test what is missing; seeds come last, so that an interrupted proof has some of every arm."""
    items = [(arm, seed) for seed in range(seeds) for arm in arms]
    missing = [item for item in items if trials.finished(*item) is None]
    if len(missing) < len(items):
        say(f"{len(items) - len(missing)} of {len(items)} pickers are there already")
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar())
        task = bar.add_task("pickers", total=len(items), completed=len(items) - len(missing))
        alone = workers == 1 and dask is None
        if alone:
            trials = replace(trials, on_step=lambda share: bar.advance(task, share))
        pool = stack.enter_context(executor(workers=workers, dask=dask, threads=None if alone else 1))
        for _ in pool.run(trials, missing):
            if not alone:
                bar.advance(task, 1)


def _summarize(
    trials: TrialWork, annotated: TomogramStore, arms: Sequence[Arm], seeds: int, checked: Sequence[str]
) -> Proof:
    request, described = trials.request, annotated.description
    wanted = {label: [references(annotated, run, label) for run in request.test] for label in trials.labels}
    wanted = {label: centers for label, centers in wanted.items() if sum(map(len, centers))}
    weights = {label: request.weights[label] for label in wanted}
    found: dict[str, list[Tested]] = {}
    for arm in arms:
        found[arm.name] = []
        for seed in range(seeds):
            trial = trials.finished(arm, seed)
            assert trial is not None
            found[arm.name].append(
                tested(trials.picks(arm, seed), trial.thresholds, wanted, request.test, described.radii_angstrom)
            )
    results, best = summarize(arms, found, weights) if request.test else ((), None)
    return Proof(
        request=request,
        voxel_size_angstrom=described.voxel_size_angstrom,
        beta=BETA,
        seeds=seeds,
        simulated=described.simulated,
        leaks_checked=tuple(checked),
        best_cheap=best,
        arms=results,
    )


def _say(proof: Proof) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("arm", f"F{proof.beta:g}", "95 %", "gain", "95 %", "ceiling"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for arm in proof.arms:
        gain = ("best cheap" if arm.name == proof.best_cheap else "", "")
        if arm.gain is not None:
            gain = (f"{arm.gain.mean:+.3f}", _range(arm.gain))
        table.add_row(escape(arm.name), f"{arm.f_beta.mean:.3f}", _range(arm.f_beta), *gain, f"{arm.ceiling:.3f}")
    say_table(table, "arms", [arm.model_dump(mode="json") for arm in proof.arms])


def _range(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"
