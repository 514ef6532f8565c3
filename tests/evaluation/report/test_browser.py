"""The pages in headless Chromium: no error, no request, a viewer that shows a volume, a width that fits a phone.

Needs the Python package playwright and a Chromium, found on the path or named by FRAZIL_CHROMIUM; in CI it must be there.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from frazil.evaluation.report.page import write_comparison, write_report

FLAGS = (
    "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--disable-quic", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)  # fmt: skip
TIMEOUT_MS = 120_000
PHONE = {"width": 390, "height": 700}


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A Chromium that draws WebGL in software."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = os.environ.get("FRAZIL_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium in CI: .ci/run must install it")
        pytest.skip("no Chromium here: install it, or name it in FRAZIL_CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=FLAGS, timeout=TIMEOUT_MS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, tmp_path) -> Iterator:
    """Return ``visit(name, **options)``: a page of `tmp_path`; at the end it must have been silent and alone.

    What the page says of `expected`, an address, is left out.
    """
    contexts, said, asked = [], [], []

    def open_page(name: str, *, expected: str = "nothing", **options):
        context = browser.new_context(viewport=PHONE, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", lambda message: said.append(message.text) if expected not in message.text else None)
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: asked.append(request.url) if expected not in request.url else None)
        page.goto((tmp_path / name).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert all(url.startswith(("file://", "data:", "blob:")) for url in asked)
    assert len([url for url in asked if url.startswith("file://")]) == len(contexts)


@pytest.fixture
def report(tmp_path, evaluation, examples) -> str:
    write_report(tmp_path / "report.html", evaluation(), examples(box=24, per_class=1))
    return "report.html"


def seen(locator) -> np.ndarray:
    shot = locator.screenshot(animations="disabled")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("L"), dtype=float)


def test_viewer_shows_volumes_and_follows_its_controls(visit, report):
    page = visit(report)
    page.locator("#viewer").scroll_into_view_if_needed()
    page.wait_for_selector("#viewer-box[data-shown='0']")
    assert page.inner_text("#v-state") == ""
    slices, render = page.locator("#v-slices"), page.locator("#v-render")
    shell = seen(slices)
    assert shell.std() > 20
    first = seen(render)
    assert first.std() > 5

    page.locator("#v-surface").fill("-3.9")  # below all voxels: nothing is left to see
    page.wait_for_timeout(300)
    assert seen(render)[20:-20, 20:-20].std() < first.std() / 4

    page.locator("a[data-volume='3']").click()  # in the gallery
    page.wait_for_selector("#viewer-box[data-shown='3']")
    assert page.locator("#v-volume option:checked").inner_text() == "real: box 1"
    # the middle of the XY slice: light inside the shell of apo-ferritin, dark inside the ribosome's ball
    ball = seen(slices)
    height = shell.shape[0]
    inside = (slice(int(0.55 * height), int(0.62 * height)), slice(int(0.55 * height), int(0.62 * height)))
    assert shell[inside].mean() > 100
    assert ball[inside].mean() < 60


def test_page_fits_a_phone_and_folds_long_tables(visit, report, tmp_path, evaluation):
    write_comparison(tmp_path / "compare.html", [evaluation(), evaluation(name="another one", factor=2.0)], ["mind"])
    for name in (report, "compare.html"):
        page = visit(name)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
        assert page.evaluate("() => [...document.images].every((image) => image.naturalWidth > 0)")


def test_no_request_can_leave_the_page(visit, report):
    """The policy is in force: an image from elsewhere is refused before it is asked for."""
    page = visit(report, expected="elsewhere.png")
    refused = page.evaluate(
        """() => new Promise((done) => {
            addEventListener("securitypolicyviolation", (event) => done(event.blockedURI));
            const image = new Image();
            image.src = "http://127.0.0.1:9/elsewhere.png";
            setTimeout(() => done("nothing refused"), 5000);
        })"""
    )
    assert refused.startswith("http://127.0.0.1:9/")


def test_without_javascript_everything_but_the_viewer_is_there(visit, report):
    page = visit(report, java_script_enabled=False)
    assert page.locator(".verdict").count() == 6
    assert page.get_by_text("The viewer needs JavaScript.").is_visible()
    assert not page.locator("#viewer-box").is_visible()
    assert page.locator(".plots img").first.is_visible()
    page.locator("summary", has_text="The metrics above").last.click()
    assert page.locator("details td", has_text="0.700").first.is_visible()


def test_print_opens_everything_and_leaves_the_viewer_out(visit, report):
    page = visit(report)
    page.emulate_media(media="print")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert not page.locator("#viewer-box").is_visible()
    assert page.get_by_text("the gallery shows the same volumes as slices").is_visible()
    hidden = page.evaluate(
        "() => [...document.querySelectorAll('details tr')].filter((row) => !row.offsetHeight).length"
    )
    assert hidden == 0


def test_keyboard_reaches_the_verdict_first_and_every_control(visit, report):
    page = visit(report)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the verdict"
    ids = ["v-volume", "v-previous", "v-next", "v-surface", "v-core", "v-cut"]
    page.locator("#v-volume").focus()
    reached = []
    for _ in ids:
        reached.append(page.evaluate("() => document.activeElement.id"))
        page.keyboard.press("Tab")
    assert reached == ids
