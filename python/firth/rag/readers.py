"""Files as text: plain text, Markdown, HTML, CSV, JSON lines, PDF, Word, PowerPoint, Excel.

Each reader gives `Reading`s: one for a file, or one for each row of a table and of JSON lines,
whose other fields are metadata. The text is what passages are slices of. Markup of HTML is taken
out, that of Markdown stays.
"""

from __future__ import annotations

import contextlib
import csv
import html.parser
import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from firth.errors import FormatError
from firth.optional import needs
from firth.rag.filters import JOINED, plain
from firth.rag.splitting import Section


@dataclass
class Reading:
    """What a reader found.

    Attributes
    ----------
    text : str
    title : str
        Empty where the text does not have one.
    sections : list of Section
        Where headings stand, each with those above it.
    metadata : dict
    part : str
        Which of a file's documents this is, "#3" or "#Sheet1!3"; empty for a whole file.
    """

    text: str
    title: str = ""
    sections: list[Section] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    part: str = ""


def read(path: str, data: bytes) -> list[Reading]:
    """The documents of a file, by its suffix.

    FormatError where the content is not what the suffix says; ImportError where a package is
    needed that is not installed.
    """
    reader = READERS[os.path.splitext(path)[1].lower()]
    try:
        found = list(reader(data))
    except ImportError:
        raise
    except FormatError as error:
        raise FormatError(str(error), path) from None
    except Exception as error:  # whatever a parser raises for a damaged file
        raise FormatError(f"cannot be read: {error or type(error).__name__}", path) from error
    for reading in found:
        reading.text, reading.title = unicode_only(reading.text), unicode_only(reading.title)
    return found


def unicode_only(text: str) -> str:
    """Of the same length, without zero characters and lone surrogates."""
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def text_of(data: bytes) -> str:
    """UTF-8, or UTF-16 where a mark says so, or else Windows-1252. Lines end with a line feed.

    Single bytes that are wrong in a text of UTF-8 become U+FFFD. FormatError for what is no text.
    """
    mark = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    if not mark and b"\0" in data[:8192]:
        raise FormatError("is no text: it has zero bytes")
    text = data.decode("utf-16" if mark else "utf-8-sig", "replace")
    if not mark and "\ufffd" in text and text.replace("\ufffd", "").isascii():
        text = data.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def plain_text(text: str) -> Reading:
    """Text as it is; its title is a short first line with an empty line below, if there is one."""
    match = re.match(r"\s*(\S[^\n]{0,99})\n[^\S\n]*\n", text)
    title = match[1].strip() if match and not re.search(r"[.,;:]$", match[1].strip()) else ""
    return Reading(text, title)


def _text(data: bytes) -> Iterator[Reading]:
    yield plain_text(text_of(data))


# Headings: "# Title", or underlined; not in fenced code.
_MARKDOWN = re.compile(
    r"^(?P<fence>```|~~~)"
    r"|^(?P<marks>#{1,6})[ \t]+(?P<title>[^\n]*?)[ \t]*#*$"
    r"|^(?P<over>[^\s#>|`*+-][^\n]*)\n(?P<under>=+|-{2,})[ \t]*$",
    re.MULTILINE,
)


def _markdown(data: bytes) -> Iterator[Reading]:
    text = text_of(data)
    headings, fenced = [], False
    front = re.match(r"---\n.*?\n---[ \t]*\n", text, re.DOTALL)  # settings of YAML
    for match in _MARKDOWN.finditer(text, front.end() if front else 0):
        if match["fence"]:
            fenced = not fenced
        elif not fenced and match["marks"]:
            headings.append((match.start(), len(match["marks"]), match["title"]))
        elif not fenced and match["over"]:
            headings.append((match.start(), 1 if match["under"][0] == "=" else 2, match["over"]))
    yield structured(text, headings)


def structured(text: str, headings: list[tuple[int, int, str]]) -> Reading:
    """A text with headings: where each begins, its level, and what it says.

    A first heading of the top level, with no other one of that level, is the title.
    """
    top = [one for one in headings if one[1] == min(level for _, level, _ in headings)]
    title = top[0][2] if len(top) == 1 and headings[0] == top[0] else ""
    sections: list[Section] = []
    above: list[tuple[int, str]] = []
    for start, level, words in headings:
        above = [one for one in above if one[0] < level]
        above.append((level, words))
        names = [one for _, one in above]
        sections.append(Section(start, " > ".join(names[1:] if title else names)))
    return Reading(text, title, sections)


