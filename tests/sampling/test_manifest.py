"""Request and manifest: round trips, differences, and what a reader refuses."""

import json
from fnmatch import fnmatch

import pytest

from frazil.core.errors import OutputError, SourceError
from frazil.core.records import Moments
from frazil.sampling.manifest import (
    PARTS,
    RequestRow,
    SampleEntry,
    SampleManifest,
    SampleRequest,
    is_damaged,
    manifest_file,
    normalised_position,
    read_record,
    write_record,
)

DIGEST = "sha256:" + "0" * 64


def make_request(**changes):
    row = RequestRow(label="ribosome", position=normalised_position((0.3, 0.2, 0.1)), count=5)
    fields = {
        "bundle_digest": DIGEST,
        "voxel_size_angstrom": 10.0,
        "seed": 0,
        "sampler": "ddpm",
        "steps": 1000,
        "precision": "32-true",
        "batch_size": 4,
        "requests": (row,),
    }
    return SampleRequest(**fields | changes)


@pytest.fixture
def manifest():
    entry = SampleEntry(
        index=0,
        name="ribosome-00000",
        file="volumes/ribosome-00000.mrc",
        label="ribosome",
        position=normalised_position((0.3, 0.2, 0.1)),
        seed=0,
        sampler="dpm++",
        steps=20,
        bundle_digest=DIGEST,
        moments=Moments(0.1, 1.5),
        digest=DIGEST,
    )
    return SampleManifest(
        complete=True,
        bundle="bundle",
        bundle_digest=DIGEST,
        labels=("ribosome",),
        voxel_size_angstrom=10.0125,
        box_size_voxel=64,
        tilt_range_degrees=(-48.0, 45.0),
        normalisation="measured",
        training_data_digest=None,
        training_moments=Moments(1e-6, 2e-6),
        particle_centre_voxel=(32, 32, 32),
        precision="32-true",
        samples=(entry,),
    )


def test_a_manifest_comes_back_as_it_was(tmp_path, manifest):
    write_record(tmp_path / "manifest.json", manifest)
    assert read_record(tmp_path / "manifest.json", SampleManifest, SourceError) == manifest


def test_a_manifest_names_axes_and_moments(tmp_path, manifest):
    write_record(tmp_path / "manifest.json", manifest)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["samples"][0]["position"] == {"z": 0.3, "y": 0.2, "x": 0.1}
    assert content["samples"][0]["moments"] == {"mean": 0.1, "std": 1.5}
    assert content["training_moments"] == {"mean": 1e-6, "std": 2e-6}
    assert content["axis_order"] == "zyx"
    assert "z-scored" in content["grey_values"]


def test_a_manifest_of_the_first_schema_is_read(tmp_path, manifest):
    content = manifest.model_dump(mode="json") | {"schema_version": 1}
    for entry in content["samples"]:
        del entry["guidance"], entry["guidance_interval"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    read = read_record(tmp_path / "manifest.json", SampleManifest, SourceError)
    assert (read.samples[0].guidance, read.samples[0].guidance_interval) == (1.0, None)


@pytest.mark.parametrize(("rank", "name"), [(0, "manifest.json"), (1, "manifest.part-00001.json")])
def test_every_process_has_a_manifest_of_its_own(rank, name):
    assert manifest_file(rank) == name
    assert (rank > 0) == fnmatch(name, PARTS)


def test_a_request_comes_back_as_it_was(tmp_path):
    write_record(tmp_path / "request.json", make_request())
    assert read_record(tmp_path / "request.json", SampleRequest, OutputError) == make_request()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 7}, "seed 0, now 7"),
        ({"steps": 20}, "steps 1000, now 20"),
        ({"guidance": 1.5}, "guidance 1, now 1.5"),
        ({"guidance_interval": (0.3, 5.0)}, "guidance interval None, now (0.3, 5.0)"),
        ({"schema_version": 1}, "schema version 4, now 1"),
        ({"memory_format": "channels-last"}, "memory format contiguous, now channels-last"),
        ({"precision": "bf16-mixed"}, "precision 32-true, now bf16-mixed"),
        ({"sampler": "ddim"}, "sampler ddpm, now ddim"),
        ({"voxel_size_angstrom": 10.012}, "voxel size angstrom 10, now 10.012"),
        ({"bundle_digest": "sha256:" + "1" * 64}, "bundle digest sha256:000000000000…, now sha256:111111111111…"),
        ({"requests": ()}, "5 x ribosome at x,y,z 0.1,0.2,0.3, now "),
    ],
)
def test_differences_name_both_values(changes, named):
    assert make_request().differences(make_request(**changes)) == [named]


def test_a_request_of_the_second_schema_has_the_memory_format_that_suits_its_precision():
    assert make_request(schema_version=2).differences(make_request(memory_format="contiguous")) == []
    rough = make_request(schema_version=2, precision="bf16-mixed")
    assert rough.differences(make_request(precision="bf16-mixed", memory_format="channels-last")) == []
    assert rough.differences(make_request(precision="bf16-mixed", memory_format="contiguous")) != []


def test_the_batch_size_makes_no_other_samples():
    assert make_request().differences(make_request(batch_size=1)) == []


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"schema_version": 99}, ("version 99", "newer frazil", "upgrade frazil")),
        ({"kind": "frazil box store"}, ("no frazil samples", "frazil sample wrote")),
        ({"box_size_voxel": "many"}, ("damaged", "box_size_voxel", "sample again")),
    ],
)
def test_readers_refuse_what_they_do_not_understand(tmp_path, manifest, change, parts, refuses):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest.model_dump(mode="json") | change))
    with refuses(SourceError, str(path), *parts):
        read_record(path, SampleManifest, SourceError)


@pytest.mark.parametrize(
    ("text", "damaged"),
    [
        (None, False),
        ("", True),
        ("\0" * 100, True),
        ("[" * 100_000, True),
        ('{"kind": "frazil sample request", "schema_version": 1, "seed": 0}', True),
        ('{"kind": "frazil sample request", "schema_version": 99, "seed": 0}', False),  # newer
        ('{"kind": "another program\'s"}', False),
        ("[]", False),
    ],
)
def test_only_what_frazil_wrote_can_be_damaged(tmp_path, text, damaged):
    path = tmp_path / "request.json"
    assert not is_damaged(path, SampleRequest)
    if text is None:
        write_record(path, make_request())
    else:
        path.write_text(text)
    assert is_damaged(path, SampleRequest) == damaged


def test_readers_refuse_what_is_no_json(tmp_path, refuses):
    path = tmp_path / "manifest.json"
    path.write_text("{")
    with refuses(SourceError, str(path), "not valid JSON"):
        read_record(path, SampleManifest, SourceError)
    with refuses(SourceError, "absent.json", "no such file"):
        read_record(tmp_path / "absent.json", SampleManifest, SourceError)
