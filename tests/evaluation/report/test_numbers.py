"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.evaluation.report.numbers import decimals_of, interval, number


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "dex", "–"),
        (0.0, "", "0"),
        (1.0, "", "1.00"),
        (0.12345, "dex", "0.123\u202fdex"),
        (-1.465, "", "−1.47"),
        (93.21, "%", "93.2\u202f%"),
        (1234.5, "", "1\u202f234"),
        (-0.00000042, "", "−4.2\u202f×\u202f10⁻⁷"),
    ],
)
def test_three_figures_and_a_true_minus(value, unit, text):
    assert number(value, unit) == text


def test_no_negative_zero():
    assert number(-0.001, decimals=1) == "0.0"


def test_interval_has_the_decimals_of_its_value():
    assert interval((0.1, -0.25), decimals=decimals_of(0.123)) == "0.100 to −0.250"
    assert interval(None, decimals=2) == ""


@given(st.floats(min_value=1e-3, max_value=1e5))
def test_number_is_within_half_a_figure(value):
    shown = float(number(value).replace("\u202f", ""))
    assert shown == pytest.approx(value, rel=0.0051)
