"""``firth train``: word vectors from a text."""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from firth.cli.common import (
    UserError,
    at_least,
    check_output,
    checkpoint_of,
    command,
    complain,
    continued_by,
    not_negative,
    on_ray,
    only_with_ray,
    options,
    positive,
    ray_option,
    say,
)
from firth.cli.vectors import save

if TYPE_CHECKING:
    from firth.words.corpus import FileCorpus

_MEGABYTE = 1 << 20
# The options that shape a model; a checkpoint holds them, so --resume takes none of them.
_SHAPING = (
    "model", "dim", "window", "min_count", "negative", "hs", "sample", "epochs", "seed", "alpha",
    "mode", "min_n", "max_n", "bucket", "x_max", "memory",
)  # fmt: skip
_WINDOWS, _NGRAMS = {"negative", "hs", "sample", "mode"}, {"min_n", "max_n", "bucket"}
_OWN = {  # options that only some models have: those of each
    "skipgram": _WINDOWS,
    "cbow": _WINDOWS,
    "fasttext": _WINDOWS | _NGRAMS,
    "glove": {"x_max", "memory"},
}
_SOME = set().union(*_OWN.values())


def add(commands: Any) -> None:
    """Add the command."""
    train = command(
        commands,
        "train",
        _train,
        "Train word vectors on a text: one sentence a line, words separated by spaces.",
        epilog="Defaults are gensim's, except that the model is skip-gram, not CBOW; for glove "
        "Stanford's, behind a semicolon where they differ. "
        "After Ctrl-C, SIGTERM or SIGHUP there is a checkpoint beside the output, and the command "
        "that continues is printed.",
    )
    train.add_argument("corpus", help="text file in UTF-8, may be compressed; -: standard input")
    train.add_argument(
        "-o", "--output", default="words.firth",
        help="the suffix selects the format: .txt, .vec, .bin (with --model fasttext: a file of "
        "Facebook's fastText), also .txt.gz, ...; any other: firth's own [words.firth]",
    )  # fmt: skip
    train.add_argument("--lower", action="store_true", help="convert the text to lower case")
    train.add_argument(
        "--tokenize",
        action="store_true",
        help="for raw text: use words of 2 to 15 letters in lower case, without punctuation and "
        "digits (firth.words.simple_preprocess)",
    )
    number = at_least(1)
    train.add_argument(
        "--model", choices=tuple(_OWN), help="fasttext: skip-gram with character n-grams [skipgram]"
    )
    train.add_argument("--dim", type=number, help="dimensions of a vector [100]")
    train.add_argument("--window", type=number, help="context words on each side [5; 15]")
    train.add_argument("--min-count", type=number, help="ignore words with fewer occurrences [5]")
    train.add_argument("--negative", type=number, help="negative samples per word [5]")
    train.add_argument(
        "--hs",
        action="store_const",
        const=1,
        help="hierarchical softmax; without --negative instead of negative samples",
    )
    train.add_argument(
        "--sample",
        type=not_negative,
        help="downsample words more frequent than this; 0: none [1e-3]",
    )
    train.add_argument("--epochs", type=number, help="passes over the text [5; 25]")
    train.add_argument("--alpha", type=positive, help="learning rate at the start [0.025; 0.05]")
    train.add_argument("--seed", type=at_least(0), help="seed of the random numbers [1]")
    train.add_argument(
        "--mode",
        choices=("shared", "independent"),
        help="draw negative samples per window (faster), or per pair of words as gensim [shared]",
    )
    train.add_argument("--min-n", type=number, help="fasttext: shortest n-gram [3]")
    train.add_argument("--max-n", type=number, help="fasttext: longest n-gram [6]")
    train.add_argument("--bucket", type=number, help="fasttext: hash buckets for n-grams [2000000]")
    train.add_argument("--x-max", type=positive, help="glove: the count that has full weight [100]")
    train.add_argument("--memory", type=positive, help="glove: GiB for counting pairs [4]")
    train.add_argument("--workers", type=number, help="threads; with --ray processes [all cores]")
    ray_option(train, "interval", "words that each worker trains between two averages")
    train.add_argument(
        "--resume", action="store_true", help="continue from the checkpoint of an interrupted run"
    )


