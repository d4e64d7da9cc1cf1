"""Every format as text, title, sections and metadata; damaged files are named."""

from __future__ import annotations

import datetime
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from firth import FormatError
from firth.rag.readers import READERS, read
from firth.rag.splitting import Section


def one(name: str, data: bytes | str):
    (found,) = read(name, data.encode() if isinstance(data, str) else data)
    return found


def saved(document: Any) -> bytes:
    """The file of a document of another library."""
    data = io.BytesIO()
    document.save(data)
    return data.getvalue()


def test_text() -> None:
    assert one("a.txt", "The Bell\r\n\r\nA text.\rMore.").text == "The Bell\n\nA text.\nMore."
    assert one("a.txt", "The Bell\n\nA text.").title == "The Bell"
    assert one("a.txt", "No title.\n\nA text.").title == ""
    assert one("a.txt", "Too long " * 20 + "\n\nA text.").title == ""
    assert one("a.txt", "﻿naïve 😀".encode()).text == "naïve 😀"
    assert one("a.txt", "naïve".encode("utf-16")).text == "naïve"
    assert one("a.txt", b"na\xefve").text == "naïve"
    assert one("a.txt", "naïve ".encode() + b"\xff").text == "naïve �"
    assert one("a.txt", "").text == ""
    with pytest.raises(FormatError, match=r"a\.txt: is no text"):
        read("a.txt", b"\x7fELF\0\0\0")


def test_markdown() -> None:
    text = (
        "---\nkey: value\n---\n# Title #\n\nIntro\n\n## One\ntext\n\n### Deep\n\n"
        "```\n# no heading\n```\n\nTwo\n---\nend\n"
    )
    found = one("a.md", text)
    assert (found.text, found.title) == (text, "Title")
    assert [(text[s.start :].split("\n")[0], s.heading) for s in found.sections] == [
        ("# Title #", ""), ("## One", "One"), ("### Deep", "One > Deep"), ("Two", "Two"),
    ]  # fmt: skip
    found = one("a.md", "# One\n\na\n\n# Two\n\nb\n")
    assert found.title == ""
    assert [section.heading for section in found.sections] == ["One", "Two"]


def test_html() -> None:
    found = one(
        "a.html",
        "<html><head><title> A &amp; B </title><style>p {}</style></head><body><script>bad()"
        "</script><h1>Cats</h1><p>A   <b>cat</b>\nsat.<br>Here.</p><ul><li>one<li>two</ul>"
        "<h2>More <i>cats</i></h2><pre>a\n  b</pre><table><tr><td>x</td><td>y</td></table>"
        "&lt;p&gt;",
    )
    assert found.title == "A & B"
    assert found.text == (
        "Cats\n\nA cat sat.\nHere.\n\none\ntwo\n\nMore cats\n\na\n  b\n\nx y\n\n<p>"
    )
    assert found.sections[-1].heading.endswith("More cats")
    assert found.text[found.sections[-1].start :].startswith("More cats")
    latin = '<meta charset="latin-1"><p>na\xefve'.encode("latin-1")
    assert one("a.html", latin).text == "naïve"
    assert one("a.html", "<p>unclosed <b>text").text == "unclosed text"


def test_rows_of_tables() -> None:
    rows = read("a.csv", b'name,year,code\n"Ann, B",1990,007\n,2.5,x\n')
    assert [row.part for row in rows] == ["#1", "#2"]
    assert rows[0].text == "name: Ann, B\nyear: 1990\ncode: 007"
    assert rows[0].metadata == {"name": "Ann, B", "year": 1990, "code": "007"}
    assert rows[1].metadata == {"year": 2.5, "code": "x"}
    assert read("a.tsv", b"a\tb\n1\t2\n")[0].metadata == {"a": 1, "b": 2}
    assert read("a.csv", b"") == []
    with pytest.raises(FormatError, match=r"a\.csv: row 1 has more fields"):
        read("a.csv", b"a,b\n1,2,3\n")
    with pytest.raises(FormatError, match=r"a\.csv: cannot be read"):
        read("a.csv", b'a,b\n"1,2')


def test_json_lines() -> None:
    rows = read("a.jsonl", b'{"text": "T", "title": "A", "year": 3, "tags": ["x"]}\n\n"just"\n')
    assert [(row.text, row.title, row.part) for row in rows] == [
        ("T", "A", "#1"),
        ("just", "", "#3"),
    ]
    assert rows[0].metadata == {"year": 3}
    row = one(
        "a.jsonl", b'{"a": "x\\ud800\\u0000", "document": 1, "n": NaN, "big": 1e400, "b": [1]}'
    )
    assert row.text.startswith("a: x��\n")
    assert row.metadata == {"a": "x��"} or row.metadata.keys() == {"a"}
    for bad in (b"{", b"[" * 100_000, b"\xff\xfe{"):
        with pytest.raises(FormatError, match=r"a\.jsonl: line 1 is no JSON"):
            read("a.jsonl", bad)


