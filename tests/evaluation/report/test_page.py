"""The page as text; `test_browser.py` looks at it in a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from frazil.evaluation.examples import Examples, ExampleSet
from frazil.evaluation.report.page import write_comparison, write_report

LIMIT_BYTES = 12_000_000
_VOID = {"meta", "link", "img", "input", "br"}


class Outline(HTMLParser):
    """What a reader and a screen reader get: text outside of scripts, images, ids, tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.images, self.ids, self.open, self.addresses = "", [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            self.images.append(given)
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [given[name] for name in ("src", "href", "action", "data") if name in given]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass  # SVG

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


@pytest.fixture
def page(tmp_path, evaluation, examples) -> str:
    write_report(tmp_path / "report.html", evaluation(), examples())
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_page_is_well_formed_and_its_links_lead_somewhere(page):
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    inner = [address[1:] for address in outline.addresses if address.startswith("#")]
    assert set(inner) <= set(outline.ids)
    assert len(inner) > 8


def test_nothing_outside_the_page_is_named(page):
    outline = Outline(page)
    assert all(address.startswith(("#", "data:")) for address in outline.addresses)
    assert not re.search(r"@import|url\((?!#)", page)


def test_verdict_stands_first_in_words_and_in_order(page):
    text = Outline(page).text
    answers = ["Partly.", "Not measured.", "Yes.", "No.", "Not measured.", "Not measured."]
    assert re.findall(r"\?\s+(Yes|Partly|No|Not measured)\.", text[: text.index("Keep in mind")]) == [
        answer.rstrip(".") for answer in answers
    ]
    assert text.index("The spectrum is 0.12 dex off.") < text.index("Distance of the power spectrum")


def test_names_are_escaped(page, nasty):
    outline = Outline(page)
    assert outline.text.count(nasty) >= 5  # path, note, warning, volume, pair
    assert "a <b>" not in page


def test_missing_values_show_their_note_and_never_nan(page):
    text = Outline(page).text
    assert "3 generated volumes; 10 are needed" in text
    assert not re.search(r"\b(nan|None|inf)\b", text)


def table(page: str, caption: str) -> str:
    """Return the table under a caption."""
    start = page.rindex("<table", 0, page.index(f">{caption}</caption>"))
    return page[start : page.index("</table>", start)]


def test_table_without_strips_has_neither_their_column_nor_its_heading(tmp_path, evaluation, examples, score):
    scores = [
        score(0.708, 0.694, name="cas_accuracy", title="Accuracy", question="useful", better="higher"),
        score(noise=5.0),
        score(shuffled=5.0, name="ring_radius_voxel", title="Ring", label="a"),
    ]
    write_report(tmp_path / "report.html", evaluation(scores=tuple(scores)), examples())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    useful = table(page, "Useful? All classes together.")
    assert "0.694" in useful
    assert not re.search("c-strip|<svg", useful)
    assert ">noise</text>" in table(page, "Realistic? All classes together.")
    assert ">shuffled</text>" in table(page, "Realistic? Measured class by class.")


def test_images_have_words(page):
    images = Outline(page).images
    assert len([image for image in images if image["alt"]]) == 8 + 1 + 3  # gallery, pair, plots
    assert len(images) == 8 + 1 + 3 + 4  # pieces of line in the key, next to their names


def test_provenance_is_complete(page, nasty):
    text = Outline(page).text
    for part in (
        f"/data/{nasty}",
        "sha256:aa",
        "sha256:bb",
        "Seed 7",
        "NiiVue 0.",
        "BSD 2-Clause",
    ):
        assert part in text


def test_same_input_same_bytes(tmp_path, evaluation, examples):
    for name in ("a", "b"):
        write_report(tmp_path / name, evaluation(), examples())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_incompressible_volumes_of_many_classes_stay_below_the_limit(tmp_path, evaluation, examples):
    labels = tuple(f"class {number}" for number in range(8))
    full = examples(box=64, per_class=2, labels=labels, noise=2.0)
    write_report(tmp_path / "report.html", evaluation(), full)
    size = (tmp_path / "report.html").stat().st_size
    assert LIMIT_BYTES / 2 < size < LIMIT_BYTES


def test_report_without_pictures_plots_and_scores(tmp_path, evaluation, examples):
    some = examples()
    none = ExampleSet(some.generated.volumes[:0], (), ())
    empty = Examples(none, none, some.pair_sample[:0], some.pair_box[:0], grey_low=-1.0, grey_high=1.0)
    bare = evaluation(scores=(), plots=(), close_pairs=(), stages=(), warnings=())
    write_report(tmp_path / "report.html", bare, empty)
    outline = Outline((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert outline.open == []
    assert outline.text.count("Nothing was measured.") == 6
    assert "viewer" not in outline.ids


def test_colours_of_text_stand_out_from_the_page():
    """WCAG AA: a contrast of 4.5 on white and on the tint."""

    def luminance(colour: str) -> float:
        full = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        parts = [int(full[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    style = files("frazil.evaluation.report").joinpath("assets", "report.css").read_text()
    colours = dict(re.findall(r"--([a-z]+): #([0-9a-f]{3,6})", style))
    grounds = [luminance(colours.pop(name)) for name in ("paper", "tint")]
    colours.pop("faint")  # lines, no text
    assert len(colours) >= 8
    for name, colour in colours.items():
        for ground in grounds:
            assert (ground + 0.05) / (luminance(colour) + 0.05) >= 4.5, name


def test_comparison_is_well_formed_and_names_every_generator(tmp_path, evaluation, nasty):
    write_comparison(tmp_path / "compare.html", [evaluation(), evaluation(name=nasty, factor=2.0)], ["mind"])
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.open == []
    assert nasty in outline.text
    assert all(address.startswith(("#", "data:")) for address in outline.addresses)


def test_comparison_says_which_generator_lacks_a_score(tmp_path, evaluation, score):
    only = evaluation(scores=(score(name="vendi_learned", title="Vendi", question="varied"),))
    write_comparison(tmp_path / "compare.html", [only, evaluation()], [])
    assert "not measured for this generator" in (tmp_path / "compare.html").read_text()
