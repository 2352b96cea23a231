"""The report's page in a real Chromium: silent, offline, sortable, and as wide as a phone."""

import json
import shutil
import time

import pytest

from tests.test_page import hostile_trials, large_run, new_run, page

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="no chromedriver on PATH"),
]
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1200,900",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A fresh Chromium with the hostile run's page open, copied away from its run."""
    folder = tmp_path_factory.mktemp("page")
    copied = folder / "copied.html"
    copied.write_text(page(new_run(folder / "run", hostile_trials())))
    options = webdriver.ChromeOptions()
    for argument in (*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.get(copied.as_uri())
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The page of a run with 1,000 trials, and the seconds of a core that it took to build."""
    path = tmp_path_factory.mktemp("large") / "page.html"
    run = large_run(path.with_name("run"))
    began = time.process_time()
    path.write_text(page(run))
    return path, time.process_time() - began


def test_a_thousand_trials_make_a_small_page_soon(large):
    """8 parameters, with choices and log scales, and curves of 10 epochs with 3 metrics."""
    path, seconds = large
    assert path.read_text().count('<tr id="t') == 1000
    assert path.stat().st_size < 5e6
    assert seconds < 10


def test_a_thousand_trials_open_in_two_seconds(large, browser):
    """By the browser's own clock, to the end of its load event; a link finds its row."""
    before = browser.current_url
    browser.get(large[0].as_uri())
    (entry,) = browser.execute_script("return performance.getEntriesByType('navigation')")
    browser.execute_script("location.hash = 't700'")
    top = "return document.querySelector('#t700').getBoundingClientRect().top"
    place = browser.execute_script(top)
    browser.get(before)
    assert 0 < entry["loadEventEnd"] < 2000
    assert -5 < place < 900  # pixels; heights of rows that were not drawn yet are rounded


def requests(browser):
    """What the page asked for: the tab that a browser opens with asks for things of its own."""
    logs = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    sent = (log for log in logs if log["method"] == "Network.requestWillBeSent")
    of = browser.current_url
    return [log["params"]["request"]["url"] for log in sent if log["params"]["documentURL"] == of]


def column(browser, n):
    """The texts of the visible cells of a column."""
    rows = "[...document.querySelectorAll('#rows tbody tr:not([hidden])')]"
    script = f"return {rows}.map(row => row.cells[arguments[0]].textContent)"
    return browser.execute_script(script, n)


def test_nothing_is_asked_for_and_nothing_goes_wrong(browser):
    """No error on the console, no policy broken, no request but for the file itself."""
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    asked = requests(browser)
    assert {url for url in asked if not url.startswith("data:")} == {browser.current_url}
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0


def test_a_click_sorts_and_words_filter(browser):
    """Numbers as numbers, empty ones last; the count says what is left."""
    head = browser.find_elements("css selector", "#rows thead button")[2]
    head.click()
    values = column(browser, 2)
    assert values[:2] == ["50", "51"]
    assert values[-3:] == ["–"] * 3
    head.click()
    assert column(browser, 2)[0] == "60"
    browser.find_element("id", "find").send_keys("onerror")
    assert len(column(browser, 0)) == 3
    assert browser.find_element("id", "left").text == "3 of 12"


def test_light_and_dark_follow_the_reader(browser):
    """The same page has two looks."""
    seen = set()
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        seen.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert seen == {"rgb(247, 247, 245)", "rgb(20, 21, 23)"}


def test_a_phone_scrolls_down_only(browser):
    """Charts that are wider scroll in a frame of their own."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
