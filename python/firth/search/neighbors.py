"""`NearestNeighbors`: scikit-learn's estimator of that name on top of `Index`.

An index holds float32, scikit-learn's users mostly have float64. So the index only finds
candidates: the returned distances are computed in float64 from the original data, and `_reach` says
how far the index has to look so that rounding to float32 cannot hide a neighbour. The result is
that of a float64 scan, equal distances ordered by index.

(More than 500 lines: one class whose arguments, docstrings and errors are scikit-learn's, and the
bound that makes its results right.)
"""

from __future__ import annotations

import inspect
import numbers
import warnings
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from firth import geometry
from firth.kernels._arrays import readable
from firth.optional import needs
from firth.search.index import Index

if TYPE_CHECKING:
    from typing_extensions import Self

    Pair = tuple[NDArray[Any], NDArray[Any]]


class Estimator:
    """The needed part of scikit-learn's BaseEstimator, without the second that importing it takes.

    So `NearestNeighbors` works where scikit-learn is not installed, and in pipelines where it is.
    """

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return sorted(list(inspect.signature(cls.__init__).parameters)[1:])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {name: getattr(self, name) for name in self._get_param_names()}

    def set_params(self, **params: Any) -> Self:
        """Change the constructor's arguments; ValueError where there is no such one."""
        valid = self._get_param_names()
        for name in params:
            if name not in valid:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. "
                    f"Valid parameters are: {valid}."
                )
        self.__dict__.update(params)
        return self

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks an estimator for."""
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=False))

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value is not defaults[name].default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


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
        self._check_parameters()
        data = self._checked(X, names_of=X)
        names = _feature_names(X)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.n_features_in_ = data.shape[1]
        self.n_samples_fit_ = len(data)
        self.effective_metric_ = "euclidean" if self.metric == "minkowski" else self.metric
        params = dict(self.metric_params or {})
        params.pop("p", None)
        self.effective_metric_params_ = params
        self._fit_X = data
        self._build()
        return self

    def _check_parameters(self) -> None:
        name = type(self).__name__
        wanted = {
            "n_neighbors": ("an int of at least 1, or None", self.n_neighbors is None
                            or (_integer(self.n_neighbors) and self.n_neighbors >= 1)),
            "radius": ("a float of at least 0, or None", self.radius is None
                       or (_real(self.radius) and self.radius >= 0)),
            "algorithm": ("one of 'auto', 'ball_tree', 'kd_tree', 'brute'",
                          self.algorithm in ("auto", "ball_tree", "kd_tree", "brute")),
            "leaf_size": ("an int of at least 1", _integer(self.leaf_size) and self.leaf_size >= 1),
            "metric": ("one of 'minkowski', 'euclidean', 'l2', 'cosine' (others: "
                       "sklearn.neighbors.NearestNeighbors)",
                       self.metric in ("minkowski", "euclidean", "l2", "cosine")),
            "metric_params": ("None or {'p': 2}",
                              not self.metric_params or self.metric_params == {"p": 2}),
            "p": ("2 (others: sklearn.neighbors.NearestNeighbors)",
                  self.metric != "minkowski" or self.p == 2),
            "n_jobs": ("an int or None", self.n_jobs is None or _integer(self.n_jobs)),
        }  # fmt: skip
        for parameter, (text, right) in wanted.items():
            if not right:
                got = getattr(self, parameter)
                raise ValueError(
                    f"The {parameter!r} parameter of {name} must be {text}. Got {got!r} instead."
                )

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
        self._check_fitted("kneighbors")
        k: Any = self.n_neighbors if n_neighbors is None else n_neighbors
        if not _integer(k):
            raise TypeError(f"n_neighbors does not take {type(k)} value, enter integer value")
        if k <= 0:
            raise ValueError(f"Expected n_neighbors > 0. Got {k}")
        queries = self._fit_X if X is None else self._queries(X)
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
        self._check_fitted("radius_neighbors")
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        queries = self._fit_X if X is None else self._queries(X)
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

    def _check_fitted(self, method: str) -> None:
        if hasattr(self, "_index"):
            return
        text = (
            f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate "
            f"arguments before using {method!r}."
        )
        try:
            from sklearn.exceptions import NotFittedError
        except ImportError:
            raise ValueError(text) from None
        raise NotFittedError(text)

    def _queries(self, X: Any) -> NDArray[Any]:
        """Checked queries of the fitted number and names of features."""
        name = type(self).__name__
        names, fitted = _feature_names(X), getattr(self, "feature_names_in_", None)
        if names is None and fitted is not None:
            warnings.warn(
                f"X does not have valid feature names, but {name} was fitted with feature names",
                stacklevel=3,
            )
        elif names is not None and fitted is None:
            warnings.warn(
                f"X has feature names, but {name} was fitted without feature names", stacklevel=3
            )
        elif names is not None and fitted is not None and names.tolist() != fitted.tolist():
            raise ValueError(_names_differ(names.tolist(), fitted.tolist()))
        queries = self._checked(X, names_of=None)
        if queries.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {queries.shape[1]} features, but {name} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return queries

    def _checked(self, X: Any, names_of: Any) -> NDArray[Any]:
        """Finite real numbers (n >= 1, d >= 1), C-contiguous; scikit-learn's words where not."""
        name = type(self).__name__
        if hasattr(X, "toarray"):
            raise TypeError(
                f"Sparse data was passed to {name}, but dense data is required: use X.toarray()."
            )
        data = np.asarray(readable(X))
        if data.dtype.kind == "c":
            raise ValueError(f"Complex data not supported\n{data}\n")
        if data.dtype.kind not in "fiub":
            data = data.astype(np.float64)
        if data.ndim != 2:
            if data.ndim < 2:
                raise ValueError(
                    f"Expected 2D array, got {'scalar' if data.ndim == 0 else '1D'} array "
                    f"instead:\narray={data}.\nReshape your data either using "
                    "array.reshape(-1, 1) if your data has a single feature or "
                    "array.reshape(1, -1) if it contains a single sample."
                )
            raise ValueError(f"Found array with dim {data.ndim}, while dim <= 2 is required.")
        for count, what in zip(data.shape, ("sample", "feature"), strict=True):
            if count == 0:
                raise ValueError(
                    f"Found array with 0 {what}(s) (shape={data.shape}) while a minimum of 1 is "
                    f"required by {name}."
                )
        if data.dtype.kind == "f" and not np.isfinite(data).all():
            what = (
                "NaN"
                if np.isnan(data).any()
                else f"infinity or a value too large for {data.dtype!r}"
            )
            raise ValueError(f"Input X contains {what}.")
        return np.ascontiguousarray(data)

    # Pickle: the index is built again

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_index"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if hasattr(self, "_fit_X"):
            self._build()


