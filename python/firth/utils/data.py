"""Data sets and batches of them, named as in torch.utils.data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from firth.arguments import check_whole
from firth.nn.operations.shapes import stack
from firth.nn.tape import Tensor, generator


class Dataset:
    """Samples by their number; a subclass has ``__getitem__`` and ``__len__``."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")


class TensorDataset(Dataset):
    """Samples that are rows of tensors.

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
    """Some samples of a data set."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float]) -> list[Subset]:
    """A data set in parts, drawn from `firth.manual_seed`'s numbers.

    Parameters
    ----------
    dataset : Dataset or sequence
    lengths : sequence of int, or of float
        Samples of each part, or shares that add up to 1.

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
    order = generator().permutation(n).tolist()
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


class DataLoader:
    """Batches of a data set, epoch by epoch.

    Parameters
    ----------
    dataset : Dataset or sequence
    batch_size : int
    shuffle : bool
        Whether each pass has an order of its own, drawn from `firth.manual_seed`'s numbers.
    num_workers, pin_memory
        Of no effect: samples are read in this process.
    collate_fn : callable, optional
        Makes a batch of a list of samples, instead of `default_collate`.
    drop_last : bool
        Leave out the last batch where it is smaller.

    Raises
    ------
    ValueError
        ``batch_size`` is not positive.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
    ) -> None:
        check_whole("DataLoader: batch_size", batch_size, 1)
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.collate_fn, self.drop_last = collate_fn, drop_last

    def __len__(self) -> int:
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        n = len(self.dataset)
        order = generator().permutation(n) if self.shuffle else np.arange(n)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            rows = order[start : start + self.batch_size]
            if type(self.dataset) is TensorDataset and self.collate_fn is None:
                yield list(self.dataset[rows])
            else:
                samples = [self.dataset[int(i)] for i in rows]
                yield (self.collate_fn or default_collate)(samples)
