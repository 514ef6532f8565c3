"""A Dask cluster writes the same bytes as one process, though a worker is killed half-way."""

import hashlib
import os
import shutil
import signal
import time
from threading import Thread


def digests(folder):
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and not {".written", "frazil.log"} & {*path.parts}
    )
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def kill_a_worker_once_there_is(pattern, folder, cluster):
    """Kill a worker process as soon as a file that matches exists; the thread ends when it is done."""

    def kill():
        while not any(folder.glob(pattern)):
            time.sleep(0.01)
        os.kill(cluster.workers[0].pid, signal.SIGKILL)

    thread = Thread(target=kill, daemon=True)
    thread.start()
    return thread


def test_bytes_are_the_same_though_a_worker_is_killed(run, dask_cluster, make_bundle, tmp_path):
    out = {verb: tmp_path / verb for verb in ("simulate", "curate", "sample")}
    tiny = "--shape 24,32,32 --voxel-size 20 --ice-thickness full --particles-per-class 1 --count 3"
    boxes = "--box 16 --validation-run SIM_002"
    for first_result, command in {
        "ExperimentRuns/*/Picks/*": f"simulate --out {out['simulate']} --preset small {tiny}",
        ".runs/*": f"curate {out['simulate']} --out {out['curate']} {boxes}",
        "volumes/*.mrc": f"sample {make_bundle()} --out {out['sample']} --label all --count 4 --batch-size 1",
    }.items():
        written = out[command.split()[0]]
        code, _, err = run(*command.split())
        assert code == 0, err
        alone = digests(written)
        shutil.rmtree(written)
        killing = kill_a_worker_once_there_is(first_result, written, dask_cluster)
        code, _, err = run(*command.split(), "--dask", dask_cluster.scheduler_address)
        assert code == 0, err
        assert not killing.is_alive()
        assert digests(written) == alone
