"""The command line as a whole: quick to start, help that is complete, and errors that end in one line."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from frazil.cli.app import app

COMMANDS = typer.main.get_command(app).commands
HEAVY = ("torch", "numpy", "pandas", "lightning", "distributed")


def test_nothing_heavy_is_imported_before_a_command_runs():
    code = f"import sys; import frazil.cli; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_python_without_docstrings_and_the_folder_itself_as_output(make_project, tmp_path):
    words = f"-m frazil curate {make_project().path} --out . --preset smoke --box 16 --validation-run TS_2".split()
    (tmp_path / "out").mkdir()
    subprocess.run([sys.executable, "-OO", *words], check=True, cwd=tmp_path / "out", capture_output=True)
    assert (tmp_path / "out/particles.csv").exists()


def test_commands_are_listed_in_the_order_of_the_work(run):
    _, out, _ = run("--help")
    places = [out.index(f"│ {name} ") for name in ("simulate", "curate", "train", "sample", "evaluate", "filter")]
    assert places == sorted(places)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_whole_on_a_narrow_terminal_and_grouped(name, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "…" not in out
    groups = [group.count(" --") for group in re.split(r"^╭", out, flags=re.M)]
    assert max(groups) <= 14  # a longer list is not read
    for option in COMMANDS[name].params:
        assert option.name == "help" or option.help


def test_help_explains_the_values_of_an_option(run):
    _, out, _ = run("evaluate", "--help")
    assert all(stage in out for stage in ("physics", "memorisation", "diversity", "features", "usefulness"))


def test_an_interrupt_says_how_to_resume(run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("frazil.evaluation.report.run.report", interrupt)
    code, _, err = run("report", "somewhere")
    assert code == 130
    assert "rerun the same command to resume" in err


@pytest.mark.parametrize(
    "place", [["small", "--preset=small"], ["--preset", "small", "small"], ["--preset", "small", "-o", "small"]]
)
@pytest.mark.parametrize(
    ("name", "more"), [("simulation.run.simulate", []), ("simulation.calibration.run.calibrate", ["--real", "small"])]
)
def test_out_may_also_be_the_first_argument_as_in_0_1(name, more, place, run, monkeypatch):
    calls = []
    monkeypatch.setattr(
        f"frazil.{name}", lambda *arguments, **options: calls.append((arguments[-1], options["preset"]))
    )
    assert run(name.rpartition(".")[2], *place, *more)[0] == 0
    assert calls == [(Path("small"), "small")]


@pytest.mark.parametrize(
    ("arguments", "named"), [([], "'--out' / '-o'"), (["one", "two"], "(two)"), (["one", "-o", "two"], "(one)")]
)
def test_out_is_named_once(arguments, named, run):
    code, _, err = run("simulate", *arguments)
    assert code == 2
    assert named in err


def test_a_batch_system_ends_a_command_as_ctrl_c_does(run, monkeypatch):
    monkeypatch.setattr("frazil.evaluation.report.run.report", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = run("report", "somewhere")
    signal.signal(signal.SIGTERM, before)
    assert (code, "rerun the same command to resume" in err) == (130, True)


def test_no_verify_takes_the_word_of_a_finished_command(run, tiny_project, tmp_path):
    curate = ("curate", tiny_project.path, "-o", tmp_path / "out", "--preset", "smoke", "--box", 8)
    assert run(*curate)[0] == 0
    with (tmp_path / "out/boxes.zarr/.zgroup").open("a") as file:
        file.write(" ")
    assert run(*curate)[0] == 2
    assert run("--no-verify", *curate)[0] == 0
    assert run(*curate)[0] == 2
