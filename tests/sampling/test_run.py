"""`frazil sample`: what it writes agrees in every format, and nothing is lost, doubled or overwritten."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import copick
import mrcfile
import numpy as np
import pytest
import torch

import frazil
from frazil.cli import main
from frazil.core.errors import OutputError, RequestError
from frazil.core.files import file_digest
from frazil.core.presets import load_preset
from frazil.io.star import read_particles
from frazil.model.probe import Probe
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.manifest import write_record
from frazil.sampling.request import SampleOptions, gather_requests, parse_interval
from frazil.sampling.run import sample
from frazil.sampling.table import Request

CPU = SampleOptions(device="cpu", seed=3, batch_size=2)
REQUESTS = [Request("ribosome", (0.1, 0.2, 0.3), 3), Request("apo-ferritin", count=2)]
NAMES = ["ribosome-00000", "ribosome-00001", "ribosome-00002", "apo-ferritin-00003", "apo-ferritin-00004"]


@pytest.fixture
def bundle(make_bundle):
    return make_bundle()


def contents(folder):
    """Return every file below `folder` with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stop_after(monkeypatch, batches, error=KeyboardInterrupt):
    """Let the generator stop in the middle of a batch."""
    compute = ParticleGenerator._compute
    done = []

    def interrupted(self, *arguments):
        if len(done) == batches:
            raise error
        done.append(None)
        return compute(self, *arguments)

    monkeypatch.setattr(ParticleGenerator, "_compute", interrupted)
    return lambda: monkeypatch.setattr(ParticleGenerator, "_compute", compute)


def test_files_hold_the_samples_that_the_python_interface_gives(bundle, tmp_path):
    manifest = sample(bundle, tmp_path / "out", REQUESTS, options=CPU)
    expected = frazil.load(bundle, device="cpu").sample(
        label="ribosome", position=(0.1, 0.2, 0.3), count=3, seed=3, batch_size=3
    )
    assert [entry.name for entry in manifest.samples] == NAMES
    for entry, volume in zip(manifest.samples[:3], expected.volumes, strict=True):
        with mrcfile.open(tmp_path / "out" / entry.file) as mrc:
            np.testing.assert_array_equal(mrc.data, volume)
            assert mrc.voxel_size.tolist() == pytest.approx((10.0125,) * 3)
            assert mrc.is_volume()


def test_the_manifest_agrees_with_the_files(bundle, tmp_path):
    sample(bundle, tmp_path / "out", REQUESTS, options=CPU)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["complete"]
    assert manifest["voxel_size_angstrom"] == 10.0125
    assert manifest["particle_centre_voxel"] == [4, 4, 4]
    assert manifest["tilt_range_degrees"] == [-48.0, 45.0]
    digest = frazil.load(bundle, device="cpu").digest
    for index, entry in enumerate(manifest["samples"]):
        file = tmp_path / "out" / entry["file"]
        volume = mrcfile.read(file)
        assert entry["index"] == index
        assert entry["label"] == ("ribosome" if index < 3 else "apo-ferritin")
        assert entry["position"] == ({"z": 0.1, "y": 0.2, "x": 0.3} if index < 3 else {"z": 0.5, "y": 0.5, "x": 0.5})
        assert (entry["seed"], entry["sampler"], entry["steps"]) == (3, "ddpm", 6)
        assert entry["bundle_digest"] == digest
        assert entry["digest"] == file_digest(file)
        assert entry["moments"]["mean"] == pytest.approx(volume.mean(dtype=float))
        assert entry["moments"]["std"] == pytest.approx(volume.std(dtype=float))


def test_copick_opens_the_samples_and_finds_the_particles_at_the_box_centres(bundle, tmp_path):
    sample(bundle, tmp_path / "out", REQUESTS, options=CPU)
    root = copick.from_file(str(tmp_path / "out" / "copick.json"))
    assert sorted(run.name for run in root.runs) == sorted(NAMES)
    assert sorted(item.name for item in root.pickable_objects) == ["apo-ferritin", "ribosome"]
    for name in NAMES:
        run = root.get_run(name)
        (tomogram,) = run.get_voxel_spacing(10.012).tomograms
        assert tomogram.tomo_type == "generated"
        np.testing.assert_array_equal(tomogram.numpy(), mrcfile.read(tmp_path / "out" / "volumes" / f"{name}.mrc"))
        (picks,) = run.get_picks(user_id="frazil")
        assert picks.pickable_object_name == name[:-6]
        (point,) = picks.points
        location = (point.location.x, point.location.y, point.location.z)
        assert location == pytest.approx((4 * 10.0125,) * 3)


