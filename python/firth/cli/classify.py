"""``firth classify``: fastText's classifiers of lines of text."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from firth.cli.common import (
    UserError,
    at_least,
    check_output,
    checkpoint_of,
    command,
    continued_by,
    group,
    named,
    positive,
    read_lines,
    say,
)

if TYPE_CHECKING:
    from firth.fasttext import Model

# The options that shape a model, and their names in fastText. A checkpoint holds them.
_SHAPING = {
    "dim": "dim", "epochs": "epoch", "alpha": "lr", "loss": "loss", "word_ngrams": "wordNgrams",
    "min_n": "minn", "max_n": "maxn", "min_count": "minCount", "bucket": "bucket",
    "label": "label", "vectors": "pretrainedVectors", "seed": "seed",
}  # fmt: skip


def add(commands: Any) -> None:
    """Add the commands."""
    classify = group(commands, "classify", "Classifiers of lines of text: train, predict, test.")

    train = command(
        classify,
        "train",
        _train,
        "Train a classifier on lines of text with labels: the words that begin with __label__.",
        epilog="Defaults are those of Facebook's fastText, which reads the models too. For lines "
        "with several labels: --loss ova. Words are used unchanged, so lower case and "
        "punctuation must be treated alike in training, test and prediction. After Ctrl-C, SIGTERM "
        "or SIGHUP there is a checkpoint beside the output, and the command that continues is "
        "printed.",
    )
    number, count = at_least(1), at_least(0)
    train.add_argument("text", help="text file in UTF-8; - for standard input")
    train.add_argument(
        "-o", "--output", required=True, help="the model: .bin, or .ftz for a small, quantised one"
    )
    train.add_argument("--dim", type=number, help="dimensions of a vector [100]")
    train.add_argument("--epochs", type=number, help="passes over the text [5]")
    train.add_argument("--alpha", "--lr", type=positive, help="learning rate at the start [0.1]")
    train.add_argument("--loss", choices=("softmax", "ns", "hs", "ova"), help="[softmax]")
    train.add_argument("--word-ngrams", type=number, help="longest n-gram of words [1]")
    train.add_argument("--min-n", type=count, help="shortest n-gram of characters [0]")
    train.add_argument("--max-n", type=count, help="longest n-gram of characters [0]")
    train.add_argument("--min-count", type=number, help="ignore rarer words [1]")
    train.add_argument("--bucket", type=number, help="buckets of n-grams [2000000]")
    train.add_argument("--label", help="prefix of labels [__label__]")
    train.add_argument("--vectors", metavar="FILE", help="pretrained vectors, .vec")
    train.add_argument("--seed", type=count, help="seed of the random numbers [0]")
    train.add_argument("--workers", type=number, help="threads [all cores]")
    train.add_argument(
        "--resume", action="store_true", help="continue from the checkpoint of an interrupted run"
    )

    predict = command(classify, "predict", _predict, "Print the likeliest labels of each line.")
    test = command(
        classify, "test", _test, "Precision and recall of a classifier on lines with labels."
    )
    for one in (predict, test):
        one.add_argument("model", help="a .bin or .ftz of firth or fastText")
        one.add_argument("text", help="text file in UTF-8; - for standard input")
        one.add_argument("-k", "--number", type=number, default=1, help="most labels per line [1]")
        one.add_argument(
            "--threshold",
            type=float,
            default=0.0,
            help="lowest probability of a label [0]",
        )
    predict.add_argument(
        "--probabilities", action="store_true", help="print the probability behind each label"
    )
    test.add_argument("--per-label", action="store_true", help="for each label too")


def _train(arguments: argparse.Namespace) -> None:
    text, output, resume = arguments.text, arguments.output, arguments.resume
    if not output.endswith((".bin", ".ftz")):
        raise UserError(f"{output}: the name must end in .bin or .ftz")
    if text != "-":
        os.stat(text)
    check_output(output, *([] if text == "-" else [text]))
    settings = {name: getattr(arguments, name) for name in _SHAPING}
    given = {name: value for name, value in settings.items() if value is not None}
    checkpoint = checkpoint_of(output, resume, given)

    from firth import fasttext
    from firth.epochs import remove_checkpoint
    from firth.interrupt import deferred_interrupt

    start = time.perf_counter()
    again = ["firth", "classify", "train", text, "-o", output]
    name = "standard input" if text == "-" else text
    try:
        with continued_by(checkpoint, again), named(checkpoint if resume else name):
            if resume:  # the checkpoint stays until the model is saved
                model = fasttext.resume(checkpoint, text, arguments.workers, checkpoint=checkpoint)
            else:
                model = fasttext.train_supervised(
                    text, thread=arguments.workers, checkpoint=checkpoint,
                    **{_SHAPING[name]: value for name, value in given.items()},
                )  # fmt: skip
            if output.endswith(".ftz"):
                model.quantize()
    except RuntimeError as error:  # the model has become NaN
        raise UserError(f"{error} Try a lower --alpha") from None
    seconds = time.perf_counter() - start
    with deferred_interrupt() as interrupted:
        model.save_model(output)
    remove_checkpoint(checkpoint)
    say(
        f"{output}: {len(model.words):,} words, {len(model.labels):,} labels, "
        f"{model.get_dimension()} dimensions, {seconds:.1f} s"
    )
    if interrupted.is_set():
        raise KeyboardInterrupt(f"; {output} is complete")


def _predict(arguments: argparse.Namespace) -> None:
    model = _load(arguments.model)
    if arguments.text == "-":
        _label(model, sys.stdin.buffer, arguments)
    else:
        with open(arguments.text, "rb") as file:
            _label(model, file, arguments)


def _label(model: Model, source: BinaryIO, arguments: argparse.Namespace) -> None:
    for lines in read_lines(source):
        texts = [line.decode("utf-8", "replace") for line in lines]
        found = model.predict(texts, arguments.number, arguments.threshold, "replace")
        for labels, probabilities in zip(*found, strict=True):
            if arguments.probabilities:
                labels = [
                    f"{label} {min(float(one), 1.0):.4f}"
                    for label, one in zip(labels, probabilities, strict=True)
                ]
            say(" ".join(labels))
        sys.stdout.flush()  # a program that writes line by line gets an answer to each


def _test(arguments: argparse.Namespace) -> None:
    model, path, k = _load(arguments.model), arguments.text, arguments.number
    name = "standard input" if path == "-" else path
    with named(name):
        meter = model.get_meter(path, k, arguments.threshold)
    count, (precision, recall, _) = len(meter.true_counts), meter.precision_recall(None)
    if not count:
        raise UserError(f"{name}: no line has a label of the model, as {model.labels[0]!r}")
    say(f"lines   {count:,}")
    say(f"P@{k:<4}  {precision:.3f}")
    say(f"R@{k:<4}  {recall:.3f}")
    if arguments.per_label:
        for label, numbers in meter.of_labels().items():
            values = "   ".join(f"{name} {value:.3f}" for name, value in numbers.items())
            say(f"{values}   {label}")


def _load(path: str) -> Model:
    from firth import fasttext

    model = fasttext.load_model(path)
    if getattr(model, "model") != "supervised":  # noqa: B009
        raise UserError(f"{path}: holds word vectors, not a classifier")
    return model
