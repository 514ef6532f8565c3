"""The folder of samples: names, and what may be removed. The rest is tested with `frazil sample`."""

import pytest

from frazil.generation.folder import read_request, remove_samples, sample_name
from frazil.generation.manifest import RequestRow, SampleRequest, normalised_position, write_record


@pytest.mark.parametrize(
    ("index", "label", "name"),
    [(3, "ribosome", "ribosome-00003"), (123456, "beta_amylase", "beta-amylase-123456"), (0, "///", "class-00000")],
)
def test_names_are_files_and_runs_at_once(index, label, name):
    assert sample_name(index, label) == name


def test_only_the_samples_of_the_request_are_removed(tmp_path):
    row = RequestRow(label="ribosome", position=normalised_position((0.5, 0.5, 0.5)), count=2)
    request = SampleRequest(
        bundle_digest="sha256:0", voxel_size_angstrom=10.0, seed=0, sampler="ddpm", steps=3,
        precision="32-true", batch_size=1, requests=(row,),
    )  # fmt: skip
    ours = ["volumes/ribosome-00000.mrc", "ExperimentRuns/ribosome-00001/Picks/a.json", "manifest.json", "copick.json"]
    theirs = ["volumes/ribosome-00002.mrc", "volumes/mine.mrc", "ExperimentRuns/TS_1/Picks/a.json", "notes.txt"]
    for name in ours + theirs:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    write_record(tmp_path / "request.json", request)
    remove_samples(tmp_path, read_request(tmp_path))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(theirs)