def test_relion_finds_every_particle_at_the_centre_of_its_tomogram(bundle, tmp_path):
    sample(bundle, tmp_path / "out", REQUESTS, options=CPU, copick=False)
    particles = read_particles(tmp_path / "out" / "particles.star")
    assert sorted(some.tomogram for some in particles) == sorted(NAMES)
    for some in particles:
        assert some.label == some.tomogram[:-6]
        np.testing.assert_allclose(some.offsets_angstrom, [[0, 0, 0]], atol=1e-6)
    text = (tmp_path / "out" / "particles.star").read_text()
    assert all(f"volumes/{name}.mrc" in text for name in NAMES)


def test_without_copick_there_is_none_and_it_can_be_had_later(bundle, tmp_path, capsys):
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU, copick=False)
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json", "particles.star", "request.json", "volumes"
    ]  # fmt: skip
    before = contents(out / "volumes")
    sample(bundle, out, REQUESTS, options=CPU)
    assert len(list((out / "ExperimentRuns").iterdir())) == 5
    assert contents(out / "volumes") == before
    assert "nothing to do" not in capsys.readouterr().out


def test_the_same_request_gives_the_same_bytes(bundle, tmp_path):
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU)
    first = contents(out)
    shutil.rmtree(out)
    sample(bundle, out, REQUESTS, options=CPU)
    assert contents(out) == first


@pytest.mark.parametrize("force", [False, True])
def test_a_finished_request_is_left_alone(bundle, tmp_path, monkeypatch, capsys, force):
    out = tmp_path / "out"
    first = sample(bundle, out, REQUESTS, options=CPU)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    stop_after(monkeypatch, 0, AssertionError("sampled again"))
    assert sample(bundle, out, REQUESTS, options=CPU, force=force) == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert "all 5 samples are there already; nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(("batches", "force"), [(0, False), (1, False), (2, False), (1, True)])
def test_an_interrupted_request_continues_to_the_same_bytes(bundle, tmp_path, monkeypatch, capsys, batches, force):
    whole, out = tmp_path / "whole" / "out", tmp_path / "out"
    sample(bundle, whole, REQUESTS, options=CPU)
    resume = stop_after(monkeypatch, batches)
    with pytest.raises(KeyboardInterrupt):
        sample(bundle, out, REQUESTS, options=CPU)
    assert len(list(out.glob("volumes/*.mrc"))) == 2 * batches
    resume()
    # without a batch size the batches of the interrupted run are kept
    sample(bundle, out, REQUESTS, options=SampleOptions(device="cpu", seed=3), force=force)
    ignored = {"copick.json"}  # holds its own path
    left, right = contents(whole), contents(out)
    assert left.keys() == right.keys()
    assert all(left[name] == right[name] for name in left.keys() - ignored)
    assert (f"{2 * batches} of 5 samples are there already" in capsys.readouterr().out) == (batches > 0)


@pytest.mark.parametrize(("seconds", "times"), [(0, 5 + 1), (3600, 1 + 1)])
def test_the_manifest_is_written_at_intervals_and_at_the_end(bundle, tmp_path, monkeypatch, seconds, times):
    """It names every sample, so that writing it after every batch would take a time that grows with their square."""
    written = []
    monkeypatch.setattr("frazil.sampling.run.MANIFEST_SECONDS", seconds)
    monkeypatch.setattr(
        "frazil.sampling.run.write_record",
        lambda path, record: (
            written.append(record) if path.name == "manifest.json" else None,
            write_record(path, record),
        ),
    )
    sample(bundle, tmp_path / "out", REQUESTS, options=SampleOptions(device="cpu", batch_size=1), copick=False)
    assert len(written) == times
    assert [record.complete for record in written] == [False] * (times - 1) + [True]
    assert [len(record.samples) for record in written[-2:]] == [5, 5]


