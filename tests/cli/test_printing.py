"""How much a command prints: all, only what is wrong, or JSON; and what a preset says."""

import json

import pytest

from frazil.core.presets import load_preset
from frazil.simulation.preset import load_simulation_preset


@pytest.fixture
def curate(run, tiny_project, tmp_path):
    return lambda *options: run(
        "curate", tiny_project.path, "-o", tmp_path / "out", "--preset", "smoke", "--box", 8, *options
    )


def test_quiet_commands_say_only_what_is_wrong(curate):
    assert curate("--quiet") == (0, "", "")
    code, out, err = curate("--quiet", "--session", "nobody")
    assert (code, out) == (2, "")
    assert "nobody" in err


def test_what_is_printed_as_json_is_what_is_printed(curate):
    code, out, err = curate("--json")
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert [(one["label"], one["found"], one["used"]) for one in said["counts"]] == [
        ("apo-ferritin", 8, 8),
        ("ribosome", 8, 8),
    ]
    _, plain, _ = curate()
    code, out, _ = curate("--json")
    assert all(line in plain for line in json.loads(out)["messages"])


@pytest.mark.parametrize(
    ("name", "load"), [("fast", load_preset), ("paper", load_preset), ("czii", load_simulation_preset)]
)
def test_a_preset_that_is_shown_is_the_preset(run, tmp_path, name, load):
    code, out, _ = run("preset", "show", name)
    assert code == 0
    (tmp_path / "mine.toml").write_text(out)
    assert load(str(tmp_path / "mine.toml")).model_copy(update={"name": name}) == load(name)
    code, again, _ = run("preset", "show", tmp_path / "mine.toml")
    assert again == out


def test_presets_that_are_none(run, tmp_path):
    code, _, err = run("preset", "show", "nope")
    assert code == 2
    assert all(name in err for name in ("nope", "fast", "czii"))
    (tmp_path / "wrong.toml").write_text("[specimen]\nvoxel_size_angstrom = -1\n")
    assert "specimen.voxel_size_angstrom" in run("preset", "show", tmp_path / "wrong.toml")[2]
