"""`frazil sample`: what it writes agrees in every format, and nothing is lost, doubled or overwritten."""

import json
import shutil
import signal
import subprocess
import sys
import time

import copick
import mrcfile
import numpy as np
import pytest
import torch

import frazil
from frazil.core.errors import OutputError, RequestError
from frazil.core.files import file_digest, write_json
from frazil.core.presets import load_preset
from frazil.io.star import read_particles
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.manifest import SampleManifest
from frazil.sampling.request import Request
from frazil.sampling.run import sample

REQUESTS = [Request(label="ribosome", position=(0.1, 0.2, 0.3), count=3), Request(label="apo-ferritin", count=2)]
CPU = {"requests": REQUESTS, "device": "cpu", "seed": 3, "batch_size": 2}
NAMES = ["ribosome-00000", "ribosome-00001", "ribosome-00002", "apo-ferritin-00003", "apo-ferritin-00004"]


@pytest.fixture
def bundle(make_bundle):
    return make_bundle()


def contents(folder):
    """Return every file below `folder` with its bytes, without the lock and copick's configuration, which holds its path."""
    hidden = {".lock", ".written", "copick.json", "frazil.log"}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not hidden & {*path.parts}]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


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


def test_every_file_tells_the_same_story(bundle, tmp_path, capsys):
    """Volumes, manifest, STAR and copick project agree with what the Python interface samples."""
    out = tmp_path / "out"
    made = sample(bundle, out=out, **CPU)
    expected = frazil.load(bundle, device="cpu").sample(
        label="ribosome", position=(0.1, 0.2, 0.3), count=3, seed=3, batch_size=3
    )
    np.testing.assert_array_equal(list(made)[:3], expected.volumes)
    assert "5 samples of 8^3 voxels at 10.012 A, gray values z-scored" in capsys.readouterr().out

    manifest = json.loads((out / "manifest.json").read_text())
    assert [manifest[key] for key in ("complete", "voxel_size_angstrom", "particle_centre_voxel")] == [
        True, 10.0125, [4, 4, 4]
    ]  # fmt: skip
    assert [entry["name"] for entry in manifest["samples"]] == NAMES
    assert [entry["position"]["z"] for entry in manifest["samples"]] == [0.1] * 3 + [0.5] * 2
    for index, entry in enumerate(manifest["samples"]):
        with mrcfile.open(out / entry["file"]) as mrc:
            assert mrc.voxel_size.tolist() == pytest.approx((10.0125,) * 3)
            assert mrc.is_volume()
            assert entry["moments"]["std"] == pytest.approx(mrc.data.std(dtype=float))
        assert entry["digest"] == file_digest(out / entry["file"])
        assert (entry["index"], entry["seed"], entry["sampler"], entry["steps"]) == (index, 3, "ddpm", 6)
        assert entry["bundle_digest"] == frazil.load(bundle, device="cpu").digest

    particles = read_particles(out / "particles.star")
    assert sorted(some.tomogram for some in particles) == sorted(NAMES)
    for some in particles:
        assert some.label == some.tomogram[:-6]
        np.testing.assert_allclose(some.places, [[0, 0, 0]], atol=1e-6)

    root = copick.from_file(str(out / "copick.json"))
    assert sorted(run.name for run in root.runs) == sorted(NAMES)
    for name in NAMES:
        run = root.get_run(name)
        (tomogram,) = run.get_voxel_spacing(10.012).tomograms
        np.testing.assert_array_equal(tomogram.numpy(), mrcfile.read(out / "volumes" / f"{name}.mrc"))
        (picks,) = run.get_picks(user_id="frazil")
        (point,) = picks.points
        assert picks.pickable_object_name == name[:-6]
        assert (point.location.x, point.location.y, point.location.z) == pytest.approx((4 * 10.0125,) * 3)