def test_a_volume_that_the_manifest_does_not_name_is_computed_again(bundle, tmp_path):
    """Killed between a volume and the manifest."""
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU)
    whole = contents(out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest |= {"complete": False, "samples": manifest["samples"][:3]}  # the first of the second batch is named
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "volumes" / "apo-ferritin-00004.mrc").unlink()
    sample(bundle, out, REQUESTS, options=CPU)
    assert contents(out) == whole


def test_a_copick_project_that_is_half_there_is_completed(bundle, tmp_path):
    """Killed between the tomogram and the picks of a run."""
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU)
    whole = contents(out)
    (out / "ExperimentRuns" / NAMES[1] / "Picks" / "frazil_0_ribosome.json").unlink()
    (out / "particles.star").unlink()
    sample(bundle, out, REQUESTS, options=CPU)
    assert contents(out) == whole


def test_a_changed_volume_is_not_overwritten(bundle, tmp_path, refuses):
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU)
    file = out / "volumes" / "ribosome-00001.mrc"
    mrcfile.write(file, np.zeros((8, 8, 8), np.float32), overwrite=True)
    with refuses(OutputError, str(file), "changed since", "move it away"):
        sample(bundle, out, REQUESTS, options=CPU)
    file.unlink()
    sample(bundle, out, REQUESTS, options=CPU)
    assert mrcfile.read(file).std() > 0


def test_another_request_in_the_same_folder_is_refused_and_replaces_with_force(bundle, tmp_path, refuses):
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU)
    before = contents(out)
    (out / "notes.txt").write_text("mine")
    other = [Request("ribosome", count=2)]
    with refuses(OutputError, str(out), "seed 3, now 4", "2 x ribosome at x,y,z 0.5,0.5,0.5", "--force"):
        sample(bundle, out, other, options=SampleOptions(device="cpu", seed=4))
    assert contents(out).items() >= before.items()
    sample(bundle, out, other, options=SampleOptions(device="cpu", seed=4), force=True)
    assert sorted(path.name for path in (out / "volumes").iterdir()) == ["ribosome-00000.mrc", "ribosome-00001.mrc"]
    assert sorted(path.name for path in (out / "ExperimentRuns").iterdir()) == ["ribosome-00000", "ribosome-00001"]
    assert (out / "notes.txt").read_text() == "mine"
    assert contents(out)["volumes/ribosome-00000.mrc"] != before["volumes/ribosome-00000.mrc"]


@pytest.mark.parametrize("name", ["request.json", "manifest.json"])
def test_a_damaged_record_is_replaced_with_force(bundle, tmp_path, refuses, name):
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU)
    whole = contents(out)
    (out / name).write_text((out / name).read_text()[:100])
    (out / "volumes" / "mine.mrc").write_text("mine")
    with refuses(OutputError, str(out / name), "damaged", "another folder", "--force"):
        sample(bundle, out, REQUESTS, options=CPU)
    one = [Request("apo-ferritin")]
    sample(bundle, out, one if name == "request.json" else REQUESTS, options=CPU, force=True)
    if name == "request.json":  # whatever it was
        assert sorted(path.name for path in (out / "volumes").iterdir()) == ["apo-ferritin-00000.mrc", "mine.mrc"]
        assert [path.name for path in (out / "ExperimentRuns").iterdir()] == ["apo-ferritin-00000"]
    else:
        assert contents(out) == whole | {"volumes/mine.mrc": b"mine"}


@pytest.mark.parametrize("change", ['"schema_version": 99', '"kind": "another program\'s"'])
def test_force_does_not_replace_the_request_of_a_newer_frazil_or_of_another_program(bundle, tmp_path, change):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "request.json").write_text(f'{{"kind": "frazil sample request", {change}}}')
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError, match=r"request\.json"):
        sample(bundle, tmp_path / "out", REQUESTS, options=CPU, force=True)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["ExperimentRuns", "volumes", "copick.json"])
def test_what_others_wrote_is_never_overwritten(bundle, tmp_path, refuses, name, force):
    out = tmp_path / "project"
    (out / name).mkdir(parents=True)
    with refuses(OutputError, str(out / name), "did not write it", "another folder"):
        sample(bundle, out, REQUESTS, options=CPU, force=force)
    assert [path.name for path in out.iterdir()] == [name]


