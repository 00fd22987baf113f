"""The report in a real browser: nothing fails, nothing is loaded, structures turn, tables sort."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.md17 import main
from tests.shared_data import shared

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
DRIVER = shutil.which("chromedriver")
FEW = (
    "--molecules ethanol --models mean SchNet --num-train 20 40 80 --num-val 10 --num-test 40 "
    "--max-steps 20 --validate-every 5 --model.channels 8 --model.num-layers 1 "
    "--model.num-basis 8 --progress false"
)
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
)
PIXELS = "return document.getElementById(arguments[0]).toDataURL()"


pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A window without a screen, of a profile of its own."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (CHROMIUM and DRIVER):
        pytest.skip("there is no Chromium with its chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A report on real frames of ethanol, three training sizes."""
    folder = tmp_path_factory.mktemp("suite")
    main([*FEW.split(), "--data", str(shared("md17_ethanol.npz")), "--out", str(folder)])
    return folder / "report.html"


@pytest.fixture
def page(browser, report):
    """The report, opened as wide as a desk has room for."""
    browser.set_window_size(1280, 900)
    browser.get(report.as_uri())
    yield browser
    assert browser.get_log("browser") == []  # whatever the test has done
    assert requested(browser) == {report.as_uri()}


def requested(browser) -> set[str]:
    """What was asked for since the last look, aside from what a page says itself."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = (
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    )
    return {url for url in urls if not url.startswith("data:")}


def column(browser, name: str) -> list[str]:
    """The cells of a column of the first table."""
    table = browser.find_element("css selector", "table.sortable")
    heads = [head.text for head in table.find_elements("css selector", "thead th")]
    rows = table.find_elements("css selector", "tbody tr")
    return [row.find_elements("css selector", "td")[heads.index(name)].text for row in rows]


def test_it_would_notice_errors_and_requests(browser, report, tmp_path):
    broken, picture = tmp_path / "broken.html", f"{tmp_path.as_uri()}/none.png"
    more = f"<script>lost();</script><img src='{picture}'></body>"
    broken.write_text(report.read_text().replace("</body>", more))
    browser.get(broken.as_uri())
    messages = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "lost is not defined" in messages
    assert "Content Security Policy" in messages  # the browser has refused the picture
    broken.write_text(broken.read_text().replace("Content-Security-Policy", "None"))
    browser.get(broken.as_uri())
    assert picture in requested(browser)
    browser.get_log("browser")


def test_structures_turn_when_dragged_and_by_arrow_keys(page):
    from selenium.webdriver import ActionChains, Keys

    canvas = page.find_element("id", "view0")
    page.execute_script("arguments[0].scrollIntoView()", canvas)
    seen = [page.execute_script(PIXELS, "view0")]
    other = page.execute_script(PIXELS, "view1")
    ActionChains(page).drag_and_drop_by_offset(canvas, 60, 30).perform()
    seen.append(page.execute_script(PIXELS, "view0"))
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_UP):
        canvas.send_keys(key)
        seen.append(page.execute_script(PIXELS, "view0"))
    assert len(set(seen)) == 4
    ActionChains(page).move_to_element_with_offset(canvas, -40, 20).perform()
    assert page.execute_script(PIXELS, "view0") == seen[-1]  # no button was down
    assert page.execute_script(PIXELS, "view1") == other


def test_the_wheel_zooms(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    canvas = page.find_element("id", "view0")
    before = page.execute_script(PIXELS, "view0")
    ActionChains(page).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, 200).perform()
    assert page.execute_script(PIXELS, "view0") != before


def test_tables_sort_on_a_click(page):
    before = column(page, "training")
    assert before[:6] == ["20", "20", "40", "40", "80", "80"]
    (head,) = [h for h in page.find_elements("css selector", "th") if h.text == "training"]
    head.click()
    assert column(page, "training") == before
    head.click()
    assert column(page, "training") == ["80", "80", "40", "40", "20", "20", *before[6:]]


def test_each_row_draws_its_plots(page):
    from selenium.webdriver.support.select import Select

    choice = Select(page.find_element("id", "choice"))
    for index in range(len(choice.options)):
        choice.select_by_index(index)
        assert len(page.find_elements("css selector", "#plots svg")) >= 7
        assert len(page.find_elements("css selector", "#worst canvas")) == 3
        text = page.find_element("tag name", "body").text
        assert not any(word in text for word in ("NaN", "undefined", "Infinity"))
        trained = "SchNet" in choice.options[index].text
        assert ("lr 0.003" in text and "num_basis 8" in text) == trained


def test_the_table_needs_no_scrollbar_on_a_desk(page):
    size = {"width": 1300, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    hidden = "const t = document.querySelector('.wide'); return t.scrollWidth - t.clientWidth"
    assert page.execute_script(hidden) == 0
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_of_the_window(page, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_is_small(report):
    assert report.stat().st_size < 5_000_000
