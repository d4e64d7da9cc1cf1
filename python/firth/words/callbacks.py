"""Callbacks during training."""

from __future__ import annotations

from typing import Any


class CallbackAny2Vec:
    """Base class of callbacks, with gensim's names: override the methods you need.

    Any object with these methods works, gensim's own too. An exception ends the training; the
    vectors keep what they have learnt so far.
    """

    def on_train_begin(self, model: Any) -> None:
        """Training begins."""

    def on_epoch_begin(self, model: Any) -> None:
        """A pass over the corpus begins."""

    def on_epoch_end(self, model: Any) -> None:
        """A pass is done; ``model.wv`` can be queried, ``model.epoch_losses[-1]`` is its loss."""

    def on_train_end(self, model: Any) -> None:
        """Training is done."""
