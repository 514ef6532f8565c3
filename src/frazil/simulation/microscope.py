"""The microscope: what a tilt series and its reconstruction make of a specimen.

Parallel-beam projection and weighted back-projection of a slab that goes on sideways are linear and the same at every
place, so the whole chain is one product in Fourier space: one transform each way, whatever the number of tilts. Noise
that is white in the ice projects to white noise in every image, so noise takes the same way as the particles.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BeforeValidator, ConfigDict, model_validator
from torch import Tensor

from frazil.errors import SimulationError
from frazil.settings import Settings
from frazil.simulation.specimen import split_numbers
from frazil.volume.fourier import frequency_axes
from frazil.volume.wedge import check_tilt_range


class MicroscopeSettings(Settings):
    """How the specimen is imaged and reconstructed. The defaults resemble the denoised CZII tomograms.

    Parameters
    ----------
    tilt_range_degrees : lowest and highest tilt about y; short of edge-on, where a slab cannot be seen through.
    tilt_step_degrees : between two tilts.
    tilt_falloff : the amplitude of a tilt falls as its cosine to this power: longer way in the ice, later dose.
    resolution_angstrom : where the low-pass of binning and denoising has fallen to one half.
    contrast_loss_angstrom : features larger than this lose most of their contrast, as they do without much defocus.
    noise : standard deviation of the white noise in a cube of 10 A, dalton per cubic angstrom; in larger voxels it
        averages out.
    grey_std : standard deviation of the grey values of a tomogram; their mean is 0.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    tilt_range_degrees: Annotated[tuple[float, float], BeforeValidator(split_numbers)] = (-45.0, 45.0)
    tilt_step_degrees: float = 3.0
    tilt_falloff: float = 4.0
    resolution_angstrom: float = 42.0
    contrast_loss_angstrom: float = 800.0
    noise: float = 0.3
    grey_std: float = 6.5e-6

    @model_validator(mode="after")
    def _possible(self) -> MicroscopeSettings:
        lowest, highest = check_tilt_range(self.tilt_range_degrees)
        if max(-lowest, highest) > 85:
            raise SimulationError(
                f"tilt range {lowest:g},{highest:g}: a slab is not seen edge-on; keep within -85 and 85"
            )
        if not 0 < self.tilt_step_degrees <= highest - lowest:
            raise SimulationError(
                f"tilt step {self.tilt_step_degrees:g}: make it above 0 and at most {highest - lowest:g}, the range"
            )
        for name in ("resolution_angstrom", "contrast_loss_angstrom", "grey_std"):
            if not getattr(self, name) > 0:
                raise SimulationError(f"{name} {getattr(self, name):g}: not above 0; give a positive value")
        if self.noise < 0 or self.tilt_falloff < 0:
            raise SimulationError(f"noise {self.noise:g}, tilt_falloff {self.tilt_falloff:g}: below 0; give 0 for none")
        return self

    @property
    def tilts_degrees(self) -> tuple[float, ...]:
        """All tilts, lowest first."""
        lowest, highest = self.tilt_range_degrees
        count = math.floor((highest - lowest) / self.tilt_step_degrees + 1e-6) + 1
        return tuple(lowest + i * self.tilt_step_degrees for i in range(count))


def image_specimen(
    density: Float[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    settings: MicroscopeSettings,
    generator: np.random.Generator,
) -> Float[np.ndarray, "z y x"]:
    """Return the tomogram of a specimen: particles dark, mean 0, standard deviation `grey_std`.

    Parameters
    ----------
    density : mass density over the ice, dalton per cubic angstrom.
    """
    noise = generator.standard_normal(density.shape, dtype=np.float32)
    noise *= np.float32(settings.noise * (10.0 / voxel_size_angstrom) ** 1.5)
    noise += density
    tomogram = -reconstruct(torch.from_numpy(noise), voxel_size_angstrom, settings).numpy()
    tomogram -= tomogram.mean(dtype=np.float64).astype(np.float32)
    tomogram *= np.float32(settings.grey_std / tomogram.std(dtype=np.float64))
    return tomogram


def reconstruct(
    density: Float[Tensor, "z y x"], voxel_size_angstrom: float, settings: MicroscopeSettings
) -> Float[Tensor, "z y x"]:
    """Return the reconstruction from a tilt series: missing wedge, streaks of single tilts, lost contrast, low-pass.

    The volume goes on periodically along y and x, but not along z: what is near one face must not appear at the other.
    """
    depth, height, width = density.shape
    padded_voxel = (2 * depth, height, width)
    spectrum = torch.fft.rfftn(density, s=padded_voxel)
    kz, ky, kx = frequency_axes(padded_voxel)
    kx = kx[..., : spectrum.shape[-1]].abs()
    spectrum *= back_projection_transfer(depth, width, settings)[:, None, :]
    frequency_squared = (kz**2 + ky**2 + kx**2) / voxel_size_angstrom**2
    spectrum *= _contrast(frequency_squared, settings)
    padded: Tensor = torch.fft.irfftn(spectrum, s=padded_voxel)
    return padded[:depth]


def back_projection_transfer(
    depth_voxel: int, width_voxel: int, settings: MicroscopeSettings
) -> Float[Tensor, "kz kx"]:
    """Return what projection and weighted back-projection do to the coefficients of one ky.

    The image of the origin at tilt theta, back-projected, passes height z at ``x = -z tan(theta)``. With the ramp, the
    spectrum along x at height z is the sum over tilts of ``|kx| / cos(theta)^2 exp(2 pi i z kx tan(theta))``, cut off
    where the images have no higher frequency. The transform along z puts each tilt on its line ``kz = kx tan(theta)``,
    as wide as the slab is thin; where lines lie close together their sum is 1.

    Returns
    -------
    `(2 depth, width // 2 + 1)` in the order of `rfftn` of a volume padded to twice its depth.
    """
    height = torch.fft.fftfreq(2 * depth_voxel, dtype=torch.float64) * 2 * depth_voxel
    inside = (height.abs() < depth_voxel).double()
    kx = torch.fft.rfftfreq(width_voxel, dtype=torch.float64)
    ramp = kx.clamp(min=0.25 / width_voxel)  # the share of the zero frequency in a sampled ramp; 0 would lose it wholly
    step_radian = math.radians(settings.tilt_step_degrees)
    lines = torch.zeros(2 * depth_voxel, len(kx), dtype=torch.complex128)
    for tilt_radian in map(math.radians, settings.tilts_degrees):
        cosine = math.cos(tilt_radian)
        weight = step_radian * cosine**settings.tilt_falloff / cosine**2 * ramp * (kx <= 0.5 * cosine)
        phase = 2 * math.pi * math.tan(tilt_radian) * height[:, None] * kx
        lines += torch.polar(weight.expand_as(phase), phase)
    # Symmetric in height, hence real; the sum over heights is the length of the line in voxels.
    transfer: Tensor = torch.fft.fft(lines * inside[:, None], dim=0)
    return transfer.real.float()


def _contrast(frequency_squared: Float[Tensor, "..."], settings: MicroscopeSettings) -> Float[Tensor, "..."]:
    """Return the band-pass of imaging and denoising, from squared frequencies in 1 / angstrom^2."""
    half = math.log(2.0)
    kept = 1 - torch.exp(-half * settings.contrast_loss_angstrom**2 * frequency_squared)
    passed = torch.exp(-half * settings.resolution_angstrom**2 * frequency_squared)
    return kept * passed
