"""The CSV is the whole history, with the columns that users plot."""

import csv

import pytest

from frazil.training.history import EpochRecord, MetricsWriter, is_best, noise_level_names


def test_noise_levels_cover_all_timesteps_without_gap():
    names = noise_level_names(1000)
    assert names[0] == "validation_loss_t000_099"
    assert names[-1] == "validation_loss_t900_999"
    edges = [
        tuple(int(part) for part in name.removeprefix("validation_loss_t").split("_")) for name in noise_level_names(25)
    ]
    assert [low for low, _ in edges[1:]] == [high + 1 for _, high in edges[:-1]]
    assert (edges[0][0], edges[-1][1]) == (0, 24)


def test_metrics_have_one_row_per_epoch_and_empty_cells_for_what_was_not_measured(tmp_path):
    records = [
        EpochRecord(1, 4, 30, 12.34, 0.6, waiting_seconds=1.234),
        EpochRecord(2, 8, 60, 20.0, 0.5, 0.55, by_noise_level=(0.01, None, *(0.1 * k for k in range(8)))),
    ]
    writer = MetricsWriter(tmp_path, timesteps=1000)
    writer(records)
    writer.close()
    assert len(list((tmp_path / "tensorboard").glob("events.out.tfevents*"))) == 1
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert list(rows[0]) == [
        "epoch",
        "step",
        "samples_seen",
        "seconds",
        "waiting_seconds",
        "train_loss",
        "validation_loss",
        *noise_level_names(1000),
    ]
    assert (rows[0]["seconds"], rows[0]["waiting_seconds"]) == ("12.3", "1.23")
    assert records[0].waiting_share == pytest.approx(0.1)
    assert rows[0]["validation_loss"] == ""
    assert float(rows[1]["validation_loss"]) == 0.55
    assert rows[1]["validation_loss_t000_099"] == "0.01"
    assert rows[1]["validation_loss_t100_199"] == ""


@pytest.mark.parametrize(
    ("losses", "best"),
    [([None], False), ([0.5], True), ([0.5, None], False), ([0.5, 0.6], False), ([0.5, None, 0.4], True)],
)
def test_the_best_epoch_is_that_of_the_lowest_validation_loss(losses, best):
    assert is_best([EpochRecord(1, 1, 1, 1.0, 0.9, loss) for loss in losses]) == best