def test_a_place_that_cannot_be_a_folder_is_refused(bundle, tmp_path, refuses):
    (tmp_path / "file").write_text("")
    with refuses(OutputError, str(tmp_path / "file"), "choose another folder"):
        sample(bundle, tmp_path / "file" / "out", REQUESTS, options=CPU)


def test_a_request_of_a_newer_frazil_is_refused(bundle, tmp_path, refuses):
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU, copick=False)
    path = out / "request.json"
    path.write_text(path.read_text().replace('"schema_version": 4', '"schema_version": 99'))
    with refuses(OutputError, str(path), "version 99", "upgrade frazil"):
        sample(bundle, out, REQUESTS, options=CPU)


def test_samples_of_the_first_schema_are_not_mixed_with_ours(bundle, tmp_path, refuses):
    """They came from other noise."""
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU, copick=False)
    path = out / "request.json"
    request = json.loads(path.read_text())
    del request["guidance"], request["guidance_interval"]
    path.write_text(json.dumps(request | {"schema_version": 1}))
    with refuses(OutputError, str(out), "schema version 1, now 4", "another folder", "--force"):
        sample(bundle, out, REQUESTS, options=CPU, copick=False)


def test_all_stands_for_every_class(bundle, tmp_path):
    manifest = sample(bundle, tmp_path / "out", [Request("all", count=2)], options=CPU, copick=False)
    assert [entry.label for entry in manifest.samples] == ["apo-ferritin", "apo-ferritin", "ribosome", "ribosome"]


def test_class_names_that_copick_cannot_take_get_names_that_it_can(make_bundle, tmp_path):
    bundle = make_bundle(labels=("beta_amylase", "80S ribosome"))
    manifest = sample(bundle, tmp_path / "out", [Request("all")], options=CPU)
    assert [entry.name for entry in manifest.samples] == ["beta-amylase-00000", "80S-ribosome-00001"]
    assert [entry.label for entry in manifest.samples] == ["beta_amylase", "80S ribosome"]
    root = copick.from_file(str(tmp_path / "out" / "copick.json"))
    assert sorted(item.name for item in root.pickable_objects) == ["80S-ribosome", "beta-amylase"]


def test_a_run_folder_stands_for_its_bundle(make_bundle, tmp_path):
    bundle = make_bundle(name="run/bundle")
    manifest = sample(bundle.parent, tmp_path / "out", REQUESTS, options=CPU, copick=False)
    assert manifest == sample(bundle, tmp_path / "other", REQUESTS, options=CPU, copick=False)
    assert frazil.load(bundle.parent, device="cpu").digest == manifest.bundle_digest


def test_copick_gets_the_radii_that_the_bundle_knows(make_bundle, tmp_path):
    bundle = make_bundle(labels=("apo-ferritin", "beta_amylase"), radius_angstrom={"beta_amylase": 33.0})
    sample(bundle, tmp_path / "out", [Request("all")], options=CPU)
    root = copick.from_file(str(tmp_path / "out" / "copick.json"))
    radii = {item.name: item.radius for item in root.pickable_objects}
    assert radii == {"beta-amylase": 33.0, "apo-ferritin": pytest.approx(8 * 10.0125 / 4)}


def test_a_bundle_without_voxel_size_has_to_be_told(make_bundle, tmp_path, refuses):
    bundle = make_bundle(voxel_size_angstrom=None)
    with refuses(RequestError, str(bundle), "does not know its voxel size", "--voxel-size"):
        sample(bundle, tmp_path / "out", REQUESTS, options=CPU)
    assert not (tmp_path / "out").exists()
    told = SampleOptions(device="cpu", voxel_size_angstrom=20.0249)
    sample(bundle, tmp_path / "out", [Request("ribosome")], options=told, copick=False)
    with mrcfile.open(tmp_path / "out" / "volumes" / "ribosome-00000.mrc") as mrc:
        assert mrc.voxel_size.x == pytest.approx(20.0249)


def test_nothing_asked_for_names_what_there_is(bundle, tmp_path, refuses):
    with refuses(RequestError, "nothing is asked for", "apo-ferritin, ribosome", "--requests"):
        sample(bundle, tmp_path / "out", [], options=CPU)


