"""The voxels that are compared are those of the store and of the files, z-scored; what cannot be compared is refused."""

import mrcfile
import numpy as np
import pytest

from frazil.core.errors import RequestError, SourceError, StoreError
from frazil.dataset.store import BoxStore
from frazil.evaluation.inputs.boxes import identical, read_sets
from frazil.evaluation.inputs.generated import Reading, open_generated, open_real
from frazil.evaluation.inputs.grid import Grid, common_grid
from frazil.io.mrc import read_volume, write_volume
from frazil.volume.intensity import moments, z_score


@pytest.fixture
def compare(real_boxes):
    """Return a function that reads the sets of a folder."""

    def compare(folder, *, real=real_boxes, resample=False):
        store = open_real(real)
        volumes = open_generated(folder, store, Reading())
        grid = common_grid(store.path, Grid.of_store(store), folder, volumes.grid, resample=resample)
        return read_sets(store, volumes, grid, seed=3)

    return compare


def test_sets_are_the_splits_and_the_files(compare, make_volumes, real_boxes):
    folder = make_volumes()
    compared = compare(folder)
    store, sets = BoxStore.open(real_boxes), compared.sets
    assert (len(sets.generated), len(sets.held_out), len(sets.training), sets.seed) == (8, 8, 8, 3)
    for row, box in enumerate(store.boxes("validation")):
        expected = z_score(store.volume(box), store.moments(box, "measured"), store.measured(box))
        if not store.measured(box).all():
            expected = z_score(expected, moments(expected))  # over all voxels too, as of a volume that imitates it
        np.testing.assert_allclose(sets.held_out.volumes[row], expected, atol=1e-5)
        assert sets.held_out.labels[row] == store.particles["label"].iloc[box]
        assert sets.held_out.names[row] == f"TS_2 box {box}"
    volume = read_volume(folder / "ribosome-00000.mrc")
    np.testing.assert_array_equal(sets.generated.volumes[4], z_score(volume, moments(volume)))
    assert compared.generated.counts == {"apo-ferritin": 4, "ribosome": 4}
    assert compared.held_out.digest == store.digest
    assert compared.training.counts == {"apo-ferritin": 4, "ribosome": 4}


def test_a_class_that_was_not_generated_is_told(compare, make_volumes):
    compared = compare(make_volumes(labels=("ribosome",)))
    assert compared.sets.held_out.classes == compared.sets.training.classes == ("apo-ferritin", "ribosome")
    assert "not generated, so not compared: apo-ferritin" in compared.warnings


def test_few_samples_are_told(compare, make_volumes):
    warnings = compare(make_volumes()).warnings
    assert any("fewer than 5 samples of apo-ferritin (4), ribosome (4)" in text for text in warnings)
    assert any("held-out boxes come from one tomogram: intervals hold for these" in text for text in warnings)
    assert any("8 samples are few" in text and "sample more" in text for text in warnings)


def test_padded_real_boxes_are_told(compare, make_volumes, real_boxes):
    padded = (BoxStore.open(real_boxes).particles.query("split == 'validation'")["padding"] > 0).sum()
    assert padded > 0
    assert any(text.startswith(f"{padded} of 8 held-out boxes") for text in compare(make_volumes()).warnings)


@pytest.mark.parametrize(
    ("value", "what"),
    [(np.nan, "NaN or infinite voxels"), (np.inf, "NaN or infinite"), (None, "the same value in every voxel")],
)
def test_volumes_that_show_nothing_are_refused(compare, make_volumes, refuses, value, what):
    folder = make_volumes()
    for name in ("ribosome-00001.mrc", "ribosome-00002.mrc"):
        with mrcfile.open(folder / name, "r+") as mrc:
            mrc.data[(3, 4, 5) if value is not None else ...] = value if value is not None else 7
    with refuses(SourceError, str(folder), what, "2 of 8 volumes", "ribosome-00001.mrc", "move them away"):
        compare(folder)


