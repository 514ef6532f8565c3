"""The precision that a network computes in, and the layout of its numbers in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from frazil.core.settings import MemoryFormat, Precision, TrainingSettings

_FORMATS: dict[MemoryFormat, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels-last": torch.channels_last_3d,
}
_Network = TypeVar("_Network", bound="nn.Module")


def native_precision(device_type: str) -> Precision:
    """Return what precision ``auto`` comes to: bf16 if ``cpu`` or ``cuda`` computes in it natively, not by way of float32."""
    if device_type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


@dataclass(frozen=True)
class Compute:
    """One way of computing a network. Both parts change the last bits of a result, so both are recorded with every run.

    Parameters
    ----------
    precision : ``bf16-mixed`` runs the network under autocast; weights, volumes and losses stay float32.
    memory_format : of the weights, which the volumes inside the network follow.
    """

    precision: Precision
    memory_format: MemoryFormat

    @classmethod
    def named(cls, precision: Precision, memory_format: MemoryFormat | None = None) -> Compute:
        """Return `precision` in `memory_format`; None is what suits it: channels last is the faster one in bf16."""
        return cls(precision, memory_format or ("channels-last" if precision == "bf16-mixed" else "contiguous"))

    @classmethod
    def native(cls, device_type: str) -> Compute:
        """Return what is fastest on ``cpu`` or ``cuda``; on a CPU, channels last is in float32 too."""
        precision = native_precision(device_type)
        return cls(precision, "channels-last") if device_type == "cpu" else cls.named(precision)

    @classmethod
    def of(cls, settings: TrainingSettings) -> Compute:
        """Return what `settings` say, their precision decided."""
        if settings.precision == "auto":
            raise ValueError("precision auto: decide it first, see native_precision")
        return cls.named(settings.precision, settings.memory_format)

    @classmethod
    def on(cls, device_type: str, settings: TrainingSettings) -> Compute:
        """Return what a network was trained in, but float32 where ``cpu`` or ``cuda`` can only emulate bf16: on a CPU for hours."""
        trained = cls.of(settings)
        emulated = trained.precision == "bf16-mixed" != native_precision(device_type)
        return cls.native(device_type) if emulated else trained

    def lay_out(self, network: _Network) -> _Network:
        """Convert the weights of `network` to the memory format, in place; return it."""
        return network.to(memory_format=_FORMATS[self.memory_format])  # type: ignore[call-overload, no-any-return, unused-ignore]

    def autocast(self, device_type: str) -> torch.autocast:
        """Return the context in which the network computes on ``cpu`` or ``cuda``."""
        return torch.autocast(device_type, dtype=torch.bfloat16, enabled=self.precision == "bf16-mixed")

    def __str__(self) -> str:
        return self.precision if self == Compute.named(self.precision) else f"{self.precision} {self.memory_format}"
