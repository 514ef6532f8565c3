"""Frozen settings, one class per subject. Presets (`configs/*.toml`) are instances of `Preset` written as data.

Defaults are the numbers of the paper (Passi & Cohen, 3D Conditional Diffusion Models for Synthetic Cryo-ET Particle Subtomograms)
where it gives them.
"""

from __future__ import annotations

from numbers import Integral
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    field_validator,
    model_validator,
)

from frazil.core.errors import FrazilError


class Settings(BaseModel):
    """Base class: immutable, finite numbers only, and a misspelled key is an error instead of a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


FINEST_ANGSTROM, COARSEST_ANGSTROM = 0.01, 10_000.0
VoxelSize = Annotated[float, Field(ge=FINEST_ANGSTROM, le=COARSEST_ANGSTROM)]
"""Edge of a voxel in angstrom: from a hundredth of an atom to a whole cell."""

Radius = Annotated[float, Field(gt=0.1, le=1e5)]
"""Of a particle, in angstrom."""

LARGEST_GRAY = 1e30
"""Of gray values in any unit: they, and their squares' sums, fit into floating-point numbers."""

LARGEST_BOX_VOXEL = 1024
LARGEST_COUNT = 10_000_000
"""Of samples, epochs, steps and other things to be counted: more is a slip of the finger."""


def check_number(what: str, value: Any, error: type[FrazilError], *, least: int = 1, most: int = LARGEST_COUNT) -> None:
    """Raise `error` for an option that is no whole number, below `least`, or above `most`."""
    if not issubclass(type(value), Integral):  # of numpy too
        raise error(f"{what} {value!r}: give a whole number")
    if not least <= value <= most:
        raise error(f"{what} {value}: give at least {least} and at most {most:,}")


def check_seed(seed: int, error: type[FrazilError]) -> None:
    """Raise `error` for a seed that is no whole number: without one, nothing could be made again."""
    check_number("seed", seed, error, least=-(2**63), most=2**63 - 1)


Counted = Annotated[int, Field(gt=0, le=LARGEST_COUNT)]


def _is_range_of_tilts(degrees: tuple[float, float]) -> tuple[float, float]:
    """Refuse a range of tilts that is empty, reversed, or beyond 90 degrees."""
    if not -90 <= degrees[0] < degrees[1] <= 90:
        raise ValueError(
            f"{degrees[0]:g},{degrees[1]:g} is no range of tilts; give lowest and highest degrees, e.g. -45,45"
        )
    return degrees


TiltDegrees = Annotated[tuple[float, float], AfterValidator(_is_range_of_tilts)]
"""`frazil.core.records.TiltRange`, checked."""

Conditioning = Literal["concat", "sum"]
Normalisation = Literal["padded", "measured", "tomogram"]
SamplerName = Literal["ddpm", "ddim", "dpm++", "sde-dpm++", "distilled"]
Precision = Literal["32-true", "bf16-mixed"]
PrecisionChoice = Literal["32-true", "bf16-mixed", "auto"]
"""``auto`` follows from the hardware (`frazil.model.compute.native_precision`)."""

MemoryFormat = Literal["contiguous", "channels-last"]
SplitBy = Literal["tomogram", "particle"]
FrontEndName = Literal["none", "haar", "space-to-depth"]
Modulation = Literal["bias", "scale-shift"]
Preconditioning = Literal["none", "edm", "inverse-variance"]
LossWeighting = Literal["uniform", "min-snr", "snr-plus-one"]
NetworkPart = Literal["embedding", "encoder", "bottleneck", "decoder", "output"]
"""Parts of the network that can be frozen; `MODULES` in `frazil.model.unet` lists what belongs to each."""

NoiseInterval = tuple[float, float]
"""Lowest and highest noise level, in sigma = sqrt((1 - abar) / abar)."""


Units = Literal["voxel", "angstrom"]
_MATCH = r"^([^*=]+=[^*=]+|[^*=]*\*[^*=]*=[^*=]*\*[^*=]*)$"
"""``TOMOGRAM=NAME``, with one star in both or in none."""
Contrast = Literal["dark", "bright"]


