"""The devices and processes of a training run."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from frazil.core.errors import SettingsError

RANKS = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "SLURM_PROCID")
"""Variables that launchers set; all of them are 0 only in the first process."""


@dataclass(frozen=True)
class Hardware:
    """Lightning's own flags; several processes, `devices` on each node, share every batch (DDP).

    Accelerator ``auto`` is CUDA if there is one, else the CPU: the noise schedule needs float64. `workers` processes prefetch batches
    for each device; 0 leaves it to a thread; None is 0 on a CPU, up to four with a GPU.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    workers: int | None = None

    @property
    def processes(self) -> int:
        """All processes of the run."""
        return self.devices * self.num_nodes

    @property
    def chosen_accelerator(self) -> str:
        """What ``auto`` comes to on this machine."""
        if self.accelerator != "auto":
            return self.accelerator
        return "gpu" if torch.cuda.is_available() else "cpu"

    @property
    def device(self) -> torch.device:
        """The first device of this machine."""
        return torch.device("cuda:0" if self.chosen_accelerator == "gpu" else "cpu")

    def check(self) -> None:
        """Refuse what the machine does not have."""
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise SettingsError(f"accelerator {self.accelerator}: unknown; choose among auto, cpu, gpu")
        gpus = torch.cuda.device_count()
        if self.accelerator == "gpu" and gpus == 0:
            raise SettingsError("accelerator gpu: this machine has no GPU that torch can use; choose cpu")
        if self.chosen_accelerator == "gpu" and self.devices > gpus:
            raise SettingsError(f"devices {self.devices}: this machine has {gpus} GPUs; give at most {gpus}")
        slurm = {name: os.environ.get(f"SLURM_{name}", "1") for name in ("NNODES", "NTASKS_PER_NODE")}
        wanted = {"NNODES": str(self.num_nodes), "NTASKS_PER_NODE": str(self.devices)}
        if srun_tasks() > 1 and (slurm != wanted or srun_tasks() != self.processes):
            raise SettingsError(
                f"devices {self.devices} on {self.num_nodes} nodes: srun started {srun_tasks()} tasks; submit with "
                f"sbatch --nodes={self.num_nodes} --ntasks-per-node={self.devices}, or start without srun on one node"
            )
        started = any(name in os.environ for name in ("RANK", "NODE_RANK", "GROUP_RANK"))
        if self.num_nodes > 1 and "SLURM_JOB_ID" in os.environ and srun_tasks() == 1 and not started:
            raise SettingsError(
                f"num nodes {self.num_nodes}: this is a single task of the SLURM job; start with srun, in a job submitted with "
                f"sbatch --nodes={self.num_nodes} --ntasks-per-node={self.devices}"
            )


def srun_tasks() -> int:
    """Return how many processes srun started; 1 without it, also in an allocation of many tasks."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def is_first_process() -> bool:
    """Return whether this process speaks for the run; the others stay silent."""
    return all(int(os.environ.get(name, "0")) == 0 for name in RANKS)
