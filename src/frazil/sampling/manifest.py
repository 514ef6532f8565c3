"""What a folder of samples says of itself: `request.json` (what was asked for) and `manifest.json` (what is there)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError, field_serializer

from frazil.core.errors import FrazilError
from frazil.core.files import read_json, write_json
from frazil.core.records import Moments, TiltRange
from frazil.core.settings import MemoryFormat, NoiseInterval, Normalisation, Precision, SamplerName, Settings
from frazil.core.version import __version__
from frazil.model.compute import Compute

SCHEMA_VERSION = 4
"""Of request and manifest. 1 knew no guidance, and its samples came from other noise: it is read, but not continued. 2 had no
memory format: it was the one that suits the precision. 3 did not say where the model comes from."""

REQUEST_FILE = "request.json"
MANIFEST_FILE = "manifest.json"
PARTS = "manifest.part-*.json"
"""What the processes but the first have made, while they make it; then it goes into the manifest."""


class NormalisedPosition(Settings):
    """Centre of a particle in its tomogram, divided by the tomogram's extent, with its axes named."""

    z: float
    y: float
    x: float


class RequestRow(Settings):
    """So many samples of one class at one place."""

    label: str
    position: NormalisedPosition
    count: int


_DECISIVE = (
    "bundle_digest",
    "voxel_size_angstrom",
    "seed",
    "sampler",
    "steps",
    "guidance",
    "guidance_interval",
    "precision",
)
"""What makes samples different ones, beside what is asked for."""


class SampleRequest(Settings):
    """Everything that decides what the samples are.

    Parameters
    ----------
    bundle_digest : names exactly one model.
    batch_size : samples computed at once. On the CPU it decides nothing; elsewhere the last bits may hang on it, and it is
        kept so that a run that was interrupted goes on with the same bits.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["frazil sample request"] = "frazil sample request"
    frazil_version: str = __version__
    bundle_digest: str
    voxel_size_angstrom: float
    seed: int
    sampler: SamplerName
    steps: int
    guidance: float = 1.0
    guidance_interval: NoiseInterval | None = None
    precision: Precision
    memory_format: MemoryFormat | None = None
    batch_size: int
    requests: tuple[RequestRow, ...]

    @property
    def compute(self) -> Compute:
        """How the network is computed."""
        return Compute.named(self.precision, self.memory_format)

    def differences(self, other: SampleRequest) -> list[str]:
        """Name what makes the samples of `other` different ones, value by value."""
        found = []
        if (self.schema_version == 1) != (other.schema_version == 1):
            found.append(f"schema version {self.schema_version}, now {other.schema_version}")
        for name in _DECISIVE:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                found.append(f"{name.replace('_', ' ')} {_short(mine)}, now {_short(theirs)}")
        mine, theirs = self.compute.memory_format, other.compute.memory_format
        if mine != theirs and self.precision == other.precision:
            found.append(f"memory format {mine}, now {theirs}")
        if self.requests != other.requests:
            found.append(f"{_summary(self.requests)}, now {_summary(other.requests)}")
        return found


class SampleEntry(Settings):
    """One sample.

    Parameters
    ----------
    index : number of the sample in the request; the sample descends from (seed, index).
    name : run of the sample in the copick project and `rlnTomoName` in the STAR file.
    file : MRC, relative to the manifest.
    moments : mean and standard deviation of the grey values in the file.
    digest : of the file.
    """

    index: int
    name: str
    file: str
    label: str
    position: NormalisedPosition
    seed: int
    sampler: SamplerName
    steps: int
    guidance: float = 1.0
    guidance_interval: NoiseInterval | None = None
    bundle_digest: str
    moments: Moments
    digest: str

    @field_serializer("moments")
    def _by_name(self, moments: Moments) -> dict[str, float]:
        return moments._asdict()


class SampleManifest(Settings):
    """The samples of a folder.

    Parameters
    ----------
    complete : all samples of the request are there; false while they are made.
    provenance : where the bundle comes from, in its own words: simulated or real voxels, and whose.
    particle_centre_voxel : where the labelled particle stands in every box, zyx; voxel centres are whole numbers.
    training_data_digest : of the box store that the bundle was trained on, where known.
    training_moments : typical mean and standard deviation of a training box in the tomograms' grey values, where known.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["frazil samples"] = "frazil samples"
    frazil_version: str = __version__
    complete: bool
    bundle: str
    bundle_digest: str
    provenance: str = ""
    labels: tuple[str, ...]
    voxel_size_angstrom: float
    box_size_voxel: int
    axis_order: Literal["zyx"] = "zyx"
    tilt_range_degrees: TiltRange | None
    grey_values: Literal["z-scored in the box (eq. 1), particles dark"] = "z-scored in the box (eq. 1), particles dark"
    normalisation: Normalisation
    training_data_digest: str | None
    training_moments: Moments | None
    particle_centre_voxel: tuple[int, int, int]
    precision: Precision
    memory_format: MemoryFormat | None = None
    position_convention: Literal["centre divided by tomogram extent, 0 to 1"] = (
        "centre divided by tomogram extent, 0 to 1"
    )
    samples: tuple[SampleEntry, ...]

    @field_serializer("training_moments")
    def _by_name(self, moments: Moments | None) -> dict[str, float] | None:
        return None if moments is None else moments._asdict()