def _integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))


def _real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def _to_one(largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Powers of two that bring numbers near 1 (zeros stay): multiplication by them is exact."""
    powers: NDArray[np.float64] = np.ldexp(1.0, -np.clip(np.frexp(largest)[1], -1020, 1020))
    return powers


def _feature_names(X: Any) -> NDArray[Any] | None:
    """Names of the columns of a data frame, if all are str."""
    columns = getattr(X, "columns", None)
    if columns is None:
        return None
    names = np.asarray(columns, object)
    kinds = {type(name).__name__ for name in names if not isinstance(name, str)}
    if not kinds and len(names):
        return names
    if len(kinds) < len({type(name).__name__ for name in names}):
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your "
            f"input has {sorted({type(name).__name__ for name in names})} as feature name types."
        )
    return None


def _names_differ(names: list[str], fitted: list[str]) -> str:
    """scikit-learn's words for feature names that are not those of fit."""
    text = "The feature names should match those that were passed during fit.\n"
    lists = {
        "Feature names unseen at fit time:\n": sorted(set(names) - set(fitted)),
        "Feature names seen at fit time, yet now missing:\n": sorted(set(fitted) - set(names)),
    }
    if not any(lists.values()):
        return text + "Feature names must be in the same order as they were in fit.\n"
    for head, some in lists.items():
        if some:
            more = ["..."] if len(some) > 5 else []
            text += head + "".join(f"- {name}\n" for name in some[:5] + more)
    return text
