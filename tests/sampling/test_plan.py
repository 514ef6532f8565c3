"""The plan of a request: which sample is in which batch, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import RequestError
from frazil.sampling.plan import SamplePlan, check_request
from frazil.sampling.table import Request

KNOWN = ("apo-ferritin", "ribosome")


def plan(*requests, batch_size=2, first=0):
    return SamplePlan(requests, seed=0, sampler="ddpm", steps=3, batch_size=batch_size, first=first)


def test_samples_are_numbered_in_the_order_of_the_request():
    asked = plan(Request("ribosome", (0.1, 0.2, 0.3), 2), Request("apo-ferritin", count=1), first=5)
    assert asked.samples() == [
        (5, "ribosome", (0.1, 0.2, 0.3)),
        (6, "ribosome", (0.1, 0.2, 0.3)),
        (7, "apo-ferritin", (0.5, 0.5, 0.5)),
    ]
    assert len(asked) == 3


@given(count=st.integers(1, 20), batch_size=st.integers(1, 7), finished=st.sets(st.integers(0, 19)))
def test_batches_of_an_interrupted_run_are_batches_of_the_whole_run(count, batch_size, finished):
    asked = plan(Request("ribosome", count=count), batch_size=batch_size)
    whole, rest = asked.batches(), asked.batches(finished)
    assert [sample for batch in whole for sample in batch] == asked.samples()
    assert all(len(batch) == batch_size for batch in whole[:-1])
    assert all(batch in whole for batch in rest)
    missing = set(range(count)) - finished
    assert missing <= {index for batch in rest for index, _, _ in batch}
    assert all(missing & {index for index, _, _ in batch} for batch in rest)


@given(
    count=st.integers(1, 30), batch_size=st.integers(1, 4), size=st.integers(1, 5), finished=st.sets(st.integers(0, 29))
)
def test_processes_deal_out_the_batches_each_once_and_evenly(count, batch_size, size, finished):
    asked = plan(Request("ribosome", count=count), batch_size=batch_size)
    shares = [asked.batches(finished, rank=rank, size=size) for rank in range(size)]
    dealt = [batch for share in shares for batch in share]
    assert sorted(dealt) == asked.batches(finished)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("request_", "parts"),
    [
        (Request("ribosom"), ("ribosom", "knows apo-ferritin, ribosome")),
        (Request("ribosome", (0.5, 1.2, 0.5)), ("position y = 1.2", "0 to 1")),
        (Request("ribosome", (float("nan"), 0.5, 0.5)), ("position z = nan", "0 to 1")),
        (Request("ribosome", count=0), ("count 0", "ribosome", "at least 1")),
    ],
)
def test_what_a_bundle_cannot_serve_is_refused(request_, parts, refuses):
    with refuses(RequestError, *parts):
        check_request(request_, KNOWN)