class SourceSettings(Settings):
    """Which tomograms and picks to take from a source.

    Parameters
    ----------
    tomogram_type : copick tomogram type (``denoised``, ``wbp``, ...); None where the source has only one.
    voxel_spacing_angstrom : copick voxel spacing folder; None where there is only one.
    level : resolution level of an OME-Zarr pyramid; 0 is the finest.
    voxel_size_angstrom : true voxel size of the finest level, if the header is wrong (coarser levels keep their ratio to it);
        None trusts the header.
    users, sessions, labels : keep only these picks; empty keeps all.
    picks_file : CSV, STAR, .tbl, or .em file of the picks; None searches the folder of the tomograms.
    more_picks_file : a table of picks beside those that the source has, such as `frazil complete` writes.
    match : ``TOMOGRAM=NAME`` where a table of picks calls a tomogram otherwise than its file; ``*`` stands for the same text in both.
    min_score : leave out picks with a lower score; None keeps all.
    units : what coordinates in such a file are in: ``voxel`` of the tomograms, or ``angstrom``, both from the first voxel; None
        takes what its format says.
    tilt_range_degrees : lowest and highest tilt, if the source does not say.
    contrast : whether protein is ``dark`` in the tomograms, or ``bright``: then gray values are read with the other sign, so that
        it is dark everywhere in frazil. None takes it for dark.
    """

    tomogram_type: str | None = None
    voxel_spacing_angstrom: VoxelSize | None = None
    level: int = Field(0, ge=0, le=32)
    voxel_size_angstrom: VoxelSize | None = None
    users: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    picks_file: str | None = None
    more_picks_file: str | None = None
    match: tuple[Annotated[str, Field(pattern=_MATCH)], ...] = ()
    min_score: float | None = None
    units: Units | None = None
    tilt_range_degrees: TiltDegrees | None = None
    contrast: Contrast | None = None


class CurateSettings(Settings):
    """How boxes are cut from tomograms.

    Parameters
    ----------
    box_size_voxel : edge of a box; a multiple of 8.
    voxel_size_angstrom : resample boxes to this voxel size; None keeps the tomogram's.
    max_padding : leave out boxes with a larger fraction of unmeasured voxels; 1 keeps all that are not constant.
    drop_outside : leave out picks whose center lies outside the tomogram instead of stopping.
    split_by : ``tomogram`` shares no voxel between splits, and cuts a single tomogram into slabs; ``particle`` is the paper's random
        90/10.
    validation_runs : with ``tomogram``: use these runs for validation; empty draws `validation_fraction` of the runs.
    validation_fraction : share of runs or particles used for validation.
    """

    box_size_voxel: int = Field(64, gt=0, le=LARGEST_BOX_VOXEL, multiple_of=8)
    voxel_size_angstrom: VoxelSize | None = None
    max_padding: float = Field(1.0, ge=0, le=1)
    drop_outside: bool = False
    split_by: SplitBy = "tomogram"
    validation_runs: tuple[str, ...] = ()
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _names_runs_of_a_split_by_tomogram(self) -> CurateSettings:
        if self.validation_runs and self.split_by == "particle":
            named = ", ".join(self.validation_runs)
            raise ValueError(f"runs to validate are named ({named}), but the split is by particle; split by tomogram")
        return self