def test_without_copick_there_is_none_and_it_can_be_had_later(bundle, tmp_path):
    out = tmp_path / "out"
    sample(bundle, out=out, **CPU, copick=False)
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", ".written", "frazil.log", "manifest.json", "particles.star", "request.json", "volumes"
    ]  # fmt: skip
    before = contents(out / "volumes")
    sample(bundle, out=out, **CPU)
    assert len(list((out / "ExperimentRuns").iterdir())) == 5
    assert contents(out / "volumes") == before


@pytest.mark.parametrize("force", [False, True])
def test_a_finished_request_is_left_alone(bundle, tmp_path, monkeypatch, capsys, force):
    out = tmp_path / "out"
    first = sample(bundle, out=out, **CPU)
    written = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".log"]
    before = {path: path.stat().st_mtime_ns for path in written}
    stop_after(monkeypatch, 0, AssertionError("sampled again"))
    assert sample(bundle, out=out, **CPU, force=force) == first
    assert {path: path.stat().st_mtime_ns for path in written} == before
    assert "all 5 samples already exist; nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(("batches", "force"), [(0, False), (2, True)])
def test_an_interrupted_request_continues_to_the_same_bytes(bundle, tmp_path, monkeypatch, capsys, batches, force):
    whole, out = tmp_path / "whole" / "out", tmp_path / "out"
    options = CPU | {"batch_size": 1}
    sample(bundle, out=whole, **options)
    resume = stop_after(monkeypatch, batches)
    with pytest.raises(KeyboardInterrupt):
        sample(bundle, out=out, **options)
    assert len(list(out.glob("volumes/*.mrc"))) <= batches
    resume()
    # without a batch size the batches of the interrupted run are kept
    sample(bundle, out=out, **options | {"batch_size": None}, force=force)
    assert contents(out) == contents(whole)


def test_the_manifest_is_written_once_and_samples_are_logged_as_they_are_made(bundle, tmp_path, monkeypatch):
    """It names every sample, so writing it after every batch would take a time that grows with their square."""
    written, lines = [], []
    write, compute = SampleManifest.write, ParticleGenerator._compute
    log = tmp_path / "out" / "manifest.jsonl"

    def computed(self, *arguments):
        lines.append(len(log.read_text().splitlines()))
        return compute(self, *arguments)

    monkeypatch.setattr(SampleManifest, "write", lambda self, path: (written.append(self), write(self, path)))
    monkeypatch.setattr(ParticleGenerator, "_compute", computed)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # nothing is computed ahead
    sample(bundle, out=tmp_path / "out", **CPU | {"batch_size": 1}, copick=False)
    assert [(record.complete, len(record.samples)) for record in written] == [(True, 5)]
    assert lines == sorted(lines)
    assert lines[-1] >= 3
    assert not log.exists()


def test_what_was_logged_before_a_kill_is_not_sampled_again(bundle, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    sample(bundle, out=out, **CPU)
    whole = contents(out)
    manifest = json.loads((out / "manifest.json").read_text())
    lines = [json.dumps(entry) for entry in manifest["samples"]]
    (out / "manifest.jsonl").write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])  # the last one was cut off
    (out / "manifest.json").unlink()
    (out / "volumes" / "apo-ferritin-00004.mrc").unlink()
    sample(bundle, out=out, **CPU)
    assert "3 of 5 samples already exist" in capsys.readouterr().out
    assert contents(out) == whole
    (out / "manifest.jsonl").write_text("\n".join(lines))  # the manifest was written, the log not yet removed
    sample(bundle, out=out, **CPU)
    assert contents(out) == whole
    lines[0] = lines[0].replace("volumes/", "../")
    (out / "manifest.jsonl").write_text(lines[0] + "\n")
    with pytest.raises(OutputError, match="not inside"):
        sample(bundle, out=out, **CPU)


