"""The page of a report in a real browser: its judges are axe-core, the keyboard, narrow windows and the printer."""

import base64
import math
import shutil

import numpy as np
import pytest
from axe_core_python.selenium import Axe
from matplotlib.figure import Figure
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pyrometer.inference.diagnostics import Finding
from pyrometer.inference.diagnostics.report import Picture, Section, Table, Verdict, write_page

pytestmark = pytest.mark.xdist_group("browser")  # one browser, which starts slowly

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
LONG = "hierarchical_encoder.layers.3.attention.output_projection.weight_posterior_scale"
ROWS = [
    ["layer10", 2.5, 1],
    ["layer2", -10.25, 2],
    ["Äpfel", None, 1],
    ["beta", 1e-7, 2],
    ["alpha", -3.5, 1],
    ["zeta", math.nan, 2],
    ["Beta 2", 30.5, 1],
    ["eta", -math.inf, 2],
]


def lines(size):
    figure = Figure(figsize=size, layout="constrained")
    figure.subplots().plot([1, 2, 3], [3, -1, 2], "o-")
    return figure


def images():
    figure = Figure(figsize=(9, 3))
    for ax in figure.subplots(2, 6).flat:
        ax.imshow(np.eye(8), cmap="gray")
        ax.set_axis_off()
    return figure


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with all that a page can have; its names are long, and one is a script."""
    rows = [[f"{LONG}[{i}]" if i % 7 == 0 else f"z[{i}]", *np.linspace(i, -9, 8).tolist()] for i in range(40)]
    wide = Table("All sites.", ["site", *(f"quantity {i}" for i in range(8))], rows, note="What `a dash` means.")
    findings = [Finding("good", "Enough."), Finding("bad", "Too narrow.", f"Widen `{LONG}`.")]
    verdicts = [Verdict(LONG, "care", "Take care.", findings), Verdict("flow", "good", "All is well.")]
    sections = [
        Section("Numbers <script>window.rude = 1</script>", ["Text."], [Table("Mixed.", ["name", "x", "tie"], ROWS)]),
        Section(f"Sites of {LONG}", ["More text."], [wide]),
        Section(
            "Figures", pictures=[Picture(figure, "What is seen.", "Said.") for figure in (lines((6, 4)), images())]
        ),
    ]
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(path, f"A report of {LONG}", verdicts, sections, made="by hand")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    driver = shutil.which("chromedriver")
    if not found or not driver:
        pytest.skip("needs chromium and chromedriver on the path: Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def page(browser, address):
    """The page as it is when opened, in a wide window on a light screen."""
    resize(browser, 1280)
    emulate(browser)
    browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": False})
    browser.get(address)
    return browser


def resize(browser, width):
    """A window as wide as a phone, which --window-size refuses."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def emulate(browser, medium="", scheme="light"):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})


def measured(browser, script):
    return browser.execute_script(f"return {script}")


def column(browser, place):
    """The cells of the first table from top to bottom, their signs as a keyboard has them."""
    cells = measured(browser, f"[...document.querySelector('tbody').rows].map(row => row.cells[{place}].textContent)")
    return [cell.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "") for cell in cells]


def directions(browser):
    return measured(browser, "[...document.querySelectorAll('thead')[0].rows[0].cells].map(th => th.ariaSort)")


def buttons(browser):
    return browser.find_elements(By.CSS_SELECTOR, "thead")[0].find_elements(By.TAG_NAME, "button")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(page, width, scheme):
    resize(page, width)
    emulate(page, scheme=scheme)
    buttons(page)[1].click()
    found = Axe().run(page)
    assert len(found["passes"]) > 20
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]] == []


def test_a_click_sorts_numbers_as_numbers_with_what_is_missing_last(page):
    shown = column(page, 1)
    assert directions(page) == [None, None, None]
    up = ["-∞", "-10.25", "-3.50", "1.0e-7", "2.50", "30.50", "", ""]
    assert shown != up
    buttons(page)[1].click()
    assert column(page, 1) == up
    assert directions(page) == [None, "ascending", None]
    buttons(page)[1].click()
    assert column(page, 1) == [*up[:6][::-1], "", ""]
    assert directions(page) == [None, "descending", None]


