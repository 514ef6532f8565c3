"""The processes that share one request: started by Lightning on this machine, or by SLURM or torchrun on many."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch

from frazil.core.errors import FrazilError, RequestError
from frazil.core.files import one_line
from frazil.model.devices import choose_devices

Result = TypeVar("Result")

_PATIENCE = timedelta(days=10_000)
"""A process may finish its share long before another."""


_PARENT = "FRAZIL_PARENT"
"""Environment variable that tells a process which one started it."""


@dataclass
class Team:
    """One process among those that share a request; alone it is the first of one.

    Parameters
    ----------
    device : as `choose_devices` takes it; each process has its own GPU.
    devices : processes on this node.
    size : all processes.
    rank : number of this one.
    """

    device: str
    devices: int = 1
    size: int = 1
    rank: int = 0
    _fabric: Any = None
    _started_by_others: bool = False
    _group: Any = None
    _parent: int = 0

    @property
    def is_first(self) -> bool:
        """Tell whether this process speaks for all."""
        return self.rank == 0

    def prepared(self, prepare: Callable[[], Result | None]) -> Result | None:
        """Let the first process prepare; return what it prepared, in every process.

        Parameters
        ----------
        prepare : runs in the first process alone, before it starts any other; None: there is nothing to share, and none start.

        Raises
        ------
        FrazilError : what `prepare` raised, in the first process; the others end in silence.
        """
        if self.size == 1:
            return prepare()
        if not self.is_first:
            self._meet()
            prepared: Result | None = self._broadcast(None)
            return prepared if prepared is not None else sys.exit(0)
        prepared = None
        try:
            prepared = prepare()
        finally:
            if prepared is not None or self._started_by_others:  # who was started waits to be told
                self._meet()
                self._broadcast(prepared)
        return prepared

    def together(self, work: Callable[[], Result]) -> Result:
        """Do the share of this process and wait for those of all others; return the result of this one.

        Raises
        ------
        FrazilError : what any of them raised, in the first process; the others end in silence.
        """
        if self.size == 1:
            return work()
        outcome: Result | FrazilError
        try:
            outcome = work()
        except FrazilError as error:
            outcome = error
        faults: list[FrazilError | None] = [None] * self.size
        mine = outcome if isinstance(outcome, FrazilError) else None
        torch.distributed.all_gather_object(faults, mine, group=self._group)
        if not any(faults):
            return outcome  # type: ignore[return-value]
        if self.is_first:
            raise next(fault for fault in faults if fault is not None)
        sys.exit(0)  # at any other code Lightning would kill the first process before it can say what happened

    def check_parent(self) -> None:
        """End this process if the first one, which started it, was killed: nobody else would."""
        if self._parent not in (0, os.getppid()):
            sys.exit(1)

    def _meet(self) -> None:
        """Start the other processes, unless they were started by others, and wait until all are there."""
        if not self._started_by_others:
            os.environ[_PARENT] = str(os.getpid())
        with _quiet_lightning():
            self._fabric.launch()
        self.rank = self._fabric.global_rank
        self._group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)

    def _broadcast(self, message: Any) -> Any:
        """Return the message of the first process."""
        holder = [message]
        torch.distributed.broadcast_object_list(holder, src=0, group=self._group)
        return holder[0]


@contextmanager
def team(*, device: str = "auto", devices: int = 1, num_nodes: int = 1) -> Iterator[Team]:
    """Say which process of how many this one is, without starting any yet (`Team.prepared` does).

    Lightning starts the processes of one machine by running the command again; under SLURM (``srun``) and torchrun it finds
    them running.

    Parameters
    ----------
    device : ``auto``, ``cpu`` or ``cuda``; with one process also several that it shares out, see `choose_devices`.
    devices : processes on each node.
    num_nodes : nodes.

    Raises
    ------
    RequestError : more devices than there are, or processes that nothing starts.
    """
    if devices < 1 or num_nodes < 1:
        raise RequestError(f"--devices {devices} --num-nodes {num_nodes}: choose at least 1 of each")
    if devices * num_nodes == 1:
        yield Team(device)
        return
    before = dict(os.environ)
    member = _member(device, devices, num_nodes)
    try:
        yield member
    except KeyboardInterrupt:
        if not member.is_first:
            os._exit(130)  # in silence: the first process says what is to be said
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in (_PARENT, "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS"):
            os.environ.pop(name, None)  # Lightning sets them
            os.environ.update({name: before[name]} if name in before else {})


def _member(device: str, devices: int, num_nodes: int) -> Team:
    """Find out what this process is, and refuse what cannot be started."""
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment

    kind = _kind(device, devices)
    with _quiet_lightning():
        try:
            # processes meet and talk on the CPU, whatever they compute on
            fabric: Any = Fabric(accelerator="cpu", strategy="ddp", devices=devices, num_nodes=num_nodes)
            environment = fabric.strategy.cluster_environment
            environment.validate_settings(num_devices=devices, num_nodes=num_nodes)
        except (RuntimeError, ValueError) as fault:
            raise RequestError(f"--devices {devices} --num-nodes {num_nodes}: {one_line(fault)}") from None
    started_by_others = environment.creates_processes_externally
    if num_nodes > 1 and isinstance(environment, LightningEnvironment) and "MASTER_ADDR" not in os.environ:
        raise RequestError(
            f"--num-nodes {num_nodes}: nothing starts the command on the other nodes; use srun or torchrun, "
            "or start it on each with MASTER_ADDR, MASTER_PORT and NODE_RANK set"
        )
    if kind == "cuda":
        count = torch.cuda.device_count()
        if devices > count and not (
            started_by_others and count == 1
        ):  # a launcher may show each process its own GPU only
            raise RequestError(f"--devices {devices}: this machine has {count} CUDA devices; pass --devices {count}")
        kind = f"cuda:{fabric.local_rank % count}"
    return Team(
        kind,
        devices=devices,
        size=devices * num_nodes,
        rank=fabric.node_rank * devices + fabric.local_rank,
        _fabric=fabric,
        _started_by_others=started_by_others,
        _parent=int(os.environ.get(_PARENT, "0")),
    )


def _kind(device: str, devices: int) -> str:
    """Return ``cpu`` or ``cuda``; refuse devices by number, and more processes than a CPU has cores."""
    chosen = choose_devices(device)
    if device not in ("auto", "cpu", "cuda"):
        raise RequestError(
            f"--device {device} with --devices {devices}: give each process a device of its own; pass --device cuda or cpu"
        )
    cores = os.cpu_count() or 1
    if chosen[0].type == "cpu" and devices > cores:
        raise RequestError(f"--devices {devices}: this machine has {cores} CPU cores; pass --devices {cores} at most")
    return chosen[0].type


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence what Lightning tells programmers; errors still come through."""
    names = ("lightning.fabric", "lightning.fabric.utilities.rank_zero", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
