"""Slices: the central ones, the right way up, on a true scale."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from frazil.plots.slices import (
    VolumeRow,
    central_slices,
    class_page,
    grey_scale,
    overview_page,
    scale_bar_nm,
)


def images(page):
    """Return the drawn slices (not the gray scales), in the order of drawing."""
    shown = [axes for axes in page.figure.axes if axes.images and axes.images[0].get_array().shape[1] > 1]
    return [axes.images[0] for axes in shown]


def noise(count, edge=16, seed=0):
    return np.random.default_rng(seed).standard_normal((count, edge, edge, edge)).astype(np.float32)


def texts(page):
    return [text.get_text() for text in page.figure.texts]


def test_central_slices_go_through_voxel_half_the_box():
    z, y, x = np.meshgrid(*[np.arange(8)] * 3, indexing="ij")
    volume = 100 * z + 10 * y + x
    slices = central_slices(volume)
    assert list(slices) == ["XY", "XZ", "YZ"]
    # rows are the second letter, columns the first
    assert slices["XY"][2, 5] == 400 + 20 + 5
    assert slices["XZ"][2, 5] == 200 + 40 + 5
    assert slices["YZ"][2, 5] == 200 + 50 + 4


def test_a_class_is_drawn_as_the_central_slices_of_every_volume():
    real, made = noise(2), noise(3, seed=1)
    page = class_page("ribosome", [VolumeRow("Real", real), VolumeRow("Generated", made)], voxel_size_angstrom=10)
    drawn = [image.get_array() for image in images(page)]
    expected = [plane for volume in (*real, *made) for plane in central_slices(volume).values()]
    np.testing.assert_array_equal(drawn, expected)


def test_the_slices_stand_upright_with_z_up():
    volume = np.zeros((1, 16, 16, 16), np.float32)
    volume[0, 15, :, :] = 1  # the top in z
    page = class_page("ribosome", [VolumeRow("Real", volume)], voxel_size_angstrom=10)
    canvas = FigureCanvasAgg(page.figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., 0]
    _, xz, _ = page.figure.axes[:3]
    box = xz.get_window_extent()
    left, right = round(box.x0) + 5, round(box.x1) - 5
    top, bottom = page.height - round(box.y1), page.height - round(box.y0)
    assert (pixels[top + 3, left:right] > 200).all()
    assert (pixels[bottom - 3, left:right] < 50).all()


def test_one_grey_scale_a_row():
    real, made = noise(2), 3 * noise(2, seed=1) + 1
    page = class_page("ribosome", [VolumeRow("Real", real), VolumeRow("Generated", made)], voxel_size_angstrom=10)
    limits = [image.get_clim() for image in images(page)]
    assert limits == [grey_scale(real)] * 6 + [grey_scale(made)] * 6
    shown = np.stack([plane for volume in made for plane in central_slices(volume).values()])
    np.testing.assert_allclose(limits[-1], np.percentile(shown, [0.5, 99.5]), rtol=1e-5)
    black, white = limits[-1]
    assert f"+{white:.1f}" in texts(page)
    assert f"−{-black:.1f}" in texts(page)


@pytest.mark.parametrize(
    ("box_angstrom", "length_nm"), [(640.8, 20), (320, 10), (1281.6, 50), (100, 2), (20, 0.5), (5, 0.5)]
)
def test_the_scale_bar_is_a_round_part_of_the_box(box_angstrom, length_nm):
    assert scale_bar_nm(box_angstrom) == length_nm


@pytest.mark.parametrize(("edge", "voxel_size"), [(64, 10.012444), (32, 20.024889), (16, 7.84)])
def test_the_scale_bar_is_as_long_as_it_says(edge, voxel_size):
    page = class_page("ribosome", [VolumeRow("Real", np.zeros((2, edge, edge, edge)))], voxel_size_angstrom=voxel_size)
    first = page.figure.axes[0]
    (bar,) = (patch for patch in first.patches if isinstance(patch, Rectangle))
    (label,) = (text.get_text() for text in first.texts)
    length_nm = scale_bar_nm(edge * voxel_size)
    assert label == f"{length_nm:g} nm"
    canvas = FigureCanvasAgg(page.figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., 0]
    panel = first.get_window_extent()
    pixels_per_voxel = panel.width / edge
    assert pixels_per_voxel == pytest.approx(round(pixels_per_voxel))  # a voxel is a whole number of pixels
    row = page.height - round(bar.get_window_extent().y0 + bar.get_window_extent().height / 2)
    white = pixels[row, round(panel.x0) : round(panel.x1)] == 255
    assert white.sum() == pytest.approx(length_nm * 10 / voxel_size * pixels_per_voxel, abs=2)


def test_every_row_says_what_it_is_and_long_names_are_cut():
    rows = [
        VolumeRow("Simulated", noise(1), ["a_tomogram_with_a_very_long_name_indeed box 12"], note="validation split"),
        VolumeRow("Generated", noise(1), ["sample 3"]),
    ]
    page = class_page("virus-like-particle", rows, voxel_size_angstrom=10, caption="Central slices.")
    written = texts(page)
    assert {"virus-like-particle", "Simulated, validation split", "Generated", "sample 3"} <= set(written)
    assert "Central slices." in written
    (name,) = (text for text in written if text.startswith("a_tomo"))
    assert "…" in name
    assert name.endswith("box 12")


def test_nothing_is_written_beyond_the_page():
    classes = {
        label: [VolumeRow("Real", noise(2)), VolumeRow("Generated", noise(5))]
        for label in ("beta-galactosidase", "apo-ferritin", "a-class-whose-name-is-much-longer-than-all-of-the-others")
    }
    caption = "Central slices of boxes of 16³ voxels, and more of what a reader must know of them. " * 3
    pages = [overview_page(classes, voxel_size_angstrom=10, caption=caption)]
    few = [VolumeRow("Simulated", noise(1), note="validation and training split"), VolumeRow("Generated", noise(1))]
    pages += [class_page("a-class-whose-name-is-much-longer-than-all-of-the-others", few, voxel_size_angstrom=10)]
    pages += [class_page(label, rows, voxel_size_angstrom=10, caption=caption) for label, rows in classes.items()]
    for page in pages:
        canvas = FigureCanvasAgg(page.figure)
        canvas.draw()
        boxes = [text.get_window_extent() for text in page.figure.findobj(lambda artist: hasattr(artist, "get_text"))]
        boxes = [box for box in boxes if box.width > 1]
        assert min(box.x0 for box in boxes) >= 0
        assert max(box.x1 for box in boxes) <= page.width
        assert min(box.y0 for box in boxes) >= 0
        assert max(box.y1 for box in boxes) <= page.height


def test_the_overview_has_a_row_of_xy_slices_for_every_class_with_one_grey_scale():
    real, made, alone = noise(2), 2 * noise(3, seed=1), noise(1, seed=2)
    classes = {
        "apo-ferritin": [VolumeRow("Real", real), VolumeRow("Generated", made)],
        "b": [VolumeRow("Generated", alone)],
    }
    page = overview_page(classes, voxel_size_angstrom=10)
    drawn = images(page)
    np.testing.assert_array_equal([image.get_array() for image in drawn], [v[8] for v in (*real, *made, *alone)])
    assert {image.get_clim() for image in drawn[:5]} == {grey_scale(np.concatenate([real, made]))}
    assert drawn[5].get_clim() == grey_scale(alone)
    # the class without real examples leaves their place empty
    assert drawn[5].axes.get_position().x0 == pytest.approx(drawn[2].axes.get_position().x0)
