"""What a reader sees of the page, in a real browser, from a file, offline."""

import csv
import io
import json
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from page_results import NASTY
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from pagrepro import page

# Data coordinates of the middle of an element that is drawn in the plot.
WHERE_DRAWN = """
const plot = document.getElementById("plot"), area = plot.querySelector(".nsewdrag").getBoundingClientRect();
const box = arguments[0].getBoundingClientRect(), layout = plot._fullLayout;
const [across, down] = [(box.left + box.right) / 2 - area.left, (box.top + box.bottom) / 2 - area.top];
return [layout.xaxis.p2d(across), layout.yaxis.p2d(down)];
"""


@pytest.fixture
def shown(browser: Chrome, site) -> Chrome:
    """The page, as when it has just been opened."""
    browser.get(site.url)
    WebDriverWait(browser, 60).until(lambda b: b.find_elements(By.CSS_SELECTOR, "#plot path.point"))
    return browser


@pytest.fixture(scope="module")
def rows(site) -> list[dict[str, str]]:
    with site.layout.page_points().open(newline="") as file:
        return list(csv.DictReader(file))


def of_plot(rows: list[dict[str, str]], browser: Chrome) -> dict[str, dict[str, str]]:
    """Run -> its row of page.csv for the axes that are chosen."""
    axes = [
        Select(browser.find_element(By.ID, axis)).first_selected_option.get_attribute("value")
        for axis in "xy"
    ]
    return {row["run"]: row for row in rows if [row["x_measurement"], row["y_measurement"]] == axes}


def text(browser: Chrome, place: str) -> str:
    return browser.find_element(By.ID, place).text


def click_point(browser: Chrome, element: WebElement) -> tuple[float, float]:
    """Click where a point is drawn; returns its place in the units of the axes."""
    place = browser.execute_script(WHERE_DRAWN, element)
    # The plot notices the pointer first, and then what it does.
    ActionChains(browser).move_to_element(element).pause(0.3).click().perform()
    WebDriverWait(browser, 10).until(lambda b: b.find_elements(By.ID, "run-name"))
    return tuple(place)


def names(browser: Chrome) -> list[str]:
    """Runs of the table below the plot."""
    return [
        row.get_attribute("data-run") for row in browser.find_elements(By.CSS_SELECTOR, "#points tbody tr")
    ]


def box(browser: Chrome, place: str, value: str) -> WebElement:
    found = browser.find_elements(By.CSS_SELECTOR, f"#{place} input")
    return next(element for element in found if element.get_attribute("data-value") == value)


# --- a click on a point


@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_clicked_point_shows_its_run_and_the_numbers_of_the_csv(shown, rows, number):
    expected = of_plot(rows, shown)
    x, y = click_point(shown, shown.find_elements(By.CSS_SELECTOR, "#plot path.point")[number])
    row = expected[text(shown, "run-name")]
    assert (float(row["x"]), float(row["y"])) == pytest.approx((x, y), abs=0.01)
    assert (text(shown, "run-x"), text(shown, "run-y")) == (row["x"], row["y"])
    chosen = shown.find_elements(By.CSS_SELECTOR, "#points tr.chosen")
    assert [element.get_attribute("data-run") for element in chosen] == [row["run"]]


def test_the_maps_that_are_shown_are_those_of_the_file(shown, site):
    choose(shown, "digits_noisy_s1")
    image = shown.find_element(By.ID, "maps")
    WebDriverWait(shown, 10).until(lambda b: b.execute_script("return arguments[0].naturalWidth", image))
    file = site.layout.page_picture("digits_noisy_s1")
    assert Path(unquote(urlparse(image.get_attribute("src")).path)) == file.resolve()
    seen = np.asarray(Image.open(io.BytesIO(image.screenshot_as_png)).convert("RGB"))
    # Without its frame of one pixel.
    assert np.array_equal(seen[1:-1, 1:-1], np.asarray(Image.open(file)))


def test_a_run_without_maps_says_so(shown):
    choose(shown, "digits_bright_s1")
    assert "No gradient maps" in text(shown, "no-maps")
    assert not shown.find_elements(By.ID, "maps")


def test_the_sidecar_is_that_of_the_run(shown, site):
    choose(shown, "digits_noisy_s2")
    assert json.loads(text(shown, "sidecar")) == json.loads(
        site.layout.run_json("digits_noisy_s2").read_text()
    )


def test_a_run_shows_the_claims_that_were_judged_by_it(shown):
    Select(shown.find_element(By.ID, "y")).select_by_value("clean.accuracy (accuracy)")
    choose(shown, "line_plain_s0")
    assert [item.text.split(":")[0] for item in shown.find_elements(By.CSS_SELECTOR, "#run-claims li")] == [
        "confirmed tiny K1"
    ]


def choose(browser: Chrome, run: str) -> None:
    """By keyboard alone, from the table of points."""
    button = next(b for b in browser.find_elements(By.CSS_SELECTOR, "#points tbody button") if b.text == run)
    button.send_keys(Keys.ENTER)
    assert text(browser, "run-name") == run
    assert browser.switch_to.active_element.text == run  # Tab goes on from there


# --- filters and axes


def test_filters_leave_the_runs_that_the_csv_has_for_them(shown, rows):
    expected = of_plot(rows, shown)
    assert sorted(names(shown)) == sorted(expected)
    box(shown, "objective", "cross_entropy").click()
    assert sorted(names(shown)) == sorted(
        n for n, row in expected.items() if row["objective"] != "cross_entropy"
    )
    box(shown, "seed", "1").click()
    assert names(shown) == ["digits_noisy_s0", "digits_noisy_s2"]
    assert len(shown.find_elements(By.CSS_SELECTOR, "#plot path.point")) == 2
    box(shown, "dataset", f"digits {NASTY}").click()
    assert names(shown) == []
    shown.find_element(By.CSS_SELECTOR, "#dataset button").send_keys(Keys.ENTER)
    assert names(shown) == ["digits_noisy_s0", "digits_noisy_s2"]