def test_labels_share_position_and_count():
    assert gather_requests(["a", "b"], "0.1,0.2,0.3", 5, None) == [
        Request("a", (0.3, 0.2, 0.1), 5),
        Request("b", (0.3, 0.2, 0.1), 5),
    ]
    assert gather_requests(["a"], None, None, None) == [Request("a", (0.5, 0.5, 0.5), 1)]


def test_a_table_stands_alone(tmp_path, refuses):
    table = tmp_path / "requests.csv"
    table.write_text("label,x,y,z,count\nribosome,0.1,0.2,0.3,4\n")
    assert gather_requests([], None, None, table) == [Request("ribosome", (0.3, 0.2, 0.1), 4)]
    for labels, position, count in [(["ribosome"], None, None), ([], "0.5,0.5,0.5", None), ([], None, 1)]:
        with refuses(RequestError, str(table), "leave out --label, --position and --count"):
            gather_requests(labels, position, count, table)


def test_the_command_line_samples_and_reports(bundle, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    arguments = [bundle, "--label", "ribosome", "--position", "0.5,0.25,0.5", "--count", "2", "--out", out]
    options = ["--sampler", "dpm++", "--steps", "3", "--seed", "7", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["frazil", "sample", *map(str, arguments), *options])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr().out
    assert not stop.value.code
    assert "2 samples of 8^3 voxels at 10.012 A, z-scored" in printed
    assert str(out / "copick.json") in printed
    entry = json.loads((out / "manifest.json").read_text())["samples"][1]
    assert (entry["sampler"], entry["steps"], entry["seed"], entry["position"]["y"]) == ("dpm++", 3, 7, 0.25)


def test_killed_it_leaves_whole_files_and_the_same_command_ends_with_the_same_bytes(make_bundle, tmp_path):
    bundle, out = make_bundle(timesteps=30), tmp_path / "out"
    script = "import sys; from frazil.cli import main; sys.argv[0] = 'frazil'; main()"
    options = ["--label", "ribosome", "--count", "5", "--batch-size", "1", "--device", "cpu", "--steps", "30"]
    command = [sys.executable, "-c", script, "sample", str(bundle), "--out", str(out), "--no-copick", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "volumes" / "ribosome-00000.mrc").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()

    manifest = json.loads((out / "manifest.json").read_text()) if (out / "manifest.json").exists() else {"samples": []}
    files = sorted((out / "volumes").glob("*.mrc"))
    assert 1 <= len(files) < 5
    assert len(manifest["samples"]) <= len(files)  # those of the last seconds are not named yet
    for entry in manifest["samples"]:
        assert entry["digest"] == file_digest(out / entry["file"])
    before = contents(out / "volumes")

    options = SampleOptions(device="cpu", steps=30)
    sample(bundle, out, [Request("ribosome", count=5)], options=options, copick=False)
    whole = frazil.load(bundle, device="cpu").sample(label="ribosome", count=5, steps=30, batch_size=1)
    assert contents(out / "volumes").items() >= {name: before[name] for name in before if name.endswith("mrc")}.items()
    written = [mrcfile.read(path) for path in sorted((out / "volumes").glob("*.mrc"))]
    np.testing.assert_array_equal(written, whole.volumes)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_two_processes_write_byte_for_byte_what_one_writes(bundle, tmp_path):
    one, two = tmp_path / "one" / "out", tmp_path / "two" / "out"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: on a CPU, their number may change the last bits
    try:
        sample(bundle, one, REQUESTS, options=CPU)
    finally:
        torch.set_num_threads(threads)
    table = tmp_path / "requests.csv"
    table.write_text("label,x,y,z,count\nribosome,0.3,0.2,0.1,3\napo-ferritin,0.5,0.5,0.5,2\n")
    options = ["--device", "cpu", "--devices", "2", "--seed", "3", "--batch-size", "2"]
    command = [sys.executable, "-m", "frazil", "sample", bundle, "--out", two, "--requests", table, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=200, check=True
    )
    assert done.stdout.count("5 samples of 8^3 voxels") == 1
    assert contents(two).keys() == contents(one).keys()
    different = [name for name, content in contents(one).items() if contents(two)[name] != content]
    assert different == ["copick.json"]  # holds its own path


def test_what_several_processes_had_made_when_they_were_killed_is_kept(bundle, tmp_path, capsys):
    """A manifest beside the first's, of the second of two processes."""
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU)
    whole = contents(out)
    manifest = json.loads((out / "manifest.json").read_text())
    shares = {"manifest.json": [0, 1], "manifest.part-00001.json": [2, 3]}
    for name, indices in shares.items():
        share = [manifest["samples"][index] for index in indices]
        (out / name).write_text(json.dumps(manifest | {"complete": False, "samples": share}))
    for path in out.glob("volumes/apo-ferritin-00004.mrc"):
        path.unlink()
    capsys.readouterr()
    sample(bundle, out, REQUESTS, options=CPU)
    assert "4 of 5 samples are there already; going on" in capsys.readouterr().out
    assert contents(out) == whole


