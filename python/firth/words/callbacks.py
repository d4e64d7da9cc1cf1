"""What training tells others while it runs."""

from __future__ import annotations

from typing import Any


class CallbackAny2Vec:
    """Base of callbacks, with gensim's names: override what you want to hear of.

    Any object with these methods will do, gensim's own too. An exception ends the training and
    leaves the vectors as far as they are.
    """

    def on_train_begin(self, model: Any) -> None:
        """Training begins."""

    def on_epoch_begin(self, model: Any) -> None:
        """A pass over the corpus begins."""

    def on_epoch_end(self, model: Any) -> None:
        """A pass is done; ``model.wv`` may be asked, ``model.epoch_losses[-1]`` is its loss."""

    def on_train_end(self, model: Any) -> None:
        """Training is done."""
