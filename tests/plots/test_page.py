"""Pages of whole pixels, and their saving."""

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from frazil.plots.page import MARGIN, Page, save_figure, styled


def pixels(page):
    """Draw a page; `(rows, columns, 3)` from its upper left corner."""
    canvas = FigureCanvasAgg(page.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_axes_fill_exactly_their_pixels():
    page = Page.blank(200, 120)
    page.axes(30, 20, 50, 40).imshow([[0]], cmap="gray", aspect="auto")
    page.figure.axes[0].set_axis_off()
    black = (pixels(page) == 0).all(axis=2)
    assert black.shape == (120, 200)
    assert black[20:60, 30:80].all()
    assert black.sum() == 40 * 50


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    def save(name):
        page = Page.blank(300, 200)
        page.axes(40, 40, 200, 100).plot([0, 1], [1, 0])
        page.text(10, 10, "σ² and a $ sign $")
        return [path.read_bytes() for path in save_figure(page.figure, tmp_path / name)]

    assert save("a") == save("b")


def test_png_and_pdf_stand_beside_each_other_and_a_dot_in_the_name_stays(tmp_path):
    png, pdf = save_figure(Page.blank(300, 150).figure, tmp_path / "class-v1.2")
    assert (png.name, pdf.name) == ("class-v1.2.png", "class-v1.2.pdf")
    assert matplotlib.image.imread(png).shape == (150, 300, 4)
    assert pdf.read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class-v1.2.pdf", "class-v1.2.png"]


def test_saving_tells_nothing_about_fonts(tmp_path, caplog):
    caplog.set_level("INFO")
    page = Page.blank(300, 100)
    page.text(10, 10, "text")
    save_figure(page.figure, tmp_path / "figure")
    assert caplog.records == []


def test_the_users_style_changes_nothing():
    def draw():
        page = Page.blank(300, 200)
        styled(page.text)(10, 10, "text", fontsize=9)
        return pixels(page)

    plain = draw()
    with mpl.rc_context({"font.family": "monospace", "text.usetex": False, "font.size": 30}):
        np.testing.assert_array_equal(draw(), plain)


@pytest.mark.parametrize("width", [400, 1000, 1874])
def test_a_wrapped_caption_stays_on_the_page(width):
    text = "Central slices of boxes of 64³ voxels, which WIDE LETTERS MAKE WIDER than the mean; and so on. " * 4
    page = Page.blank(width, 20, text)
    page.write_caption()
    ink = (pixels(page) < 255).any(axis=2)
    assert ink.any()
    assert not ink[:, -MARGIN // 2 :].any()
    assert not ink[:10].any()
    assert not ink[-MARGIN // 2 :].any()
    assert " ".join(page.caption).split() == text.split()