def _train(arguments: argparse.Namespace) -> None:
    """Check everything that can be checked first, then prepare the text and train."""
    corpus, output = arguments.corpus, arguments.output
    only_with_ray(arguments, ["interval"])
    if arguments.ray is not None:
        if corpus == "-" or arguments.lower or arguments.tokenize:
            raise UserError("--ray takes files as they are: prepare the text and save it first")
    elif not _is_stream(corpus):
        _check_corpus(corpus)
    check_output(output, *([corpus] if os.path.exists(corpus) else []))
    shaping = {name: getattr(arguments, name) for name in _SHAPING}
    given = {name: value for name, value in shaping.items() if value is not None}
    checkpoint = checkpoint_of(output, arguments.resume, given)
    flags = [f"--{one}" for one in ("lower", "tokenize") if getattr(arguments, one)]
    flags += ["--ray", arguments.ray] if arguments.ray is not None else []
    again = ["firth", "train", corpus, "-o", output, *flags]

    import firth
    from firth.epochs import remove_checkpoint
    from firth.interrupt import deferred_interrupt
    from firth.words.vector_files import format_of_name

    format = format_of_name(output)  # an output that is only read is an error now, not at the end
    kinds: dict[str, Any] = {
        "word2vec": firth.Word2Vec, "fasttext": firth.FastText, "glove": firth.GloVe,
    }  # fmt: skip
    name = given.pop("model", "skipgram")
    if not arguments.resume:
        foreign = [one for one in given if one not in _OWN[name] and one in _SOME]
        if foreign:
            raise UserError(f"{options(foreign)}: not an option of --model {name}")

    def new(**more: Any) -> Any:
        return kinds[name if name in kinds else "word2vec"](**_settings(name, given), **more)

    start = time.perf_counter()
    try:
        with continued_by(checkpoint, again):
            if arguments.ray is not None:
                model = _trained_on_ray(arguments, new, checkpoint)
            else:
                model = _trained(arguments, new, kinds, checkpoint)
    except RuntimeError as error:
        raise UserError(str(error)) from None
    seconds = time.perf_counter() - start
    with deferred_interrupt() as interrupted:
        if isinstance(model, firth.FastText) and format == "word2vec-binary":
            firth.words.save_facebook_model(model, output)
        else:
            save(model.wv, output, format or "firth")
    remove_checkpoint(checkpoint)
    say(f"{output}: {len(model.wv):,} words, {model.wv.vector_size} dimensions, {seconds:.1f} s")
    if interrupted.is_set():
        raise KeyboardInterrupt(f"; {output} is complete")


def _trained(
    arguments: argparse.Namespace, new: Callable[..., Any], kinds: dict[str, Any], checkpoint: str
) -> Any:
    """The model, trained by this process; its checkpoint stays until the vectors are saved."""
    from firth.formats import container

    if arguments.resume and (kind := container.read(checkpoint, mmap="r").kind) not in kinds:
        nature = container.nature(kind)
        raise UserError(f"{checkpoint}: holds {nature}, not a model in training")
    with _opened(arguments) as text:
        if arguments.resume:
            return kinds[kind].resume(
                checkpoint, text, workers=arguments.workers, checkpoint=checkpoint
            )
        model = new(workers=arguments.workers)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty vocabulary is an error of train
            model.build_vocab(text)
        _check_space(arguments.output, _bytes_of_checkpoint(model))
        model.train(text, checkpoint=checkpoint)
    return model


def _trained_on_ray(arguments: argparse.Namespace, new: Callable[..., Any], checkpoint: str) -> Any:
    """The model, trained by a cluster; its checkpoint stays until the vectors are saved."""
    from firth.distributed import resume, train

    with on_ray(arguments.ray):
        if arguments.resume:
            return resume(checkpoint, arguments.corpus, checkpoint=checkpoint)
        return train(
            new(), arguments.corpus, workers=arguments.workers, interval=arguments.interval,
            checkpoint=checkpoint,
        )  # fmt: skip


