"""Text of the command line as values."""

import pytest

from frazil.cli.options import parse_duration, parse_numbers, parse_settings, parse_tilt_range
from frazil.core.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 5400), ("0.5", 30), ("01:30:00", 5400), ("00:00:07", 7), ("1:02:03:04", 93784)]
)
def test_durations_read_as_schedulers_write_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-5", "1:30", "1:2:3:4:5", "1:-2:3"])
def test_a_bad_duration_names_the_forms(text):
    with pytest.raises(SettingsError, match=r"--max-time .*give minutes, HH:MM:SS or DD:HH:MM:SS"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0.1,0.2", "0.1,0.2,0.3,0.4", "a,b,c", ""])
def test_numbers_are_as_many_as_the_form_says(text):
    assert parse_numbers("--position", "0.1, 0.2,0.3", "X,Y,Z", "0.5,0.5,0.5") == (0.1, 0.2, 0.3)
    with pytest.raises(SettingsError, match=f"--position {text}: .*X,Y,Z"):
        parse_numbers("--position", text, "X,Y,Z", "0.5,0.5,0.5")


def test_tilt_ranges():
    assert parse_tilt_range(" -60 , 48.5 ") == (-60, 48.5)
    for text in ("45,-45", "45", "-45,0,45", "-100,20", "nan,20"):
        with pytest.raises(SettingsError, match=f"--tilt-range {text}: .*-45,45"):
            parse_tilt_range(text)


def test_settings_are_read_as_toml_and_bare_words_as_text():
    parsed = parse_settings(
        ["model.base_channels=16", "training.ema_decay = 0.99", "model.conditioning=sum", "curate.drop_outside=true"]
    )
    assert parsed == {
        "model.base_channels": 16,
        "training.ema_decay": 0.99,
        "model.conditioning": "sum",
        "curate.drop_outside": True,
    }


@pytest.mark.parametrize("text", ["model.base_channels", "=3"])
def test_a_setting_without_a_value_is_refused(text):
    with pytest.raises(SettingsError, match=r"--set .*key=value"):
        parse_settings([text])
    with pytest.raises(SettingsError, match=r"e\.g\. --set ice\.depth=3$"):
        parse_settings([text], example="ice.depth=3")