def test_what_a_kill_left_half_done_is_completed(bundle, tmp_path):
    """Between a volume and the manifest; between the tomogram and the picks of a run."""
    out = tmp_path / "out"
    sample(bundle, out=out, **CPU)
    whole = contents(out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest |= {"complete": False, "samples": manifest["samples"][:3]}
    write_json(out / "manifest.json", manifest)
    (out / "volumes" / "apo-ferritin-00004.mrc").unlink()
    (out / "ExperimentRuns" / NAMES[1] / "Picks" / "frazil_0_ribosome.json").unlink()
    (out / "particles.star").unlink()
    sample(bundle, out=out, **CPU)
    assert contents(out) == whole


def test_picks_of_others_stay_when_a_run_is_made_whole(bundle, tmp_path):
    out = tmp_path / "out"
    sample(bundle, out=out, **CPU)
    whole = contents(out)
    run = out / "ExperimentRuns" / NAMES[1]
    mine = run / "Picks" / "frazil_1_ribosome.json"
    mine.write_text("by hand")
    next(run.glob("VoxelSpacing*/*.zarr/.zattrs")).unlink()
    sample(bundle, out=out, **CPU)
    assert mine.read_text() == "by hand"
    mine.unlink()
    assert contents(out) == whole


def test_a_changed_volume_is_not_overwritten(bundle, tmp_path):
    out = tmp_path / "out"
    sample(bundle, out=out, **CPU)
    file = out / "volumes" / "ribosome-00001.mrc"
    mrcfile.write(file, np.zeros((8, 8, 8), np.float32), overwrite=True)
    with pytest.raises(OutputError, match=r"ribosome-00001\.mrc: changed"):
        sample(bundle, out=out, **CPU, force=True)
    file.unlink()
    sample(bundle, out=out, **CPU)
    assert mrcfile.read(file).std() > 0


def test_another_request_is_refused_and_replaces_only_what_is_its_own_with_force(bundle, tmp_path, refuses):
    out = tmp_path / "out"
    sample(bundle, out=out, **CPU)
    before = contents(out)
    mine = ["notes.txt", "volumes/mine.mrc", "ExperimentRuns/TS-00001/VoxelSpacing10.000/denoised.zarr/.zattrs"]
    for name in mine:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    other = {"label": "ribosome", "count": 2, "device": "cpu", "seed": 4}
    with refuses(OutputError, str(out), "seed 3 -> 4", "2 x ribosome at x,y,z 0.5,0.5,0.5", "--force"):
        sample(bundle, out=out, **other)
    assert contents(out).items() >= before.items()
    sample(bundle, out=out, **other, force=True)
    assert sorted(path.stem for path in (out / "volumes").iterdir()) == ["mine", "ribosome-00000", "ribosome-00001"]
    assert len(list((out / "ExperimentRuns").iterdir())) == 2 + 1
    assert all((out / name).read_text() == "mine" for name in mine)


@pytest.mark.parametrize("name", ["request.json", "manifest.json"])
def test_a_damaged_record_is_replaced_with_force(bundle, tmp_path, name):
    out = tmp_path / "out"
    sample(bundle, out=out, **CPU)
    whole = contents(out)
    (out / name).write_text((out / name).read_text()[:100])
    with pytest.raises(OutputError, match=rf"{name}: damaged"):
        sample(bundle, out=out, **CPU)
    sample(bundle, out=out, **CPU, force=True)
    assert (out / "kept" / name).exists()
    shutil.rmtree(out / "kept")
    assert contents(out) == whole


@pytest.mark.parametrize("name", ["volumes/ribosome-00000.mrc", "copick.json"])
def test_what_others_wrote_is_never_overwritten(bundle, tmp_path, name):
    out = tmp_path / "project"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{name}: frazil sample did not write it"):
        sample(bundle, out=out, **CPU, force=True)
    assert (out / name).read_text() == "mine"


def test_all_stands_for_every_class_and_copick_gets_names_and_radii_it_can_take(make_bundle, tmp_path):
    bundle = make_bundle(labels=("beta_amylase", "80S ribosome"), radius_angstrom={"beta_amylase": 33.0})
    made = sample(bundle, out=tmp_path / "out", label="all", device="cpu")
    assert [entry.name for entry in made.manifest.samples] == ["beta-amylase-00000", "80S-ribosome-00001"]
    assert made.labels == ["beta_amylase", "80S ribosome"]
    root = copick.from_file(str(tmp_path / "out" / "copick.json"))
    radii = {item.name: item.radius for item in root.pickable_objects}
    assert radii == {"beta-amylase": 33.0, "80S-ribosome": pytest.approx(8 * 10.0125 / 4)}


def test_a_run_folder_stands_for_its_bundle(make_bundle, tmp_path):
    bundle = make_bundle(name="run/bundle")
    made = sample(bundle.parent, out=tmp_path / "out", **CPU, copick=False)
    assert made.manifest == sample(bundle, out=tmp_path / "other", **CPU, copick=False).manifest


def test_a_bundle_without_voxel_size_has_to_be_told(make_bundle, tmp_path):
    bundle = make_bundle(voxel_size_angstrom=None)
    with pytest.raises(RequestError, match="does not know its voxel size"):
        sample(bundle, out=tmp_path / "out", **CPU)
    assert not (tmp_path / "out").exists()
    made = sample(bundle, out=tmp_path / "out", **CPU, voxel_size_angstrom=20.0249, copick=False)
    with mrcfile.open(tmp_path / "out" / "volumes" / "ribosome-00000.mrc") as mrc:
        assert mrc.voxel_size.x == pytest.approx(made.manifest.voxel_size_angstrom)


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({}, "nothing is asked for.*apo-ferritin, ribosome"),
        ({"requests": REQUESTS, "label": "ribosome"}, "label, position and count: "),
        ({"requests": REQUESTS, "count": 1}, "label, position and count: "),
        ({"label": "all", "first": 0}, "first 0: name one label"),
        ({"label": ["ribosome", "apo-ferritin"], "first": 7}, "first 7: name one label"),
        ({"requests": REQUESTS, "first": 5, "count": 2}, "first 5: .*5 samples"),
    ],
)
def test_what_is_not_one_request_is_refused(bundle, tmp_path, options, value):
    with pytest.raises(RequestError, match=value):
        sample(bundle, out=tmp_path / "out", device="cpu", **options)
    assert not (tmp_path / "out").exists()


