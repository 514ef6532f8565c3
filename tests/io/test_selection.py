import numpy as np
import pytest

from frazil.core.errors import PickError
from frazil.core.records import Picks
from frazil.core.settings import SourceSettings
from frazil.io.selection import select


def picks(label, user, session):
    return Picks("TS_1", label, np.zeros((1, 3)), user=user, session=session)


ALL = [picks("ribosome", "anna", "1"), picks("ribosome", "ben", "2"), picks("apo-ferritin", "ben", "1")]


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, [0, 1, 2]),
        ({"users": ("ben",)}, [1, 2]),
        ({"sessions": ("1",)}, [0, 2]),
        ({"labels": ("ribosome",)}, [0, 1]),
        ({"labels": ("ribosome",), "users": ("ben", "anna")}, [0, 1]),
        ({"users": ("ben",), "sessions": ("1",)}, [2]),
    ],
)
def test_an_empty_filter_passes_all_and_filters_join(filters, kept):
    assert select(ALL, SourceSettings(**filters), "project") == [ALL[index] for index in kept]


@pytest.mark.parametrize(
    ("filters", "parts"),
    [
        ({"labels": ("ribosome", "virus")}, ["label virus;", "apo-ferritin, ribosome"]),
        ({"users": ("carl",)}, ["user carl", "anna, ben"]),
        ({"sessions": ("9",)}, ["session 9", "1, 2"]),
        (
            {"users": ("anna",), "sessions": ("2",)},
            ["user anna, session 2 together", "ribosome by anna (session 1)"],
        ),
    ],
)
def test_filters_that_leave_nothing(filters, parts, refuses):
    with refuses(PickError, "project", *parts):
        select(ALL, SourceSettings(**filters), "project")


def test_a_filter_on_what_the_format_does_not_say(refuses):
    with refuses(PickError, "picks.csv", "user ben", "leave the filter out"):
        select([picks("ribosome", None, None)], SourceSettings(users=("ben",)), "picks.csv")


def test_no_picks_at_all(refuses):
    with refuses(PickError, "project", "no picks", "<user>_<session>_<object>.json"):
        select([], SourceSettings(), "project")