def test_names_are_sorted_as_people_do(page):
    buttons(page)[1].click()
    buttons(page)[0].click()
    assert column(page, 0) == ["alpha", "Äpfel", "beta", "Beta 2", "eta", "layer2", "layer10", "zeta"]
    assert directions(page) == ["ascending", None, None]


def test_rows_that_tie_keep_their_order(page):
    buttons(page)[0].click()
    buttons(page)[2].click()
    assert column(page, 0) == ["alpha", "Äpfel", "Beta 2", "layer10", "beta", "eta", "layer2", "zeta"]
    buttons(page)[2].click()
    assert column(page, 0) == ["beta", "eta", "layer2", "zeta", "alpha", "Äpfel", "Beta 2", "layer10"]


def test_the_keyboard_reaches_a_header_and_sorts(page):
    keys = ActionChains(page, duration=0)
    for _ in range(3 + 1 + 2):  # links of the contents, the region that scrolls, and two headers
        keys.send_keys(Keys.TAB)
    keys.send_keys(Keys.ENTER).perform()
    assert directions(page) == [None, "ascending", None]
    assert column(page, 1)[:2] == ["-∞", "-10.25"]
    ActionChains(page).send_keys(Keys.SPACE).perform()
    assert directions(page) == [None, "descending", None]
    assert column(page, 1)[:2] == ["30.50", "2.50"]


def test_one_table_is_sorted_and_not_the_other(page):
    other = "[...document.querySelectorAll('tbody')[1].rows].map(row => row.cells[0].textContent)"
    before = measured(page, other)
    buttons(page)[0].click()
    assert measured(page, other) == before


@pytest.mark.parametrize("width", [1280, 768, 360])
def test_the_page_does_not_scroll_sideways(page, width):
    resize(page, width)
    assert measured(page, "innerWidth") == width
    assert measured(page, "document.documentElement.scrollWidth") <= width
    right = "Math.max(...[...document.querySelectorAll('h1, h2, h3, p, a, svg, figcaption, .scroll')]"
    assert measured(page, f"{right}.map(one => one.getBoundingClientRect().right))") <= width


def test_a_wide_table_scrolls_in_a_region_of_its_own(page):
    resize(page, 360)
    region = page.find_elements(By.CSS_SELECTOR, "[role=region]")[1]
    assert measured(page, "(r => r.scrollWidth > r.clientWidth)(document.querySelectorAll('[role=region]')[1])")
    assert region.accessible_name.startswith("Table 2. All sites.")
    region.send_keys(Keys.ARROW_RIGHT)
    scrolled = "document.querySelectorAll('[role=region]')[1].scrollLeft > 0"
    assert page.execute_async_script(
        f"const [done] = arguments; const wait = () => {scrolled} ? done(true) : requestAnimationFrame(wait); wait()"
    )


def test_figures_shrink_to_the_window(page):
    widths = "[...document.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect().width)"
    assert measured(page, widths) == [6 * 96, 9 * 96]
    resize(page, 360)
    assert max(measured(page, widths)) <= 360 - 2 * 16


def test_nothing_is_fetched_nothing_complains_and_no_script_of_others_runs(page):
    buttons(page)[0].click()
    assert measured(page, "performance.getEntriesByType('resource').map(entry => entry.name)") == []
    assert measured(page, "window.rude") is None
    assert page.get_log("browser") == []


def test_paper_has_whole_tables_and_nothing_to_click(page):
    emulate(page, "print", "dark")
    resize(page, 794 - 2 * 53)  # A4 within its margins
    page.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    cut = "[one.scrollWidth - one.clientWidth, one.scrollHeight - one.clientHeight]"
    assert measured(page, f"[...document.querySelectorAll('.scroll')].flatMap(one => {cut})") == [0, 0, 0, 0]
    hidden = "[...document.querySelectorAll('nav, .arrow')].every(one => getComputedStyle(one).display === 'none')"
    assert measured(page, hidden)
    assert measured(page, "getComputedStyle(document.body).color") == "rgb(27, 31, 36)"  # dark, whatever the screen is
    assert measured(page, "getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
    emulate(page)
    assert base64.b64decode(page.print_page()).startswith(b"%PDF-")
