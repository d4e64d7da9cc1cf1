"""fastText's model files: ``.bin``, and ``.ftz`` with product-quantised matrices.

Layout, little-endian (fastText's src/fasttext.cc, args.cc, dictionary.cc, densematrix.cc,
quantmatrix.cc, productquantizer.cc)::

    int32     magic 793712314
    int32     version, 11 or 12
    arguments dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn,
              lrUpdateRate (int32 each), t (float64)
    int32     entries, words, labels (entries = words + labels; words come first)
    int64     tokens, pruned n-grams (-1: the dictionary is not pruned)
    entries   word, a zero byte, count (int64), type (int8; 0 word, 1 label)
    pairs     bucket, row behind the words' rows (int32 each), of each n-gram that pruning kept
    bool      whether the input matrix is quantised
    matrix    input: a row for each word, then the rows of the n-grams
    bool      whether the output matrix is quantised (it can be only where the input is)
    matrix    output: a row for each label of a supervised model, else for each word

A dense matrix is int64 rows, int64 columns, float32 values. A quantised one::

    bool      whether the norms are quantised apart
    int64     rows, int64 columns
    int32     bytes of the codes, rows x parts
    codes     uint8 (rows, parts)
    quantiser int32 dim, parts, columns of a part, columns of the last part; float32 (dim * 256)
    norms     only if quantised: uint8 (rows), and a quantiser of dim 1

Files from before 2017 have neither magic and version, nor the number of pruned n-grams, nor the two
bools; they are read too. The `Args` keep fastText's names. Version 11 has the same layout, but its
supervised models never used character n-grams: ``maxn`` is read as 0, as fastText does, and
written with version 12.

Longer than most files: reader and writer of one layout stand beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import FormatError, TruncatedError
from firth.formats.files import PathLike, Source, reading, writing

MAGIC = 793712314
VERSION = 12
LOSSES = {1: "hs", 2: "ns", 3: "softmax", 4: "ova"}
MODELS = {1: "cbow", 2: "skipgram", 3: "supervised"}
CENTROIDS = 256  # of each part

_HEAD = struct.Struct("<2i")
_ARGS = struct.Struct("<12id")
_OLD_ARGS = struct.Struct("<10id")
_SIZES = struct.Struct("<3i2q")
_OLD_SIZES = struct.Struct("<3iq")
_MOST = 100_000  # dim and window of an old file are at most this
_SHAPE = struct.Struct("<2q")
_QUANTISED_SHAPE = struct.Struct("<2qi")
_QUANTISER = struct.Struct("<4i")
_PIECE = 4 << 20  # bytes that are read at a time
_NGRAMS_PER_BYTE = 64  # of the dictionary, on average; in published models about 2


@dataclass
class Args:
    """The arguments that a model file keeps, under fastText's names."""

    dim: int
    ws: int
    epoch: int
    minCount: int
    neg: int
    wordNgrams: int
    loss: int  # a key of LOSSES
    model: int  # a key of MODELS
    bucket: int
    minn: int
    maxn: int
    lrUpdateRate: int
    t: float