class ModelSettings(Settings):
    """The conditional 3D U-Net; the defaults are the paper's.

    Parameters
    ----------
    conditioning : ``concat`` of time, class and position vectors (the paper) or their ``sum`` (the authors' code and weights).
    base_channels : channels of the finest level.
    channel_multipliers : one per level, finest first, in units of `base_channels`; the bottleneck has as many channels as the
        coarsest level. Every level halves the box.
    embedding_width : width of each of the three condition vectors; even, for sines and cosines.
    groups : groups of every GroupNorm except the two of the first residual block.
    first_block_groups : groups of the second GroupNorm of the first residual block; its first one has one group per band of the
        front end. The authors' network has 1 (preset `paper`, imported weights); left out, it is `groups`, as in every bundle
        written before this setting existed.
    front_end : ``haar`` and ``space-to-depth`` losslessly turn a box into 8 bands of half its edge, so that the network works at
        half the resolution (`frazil.model.wavelet`).
    band_std : standard deviation of each of the 8 bands in the training boxes (named by `BANDS` in `frazil.model.wavelet`);
        if empty, training measures it. It scales the output, and with ``edm`` also the input.
    preconditioning : ``edm`` scales input and output by the noise level (Karras et al. 2022); ``inverse-variance`` passes the volume
        through where its noise is below the network's error, and can be put around a trained network
        (`frazil.model.precondition`).
    modulation : how a residual block takes the condition: as a ``bias`` per channel after the first convolution (the paper), or as
        ``scale-shift`` of the second norm's output (Perez et al. 2018; Dhariwal & Nichol 2021), which starts as the identity.
    attention_heads : self-attention heads in the bottleneck; 0 is none. The cost grows with the square of the bottleneck's voxels:
        for a box of 128^3 and three levels, 4096 voxels without a front end and 512 with one.
    layout_channels : channels of the branch that takes a painted layout (`frazil.model.layout`); 0 is a network that takes a class and
        a position instead.
    layout_template_voxel : edge of the cubes that a network with layouts carries: what a particle of each class looks like. Training
        takes it from the tomogram store.
    layout_maps : names of the label maps that a painted layout has beside its classes; training takes them from the tomogram store.
    """

    conditioning: Conditioning = "concat"
    base_channels: int = Field(32, gt=0, le=4096)
    channel_multipliers: tuple[Annotated[int, Field(gt=0, le=64)], ...] = Field((1, 2, 4), min_length=1, max_length=8)
    embedding_width: int = Field(128, gt=3, le=65536, multiple_of=2)
    groups: int = Field(8, gt=0)
    first_block_groups: int = Field(default_factory=lambda before: before.get("groups", 8), gt=0)
    front_end: FrontEndName = "none"
    band_std: tuple[PositiveFloat, ...] = ()
    preconditioning: Preconditioning = "none"
    modulation: Modulation = "bias"
    attention_heads: int = Field(0, ge=0)
    layout_channels: int = Field(0, ge=0, le=4096)
    layout_template_voxel: int = Field(0, ge=0, le=LARGEST_BOX_VOXEL)
    layout_maps: tuple[str, ...] = ()

    @property
    def bands(self) -> int:
        """Channels that the front end makes of a box."""
        return 1 if self.front_end == "none" else 8

    @property
    def halvings(self) -> int:
        """How often a box is halved: once per level, and once by a front end."""
        return len(self.channel_multipliers) + (self.front_end != "none")

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.base_channels * multiplier for multiplier in self.channel_multipliers)

    @model_validator(mode="after")
    def _divisible(self) -> ModelSettings:
        for name in ("groups", "first_block_groups"):
            if self.base_channels % getattr(self, name):
                raise ValueError(
                    f"base_channels {self.base_channels} is not a multiple of {name} {getattr(self, name)}"
                )
        if self.attention_heads and self.level_channels[-1] % self.attention_heads:
            raise ValueError(
                f"attention_heads {self.attention_heads} do not divide the {self.level_channels[-1]} channels of the bottleneck"
            )
        if self.band_std and (self.front_end == "none" or len(self.band_std) != self.bands):
            raise ValueError(
                f"band_std has {len(self.band_std)} values; give 8 with a front end of haar or space-to-depth, otherwise leave it out"
            )
        return self


class DiffusionSettings(Settings):
    """The noise schedule: beta linear from `beta_start` to `beta_end` over `timesteps` steps."""

    timesteps: int = Field(1000, gt=1, le=100_000)
    beta_start: float = Field(1e-4, gt=0, lt=1)
    beta_end: float = Field(2e-2, gt=0, lt=1)


