"""The page in a real browser: clicks, keys, colours, and no word to anybody outside."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.report import (
    AuditCard,
    AuditPage,
    AuditPhoto,
    AuditSection,
    Differing,
    GroupSheet,
    GroupsPage,
    HeadsPage,
    Page,
    PagePhotos,
    Photo,
    ScoredRows,
    curve_svgs,
    head_pair,
    history_svg,
    score,
)

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

NAMES = ["cat", "dog", "<script>alert(1)</script>"]
TRUE = np.array([0, 0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 1, 1, 1, 0, 2, 2])
SCORES = [0.9, 0.8, 0.7, 0.6, 0.99, 0.5, 0.4]
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1200,1200"
)


def jpeg(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (96, 96), colour).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def shown() -> Page:
    report = score(TRUE, PREDICTED, classes=NAMES)
    photos = tuple(
        Photo(
            path=f"photo{number}.jpg",
            true=int(true),
            predicted=int(predicted),
            score=best,
            image=number % 2,
            neighbours=((0, 0.875),) if true != predicted else (),
        )
        for number, (true, predicted, best) in enumerate(zip(TRUE, PREDICTED, SCORES, strict=True))
    )
    of = PagePhotos(
        photos=photos,
        training=(Photo(path="known.jpg", true=1, predicted=1, score=1.0, image=0),),
        images=(jpeg("red"), jpeg("blue")),
        dots=tuple((float(i), float(i % 3), i) for i in range(len(photos))),
        dots_by="All 7 images.",
    )
    return Page(title="svm on test", report=report, photos=of)


@pytest.fixture(scope="module")
def page(shown: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(shown.html())
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a screen."""
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium or chromedriver on this machine")
    options = Options()
    options.binary_location = chromium
    for flag in _FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        browser = webdriver.Chrome(options=options, service=Service(driver))
    except WebDriverException as error:
        pytest.skip(f"chromium does not start on this machine: {error.msg}")
    yield browser
    browser.quit()


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    browser.get(page.as_uri())
    return browser