@dataclass
class Quantised:
    """A product-quantised matrix: each row in parts, each part one of 256 centroids.

    Attributes
    ----------
    codes : ndarray of uint8, shape (rows, parts)
    centroids : ndarray of float32, shape (dim * 256,)
        Part after part, each (256, columns of this part).
    dsub : int
        Columns of each part but the last, which has the rest.
    norm_codes : ndarray of uint8, shape (rows,), or None
        A factor of each row, if norms were quantised apart: ``norm_centroids[code]``.
    norm_centroids : ndarray of float32, shape (256,), or None
    """

    codes: NDArray[np.uint8]
    centroids: NDArray[np.float32]
    dsub: int
    norm_codes: NDArray[np.uint8] | None = None
    norm_centroids: NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the uncompressed matrix."""
        return len(self.codes), self.centroids.size // CENTROIDS

    def rows(self, which: Any = slice(None)) -> NDArray[np.float32]:
        """The float32 rows (n, dim) behind the codes: all, or those of a slice or list."""
        codes = self.codes[which]
        dim, dsub = self.shape[1], self.dsub
        parts = []
        for part, first in enumerate(range(0, dim, dsub)):
            width = min(dsub, dim - first)
            table = self.centroids[first * CENTROIDS : (first + width) * CENTROIDS]
            parts.append(table.reshape(CENTROIDS, width)[codes[:, part]])
        result = np.concatenate(parts, axis=1)
        if self.norm_codes is not None and self.norm_centroids is not None:
            result *= self.norm_centroids[self.norm_codes[which]][:, np.newaxis]
        return result


Matrix = NDArray[np.float32] | Quantised


@dataclass
class Content:
    """What `read` returns and `write` takes.

    Attributes
    ----------
    args : Args
    text : ndarray of uint8
        The bytes of all words and then all labels, one after the other.
    ends : ndarray of int64, shape (entries,)
        Where each ends in the text.
    counts : ndarray of int64, shape (entries,)
    labels : int
        How many of the entries, the last ones, are labels.
    tokens : int
        How many words and labels training read.
    pruned : ndarray of int32, shape (n, 2), or None
        Of a pruned dictionary: bucket of each n-gram left, and its row behind those of the words.
    input, output : ndarray of float32 or Quantised
    """

    args: Args
    text: NDArray[np.uint8]
    ends: NDArray[np.int64]
    counts: NDArray[np.int64]
    labels: int
    tokens: int
    pruned: NDArray[np.int32] | None
    input: Matrix
    output: Matrix

    @property
    def nwords(self) -> int:
        """How many of the entries are words."""
        return len(self.ends) - self.labels

    def entries(self) -> list[bytes]:
        """All words, then all labels."""
        text, ends = self.text.tobytes(), self.ends.tolist()
        return [text[start:end] for start, end in zip([0, *ends][:-1], ends, strict=True)]


def read(path: PathLike, *, mmap: bool = False, progress: bool = False) -> Content:
    """Read a ``.bin`` or ``.ftz`` file, plain or compressed.

    Parameters
    ----------
    path : path-like
    mmap : bool
        Map the dense matrices of a plain file instead of copying them; what is written to them
        stays in memory. They are not aligned to their items then, which NumPy allows.
    progress : bool
        Show a bar on a terminal while reading a large file.

    Raises
    ------
    FormatError, TruncatedError
        The file is no fastText model, contradicts itself or ends too early. No more is allocated
        than the file has bytes (or has unpacked to so far, where it is compressed).
    """
    with _opened(path, mmap, progress) as source:
        reader = _Reader(source)
        args = reader.args()
        text, ends, counts, labels, tokens, pruned = reader.dictionary(args)
        words = len(ends) - labels
        quantised = reader.boolean("whether the input is quantised")
        if pruned is not None and not quantised:
            raise reader.error("the dictionary is pruned, but the input matrix is not quantised")
        at = source.offset
        matrix = reader.quantised() if quantised else reader.dense()
        n_grams = 0
        if pruned is not None:
            n_grams = max(0, int(pruned[:, 1].max(initial=-1)) + 1)
        elif args.wordNgrams > 1 or args.maxn > 0:
            n_grams = args.bucket
        if matrix.shape[0] < words + n_grams or matrix.shape[1] != args.dim:
            raise FormatError(
                f"the input matrix is {matrix.shape[0]} x {matrix.shape[1]}, "
                f"want at least {words + n_grams} x {args.dim}",
                path,
                at,
            )
        quantised_output = reader.boolean("whether the output is quantised")
        at = source.offset
        output = reader.quantised() if quantised and quantised_output else reader.dense()
        want = labels if MODELS[args.model] == "supervised" else words
        if output.shape != (want, args.dim):
            raise FormatError(
                f"the output matrix is {output.shape[0]} x {output.shape[1]}, "
                f"want {want} x {args.dim}",
                path,
                at,
            )
        with source.peek(1) as rest:
            if len(rest):
                raise reader.error("has bytes behind the output matrix")
    return Content(args, text, ends, counts, labels, tokens, pruned, matrix, output)


class _Mapped:
    """A plain file as a `Source` that skips bytes without reading them."""

    def __init__(self, path: PathLike, file: BinaryIO) -> None:
        self.path, self.offset = path, 0
        self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.size = len(self._data)

    def peek(self, minimum: int) -> memoryview:
        return memoryview(self._data)[self.offset : self.offset + minimum]

    def skip(self, count: int) -> None:
        self.offset += count


@contextlib.contextmanager
def _opened(path: PathLike, mapped: bool, progress: bool) -> Iterator[Source | _Mapped]:
    if mapped and os.path.isfile(path):
        with open(path, "rb") as file:
            if file.read(4) == struct.pack("<i", MAGIC):  # neither empty nor compressed
                yield _Mapped(path, file)
                return
    with reading(path, progress=progress) as source:
        yield source


class _Reader:
    """Reads the parts of a file in turn; every error says where."""

    def __init__(self, source: Source | _Mapped) -> None:
        self.source = source
        self.old = False  # a file without magic number

    def error(self, problem: str) -> FormatError:
        return FormatError(problem, self.source.path, self.source.offset)

    def check_left(self, count: int, what: str) -> None:
        """Raise unless that many bytes are left; of a compressed file this is not known."""
        if self.source.size is not None and count > self.source.size - self.source.offset:
            raise TruncatedError(f"ends within {what}", self.source.path, self.source.offset)

    def unpack(self, layout: struct.Struct, what: str) -> tuple[Any, ...]:
        with self.source.peek(layout.size) as view:
            if len(view) < layout.size:
                raise TruncatedError(f"ends within {what}", self.source.path, self.source.offset)
            values = layout.unpack_from(view)
        self.source.skip(layout.size)
        return values

    def boolean(self, what: str) -> bool:
        if self.old:
            return False
        (value,) = self.unpack(struct.Struct("<B"), what)
        if value > 1:
            raise self.error(f"has {value} in place of 0 or 1 ({what})")
        return bool(value)

    def array(self, dtype: str, count: int, what: str) -> NDArray[Any]:
        """``count`` numbers, in one copy."""
        size = count * np.dtype(dtype).itemsize
        self.check_left(size, what)
        known = self.source.size is not None
        data = np.empty(size if known else 0, np.uint8)
        done = 0
        while done < size:
            with self.source.peek(min(size - done, _PIECE)) as view:
                got = min(len(view), size - done)
                if not got:
                    at = self.source.offset
                    raise TruncatedError(f"ends within {what}", self.source.path, at)
                if data.size < done + got:
                    data.resize(min(size, (done + got) * 9 // 8), refcheck=False)
                data[done : done + got] = np.frombuffer(view, np.uint8, got)
            self.source.skip(got)
            done += got
        return data.view(dtype)

    def args(self) -> Args:
        magic, version = self.unpack(_HEAD, "the header")
        self.old = 0 < magic <= _MOST and 0 < version <= _MOST  # then they are dim and ws
        if magic != MAGIC and not self.old:
            raise FormatError("is not a fastText model (wrong magic number)", self.source.path, 0)
        if not self.old and version not in (11, 12):
            raise FormatError(f"has version {version}, want 11 or 12", self.source.path, 4)
        at = self.source.offset
        if self.old:
            args = Args(magic, version, *self.unpack(_OLD_ARGS, "the arguments"))
        else:
            args = Args(*self.unpack(_ARGS, "the arguments"))
        if args.loss not in LOSSES or args.model not in MODELS:
            problem = f"has loss {args.loss} and model {args.model}, want 1..4 and 1..3"
            raise FormatError(problem, self.source.path, at)
        if args.dim < 1 or args.bucket < 0:
            problem = f"has dim {args.dim} and bucket {args.bucket}, want at least 1 and 0"
            raise FormatError(problem, self.source.path, at)
        if version == 11 and not self.old and MODELS[args.model] == "supervised":
            args.maxn = 0
        return args

    def dictionary(
        self, args: Args
    ) -> tuple[
        NDArray[np.uint8],
        NDArray[np.int64],
        NDArray[np.int64],
        int,
        int,
        NDArray[np.int32] | None,
    ]:
        at = self.source.offset
        sizes = self.unpack(_OLD_SIZES if self.old else _SIZES, "the dictionary's sizes")
        size, words, labels, tokens, pruned_size = (*sizes, -1) if self.old else sizes
        if min(words, labels) < 0 or size != words + labels or pruned_size < -1:
            if self.old:
                raise FormatError(
                    "is not a fastText model (wrong magic number)", self.source.path, 0
                )
            raise FormatError(
                f"has {size} entries, {words} words, {labels} labels and {pruned_size} pruned "
                "n-grams, which cannot be",
                self.source.path,
                at,
            )
        self.check_left(10 * size, "the dictionary")
        text, ends, counts, types = self.entries(size)
        self.check_ngrams(args, ends)
        if types[:words].any() or (types[words:] != 1).any():
            raise self.error(f"the dictionary does not hold {words} words and then {labels} labels")
        pruned = None
        if pruned_size >= 0:
            pruned = self.array("<i4", 2 * pruned_size, "the pruned n-grams").reshape(-1, 2)
            if (pruned[:, 1] < 0).any():
                raise self.error("a pruned n-gram has a negative row")
        return text, ends, counts, labels, tokens, pruned

    def check_ngrams(self, args: Args, ends: NDArray[np.int64]) -> None:
        """Bound the n-grams by the size of the file: each byte of a word may begin ``maxn``."""
        if not args.bucket or args.maxn < max(1, args.minn):
            return
        lengths = np.diff(ends, prepend=0) + 2.0  # with < and >
        ngrams = lengths * np.maximum(0, np.minimum(args.maxn, lengths) - max(0, args.minn) + 1)
        most = _NGRAMS_PER_BYTE * (lengths + 10).sum() + _PIECE
        if ngrams.sum() > most:
            raise self.error(
                f"has words that are too long for n-grams of up to maxn={args.maxn}: "
                f"{ngrams.sum():.3g} n-grams, at most {most:.3g}"
            )

    def entries(
        self, size: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
        texts: list[Any] = [np.empty(0, np.uint8)]
        ends: list[Any] = [np.empty(0, np.int64)]
        counts: list[Any] = [np.empty(0, np.int64)]
        types: list[Any] = [np.empty(0, np.int8)]
        left, before = size, 0
        while left:
            with self.source.peek(_PIECE) as view:
                used, *found = _native.fasttext.fasttext_entries(view, left)
                seen = len(view)
            if not used:
                if seen >= _PIECE:
                    raise self.error(f"has a word longer than {_PIECE} bytes")
                raise TruncatedError(
                    "ends within the dictionary", self.source.path, self.source.offset
                )
            texts.append(found[0])
            ends.append(found[1] + before)
            counts.append(found[2])
            types.append(found[3])
            before += len(found[0])
            left -= len(found[1])
            self.source.skip(used)
        return (
            np.concatenate(texts),
            np.concatenate(ends),
            np.concatenate(counts),
            np.concatenate(types),
        )

    def dense(self) -> NDArray[np.float32]:
        rows, columns = self.unpack(_SHAPE, "the shape of a matrix")
        if rows < 0 or columns < 1:
            raise self.error(f"has a matrix of {rows} x {columns}")
        if isinstance(self.source, _Mapped) and rows:
            self.check_left(4 * rows * columns, "a matrix")
            mapped = np.memmap(
                self.source.path, "<f4", "c", self.source.offset, shape=(rows, columns)
            )
            self.source.skip(4 * rows * columns)
            return mapped
        values: NDArray[np.float32] = self.array("<f4", rows * columns, "a matrix")
        return values.reshape(rows, columns)

    def quantised(self) -> Quantised:
        norms = self.boolean("whether norms are quantised")
        at = self.source.offset
        rows, columns, code_bytes = self.unpack(_QUANTISED_SHAPE, "the shape of a matrix")
        if rows < 0 or columns < 1:
            raise FormatError(f"has a matrix of {rows} x {columns}", self.source.path, at)
        codes = self.array("<u1", code_bytes, "the codes") if code_bytes > 0 else None
        dsub, centroids = self.quantiser(columns)
        parts = -(-columns // dsub)
        if code_bytes != rows * parts:
            problem = f"has {code_bytes} codes for {rows} rows of {parts} parts"
            raise FormatError(problem, self.source.path, at)
        if codes is None:
            codes = np.empty(0, np.uint8)
        result = Quantised(codes.reshape(rows, parts), centroids, dsub)
        if norms:
            result.norm_codes = self.array("<u1", rows, "the codes of the norms")
            _, result.norm_centroids = self.quantiser(1)
        return result

    def quantiser(self, columns: int) -> tuple[int, NDArray[np.float32]]:
        at = self.source.offset
        dim, parts, dsub, last = self.unpack(_QUANTISER, "a quantiser")
        if (
            dim != columns
            or dsub < 1
            or parts != -(-dim // dsub)
            or last != dim - (parts - 1) * dsub
        ):
            raise FormatError(
                f"has a quantiser of dim {dim}, {parts} parts of {dsub} columns and the last of "
                f"{last}, for a matrix of {columns} columns",
                self.source.path,
                at,
            )
        return dsub, self.array("<f4", CENTROIDS * dim, "the centroids")


def write(path: PathLike, content: Content) -> None:
    """Write a model file, atomically; compressed where the name ends in .gz, .bz2, .xz or .zst.

    A file of version 12 that was read and is written again has the same bytes.
    """
    quantised = isinstance(content.input, Quantised)
    pruned = content.pruned
    with writing(path) as file:
        file.write(_HEAD.pack(MAGIC, VERSION))
        file.write(_ARGS.pack(*dataclasses.astuple(content.args)))
        entries, kept = len(content.ends), -1 if pruned is None else len(pruned)
        file.write(_SIZES.pack(entries, content.nwords, content.labels, content.tokens, kept))
        _write_array(file, _packed_entries(content), "u1")
        if pruned is not None:
            _write_array(file, pruned, "<i4")
        file.write(bytes([quantised]))
        _write_matrix(file, content.input)
        file.write(bytes([isinstance(content.output, Quantised)]))
        _write_matrix(file, content.output)


def _packed_entries(content: Content) -> NDArray[np.uint8]:
    """The bytes of all entries: the text spread out, ten bytes behind each word."""
    ends = content.ends
    lengths = np.diff(ends, prepend=0)
    behind = np.empty((len(ends), 10), np.uint8)  # the zero, count and type of each
    behind[:, 0] = 0
    behind[:, 1:9] = content.counts.astype("<i8").view(np.uint8).reshape(-1, 8)
    behind[:, 9] = np.arange(len(ends)) >= content.nwords
    packed = np.empty(len(content.text) + behind.size, np.uint8)
    is_text = np.ones(packed.size, bool)
    starts = np.cumsum(lengths + 10) - 10
    is_text[(starts[:, np.newaxis] + np.arange(10)).ravel()] = False
    packed[is_text] = content.text
    packed[~is_text] = behind.ravel()
    return packed


def _write_array(file: BinaryIO, values: NDArray[Any], dtype: str) -> None:
    flat = values.reshape(-1)
    for start in range(0, len(flat), _PIECE):
        file.write(flat[start : start + _PIECE].astype(dtype, copy=False).tobytes())


def _write_matrix(file: BinaryIO, matrix: Matrix) -> None:
    if not isinstance(matrix, Quantised):
        file.write(_SHAPE.pack(*matrix.shape))
        _write_array(file, matrix, "<f4")
        return
    file.write(bytes([matrix.norm_codes is not None]))
    file.write(_QUANTISED_SHAPE.pack(*matrix.shape, matrix.codes.size))
    _write_array(file, matrix.codes, "u1")
    _write_quantiser(file, matrix.centroids, matrix.dsub)
    if matrix.norm_codes is not None and matrix.norm_centroids is not None:
        _write_array(file, matrix.norm_codes, "u1")
        _write_quantiser(file, matrix.norm_centroids, 1)


def _write_quantiser(file: BinaryIO, centroids: NDArray[np.float32], dsub: int) -> None:
    dim = centroids.size // CENTROIDS
    parts = -(-dim // dsub)
    file.write(_QUANTISER.pack(dim, parts, dsub, dim - (parts - 1) * dsub))
    _write_array(file, centroids, "<f4")