_HIDDEN = {"script", "style", "template", "noscript", "svg"}
_BLOCKS = {
    "p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "ul", "ol",
    "table", "pre", "blockquote", "figure", "form", "dl", "hr", "h1", "h2", "h3", "h4", "h5",
    "h6", "title",
}  # fmt: skip
_LINES = {"br", "li", "tr", "dt", "dd", "option"}


class _Page(html.parser.HTMLParser):
    """The text of a page, with its headings."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.headings: list[tuple[int, int, str]] = []
        self._hidden, self._gap, self._pre = 0, "", 0
        self._heading: tuple[int, int, int] | None = None
        self._in_title = False
        self._parts: list[str] = []
        self._length = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._in_title |= tag == "title" and not self.title
        self._hidden += tag in _HIDDEN
        self._pre += tag == "pre"
        if tag in _BLOCKS or tag in _LINES:
            self._break("\n\n" if tag in _BLOCKS else "\n")
        elif tag in ("td", "th"):
            self._break(" ")
        if re.fullmatch("h[1-6]", tag):
            self._heading = (-1, int(tag[1]), len(self._parts))

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        self._hidden -= tag in _HIDDEN and self._hidden > 0
        self._pre -= tag == "pre" and self._pre > 0
        if self._heading and re.fullmatch("h[1-6]", tag):
            start, level, first = self._heading
            words = "".join(self._parts[first:]).split()
            if words:
                self.headings.append((start, level, " ".join(words)))
            self._heading = None
        if tag in _BLOCKS:
            self._break("\n\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
            return
        if self._hidden:
            return
        if not self._pre:
            if data[:1].isspace():
                self._break(" ")
            after = " " if data[-1:].isspace() else ""
            data = " ".join(data.split())
        else:
            after = ""
        if data:
            self._add(self._gap if self._length else "")
            self._gap = ""
            if self._heading and self._heading[0] < 0:
                self._heading = (self._length, self._heading[1], len(self._parts))
            self._add(data)
            self._break(after)

    def _add(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)

    def _break(self, gap: str) -> None:
        """White space before the next words: the largest of what was asked for."""
        self._gap = max(self._gap, gap, key=lambda one: (one.count("\n"), len(one)))

    def reading(self) -> Reading:
        found = structured("".join(self._parts), self.headings)
        found.title = " ".join(self.title.split()) or found.title
        return found


def _html(data: bytes) -> Iterator[Reading]:
    declared = re.search(rb"<meta[^>]{0,200}charset=[\"']?([\w-]+)", data[:4096], re.IGNORECASE)
    try:
        text = data.decode(declared[1].decode() if declared else "utf-8")
    except (LookupError, UnicodeDecodeError):
        text = text_of(data)
    page = _Page()
    page.feed(text)
    page.close()
    yield page.reading()


# Rows: each is a document


def _csv(data: bytes, delimiter: str = ",") -> Iterator[Reading]:
    rows = csv.DictReader(io.StringIO(text_of(data), newline=""), delimiter=delimiter, strict=True)
    for number, row in enumerate(rows, 1):
        if None in row:
            raise FormatError(f"row {number} has more fields than the first line has names")
        fields = {name: _number(value) for name, value in row.items() if value}
        yield _of_fields(fields, f"#{number}")


def _number(text: str) -> str | int | float:
    """A number of a table, so that filters can compare it; "007" is none."""
    if not re.fullmatch(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?", text):
        return text
    return float(text) if "." in text else int(text)


def _json_lines(data: bytes) -> Iterator[Reading]:
    for number, line in enumerate(text_of(data).split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FormatError(f"line {number} is no JSON: {error}") from None
            yield _of_fields(row if isinstance(row, dict) else {"text": row}, f"#{number}")


def _of_fields(row: dict[str, Any], part: str) -> Reading:
    """A row whose fields have names: the text is its field "text", or all of them as lines."""
    shown = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in row.items()
    }
    text = shown.get("text")
    if text is None:
        text = "\n".join(f"{name}: {value}" for name, value in shown.items())
    metadata = {}
    for name, value in row.items():
        if name not in ("text", "title", "document", *JOINED):
            with contextlib.suppress(TypeError, ValueError):  # what a filter could not compare
                value = unicode_only(value) if isinstance(value, str) else value
                metadata[unicode_only(name)] = plain("", name, value)
    return Reading(text, shown.get("title", ""), metadata=metadata, part=part)


# Through other libraries

# pypdf's errors are raised; its warnings are nothing for the terminal, to which Python writes what
# no handler takes. A program that has a handler still gets them.
_UNHEARD = logging.NullHandler()


def _pdf(data: bytes) -> Iterator[Reading]:
    package = needs("pypdf", "reading PDF")
    logging.getLogger("pypdf").addHandler(_UNHEARD)
    document = package.PdfReader(io.BytesIO(data))
    pages, start, sections = [], 0, []
    for number, page in enumerate(document.pages, 1):
        text = page.extract_text()
        sections.append(Section(start, f"page {number}"))
        pages.append(text)
        start += len(text) + 2
    title = document.metadata.title if document.metadata else None
    yield Reading("\n\n".join(pages), (title or "").strip(), sections)


def _word(data: bytes) -> Iterator[Reading]:
    package = needs("docx", "reading Word documents", "python-docx")
    document = package.Document(io.BytesIO(data))
    parts, headings, start = [], [], 0
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            text = "\n".join(" | ".join(cell.text for cell in row.cells) for row in block.rows)
        else:
            text = block.text
            style = re.fullmatch(r"Heading (\d)|(Title)", block.style.name if block.style else "")
            if style and text.strip():
                headings.append((start, int(style[1] or 0), text.strip()))
        parts.append(text)
        start += len(text) + 2
    yield structured("\n\n".join(parts), headings)


def _slides(data: bytes) -> Iterator[Reading]:
    package = needs("pptx", "reading PowerPoint", "python-pptx")
    parts: list[str] = []
    sections, start = [], 0
    presentation = package.Presentation(io.BytesIO(data))
    for number, slide in enumerate(presentation.slides, 1):
        title = slide.shapes.title
        heading = " ".join(title.text_frame.text.split()) if title is not None else ""
        sections.append(Section(start, heading or f"slide {number}"))
        found = list(_shapes(slide.shapes))
        if slide.has_notes_slide:
            found.append(slide.notes_slide.notes_text_frame.text)
        parts.append("\n\n".join(filter(None, found)))
        start += len(parts[-1]) + 2
    yield Reading("\n\n".join(parts), (presentation.core_properties.title or "").strip(), sections)


def _shapes(shapes: Any) -> Iterator[str]:
    """The text of boxes, tables and groups, in the order of a slide."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        elif shape.has_text_frame:
            yield shape.text_frame.text
        elif shape.has_table:
            yield "\n".join(" | ".join(cell.text for cell in row.cells) for row in shape.table.rows)


