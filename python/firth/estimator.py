"""What firth's estimators have from scikit-learn, without the second that importing it takes.

So they work where scikit-learn is not installed, and in its pipelines where it is. `Estimator` is
the needed part of BaseEstimator, with the checks of arguments and of X in scikit-learn's words.
"""

from __future__ import annotations

import inspect
import numbers
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firth.kernels._arrays import readable

if TYPE_CHECKING:
    from typing_extensions import Self


class Estimator:
    """Parameters by name, and what `fit` and the methods after it take."""

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

    def _check_parameters(self, wanted: Mapping[str, tuple[str, bool]]) -> None:
        """ValueError for a parameter that is not what its text says."""
        for parameter, (text, right) in wanted.items():
            if not right:
                raise ValueError(
                    f"The {parameter!r} parameter of {type(self).__name__} must be {text}. "
                    f"Got {getattr(self, parameter)!r} instead."
                )

    def _check_fitted(self, attribute: str, method: str) -> None:
        if hasattr(self, attribute):
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

    def _set_features(self, X: Any, data: Any) -> None:
        """Number and names of the features of X, of which ``data`` are the numbers."""
        names = _feature_names(X)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.n_features_in_: int = data.shape[1]

    def _like_fitted(self, X: Any, sparse: bool = False) -> Any:
        """`_checked` for X with the number and names of features that were fitted."""
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
        data = self._checked(X, sparse)
        # A model whose weights were given and not fitted knows no number of features.
        if data.shape[1] != getattr(self, "n_features_in_", data.shape[1]):
            raise ValueError(
                f"X has {data.shape[1]} features, but {name} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return data

    def _checked(self, X: Any, sparse: bool = False) -> Any:
        """Finite real numbers (n >= 1, d >= 1); scikit-learn's words where they are not.

        An array as it is given, where it has numbers; with ``sparse`` also a sparse matrix, in CSR
        format.
        """
        name = type(self).__name__
        if hasattr(X, "toarray"):
            if not sparse:
                raise TypeError(
                    f"Sparse data was passed to {name}, but dense data is required: "
                    "use X.toarray()."
                )
            data = X.tocsr()
            values = data.data
        else:
            data = values = np.asarray(readable(X))
        if data.dtype.kind == "c":
            raise ValueError(f"Complex data not supported\n{data}\n")
        if data.dtype.kind not in "fiub":
            data = values = data.astype(np.float64)
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
        check_finite(values, "X")
        return data


def check_finite(values: NDArray[Any], name: str) -> None:
    """ValueError where there are NaN or inf."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        what = (
            "NaN"
            if np.isnan(values).any()
            else f"infinity or a value too large for {values.dtype!r}"
        )
        raise ValueError(f"Input {name} contains {what}.")


def warning(name: str) -> type[Warning]:
    """scikit-learn's class of that name, if the program has loaded it: others cannot filter it."""
    found: type[Warning] = getattr(sys.modules.get("sklearn.exceptions"), name, UserWarning)
    return found


def integer(value: Any) -> bool:
    """Whether it is a whole number, of Python or NumPy, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))


def real(value: Any) -> bool:
    """Whether it is a real number and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


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
