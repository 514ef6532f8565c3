"""Request and manifest: the files of 0.1, batches, and what makes two requests different ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import OutputError
from frazil.sampling.manifest import SampleManifest, SampleRequest, request_differences
from frazil.sampling.request import Request

DIGEST = "sha256:" + "0" * 64
POSITION = {"z": 0.3, "y": 0.2, "x": 0.1}
HOW = {"sampler": "dpm++", "steps": 20, "guidance": 1.0, "guidance_interval": None}
REQUEST = {
    "schema_version": 4,
    "kind": "frazil sample request",
    "frazil_version": "0.1.0",
    "bundle_digest": DIGEST,
    "voxel_size_angstrom": 10.0,
    "seed": 0,
    **HOW,
    "precision": "32-true",
    "memory_format": "contiguous",
    "batch_size": 4,
    "requests": [{"label": "ribosome", "position": POSITION, "count": 5}],
}
ENTRY = {
    "index": 0,
    "name": "ribosome-00000",
    "file": "volumes/ribosome-00000.mrc",
    "label": "ribosome",
    "position": POSITION,
    "seed": 0,
    **HOW,
    "bundle_digest": DIGEST,
    "moments": {"mean": 0.1, "std": 1.5},
    "digest": DIGEST,
}
MANIFEST = {
    "schema_version": 4,
    "kind": "frazil samples",
    "frazil_version": "0.1.0",
    "complete": True,
    "bundle": "bundle",
    "bundle_digest": DIGEST,
    "provenance": "",
    "labels": ["ribosome"],
    "voxel_size_angstrom": 10.0125,
    "box_size_voxel": 64,
    "axis_order": "zyx",
    "tilt_range_degrees": [-48.0, 45.0],
    "grey_values": "z-scored in the box (eq. 1), particles dark",
    "normalisation": "measured",
    "training_data_digest": None,
    "training_moments": {"mean": 1e-6, "std": 2e-6},
    "particle_centre_voxel": [32, 32, 32],
    "precision": "32-true",
    "memory_format": "contiguous",
    "position_convention": "centre divided by tomogram extent, 0 to 1",
    "samples": [ENTRY],
}
"""As frazil 0.1 wrote them, key by key."""


@pytest.mark.parametrize(("kind", "content"), [(SampleRequest, REQUEST), (SampleManifest, MANIFEST)])
def test_files_of_0_1_are_read_and_written_again_byte_for_byte(tmp_path, kind, content):
    path, again = tmp_path / "old.json", tmp_path / "new.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    kind.read(path, OutputError).write(again)
    assert again.read_text() == path.read_text()


def make_request(**changes):
    return SampleRequest.model_validate(REQUEST | changes)


def test_only_a_part_says_where_it_begins(tmp_path):
    make_request(first=20).write(tmp_path / "part.json")
    assert next(SampleRequest.read(tmp_path / "part.json", OutputError).samples()) == (20, "ribosome", (0.3, 0.2, 0.1))
    assert "first" not in make_request().model_dump()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 7}, "seed 0 -> 7"),
        ({"guidance_interval": (0.3, 5.0)}, "guidance_interval none -> 0.3,5"),
        ({"memory_format": "channels-last"}, "memory_format contiguous -> channels-last"),
        ({"bundle_digest": "sha256:" + "1" * 64}, "bundle_digest sha256:000000000000 -> sha256:111111111111"),
        ({"requests": ()}, "5 x ribosome at x,y,z 0.1,0.2,0.3 -> "),
        ({"first": 5}, "first none -> 5"),
    ],
)
def test_differences_name_both_values(changes, named):
    assert request_differences(make_request(), make_request(**changes)) == [named]


def test_requests_of_one_label_at_two_places_are_compared_row_by_row():
    """A table by label would keep only the last of them."""
    rows = [Request(label="a", position=(0.1, 0.1, 0.1)), Request(label="a")]
    assert request_differences(make_request(requests=rows), make_request(requests=[rows[1], rows[1]]))


def test_the_batch_size_makes_no_other_samples():
    assert request_differences(make_request(), make_request(batch_size=1)) == []


@given(count=st.integers(1, 20), batch_size=st.integers(1, 7), finished=st.sets(st.integers(0, 19)))
def test_batches_of_an_interrupted_run_are_batches_of_the_whole_run(count, batch_size, finished):
    asked = make_request(requests=[Request(label="ribosome", count=count)], batch_size=batch_size)
    whole, rest = list(asked.batches()), list(asked.batches(finished))
    assert [sample for batch in whole for sample in batch] == list(asked.samples())
    assert all(len(batch) == batch_size for batch in whole[:-1])
    assert all(batch in whole for batch in rest)
    missing = set(range(count)) - finished
    assert missing <= {index for batch in rest for index, _, _ in batch}
    assert all(missing & {index for index, _, _ in batch} for batch in rest)
