"""A page with made-up results, and a headless Chromium that shows it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import page_results
import pytest
from plotly.offline import get_plotlyjs
from selenium import webdriver

from pagrepro import page
from pagrepro.layout import Layout

ROOT = Path(__file__).parents[2]
PACKAGES = ("chromium", "chromium-driver")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# A profile of its own, nothing that asks a network; as root Chromium has no sandbox.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--window-size=2400,1600", "--force-device-scale-factor=1", "--hide-scrollbars",
)  # fmt: skip


def found() -> tuple[str | None, str | None]:
    """(browser, driver)."""
    return next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")


def install() -> None:
    """Debian's Chromium, which stays. Skips where there is no network, or no root to install it."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"needs root to install {' and '.join(PACKAGES)} from Debian")
    quiet: dict[str, Any] = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "text": True}
    subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL, **quiet)
    command = ["apt-get", "install", "-qy", "--no-install-recommends", *PACKAGES]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **quiet)
    if done.returncode:
        said = done.stdout.strip().splitlines()[-1]
        unreachable = (
            "Could not resolve",
            "Failed to fetch",
            "Could not connect",
            "Unable to locate package",
        )
        if any(text in done.stdout for text in unreachable):
            pytest.skip(f"needs a network for Debian's packages: {said}")
        pytest.fail(f"{' '.join(command)}: {said}")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if None in found() and os.environ.get("ALLOW_INSTALL") == "1":
        install()
    binary, driver = found()
    if binary is None or driver is None:
        pytest.skip(
            "needs Chromium and its driver: ALLOW_INSTALL=1 make test-browser installs Debian's packages"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    # With the path of the driver, selenium looks for none and fetches none.
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield running
    running.quit()


@dataclass(frozen=True)
class Site:
    """The page's files, and what it shows."""

    layout: Layout
    content: dict[str, Any]

    @property
    def url(self) -> str:
        return self.layout.page().resolve().as_uri()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("site")
    layout = Layout(root / "results/tiny")
    expansion = page_results.configuration().expand(root)
    page_results.finish(expansion, layout)
    return Site(layout, page.write(expansion, layout, ROOT / "workflow/page", get_plotlyjs()))