def emulated(browser: Any, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def cell(browser: Any, true: int, predicted: int) -> Any:
    return browser.find_element("css selector", f'#matrix [data-t="{true}"][data-p="{predicted}"]')


def captions(browser: Any) -> list[str]:
    return [each.text for each in browser.find_elements("css selector", "#photos li")]


def test_a_click_on_a_cell_shows_its_photos(opened: Any) -> None:
    cell(opened, 0, 1).click()
    assert captions(opened) == ["cat, taken for dog 0.8", "cat, taken for dog 0.7"]
    assert opened.find_element("id", "shown-title").text == "cat taken for dog: 2"
    cell(opened, 1, 1).click()
    assert captions(opened) == ["dog 0.6"]


def test_the_most_frequent_error_is_shown_at_first(opened: Any) -> None:
    assert captions(opened) == ["cat, taken for dog 0.8", "cat, taken for dog 0.7"]


def test_pictures_are_there(opened: Any) -> None:
    widths = opened.execute_async_script(
        "const done = arguments[0], images = [...document.querySelectorAll('#photos img')];"
        "Promise.all(images.map((i) => i.decode().then(() => i.naturalWidth))).then(done)"
    )
    assert widths == [96, 96]


def test_arrow_keys_move_between_cells_and_enter_shows(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    order = opened.execute_script("return data.order")
    cell(opened, order[0], order[0]).click()
    opened.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    opened.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    focused = opened.switch_to.active_element
    assert focused.get_attribute("data-t") == str(order[1])
    assert focused.get_attribute("data-p") == str(order[1])
    assert NAMES[order[1]] in opened.find_element("id", "cell").text
    focused.send_keys(Keys.ENTER)
    assert opened.find_element("id", "shown-title").text.startswith(f"{NAMES[order[1]]}, right")


def test_a_wrong_photo_has_its_nearest_training_photos(opened: Any) -> None:
    cell(opened, 0, 1).click()
    opened.find_element("css selector", "#photos button").click()
    said = opened.find_element("id", "photo").text
    assert "photo1.jpg" in said
    assert "dog, alike 0.875" in said
    assert "known.jpg" in said


def test_percent_instead_of_counts(opened: Any) -> None:
    assert cell(opened, 0, 1).text == "2"
    opened.find_element("id", "percent").click()
    assert cell(opened, 0, 1).text == "67"


def test_a_class_that_is_a_script_is_a_name(opened: Any) -> None:
    cell(opened, 2, 2).click()
    assert captions(opened)[0] == f"{NAMES[2]} 0.5"
    assert f"{NAMES[2]}: 2 of 2 right" in opened.find_element("id", "cell").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_told_from_its_background(opened: Any, scheme: str) -> None:
    emulated(opened, scheme)
    style = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    text, back = (
        [int(number) for number in colour[4:-1].split(",")]
        for colour in opened.execute_script(style)
    )
    assert (sum(back) < 3 * 64) is (scheme == "dark")
    assert abs(sum(text) - sum(back)) > 3 * 128


def test_a_narrow_window_needs_no_scrolling_sideways(opened: Any) -> None:
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        assert opened.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_complained_of_and_nothing_leaves(browser: Any, page: Path) -> None:
    for name in ("browser", "performance"):
        browser.get_log(name)
    browser.get(page.as_uri())
    cell(browser, 0, 1).click()
    assert browser.get_log("browser") == []
    asked = [
        entry["message"]
        for entry in browser.get_log("performance")
        if "Network.requestWillBeSent" in entry["message"] and "file:" not in entry["message"]
    ]
    assert [entry for entry in asked if "data:image" not in entry and "data:," not in entry] == []


def audit_page() -> AuditPage:
    photos = (
        AuditPhoto(path="a.jpg", label="cat", split="train", jpeg=jpeg("red")),
        AuditPhoto(path="b.jpg", label="", split=""),
    )
    card = AuditCard(reason="a.jpg and b.jpg are the same", photos=photos)
    section = AuditSection(title="exact duplicates", about="In both splits.", of=2, cards=(card,))
    return AuditPage(title="Audit", sections=(section,), notes=("of a part",), facts={"by": "hand"})


def groups_page() -> GroupsPage:
    photos = (AuditPhoto(path="a.jpg", label="cat", split="train", jpeg=jpeg("red")),)
    group = GroupSheet(name="g1", size=3, classes={"cat": 3}, typical=photos, unusual=photos)
    commands = ("pipeline relabel photos",)
    return GroupsPage(
        title="Groups", images=3, groups=(group,), notes=("a part",), commands=commands
    )


def heads_page() -> HeadsPage:
    right = [TRUE == PREDICTED, TRUE == TRUE]
    return HeadsPage(
        title="2 heads on test",
        names=("svm", "knn"),
        reports=[score(TRUE, each, classes=NAMES) for each in (PREDICTED, TRUE)],
        pairs=[head_pair("svm", "knn", (right[0], right[1]))],
        differing=[
            Differing(
                path="a.jpg",
                true="cat",
                answers=(("dog", 0.9, False), ("cat", 0.8, True)),
                image=jpeg("blue"),
            )
        ],
        count=3,
        notes=("warning: no test",),
    )


def whole_page(page: Page) -> Page:
    """Add curves, notes, facts, and a class without images."""
    report = score(TRUE, PREDICTED, classes=[*NAMES, "bird"], score_kind="probability")
    rows = ScoredRows.empty(TRUE, 3)
    rows.put(np.arange(len(TRUE)), np.eye(3, dtype=np.float32)[PREDICTED])
    history = {"accuracy": [0.3, 0.6], "loss": [2.0, 1.2]}
    charts = {**curve_svgs(rows, report), "Training": history_svg(history, kept=1)}
    notes, facts = ("warning: no test",), {"store": "photos"}
    return replace(page, report=report, charts=charts, notes=notes, facts=facts)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["report", "dialog", "heads", "audit", "groups"])
def test_axe_finds_nothing_serious(
    browser: Any, shown: Page, tmp_path: Path, which: str, scheme: str
) -> None:
    """
    No finding of axe-core's is serious or critical, by WCAG's rules and by those beyond.

    Its version 4.4 understands colours as they are written in the pages, not those mixed by CSS.
    """
    axe = pytest.importorskip("axe_core_python.selenium", reason="axe-core is not installed").Axe()
    pages = {"heads": heads_page, "audit": audit_page, "groups": groups_page}
    made = pages.get(which, lambda: whole_page(shown))()
    (tmp_path / "page.html").write_text(made.html())
    emulated(browser, scheme)
    browser.get((tmp_path / "page.html").as_uri())
    if which == "dialog":
        browser.find_element("css selector", "#photos button").click()
    found = axe.run(browser)
    assert "color-contrast" in {each["id"] for each in found["passes"]}
    assert [each["error"] for each in found["incomplete"] if "error" in each] == []
    assert [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ] == []
