"""Repeated queries: coded rows give the same results, bit for bit."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import firth


def vectors(dtype):
    rng = np.random.default_rng(0)
    kv = firth.KeyedVectors(20)
    rows = rng.standard_normal((9000, 20)).astype(np.float32) + np.float32(0.4)
    rows[[3, 70]] = 0
    rows[4000:4100] = rows[:100]  # ties
    kv.add_vectors([f"w{i}" for i in range(9000)], rows)
    return kv if dtype == np.float32 else kv.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_answers_stay_the_same(dtype):
    kv, fresh = vectors(dtype), vectors(dtype)
    questions = [
        {"positive": ["w5"]},
        {"positive": ["w3"]},  # a row of zeros
        {"positive": ["w5", "w6"], "negative": ["w7"], "topn": 40},
        {"positive": ["w9"], "exclude": ["w4009", "w11"]},
        {"positive": ["w10"], "among": [f"w{i}" for i in range(0, 9000, 2)]},
        {"positive": ["w11"], "topn": 9000},
        {"positive": ["w12"], "restrict_vocab": 8500},
    ]
    want = [fresh.most_similar(**question) for question in questions]
    assert fresh._asked[2] is None
    batch = fresh.most_similar_batch(["w1", "w2", "w4008"], topn=7)
    for _ in range(20):
        kv.most_similar("w1")
    assert kv._asked[2] is not None
    assert [kv.most_similar(**question) for question in questions] == want
    assert kv.most_similar_batch(["w1", "w2", "w4008"], topn=7) == batch


def test_a_batch_codes_at_once_and_small_ones_never():
    kv = vectors(np.float32)
    kv.most_similar_batch([f"w{i}" for i in range(100, 200)])
    assert kv._asked[2] is not None
    small = firth.KeyedVectors(4)
    small.add_vectors(["a", "b"], np.eye(2, 4, dtype=np.float32))
    for _ in range(40):
        small.most_similar("a")
    assert small._asked[2] is None


def test_codes_end_with_the_norms():
    kv = vectors(np.float32)
    for _ in range(20):
        kv.most_similar("w1")
    kv["w5000"] = -kv["w1"]
    assert kv.most_similar(-kv["w1"], topn=1) == [("w5000", 1.0)]
    for _ in range(20):
        kv.most_similar("w1")
    kv.vectors[6000] = 3 * kv["w200"]
    kv.fill_norms(force=True)
    assert kv.most_similar("w200", topn=1) == [("w6000", 1.0)]
    for twin in (pickle.loads(pickle.dumps(kv)), copy.deepcopy(kv)):
        assert twin._asked is None
        assert twin.most_similar("w2", topn=5) == kv.most_similar("w2", topn=5)
