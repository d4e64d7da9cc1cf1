"""The documentation in site/: links, what it loads, the reference, and pages in a real browser.

`make docs` builds it and runs these tests.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import firth
from pages import COURSE, PAGES, ROOT, blocks

SITE = ROOT / "site"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
KINDS = [  # a page of each kind
    "index.html",
    "words.html",
    "course/index.html",
    "course/11-attention.html",
    "coming-from/faiss-usearch-hnswlib.html",
    "reference/index.html",
    "reference/search.html",
    "certificate.html",
    "benchmarks.html",
    "benchmarks/results.html",
    "source/csrc/engines/gemm.cpp.html",
]
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(not SITE.exists(), reason="there is no site/: make docs"),
]


class Page(HTMLParser):
    """What a page has: anchors, links, and what a browser loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value is not None}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(found["href"])
        elif "src" in found:
            self.loaded.append(found["src"])


@cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def all_pages() -> list[Path]:
    # 404.html is for servers, and has addresses from their root.
    return [path for path in sorted(SITE.rglob("*.html")) if path.name != "404.html"]


def target_of(path: Path, link: str) -> tuple[Path, str]:
    """The file and the anchor that a link of a page leads to."""
    address, anchor = urldefrag(link)
    target = (path.parent / unquote(address)).resolve() if address else path
    return (target / "index.html" if target.is_dir() else target), unquote(anchor)


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in all_pages():
        for link in page(path).loaded:
            assert urlsplit(link)[:2] == ("", ""), f"{path}: {link}"
            assert target_of(path, link)[0].exists(), f"{path}: {link}"
    for path in SITE.rglob("*.css"):
        for link in re.findall(r"url\(([^)]+)\)", path.read_text(encoding="utf-8")):
            if not (link := link.strip("'\"")).startswith("data:"):
                assert not urlsplit(link).scheme, f"{path}: {link}"
                assert (path.parent / urldefrag(link)[0].partition("?")[0]).exists(), (
                    f"{path}: {link}"
                )


def test_every_link_and_anchor_leads_somewhere() -> None:
    wrong, seen = [], 0
    for path in all_pages():
        for link in page(path).links:
            if urlsplit(link).scheme:
                continue
            seen += 1
            target, anchor = target_of(path, link)
            if not target.is_relative_to(SITE) or not target.exists():
                wrong.append(f"{path.relative_to(SITE)}: {link}")
            elif anchor and anchor not in page(target).anchors:
                wrong.append(f"{path.relative_to(SITE)}: no anchor {link}")
    assert wrong == []
    assert seen > 10_000


def test_reference_has_every_public_name() -> None:
    path = SITE / "reference" / "index.html"
    text = path.read_text(encoding="utf-8")
    links = re.findall(r'<a href="([^"]+)"><code>firth\.(\w+)</code>', text)
    assert {name for _, name in links} == set(firth.__all__)
    for link, name in links:
        target, anchor = target_of(path, link)
        assert anchor in page(target).anchors or inspect.ismodule(getattr(firth, name)), name


def test_reference_has_what_pages_import() -> None:
    anchors = {f"firth.{name}" for name in firth.__all__}
    for path in (SITE / "reference").glob("*.html"):
        anchors |= page(path).anchors
    found = 0
    for one in PAGES:
        code = "".join(text for kind, text, _ in blocks(one) if kind == "python")
        for module, names in re.findall(r"^(?:>>> )?from (firth[\w.]*) import (.*)$", code, re.M):
            if module.startswith("firth.nn.operations"):  # the page on gradients shows the code
                continue
            for name in names.partition("#")[0].strip("( )").split(", "):
                full = f"{module}.{name.partition(' as ')[0]}"
                found += 1
                within = any(anchor.startswith(f"{full}.") for anchor in anchors)  # of a module
                assert full in anchors or within, full
    assert found > 100


def test_each_page_of_the_course_is_a_notebook() -> None:
    for one in COURSE:
        notebook = SITE / "course" / f"{one.stem}.ipynb"
        assert notebook.exists()
        assert f"{one.stem}.ipynb" in page(SITE / "course" / f"{one.stem}.html").links


