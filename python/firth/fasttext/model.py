"""The model of `firth.fasttext`: classification, vectors, dictionary, files."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth import _native
from firth.arguments import Real, Rules, Whole, check_all
from firth.epochs import new_run
from firth.fasttext.fit import fit, mapped, native_model
from firth.fasttext.meter import Meter
from firth.fasttext.quantise import dense_copy, pruned, quantised
from firth.formats import fasttext as files
from firth.formats.fasttext import Content, Quantised
from firth.formats.files import PathLike

EOS, BOW, EOW = "</s>", "<", ">"  # end of a line; the marks around a word in its n-grams


_QUANTISE: Rules = {
    "cutoff": Whole(0, 2**63 - 1), "epoch": Whole(0), "lr": Real(), "thread": Whole(0, 1024),
    "verbose": Whole(), "dsub": Whole(1),
}  # fmt: skip


class Model:
    """What `load_model` and `train_supervised` return.

    D = dimensions of a vector. The arguments of training that the model knows (``dim``, ``epoch``,
    ``wordNgrams``, ...) are attributes, as in fastText.
    """

    def __init__(self, content: Content, label: str = "__label__", **training: Any) -> None:
        self.label = label
        for name, value in training.items():
            setattr(self, name, value)
        self._set(content)

    def _set(self, content: Content) -> None:
        self._content = content
        for name, value in dataclasses.asdict(content.args).items():
            shown = {"loss": files.LOSSES, "model": files.MODELS}.get(name, {}).get(value, value)
            setattr(self, name, shown)
        self._native = native_model(content, self.label)
        self._names: dict[tuple[bool, str], list[str]] = {}
        self._unit_vectors: NDArray[np.float32] | None = None

    def _entries(self, labels: bool, on_unicode_error: str) -> list[str]:
        """All words, or all labels."""
        names = self._names.get((labels, on_unicode_error))
        if names is None:
            words = self._content.nwords
            entries = self._content.entries()
            entries = entries[words:] if labels else entries[:words]
            names = [entry.decode("utf-8", on_unicode_error) for entry in entries]
            self._names[labels, on_unicode_error] = names
        return names

    @property
    def _supervised(self) -> bool:
        return files.MODELS[self._content.args.model] == "supervised"

    # ---- classification --------------------------------------------------------------------------

    @overload
    def predict(
        self, text: str, k: int = 1, threshold: float = 0.0, on_unicode_error: str = "strict"
    ) -> tuple[tuple[str, ...], NDArray[np.float64]]: ...
    @overload
    def predict(
        self, text: list[str], k: int = 1, threshold: float = 0.0, on_unicode_error: str = "strict"
    ) -> tuple[list[list[str]], list[NDArray[np.float32]]]: ...
    def predict(
        self,
        text: str | list[str],
        k: int = 1,
        threshold: float = 0.0,
        on_unicode_error: str = "strict",
    ) -> tuple[Any, Any]:
        """The likeliest labels of a line of text, or of each of a list.

        Parameters
        ----------
        text : str or list of str
            Without newlines. Words are separated by white space: space, tab, vertical tab,
            carriage return, form feed, null.
        k : int
            The greatest number of labels; -1 for all.
        threshold : float
            Only labels of at least this probability.
        on_unicode_error : str
            What to do where a label is not valid UTF-8: an error mode of `bytes.decode`.

        Returns
        -------
        labels : tuple of str, or list of lists
            The likeliest first; none for a text without known words and n-grams.
        probabilities : ndarray of float64, or list of ndarray of float32
            As fastText's, up to 1.00001, since it takes the logarithm of the probability + 1e-5.

        Raises
        ------
        ValueError
            The model is not supervised, k is neither -1 nor positive, or a text has a newline.
        """
        if not self._supervised:
            raise ValueError("Model needs to be supervised for prediction!")
        single = isinstance(text, str)
        if not single and not isinstance(text, list):
            raise TypeError(
                f"predict: text must be str or a list of str, got {type(text).__name__}"
            )
        names = self._entries(True, on_unicode_error)
        texts: Any = [text] if single else text
        labels, probabilities = self._native.predict(texts, self._k(k), threshold, names)
        if single:
            return tuple(labels[0]), probabilities[0].astype(np.float64)
        return labels, probabilities

    def _k(self, k: int) -> int:
        if k == -1:
            return self._content.labels
        if k <= 0:
            raise ValueError("k needs to be 1 or higher!")
        return min(k, self._content.labels)

    def test(self, path: PathLike, k: int = 1, threshold: float = 0.0) -> tuple[int, float, float]:
        """Number of lines of a labelled file with labels, precision and recall at k.

        Precision and recall are over all labels of all lines, NaN where undefined. From k labels a
        line (-1: all) whose probability is at least ``threshold``. ValueError for a model of words,
        or another k below 1.
        """
        meter = self.get_meter(path, k, threshold)
        return len(meter.true_counts), *meter.precision_recall(None)[:2]

    def test_label(
        self, path: PathLike, k: int = 1, threshold: float = 0.0
    ) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 of each label on a labelled file; NaN where undefined.

        A dict from labels to dicts of "precision", "recall" and "f1score"; otherwise as `test`.
        """
        return self.get_meter(path, k, threshold).of_labels()

    def get_meter(self, path: PathLike, k: int = -1, threshold: float = 0.0) -> Meter:
        """Curves of precision and recall on a labelled file.

        From k labels a line (-1: all) whose probability is at least ``threshold``. ValueError for a
        model of words.
        """
        if not self._supervised:
            raise ValueError("Model needs to be supervised for prediction!")
        return Meter(self, *self._native.evaluate(mapped(path), self._k(k), threshold))

    # ---- vectors ---------------------------------------------------------------------------------

    def get_dimension(self) -> int:
        """D, the number of columns of both matrices."""
        return self._content.args.dim

    def get_word_vector(self, word: str) -> NDArray[np.float32]:
        """The mean of the word's row, if known, and its n-grams' rows, (D,); zeros of none."""
        return self._native.mean(self._native.word_rows(word.encode()))

    def get_sentence_vector(self, text: str) -> NDArray[np.float32]:
        """Of a supervised model what it classifies, else the mean of the words' unit vectors.

        For one line of text, else ValueError; (D,) float32, zeros where no word has a vector.
        """
        if "\n" in text:
            raise ValueError("predict processes one line at a time (remove '\\n')")
        data = text.encode() + b"\n"
        if self._supervised:
            return self._native.mean(self._native.line_rows(data))
        total = np.zeros(self.get_dimension(), np.float32)
        count = 0
        for word in data.split():  # fastText's: white space without the null character
            vector = self._native.mean(self._native.word_rows(word))
            norm = np.sqrt(np.dot(vector, vector))
            if norm > 0:
                total += vector / norm
                count += 1
        total /= max(count, 1)
        return total

    def get_nearest_neighbors(
        self, word: str, k: int = 10, on_unicode_error: str = "strict"
    ) -> list[tuple[float, str]]:
        """The k words of the highest cosine with a word, the word itself left out.

        The word need not be known. A list of (cosine, word), best first; ``on_unicode_error`` is
        the ``errors`` of ``bytes.decode`` for words that are no UTF-8.
        """
        return self._neighbors(self.get_word_vector(word), k, {word}, on_unicode_error)

    def get_analogies(
        self, wordA: str, wordB: str, wordC: str, k: int = 10, on_unicode_error: str = "strict"
    ) -> list[tuple[float, str]]:
        """The k words nearest to A - B + C (of unit vectors), without these three.

        The result is that of `get_nearest_neighbors`.
        """
        query = np.zeros(self.get_dimension(), np.float32)
        for word, sign in [(wordA, 1), (wordB, -1), (wordC, 1)]:
            vector = self.get_word_vector(word)
            query += vector * np.float32(sign / (np.sqrt(np.dot(vector, vector)) + 1e-8))
        return self._neighbors(query, k, {wordA, wordB, wordC}, on_unicode_error)

    def _neighbors(
        self, query: NDArray[np.float32], k: int, banned: set[str], on_unicode_error: str
    ) -> list[tuple[float, str]]:
        if self._unit_vectors is None:
            self._unit_vectors = self._native.unit_vectors()
        norm = float(np.sqrt(np.dot(query, query)))
        scores = self._unit_vectors @ (query / np.float32(norm if norm >= 1e-8 else 1.0))
        for word in banned:
            place = self.get_word_id(word)
            if 0 <= place < len(scores):
                scores[place] = -np.inf
        best = np.argsort(-scores, kind="stable")[: max(k, 0)]
        words = self._entries(False, on_unicode_error)
        return [(float(scores[i]), words[i]) for i in best if scores[i] > -np.inf]

    def get_input_vector(self, ind: int) -> NDArray[np.float32]:
        """Row ``ind`` of the input matrix: a word's, or from ``len(words)`` on an n-gram's.

        A copy (D,) float32; IndexError where there is no such row.
        """
        matrix = self._content.input
        if not 0 <= ind < matrix.shape[0]:
            raise IndexError(f"get_input_vector: ind must be in [0, {matrix.shape[0]}), got {ind}")
        if isinstance(matrix, Quantised):
            return np.array(matrix.rows([ind])[0], np.float32)
        return np.array(matrix[ind], np.float32)

    def get_input_matrix(self) -> NDArray[np.float32]:
        """A copy of the input matrix (words and n-grams, D); ValueError where it is quantised."""
        return dense_copy(self._content.input)

    def get_output_matrix(self) -> NDArray[np.float32]:
        """A copy of the output matrix, a row a label, or of an unsupervised model a word.

        ValueError where the model is quantised.
        """
        if self.is_quantized():
            raise ValueError("Can't get quantized Matrix")
        return dense_copy(self._content.output)

    def set_matrices(self, input_matrix: ArrayLike, output_matrix: ArrayLike) -> None:
        """Replace both matrices by copies; their columns are the new D. Rows must stay as they are.

        ValueError for other shapes, and for a quantised model; nothing is changed then.
        """
        if self.is_quantized():
            raise ValueError("set_matrices: the model is quantised")
        new = [np.array(matrix, np.float32, order="C") for matrix in (input_matrix, output_matrix)]
        old = [self._content.input, self._content.output]
        for name, a, b in zip(("input", "output"), new, old, strict=True):
            if a.ndim != 2 or a.shape[0] != b.shape[0] or a.shape[1] != new[0].shape[1]:
                raise ValueError(
                    f"set_matrices: the {name} matrix must have {b.shape[0]} rows and as many "
                    f"columns as the other, got shape {a.shape}"
                )
        args = dataclasses.replace(self._content.args, dim=new[0].shape[1])
        self._set(dataclasses.replace(self._content, args=args, input=new[0], output=new[1]))

    # ---- dictionary ------------------------------------------------------------------------------

    @property
    def words(self) -> list[str]:
        """All words, in the order of their numbers; UnicodeDecodeError where one is no UTF-8."""
        return self._entries(False, "strict")

    @property
    def labels(self) -> list[str]:
        """All labels with their prefix, in their order; of an unsupervised model its words."""
        return self._entries(self._supervised, "strict")

    @overload
    def get_words(
        self, include_freq: Literal[False] = False, on_unicode_error: str = "strict"
    ) -> list[str]: ...
    @overload
    def get_words(
        self, include_freq: Literal[True], on_unicode_error: str = "strict"
    ) -> tuple[list[str], NDArray[np.int64]]: ...
    def get_words(self, include_freq: bool = False, on_unicode_error: str = "strict") -> Any:
        """All words; with ``include_freq`` also how often each occurred in the training text.

        A list of str, or it and an int64 array. ``on_unicode_error`` is as of
        `get_nearest_neighbors`.
        """
        return self._listed(False, include_freq, on_unicode_error)

    @overload
    def get_labels(
        self, include_freq: Literal[False] = False, on_unicode_error: str = "strict"
    ) -> list[str]: ...
    @overload
    def get_labels(
        self, include_freq: Literal[True], on_unicode_error: str = "strict"
    ) -> tuple[list[str], NDArray[np.int64]]: ...
    def get_labels(self, include_freq: bool = False, on_unicode_error: str = "strict") -> Any:
        """All labels, with ``include_freq`` also their counts; unsupervised: as `get_words`."""
        return self._listed(self._supervised, include_freq, on_unicode_error)

    def _listed(self, labels: bool, include_freq: bool, on_unicode_error: str) -> Any:
        names = self._entries(labels, on_unicode_error)
        if not include_freq:
            return names
        words, counts = self._content.nwords, self._content.counts
        return names, (counts[words:] if labels else counts[:words]).copy()

    def get_word_id(self, word: str) -> int:
        """The number of the word in the dictionary, -1 if it is unknown."""
        return self._native.find(word.encode())

    def get_label_id(self, label: str) -> int:
        """The number of the label among the labels, -1 if it is unknown."""
        place = self._native.find(label.encode())
        return place if place < 0 else place - self._content.nwords

    def get_subword_id(self, subword: str) -> int:
        """The row of the input matrix that an n-gram hashes to; ValueError if there are none."""
        from firth.words.subwords import ngram_hash

        if not self._content.args.bucket:
            raise ValueError("get_subword_id: the model has no n-grams (bucket is 0)")
        return self._content.nwords + ngram_hash(subword.encode()) % self._content.args.bucket

    def get_subwords(
        self, word: str, on_unicode_error: str = "strict"
    ) -> tuple[list[str], NDArray[np.int64]]:
        """The word, if it is known, and its n-grams; and their rows in the input matrix.

        A list of str and an int64 array. ``on_unicode_error`` is as of `get_nearest_neighbors`.
        """
        from firth.words.subwords import ngram_hash, ngrams

        args, encoded = self._content.args, word.encode()
        rows = self._native.word_rows(encoded).astype(np.int64)
        grams = ngrams(encoded, args.minn, args.maxn) if args.bucket else []
        if self._content.pruned is not None:
            left = set(self._content.pruned[:, 0].tolist())
            grams = [gram for gram in grams if ngram_hash(gram) % args.bucket in left]
        known = [encoded] if len(rows) > len(grams) else []
        return [part.decode("utf-8", on_unicode_error) for part in known + grams], rows

    def get_line(self, text: str | list[str], on_unicode_error: str = "strict") -> tuple[Any, Any]:
        """The words (``</s>`` at the end) and known labels of a line, or of each of a list.

        Two lists of str, or two lists of these; ValueError for a line with a newline.
        """
        if isinstance(text, list):
            lines = [self.get_line(one, on_unicode_error) for one in text]
            return [words for words, _ in lines], [labels for _, labels in lines]
        if "\n" in text:
            raise ValueError("get_line processes one line at a time (remove '\\n')")
        words, labels = [], []
        for token in _native.fasttext.fasttext_tokens(text.encode() + b"\n"):
            place = self._native.find(token)
            if place >= self._content.nwords:
                labels.append(token.decode("utf-8", on_unicode_error))
            elif place >= 0 or not token.startswith(self.label.encode()):
                words.append(token.decode("utf-8", on_unicode_error))
            if token == EOS.encode():
                break
        return words, labels

    def __repr__(self) -> str:
        content = self._content
        return (
            f"Model<{files.MODELS[content.args.model]}, {content.nwords} words, "
            f"{content.labels} labels, dim={content.args.dim}"
            f"{', quantised' if self.is_quantized() else ''}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what can be rebuilt from the content: the native model and caches."""
        derived = ("_native", "_names", "_unit_vectors")
        return {name: value for name, value in vars(self).items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._set(state["_content"])

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        return self.get_word_vector(word)

    def __contains__(self, word: str) -> bool:
        return 0 <= self.get_word_id(word) < self._content.nwords

    # ---- files and size --------------------------------------------------------------------------

    def save_model(self, path: PathLike) -> None:
        """Write a ``.bin`` or ``.ftz`` file that fastText reads, atomically."""
        files.write(path, self._content)

    def is_quantized(self) -> bool:
        """Whether the matrices are product-quantised, as in ``.ftz`` files."""
        return isinstance(self._content.input, Quantised)

    def quantize(
        self,
        input: PathLike | None = None,
        qout: bool = False,
        cutoff: int = 0,
        retrain: bool = False,
        epoch: int | None = None,
        lr: float | None = None,
        thread: int | None = None,
        verbose: int | None = None,
        dsub: int = 2,
        qnorm: bool = False,
    ) -> None:
        """Make the model smaller: rows become codes of ``dsub`` columns each.

        Parameters
        ----------
        input : path-like, optional
            The training file; needed to retrain.
        qout : bool
            Quantise the output matrix too.
        cutoff : int
            Number of rows to keep, those with the largest norms; the other words and n-grams are
            removed. 0 keeps all.
        retrain : bool
            Train the remaining rows again, ``epoch`` times from the rate ``lr``.
        qnorm : bool
            Quantise the norms of the rows apart.

        Raises
        ------
        ValueError
            The model is not supervised or already quantised, or has fewer than 256 rows.
        """
        if not self._supervised:
            raise ValueError("For now we only support quantization of supervised models")
        if self.is_quantized():
            raise ValueError("quantize: the model is quantised already")
        if retrain and not input:
            raise ValueError("Need input file path if retraining")
        check_all("quantize", _QUANTISE, {
            name: value for name, value in locals().items() if value is not None
        })  # fmt: skip
        content = self._content
        if 0 < cutoff < content.input.shape[0]:
            content = pruned(content, cutoff)
        for matrix in (content.input, content.output)[: 1 + qout]:
            if matrix.shape[0] < files.CENTROIDS:
                raise ValueError(
                    "Matrix too small for quantization, must have at least 256 rows, "
                    f"got {matrix.shape[0]}"
                )
        if retrain and input and content is not self._content:
            content.args.epoch = epoch or content.args.epoch
            content.output = dense_copy(content.output)
            rate = lr or float(getattr(self, "lr", 0.05))
            run = new_run(content.args.epoch, rate=rate, seed=getattr(self, "seed", 0))
            fit(content, self.label, mapped(input), run, thread, verbose)
        content = dataclasses.replace(content, input=quantised(content.input, dsub, qnorm))
        if qout:
            content.output = quantised(content.output, 2, qnorm)
        self._set(content)


def load_model(path: PathLike) -> Model:
    """Read a ``.bin`` or ``.ftz`` file; its matrix is mapped from the file, not copied.

    FormatError for a file that is no model of fastText's or is damaged. It must not be shortened
    while the model lives.
    """
    return Model(files.read(path, mmap=True))


def tokenize(text: str) -> list[str]:
    """The words between white space, as fastText cuts them; each newline is a ``</s>``.

    TypeError for what is no str.
    """
    if not isinstance(text, str):
        raise TypeError(f"tokenize: text must be str, got {type(text).__name__}")
    return [token.decode() for token in _native.fasttext.fasttext_tokens(text.encode())]
