"""Precision and recall of a classifier on a labelled file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from firth.fasttext.model import Model


class Meter:
    """Precision and recall of a model on a labelled file; made by `Model.get_meter`.

    Attributes
    ----------
    true_counts : ndarray (lines,) int32
        How many labels each line has; lines without labels are not among them.
    """

    def __init__(
        self,
        model: Model,
        true_counts: NDArray[np.int32],
        predicted_counts: NDArray[np.int32],
        truth: NDArray[np.int32],
        predicted: NDArray[np.int32],
        scores: NDArray[np.float32],
    ) -> None:
        self._model, self.true_counts = model, true_counts
        self._truth, self._predicted = truth, predicted
        self._scores = np.minimum(np.exp(scores), np.float32(1))
        # Line and label as one number: is a prediction among the true labels of its line?
        labels = model._content.labels
        lines = np.arange(len(true_counts), dtype=np.int64)
        true_pairs = np.repeat(lines, true_counts) * labels + truth
        predicted_pairs = np.repeat(lines, predicted_counts) * labels + predicted
        self._right = np.isin(predicted_pairs, true_pairs)
        self._missed = truth[~np.isin(true_pairs, predicted_pairs)]

    def precision_recall(self, label_id: int | None) -> tuple[float, float, float]:
        """Precision, recall and F1 of a label by its number, or (None) of all; NaN if undefined."""
        every = label_id is None
        right = np.count_nonzero(self._right & (every | (self._predicted == label_id)))
        predicted = len(self._predicted) if every else np.sum(self._predicted == label_id)
        gold = len(self._truth) if every else np.sum(self._truth == label_id)
        nan = float("nan")
        return (
            float(right / predicted) if predicted else nan,
            float(right / gold) if gold else nan,
            float(2 * right / (predicted + gold)) if predicted + gold else nan,
        )

    def of_labels(self) -> dict[str, dict[str, float]]:
        """What `Model.test_label` returns: label to "precision", "recall" and "f1score"."""
        names = ("precision", "recall", "f1score")
        return {
            label: dict(zip(names, self.precision_recall(i), strict=True))
            for i, label in enumerate(self._model.labels)
        }

    def _sorted(self, label: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
        """Scores (-1 for a true label that was not predicted), truth, how many true labels."""
        scores = np.concatenate([self._scores, np.full(len(self._missed), -1, np.float32)])
        gold = np.concatenate([self._right, np.ones(len(self._missed), bool)]).astype(np.float32)
        golds = len(self._truth)
        if label:
            place = self._model.get_label_id(label)
            mine = np.concatenate([self._predicted, self._missed]) == place
            scores, gold, golds = scores[mine], gold[mine], int(np.sum(self._truth == place))
        order = np.lexsort((gold, scores))
        return scores[order], gold[order], golds

    def score_vs_true(self, label: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Each probability that the label got, rising, and whether it was true.

        Two arrays (n,) float32: probabilities, -1 where a true label was not predicted, and 1 or 0.
        """
        scores, gold, _ = self._sorted(label)
        return scores, gold

    def precision_recall_curve(
        self, label: str | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Precision and recall at each threshold, falling, down to full recall; then (1, 0).

        Parameters
        ----------
        label : str, optional
            With its prefix; None: all labels together.

        Returns
        -------
        precision, recall : ndarray (n,) float64
            Empty where the label was never predicted.
        """
        scores, gold, golds = self._sorted(label)
        scores, gold = scores[::-1], gold[::-1]
        gold, scores = gold[scores >= 0], scores[scores >= 0]
        if not len(scores):
            return np.empty(0), np.empty(0)
        last = np.append(scores[1:] != scores[:-1], True)  # of each run of equal scores
        right = np.cumsum(gold, dtype=np.float64)[last]
        all_of_them = (np.flatnonzero(last) + 1).astype(np.float64)
        stop = int(np.searchsorted(right, golds)) + 1
        precision = right[:stop] / all_of_them[:stop]
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = right[:stop] / golds if golds else np.full(len(right[:stop]), np.nan)
        return np.append(precision, 1.0), np.append(recall, 0.0)

    def precision_at_recall(self, recall: float, label: str | None = None) -> float:
        """The best precision where recall is at least this, of a label or all; 0 if it never is."""
        precision, reached = self.precision_recall_curve(label)
        return float(precision[reached >= recall].max(initial=0.0))

    def recall_at_precision(self, precision: float, label: str | None = None) -> float:
        """The best recall where precision is at least this, of a label or all; 0 if it never is."""
        reached, recall = self.precision_recall_curve(label)
        return float(recall[reached >= precision].max(initial=0.0))
