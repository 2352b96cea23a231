"""The page of several runs in a real Chromium: silent, offline, two looks, as wide as a phone."""

import shutil

import pytest

from tests.test_compare import HOSTILE, entry
from tests.test_page_in_chromium import ARGUMENTS, requests
from tuner.page.beside import build

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="no chromedriver on PATH"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A fresh Chromium with the page of runs, the first of which has a hostile name."""
    folder = tmp_path_factory.mktemp("compare")
    runs = [
        entry(HOSTILE, [5.0, 4.0, None, 3.0], [3.1, 3.2]),
        entry("a" * 60, [6.0, 5.0], [5.5, 5.4], sampler="random"),
        *(entry(f"mtpe-{n}", [7.0, 6.0 + n], sampler="mtpe", seed=n) for n in range(3)),
        entry("empty", sampler="tpe"),
    ]
    (folder / "page.html").write_bytes(build(runs))
    options = webdriver.ChromeOptions()
    for argument in (*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.get((folder / "page.html").as_uri())
    yield driver
    driver.quit()


def test_nothing_is_asked_for_and_nothing_goes_wrong(browser):
    """No error on the console, no policy broken, no request but for the file itself."""
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    asked = requests(browser)
    assert {url for url in asked if not url.startswith("data:")} == {browser.current_url}


def test_a_hostile_name_is_text(browser):
    """In the table, at the head, and at the end of its line."""
    assert browser.execute_script("return document.querySelectorAll('img, script').length") == 0
    (cell, *_) = browser.find_elements("css selector", "td.name")
    assert cell.text == HOSTILE
    texts = browser.execute_script(
        "return [...document.querySelectorAll('svg text')].map(t => t.textContent)"
    )
    assert HOSTILE[:20] in "".join(texts)


def test_each_group_has_a_colour_of_its_own(browser):
    """By the style sheet, in both looks; its line and its name's dot have the same."""
    script = """return [...document.querySelectorAll('.line.series, .swatch')].map(e => [
        e.classList[e.classList.length - 1],
        getComputedStyle(e).getPropertyValue('--c').trim()])"""
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        seen = {tuple(pair) for pair in browser.execute_script(script)}
        assert len(seen) == len({class_ for class_, _ in seen}) == 4
        assert len({colour for _, colour in seen}) == 4


def test_names_stay_within_their_charts(browser):
    """The longest, too: no text is cut at the border of its chart."""
    out = browser.execute_script(
        """return [...document.querySelectorAll('svg')].flatMap(svg => {
            const room = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].filter(text => {
                const box = text.getBoundingClientRect();
                return box.right > room.right + 1 || box.left < room.left - 1;
            }).map(text => text.textContent);
        })"""
    )
    assert out == []


def test_a_phone_scrolls_down_only(browser):
    """Charts that are wider scroll in a frame of their own."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