@pytest.mark.parametrize("scaled", [False, True])
def test_generated_files_that_are_the_training_boxes_are_refused(compare, real_boxes, tmp_path, refuses, scaled):
    store = BoxStore.open(real_boxes)
    for box in store.boxes("train"):
        volume = store.volume(box)
        volume = z_score(volume, moments(volume)) if scaled else volume
        write_volume(tmp_path / "copies" / f"{store.particles['label'].iloc[box]}-{box}.mrc", volume, 10.0125)
    assert (store.particles["padding"].iloc[store.boxes("train")] > 0).any()  # padded ones are scaled alike
    with refuses(RequestError, "copies", "all 8 volumes are training boxes", "voxel by voxel"):
        compare(tmp_path / "copies")


def test_a_held_out_box_among_the_samples_is_told(compare, make_volumes, real_boxes):
    folder, store = make_volumes(), BoxStore.open(real_boxes)
    rows = store.particles.query("split == 'validation' and padding == 0")
    write_volume(folder / "ribosome-00009.mrc", store.volume(rows["box"].iloc[0]) * 3 + 1, 10.0125)
    assert any(
        "1 of 9 volumes are held-out boxes" in text and "ribosome-00009.mrc" in text
        for text in compare(folder).warnings
    )


def test_identical_is_blind_to_rounding_and_sees_one_voxel():
    random = np.random.default_rng(0)
    volumes = random.standard_normal((4, 6, 6, 6)).astype(np.float32)
    others = volumes[[2, 0]] + np.float32(1e-5)
    others[1, 1, 1, 1] += 0.1
    assert identical(volumes, others).tolist() == [False, False, True, False]


def test_resampled_volumes_are_compared_at_the_real_voxel_size(compare, make_box_store, make_volumes):
    real = make_box_store(name="finer", box=16)
    compared = compare(make_volumes(box=8, voxel_size_angstrom=20.025), real=real, resample=True)
    assert compared.sets.generated.volumes.shape == (8, 16, 16, 16)
    assert compared.generated.voxel_size_angstrom == 10.0125
    assert any(
        "20.025 A were resampled to 10.0125 A" in text and "resampled to 20.025 A" in text for text in compared.warnings
    )


def test_real_boxes_are_cropped_to_smaller_generated_ones(compare, make_box_store, make_volumes):
    real = make_box_store(name="larger", box=16)
    compared = compare(make_volumes(), real=real, resample=True)
    store, sets = BoxStore.open(real), compared.sets
    rows = store.particles.query("split == 'train'")
    whole = int(np.flatnonzero(rows["padding"] == 0)[0])
    middle = store.volume(rows["box"].iloc[whole])[4:12, 4:12, 4:12]
    np.testing.assert_allclose(sets.training.volumes[whole], z_score(middle, moments(middle)), atol=1e-6)
    assert any("cropped to their middle 8^3" in text for text in compared.warnings)


def test_a_padded_box_whose_middle_shows_nothing_is_refused(
    monkeypatch, compare, make_box_store, make_volumes, refuses
):
    real = make_box_store(name="larger", box=16)
    monkeypatch.setattr(BoxStore, "measured", lambda self, box: np.zeros((16, 16, 16), dtype=bool))
    with refuses(StoreError, str(real), "no measured voxels in its middle 8^3", "boxes of 8"):
        compare(make_volumes(), real=real, resample=True)


def test_no_held_out_box_of_the_class(compare, make_volumes, real_boxes, refuses):
    store = open_real(real_boxes)
    volumes = open_generated(make_volumes(labels=("ribosome",)), store, Reading())
    rows = store.particles["label"] == "ribosome"
    store.particles.loc[rows, "split"] = "train"
    with refuses(RequestError, "no held-out box of ribosome", "validation runs"):
        read_sets(store, volumes, Grid(10.0125, 8), seed=0)