def test_pdf() -> None:
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter()
    for words in ("First page", "Second page"):
        page = writer.add_blank_page(200, 200)
        font = pypdf.generic.DictionaryObject({
            pypdf.generic.NameObject("/Type"): pypdf.generic.NameObject("/Font"),
            pypdf.generic.NameObject("/Subtype"): pypdf.generic.NameObject("/Type1"),
            pypdf.generic.NameObject("/BaseFont"): pypdf.generic.NameObject("/Helvetica"),
        })  # fmt: skip
        page[pypdf.generic.NameObject("/Resources")] = pypdf.generic.DictionaryObject({
            pypdf.generic.NameObject("/Font"): pypdf.generic.DictionaryObject(
                {pypdf.generic.NameObject("/F1"): font}
            )
        })  # fmt: skip
        content = pypdf.generic.DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 100 Td ({words}) Tj ET".encode())
        page[pypdf.generic.NameObject("/Contents")] = writer._add_object(content)
    writer.add_metadata({"/Title": "Two pages"})
    data = io.BytesIO()
    writer.write(data)
    found = one("a.pdf", data.getvalue())
    assert found.title == "Two pages"
    assert found.text.split() == ["First", "page", "Second", "page"]
    assert [section.heading for section in found.sections] == ["page 1", "page 2"]
    assert found.text[found.sections[1].start :].startswith("Second")
    with pytest.raises(FormatError, match=r"a\.pdf: cannot be read"):
        read("a.pdf", b"%PDF-1.4 nothing")


def test_what_pypdf_logs_is_not_for_the_terminal() -> None:
    pytest.importorskip("pypdf")
    code = (
        "from firth.rag.readers import read\n"
        "for _ in range(2):\n"
        "    try: read('a.pdf', b'%PDF-1.4 nothing')\n"
        "    except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("a.pdf: cannot be read: ") == 2
    assert done.stderr == ""


def test_word_documents() -> None:
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("Report", 0)
    document.add_paragraph("Intro.")
    document.add_heading("Part", 1)
    document.add_paragraph("Words.")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "x", "y"
    found = one("a.docx", saved(document))
    assert found.title == "Report"
    assert found.text == "Report\n\nIntro.\n\nPart\n\nWords.\n\nx | y"
    assert found.sections == [Section(0, ""), Section(16, "Part")]
    with pytest.raises(FormatError, match=r"a\.docx: cannot be read"):
        read("a.docx", b"PK nothing")


def test_presentations() -> None:
    pptx = pytest.importorskip("pptx")
    document = pptx.Presentation()
    document.core_properties.title = "Talk"
    slide = document.slides.add_slide(document.slide_layouts[1])
    slide.shapes.title.text, slide.placeholders[1].text = "The first", "It begins."
    slide.notes_slide.notes_text_frame.text = "Say hello."
    slide = document.slides.add_slide(document.slide_layouts[6])
    table = slide.shapes.add_table(1, 2, 0, 0, 100, 100).table
    table.cell(0, 0).text, table.cell(0, 1).text = "x", "y"
    inner = slide.shapes.add_group_shape().shapes.add_textbox(0, 0, 100, 100)
    inner.text_frame.text = "Inside."
    found = one("a.pptx", saved(document))
    assert found.title == "Talk"
    assert found.text == "The first\n\nIt begins.\n\nSay hello.\n\nx | y\n\nInside."
    assert found.sections == [Section(0, "The first"), Section(35, "slide 2")]
    with pytest.raises(FormatError, match=r"a\.pptx: cannot be read"):
        read("a.pptx", b"PK nothing")


def test_sheets() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "Staff"
    for row in (["name", "year", None], ["Ann", 1990, "x"], [None, None], ["Bob", 2.5]):
        book.active.append(row)
    book.create_sheet("Empty")
    more = book.create_sheet("Days")
    more.append(["text", "day"])
    more.append(["It rains.", datetime.date(2026, 1, 2)])
    first, second, third = read("a.xlsx", saved(book))
    assert first.text == "name: Ann\nyear: 1990\ncolumn 3: x"
    assert first.metadata == {"name": "Ann", "year": 1990, "column 3": "x"}
    assert (second.metadata, second.part) == ({"name": "Bob", "year": 2.5}, "#Staff!3")
    assert (third.text, third.part) == ("It rains.", "#Days!1")
    assert third.metadata == {"day": "2026-01-02"}
    with pytest.raises(FormatError, match=r"a\.xlsx: cannot be read"):
        read("a.xlsx", b"PK nothing")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    with pytest.raises(ImportError, match="reading PDF needs pypdf: pip install pypdf"):
        read("a.pdf", b"")


def test_suffixes_are_lower_case() -> None:
    assert all(Path(f"x{suffix}").suffix == suffix == suffix.lower() for suffix in READERS)