def _sheets(data: bytes) -> Iterator[Reading]:
    """Each row below the first one of a sheet, which has the names."""
    package = needs("openpyxl", "reading Excel")
    book = package.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    for sheet in book.worksheets:
        rows = sheet.iter_rows(values_only=True)
        names = [None if one is None else str(one).strip() for one in next(rows, ())]
        for number, row in enumerate(rows, 1):
            fields = {
                name or f"column {i}": value
                if isinstance(value, (int, float))
                else str(value).removesuffix(" 00:00:00")  # a date
                for i, (name, value) in enumerate(zip_longest(names, row), 1)
                if value is not None
            }
            if fields:
                yield _of_fields(fields, f"#{sheet.title}!{number}")


READERS: dict[str, Callable[[bytes], Iterator[Reading]]] = {
    **dict.fromkeys((".txt", ".text", ".rst", ".log"), _text),
    **dict.fromkeys((".md", ".markdown"), _markdown),
    **dict.fromkeys((".html", ".htm", ".xhtml"), _html),
    ".csv": _csv,
    ".tsv": lambda data: _csv(data, "\t"),
    **dict.fromkeys((".jsonl", ".ndjson"), _json_lines),
    ".pdf": _pdf,
    ".docx": _word,
    ".pptx": _slides,
    ".xlsx": _sheets,
}
