"""An `Index` handed over to FAISS, usearch and hnswlib: the same ids, vectors and answers."""

from __future__ import annotations

import numpy as np
import pytest

import firth
from processes import printed

pytestmark = pytest.mark.peer
METRICS = ["cosine", "ip", "l2"]


def index_of(metric, storage="float32", **changes):
    """An index with a hole, a replaced row and ids that are not places."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((1500, 24)).astype(np.float32)
    index = firth.Index(24, metric=metric, storage=storage)
    index.add(rows[:900], np.arange(900) * 3 + 5)
    index.add(rows[900:])
    index.remove([5, 11])
    index.add(rows[::-1][:1], [8])
    return index, rng.standard_normal((30, 24)).astype(np.float32)


def asked(index, queries, k=10):
    """Our ids and scores, for queries of length 1 with cosine."""
    if index.metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return queries, index.search(queries, k)


def same(distances, ours, metric, least=1.0):
    """Scores of the peers agree to float32's rounding of sums of 24, where the ids do.

    ``least`` is the recall: a graph may miss a neighbour, which shifts all that come after it.
    """
    ids, scores = ours.ids, ours.scores
    found, far = distances
    found = found.astype(np.int64)
    recall = np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, ids, strict=True)]) / 10
    assert ids.shape[1] == 10
    assert recall >= least
    equal = found == ids
    assert equal[:, 0].mean() > 0.8
    mine = {"cosine": 1 - scores, "ip": 1 - scores, "l2": -scores}[metric]
    tolerance = 32 * np.finfo(np.float32).eps * (1 + np.abs(mine))
    assert (np.abs(far - mine) <= tolerance)[equal].all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("storage", ["float32", "bfloat16", "int8"])
def test_faiss(metric, storage):
    pytest.importorskip("faiss")
    index, queries = index_of(metric, storage)
    theirs = index.to_faiss()
    assert theirs.ntotal == len(index)
    queries, ours = asked(index, queries)
    far, found = theirs.search(queries, 10)
    same((found, far if metric == "l2" else 1 - far), ours, metric, 0.99)
    if metric != "cosine":
        assert (theirs.reconstruct(17) == index.get(17)).all()


@pytest.mark.parametrize("metric", METRICS)
def test_usearch(metric):
    pytest.importorskip("usearch")
    index, queries = index_of(metric)
    theirs = index.to_usearch(connectivity=32, expansion_search=400)
    assert len(theirs) == len(index)
    assert theirs.connectivity == 32
    queries, ours = asked(index, queries)
    found = theirs.search(queries, 10)
    same((found.keys, found.distances), ours, metric, 0.95)
    assert (theirs.get(17) == index.get(17)).all()
    assert 11 not in theirs


@pytest.mark.parametrize("metric", METRICS)
def test_hnswlib(metric):
    pytest.importorskip("hnswlib")
    index, queries = index_of(metric)
    theirs = index.to_hnswlib(M=32, max_elements=2000)
    assert theirs.get_current_count() == len(index)
    assert theirs.get_max_elements() == 2000
    theirs.set_ef(400)
    queries, ours = asked(index, queries)
    found, far = theirs.knn_query(queries, 10)
    same((found, far), ours, metric, 0.95)
    assert sorted(theirs.get_ids_list()) == sorted(index.ids)


def test_str_ids_become_places():
    pytest.importorskip("faiss")
    index = firth.Index(2)
    index.add([[1, 0], [0, 1], [1, 1]], ids=["east", "north", "north-east"])
    index.remove("east")
    _, found = index.to_faiss().search(np.float32([[1, 0.9]]), 1)
    assert index.ids[found[0, 0]] == "north-east"


def test_negative_ids_and_empty_indexes():
    for name in ("faiss", "usearch", "hnswlib"):
        pytest.importorskip(name)
    index = firth.Index(3)
    assert index.to_faiss().ntotal == 0
    assert len(index.to_usearch()) == 0
    assert index.to_hnswlib().get_current_count() == 0
    index.add([[1, 2, 3]], ids=[-4])
    assert index.to_faiss().search(np.ones((1, 3), np.float32), 1)[1].tolist() == [[-4]]
    for convert in (index.to_usearch, index.to_hnswlib):
        with pytest.raises(ValueError, match="id -4 is negative"):
            convert()


@pytest.mark.parametrize(
    ("module", "package"), [("faiss", "faiss-cpu"), ("usearch", "usearch"), ("hnswlib", "hnswlib")]
)
def test_what_is_missing_is_named(module, package):
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "import firth\n"
        f"try: firth.Index(2).to_{module}()\n"
        "except ImportError as error: print(error)\n"
    )
    assert printed(code).strip() == f"to_{module} needs {package}: pip install {package}"


@pytest.mark.parametrize(
    ("method", "package"),
    [("to_faiss", "faiss"), ("to_usearch", "usearch"), ("to_hnswlib", "hnswlib")],
)
def test_a_mapped_file_that_shrinks(method, package, tmp_path):
    pytest.importorskip(package)
    index, _ = index_of("l2")
    index.save(tmp_path / "x.index")
    opened = firth.Index.open(tmp_path / "x.index", "r")
    with open(tmp_path / "x.index", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(firth.FormatError, match="has shrunk"):
        getattr(opened, method)()