def test_the_command_line_asks_for_the_same(run, bundle, tmp_path):
    out = tmp_path / "out"
    place = ["--label", "ribosome", "--position", "0.1,0.25,0.5", "--count", "2", "--no-copick"]
    options = ["--sampler", "dpm++", "--steps", "3", "--seed", "7", "--device", "cpu"]
    code, printed, _ = run("sample", bundle, "--out", out, *place, *options)
    assert code == 0
    assert str(out / "particles.star") in printed
    asked = {"label": "ribosome", "position": (0.5, 0.25, 0.1), "count": 2, "sampler": "dpm++", "steps": 3, "seed": 7}
    sample(bundle, out=tmp_path / "python", **asked, device="cpu", copick=False)
    assert contents(out) == contents(tmp_path / "python")


def test_killed_it_leaves_whole_files_and_the_same_command_ends_with_the_same_bytes(make_bundle, tmp_path):
    bundle, out = make_bundle(timesteps=30), tmp_path / "out"
    options = ["--label", "ribosome", "--count", "5", "--batch-size", "1", "--device", "cpu", "--steps", "30"]
    command = [sys.executable, "-m", "frazil", "sample", str(bundle), "--out", str(out), "--no-copick", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "volumes" / "ribosome-00000.mrc").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()

    before = contents(out / "volumes")
    assert any(name.endswith(".mrc") for name in before)
    sample(bundle, out=out, label="ribosome", count=5, device="cpu", steps=30, copick=False)
    whole = frazil.load(bundle, device="cpu").sample(label="ribosome", count=5, steps=30, batch_size=1)
    assert contents(out / "volumes").items() >= {name: before[name] for name in before if name.endswith("mrc")}.items()
    np.testing.assert_array_equal(list(frazil.sampling.folder.SampleFolder.open(out)), whole.volumes)