def test_what_several_processes_made_is_replaced_with_force(bundle, tmp_path):
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU)
    (out / "manifest.part-00001.json").write_text("{")
    with pytest.raises(OutputError, match=r"manifest\.part-00001\.json: damaged"):
        sample(bundle, out, REQUESTS, options=CPU)
    sample(bundle, out, [Request("ribosome")], options=CPU, force=True)
    assert sorted(path.name for path in out.glob("*.json")) == ["copick.json", "manifest.json", "request.json"]


def test_guidance_is_written_down(make_bundle, tmp_path, refuses):
    small = {"diffusion.timesteps": 6, "model.embedding_width": 8, "sampling.steps": 2}
    bundle = make_bundle(name="guided", preset=load_preset("smoke", small | {"training.class_dropout": 0.1}))
    out = tmp_path / "out"
    options = SampleOptions(device="cpu", guidance=1.5, guidance_interval=(0.01, 3.0))
    manifest = sample(bundle, out, [Request("ribosome")], options=options, copick=False)
    assert (manifest.samples[0].guidance, manifest.samples[0].guidance_interval) == (1.5, (0.01, 3.0))
    with refuses(OutputError, str(out), "guidance 1.5, now 2", "--force"):
        sample(bundle, out, [Request("ribosome")], options=replace(options, guidance=2.0), copick=False)


def test_what_a_probe_chose_is_written_down_and_kept(bundle, tmp_path, monkeypatch, capsys, refuses):
    asked = []

    def probe(network, among, **options):
        asked.append(among)
        return Probe(among[1], dict.fromkeys(among, 0.5), 8, gradients=False)

    monkeypatch.setattr("frazil.sampling.generator.probe", probe)
    out, auto = tmp_path / "out", replace(CPU, precision="auto")
    manifest = sample(bundle, out, REQUESTS, options=auto, copick=False)
    assert (manifest.precision, manifest.memory_format) == ("bf16-mixed", "channels-last")
    assert "bf16-mixed, the fastest here: 32-true 0.500 s" in capsys.readouterr().out
    sample(bundle, out, REQUESTS, options=auto, copick=False)
    sample(bundle, out, REQUESTS, options=replace(CPU, precision="bf16-mixed"), copick=False)
    assert capsys.readouterr().out.count("nothing to do") == 2
    assert len(asked) == 1
    with refuses(OutputError, "precision bf16-mixed, now 32-true"):
        sample(bundle, out, REQUESTS, options=CPU, copick=False)
    other = replace(CPU, precision="bf16-mixed", memory_format="contiguous")
    with refuses(OutputError, "memory format channels-last, now contiguous"):
        sample(bundle, out, REQUESTS, options=other, copick=False)


def test_samples_of_the_second_schema_are_continued(bundle, tmp_path):
    out = tmp_path / "out"
    sample(bundle, out, REQUESTS, options=CPU, copick=False)
    whole = contents(out)
    for name in ("request.json", "manifest.json"):
        content = json.loads((out / name).read_text()) | {"schema_version": 2}
        del content["memory_format"]
        (out / name).write_text(json.dumps(content))
    (out / "volumes" / "ribosome-00001.mrc").unlink()
    sample(bundle, out, REQUESTS, options=CPU, copick=False)
    assert contents(out) == whole


@pytest.mark.parametrize("text", ["0.3", "0.3,5,7", "low,high", ""])
def test_an_interval_is_two_numbers(text, refuses):
    assert parse_interval("0.3, 5") == (0.3, 5.0)
    with refuses(RequestError, f"--guidance-interval {text}", "LOWEST,HIGHEST"):
        parse_interval(text)
