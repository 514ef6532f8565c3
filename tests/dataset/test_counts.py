import pandas as pd

from frazil.dataset.counts import count_classes


def test_found_is_used_and_left_out():
    particles = pd.DataFrame(
        {
            "label": ["ribosome"] * 4 + ["mine"],
            "reason": ["", "duplicate", "duplicate", "constant grey value", ""],
        }
    )
    mine, none, ribosome = count_classes(particles, ["mine", "none", "ribosome"], {"mine": 40.0})
    assert (ribosome.found, ribosome.used) == (4, 1)
    assert ribosome.left_out == {"duplicate": 2, "constant grey value": 1}
    assert ribosome.diameter_angstrom == 300  # the paper: 30 voxels of 10 A
    assert (mine.found, mine.used, mine.left_out, mine.diameter_angstrom) == (1, 1, {}, 80)
    assert (none.found, none.diameter_angstrom) == (0, None)


def test_the_source_knows_sizes_better():
    particles = pd.DataFrame({"label": ["ribosome"], "reason": [""]})
    assert count_classes(particles, ["ribosome"], {"ribosome": 140.0})[0].diameter_angstrom == 280
