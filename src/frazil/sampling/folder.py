"""A folder of samples: what is in it, how a sample is written, and its copies for copick and RELION.

DIR/request.json         what was asked for; written first
DIR/volumes/*.mrc        one file per sample
DIR/manifest.json        what is there; written at the end
DIR/manifest.jsonl       the same while it is made: a line a sample, since a manifest of all is long
DIR/particles.star       RELION 5 particles
DIR/copick.json, DIR/ExperimentRuns    copick project, one run per sample
DIR/part-*               the same for a range of samples, until the whole request gathers them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64, Shaped
from pydantic import ValidationError

from frazil.core.console import say, warn
from frazil.core.errors import OutputError, SourceError
from frazil.core.files import check_inside, file_digest, locked, output_errors
from frazil.core.folder import OutputFolder, final_place
from frazil.core.ledger import Ledger, enter
from frazil.core.reading import read_bytes
from frazil.core.records import Layout, Moments, Picks, TomogramHeader
from frazil.core.settings import SamplingSettings
from frazil.io.checks import clean_name
from frazil.io.copick.project import (
    CLASSES,
    CONFIG_NAME,
    INSTANCES,
    write_picks,
    write_project_config,
    write_segmentation,
    write_tomogram,
)
from frazil.io.mrc import read_volume, write_volume
from frazil.io.star import write_particles
from frazil.sampling.manifest import (
    LOG_FILE,
    MANIFEST_FILE,
    REQUEST_FILE,
    PlacedParticle,
    SampleEntry,
    SampleManifest,
    SampleRequest,
    request_differences,
)
from frazil.sampling.samples import Samples, describe, slices_html
from frazil.volume.layout import Painter
from frazil.volume.masks import instance_mask

VOLUMES = "volumes"
RUNS = "ExperimentRuns"
PARTICLES = "particles.star"
USER = "frazil"
"""User of the picks in the copick project."""

TOMOGRAM_TYPE = "generated"
_INDEX = "[0-9]" * 5


@dataclass(frozen=True, repr=False)
class SampleFolder:
    """A folder that `frazil sample` wrote.

    Parameters
    ----------
    path : the folder.
    manifest : what is in it.
    """

    path: Path
    manifest: SampleManifest

    @classmethod
    def open(cls, path: str | Path) -> SampleFolder:
        """Read what is in a folder; volumes are read when they are asked for.

        Raises
        ------
        SourceError : no samples, damaged, or of a newer schema.
        """
        return cls(Path(path), SampleManifest.read(Path(path) / MANIFEST_FILE, SourceError))

    @property
    def labels(self) -> list[str]:
        """Class name of each volume."""
        return [entry.label for entry in self.manifest.samples]

    def __len__(self) -> int:
        return len(self.manifest.samples)

    def __getitem__(self, row: int) -> Float[np.ndarray, "z y x"]:
        """Read a volume, normalized as in the training data; rows are counted as in the manifest."""
        return read_volume(self.path / self.manifest.samples[row].file)

    def __iter__(self) -> Iterator[Float[np.ndarray, "z y x"]]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        described = describe(self.labels, self.manifest.box_size_voxel, self.manifest.voxel_size_angstrom)
        return f"SampleFolder({self.path}: {described}{'' if self.manifest.complete else '; incomplete'})"

    def _repr_html_(self) -> str:
        return slices_html(repr(self), self, self.labels)


class SampleOutput(OutputFolder[SampleRequest]):
    """A folder of samples while it is written. Of the runs in it, only those with a generated tomogram are its own."""

    @classmethod
    def at(cls, path: Path) -> SampleOutput:
        """Return the folder at `path`."""
        own = (f"{VOLUMES}/*-{_INDEX}*.mrc", MANIFEST_FILE, LOG_FILE, PARTICLES, CONFIG_NAME)
        return cls(path, REQUEST_FILE, SampleRequest, own)

    def written(self) -> list[Path]:
        """Return the files and folders that the command wrote, or that stand where it would write."""
        with output_errors(self.path):  # a tomogram is whole, or was left by a kill
            tomograms = self.path.glob(f"{RUNS}/*-{_INDEX}*/VoxelSpacing*/*{TOMOGRAM_TYPE}.zarr*")
            return sorted({*super().written(), *(path.parents[1] for path in tomograms)})

    def named(self) -> dict[int, SampleEntry]:
        """Return the samples that the manifest or the log names, by index."""
        path, log = self.path / MANIFEST_FILE, self.path / LOG_FILE
        entries = list(SampleManifest.read(path, OutputError).samples) if path.exists() else []
        if log.exists():
            for line in read_bytes(log, OutputError).splitlines():
                with suppress(ValidationError):  # a line that was cut off
                    entries.append(SampleEntry.model_validate_json(line))
            check_inside(self.path, [name for entry in entries for name in (entry.file, entry.name)], log, OutputError)
        return {entry.index: entry for entry in entries}

    def write(self, manifest: SampleManifest) -> None:
        """Write the manifest, which names all that the log does."""
        manifest.write(self.path / MANIFEST_FILE)
        if (self.path / LOG_FILE).exists():
            Ledger(self.path).remove([LOG_FILE])

    def is_damaged(self) -> bool:
        """Return whether the manifest cannot be read."""
        try:
            self.named()
        except OutputError:
            return True
        return False

    def finished(self) -> dict[int, SampleEntry]:
        """Return the samples that are there and whole, by index; refuse a volume that was changed since it was written."""
        entries = {index: entry for index, entry in self.named().items() if (self.path / entry.file).exists()}
        ledger = Ledger(self.path)
        for entry in entries.values():
            if not ledger.unchanged(entry.file) and file_digest(self.path / entry.file) != entry.digest:
                raise OutputError(
                    f"{self.path / entry.file}: changed since it was sampled; move it away and rerun the same command to "
                    "sample it again"
                )
        return entries

    def is_complete(self, *, copick: bool) -> bool:
        """Return whether all that follows from the volumes is there too. What of the copick project is gone is made again."""
        lost, ledger = self.check(), Ledger(self.path)
        broken = tuple(f"{RUNS}/{Path(name).parts[1]}/Picks/" for name in lost if name.startswith(f"{RUNS}/"))
        ledger.remove([name for name in ledger.entries if name.startswith(broken)])  # they say that the run is whole
        there = {name for name in (PARTICLES, MANIFEST_FILE, LOG_FILE) if (self.path / name).exists()}
        if lost or there != {PARTICLES, MANIFEST_FILE}:
            return False
        return SampleManifest.read(self.path / MANIFEST_FILE, OutputError).complete and (
            not copick or all(_pick_file(self.path, entry).exists() for entry in self.named().values())
        )

    def gather(self, request: SampleRequest) -> None:
        """Take over what calls for parts of `request` have sampled in folders of their own."""
        parts = sorted(file.parent for file in final_place(self.path).glob(f"part-*/{REQUEST_FILE}"))
        wanted = {index: (label, position) for index, label, position in request.samples()} if parts else {}
        gathered = []
        for path in parts:
            whole = {"requests": request.requests, "first": 0}
            part = SampleRequest.read(path / REQUEST_FILE, OutputError).model_copy(update=whole)
            entries = list(SampleOutput.at(path).named().values())
            if request_differences(part, request) or any(
                wanted.get(entry.index) != (entry.label, entry.position) for entry in entries
            ):
                warn(f"{path}: not a part of this request, left alone")
                continue
            with output_errors(self.path), locked(path / ".lock"), sample_log(self.path) as note:
                note(entries)
                (self.path / VOLUMES).mkdir(exist_ok=True)
                for entry in entries:
                    if (path / entry.file).exists():
                        enter(self.path / entry.file, path / entry.file)
                        (path / entry.file).replace(self.path / entry.file)
            gathered.append(path)
        for path in gathered:
            with locked(path / ".lock"):
                SampleOutput.at(path).remove()
        if gathered:
            say(f"{self.path}: gathered {len(gathered)} parts")


@contextmanager
def sample_log(out: Path) -> Iterator[Callable[[Iterable[SampleEntry]], None]]:
    """Yield a function that enters samples in the log, which grows by them alone."""
    log = out / LOG_FILE
    with output_errors(log), log.open("a", encoding="utf-8") as stream:
        enter(log, log, log=True)

        def note(entries: Iterable[SampleEntry]) -> None:
            stream.write("".join(f"{entry.model_dump_json()}\n" for entry in entries))
            stream.flush()

        yield note


def write_samples(out: Path, request: SampleRequest, samples: Samples, labels: Sequence[str]) -> list[SampleEntry]:
    """Write volumes and return their entries in the manifest; `labels` are the classes of the bundle, in their order."""
    entries = []
    sampling = request.model_dump(include=set(SamplingSettings.model_fields))
    for row, (index, label, position, volume) in enumerate(samples.rows()):
        name = f"{clean_name(label) or 'class'}-{index:05d}"
        file = f"{VOLUMES}/{name}.mrc"
        write_volume(out / file, volume, samples.voxel_size_angstrom)
        entries.append(
            SampleEntry(
                index=index,
                name=name,
                file=file,
                label=label,
                position=tuple(position.tolist()),
                seed=request.seed,
                bundle_digest=request.bundle_digest,
                moments=Moments(float(volume.mean(dtype=np.float64)), float(volume.std(dtype=np.float64))),
                digest=file_digest(out / file),
                particles=_placed(samples.layouts[row], labels) if samples.layouts else (),
                **sampling,
            )
        )
    return entries


def _placed(layout: Layout, labels: Sequence[str]) -> tuple[PlacedParticle, ...]:
    return tuple(
        PlacedParticle(
            label=labels[number], centre_voxel=tuple(center.tolist()), rotation=tuple(rotation.ravel().tolist())
        )
        for number, center, rotation in zip(layout.label, layout.center_voxel, layout.rotation, strict=True)
    )


def write_relion(out: Path, manifest: SampleManifest) -> None:
    """Write RELION's view: every sample is a tomogram of its own, and the image of its labeled particle."""
    edge = manifest.box_size_voxel
    write_particles(
        out / PARTICLES,
        [_labeled(manifest, entry) for entry in manifest.samples],
        headers={
            entry.name: TomogramHeader(entry.name, (edge, edge, edge), manifest.voxel_size_angstrom, entry.file)
            for entry in manifest.samples
        },
        voxel_size_angstrom=manifest.voxel_size_angstrom,
        box_size_voxel=edge,
        image_names=[[entry.file] for entry in manifest.samples],
    )


