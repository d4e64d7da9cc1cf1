"""Data sets and batches of them, named as in torch.utils.data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from firth.arguments import check_whole
from firth.nn.generator import Generator, numbers_of
from firth.nn.operations.shapes import stack
from firth.nn.tape import Tensor


class Dataset:
    """Samples by their number, as torch.utils.data.Dataset.

    A subclass has ``__getitem__``, which takes an int from 0, and ``__len__``. Any sequence will do
    in its place.
    """

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")


class TensorDataset(Dataset):
    """Samples that are rows of tensors.

    Parameters
    ----------
    *tensors : Tensor or array_like, shape (n, ...)
        ``dataset[i]`` is a tuple with row i of each.

    Raises
    ------
    ValueError
        The tensors have different lengths, or there are none.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in tensors)
        lengths = {x.shape[0] if x.ndim else None for x in self.tensors}
        if len(lengths) != 1 or None in lengths:
            shapes = [x.shape for x in self.tensors]
            raise ValueError(f"TensorDataset: tensors must have one length, got shapes {shapes}")

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(x[index] for x in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset):
    """Some samples of a data set.

    Parameters
    ----------
    dataset : Dataset or sequence
    indices : sequence of int
        Their numbers in it; sample i is ``dataset[indices[i]]``. They are not checked before.
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Any, lengths: Sequence[float], generator: Generator | None = None
) -> list[Subset]:
    """A data set in parts.

    Parameters
    ----------
    dataset : Dataset or sequence
    lengths : sequence of int, or of float
        Samples of each part, or shares that add up to 1.
    generator : firth.Generator, optional
        What draws; by default `firth.manual_seed`'s numbers.

    Raises
    ------
    ValueError
        The lengths do not add up to the samples.
    """
    n = len(dataset)
    counts = [int(x) for x in lengths]
    if abs(sum(lengths) - 1) < 1e-6 and not (n == 1 and sum(counts) == 1):
        counts = [int(n * x) for x in lengths]
        for i in range(n - sum(counts)):  # what is left goes round
            counts[i % len(counts)] += 1
    if sum(counts) != n:
        raise ValueError(f"random_split: lengths must add up to {n} samples, or 1, got {lengths}")
    order = numbers_of("random_split", generator).permutation(n).tolist()
    ends = np.cumsum(counts).tolist()
    return [
        Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends, strict=True)
    ]


def default_collate(batch: Sequence[Any]) -> Any:
    """Samples as a batch: tensors and arrays stacked, numbers as a tensor, parts of each alike.

    Raises
    ------
    TypeError
        A sample is none of these.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch))
    if isinstance(first, (np.ndarray, np.generic)):
        return Tensor(np.stack(batch))
    if isinstance(first, (bool, int, float)):
        return Tensor(np.array(batch))  # float64, as in PyTorch
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return {name: default_collate([one[name] for one in batch]) for name in first}
    if isinstance(first, (tuple, list)):
        return [default_collate(part) for part in zip(*batch, strict=True)]
    raise TypeError(f"DataLoader: cannot make a batch of {type(first).__name__}; give collate_fn")


