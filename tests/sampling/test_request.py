"""What is asked for: text and tables become requests, and what cannot be served is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import RequestError
from frazil.sampling.request import Request, expand, read_requests


def test_a_table_is_read(tmp_path):
    path = tmp_path / "requests.csv"
    path.write_text("label,x,y,z,count\nribosome,0.1,0.2,0.3,5\nall,0.5,0.5,0.5,1\n")
    first, _ = read_requests(path)
    assert first == Request(label="ribosome", position=(0.3, 0.2, 0.1), count=5)
    asked = expand((), None, None, path, first=None, known=("a", "b"))
    assert asked == [first, Request(label="a"), Request(label="b")]
    assert [request.count for request in expand((), None, 4, path, first=3, known=("a", "b"))] == [2, 1, 1]


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("ribosome,0.1,1.2,0.3,5", "'1.2'"),
        ("ribosome,0.1,far,0.3,5", "'far'"),
        ("ribosome,0.1,0.2,0.3,0", "'0'"),
        ("ribosome,0.1,0.2,0.3,many", "'many'"),
        (",0.1,0.2,0.3,1", "column label"),
    ],
)
def test_cells_that_cannot_be_used_are_named(tmp_path, row, value):
    path = tmp_path / "requests.csv"
    path.write_text(f"label,x,y,z,count\n{row}\n")
    with pytest.raises(RequestError, match=f"line 2.*{value}"):
        read_requests(path)


@pytest.mark.parametrize(
    ("request_", "value"),
    [
        (Request(label="ribosom"), "'ribosom'.*apo-ferritin, ribosome"),
        (Request(label="ribosome", position=(0.5, 1.2, 0.5)), "y = 1.2"),
        (Request.model_construct(label="ribosome", position=(0.5, 0.5, float("nan")), count=1), "x = nan"),
        (Request(label="ribosome", count=0), "count 0"),
    ],
)
def test_what_a_bundle_cannot_serve_is_refused(request_, value):
    with pytest.raises(RequestError, match=value):
        request_.check(("apo-ferritin", "ribosome"))


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=5), data=st.data())
def test_a_part_of_a_table_is_these_samples_of_it(counts, data):
    table = [Request(label=f"class-{row}", count=count) for row, count in enumerate(counts)]
    labels = [request.label for request in table for _ in range(request.count)]
    first = data.draw(st.integers(0, len(labels) - 1))
    count = data.draw(st.integers(1, len(labels) + 1))
    taken = [
        request.label for request in expand((), None, count, table, first=first, known=()) for _ in range(request.count)
    ]
    assert taken == labels[first : first + count]
    with pytest.raises(RequestError, match=f"first {len(labels)}: "):
        expand((), None, 1, table, first=len(labels), known=())
