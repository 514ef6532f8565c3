"""Boxes of a simulation say so by who placed their picks."""

from types import SimpleNamespace

import pandas as pd
import pytest

from frazil.evaluation.inputs.origins import holds_simulation


@pytest.mark.parametrize(
    ("users", "simulated"),
    [
        (["curation", "data-portal"], False),
        ([None, None], False),
        (["simulated"], True),
        (["curation", "frazil"], True),
    ],
)
def test_the_user_of_the_picks_tells(users, simulated):
    assert holds_simulation(SimpleNamespace(particles=pd.DataFrame({"user": users}))) == simulated