def test_papers_filter_runs_claims_and_artifacts(shown):
    places = ("#points tbody tr", "#claim-table tbody tr", ".cards figure", "#tables li")
    assert all(shown.find_elements(By.CSS_SELECTOR, place) for place in places)
    box(shown, "papers", "tiny").click()
    assert not any(shown.find_elements(By.CSS_SELECTOR, place) for place in places)


def test_other_axes_can_be_chosen(shown, rows):
    Select(shown.find_element(By.ID, "x")).select_by_value("pgd.accuracy (pgd_accuracy)")
    expected = of_plot(rows, shown)
    x, y = click_point(shown, shown.find_elements(By.CSS_SELECTOR, "#plot path.point")[1])
    row = expected[text(shown, "run-name")]
    assert (text(shown, "run-x"), text(shown, "run-y")) == (row["x"], row["y"])
    assert (float(row["x"]), float(row["y"])) == pytest.approx((x, y), abs=0.01)


def test_diverged_runs_are_marked(shown):
    Select(shown.find_element(By.ID, "y")).select_by_value("clean.accuracy (accuracy)")
    (row,) = [r for r in shown.find_elements(By.CSS_SELECTOR, "#points tbody tr") if "line_plain" in r.text]
    assert "diverged" in row.text
    symbols = shown.execute_script(
        "return document.getElementById('plot').data.flatMap(trace => trace.marker.symbol)"
    )
    assert sum(symbol.endswith("-open") for symbol in symbols) == 2  # its own, and the ring of the chosen run


# --- claims, figures, tables


def claims(browser: Chrome) -> list[str]:
    return [
        r.get_attribute("data-claim") for r in browser.find_elements(By.CSS_SELECTOR, "#claim-table tbody tr")
    ]


def test_claims_can_be_sorted_and_filtered(shown):
    assert claims(shown) == ["tiny K1", "tiny K2"]
    button = next(
        b for b in shown.find_elements(By.CSS_SELECTOR, "#claim-table thead button") if b.text == "seeds"
    )
    button.send_keys(Keys.ENTER)
    assert claims(shown) == ["tiny K2", "tiny K1"]  # 8 seeds, 9 seeds
    shown.switch_to.active_element.send_keys(Keys.ENTER)
    assert claims(shown) == ["tiny K1", "tiny K2"]
    Select(shown.find_element(By.ID, "verdict")).select_by_value("not testable")
    assert claims(shown) == ["tiny K2"]
    Select(shown.find_element(By.ID, "verdict")).select_by_value("")
    shown.find_element(By.ID, "claim-text").send_keys("text 1")
    assert claims(shown) == ["tiny K1"]


def test_a_claim_leads_to_its_runs_and_back(shown):
    Select(shown.find_element(By.ID, "y")).select_by_value("clean.accuracy (accuracy)")
    before = names(shown)
    button = next(
        b for b in shown.find_elements(By.CSS_SELECTOR, "#claim-table tbody button") if b.text == "show 1"
    )
    button.send_keys(Keys.ENTER)
    assert names(shown) == ["line_plain_s0"]
    shown.find_element(By.CSS_SELECTOR, "#claim-filter button").send_keys(Keys.ENTER)
    assert names(shown) == before


def test_links_and_pictures_lead_to_files(shown):
    choose(shown, "digits_noisy_s0")
    targets = shown.execute_script(
        "return [...document.querySelectorAll('a[href], img[src]')].map(e => e.href || e.src)"
    )
    files = {Path(unquote(urlparse(target).path)) for target in targets if not urlparse(target).fragment}
    made_up = {"history.jsonl"}
    assert len(files) > 8
    assert {file.name for file in files if not file.is_file()} <= made_up
    here = [urlparse(target).fragment for target in targets if urlparse(target).fragment]
    assert all(shown.find_elements(By.ID, name) for name in here)


# --- what a page must not do


def test_data_are_text_and_nothing_else(shown):
    choose(shown, "digits_noisy_s0")
    click_point(shown, shown.find_elements(By.CSS_SELECTOR, "#plot path.point")[0])
    assert shown.execute_script("return window.broken === undefined && !document.querySelector('[onerror]')")
    assert NASTY in shown.find_element(By.ID, "details").text
    assert NASTY in shown.find_element(By.ID, "claim-table").text
    assert NASTY in shown.find_element(By.ID, "tables").text


def test_nothing_is_fetched_and_nothing_goes_wrong(shown):
    click_point(shown, shown.find_elements(By.CSS_SELECTOR, "#plot path.point")[0])
    fetched = shown.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in fetched if not name.startswith(("file:", "data:", "blob:"))] == []
    assert [line for line in shown.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []


def test_an_empty_tier_is_shown(browser, site, tmp_path):
    empty = {
        **site.content,
        "runs": [],
        "claims": [],
        "artifacts": [],
        "measurements": [],
        "start": None,
        "objectives": {},
    }
    file = tmp_path / "index.html"
    template = Path(__file__).parents[2] / "workflow/page"
    file.write_text(
        page.build(empty, template, "var Plotly = {react() {}}; HTMLElement.prototype.on = () => {};")
    )
    browser.get(file.as_uri())
    assert "0 of" in text(browser, "summary")
    assert "0 points" in text(browser, "about-points")
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
