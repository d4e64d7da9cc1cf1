# What python/firth sees of src/*.cpp; stubtest compares it with the built module.
from typing import Any

import numpy as np
from numpy.typing import NDArray

class Level:
    @property
    def name(self) -> str: ...
    @property
    def vector_bytes(self) -> int: ...
    def dot(self, a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> None: ...
    def row_norms(
        self, keys: NDArray[Any], scales: NDArray[Any] | None, norms: NDArray[Any]
    ) -> None: ...
    def cosine_topk(
        self,
        queries: NDArray[Any],
        keys: NDArray[Any],
        scales: NDArray[Any] | None,
        norms: NDArray[Any] | None,
        threads: int,
        scores: NDArray[Any],
        indices: NDArray[Any],
    ) -> None: ...
    def cosine_scores(
        self,
        queries: NDArray[Any],
        keys: NDArray[Any],
        scales: NDArray[Any] | None,
        norms: NDArray[Any] | None,
        threads: int,
        scores: NDArray[Any],
    ) -> None: ...
    def code_rows(
        self,
        vectors: NDArray[Any],
        scales: NDArray[Any] | None,
        metric: str,
        centre: NDArray[Any],
        codes: NDArray[Any],
        bounds: NDArray[Any],
        order: NDArray[Any] | None = None,
    ) -> None: ...
    def may_reach(
        self,
        queries: NDArray[Any],
        metric: str,
        codes: NDArray[Any],
        bounds: NDArray[Any],
        centre: NDArray[Any],
        rows: int,
        scores: NDArray[Any],
        reach: NDArray[Any],
    ) -> None: ...
    def search(
        self,
        segments: list[Segment],
        metric: str,
        queries: NDArray[Any],
        k: int,
        version: int,
        filters: list[NDArray[Any]],
        filter_of: NDArray[Any] | None,
        exclusions: list[NDArray[Any]],
        exclusion_of: NDArray[Any] | None,
        threads: int,
        exact: bool = False,
        cells: NDArray[Any] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], tuple[int, int, int]]: ...
    def search_range(
        self,
        segments: list[Segment],
        metric: str,
        queries: NDArray[Any],
        thresholds: NDArray[Any],
        version: int,
        filters: list[NDArray[Any]],
        filter_of: NDArray[Any] | None,
        exclusions: list[NDArray[Any]],
        exclusion_of: NDArray[Any] | None,
        threads: int,
        exact: bool = False,
        cells: NDArray[Any] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], tuple[int, int, int]]: ...
    def matmul(self, a: NDArray[Any], b: NDArray[Any] | Packed, out: NDArray[Any]) -> None: ...
    def pack(self, b: NDArray[Any]) -> Packed: ...
    def attention(
        self,
        query: NDArray[Any],
        key: NDArray[Any],
        value: NDArray[Any],
        mask: NDArray[Any] | None,
        causal: bool,
        scale: float,
        out: NDArray[Any],
    ) -> None: ...
    def skipgram_negative_sampling(
        self,
        w_in: NDArray[Any],
        w_out: NDArray[Any],
        centers: NDArray[Any],
        contexts: NDArray[Any],
        negatives: NDArray[Any],
        learning_rate: float,
    ) -> float: ...
    def cbow_negative_sampling(
        self,
        w_in: NDArray[Any],
        w_out: NDArray[Any],
        centers: NDArray[Any],
        contexts: NDArray[Any],
        negatives: NDArray[Any],
        shared: bool,
        learning_rate: float,
        cbow_mean: bool,
        weight: float,
    ) -> float: ...
    def hierarchical_softmax(
        self,
        w_in: NDArray[Any],
        w_tree: NDArray[Any],
        points: NDArray[Any],
        codes: NDArray[Any],
        contexts: NDArray[Any],
        shared: bool,
        learning_rate: float,
    ) -> float: ...
    def embedding_bag(
        self,
        table: NDArray[Any],
        bfloat16: bool,
        rows: NDArray[Any],
        weights: NDArray[Any] | None,
        offsets: NDArray[Any],
        normalize: bool,
        out: NDArray[Any],
    ) -> None: ...
    def glove_adagrad(
        self,
        words: NDArray[Any],
        contexts: NDArray[Any],
        rows: NDArray[Any],
        columns: NDArray[Any],
        log_counts: NDArray[Any],
        weights: NDArray[Any],
        learning_rate: float,
        grad_clip: float,
    ) -> float: ...
    def softmax(self, x: NDArray[Any], out: NDArray[Any]) -> None: ...
    def log_softmax(self, x: NDArray[Any], out: NDArray[Any]) -> None: ...