def write_copick(
    out: Path, manifest: SampleManifest, *, radius_angstrom: Mapping[str, float], painter: Painter | None = None
) -> None:
    """Write copick's view: every sample is a run with a tomogram, its particles, and their masks. What already exists is left alone.

    Parameters
    ----------
    radius_angstrom : the particles' radii by label, where they are known.
    painter : of the bundle, for masks of what it was told to paint; None writes none.
    """
    # a box leaves its particle about half of the edge
    usual = manifest.box_size_voxel * manifest.voxel_size_angstrom / 4
    radii = {clean_name(label): radius_angstrom.get(label, usual) for label in manifest.labels}
    write_project_config(out, name=final_place(out).resolve().name, labels_radius_angstrom=radii)
    for entry in manifest.samples:
        if _pick_file(out, entry).exists():
            continue
        write_tomogram(
            out,
            run=entry.name,
            volume=read_volume(out / entry.file),
            voxel_size_angstrom=manifest.voxel_size_angstrom,
            tomogram_type=TOMOGRAM_TYPE,
            tilt_range_degrees=manifest.tilt_range_degrees,
            simulated=True,  # no microscope saw it
        )
        if painter is not None:
            for name, mask in _masks(manifest, entry, painter).items():
                write_segmentation(
                    out, run=entry.name, volume=mask, voxel_size_angstrom=manifest.voxel_size_angstrom,
                    name=name, user=USER, simulated=True,
                )  # fmt: skip
        for picks, numbers in reversed(
            _picks(manifest, entry)
        ):  # the labeled particle last: it says that the run is whole
            write_picks(out, picks, user=USER, instances=numbers if entry.particles else None)


