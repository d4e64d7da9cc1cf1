"""A knowledge base as a server of the Model Context Protocol, by the protocol's own SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from firth.optional import needs

if TYPE_CHECKING:
    from firth.rag import KnowledgeBase

_MOST_PASSAGES, _MOST_TEXTS = 50, 1000


def mcp_server(knowledge_base: KnowledgeBase) -> Any:
    """A server whose tools search a knowledge base, read its documents and embed texts.

    Parameters
    ----------
    knowledge_base : KnowledgeBase

    Returns
    -------
    mcp.server.MCPServer
        ``run()`` serves one client on stdin and stdout.

    Raises
    ------
    ImportError
        The package mcp is missing.
    """
    refused = needs("mcp.server.mcpserver.exceptions", "firth mcp").ToolError
    server = needs("mcp.server", "firth mcp").MCPServer(
        "firth",
        instructions=f"{len(knowledge_base)} documents: search_documents finds passages in them.",
        log_level="WARNING",
    )

    @server.tool()  # type: ignore[untyped-decorator]
    def search_documents(query: str, k: int = 5) -> list[dict[str, Any]]:
        """The k passages that fit a query best: document, text, where it stands, score."""
        if not 1 <= k <= _MOST_PASSAGES:
            raise refused(f"k must be from 1 to {_MOST_PASSAGES}, got {k}")
        return [
            {"document": one.document, "text": one.text, "start": one.start, "end": one.end,
             "score": one.score}
            for one in knowledge_base.search(query, k)
        ]  # fmt: skip

    @server.tool()  # type: ignore[untyped-decorator]
    def list_documents() -> list[str]:
        """The names of all documents."""
        return knowledge_base.documents

    @server.tool()  # type: ignore[untyped-decorator]
    def read_document(document: str) -> str:
        """The whole text of a document."""
        if document not in knowledge_base:
            raise refused(f"no document {document!r}")
        return knowledge_base.text(document)

    @server.tool()  # type: ignore[untyped-decorator]
    def embed_texts(texts: list[str]) -> list[list[float]]:
        """A vector of length 1 for each text; cosines tell how alike two texts are."""
        if not 1 <= len(texts) <= _MOST_TEXTS:
            raise refused(f"there must be 1 to {_MOST_TEXTS} texts, got {len(texts)}")
        vectors: list[list[float]] = knowledge_base.model.encode(
            texts, normalize_embeddings=True
        ).tolist()
        return vectors

    return server
