"""`NearestNeighbors`: scikit-learn's estimator of that name on top of `Index`.

An index holds float32, scikit-learn's users mostly have float64. So the index only finds
candidates: the returned distances are computed in float64 from the original data, and `_reach` says
how far the index has to look so that rounding to float32 cannot hide a neighbour. The result is
that of a float64 scan, equal distances ordered by index.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from firth import geometry
from firth.estimator import Estimator, integer, real
from firth.optional import needs
from firth.search.index import Index

Pair = tuple[NDArray[Any], NDArray[Any]]
CHUNK = 1 << 22  # numbers processed in float64 at a time
SPARE = 8  # candidates beyond k in the first attempt


class NearestNeighbors(Estimator):
    """Nearest neighbours by Euclidean or cosine distance, exactly.

    Parameters, methods, results and errors are those of ``sklearn.neighbors.NearestNeighbors``.

    Parameters
    ----------
    n_neighbors : int, default 5
        Default of `kneighbors`.
    radius : float, default 1.0
        Default of `radius_neighbors`.
    algorithm : {"auto", "ball_tree", "kd_tree", "brute"}, default "auto"
        No effect, nor has `leaf_size`: there is one algorithm, and it is exact.
    leaf_size : int, default 30
    metric : {"minkowski", "euclidean", "l2", "cosine"}, default "minkowski"
        Euclidean distance, or 1 - cosine (1 where a vector is zero).
    p : float, default 2
        2 is the only supported power of "minkowski".
    metric_params : dict, optional
        None or empty, or ``{"p": 2}``.
    n_jobs : int, optional
        No effect: use `firth.set_num_threads`.

    Attributes
    ----------
    effective_metric_, effective_metric_params_, n_features_in_, feature_names_in_, n_samples_fit_

    Notes
    -----
    Float64 (and integer) data are searched in float32, but the neighbours are those of float64:
    where rounding could matter, more candidates are fetched, and all distances are computed in
    float64 from the data as given. Ordered by distance, then by index, also in `radius_neighbors`.

    Different from scikit-learn: no sparse data, no other metrics; cosine distances of float32 data
    are float64 (scikit-learn: float32). Euclidean distances do not suffer from cancellation
    (scikit-learn's brute force computes ``x.x - 2 x.y + y.y``). With two or three features its
    trees are the faster choice.

    >>> import firth
    >>> near = firth.NearestNeighbors(n_neighbors=2).fit([[0, 0, 2], [1, 0, 0], [0, 0, 1]])
    >>> near.kneighbors([[0, 0, 1.3]], return_distance=False)
    array([[2, 0]])
    """

    def __init__(
        self,
        *,
        n_neighbors: int = 5,
        radius: float = 1.0,
        algorithm: str = "auto",
        leaf_size: int = 30,
        metric: str = "minkowski",
        p: float = 2,
        metric_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.metric = metric
        self.p = p
        self.metric_params = metric_params
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> NearestNeighbors:
        """Take the rows of X (n_samples, n_features); y is ignored. Returns self.

        Raises
        ------
        TypeError
            X is sparse.
        ValueError
            A parameter is out of its range, the metric is another one, or X is empty, not 2-D,
            complex, NaN or infinite.
        """
        self._check_all()
        data = np.ascontiguousarray(self._checked(X))
        self._set_features(X, data)
        self.n_samples_fit_ = len(data)
        self.effective_metric_ = "euclidean" if self.metric == "minkowski" else self.metric
        params = dict(self.metric_params or {})
        params.pop("p", None)
        self.effective_metric_params_ = params
        self._fit_X = data
        self._build()
        return self

    def _check_all(self) -> None:
        wanted = {
            "n_neighbors": ("an int of at least 1, or None", self.n_neighbors is None
                            or (integer(self.n_neighbors) and self.n_neighbors >= 1)),
            "radius": ("a float of at least 0, or None", self.radius is None
                       or (real(self.radius) and self.radius >= 0)),
            "algorithm": ("one of 'auto', 'ball_tree', 'kd_tree', 'brute'",
                          self.algorithm in ("auto", "ball_tree", "kd_tree", "brute")),
            "leaf_size": ("an int of at least 1", integer(self.leaf_size) and self.leaf_size >= 1),
            "metric": ("one of 'minkowski', 'euclidean', 'l2', 'cosine' (others: "
                       "sklearn.neighbors.NearestNeighbors)",
                       self.metric in ("minkowski", "euclidean", "l2", "cosine")),
            "metric_params": ("None or {'p': 2}",
                              not self.metric_params or self.metric_params == {"p": 2}),
            "p": ("2 (others: sklearn.neighbors.NearestNeighbors)",
                  self.metric != "minkowski" or self.p == 2),
            "n_jobs": ("an int or None", self.n_jobs is None or integer(self.n_jobs)),
        }  # fmt: skip
        self._check_parameters(wanted)

    # What the index gets, and how far it has to look

    def _build(self) -> None:
        """The index of `_fit_X`, and what `_reach` needs."""
        data = self._fit_X
        n, d = data.shape
        # Scaled by a power of two, which rounds nothing, no square can overflow; and centred, so
        # that data far from 0 keep their digits in float32 (float32 data are what they are).
        self._scale = float(_to_one(np.array(max(float(data.max()), -float(data.min())))))
        step = max(1, CHUNK // d)
        parts = [data[start : start + step] for start in range(0, n, step)]
        self._centre = np.zeros(d)
        if data.dtype not in (np.float32, np.float16):
            self._centre = np.sum([self._scaled(part).sum(axis=0) for part in parts], axis=0) / n
        self._index = Index(d, metric="ip" if self.metric == "cosine" else "l2")
        self._rounding = 0.0
        for part in parts:
            rows, rounding = self._float32(part)
            self._index.add(rows)
            self._rounding = max(self._rounding, float(rounding.max()))

    def _scaled(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Rows (..., d) in float64, the largest number of the fitted ones being about 1."""
        return rows.astype(np.float64) * self._scale

    def _float32(self, given: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Rows (n, d) as the index stores them, and the distance (n,) of each from the original."""
        exact = (
            geometry.unit(given) if self.metric == "cosine" else self._scaled(given) - self._centre
        )
        length = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        # A query may be far too large: shortened it still finds everything (see _reach).
        shorter = np.minimum(1, 1e15 / np.maximum(length, 1))
        rows = (exact * shorter[:, None]).astype(np.float32)
        lost = exact - rows
        # The float64 operations above are themselves right to some units in the 53rd place of
        # numbers of at most length + sqrt(d).
        slack = 2.0**-48 * (length + np.sqrt(given.shape[1]))
        return rows, np.sqrt(np.einsum("ij,ij->i", lost, lost)) + slack

    def _reach(
        self, distances: NDArray[np.float64], rounding: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores (q,) that no row within ``distances`` (q,) of its query stays below.

        With x', q' for the float32 of x and q, and ``rounding`` a bound of |q - q'|: the Euclidean
        distance |q' - x'| is at most |q - x| + |q - q'| + |x - x'|; and q'.x' at least
        q.x - |q - q'| - |x - x'| (1 + |q - q'|), as |q| and |x| are 1 or 0. The index rounds its
        score once to float32, which is right to 2^-24 of it, or to 2^-150.
        """
        off = rounding + self._rounding
        if self.metric == "cosine":
            return 1 - distances - 2.0**-48 - off - rounding * self._rounding - 2.0**-23
        with np.errstate(over="ignore"):
            least = distances * self._scale * (1 + 2.0**-40) + off
            reach: NDArray[np.float64] = -(least**2) * (1 + 2.0**-22) - 2.0**-148
        return reach

    def _distances(self, query: NDArray[Any], found: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances, in float64, of queries (q, d) from rows (q, m), or of one (d,) from (m,)."""
        rows = self._fit_X[found]
        if self.metric == "cosine":
            pairs = zip(query, rows, strict=True) if query.ndim > 1 else [(query, rows)]
            cosines = [geometry.cosines(one, near) for one, near in pairs]
            distances: NDArray[np.float64] = 1 - np.reshape(cosines, found.shape)
            return distances
        difference = self._scaled(rows) - self._scaled(query)[..., None, :]
        squares = np.einsum("...md,...md->...m", difference, difference)
        with np.errstate(over="ignore"):
            length: NDArray[np.float64] = np.sqrt(squares) / self._scale
        return length

    # Asking

    @overload
    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: Literal[True] = True
    ) -> Pair: ...

    @overload
    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, *, return_distance: Literal[False]
    ) -> NDArray[Any]: ...

    @overload
    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Pair | NDArray[Any]: ...

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """The nearest rows of each query.

        Parameters
        ----------
        X : array_like (n_queries, n_features), optional
            Default: the fitted rows, where a row is not its own neighbour.
        n_neighbors : int, optional
            Default: the constructor's.
        return_distance : bool, default True

        Returns
        -------
        distances : ndarray (n_queries, n_neighbors) float64
            Only with ``return_distance``.
        indices : ndarray (n_queries, n_neighbors) int64

        Raises
        ------
        TypeError, ValueError
            ``n_neighbors`` is no int, below 1, or more than there are; X as in `fit`, or with
            another number of features.
        """
        self._check_fitted("_index", "kneighbors")
        k: Any = self.n_neighbors if n_neighbors is None else n_neighbors
        if not integer(k):
            raise TypeError(f"n_neighbors does not take {type(k)} value, enter integer value")
        if k <= 0:
            raise ValueError(f"Expected n_neighbors > 0. Got {k}")
        queries = self._fit_X if X is None else np.ascontiguousarray(self._like_fitted(X))
        wanted = k + (X is None)
        if wanted > self.n_samples_fit_:
            raise ValueError(
                f"Expected n_neighbors {'<' if X is None else '<='} n_samples_fit, but "
                f"n_neighbors = {k}, n_samples_fit = {self.n_samples_fit_}, "
                f"n_samples = {len(queries)}"
            )
        distances = np.empty((len(queries), wanted))
        indices = np.empty((len(queries), wanted), np.int64)
        step = max(1, CHUNK // ((wanted + SPARE) * self.n_features_in_))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            distances[part], indices[part] = self._nearest(queries[part], wanted)
        if X is None:
            other = indices != np.arange(len(queries))[:, None]
            other[other.all(axis=1), 0] = False  # more duplicates of the row than neighbours
            distances = distances[other].reshape(len(queries), k)
            indices = indices[other].reshape(len(queries), k)
        return (distances, indices) if return_distance else indices

    def _nearest(
        self, queries: NDArray[Any], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The k nearest rows (q, k) of queries."""
        rows, rounding = self._float32(queries)
        candidates, scores = self._index.search(rows, min(k + SPARE, self.n_samples_fit_))
        distances = self._distances(queries, candidates)
        order = np.lexsort((candidates, distances))[:, :k]
        indices = np.take_along_axis(candidates, order, axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
        if candidates.shape[1] == self.n_samples_fit_:
            return distances, indices
        # Rows that are not candidates score at most as much as the last candidate.
        reach = self._reach(distances[:, -1], rounding)
        unsure = np.flatnonzero(scores[:, -1] >= reach)
        if len(unsure):
            more = self._index.search_range(rows[unsure], reach[unsure]).ids
            for query, found in zip(unsure, more, strict=True):
                distance, found = self._sorted(queries[query], found)
                distances[query], indices[query] = distance[:k], found[:k]
        return distances, indices

    def _sorted(
        self, query: NDArray[Any], found: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances of rows from one query (d,), and the rows, nearest first."""
        step = max(1, CHUNK // self.n_features_in_)
        parts = [
            self._distances(query, found[start : start + step])
            for start in range(0, len(found), step)
        ]
        distance = np.concatenate([np.empty(0), *parts])
        order = np.lexsort((found, distance))
        return distance[order], found[order]

    @overload
    def radius_neighbors(
        self,
        X: Any = None,
        radius: float | None = None,
        return_distance: Literal[True] = True,
        sort_results: bool = False,
    ) -> Pair: ...

    @overload
    def radius_neighbors(
        self,
        X: Any = None,
        radius: float | None = None,
        *,
        return_distance: Literal[False],
        sort_results: bool = False,
    ) -> NDArray[Any]: ...

    @overload
    def radius_neighbors(
        self,
        X: Any = None,
        radius: float | None = None,
        return_distance: bool = True,
        sort_results: bool = False,
    ) -> Pair | NDArray[Any]: ...

    def radius_neighbors(
        self,
        X: Any = None,
        radius: float | None = None,
        return_distance: bool = True,
        sort_results: bool = False,
    ) -> Any:
        """All rows within a radius of each query, its edge included, nearest first.

        Parameters
        ----------
        X : array_like (n_queries, n_features), optional
            Default: the fitted rows, where a row is not its own neighbour.
        radius : float, optional
            Default: the constructor's.
        return_distance : bool, default True
        sort_results : bool, default False
            Results are sorted anyway; True without ``return_distance`` is a ValueError.

        Returns
        -------
        distances : ndarray (n_queries,) of float64 arrays
            Only with ``return_distance``.
        indices : ndarray (n_queries,) of int64 arrays
        """
        self._check_fitted("_index", "radius_neighbors")
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        queries = self._fit_X if X is None else np.ascontiguousarray(self._like_fitted(X))
        limit = float(self.radius if radius is None else radius)
        if not limit >= 0:
            raise ValueError(f"radius == {limit}, must be >= 0.")
        distances, indices = (np.empty(len(queries), object) for _ in range(2))
        step = max(1, CHUNK // self.n_features_in_)
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            rows, rounding = self._float32(part)
            reach = self._reach(np.full(len(part), limit), rounding)
            for i, found in enumerate(self._index.search_range(rows, reach).ids):
                if X is None:
                    found = found[found != start + i]
                distance, found = self._sorted(part[i], found)
                distances[start + i] = distance[distance <= limit]
                indices[start + i] = found[distance <= limit]
        return (distances, indices) if return_distance else indices

    def kneighbors_graph(
        self, X: Any = None, n_neighbors: int | None = None, mode: str = "connectivity"
    ) -> Any:
        """`kneighbors` as a sparse matrix (n_queries, n_samples_fit) of SciPy.

        ``mode``: "connectivity" has ones, "distance" distances.
        """
        distances, indices = self.kneighbors(X, n_neighbors)
        return self._graph(list(distances), list(indices), mode)

    def radius_neighbors_graph(
        self,
        X: Any = None,
        radius: float | None = None,
        mode: str = "connectivity",
        sort_results: bool = False,
    ) -> Any:
        """`radius_neighbors` as a sparse matrix (n_queries, n_samples_fit) of SciPy."""
        distances, indices = self.radius_neighbors(X, radius)
        return self._graph(distances, indices, mode)

    def _graph(self, distances: Any, indices: Any, mode: str) -> Any:
        sparse = needs("scipy.sparse", "a graph of neighbours")
        if mode not in ("connectivity", "distance"):
            raise ValueError(
                'Unsupported mode, must be one of "connectivity", or "distance" '
                f'but got "{mode}" instead'
            )
        columns = np.concatenate(list(indices))
        ends = np.cumsum([0, *map(len, indices)])
        values = np.concatenate(list(distances)) if mode == "distance" else np.ones(len(columns))
        return sparse.csr_matrix((values, columns, ends), shape=(len(indices), self.n_samples_fit_))

    # Arguments

    # Pickle: the index is built again

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_index"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if hasattr(self, "_fit_X"):
            self._build()


def _to_one(largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Powers of two that bring numbers near 1 (zeros stay): multiplication by them is exact."""
    powers: NDArray[np.float64] = np.ldexp(1.0, -np.clip(np.frexp(largest)[1], -1020, 1020))
    return powers
