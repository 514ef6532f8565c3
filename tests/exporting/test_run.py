import gzip
import json
import struct
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from frazil.core.errors import OutputError, SettingsError
from frazil.core.settings import SourceSettings
from frazil.exporting.run import export
from frazil.io.mrc import read_volume
from frazil.io.sources import open_source
from frazil.io.star import read_particles

RADII = {"apo-ferritin": 30.0, "ribosome": 60.0}


@pytest.fixture
def project(make_project):
    return make_project("copick", rotations=True)


def centers(project, run, label):
    """Return the picks of a class in voxels, xyz."""
    (found,) = [some for some in project.picks if (some.run, some.label) == (run, label)]
    return found.centers_angstrom[:, ::-1] / project.voxel_size_angstrom


def mask(project, run):
    """Return the mask of a run: the number of the class nearer than its radius, later picks over earlier ones."""
    wanted = np.zeros(project.volumes[run].shape)
    for number, label in enumerate(project.labels, start=1):
        for x, y, z in centers(project, run, label):
            distance = np.linalg.norm(np.indices(wanted.shape) - np.array([z, y, x])[:, None, None, None], axis=0)
            wanted[distance <= RADII[label] / project.voxel_size_angstrom] = number
    return wanted


def test_deepfinder(project, tmp_path):
    out = export(project.path, tmp_path / "out", to="deepfinder")
    objects = [one.attrib for one in ElementTree.parse(out / "objects.xml").getroot()]
    for index, run in enumerate(project.runs):
        np.testing.assert_array_equal(read_volume(out / "tomograms" / f"{run}.mrc"), project.volumes[run])
        np.testing.assert_array_equal(read_volume(out / "targets" / f"{run}.mrc"), mask(project, run))
        for number, label in enumerate(project.labels, start=1):
            there = [one for one in objects if (one["tomo_idx"], one["class_label"]) == (str(index), str(number))]
            places = np.array([[float(one[axis]) for axis in "xyz"] for one in there])
            np.testing.assert_allclose(places, centers(project, run, label), atol=0.001)


def nifti(path):
    """Read what the standard says of a NIfTI-1 file."""
    content = gzip.decompress(path.read_bytes())
    assert struct.unpack_from("<i", content)[0] == 348
    assert content[344:348] == b"n+1\0"
    dim = struct.unpack_from("<8h", content, 40)
    dtype = {16: "<f4", 2: "u1"}[struct.unpack_from("<h", content, 70)[0]]
    (offset,) = struct.unpack_from("<f", content, 108)
    spacing = struct.unpack_from("<3f", content, 80)
    return np.frombuffer(content, dtype, offset=int(offset)).reshape(dim[1:4], order="F"), spacing


def test_nnunet(project, tmp_path):
    out = export(project.path, tmp_path / "out", to="nnunet")
    described = json.loads((out / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "apo-ferritin": 1, "ribosome": 2}
    assert described["numTraining"] == 2
    for run in project.runs:
        image, spacing = nifti(out / "imagesTr" / f"{run}_0000.nii.gz")
        np.testing.assert_array_equal(image.T, project.volumes[run])
        assert spacing == pytest.approx([project.voxel_size_angstrom] * 3)
        labels, _ = nifti(out / "labelsTr" / f"{run}.nii.gz")
        np.testing.assert_array_equal(labels.T, mask(project, run))


def test_nibabel_reads_what_nnunet_gets(project, tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    out = export(project.path, tmp_path / "out", to="nnunet")
    image = nibabel.load(out / "imagesTr" / "TS_1_0000.nii.gz")
    np.testing.assert_array_equal(image.get_fdata().transpose(2, 1, 0), project.volumes["TS_1"])
    assert image.header.get_zooms() == pytest.approx([project.voxel_size_angstrom] * 3)


def test_deepetpicker(project, tmp_path):
    out = export(project.path, tmp_path / "out", to="deepetpicker")
    for run in project.runs:
        np.testing.assert_array_equal(read_volume(out / f"{run}.mrc"), project.volumes[run])
        rows = pd.read_csv(out / f"{run}.coords", sep="\t", header=None).to_numpy()  # as coords2labels.py does
        for number, label in enumerate(project.labels, start=1):
            np.testing.assert_array_equal(rows[rows[:, 0] == number, 1:], np.rint(centers(project, run, label)))


def test_tomotwin(project, tmp_path):
    out = export(project.path, tmp_path / "out", to="tomotwin")
    for run in project.runs:
        np.testing.assert_array_equal(read_volume(out / f"{run}.mrc"), project.volumes[run])
        for label in project.labels:
            # as `tomotwin_tools.py extractref` does
            places = pd.read_csv(out / run / f"{label}.coords", sep=r"\s+", header=None, index_col=False, dtype=float)
            np.testing.assert_array_equal(places, np.rint(centers(project, run, label)))


@pytest.mark.parametrize("tool", ["relion", "warp"])
def test_star_files_hold_the_picks(project, tmp_path, tool):
    out = export(project.path, tmp_path / "out", to=tool)
    headers = {run: open_source(project.path, SourceSettings()).header(run) for run in project.runs}
    for label in project.labels:
        for some in read_particles(out / f"{label}.star"):
            run = some.tomogram.removesuffix(".tomostar")
            (wanted,) = [one for one in project.picks if (one.run, one.label) == (run, some.label)]
            placed = some.placed(headers[run])
            np.testing.assert_allclose(placed.centers_angstrom, wanted.centers_angstrom, atol=1e-4)
            np.testing.assert_allclose(placed.rotations, wanted.rotations, atol=1e-5)
            assert some.label == label
    assert (".tomostar" in (out / "ribosome.star").read_text()) == (tool == "warp")


def test_again_there_is_nothing_to_do_and_what_is_lost_is_made_again(project, tmp_path, run):
    command = ("export", project.path, "--to", "deepetpicker", "--out", tmp_path / "out")
    assert run(*command)[0] == 0
    files = {
        file: file.read_bytes() for file in (tmp_path / "out").glob("*") if file.suffix != ".log" and file.is_file()
    }
    assert len(files) == 7
    (tmp_path / "out" / "TS_1.mrc").unlink()
    assert run(*command)[0] == 0
    assert {file: file.read_bytes() for file in files} == files


def test_what_is_refused(make_project, project, tmp_path, refuses):
    with refuses(SettingsError, "imod", "deepfinder"):
        export(project.path, tmp_path / "out", to="imod")
    table = make_project("csv", name="table")
    text = (table.path / "picks.csv").read_text().replace("ribosome", "gizmo")
    (table.path / "picks.csv").write_text(text)
    with refuses(SettingsError, "radius of gizmo", "gizmo=100"):
        export(table.path, tmp_path / "out", to="nnunet")
    assert not (tmp_path / "out").exists()
    export(table.path, tmp_path / "out", to="nnunet", radii_angstrom={"gizmo": 60.0})
    with refuses(OutputError, "holds the result of another request"):
        export(table.path, tmp_path / "out", to="nnunet", radii_angstrom={"gizmo": 50.0})