class TrainingSettings(Settings):
    """How the network is trained.

    Parameters
    ----------
    batch_size : boxes per optimizer step, for any number of devices and accumulated passes.
    accumulate : split each optimizer step into this many forward passes to save memory.
    precision : ``bf16-mixed`` is faster on hardware that computes in bf16 (a CPU with AVX512-BF16 or AMX, a GPU since Ampere);
        ``auto`` takes it there, and ``32-true`` elsewhere, when the run starts. The run and its bundle keep the decision.
    memory_format : memory layout of the network; None suits the precision: ``contiguous`` for ``32-true``, ``channels-last`` for
        ``bf16-mixed`` and for what ``auto`` comes to on a CPU. It changes the last bits of every result.
    ema_decay : decay of the exponential moving average of the weights; 0 keeps none.
    loss_weighting : weight of a box's loss by its noise level: ``uniform`` (the paper); ``min-snr``, the signal-to-noise ratio, at
        most `min_snr_gamma` (Hang et al. 2023); or ``snr-plus-one``, that ratio plus 1, at most `min_snr_gamma` (Salimans & Ho
        2022), for the faint fine structure that ``uniform`` learns last; 1 is 1 / std^2 for bands of the front end with a standard
        deviation below 1. Reported losses are never weighted.
    class_dropout : share of the training boxes whose label or layout is hidden, which guidance needs; 0 hides none.
    checkpoint_activations : recompute activations for the gradients instead of keeping them: less memory, a quarter more time.
    normalisation : statistics of eq. 1 over the whole box including padding (``padded``, the paper), or over measured voxels;
        ``tomogram``: median and spread of the whole tomogram, for windows of it.
    half_turns : randomly turn each box by 180 degrees in every epoch, about the axes that keep the missing wedge of its tomograms;
        its position turns with it. Needs `box_size_voxel`, for room.
    box_size_voxel : train on a smaller cube of each box, with the z-score of the whole box; None trains on the whole box.
    shift_voxel : shift that cube at random along each axis by up to this many voxels in every epoch; its position moves with it.
        Generated particles are then off center by as much. Needs `box_size_voxel`, for room.
    freeze : parts of the network that keep their initial weights.
    distill_steps : learn from the bundle to start from to make volumes in this many evaluations (`frazil.diffusion.distillation`); 0 learns
        from the data alone.
    validate_every : epochs between validations.
    validation_draws : fixed (t, noise) pairs per validation box, spread over the noise levels.
    """

    epochs: Counted = 100
    batch_size: Counted = 16
    accumulate: Counted = 1
    learning_rate: float = Field(1e-4, gt=0, le=100)
    precision: PrecisionChoice = "32-true"
    memory_format: MemoryFormat | None = None
    ema_decay: float = Field(0.0, ge=0, lt=1)
    loss_weighting: LossWeighting = "uniform"
    min_snr_gamma: float = Field(5.0, gt=0)
    class_dropout: float = Field(0.0, ge=0, lt=1)
    checkpoint_activations: bool = False
    normalisation: Normalisation = "padded"
    half_turns: bool = False
    box_size_voxel: int | None = Field(None, gt=0, le=LARGEST_BOX_VOXEL)
    shift_voxel: int = Field(0, ge=0, le=LARGEST_BOX_VOXEL)
    freeze: tuple[NetworkPart, ...] = ()
    distill_steps: int = Field(0, ge=0, le=1000)
    validate_every: Counted = 1
    validation_draws: Counted = 4
    seed: int = 0

    @model_validator(mode="after")
    def _trains_something(self) -> TrainingSettings:
        if set(self.freeze) == set(get_args(NetworkPart)):
            raise ValueError("freeze names all parts of the network, so nothing would be trained; leave one out")
        return self


class SamplingSettings(Settings):
    """Defaults of `frazil sample`.

    Parameters
    ----------
    sampler : see `frazil.diffusion.schedule.make_solver`.
    steps : steps of the sampler; None is its usual number.
    guidance : scale of classifier-free guidance; 1 is off, 0 ignores the label. Other scales need `class_dropout` in training, and
        cost a second network evaluation per step.
    guidance_interval : lowest and highest noise level to guide, in sigma = sqrt((1 - abar) / abar): at 1, noise equals signal; a
        schedule of 1000 steps goes from 0.01 to 157. None guides every level.
    height_guidance : scale of guidance by the height in the tomogram, which a layout tells: where no particle of the training tomograms
        is, so above and below the ice. 1 is off. It costs a second network evaluation where noise is more than twice the signal.
    """

    sampler: SamplerName = "ddpm"
    steps: int | None = Field(None, gt=0)
    guidance: float = Field(1.0, ge=0)
    guidance_interval: NoiseInterval | None = None
    height_guidance: float = Field(1.0, ge=1, exclude_if=lambda scale: scale == 1)

    @field_validator("guidance_interval")
    @classmethod
    def _rises(cls, value: NoiseInterval | None) -> NoiseInterval | None:
        if value is not None and not 0 <= value[0] < value[1]:
            raise ValueError("give the lower noise level first, then the higher, both as sigma from 0 up")
        return value


class Preset(Settings):
    """Everything that a training run needs, as data."""

    name: Annotated[str, Field(min_length=1)]
    curate: CurateSettings = CurateSettings()
    model: ModelSettings = ModelSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    training: TrainingSettings = TrainingSettings()
    sampling: SamplingSettings = SamplingSettings()

    @model_validator(mode="after")
    def _box_fits_the_network(self) -> Preset:
        edge, halvings = self.curate.box_size_voxel, self.model.halvings
        multiple = 2**halvings
        if edge % multiple:
            below = edge // multiple * multiple
            nearest = f"{below} or {below + multiple}" if below else f"{multiple}"
            raise ValueError(
                f"a box of {edge} voxels cannot be halved {halvings} times by this network; use {nearest}, or another network"
            )
        return self

    @model_validator(mode="after")
    def _guidance_is_trained(self) -> Preset:
        if self.sampling.guidance != 1 and not self.training.class_dropout:
            raise ValueError(
                f"sampling.guidance {self.sampling.guidance:g} needs labels hidden in training; set training.class_dropout, e.g. to 0.1"
            )
        return self