class Sampler:
    """An order of samples: a subclass has ``__iter__``, their numbers, and ``__len__``.

    `DataLoader` takes it as ``sampler``, as any iterable of int that has a length.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__")


class SequentialSampler(Sampler):
    """The samples of a data set as they come: 0, 1, ..., ``len(data_source)`` - 1."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """The samples in another order at each pass.

    Parameters
    ----------
    data_source : Dataset or sequence
    replacement : bool
        Whether a sample may come again before all others have come.
    num_samples : int, optional
        How many a pass has; by default as many as there are.
    generator : firth.Generator, optional
        What draws; by default `firth.manual_seed`'s numbers.

    Raises
    ------
    ValueError
        ``num_samples`` is not positive.
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if num_samples is not None:
            check_whole("RandomSampler: num_samples", num_samples, 1)
        numbers_of("RandomSampler", generator)
        self.data_source, self.replacement = data_source, replacement
        self._count, self.generator = num_samples, generator

    @property
    def num_samples(self) -> int:
        """How many samples a pass has."""
        return len(self.data_source) if self._count is None else self._count

    def __iter__(self) -> Iterator[int]:
        numbers, n, count = (
            numbers_of("RandomSampler", self.generator),
            len(self.data_source),
            len(self),
        )
        if self.replacement:
            yield from numbers.integers(n, size=count).tolist()
            return
        while count > 0:
            yield from numbers.permutation(n)[:count].tolist()
            count -= n

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """Some samples, in another order at each pass.

    Parameters
    ----------
    indices : sequence of int
        Their numbers; each comes once a pass.
    generator : firth.Generator, optional
        What draws; by default `firth.manual_seed`'s numbers.
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        numbers_of("SubsetRandomSampler", generator)
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        numbers = numbers_of("SubsetRandomSampler", self.generator)
        return (int(self.indices[i]) for i in numbers.permutation(len(self.indices)).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Samples drawn by their weights: rare classes as often as others, where these are large.

    Parameters
    ----------
    weights : sequence of float
        One a sample; they need not add up to 1.
    num_samples : int
        How many a pass has.
    replacement : bool
        Whether a sample may come again.
    generator : firth.Generator, optional
        What draws; by default `firth.manual_seed`'s numbers.

    Raises
    ------
    ValueError
        ``num_samples`` is not positive; weights are negative, not finite or all 0, or fewer than
        ``num_samples`` are above 0 where none may come again.
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        check_whole("WeightedRandomSampler: num_samples", num_samples, 1)
        numbers_of("WeightedRandomSampler", generator)
        self.weights = np.array(weights, np.float64)
        if self.weights.ndim != 1 or not (
            np.isfinite(self.weights).all() and (self.weights >= 0).all() and self.weights.any()
        ):
            raise ValueError(
                "WeightedRandomSampler: weights must be one axis of numbers, not negative and not "
                f"all 0, got shape {self.weights.shape}"
            )
        if not replacement and (self.weights > 0).sum() < num_samples:
            raise ValueError(
                "WeightedRandomSampler: num_samples is greater than the number of weights above 0"
            )
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        shares = self.weights / self.weights.sum()
        numbers = numbers_of("WeightedRandomSampler", self.generator)
        drawn = numbers.choice(len(shares), self.num_samples, self.replacement, shares)
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of ``batch_size`` numbers of another sampler.

    Parameters
    ----------
    sampler : iterable of int with a length
    batch_size : int
        At least 1; ValueError for less.
    drop_last : bool
        Whether the last list is left out where it is shorter.
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        check_whole("BatchSampler: batch_size", batch_size, 1)
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for number in self.sampler:
            batch.append(number)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


class DataLoader:
    """Batches of a data set, epoch by epoch.

    Parameters
    ----------
    dataset : Dataset or sequence
    batch_size : int
    shuffle : bool
        Whether each pass has an order of its own.
    sampler : iterable of int, optional
        The order, instead of ``shuffle``.
    batch_sampler : iterable of sequences of int, optional
        The batches, instead of ``batch_size``, ``shuffle``, ``sampler`` and ``drop_last``.
    num_workers, pin_memory, persistent_workers
        Of no effect: samples are read in this process.
    collate_fn : callable, optional
        Makes a batch of a list of samples, instead of `default_collate`.
    drop_last : bool
        Leave out the last batch where it is smaller.
    generator : firth.Generator, optional
        What draws the order; by default `firth.manual_seed`'s numbers.

    Raises
    ------
    ValueError
        ``batch_size`` is not positive, or arguments exclude each other.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Any = None,
        batch_sampler: Any = None,
        *,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        generator: Generator | None = None,
        persistent_workers: bool = False,
    ) -> None:
        check_whole("DataLoader: batch_size", batch_size, 1)
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler and shuffle exclude each other")
        if batch_sampler is not None and (
            batch_size != 1 or shuffle or sampler is not None or drop_last
        ):
            raise ValueError(
                "DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last"
            )
        numbers_of("DataLoader", generator)
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.collate_fn, self.drop_last = collate_fn, drop_last
        if sampler is None:
            sampler = (
                RandomSampler(dataset, generator=generator)
                if shuffle
                else SequentialSampler(dataset)
            )
        self.sampler = sampler
        self.batch_sampler = (
            BatchSampler(sampler, batch_size, drop_last) if batch_sampler is None else batch_sampler
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        for rows in self.batch_sampler:
            if type(self.dataset) is TensorDataset and self.collate_fn is None:
                yield list(self.dataset[np.asarray(rows, np.int64)])
            else:
                yield (self.collate_fn or default_collate)([self.dataset[int(i)] for i in rows])
