import pytest

from frazil.core.errors import PickError
from frazil.io.names import check_name, check_run, clean_name


@pytest.mark.parametrize(
    ("given", "cleaned"), [("beta_amylase", "beta-amylase"), ("a b/c", "a-b-c"), ("ribosome", "ribosome"), ("__", "")]
)
def test_clean_name_replaces_what_copick_forbids(given, cleaned):
    assert clean_name(given) == cleaned


def test_check_name_passes_a_good_name_and_proposes_one_for_a_bad_one(refuses):
    assert check_name("virus-like-particle", "class", PickError) == "virus-like-particle"
    with refuses(PickError, "class 'a_b'", "'a-b'"):
        check_name("a_b", "class", PickError)
    with refuses(PickError, "user ''"):
        check_name("", "user", PickError)


@pytest.mark.parametrize("run", ["", ".hidden", "a/b"])
def test_check_run_refuses_what_cannot_be_a_folder(run, refuses):
    assert check_run("TS_5_4", PickError) == "TS_5_4"
    with refuses(PickError, repr(run), "without slashes"):
        check_run(run, PickError)
