"""The class of a volume is found in a table, a folder, a file name or a numbered class, or the message says how to tell it."""

import os

import numpy as np
import pytest

from frazil.core.errors import RequestError, SourceError
from frazil.io.labelled_folder import LabelledFile, parse_classes, read_labelled_folder, write_labels
from frazil.io.mrc import write_volume

KNOWN = ("apo-ferritin", "ribosome")


@pytest.fixture
def put(tmp_path):
    """Return a function that writes MRC files of these names."""

    def put(*names):
        for name in names:
            write_volume(tmp_path / name, np.zeros((2, 2, 2), dtype=np.float32), 10.0)
        return tmp_path

    return put


def labels(folder, **options):
    return {file.file: file.label for file in read_labelled_folder(folder, **({"known_labels": KNOWN} | options))}


@pytest.mark.parametrize("stem", ["ribosome-00012", "ribosome_12", "ribosome-_7"])
def test_the_name_tells(put, stem):
    assert labels(put(f"{stem}.mrc")) == {f"{stem}.mrc": "ribosome"}


def test_a_class_whose_name_has_dashes(put):
    assert labels(put("apo-ferritin-00001.mrc")) == {"apo-ferritin-00001.mrc": "apo-ferritin"}


def test_the_folder_tells(put):
    assert labels(put("ribosome/a.mrc", "apo-ferritin/b.mrc")) == {
        "apo-ferritin/b.mrc": "apo-ferritin",
        "ribosome/a.mrc": "ribosome",
    }


def test_a_folder_that_is_no_class_does_not_hide_the_name(put):
    assert labels(put("volumes/ribosome-00001.mrc")) == {"volumes/ribosome-00001.mrc": "ribosome"}


def test_an_unknown_class_is_told_as_it_stands(put):
    assert labels(put("proteasome-1.mrc")) == {"proteasome-1.mrc": "proteasome"}


def test_folder_and_name_that_disagree_are_refused(put, refuses):
    folder = put("ribosome/apo-ferritin-1.mrc")
    with refuses(SourceError, "apo-ferritin-1.mrc", "the folder says ribosome, the name apo-ferritin", "labels.csv"):
        labels(folder)


def test_numbered_classes_take_the_names_that_are_given(put, refuses):
    folder = put("sample_0_class_0.mrc", "sample_3_class_1.mrc")
    found = {"sample_0_class_0.mrc": "apo-ferritin", "sample_3_class_1.mrc": "ribosome"}
    assert labels(folder, classes=parse_classes("apo-ferritin,ribosome")) == found
    assert labels(folder, classes=parse_classes("1=ribosome, 0=apo-ferritin")) == found
    with refuses(SourceError, "sample_0_class_0.mrc", "number 0", "labels apo-ferritin,ribosome"):
        labels(folder)
    with refuses(SourceError, "sample_3_class_1.mrc", "class 1", "add 1=NAME"):
        labels(folder, classes={0: "apo-ferritin"})


@pytest.mark.parametrize("text", ["x=ribosome", "0=", "0=a,0=b", "a,,b", ""])
def test_names_of_classes_that_make_no_sense_are_refused(text, refuses):
    with refuses(RequestError, "labels", repr(text), "0=NAME"):
        parse_classes(text)


def test_a_table_goes_before_names_and_comes_back_as_written(put):
    folder = put("ribosome-1.mrc", "sub/x.mrc")
    files = [LabelledFile("ribosome-1.mrc", "apo, ferritin"), LabelledFile("sub/x.mrc", "ribosome")]
    write_labels(folder, files)
    assert read_labelled_folder(folder, known_labels=KNOWN) == files


def test_a_table_that_does_not_fit_the_folder_is_refused(put, refuses):
    folder = put("a.mrc", "b.mrc")
    (folder / "labels.csv").write_text("file,label\na.mrc,ribosome\n")
    with refuses(SourceError, "labels.csv", "1 of 2 MRC files", "b.mrc", "add them"):
        labels(folder)
    (folder / "labels.csv").write_text("file,label\na.mrc,ribosome\nb.mrc,ribosome\nc.mrc,ribosome\n")
    with refuses(SourceError, "line 4", "'c.mrc'", "no such file"):
        labels(folder)
    (folder / "labels.csv").write_text("file,label\na.mrc,ribosome\na.mrc,apo-ferritin\n")
    with refuses(SourceError, "line 3", "'a.mrc'", "earlier line"):
        labels(folder)
    (folder / "labels.csv").write_text("file,label\na.mrc,\nb.mrc,ribosome\n")
    with refuses(SourceError, "line 2", "column label", "fill it in"):
        labels(folder)
    (folder / "labels.csv").write_text("name,class\na.mrc,ribosome\n")
    with refuses(SourceError, "no column file, label"):
        labels(folder)


def test_what_holds_no_volumes_is_refused(put, tmp_path, refuses):
    with refuses(SourceError, "no such folder", "check the path"):
        labels(tmp_path / "nowhere")
    with refuses(SourceError, str(tmp_path), "no MRC files", "frazil sample"):
        labels(tmp_path)
    folder = put("x.mrc")
    with refuses(SourceError, "x.mrc", "does not say its class", "ribosome-00001.mrc", "labels.csv"):
        labels(folder)
    with refuses(SourceError, "x.mrc", "this is a file"):
        labels(folder / "x.mrc")


def test_half_written_files_are_not_volumes(put):
    folder = put("ribosome-1.mrc")
    (folder / ".ribosome-2.mrc").write_bytes(b"x")
    (folder / ".ribosome-2.mrc.17.partial").write_bytes(b"x")
    assert labels(folder) == {"ribosome-1.mrc": "ribosome"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path, refuses):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    with refuses(SourceError, str(locked), "permission denied"):
        labels(locked)
