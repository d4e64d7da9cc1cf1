"""A knowledge base over the Model Context Protocol, asked by the protocol's own client."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import firth
from sentence_folders import sentence_folder

pytest.importorskip("mcp")


def called(folder: Path, *calls: tuple[str, dict[str, Any]]) -> tuple[list[str], list[Any]]:
    """Names of the tools of ``firth mcp folder``, and what these calls return."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    server = StdioServerParameters(
        command=sys.executable, args=["-m", "firth", "mcp", str(folder)], env=dict(os.environ)
    )

    async def ask() -> tuple[list[str], list[Any]]:
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            tools = await session.list_tools()
            results = [await session.call_tool(name, given) for name, given in calls]
            return [tool.name for tool in tools.tools], results

    return asyncio.run(asyncio.wait_for(ask(), 60))


def test_tools_of_a_knowledge_base(tmp_path):
    model = sentence_folder(tmp_path / "model", most=40)
    with firth.KnowledgeBase(tmp_path / "kb", str(model), size=16, overlap=4) as kb:
        (tmp_path / "a.txt").write_text("Bread\n\nBread is baked of flour and water.")
        kb.add([tmp_path / "a.txt"])
        (name,) = kb.documents
    names, results = called(
        tmp_path / "kb",
        ("search_documents", {"query": "bread", "k": 1}),
        ("list_documents", {}),
        ("read_document", {"document": name}),
        ("embed_texts", {"texts": ["bread", "water"]}),
        ("search_documents", {"query": "bread", "k": 0}),
        ("read_document", {"document": "../../etc/passwd"}),
    )
    assert names == ["search_documents", "list_documents", "read_document", "embed_texts"]
    found = results[0].structured_content["result"]
    assert found[0]["document"] == name
    assert "Bread" in found[0]["text"]
    assert results[1].structured_content["result"] == [name]
    assert results[2].content[0].text.endswith("flour and water.")
    vectors = results[3].structured_content["result"]
    assert [sum(x * x for x in row) for row in vectors] == pytest.approx([1, 1], abs=1e-5)
    assert results[4].is_error
    assert "from 1 to 50" in results[4].content[0].text
    assert results[5].is_error
    assert json.dumps(results[5].content[0].text).count("root:") == 0
