import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import RequestError
from frazil.sampling.table import Request, parse_position, read_requests

share = st.floats(0, 1)


@given(x=share, y=share, z=share)
def test_a_position_is_flipped_to_zyx(x, y, z):
    assert parse_position(f"{x},{y},{z}") == (z, y, x)


@pytest.mark.parametrize("text", ["", "0.5", "0.5,0.5", "0.1,0.2,0.3,0.4", "a,b,c"])
def test_a_position_that_is_not_three_numbers(text, refuses):
    with refuses(RequestError, repr(text), "0.5,0.5,0.5"):
        parse_position(text)


@pytest.mark.parametrize("text", ["1.5,0.5,0.5", "0.5,-0.1,0.5", "nan,0.5,0.5"])
def test_a_position_outside_the_tomogram(text, refuses):
    with refuses(RequestError, repr(text), "0 to 1"):
        parse_position(text)


def test_a_table_of_requests(tmp_path):
    path = tmp_path / "requests.csv"
    path.write_text("label,x,y,z,count\nribosome,0.1,0.2,0.3,5\napo-ferritin,1,0,0.5,1\n")
    assert read_requests(path) == [
        Request("ribosome", (0.3, 0.2, 0.1), 5),
        Request("apo-ferritin", (0.5, 0.0, 1.0), 1),
    ]


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ("ribosome,0.1,1.2,0.3,5", ["line 2, column y", "'1.2'", "0 to 1"]),
        ("ribosome,left,0.2,0.3,5", ["line 2, column x", "'left'", "finite number"]),
        ("ribosome,0.1,0.2,0.3,0", ["line 2, column count", "0", "at least 1"]),
        ("ribosome,0.1,0.2,0.3,many", ["line 2, column count", "'many'", "whole number"]),
        (",0.1,0.2,0.3,1", ["line 2, column label", "''"]),
    ],
)
def test_a_request_that_cannot_be_served(tmp_path, row, parts, refuses):
    path = tmp_path / "requests.csv"
    path.write_text(f"label,x,y,z,count\n{row}\n")
    with refuses(RequestError, "requests.csv", *parts):
        read_requests(path)