def _masks(manifest: SampleManifest, entry: SampleEntry, painter: Painter) -> dict[str, Shaped[np.ndarray, "z y x"]]:
    """Return class and instance mask of a sample; see `frazil.io.copick.project.write_project_config` for the numbers."""
    placed, names = entry.particles, sorted(map(clean_name, manifest.labels))
    layout = Layout(
        np.array([manifest.labels.index(particle.label) for particle in placed]),
        np.array([particle.centre_voxel for particle in placed]),
        np.array([particle.rotation for particle in placed]).reshape(-1, 3, 3),
    )
    instances = instance_mask(layout, (manifest.box_size_voxel,) * 3, painter, manifest.voxel_size_angstrom)
    class_of = np.array([0, *(names.index(clean_name(particle.label)) + 1 for particle in placed)], dtype=np.uint8)
    return {CLASSES: class_of[instances], INSTANCES: instances}


def _labeled(manifest: SampleManifest, entry: SampleEntry) -> Picks:
    """Return the labeled particle of a sample alone."""
    picks, _ = _picks(manifest, entry)[0]
    rotations = None if picks.rotations is None else picks.rotations[:1]
    return replace(picks, centers_angstrom=picks.centers_angstrom[:1], rotations=rotations)


def _picks(manifest: SampleManifest, entry: SampleEntry) -> list[tuple[Picks, Int64[np.ndarray, "n"]]]:
    """Return the particles in the box of a sample, with their numbers, class by class; first that of the labeled one, in the middle."""
    alone = PlacedParticle(label=entry.label, centre_voxel=manifest.particle_centre_voxel, rotation=(0.0,) * 9)
    classes: dict[str, list[tuple[int, PlacedParticle]]] = {}
    for number, particle in enumerate(entry.particles or (alone,), start=1):
        if not all(-0.5 <= at < manifest.box_size_voxel - 0.5 for at in particle.centre_voxel):
            continue
        classes.setdefault(particle.label, []).append((number, particle))
    return [
        (
            Picks(
                entry.name,
                clean_name(label),
                np.array([particle.centre_voxel for _, particle in some]) * manifest.voxel_size_angstrom,
                np.array([particle.rotation for _, particle in some]).reshape(-1, 3, 3) if entry.particles else None,
                user=USER,
            ),
            np.array([number for number, _ in some]),
        )
        for label, some in classes.items()
    ]


def _pick_file(out: Path, entry: SampleEntry) -> Path:
    return out / RUNS / entry.name / "Picks" / f"{USER}_0_{clean_name(entry.label)}.json"
