"""Training of word vectors with fastText's arguments: `firth.words.FastText` does the work."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from firth.fasttext.checkpoints import GIVEN
from firth.fasttext.model import EOS, Model
from firth.fasttext.quantise import packed
from firth.formats.fasttext import LOSSES, MODELS, Args
from firth.formats.files import PathLike
from firth.words.corpus import Corpus, LineEnds, opened
from firth.words.fasttext import FastText, facebook_content
from firth.words.vocabulary import RULE_DEFAULT, RULE_DISCARD


class Unsupervised(FastText):
    """A model in training. Its checkpoints have ``asked`` besides, which only a `Model` needs.

    These are the ``args`` of its file, the arguments ``given`` that the file does not keep, and
    ``labels`` with their counts.
    """

    _parameters = (*FastText._parameters, "asked")

    def __init__(self, *, asked: dict[str, Any], **parameters: Any) -> None:
        self.asked = asked
        self.args = Args(**asked["args"])
        self.given = {name: asked["given"][name] for name in GIVEN}
        self.labels: dict[str, int] = dict(asked["labels"])
        super().__init__(**parameters)

    def count(self, text: Corpus) -> None:
        """Build the vocabulary, without labels, and thin out frequent words as fastText does.

        Its threshold is a share of all words of the text, gensim's of those in the vocabulary.
        """
        prefix, least = self.given["label"], self.given["minCountLabel"]
        labels = self.labels

        def no_labels(word: str, count: int, _: int) -> int:
            if not word.startswith(prefix):
                return RULE_DEFAULT
            if count >= least:
                labels[word] = count
            return RULE_DISCARD

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the vocabulary is empty")  # train will raise
            self.build_vocab(text, trim_rule=no_labels)
        self.asked["labels"] = labels
        if self.sample:
            attributes = self.wv.expandos
            ratio = self.sample * (self.corpus_total_words or 0) / attributes["count"]
            keep = np.minimum(np.sqrt(ratio) + ratio, 1.0)
            attributes["sample_int"] = (keep * (2**32 - 1)).astype(np.uint32)

    def model(self) -> Model:
        """What was trained, as fastText has it."""
        content = facebook_content(self, lr_update_rate=self.args.lrUpdateRate)
        # fastText has buckets that nothing uses where wordNgrams > 1 or minn > maxn.
        content.args = dataclasses.replace(self.args, bucket=content.args.bucket)
        labels = sorted(self.labels.items(), key=lambda entry: -entry[1])
        held = packed(
            [*content.entries(), *(name.encode() for name, _ in labels)],
            [*content.counts.tolist(), *(count for _, count in labels)],
        )
        return Model(dataclasses.replace(content, **held, labels=len(labels)), **self.given)


def train(input: PathLike, args: Args, given: dict[str, Any], checkpoint: PathLike | None) -> Model:
    """Train on a file; ``args`` and ``given`` as of `Unsupervised`."""
    asked = {"args": dataclasses.asdict(args), "given": given, "labels": {}}
    hs = LOSSES[args.loss] == "hs"
    progress = False if given["verbose"] == 0 else None
    model = Unsupervised(
        asked=asked, sg=int(MODELS[args.model] == "skipgram"), vector_size=args.dim,
        window=args.ws, min_count=args.minCount, alpha=given["lr"], min_alpha=0.0,
        sample=args.t, hs=int(hs), negative=0 if hs else args.neg, ns_exponent=0.5,
        epochs=args.epoch, min_n=args.minn, max_n=args.maxn, bucket=args.bucket,
        seed=given["seed"], workers=given["thread"], progress=progress,
    )  # fmt: skip
    with opened("train_unsupervised", None, input, progress=progress) as lines:
        text = LineEnds(lines, EOS)
        model.count(text)
        model.train(text, checkpoint=checkpoint)
    return model.model()


def resume(
    path: PathLike,
    input: PathLike,
    thread: int | None,
    verbose: int,
    checkpoint: PathLike | None,
) -> Model:
    """Finish a training from its checkpoint; arguments as of `firth.fasttext.resume`."""
    progress = False if verbose == 0 else None
    with opened("resume", None, input, progress=progress) as lines:
        model = Unsupervised.resume(
            path, LineEnds(lines, EOS), workers=thread, progress=progress, checkpoint=checkpoint
        )
    model.given |= {"thread": thread, "verbose": verbose}
    return model.model()
