"""The command line, ``firth``: train, similar, analogy, info, vectors, convert, index, eval, ...

Here are arguments, messages and exit codes, nothing that computes. To add a command, add a parser
in `_parser` and the function that it names. Exit codes: 0, 2 for an error (one line on stderr), 130
for Ctrl-C, 141 where the reader of a pipe went away.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import importlib.util
import mmap
import os
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from firth import __version__

if TYPE_CHECKING:
    from firth.search import Index
    from firth.words import KeyedVectors

_MEGABYTE = 1 << 20
_ANY_FILE = (
    "vectors: of firth, gensim, word2vec (text or binary), GloVe, fastText, spaCy, model2vec"
)
_WRITABLE = ("firth", "word2vec", "word2vec-binary", "glove", "spacy")  # of firth.words.files
# The options that shape a model; a checkpoint holds them, so --resume takes none of them.
_SHAPING = (
    "model", "dim", "window", "min_count", "negative", "hs", "sample", "epochs", "seed", "alpha",
    "mode", "x_max", "memory",
)  # fmt: skip
_GLOVE_ONLY, _NOT_GLOVE = ("x_max", "memory"), ("negative", "hs", "sample", "mode")


class UserError(Exception):
    """What was asked for cannot be done; the message is one line for the user."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    ``argv`` are the arguments behind the program's name, by default those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # any word can be printed anywhere
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
    except BrokenPipeError:
        # As `firth similar ... | head -1`. Python flushes stdout once more at exit: to nowhere.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as interrupt:
        print(f"\nfirth: interrupted{''.join(map(str, interrupt.args))}", file=sys.stderr)
        return 130
    except (
        UserError, OSError, ValueError, TypeError, MemoryError, FloatingPointError, ImportError,
    ) as error:  # fmt: skip
        if isinstance(error, TypeError) and "must be" not in str(error):
            raise  # not what firth says of its input
        print(f"firth: error: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror.lower()
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}"
    return " ".join(str(error).split())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="firth", description="Word vectors: train them on a text, ask them for similar words."
    )
    parser.add_argument("--version", action="version", version=f"firth {__version__}")
    parser.set_defaults(run=lambda _: parser.print_help())
    commands = parser.add_subparsers(title="commands", metavar="command")

    def command(name: str, run: Any, summary: str, **more: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary, **more)
        added.set_defaults(run=run)
        return added

    train = command(
        "train",
        _train,
        "Train word vectors on a text: one sentence a line, words separated by spaces.",
        epilog="Defaults are gensim's, except that the model is skip-gram, not CBOW; "
        "glove has Stanford's, behind a semicolon where they differ. "
        "Ctrl-C leaves a checkpoint beside the output and prints the command that goes on.",
    )
    train.add_argument("corpus", help="text file in UTF-8")
    train.add_argument("-o", "--output", default="words.firth", help="[words.firth]")
    number, rate = _at_least(1), _positive
    train.add_argument("--model", choices=("skipgram", "cbow", "glove"), help="[skipgram]")
    train.add_argument("--dim", type=number, help="dimensions of a vector [100]")
    train.add_argument("--window", type=number, help="words on each side that count [5; 15]")
    train.add_argument("--min-count", type=number, help="leave out rarer words [5]")
    train.add_argument("--negative", type=number, help="negative samples a word [5]")
    train.add_argument(
        "--hs",
        action="store_const",
        const=1,
        help="hierarchical softmax; without --negative instead of negative samples",
    )
    train.add_argument(
        "--sample",
        type=_not_negative,
        help="thin out more frequent words; 0: none [1e-3]",
    )
    train.add_argument("--epochs", type=number, help="passes over the text [5; 25]")
    train.add_argument("--alpha", type=rate, help="learning rate at the start [0.025; 0.05]")
    train.add_argument("--seed", type=_at_least(0), help="of the random numbers [1]")
    train.add_argument(
        "--mode",
        choices=("shared", "independent"),
        help="negative samples for a whole window (faster), or for each pair as gensim [shared]",
    )
    train.add_argument("--x-max", type=rate, help="glove: the count that has full weight [100]")
    train.add_argument("--memory", type=rate, help="glove: GiB for counting pairs [4]")
    train.add_argument("--workers", type=number, help="threads [all cores]")
    train.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint of an interrupted run"
    )

    def count(to: argparse.ArgumentParser) -> None:
        to.add_argument("vectors", help=_ANY_FILE)
        to.add_argument("-n", "--number", type=number, default=10, help="how many words [10]")

    similar = command("similar", _similar, "The words most similar to a word.")
    count(similar)
    similar.add_argument("word")

    analogy = command(
        "analogy", _analogy, "What is to C as A is to B? The words nearest A - B + C."
    )
    count(analogy)
    for name in "abc":
        analogy.add_argument(name, metavar=name.upper())
    analogy.epilog = "firth analogy words.firth king man woman: king - man + woman."

    info = command("info", _info, "About a file of vectors, or about this installation.")
    info.add_argument("vectors", nargs="?", help=_ANY_FILE)

    about_files: Any = command(
        "vectors", lambda _: about_files.print_help(), "About files of vectors."
    )
    about = about_files.add_subparsers(title="commands", metavar="command").add_parser(
        "info",
        help="Format, size and first words of a file, without reading all of it where possible.",
    )
    about.add_argument("vectors", help=_ANY_FILE)
    about.set_defaults(run=_info)

    convert = command("convert", _convert, "Write vectors in another format.")
    convert.add_argument("vectors", help=_ANY_FILE)
    convert.add_argument(
        "output", help="its suffix says the format: .firth, .txt, .vec, .bin; also .gz, ..."
    )
    convert.add_argument("--format", choices=_WRITABLE, help="where the suffix does not say it")

    about_indexes: Any = command(
        "index", lambda _: about_indexes.print_help(), "Search indexes: build, search, stats."
    )
    indexes = about_indexes.add_subparsers(title="commands", metavar="command")

    def index_command(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = indexes.add_parser(name, help=summary, description=summary)
        added.set_defaults(run=run)
        return added

    build = index_command("build", _index_build, "Build an index of vectors for exact search.")
    build.add_argument(
        "vectors", help="a matrix .npy, whose rows get the ids 0, 1, ...; or, with words as ids, "
        + _ANY_FILE,
    )  # fmt: skip
    build.add_argument("-o", "--output", required=True, help="the index file, such as x.index")
    build.add_argument(
        "--metric",
        choices=("cosine", "ip", "l2"),
        default="cosine",
        help="the score: cosine, inner product, or minus the squared distance [cosine]",
    )
    build.add_argument(
        "--storage",
        choices=("float32", "float16", "bfloat16", "int8"),
        default="float32",
        help="how the numbers are kept; the smaller ones round them [float32]",
    )
    build.add_argument(
        "--cells",
        type=_cells,
        metavar="auto|N",
        help="for millions of vectors: visit the nearest of N cells only, and miss some [none]",
    )

    search = index_command(
        "search", _index_search, "The vectors of an index that score best, with their scores."
    )
    search.add_argument("index", help="a file that firth index build wrote")
    search.add_argument("id", nargs="?", help="search for the vector of this id (or word)")
    search.add_argument(
        "--queries", metavar="FILE", help=".npy: a vector, or a matrix of one query a row"
    )
    search.add_argument("-k", "--number", type=_at_least(1), default=10, help="how many [10]")

    stats = index_command("stats", _index_stats, "Size and contents of an index.")
    stats.add_argument("index", help="a file that firth index build wrote")
    stats.add_argument(
        "--verify", action="store_true", help="read all of it and compare its checksums"
    )

    evaluate = command("eval", _evaluate, "How well vectors agree with people's judgements.")
    evaluate.add_argument("vectors", help=_ANY_FILE)
    evaluate.add_argument(
        "--analogies", metavar="FILE", help="lines 'a b c d' in sections ': name', as Google's"
    )
    evaluate.add_argument(
        "--pairs", metavar="FILE", nargs="+", default=[], help="lines 'word<tab>word<tab>number'"
    )
    evaluate.add_argument(
        "--restrict", type=number, default=300000, metavar="N", help="first words used [300000]"
    )
    evaluate.epilog = (
        "Without files, those that come with an installed gensim are used: Google's analogies, "
        "WordSim-353, SimLex-999."
    )

    plot = command("plot", _plot, "Draw words and their neighbours as a labelled picture.")
    plot.add_argument("vectors", help=_ANY_FILE)
    plot.add_argument("words", nargs="*", help="words to show with their neighbours [a sample]")
    plot.add_argument("-o", "--output", default="words.png", help=".png or .svg [words.png]")
    plot.add_argument("--method", choices=("pca", "umap"), default="pca", help="[pca]")
    plot.add_argument("--analogy", nargs=3, metavar=("A", "B", "C"), help="draw A - B + C = ?")

    demo = command(
        "demo",
        _demo,
        "Train on the documentation of this Python installation, show neighbours and a picture.",
    )
    demo.add_argument("-o", "--output", default="firth-demo.png", help="[firth-demo.png]")
    return parser


def _at_least(minimum: int) -> Any:
    def whole(text: str) -> int:
        if int(text) < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, got {text}")
        return int(text)

    whole.__name__ = "whole number"
    return whole


def _cells(text: str) -> int | str:
    return text if text == "auto" else int(_at_least(2)(text))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def _not_negative(text: str) -> float:
    return 0.0 if float(text) == 0 else _positive(text)


# Training


def _train(arguments: argparse.Namespace) -> None:
    _check_corpus(arguments.corpus)
    output = arguments.output
    _check_output(output)
    if os.path.exists(output) and os.path.samefile(output, arguments.corpus):
        raise UserError(f"{output} is the corpus; it would be overwritten")
    checkpoint = f"{output}.checkpoint"
    shaping = {name: getattr(arguments, name) for name in _SHAPING}
    given = {name: value for name, value in shaping.items() if value is not None}
    if arguments.resume and given:
        raise UserError(f"--resume takes {_options(given)} from the checkpoint; leave it out")
    if arguments.resume and not os.path.exists(checkpoint):
        raise UserError(f"there is no {checkpoint} to resume from")
    if os.path.exists(checkpoint) and not arguments.resume:
        raise UserError(
            f"{checkpoint} is left from an interrupted run: "
            "--resume goes on from it, or remove it to start anew"
        )

    import firth
    from firth.formats import container
    from firth.interrupt import deferred_interrupt

    if arguments.resume:
        is_glove = container.read(checkpoint, mmap="r").kind == "glove"
    else:
        is_glove = given.get("model") == "glove"
        foreign = [name for name in (_NOT_GLOVE if is_glove else _GLOVE_ONLY) if name in given]
        if foreign:
            model_name = given.get("model", "skipgram")
            raise UserError(f"{_options(foreign)}: not an option of --model {model_name}")
    names = {"dim": "vector_size", "mode": "negatives"} | ({"alpha": "eta"} if is_glove else {})
    settings = {names.get(name, name): value for name, value in given.items() if name != "model"}
    kind: Any = firth.GloVe if is_glove else firth.Word2Vec
    if not is_glove:
        settings["sg"] = int(given.get("model", "skipgram") == "skipgram")
        if "hs" in given:
            settings.setdefault("negative", 0)
    common = {"corpus_file": arguments.corpus, "workers": arguments.workers}
    start = time.perf_counter()
    try:
        if arguments.resume:
            model = kind.resume(checkpoint, **common)
        else:
            model = kind(**settings, workers=arguments.workers)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an empty vocabulary is an error of train
                model.build_vocab(corpus_file=arguments.corpus)
            # A checkpoint holds the other matrix too; GloVe's two, and as much of sums of squares.
            parts = 5 if is_glove else 2
            _check_space(output, parts * model.wv.vectors.nbytes)
            model.train(corpus_file=arguments.corpus, checkpoint=checkpoint)
    except RuntimeError as error:
        raise UserError(str(error)) from None
    except KeyboardInterrupt:
        if os.path.exists(checkpoint):
            command = shlex.join(["firth", "train", arguments.corpus, "-o", output, "--resume"])
            raise KeyboardInterrupt(f"; go on with: {command}") from None
        raise KeyboardInterrupt(" before training began; nothing was saved") from None
    seconds = time.perf_counter() - start
    with deferred_interrupt() as interrupted:
        model.wv.save(output)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(checkpoint)
    print(f"{output}: {len(model.wv):,} words, {model.wv.vector_size} dimensions, {seconds:.1f} s")
    if interrupted.is_set():
        raise KeyboardInterrupt(f"; {output} is complete")


def _options(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _check_corpus(path: str) -> None:
    """Refuse what is no text, before any work."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise UserError(f"{path}: must be a file, since it is read several times")
    with open(path, "rb") as file:  # a missing or unreadable file is an OSError with its reason
        head = file.read(_MEGABYTE)
        if not head or not os.path.getsize(path):
            raise UserError(f"{path}: is empty")
        if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")):
            raise UserError(f"{path}: is compressed; unpack it first")
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UserError(f"{path}: is UTF-16; convert it to UTF-8 first")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            nul = data.find(b"\0", 0, 64 * _MEGABYTE)
        if nul >= 0:
            raise UserError(f"{path}: is not text, it has a NUL at byte {nul}")


def _check_output(path: str) -> None:
    """Refuse an output that cannot be written, before the work that would be lost."""
    folder = os.path.dirname(os.path.realpath(path))
    if not path or os.path.isdir(path):
        raise UserError(f"{path or 'the output'}: is a folder, or no name")
    if not os.path.isdir(folder):
        raise UserError(f"{path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{path}: the folder {folder} cannot be written to")


def _check_space(path: str, size: int) -> None:
    """Refuse to train what the disk cannot hold: the vectors, or a checkpoint of both matrices."""
    free = shutil.disk_usage(os.path.dirname(os.path.realpath(path))).free
    device = os.path.exists(path) and not os.path.isfile(path)
    if free < size and not device:
        raise UserError(
            f"{path}: the disk has {free / 1e6:,.0f} MB free, "
            f"vectors and checkpoint take {size / 1e6:,.0f} MB"
        )


# Asking


def _load(path: str) -> KeyedVectors:
    from firth.words.files import load_vectors

    return load_vectors(path)


def _similar(arguments: argparse.Namespace) -> None:
    _ask(arguments, [arguments.word], [])


def _analogy(arguments: argparse.Namespace) -> None:
    _ask(arguments, [arguments.a, arguments.c], [arguments.b])


def _ask(arguments: argparse.Namespace, positive: list[str], negative: list[str]) -> None:
    vectors = _load(arguments.vectors)
    for word in positive + negative:
        _check_word(vectors, word, arguments.vectors)
    for word, score in vectors.most_similar(positive, negative, topn=arguments.number):
        print(f"{score:.4f}  {word}")


def _check_word(vectors: KeyedVectors, word: str, path: str) -> None:
    if word not in vectors:
        raise UserError(
            f"{word!r} is not among the {len(vectors):,} words of {path}"
            + _close_words(vectors, vectors.index_to_key, word)
        )


def _close_words(known: KeyedVectors | Index, words: list[str], word: str) -> str:
    """A hint at words that are spelt alike, or nothing. Looks at the most frequent words only."""
    candidates = [other for other in words[:100_000] if abs(len(other) - len(word)) <= 2]
    close = [word.lower()] if word.lower() in known else []
    close += [one for one in difflib.get_close_matches(word, candidates, 4) if one not in close]
    return f"; did you mean {', '.join(close)}?" if close else ""


def _info(arguments: argparse.Namespace) -> None:
    if arguments.vectors is None:
        from firth.system import info

        print(info())
        return
    from firth.words.files import describe

    found = describe(arguments.vectors)
    lines = {
        "file": f"{arguments.vectors}, {_size(arguments.vectors) / 1e6:,.1f} MB",
        "format": found.format,
        "words": "not counted" if found.words is None else f"{found.words:,}",
        "dimensions": f"{found.dimensions} ({found.dtype})",
        "first": ", ".join(found.first),
        **found.more,
    }
    for name, value in lines.items():
        print(f"{name:<11}  {value}")


def _size(path: str) -> int:
    """Bytes of a file, or of those in a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(entry) for entry in os.scandir(path) if entry.is_file())


def _convert(arguments: argparse.Namespace) -> None:
    from firth.words.files import format_of_name, save_vectors

    output, wanted = arguments.output, arguments.format
    os.stat(arguments.vectors)
    if os.path.exists(output) and os.path.samefile(output, arguments.vectors):
        raise UserError(f"{output} is the input; it would be overwritten")
    if format_of_name(output) is None and wanted is None:
        raise UserError(
            f"{output}: its suffix is none of .firth, .txt, .vec, .bin, so it does not say the "
            f"format; give --format ({', '.join(_WRITABLE)})"
        )
    if wanted != "spacy":
        _check_output(output)
    vectors = _load(arguments.vectors)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        save_vectors(vectors, output, wanted)
    for warning in warned:
        print(f"firth: warning: {' '.join(str(warning.message).split())}", file=sys.stderr)
    print(f"{output}: {len(vectors):,} words, {vectors.vector_size} dimensions")


# Indexes


def _index_build(arguments: argparse.Namespace) -> None:
    import firth
    from firth.formats import npy
    from firth.progress import progress_bar

    given, output = arguments.vectors, arguments.output
    os.stat(given)
    _check_output(output)
    if os.path.exists(output) and os.path.samefile(output, given):
        raise UserError(f"{output} is the input; it would be overwritten")
    start = time.perf_counter()
    rows: Any
    ids: Any = None
    if given.endswith(".npy"):
        rows = npy.read(given, mmap="r")
        if rows.ndim != 2:
            raise UserError(f"{given}: holds an array of shape {rows.shape}, wanted a matrix")
        count, dim = rows.shape
    else:
        rows = _load(given)
        ids = rows.index_to_key
        count, dim = len(rows), rows.vector_size
    index = firth.Index(dim, arguments.metric, arguments.storage, cells=arguments.cells)
    with progress_bar(count, " vectors", "building") as bar:
        # Cells are best found when all vectors are there.
        step = 65536 if arguments.cells is None else max(1, count)
        for first in range(0, count, step):
            some = slice(first, first + step)
            with _named(f"{given}, in the vectors from {first:,} on" if first else given):
                if ids is None:
                    index.add(rows[some])
                else:
                    index.add(rows[ids[some]], ids[some])
            bar.update(min(step, count - first))
    index.save(output)
    print(
        f"{output}: {count:,} vectors, {dim} dimensions, {os.path.getsize(output) / 1e6:,.1f} MB, "
        f"{time.perf_counter() - start:.1f} s"
    )


def _index_search(arguments: argparse.Namespace) -> None:
    import firth
    from firth.formats import npy

    if (arguments.id is None) == (arguments.queries is None):
        raise UserError("give an id or --queries FILE, one of the two")
    index, k = firth.Index.open(arguments.index, "r"), arguments.number
    if arguments.queries is None:
        wanted = _known_id(index, arguments.id, arguments.index)
        _print_matches("", *index.search(index.get(wanted), k, exclude=[wanted]))
        return
    with _named(arguments.queries):
        queries = npy.read(arguments.queries)
        found = index.search(queries, k)
    if queries.ndim == 1:
        _print_matches("", *found)
        return
    for number, (ids, scores) in enumerate(zip(*found, strict=True)):
        _print_matches(f"{number}  ", ids, scores)


def _print_matches(prefix: str, ids: Any, scores: Any) -> None:
    for one, score in zip(ids, scores, strict=True):
        print(f"{prefix}{score:.4f}  {one}")


def _known_id(index: Index, text: str, path: str) -> Any:
    named = index._state.names is not None
    if text in index:
        return text
    if not named and text.lstrip("-").isdecimal() and int(text) in index:
        return int(text)
    hint = _close_words(index, index.ids, text) if named else ""
    raise UserError(f"{text!r} is not among the {len(index):,} ids of {path}{hint}")


def _index_stats(arguments: argparse.Namespace) -> None:
    import firth

    path = arguments.index
    index = firth.Index.open(path, "r", verify=arguments.verify)
    numbers = index.stats()
    log = f"{path}.log"
    size = os.path.getsize(log) if os.path.exists(log) else 0
    lines = {
        "file": f"{path}, {os.path.getsize(path) / 1e6:,.1f} MB",
        "log": f"{size / 1e6:,.1f} MB of changes since" if size else "empty",
        "vectors": f"{len(index):,}",
        "dimensions": f"{index.dim} ({index.storage})",
        "metric": index.metric,
        "dead": f"{numbers['dead']:,} removed or replaced, until the file is compacted",
    }
    if len(index):
        first = index._state.ids(index._state.live_labels()[:5])
        lines["ids"] = f"{'int' if first.dtype == 'int64' else 'str'}: {', '.join(map(str, first))}"
    if numbers["cells"]:
        lines["cells"] = f"{numbers['cells']:,}, of which a search visits {numbers['probe']:,}"
    if arguments.verify:
        lines["checksums"] = "right"
    for name, value in lines.items():
        print(f"{name:<11}  {value}")


def _demo(arguments: argparse.Namespace) -> None:
    from firth import demo

    if not arguments.output.endswith(".png"):
        raise UserError(f"{arguments.output}: the picture is a PNG, so its name must end in .png")
    _check_output(arguments.output)
    demo.run(arguments.output)


def _evaluate(arguments: argparse.Namespace) -> None:
    analogies, pairs = arguments.analogies, arguments.pairs
    if analogies is None and not pairs:
        found = importlib.util.find_spec("gensim")
        if found is None or found.origin is None:
            raise UserError("give --analogies FILE or --pairs FILE (or install gensim for its own)")
        data = os.path.join(os.path.dirname(found.origin), "test", "test_data")
        analogies = os.path.join(data, "questions-words.txt")
        pairs = [os.path.join(data, name) for name in ("wordsim353.tsv", "simlex999.txt")]
    for path in [*pairs, *([] if analogies is None else [analogies])]:
        os.stat(path)  # a missing one is told before vectors are read
    vectors, limit = _load(arguments.vectors), arguments.restrict
    for path in pairs:
        with _named(path):
            pearson, spearman, unknown = vectors.evaluate_word_pairs(path, restrict_vocab=limit)
        print(
            f"{os.path.basename(path):<32} Spearman {spearman.statistic:6.3f}   "
            f"Pearson {pearson.statistic:6.3f}   unknown {unknown:.1f} %"
        )
    if analogies is None:
        return
    with _named(analogies):
        _, sections = vectors.evaluate_word_analogies(analogies, restrict_vocab=limit)
        if len(sections) == 1:  # the total
            raise ValueError("has no sections of analogies")
    for section in sections:
        right, wrong = len(section["correct"]), len(section["incorrect"])
        share = f"{100 * right / (right + wrong):5.1f} %" if right + wrong else "   no words"
        print(f"{section['section']:<32} {share}   {right:,} of {right + wrong:,}")


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """What is wrong with a file is said with its name."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error) if path in str(error) else f"{path}: {error}") from None


def _plot(arguments: argparse.Namespace) -> None:
    output = arguments.output
    if not output.endswith((".png", ".svg")):
        raise UserError(f"{output}: the name must end in .png or .svg")
    _check_output(output)
    vectors = _load(arguments.vectors)
    for word in [*arguments.words, *(arguments.analogy or [])]:
        _check_word(vectors, word, arguments.vectors)
    figure = vectors.plot(arguments.words or None, arguments.method, analogy=arguments.analogy)
    from firth.formats.files import atomic

    with atomic(output) as file:
        figure.savefig(file, format=output[-3:])
    print(output)
