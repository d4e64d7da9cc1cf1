"""Builds the documentation: `make docs`, or `python docs/site/build.py`; the result is in site/.

Every page is run, so that its pictures are those of this version. What is built is collected in
build/docs/: pages of docs/ with their pictures, notebooks of the course, the reference, plots of
the benchmarks, and the source files that pages link to. zensical.toml says how it looks.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import notebooks  # noqa: E402
import plots  # noqa: E402
import reference  # noqa: E402

from pages import COURSE, DOCS, PAGES, README, blocks, needs  # noqa: E402

OUT = ROOT / "build" / "docs"
KATEX, WORKER = "katex@0.19.1", "iframe-worker@1.0.4"  # packages of npm
# Pages from outside of docs/, and their places in the site.
PLACES = {
    README: "index.md",
    ROOT / "CONTRIBUTING.md": "contributing.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    ROOT / "benchmarks" / "RESULTS.md": "benchmarks/results.md",
    ROOT / "benchmarks" / "NOTES.md": "benchmarks/notes.md",
}
LANGUAGES = {".py": "python", ".cpp": "cpp", ".h": "cpp", ".md": "markdown"}
FENCES = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#]+)(#[^)]*)?\)")


def place_of(path: Path) -> str:
    """Where a file of the repository is in the site; what is no page becomes one of its source."""
    if path in PLACES:
        return PLACES[path]
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    return f"source/{name}" if path.suffix == ".png" else f"source/{name}.md"


def page_text(path: Path) -> str:
    """A page as it is in the site: links lead to places there, which are made where they lack."""
    here = Path(place_of(path)).parent

    def moved(link: re.Match[str]) -> str:
        target = (path.parent / link[1]).resolve()
        if not target.exists():
            return link[0]  # a picture that the page's own code makes, or an error of the build
        place = place_of(target)
        if place.startswith("source/"):
            add_source(target)
        return f"]({os.path.relpath(place, here)}{link[2] or ''})"

    parts = FENCES.split(path.read_text(encoding="utf-8"))
    return "".join(part if i % 2 else LINK.sub(moved, part) for i, part in enumerate(parts))


def put(place: str, text: str) -> None:
    (OUT / place).parent.mkdir(parents=True, exist_ok=True)
    (OUT / place).write_text(text, encoding="utf-8")


def add_source(path: Path) -> None:
    """A file that a page links to, as a page of its own (of a folder, its files), or a picture."""
    place = place_of(path)
    if (OUT / place).exists():
        return
    if path.suffix == ".png":
        (OUT / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, OUT / place)
        return
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        body = "\n".join(f"- `{one.name}`" for one in sorted(path.iterdir()))
    else:
        fence = "`" * 6  # longer than any in the file
        language = LANGUAGES.get(path.suffix, "text")
        body = f"{fence}{language}\n{path.read_text(encoding='utf-8')}{fence}"
    put(place, f"---\nsearch:\n  exclude: true\n---\n\n# {name}\n\n{body}\n")


def run(page: Path) -> list[Path]:
    """Run a page, those of the course as notebooks; the pictures that it leaves, in the site."""
    if absent := [name for name in needs(page) if find_spec(name) is None]:
        raise SystemExit(f"make docs: {page.name} needs {', '.join(absent)}")
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        if page in COURSE:
            notebook = notebooks.of_page(page)
            place = OUT / "course" / f"{page.stem}.ipynb"
            place.parent.mkdir(exist_ok=True)
            notebooks.write(notebook, place)
            notebooks.execute(copy.deepcopy(notebook), Path(folder))
        else:
            command = [sys.executable, str(ROOT / "tests" / "pages.py"), str(page), folder]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for picture in Path(folder).glob("*.png"):
            to = OUT / Path(place_of(page)).parent / picture.name
            pictures.append(Path(shutil.copy(picture, to)))
    return pictures


def add_page(page: Path) -> None:
    text = page_text(page)
    if page in COURSE:
        link = f"[This page as a notebook]({page.stem}.ipynb){{ download }}"
        title, rest = text.split("\n", 1)
        text = f"{title}\n\n{link}\n{rest}"
    if page == DOCS / "benchmarks.md":
        text += plots.sections(OUT / "benchmarks")
    put(place_of(page), text)


def add_scripts() -> None:
    """KaTeX, which sets formulas, and what searches pages that are read from the disk."""
    assets = OUT / "assets"
    shutil.copytree(Path(__file__).parent / "assets", assets)
    with tempfile.TemporaryDirectory() as folder:
        katex = npm_package(KATEX, Path(folder)) / "dist"
        shutil.copytree(katex / "fonts", assets / "fonts", ignore=lambda _, names: [
            name for name in names if not name.endswith(".woff2")
        ])  # fmt: skip
        shutil.copy(katex / "katex.min.js", assets)
        style = (katex / "katex.min.css").read_text(encoding="utf-8")
        style = re.sub(r",url\([^)]*\) format\(\"(woff|truetype)\"\)", "", style)
        (assets / "katex.min.css").write_text(style, encoding="utf-8")
        worker = npm_package(WORKER, Path(folder))
        shutil.copy(worker / "shim" / "index.js", assets / "iframe-worker.js")
        for package in (katex.parent, worker):
            name = package.parent.name
            shutil.copy(package / "LICENSE", assets / f"{name}-LICENSE.txt")


def npm_package(name: str, folder: Path) -> Path:
    """Fetch a package with scripts, unpacked."""
    to = folder / name.partition("@")[0]
    to.mkdir()
    try:
        subprocess.run(["npm", "pack", "--silent", name], cwd=to, check=True, stdout=sys.stderr)
    except FileNotFoundError:
        raise SystemExit("make docs needs npm, which fetches scripts of the pages") from None
    (archive,) = to.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(to)
    return to / "package"


def keep_local(site: Path) -> None:
    """One script of the theme comes from elsewhere: let pages take the copy beside them."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        here = os.path.relpath(site / "assets" / "iframe-worker.js", path.parent)
        path.write_text(
            text.replace("https://unpkg.com/iframe-worker/shim", here), encoding="utf-8"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the documentation into site/.")
    parser.add_argument("--no-run", action="store_true", help="leave out the pictures of pages")
    without_pictures = parser.parse_args().no_run
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(DOCS, OUT, ignore=shutil.ignore_patterns("*.md", "site"))
    add_scripts()
    reference.write(OUT / "reference")
    pages = [page for page in PAGES if page != README]
    for page in [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *pages]:
        add_page(page)
    for path in (ROOT / "benchmarks").glob("[RN]*.md"):
        put(place_of(path), page_text(path))
    for page in [] if without_pictures else PAGES:
        if blocks(page):
            start = time.monotonic()
            run(page)
            print(f"{page.relative_to(ROOT)}: {time.monotonic() - start:.1f} s", flush=True)
    shutil.rmtree(ROOT / "site", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    subprocess.run(command, cwd=ROOT, check=True)
    keep_local(ROOT / "site")


if __name__ == "__main__":
    main()
