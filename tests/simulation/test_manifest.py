"""The manifest of a simulated project: how differences from other settings are said."""

from frazil.simulation.manifest import difference, read_manifest


def test_where_there_is_nothing_nothing_is_known(tmp_path):
    assert read_manifest(tmp_path / "new", force=False) == ({}, {})
    assert read_manifest(tmp_path, force=False) == ({}, {})


def test_structures_are_named_by_their_labels_and_digests_are_short():
    old = {
        "structures": [{"label": "a", "source": "/a.mrc", "scale": 1.0}],
        "digests": {"/a.mrc": "sha256:" + "0" * 64},
    }
    new = {
        "structures": [{"label": "a", "source": "/a.mrc", "scale": 1.1}],
        "digests": {"/a.mrc": "sha256:" + "1" * 64},
    }
    assert difference(old, new) == (
        "other settings (structures.a.scale 1 -> 1.1, digests./a.mrc sha256:000000000000 -> sha256:111111111111)"
    )


def test_what_is_on_one_side_only_is_none_on_the_other():
    assert difference({"like": None, "a": [], "b": True}, {"like": {"project": "/p"}, "a": (1.5, 2.0), "b": False}) == (
        "other settings (like.project none -> /p, a none -> 1.5,2, b true -> false)"
    )


def test_many_differences_are_counted():
    many = {f"k{number}": number for number in range(1, 8)}
    assert difference({}, many) == (
        "other settings (k1 none -> 1, k2 none -> 2, k3 none -> 3, k4 none -> 4, and 3 more)"
    )