@pytest.mark.parametrize("name", ["01-perceptron", "11-attention"])
def test_the_notebook_that_one_downloads_runs(name: str, tmp_path: Path) -> None:
    """The others have run as the site was built."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(SITE / "course" / f"{name}.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert len(list(tmp_path.glob(f"{name}-*.png"))) > 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None and "FIRTH_REQUIRE_BROWSER" not in os.environ:
        pytest.skip("needs Chromium: apt-get install chromium")
    with pytest.importorskip("playwright.sync_api").sync_playwright() as play:
        found = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield found
        found.close()


class Files(SimpleHTTPRequestHandler):
    """The site, without a line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of the site."""
    files = partial(Files, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Tab:
    """A page of the browser that notes errors, and what it asks others for."""

    def __init__(
        self, browser: Any, url: str, size: str = "desktop", scheme: str = "light"
    ) -> None:
        self.url = url
        width, height = SIZES[size]
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("requestfailed", self._lost)
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _lost(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # the tab went on to the next page before it came
            self.faults.append(f"lost {request.url}: {request.failure}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:")):
            self.faults.append(f"a request to {request.url}")

    def open(self, name: str) -> Any:
        self.page.goto(f"{self.url}/{name}")
        self.page.wait_for_load_state("load")
        return self.page

    def close(self) -> None:
        self.context.close()
        assert self.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", KINDS)
def test_page_in_a_browser(browser: Any, url: str, name: str, size: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = Tab(browser, url, size, scheme)
    opened = tab.open(name)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown = opened.evaluate("document.body.dataset.mdColorScheme")
    assert shown == {"light": "default", "dark": "slate"}[scheme]
    found = {
        one["id"]: [node["html"] for node in one["nodes"]][:3]
        for one in axe.run(opened).response["violations"]
        if one["id"] != "empty-table-header"  # the corner over a column of names
    }
    assert found == {}
    tab.close()


def test_formulas_of_every_page(browser: Any, url: str) -> None:
    tab = Tab(browser, url)
    count = 0
    for path in all_pages():
        if "arithmatex" in path.read_text(encoding="utf-8"):
            opened = tab.open(path.relative_to(SITE).as_posix())
            assert opened.locator(".katex-error").all_text_contents() == [], path.name
            left = opened.locator(".arithmatex:not(:has(.katex))").all_text_contents()
            assert left == [], path.name
            count += opened.locator(".katex").count()
            barred = (
                "e => getComputedStyle(e).overflowX != 'visible' && !e.classList.contains('wide')"
            )
            lines = opened.locator("span.arithmatex")
            assert not lines.evaluate_all(f"all => all.some({barred})"), path.name
    assert count > 100
    tab.close()


def test_menu_of_a_phone_by_the_keyboard(browser: Any, url: str) -> None:
    tab = Tab(browser, url, "phone")
    opened = tab.open("words.html")
    where = "document.activeElement.closest('.md-sidebar--primary') != null"
    stops = []
    for _ in range(12):
        opened.keyboard.press("Tab")
        assert not opened.evaluate(where)
        stops.append(opened.evaluate("document.activeElement.getAttribute('for')"))
    assert {"__drawer", "__search"} <= set(stops)
    opened.locator("label.md-header__button[for=__drawer]").focus()
    opened.keyboard.press("Enter")
    reached = []
    for _ in range(5):
        opened.keyboard.press("Tab")
        reached.append(opened.evaluate(where))
    assert any(reached)
    opened.keyboard.press("Escape")
    assert not opened.evaluate("document.getElementById('__drawer').checked")
    tab.close()


@pytest.mark.parametrize("place", ["server", "disk"])
def test_search_finds_a_name(browser: Any, url: str, place: str) -> None:
    tab = Tab(browser, url if place == "server" else f"file://{SITE}")
    # What was found is listed where scripts can't look, and Enter before that ends the search.
    for seconds in (1, 2, 4, 8, 16):
        opened = tab.open("index.html")
        opened.keyboard.press("Control+k")
        opened.keyboard.type("PackedMatrix")
        opened.wait_for_timeout(1000 * seconds)
        opened.keyboard.press("Enter")
        opened.wait_for_timeout(1000)
        if "index.html" not in opened.url:
            break
    page, _, anchor = opened.url.partition("#")
    assert "/reference/kernels.html" in page
    assert anchor in ("firth.kernels.PackedMatrix", "firth.kernels.matmul.PackedMatrix")
    assert opened.locator(f'[id="{anchor}"]').count() == 1
    tab.close()
