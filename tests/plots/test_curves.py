"""Figure 1: what is in the file is what is drawn, and no curve is told by color alone."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from frazil.core.errors import CheckpointError
from frazil.plots.curves import loss_page, read_metrics

LEVELS = [f"validation_loss_t{100 * k:03d}_{100 * k + 99:03d}" for k in range(10)]


@pytest.fixture
def metrics(tmp_path):
    """Twelve epochs, every second one validated."""
    epochs = np.arange(1, 13)
    table = pd.DataFrame({"epoch": epochs, "step": epochs * 70, "train_loss": 0.4 + 0.2 / epochs})
    table["validation_loss"] = np.where(epochs % 2 == 0, 0.41 + 0.1 / epochs, np.nan)
    for k, name in enumerate(LEVELS):
        table[name] = np.where(epochs % 2 == 0, (k + 1) / 10 + 0.1 / epochs, np.nan)
    table.to_csv(tmp_path / "metrics.csv", index=False)
    return tmp_path / "metrics.csv"


def curves(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_the_losses_are_drawn_by_epoch(metrics):
    losses = curves(loss_page(read_metrics(metrics)).figure.axes[0])
    np.testing.assert_allclose(losses["training"].get_xydata(), [(e, 0.4 + 0.2 / e) for e in range(1, 13)])
    np.testing.assert_allclose(losses["validation"].get_xydata(), [(e, 0.41 + 0.1 / e) for e in range(2, 13, 2)])


def test_the_validation_loss_is_drawn_by_noise_level_for_the_first_the_last_and_epochs_between(metrics):
    levels = curves(loss_page(read_metrics(metrics)).figure.axes[1])
    assert list(levels) == ["epoch 2", "epoch 4", "epoch 6", "epoch 12"]
    expected = [(100 * k + 49.5, (k + 1) / 10 + 0.1 / 12) for k in range(10)]
    np.testing.assert_allclose(levels["epoch 12"].get_xydata(), expected)


def test_no_two_curves_look_alike_without_colour(metrics):
    for axes in loss_page(read_metrics(metrics)).figure.axes:
        looks = [(line.get_linestyle(), line.get_marker()) for line in curves(axes).values()]
        assert len(set(looks)) == len(looks) > 1


def test_nothing_is_written_beyond_the_page(metrics):
    page = loss_page(read_metrics(metrics), caption="Run a: mean squared error of the clean volume. " * 6)
    canvas = FigureCanvasAgg(page.figure)
    canvas.draw()
    texts = page.figure.findobj(lambda artist: hasattr(artist, "get_text") and artist.get_visible())
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    boxes = [box for box in boxes if 0 < box.width < page.width + 1 and box.y0 > -1]
    assert len(boxes) > 10
    assert max(box.x1 for box in boxes) <= page.width
    assert min(box.x0 for box in boxes) >= 0


def test_a_run_without_validation_has_one_panel(metrics):
    table = pd.read_csv(metrics)
    table[["validation_loss", *LEVELS]] = np.nan
    table.to_csv(metrics, index=False)
    page = loss_page(read_metrics(metrics))
    assert len(page.figure.axes) == 1
    assert list(curves(page.figure.axes[0])) == ["training"]


def test_a_single_epoch_is_seen(metrics):
    page = loss_page(read_metrics(metrics).iloc[:1])
    assert any(line.get_marker() == "s" for line in page.figure.axes[0].lines)
    assert page.figure.axes[0].get_xlim() == (0, 2)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("epoch,train_loss\n1,0.5\n", ("no column validation_loss",)),
        ("epoch,train_loss,validation_loss\n", ("no rows",)),
        ("epoch,train_loss,validation_loss\n1,much,0.5\n", ("'much'",)),
    ],
)
def test_files_that_are_no_metrics_are_refused(tmp_path, text, parts, refuses):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with refuses(CheckpointError, str(path), *parts):
        read_metrics(path)