def test_two_workers_write_byte_for_byte_what_one_writes(bundle, tmp_path):
    sample(bundle, out=tmp_path / "one", **CPU)
    sample(bundle, out=tmp_path / "two", **CPU, workers=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_parts_of_a_request_are_gathered_to_what_one_call_writes(bundle, tmp_path, capsys):
    one, parts = tmp_path / "one", tmp_path / "parts"
    sample(bundle, out=one, **CPU)
    for first, count in ((0, 2), (2, 2)):
        made = sample(bundle, out=parts, **CPU, first=first, count=count)
        assert [entry.name for entry in made.manifest.samples] == NAMES[first : first + count]
    sample(bundle, out=parts, requests=[Request(label="ribosome")], first=0, count=1, seed=9, device="cpu", force=True)
    shutil.move(parts / "part-0000000", parts / "part-0000009")  # of another seed
    sample(bundle, out=parts, **CPU, first=0, count=2)
    captured = capsys.readouterr
    captured()
    sample(bundle, out=parts, **CPU)
    said = captured()
    assert "gathered 2 parts" in said.out
    assert "4 of 5 samples already exist" in said.out
    assert "part-0000009: not a part of this request" in said.err
    shutil.rmtree(parts / "part-0000009")
    assert contents(parts) == contents(one)


def test_more_samples_are_added_to_those_that_are_there(bundle, tmp_path, capsys):
    grown, at_once = (
        {**CPU, "requests": None, "label": "ribosome", "out": tmp_path / name} for name in ("grown", "once")
    )
    sample(bundle, count=2, **grown)
    sample(bundle, count=3, **at_once)
    assert len(sample(bundle, count=3, **grown)) == 3
    assert "2 of 3 samples already exist" in capsys.readouterr().out
    assert contents(tmp_path / "grown") == contents(tmp_path / "once")
    assert len(sample(bundle, count=3, **grown)) == 3
    with pytest.raises(OutputError, match=r"3 x ribosome.* -> 2 x ribosome"):
        sample(bundle, count=2, **grown)
    with pytest.raises(OutputError, match="holds the result of another request"):  # other numbers
        sample(
            bundle,
            **CPU | {"requests": [Request(label="ribosome"), Request(label="apo-ferritin")]},
            out=tmp_path / "grown",
        )


def test_guidance_is_written_down(make_bundle, tmp_path):
    small = {"diffusion.timesteps": 6, "model.embedding_width": 8, "sampling.steps": 2}
    bundle = make_bundle(name="guided", preset=load_preset("smoke", small | {"training.class_dropout": 0.1}))
    options = {"label": "ribosome", "device": "cpu", "guidance_interval": (0.01, 3.0), "copick": False}
    made = sample(bundle, out=tmp_path / "out", **options, guidance=1.5)
    assert (made.manifest.samples[0].guidance, made.manifest.samples[0].guidance_interval) == (1.5, (0.01, 3.0))
    with pytest.raises(OutputError, match=r"guidance 1\.5 -> 2"):
        sample(bundle, out=tmp_path / "out", **options, guidance=2.0)


def test_the_precision_of_the_machine_is_written_down_and_kept(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("frazil.model.compute.native_precision", lambda device: "bf16-mixed")
    options = CPU | {"out": tmp_path / "out", "copick": False}
    manifest = sample(bundle, **options, precision="auto").manifest
    assert (manifest.precision, manifest.memory_format) == ("bf16-mixed", "channels-last")
    monkeypatch.setattr("frazil.model.compute.native_precision", lambda device: "32-true")
    sample(bundle, **options, precision="auto")
    sample(bundle, **options, precision="bf16-mixed")
    sample(bundle, **options)
    assert capsys.readouterr().out.count("nothing to do") == 3
    with pytest.raises(OutputError, match="precision bf16-mixed -> 32-true"):
        sample(bundle, **options, precision="32-true")
