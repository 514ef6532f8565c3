"""The folder of samples: names, and what may be removed. The rest is tested with `frazil sample`."""

import pytest

from frazil.sampling.folder import damaged_record, read_request, remove_samples, sample_name
from frazil.sampling.manifest import RequestRow, SampleRequest, normalised_position, write_record


@pytest.mark.parametrize(
    ("index", "label", "name"),
    [(3, "ribosome", "ribosome-00003"), (123456, "beta_amylase", "beta-amylase-123456"), (0, "///", "class-00000")],
)
def test_names_are_files_and_runs_at_once(index, label, name):
    assert sample_name(index, label) == name


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def write_files(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def test_only_the_samples_of_the_request_are_removed(tmp_path):
    row = RequestRow(label="ribosome", position=normalised_position((0.5, 0.5, 0.5)), count=2)
    request = SampleRequest(
        bundle_digest="sha256:0", voxel_size_angstrom=10.0, seed=0, sampler="ddpm", steps=3,
        precision="32-true", batch_size=1, requests=(row,),
    )  # fmt: skip
    ours = ["volumes/ribosome-00000.mrc", "ExperimentRuns/ribosome-00001/Picks/a.json", "manifest.json", "copick.json"]
    theirs = ["volumes/ribosome-00002.mrc", "volumes/mine.mrc", "ExperimentRuns/TS_1/Picks/a.json", "notes.txt"]
    write_files(tmp_path, ours + theirs)
    write_record(tmp_path / "request.json", request)
    remove_samples(tmp_path, read_request(tmp_path))
    assert files_below(tmp_path) == sorted([*theirs, "request.json"])


def test_where_the_request_is_damaged_only_what_bears_the_name_of_a_sample_is_removed(tmp_path):
    generated = "VoxelSpacing10.000/generated.zarr/.zattrs"
    ours = [
        "volumes/ribosome-00000.mrc", "volumes/beta-amylase-123456.mrc", "manifest.json", "particles.star", "copick.json",
        f"ExperimentRuns/ribosome-00000/{generated}", "ExperimentRuns/ribosome-00000/Picks/frazil_0_ribosome.json",
        "ExperimentRuns/ribosome-00001/VoxelSpacing10.000/.generated.zarr.7.partial/.zattrs",
    ]  # fmt: skip
    theirs = [
        "volumes/mine.mrc", "volumes/TS-1.mrc", "volumes/ribosome-00000.star", "volumes/.ribosome-00000.mrc", "notes.txt",
        f"ExperimentRuns/TS_1/{generated}", "ExperimentRuns/TS-00001/VoxelSpacing10.000/denoised.zarr/.zattrs",
        "request.json",
    ]  # fmt: skip
    write_files(tmp_path, ours + theirs)
    assert damaged_record(tmp_path) == tmp_path / "request.json"
    remove_samples(tmp_path, read_request(tmp_path))
    assert files_below(tmp_path) == sorted(theirs)