class Segment:
    def __init__(
        self,
        vectors: NDArray[Any],
        *,
        scales: NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
        first_label: int = 0,
        died: NDArray[Any] | None = None,
        rows: int,
        first_slot: int,
        codes: NDArray[Any] | None = None,
        bounds: NDArray[Any] | None = None,
        coded: int = 0,
        centre: NDArray[Any] | None = None,
        order: NDArray[Any] | None = None,
        cell_blocks: NDArray[Any] | None = None,
    ) -> None: ...

class Packed:
    @property
    def nbytes(self) -> int: ...

class WordPiece:
    def __init__(
        self,
        tokens: list[bytes],
        ids: NDArray[Any],
        prefix: bytes,
        unknown: int,
        longest_word: int,
        reserved: list[str],
    ) -> None: ...
    def set_page(self, page: int, entries: NDArray[Any], more: list[int]) -> None: ...
    def encode(
        self, texts: tuple[str, ...], most_characters: int, most_ids: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...

class WordTrainer:
    def __init__(
        self,
        level: Level,
        w_in: NDArray[Any],
        w_out: NDArray[Any] | None,
        w_tree: NDArray[Any] | None,
        ids: NDArray[Any],
        keep: NDArray[Any],
        noise: NDArray[Any] | None,
        *,
        tree_start: NDArray[Any] | None,
        tree_points: NDArray[Any] | None,
        tree_codes: NDArray[Any] | None,
        sub_rows: NDArray[Any] | None,
        sub_start: NDArray[Any] | None,
        sub_ids: NDArray[Any] | None,
        lock: NDArray[Any] | None,
        sub_lock: NDArray[Any] | None,
        jobs: NDArray[Any] | None,
        progress: NDArray[Any] | None,
        cumulative: NDArray[Any] | None,
        skip_gram: bool,
        mean: bool,
        window: int,
        negative: int,
        shrink_windows: bool,
        subsample: bool,
        shared: bool,
        whole_loss: bool,
        alpha: float,
        min_alpha: float,
        epochs: int,
        seed: int,
    ) -> None: ...
    @property
    def blocks(self) -> int: ...
    def start(self, block: int) -> int: ...
    def train(
        self,
        epoch: int,
        first: int,
        last: int,
        workers: int,
        loss: float = 0.0,
        pairs: int = 0,
        effective: int = 0,
        draws: int = 0,
    ) -> tuple[float, int, int, int]: ...

class CooccurrenceCounter:
    def __init__(
        self,
        ids: NDArray[Any],
        *,
        lead: int,
        vocabulary: int,
        window: int,
        symmetric: bool,
        weighted: bool,
    ) -> None: ...
    def bounds(self) -> NDArray[Any]: ...
    def rows(
        self, first: int, last: int, before: tuple[NDArray[Any], ...] | None = None
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...

class GloveTrainer:
    def __init__(
        self,
        level: Level,
        words: NDArray[Any],
        contexts: NDArray[Any],
        parts: list[NDArray[Any]],
        units: NDArray[Any],
        *,
        dim: int,
        symmetric: bool,
        rate: float,
        clip: float,
        seed: int,
    ) -> None: ...
    @property
    def visits(self) -> int: ...
    def train(self, epoch: int, first: int, last: int, workers: int) -> tuple[float, int]: ...

class WordCounter:
    def __init__(self) -> None: ...
    def add(self, text: Any) -> None: ...
    def finish(self) -> tuple[list[bytes], NDArray[Any]]: ...
    @property
    def total_words(self) -> int: ...
    @property
    def sentences(self) -> int: ...

class WordEncoder:
    def __init__(self, words: list[bytes]) -> None: ...
    def encode(self, text: Any, last: bool) -> NDArray[Any]: ...

def glove_blocks(
    rows: tuple[NDArray[Any], ...],
    first: int,
    vocabulary: int,
    block: int,
    x_max: float,
    alpha: float,
    seed: int,
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def count_lines(text: Any, last: bool) -> int: ...
def read_text_rows(
    text: Any, out: NDArray[Any], last: bool
) -> tuple[int, int, int, NDArray[Any]]: ...
def read_binary_rows(data: Any, out: NDArray[Any]) -> tuple[int, int, NDArray[Any]]: ...

class DistinctWords:
    def __init__(self) -> None: ...
    @property
    def words(self) -> list[str]: ...
    def add(
        self, text: Any, spans: NDArray[Any], encoding: str, errors: str
    ) -> NDArray[Any] | None: ...

class IdMap:
    def __init__(self) -> None: ...
    def set(self, labels: NDArray[Any], slots: NDArray[Any]) -> NDArray[Any]: ...
    def find(self, labels: NDArray[Any]) -> NDArray[Any]: ...
    def remove(self, labels: NDArray[Any]) -> None: ...
    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

def murmur_64a(words: list[bytes], seed: int) -> NDArray[Any]: ...
def murmur3_128(words: list[bytes], seed: int) -> NDArray[Any]: ...
def scan_pickle(data: Any) -> int: ...
def write_text_rows(words: list[bytes], vectors: NDArray[Any]) -> bytes: ...
def subword_ids(
    text: bytes, ends: NDArray[Any], min_n: int, max_n: int, bucket: int
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def subword_means(
    rows: NDArray[Any] | None,
    ngrams: NDArray[Any],
    offsets: NDArray[Any],
    ids: NDArray[Any],
    out: NDArray[Any],
) -> None: ...
def fasttext_entries(
    data: Any, most: int
) -> tuple[int, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def fasttext_vocabulary(
    text: Any, label: str, min_count: int, min_label_count: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], int, int]: ...
def fasttext_tokens(text: bytes) -> list[bytes]: ...
def product_quantise(
    values: NDArray[Any], dsub: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]: ...

class FastTextModel:
    def __init__(
        self,
        level: Level,
        text: NDArray[Any],
        ends: NDArray[Any],
        counts: NDArray[Any],
        labels: int,
        label: str,
        min_n: int,
        max_n: int,
        bucket: int,
        word_ngrams: int,
        pruned: NDArray[Any] | None,
        loss: int,
        supervised: bool,
        input: NDArray[Any],
        output: NDArray[Any] | None,
        quantiser: tuple[NDArray[Any], int, NDArray[Any] | None, NDArray[Any] | None] | None,
    ) -> None: ...
    def find(self, word: bytes) -> int: ...
    def word_rows(self, word: bytes) -> NDArray[Any]: ...
    def line_rows(self, text: bytes) -> NDArray[Any]: ...
    def mean(self, rows: NDArray[Any]) -> NDArray[Any]: ...
    def unit_vectors(self) -> NDArray[Any]: ...
    def predict(
        self, texts: list[str], k: int, threshold: float, names: list[str]
    ) -> tuple[list[list[str]], list[NDArray[Any]]]: ...
    def evaluate(
        self, text: Any, k: int, threshold: float
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...

class FastTextTrainer:
    def __init__(
        self,
        model: FastTextModel,
        text: Any,
        loss: int,
        negative: int,
        epochs: int,
        rate: float,
        seed: int,
    ) -> None: ...
    @property
    def blocks(self) -> int: ...
    def train(self, epoch: int, first: int, last: int, workers: int) -> tuple[float, int]: ...

def cut_at_space(text: Any) -> int: ...
def transport(costs: NDArray[Any], supply: NDArray[Any], demand: NDArray[Any]) -> float: ...
def usable_levels() -> list[Level]: ...
def compiled_levels() -> list[str]: ...

MOST_THREADS: int

def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
