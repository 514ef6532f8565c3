"""Frozen settings, one class a subject. Presets (`configs/*.toml`) are instances of `Preset` written as data.

Numbers of the paper (Passi & Cohen, 3D Conditional Diffusion Models for Synthetic Cryo-ET Particle Subtomograms) are the defaults
where the paper gives one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Settings(BaseModel):
    """Base: immutable, numbers are finite, and a misspelt key is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Conditioning = Literal["concat", "sum"]
Normalisation = Literal["padded", "measured"]
SamplerName = Literal["ddpm", "ddim", "dpm++", "unipc"]
Precision = Literal["32-true", "bf16-mixed"]
SplitBy = Literal["tomogram", "particle"]


class SourceSettings(Settings):
    """Which tomograms and picks to take from a source.

    Parameters
    ----------
    tomogram_type : copick tomogram type (``denoised``, ``wbp``, ...); None where the source has only one.
    voxel_spacing_angstrom : copick voxel spacing folder; None where there is only one.
    level : resolution level of an OME-Zarr pyramid, 0 is the finest.
    voxel_size_angstrom : true voxel size of the finest level, where the header is wrong (coarser levels keep their ratio to
        it); None trusts the header.
    users, sessions, labels : keep only picks of these; empty keeps all.
    picks_file : CSV or STAR beside or apart from the tomograms; None searches the folder.
    tilt_range_degrees : lowest and highest tilt, where the source does not say.
    """

    tomogram_type: str | None = None
    voxel_spacing_angstrom: float | None = None
    level: int = Field(0, ge=0)
    voxel_size_angstrom: float | None = Field(None, gt=0)
    users: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    picks_file: str | None = None
    tilt_range_degrees: tuple[float, float] | None = None


class CurateSettings(Settings):
    """How boxes are cut from tomograms.

    Parameters
    ----------
    box_size_voxel : edge of a box; must halve three times.
    voxel_size_angstrom : resample boxes to this voxel size; None keeps the tomogram's.
    max_padding : leave out boxes with a larger fraction of voxels that were not measured; 1 keeps all that are not constant.
    drop_outside : leave out picks whose centre lies outside the tomogram instead of refusing them.
    split_by : ``tomogram`` shares no voxel between splits; ``particle`` is the paper's random 90/10.
    validation_runs : with ``tomogram``: these runs validate; empty draws `validation_fraction` of the runs.
    validation_fraction : share of runs or particles that validate.
    """

    box_size_voxel: int = Field(64, gt=0)
    voxel_size_angstrom: float | None = Field(None, gt=0)
    max_padding: float = Field(1.0, ge=0, le=1)
    drop_outside: bool = False
    split_by: SplitBy = "tomogram"
    validation_runs: tuple[str, ...] = ()
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    seed: int = 0

    @field_validator("box_size_voxel")
    @classmethod
    def _halves_three_times(cls, value: int) -> int:
        if value % 8:
            nearest = max(8, round(value / 8) * 8)
            raise ValueError(f"an edge of {value} cannot be halved three times by the network; use {nearest}")
        return value


class ModelSettings(Settings):
    """The paper's conditional 3D U-Net.

    Parameters
    ----------
    conditioning : ``concat`` of time, class and position vectors (the paper) or their ``sum`` (the authors' code and weights).
    base_channels : channels of the finest level; the levels have 1, 2 and 4 times as many.
    embedding_width : width of each of the three condition vectors.
    groups : groups of every GroupNorm but the very first, which has one.
    """

    conditioning: Conditioning = "concat"
    base_channels: int = Field(32, gt=0)
    embedding_width: int = Field(128, gt=3)
    groups: int = Field(8, gt=0)

    @model_validator(mode="after")
    def _divisible(self) -> ModelSettings:
        if self.base_channels % self.groups:
            raise ValueError(f"base_channels {self.base_channels} is not a multiple of groups {self.groups}")
        if self.embedding_width % 2:
            raise ValueError(f"embedding_width {self.embedding_width} is odd; sines and cosines need an even width")
        return self


class DiffusionSettings(Settings):
    """The noise schedule: beta linear from `beta_start` to `beta_end` over `timesteps` steps."""

    timesteps: int = Field(1000, gt=1)
    beta_start: float = Field(1e-4, gt=0, lt=1)
    beta_end: float = Field(2e-2, gt=0, lt=1)


class TrainingSettings(Settings):
    """How the network is trained.

    Parameters
    ----------
    batch_size : boxes per optimiser step, whatever the number of devices and accumulated batches.
    accumulate : share one optimiser step between this many forward passes, to save memory.
    ema_decay : decay of the exponential moving average of the weights; 0 keeps none.
    normalisation : statistics of eq. 1 over the whole box, padding included (``padded``, the paper), or over measured voxels.
    validate_every : epochs between validations.
    validation_draws : fixed (t, noise) pairs per validation box, spread over the noise levels.
    """

    epochs: int = Field(100, gt=0)
    batch_size: int = Field(16, gt=0)
    accumulate: int = Field(1, gt=0)
    learning_rate: float = Field(1e-4, gt=0)
    precision: Precision = "32-true"
    ema_decay: float = Field(0.0, ge=0, lt=1)
    normalisation: Normalisation = "padded"
    validate_every: int = Field(1, gt=0)
    validation_draws: int = Field(4, gt=0)
    seed: int = 0


class SamplingSettings(Settings):
    """Defaults of `frazil sample`: the sampler, and its network evaluations a sample (None: the sampler's usual number)."""

    sampler: SamplerName = "ddpm"
    steps: int | None = Field(None, gt=0)


class Preset(Settings):
    """Everything that a training run needs, as data."""

    name: Annotated[str, Field(min_length=1)]
    curate: CurateSettings = CurateSettings()
    model: ModelSettings = ModelSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    training: TrainingSettings = TrainingSettings()
    sampling: SamplingSettings = SamplingSettings()
