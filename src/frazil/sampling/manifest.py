"""What a folder of samples says of itself: `request.json` (what was asked for) and `manifest.json` (what is there)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PlainSerializer, SerializerFunctionWrapHandler, model_serializer

from frazil.core.documents import Document, differences
from frazil.core.errors import FrazilError
from frazil.core.files import check_inside
from frazil.core.records import Moments, TiltRange
from frazil.core.settings import MemoryFormat, Normalisation, Precision, SamplingSettings, Settings
from frazil.model.compute import Compute
from frazil.sampling.arrange import Neighbours
from frazil.sampling.request import NamedPosition, Position, Request

REQUEST_FILE = "request.json"
MANIFEST_FILE = "manifest.json"
LOG_FILE = "manifest.jsonl"
"""What the manifest does not name yet, a line a sample."""

Sample = tuple[int, str, Position]
"""Index, label and zyx position of a sample."""

NamedMoments = Annotated[Moments, PlainSerializer(Moments._asdict)]


class PlacedParticle(Settings):
    """A particle in a box.

    Parameters
    ----------
    centre_voxel : zyx, from the center of voxel (0, 0, 0) of the box; it may lie outside, where the particle still shows.
    rotation : object -> box, acting on zyx vectors, row by row.
    """

    label: str
    centre_voxel: NamedPosition
    rotation: tuple[float, ...] = Field(min_length=9, max_length=9)


class _BundleAndSeed(Document):
    """What a request is about; these fields stand first in the file."""

    written_by: ClassVar[str] = "frazil sample"

    schema_version: int = 6
    kind: Literal["frazil sample request"] = "frazil sample request"
    bundle_digest: str
    voxel_size_angstrom: float | None
    seed: int


class SampleRequest(SamplingSettings, _BundleAndSeed):
    """Everything that decides what the samples are: bundle, seed, sampler with nothing left open, classes and places.

    Sample i has the same noise in every request of the same seed. The batches are cut by index alone, so that a run that was
    interrupted computes the same batches again; off the CPU they decide how a sample is rounded.

    Parameters
    ----------
    bundle_digest : names exactly one model.
    seed : sample i descends from (seed, i).
    precision, memory_format : of the network; volumes and steps are float32.
    batch_size : samples computed at once. On the CPU it changes nothing; elsewhere the last bits may depend on it, so it is
        kept for a run that is resumed.
    requests : checked, in order.
    first : index of the first sample: the request is a part of a larger one. Written only where it is not 0.
    neighbours : what is around the particle, for a bundle that is told a layout. Written only where there are any.
    """

    precision: Precision
    memory_format: MemoryFormat
    batch_size: int
    requests: tuple[Request, ...]
    first: int = 0
    neighbours: Neighbours = "none"

    @model_serializer(mode="wrap")
    def _first_of_a_part(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        if not self.first:
            content.pop("first", None)
        if self.neighbours == "none":
            content.pop("neighbours", None)
        return content

    @property
    def compute(self) -> Compute:
        """How the network is computed."""
        return Compute(self.precision, self.memory_format)

    def __len__(self) -> int:
        return sum(request.count for request in self.requests)

    def samples(self) -> Iterator[Sample]:
        """Yield index, label and position of every sample, of which there may be many."""
        flat = ((request.label, request.position) for request in self.requests for _ in range(request.count))
        return ((index, label, position) for index, (label, position) in enumerate(flat, start=self.first))

    def batches(self, finished: Iterable[int] = ()) -> Iterator[list[Sample]]:
        """Yield the samples that are computed together, without the batches that are wholly in `finished`."""
        samples, done = self.samples(), set(finished)
        while batch := list(islice(samples, self.batch_size)):
            if any(index not in done for index, _, _ in batch):
                yield batch


def _begins_with(requests: Sequence[Request], first: Sequence[Request]) -> bool:
    """Return whether the samples of `first` are the first ones of `requests`."""
    if not first or len(requests) < len(first):
        return requests == first
    *whole, last = first
    cut = requests[len(whole)].model_copy(update={"count": min(last.count, requests[len(whole)].count)})
    return list(requests[: len(whole)]) == whole and cut == last


def request_differences(old: SampleRequest, new: SampleRequest) -> list[str]:
    """Name what makes the samples of two requests different ones; the new one may ask for more of them at its end."""
    named = differences(old, new, free=("batch_size", "requests", "neighbours"))
    if old.neighbours != new.neighbours:
        named.append("other neighbors")
    if not _begins_with(new.requests, old.requests):
        before, after = (
            ", ".join(map(str, requests[:3])) + (f" and {len(requests) - 3} more" if len(requests) > 3 else "")
            for requests in (old.requests, new.requests)
        )
        named.append(f"{before} -> {after}")
    return named


class _NumberedSample(Settings):
    """Which sample it is; these fields stand first in the file."""

    index: int
    name: str
    file: str
    label: str
    position: NamedPosition
    seed: int


class SampleEntry(SamplingSettings, _NumberedSample):
    """One sample, and how it was made.

    Parameters
    ----------
    index : number of the sample in the request; the sample descends from (seed, index).
    name : run of the sample in the copick project and `rlnTomoName` in the STAR file.
    file : MRC, relative to the manifest.
    moments : mean and standard deviation of the gray values in the file.
    digest : of the file.
    particles : all that the layout of the box holds, the labeled one first; empty for a bundle without layouts.
    """

    bundle_digest: str
    moments: NamedMoments
    digest: str
    particles: tuple[PlacedParticle, ...] = ()

    @model_serializer(mode="wrap")
    def _particles_of_a_layout(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        if not self.particles:
            content.pop("particles", None)
        return content


class SampleManifest(Document):
    """The samples of a folder.

    Parameters
    ----------
    complete : all samples of the request are there; false while they are made.
    provenance : where the bundle comes from, in its own words: simulated or real voxels, and whose.
    particle_centre_voxel : where the labeled particle is in every box, zyx; voxel centers are whole numbers.
    training_data_digest : of the box store that the bundle was trained on, where known.
    training_moments : typical mean and standard deviation of a training box in the tomograms' gray values, where known.
    """

    written_by: ClassVar[str] = "frazil sample"

    schema_version: int = 5
    kind: Literal["frazil samples"] = "frazil samples"
    complete: bool
    bundle: str
    bundle_digest: str
    provenance: str = ""
    labels: tuple[str, ...]
    voxel_size_angstrom: float
    box_size_voxel: int
    axis_order: Literal["zyx"] = "zyx"
    tilt_range_degrees: TiltRange | None
    grey_values: Literal[
        "z-scored in the box (eq. 1), particles dark",
        "from the tomogram's median in units of its spread, particles dark",
    ] = "z-scored in the box (eq. 1), particles dark"
    normalisation: Normalisation
    training_data_digest: str | None
    training_moments: NamedMoments | None
    particle_centre_voxel: tuple[int, int, int]
    precision: Precision
    memory_format: MemoryFormat
    position_convention: Literal["centre divided by tomogram extent, 0 to 1"] = (
        "centre divided by tomogram extent, 0 to 1"
    )
    samples: tuple[SampleEntry, ...]

    @classmethod
    def parse(cls, content: Mapping[str, Any], path: Path, error: type[FrazilError]) -> Self:
        """Check the content of `path`, and that its samples lie in its folder; see `Document.read`."""
        manifest = super().parse(content, path, error)
        check_inside(
            path.parent, [name for entry in manifest.samples for name in (entry.file, entry.name)], path, error
        )
        return manifest