def manifest_file(rank: int) -> str:
    """Return the name of the manifest that process `rank` writes."""
    return PARTS.replace("*", f"{rank:05d}") if rank else MANIFEST_FILE


def normalised_position(position: Sequence[float]) -> NormalisedPosition:
    """Return a zyx position with its axes named."""
    z, y, x = (float(value) for value in position)
    return NormalisedPosition(z=z, y=y, x=x)


Record = TypeVar("Record", SampleRequest, SampleManifest)


def write_record(path: Path, record: SampleRequest | SampleManifest) -> None:
    """Write a request or a manifest, whole or not at all."""
    write_json(path, record.model_dump(mode="json"))


def read_record(path: Path, kind: type[Record], error: type[FrazilError]) -> Record:
    """Read a request or a manifest.

    Parameters
    ----------
    error : what to raise.

    Raises
    ------
    error : no such file, damaged, something else, or of a newer schema.
    """
    content: Any = read_json(path, error)
    if refusal := _refusal(content, kind):
        raise error(f"{path}: {refusal}")
    try:
        return kind.model_validate(content)
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise error(f"{path}: damaged, {where}: {first['msg']}; sample again into another folder") from None


def is_damaged(path: Path, kind: type[Record]) -> bool:
    """Tell whether a request or a manifest is no longer what frazil wrote.

    One that is absent, that may not be read, that something else or a newer frazil wrote is not damaged.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if _refusal(content, kind) is None:
            kind.model_validate(content)
    except OSError:
        return False
    except (ValueError, RecursionError):  # no text, no JSON, or fields that are wrong
        return True
    return False


def _refusal(content: Any, kind: type[Record]) -> str | None:
    """Say why `content` is not for this frazil; None if it is, damaged or not."""
    name = kind.model_fields["kind"].default
    if not isinstance(content, dict) or content.get("kind") != name:
        return f"this is no {name}; name a folder that frazil sample wrote"
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return f"schema version {version} was written by a newer frazil; upgrade frazil"
    return None


def _short(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[:19] + "…" if text.startswith("sha256:") else text


def _summary(rows: tuple[RequestRow, ...]) -> str:
    parts = [
        f"{row.count} x {row.label} at x,y,z {row.position.x:g},{row.position.y:g},{row.position.z:g}" for row in rows
    ]
    return ", ".join(parts[:3]) + (f" and {len(parts) - 3} more rows" if len(parts) > 3 else "")
