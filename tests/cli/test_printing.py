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


def test_verbose_commands_say_what_is_done_and_where_an_error_arose(curate):
    code, plain, quiet_err = curate()
    assert "TS_1: done" not in quiet_err
    code, out, err = curate("--force", "--verbose")
    assert code == 0
    assert "TS_1: done" in err
    assert [line for line in plain.splitlines() if "boxes of" in line] == [
        line for line in out.splitlines() if "boxes of" in line
    ]
    code, _, err = curate("--session", "nobody", "--verbose")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("frazil: ")
    code, _, err = curate("--quiet", "--verbose")
    assert (code, err) == (2, "frazil: quiet and verbose: contradict each other; choose one\n")


def test_the_log_has_all_that_was_said(curate, tmp_path):
    _, out, _ = curate()
    log = tmp_path / "out/frazil.log"
    said = [line.split("] ", 1)[1] for line in log.read_text().splitlines()]
    assert said[0].startswith("$ frazil curate ")
    assert "TS_1: done" in said
    missing = [line.rstrip() for line in out.splitlines() if line.strip() and line.rstrip() not in said]
    assert not missing
    curate("--quiet")
    assert "nothing to do" in log.read_text().splitlines()[-1]
    curate("--box", 16)  # refused
    assert "holds the result of another request" in log.read_text().splitlines()[-1]
    curate("--box", 16, "--force")
    assert log.read_text().count("$ frazil curate") == 4


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
