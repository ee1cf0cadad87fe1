"""A browser for the tests in this directory; without one they are skipped."""

from collections.abc import Iterator

import pytest

from tests.browser.chromium import BROWSER, DRIVER, Chromium, chromium


@pytest.fixture(scope="session")
def session_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if not BROWSER or not DRIVER:
        pytest.skip(
            "no Chromium with ChromeDriver on this machine"
            " (on Debian: apt-get install chromium chromium-driver)"
        )
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(session_browser: Chromium) -> Chromium:
    """A window of the usual size, in light colours, with nothing in its console."""
    session_browser.resize(1400, 900)
    session_browser.prefer("light")
    session_browser.log()
    return session_browser