@contextlib.contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[FileCorpus]:
    """The text to train on, unpacked, and in lower case or as words only where that is wanted."""
    from firth.formats.files import plain
    from firth.words.corpus import FileCorpus

    path = name = arguments.corpus
    if path == "-":
        path, name = "/dev/stdin", "standard input"
    changed = arguments.tokenize or arguments.lower
    with tempfile.TemporaryFile() if changed else plain(path) as file:
        if changed:
            _prepare(path, name, file, arguments)
        _check_text(file, name)
        if not changed:
            _say_if_raw(file, name)
        yield FileCorpus(file, name)


def _is_stream(path: str) -> bool:
    """Whether this is standard input, or a pipe such as the shell's <(command)."""
    return path == "-" or (
        os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
    )


def _is_compressed(path: str) -> bool:
    from firth.formats.files import reading

    with reading(path) as source:
        return source.size is None


def _prepare(path: str, name: str, file: BinaryIO, arguments: argparse.Namespace) -> None:
    """Write the text in lower case, or as words only, line by line as it is unpacked."""
    from firth.words import simple_preprocess
    from firth.words.readers import file_lines

    for number, line in enumerate(file_lines(path), 1):
        if b"\0" in line:  # of which --tokenize would leave nothing to see
            raise UserError(f"{name}: is not text in UTF-8, line {number} has a NUL")
        if arguments.tokenize:
            line = " ".join(simple_preprocess(line)).encode()
        else:
            text = line.decode("utf-8", "surrogateescape").lower()
            line = text.encode("utf-8", "surrogateescape")
        file.write(line + b"\n")
    file.seek(0)


def _say_if_raw(file: BinaryIO, name: str) -> None:
    from firth.words.preprocessing import looks_raw

    file.seek(0)
    head = file.read(_MEGABYTE)
    signs = looks_raw(head.decode("utf-8", "replace").splitlines())
    if signs:
        complain(
            f"hint: {name} looks like raw text: {signs}. --tokenize trains on its words in lower "
            "case, without punctuation; --lower only changes the case"
        )


def _bytes_of_checkpoint(model: Any) -> int:
    """Two matrices; GloVe: two, as much again for sums of squares, and the vectors."""
    import firth

    size: int = (5 if isinstance(model, firth.GloVe) else 2) * model.wv.vectors.nbytes
    if isinstance(model, firth.FastText):
        size += model.wv.vectors_vocab.nbytes + model.wv.vectors_ngrams.nbytes
    return size


def _settings(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the model's class."""
    names = {"dim": "vector_size", "mode": "negatives"}
    if name == "glove":
        return {{**names, "alpha": "eta"}.get(one, one): value for one, value in given.items()}
    settings = {names.get(one, one): value for one, value in given.items()}
    if "hs" in given:
        settings.setdefault("negative", 0)
    return settings | {"sg": int(name != "cbow")}


def _check_corpus(path: str) -> None:
    """Refuse a file that is not text, before any work; compressed ones are checked unpacked."""
    with open(path, "rb") as file:  # a missing or unreadable file is an OSError with its reason
        if not _is_compressed(path):
            _check_text(file, path)


def _check_text(file: BinaryIO, name: str) -> None:
    head = file.read(2)
    if not head:
        raise UserError(f"{name}: is empty")
    if head in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{name}: is UTF-16; convert it to UTF-8 first")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        nul = data.find(b"\0", 0, 64 * _MEGABYTE)
    if nul >= 0:
        raise UserError(f"{name}: is not text, it has a NUL at byte {nul}")


def _check_space(path: str, size: int) -> None:
    """Fail early when the disk has no room for the vectors or for a checkpoint of both matrices."""
    free = shutil.disk_usage(os.path.dirname(os.path.realpath(path))).free
    device = os.path.exists(path) and not os.path.isfile(path)
    if free < size and not device:
        raise UserError(
            f"{path}: the disk has {free / 1e6:,.0f} MB free, "
            f"vectors and checkpoint take {size / 1e6:,.0f} MB"
        )
