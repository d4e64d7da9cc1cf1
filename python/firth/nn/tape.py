"""The tape: tensors, the operations that make them, and how gradients flow back.

An operation is a fat one: a linear layer with its activation, a norm, attention, a whole sequence
of an LSTM. It knows two functions: forward makes outputs of inputs, backward makes the gradients
of the loss by the inputs out of its gradients by the outputs. The tape is the list of operations
that ran; `Tensor.backward` walks along it from the end, which is the chain rule.

There are no views, no general broadcasting and no second derivatives: each would need a tape of
small operations, and small operations are what makes training slow.

(Above 500 lines: tensors, records and the walk are one idea, and are read in one sitting.)
"""

from __future__ import annotations

import abc
import contextlib
import functools
import itertools
import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from firth import _native
from firth.kernels._dispatch import active, active_level, calls
from firth.nn.operators import Operators
from firth.nn.operators import method as method  # for operations' pages

Array = NDArray[Any]
Shape = tuple[int, ...]

REAL: DTypeLike | None = None
"""The kind of a `Spec` that has the dtype of the network: float32 or float64."""


class Spec(NamedTuple):
    """Shape of an array and its dtype: REAL, or one that does not depend on the network's."""

    shape: Shape
    dtype: DTypeLike | None = REAL


def check_real(function: str, name: str, x: Any) -> None:
    """Raise TypeError where whole numbers or masks stand for real ones."""
    if isinstance(x, Spec) and x.dtype is not REAL:
        raise TypeError(
            f"{function}: {name} must hold real numbers, got {np.dtype(x.dtype)}; "
            "float() makes them real"
        )


class Operation(abc.ABC):
    """A pair of functions, forward and backward; an instance holds the options of one call.

    A subclass is a frozen dataclass whose page gives the contract, derives backward and defines
    both in NumPy; ``csrc/engines/nn`` has the same under `name`. Arrays are C-contiguous and of one
    real dtype, but for indices (int64), masks (bool) and numbers (float64).
    """

    name: ClassVar[str]
    reads_inputs: ClassVar[tuple[int, ...]] = ()
    """Inputs that backward reads; of others it knows the shape only."""
    reads_outputs: ClassVar[tuple[int, ...]] = ()
    """Outputs that backward reads."""
    draws: ClassVar[bool] = False
    """Whether it draws random numbers from its seed, the same forward and backward."""
    moves: ClassVar[bool] = False
    """Whether it only moves elements: whole numbers and masks too, which NumPy moves then."""
    product: ClassVar[bool] = False
    """Whether backward reads input 0 for the gradient by input 1 only, and the other way round."""

    def options(self) -> tuple[float, ...]:
        """The numbers that the native code gets."""
        return ()

    @abc.abstractmethod
    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        """Outputs and what forward keeps for backward, for inputs of these `Spec`s, or None.

        Raises ValueError, TypeError where the inputs do not fit, with the operation's name and the
        argument's.
        """

    @abc.abstractmethod
    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        """Outputs and what is kept, in NumPy: what the native code must compute."""

    @abc.abstractmethod
    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        """Gradients by the inputs, in NumPy; None for what has none.

        Of `inputs` and `outputs` those are arrays that backward reads, others their shapes;
        `gradients` are by the outputs, None where the loss does not depend on one.
        """


class Record:
    """An entry of the tape: an operation that ran, where its inputs came from, what it kept."""

    __slots__ = (
        "bfloat16", "edges", "inputs", "number", "operation", "outputs", "retained", "saved",
        "seed",
    )  # fmt: skip

    def __init__(
        self,
        operation: Operation,
        edges: tuple[Edge, ...],
        inputs: tuple[Array | Shape | None, ...],
        outputs: tuple[Array | Shape, ...],
        saved: tuple[Array, ...],
        seed: int,
        bfloat16: bool,
    ) -> None:
        self.number = next(_numbers)  # a later entry has a greater one
        self.operation = operation
        self.edges = edges  # where the gradient by each input goes
        self.inputs, self.outputs = inputs, outputs  # shapes of those that backward does not read
        self.saved = saved
        self.seed = seed
        self.bfloat16 = bfloat16
        self.retained: dict[int, Tensor] = {}  # outputs whose gradient somebody asked to keep

    def release(self) -> None:
        """Forget what backward has read: memory goes as the walk goes."""
        self.edges = ()
        self.inputs = self.outputs = self.saved = ()


class Call(NamedTuple):
    """A call of native code, as a `trace` holds it: arrays are told apart by their identity."""

    name: str
    options: tuple[float, ...]
    inputs: Sequence[Array | Shape | None]
    outputs: Sequence[Array | Shape | None]
    saved: Sequence[Array]
    f64: bool
    seed: int | None  # of those that draw random numbers
    bfloat16: bool
    gradients: Sequence[Array | None] | None = None  # by the outputs; None: it ran forward
    into: Sequence[Array | None] = ()  # by the inputs
    add: int = 0


class Check(NamedTuple):
    """Values of an array that an operation relies on; the function raises where they are wrong."""

    array: Array
    check: Callable[[Array], None]


class Derived(NamedTuple):
    """An array that a function of Python makes of another one, such as a mask of ids."""

    array: Array
    function: Callable[[Array], Array]
    made: Array


Traced = Call | Check | Derived


_numbers = itertools.count()
_watched: dict[int, weakref.ref[Array]] = {}  # by id: arrays that were changed in place
_written: dict[int, int] = {}  # when each was, the last time
_last_written = -1
_recording: ContextVar[bool] = ContextVar("firth_recording", default=True)
_bfloat16: ContextVar[bool] = ContextVar("firth_bfloat16", default=False)
_trace: ContextVar[list[Traced] | None] = ContextVar("firth_trace", default=None)
_generator: ContextVar[np.random.Generator | None] = ContextVar("firth_generator", default=None)
_fallback = np.random.default_rng()


@contextlib.contextmanager  # each is a decorator too
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def no_grad() -> contextlib._GeneratorContextManager[None]:
    """Inside of the ``with`` block nothing is recorded, so nothing is kept for gradients.

    As a decorator, ``@no_grad()``, it does so in each call.
    """
    return set_grad_enabled(False)


def set_grad_enabled(mode: bool) -> contextlib._GeneratorContextManager[None]:
    """Inside of the ``with`` block operations are recorded, or not."""
    return _set(_recording, bool(mode))


def enable_grad() -> contextlib._GeneratorContextManager[None]:
    """Inside of the ``with`` block operations are recorded, inside of `no_grad` too."""
    return set_grad_enabled(True)


def inference_mode(mode: bool = True) -> contextlib._GeneratorContextManager[None]:
    """As `no_grad`; with ``mode=False`` as `enable_grad`."""
    return set_grad_enabled(not mode)


def is_grad_enabled() -> bool:
    """Whether operations are recorded now."""
    return _recording.get()


def bfloat16_products(enabled: bool = True) -> contextlib.AbstractContextManager[None]:
    """Inside of the ``with`` block products of float32 round their operands to bfloat16.

    Sums, parameters and everything else stay float32. Up to twice as fast where the CPU multiplies
    bfloat16 (`firth.info`), slower elsewhere.
    """
    return _set(_bfloat16, enabled)


def trace(into: list[Traced]) -> contextlib.AbstractContextManager[None]:
    """Inside of the ``with`` block calls of native code are appended to a list, and not made.

    Arrays get their places but no values, so that memory is only asked for; values may not be
    looked at. Checks and `derive` are of the batch: they are done, and appended too.
    """
    return _set(_trace, into)


def tracing() -> bool:
    """Whether a `trace` is on."""
    return _trace.get() is not None


def _log(one: Traced) -> None:
    """Append to the list of a `trace`, if one is on."""
    if (traced := _trace.get()) is not None:
        traced.append(one)


def run(call: Call) -> None:
    """Make a call of native code, or list it."""
    if tracing():
        return _log(call)
    arrays = active_level(), call.name, call.options, call.inputs, call.outputs, call.saved
    seed = call.seed or 0
    if call.gradients is None:
        _native.nn.forward(*arrays, f64=call.f64, seed=seed, bfloat16=call.bfloat16)
    else:
        _native.nn.backward(
            *arrays, call.gradients, call.into, add=call.add, f64=call.f64, seed=seed,
            bfloat16=call.bfloat16,
        )  # fmt: skip


def check_values(array: Array, check: Callable[[Array], None]) -> None:
    """Run a check of values, now and before each step that is compiled of this one."""
    check(array)
    _log(Check(array, check))


def derive(array: Array, function: Callable[[Array], Array]) -> Array:
    """What a function makes of an array, now and before each step that is compiled of this one.

    For what inputs look like, not for what is computed: it has no gradient. Without it a compiled
    step refuses arrays that were made of the batch outside of operations.
    """
    made = np.asarray(function(array), order="C")
    if not made.flags.writeable or np.may_share_memory(made, array):
        made = made.copy()  # a compiled step writes there
    _log(Derived(array, function, made))
    return made


def fixed(array: Array) -> Array:
    """An array that is made of shapes and options: a compiled step has it as it is now."""
    _log(Derived(array, lambda same: same, array))
    return array


def wrote(*arrays: Array) -> None:
    """Note that arrays were changed in place: a walk refuses what had read them before."""
    global _last_written
    _last_written = next(_numbers)
    for array in arrays:
        key = id(array)
        if key not in _watched:
            _watched[key] = weakref.ref(array, functools.partial(_forget, key))
        _written[key] = _last_written


def _forget(key: int, _: Any) -> None:
    """An array has gone, and its id is free."""
    del _watched[key], _written[key]


def _check_unchanged(record: Record) -> None:
    """Raise RuntimeError where what backward reads was changed in place since forward."""
    kept = [*record.inputs, *record.outputs]
    for i, x in enumerate(kept):
        if not isinstance(x, np.ndarray) or _written.get(id(x), -1) < record.number:
            continue
        if record.operation.product and i < 2 and record.edges[1 - i] is None:
            continue  # it would be read for a gradient that nobody wants
        raise RuntimeError(
            f"backward: {record.operation.name} read an array of shape {x.shape} that was changed "
            "in place afterwards, by an optimizer's step or an assignment; call backward before, "
            "or change a clone()"
        )


def manual_seed(seed: int) -> None:
    """Seed what draws random numbers: initial parameters, dropout, the order of samples.

    As torch.manual_seed; equal seeds give equal numbers, but not PyTorch's.

    Parameters
    ----------
    seed : int, at least 0
    """
    global _fallback
    _fallback = np.random.default_rng(seed)


def generator() -> np.random.Generator:
    """What draws random numbers now."""
    return _generator.get() or _fallback


class Tensor(Operators):
    """An array, its gradient, and the operation that made it.

    Parameters
    ----------
    array : array_like
        float32, float64, whole numbers (which become int64) or bool. Numbers of Python are float32
        or int64. Not copied where it is a contiguous array of one of these.
    requires_grad : bool
        Whether `backward` shall compute the gradient.

    Attributes
    ----------
    data : ndarray
    grad : ndarray or None
        The gradient of the last `backward`, added to what was there.
    """

    __slots__ = ("__weakref__", "_output", "_part", "_record", "data", "grad", "requires_grad")

    __array_priority__ = 1000  # ndarray + Tensor is a Tensor

    def __init__(self, array: ArrayLike, requires_grad: bool = False) -> None:
        if isinstance(array, Tensor):
            array = array.data
        data = np.asarray(array)
        if data.dtype.kind in "iu":
            data = data.astype(np.int64, copy=False)
        elif data.dtype.kind == "f" and (
            data.dtype.itemsize < 4 or not isinstance(array, (np.ndarray, np.generic))
        ):
            data = data.astype(np.float32)
        elif data.dtype not in (np.float32, np.float64, np.bool_):
            raise TypeError(f"Tensor: array must hold real numbers, got {data.dtype}")
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"Tensor: only float32 and float64 have gradients, got {data.dtype}")
        self.data: Array = np.ascontiguousarray(data) if data.ndim else data.copy()
        self.grad: Array | None = None
        self.requires_grad = bool(requires_grad)
        self._record: Record | None = None
        self._output = 0  # which output of the record
        self._part = False  # a copy of what PyTorch has a view of, so it is not written to

    @property
    def shape(self) -> Shape:
        """Lengths of the axes."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32, float64, int64 or bool."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        made = f", made by {self._record.operation.name}" if self._record else ""
        wants = ", requires_grad=True" if self.requires_grad and not self._record else ""
        return f"Tensor({np.array2string(self.data, precision=4, prefix='Tensor(')}{wants}{made})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        self._look("array")
        return np.array(self.data, dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        self._look("bool")
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def item(self) -> Any:
        """The number of a tensor that has one: a float, an int or a bool; else ValueError."""
        self._look("item")
        return self.data.item()

    def tolist(self) -> Any:
        """Lists of the numbers, or the one there is."""
        self._look("tolist")
        return self.data.tolist()

    def numpy(self) -> Array:
        """The array itself, not a copy; unlike PyTorch's also where it requires a gradient."""
        self._look("numpy")
        return self.data

    def _look(self, how: str) -> None:
        if tracing():
            raise RuntimeError(
                f"{how}: a step that is being compiled cannot depend on the values of tensors"
            )

    def detach(self) -> Tensor:
        """A tensor of the same array, without what made it: no gradient goes through it."""
        tensor = _made(self.data)
        tensor._part = self._part
        return tensor

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that an operation made, in its ``grad``."""
        if self._record is not None:
            self._record.retained[self._output] = self

    def size(self, axis: int | None = None) -> Any:
        """The shape, a tuple, or the length of one axis; IndexError where there is no such one."""
        return self.shape if axis is None else self.shape[axis]

    def backward(
        self,
        gradient: ArrayLike | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add to ``grad`` of every tensor that this one was made of, and that requires it.

        Parameters
        ----------
        gradient : array_like, optional
            The gradient of what is differentiated by this tensor; 1 for a single number.
        retain_graph, create_graph : bool
            Must be off: the walk uses the tape up, and there are no second derivatives.

        Raises
        ------
        RuntimeError
            Nothing that requires a gradient made this tensor, the tape behind it was used, or what
            it kept was changed in place since.
        ValueError
            ``gradient`` has another shape, or is missing and this is no single number.
        """
        if retain_graph or create_graph:
            name = "create_graph" if create_graph else "retain_graph"
            raise ValueError(
                f"backward: {name} must be False: the walk uses the tape up, "
                "and there are no second derivatives; add losses and walk once"
            )
        if self._record is None and not self.requires_grad:
            raise RuntimeError("backward: no tensor that requires a gradient made this one")
        if gradient is None:
            if self.data.size != 1:
                raise ValueError(
                    f"backward: gradient is needed for a tensor of shape {self.shape}, "
                    "only a single number has 1"
                )
            gradient = np.ones(self.shape)
        start = np.asarray(gradient, self.dtype, order="C")
        if start.shape != self.shape:
            raise ValueError(f"backward: gradient must have shape {self.shape}, got {start.shape}")
        walk(self, start)


def walk(root: Tensor, start: Array) -> None:
    """The chain rule: from `root` back along the tape, each record once, the latest first.

    `start` is the gradient by `root`. Nothing is added to it: all that the walk meets is older.
    """
    if root._record is None:
        root.grad = start.copy() if root.grad is None else root.grad + start
        return
    records: dict[int, Record] = {}
    waiting = [root._record]
    while waiting:
        record = waiting.pop()
        if record.number in records:
            continue
        if not record.edges:
            raise RuntimeError(
                "backward: this tape was used, and what it kept is gone; run forward again"
            )
        if record.number < _last_written:
            _check_unchanged(record)
        records[record.number] = record
        waiting += [edge[0] for edge in record.edges if isinstance(edge, tuple)]
    # Gradients by the outputs of each record: complete when the walk comes to it, since all that
    # read an output has a greater number.
    flowing: dict[int, list[Array | None]] = {
        number: [None] * len(record.outputs) for number, record in records.items()
    }
    flowing[root._record.number][root._output] = start
    for number in sorted(records, reverse=True):
        record, gradients = records[number], flowing.pop(number)
        for output, tensor in record.retained.items():
            gradient = gradients[output]
            if gradient is not None:
                tensor.grad = gradient.copy() if tensor.grad is None else tensor.grad + gradient
        if any(gradient is not None for gradient in gradients):
            _run_backward(record, gradients, flowing)
        record.release()


def _run_backward(
    record: Record, gradients: list[Array | None], flowing: dict[int, list[Array | None]]
) -> None:
    """Gradients by the inputs of a record, each added to what has come to its place before."""
    operation = record.operation
    dtype = next(gradient.dtype for gradient in gradients if gradient is not None)
    found: list[Array | None]
    if active() == "numpy":
        with np.errstate(all="ignore"):
            found = operation.backward(
                record.inputs, record.outputs, record.saved, gradients, record.seed
            )
        for edge, gradient in zip(record.edges, found, strict=True):
            if edge is not None and gradient is not None:
                _put(edge, flowing, np.array(gradient, dtype, order="C"))
        return
    into: list[Array | None] = []
    add = 0
    for i, edge in enumerate(record.edges):
        if edge is None:
            into.append(None)
            continue
        # What is there is added to in place, but not where one tensor is several inputs: their
        # gradients would meet in one array.
        there = _get(edge, flowing)
        if there is not None and sum(_same(edge, other) for other in record.edges) > 1:
            there = None
        if there is not None:
            add |= 1 << i
        shape = record.inputs[i]
        assert shape is not None
        shape = shape.shape if isinstance(shape, np.ndarray) else shape
        into.append(np.empty(shape, dtype) if there is None else there)
    run(
        Call(
            operation.name,
            operation.options(),
            record.inputs,
            record.outputs,
            record.saved,
            dtype == np.float64,
            record.seed if operation.draws else None,
            record.bfloat16,
            gradients,
            into,
            add,
        )
    )
    for i, (edge, made) in enumerate(zip(record.edges, into, strict=True)):
        if edge is not None and made is not None and not add >> i & 1:
            _put(edge, flowing, made)


def _same(one: Edge, other: Edge) -> bool:
    """Whether two edges end at the same place: == of tensors is of their elements."""
    both = isinstance(one, tuple) and isinstance(other, tuple)
    return one == other if both else one is other


def _get(edge: Edge, flowing: dict[int, list[Array | None]]) -> Array | None:
    """The gradient that is at the end of an edge so far."""
    if isinstance(edge, tuple):
        return flowing[edge[0].number][edge[1]]
    return None if edge is None else edge.grad


def _put(edge: Edge, flowing: dict[int, list[Array | None]], gradient: Array) -> None:
    """Add a gradient, an array of its own, to what is at the end of an edge."""
    there = _get(edge, flowing)
    if there is not None:
        if active() == "numpy":
            there += gradient
            return
        f64 = gradient.dtype == np.float64
        run(Call("accumulate", (), (there, gradient), (), (), f64, None, False))
    elif isinstance(edge, tuple):
        flowing[edge[0].number][edge[1]] = gradient
    elif edge is not None:
        edge.grad = gradient


def run_forward(
    operation: Operation,
    inputs: Sequence[Array | None],
    outputs: Sequence[Array],
    saved: Sequence[Array],
    f64: bool,
    seed: int = 0,
) -> None:
    """Call the native code of an operation on arrays that are there."""
    drawn = seed if operation.draws else None
    run(
        Call(
            operation.name, operation.options(), inputs, outputs, saved, f64, drawn,
            _bfloat16.get(),
        )
    )  # fmt: skip


def _edge(x: Tensor | Array | None) -> Edge:
    """Where the gradient by an input goes."""
    if not isinstance(x, Tensor):
        return None
    if x._record is not None:
        return x._record, x._output
    return x if x.requires_grad else None


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors in a value: itself, or those of tuples, lists and dicts, in any depth."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [tensor for one in value for tensor in tensors_of(one)]
    return []


def tracked(x: Any) -> bool:
    """Whether a gradient flows to it from what is computed of it now."""
    return _recording.get() and isinstance(x, Tensor) and _edge(x) is not None


def apply(operation: Operation, *inputs: Tensor | Array | None) -> Tensor:
    """`apply_all` of an operation that has one output."""
    (output,) = apply_all(operation, *inputs)
    return output


def apply_all(operation: Operation, *inputs: Tensor | Array | None) -> tuple[Tensor, ...]:
    """Run an operation, and record it where a gradient may be asked for.

    Parameters
    ----------
    operation : Operation
    *inputs : Tensor, ndarray (indices, masks, constants) or None
        In the order of the operation's page; C-contiguous.

    Returns
    -------
    tuple of Tensor
        The outputs.

    Raises
    ------
    TypeError
        Tensors of different dtypes.
    ValueError, TypeError
        The inputs do not fit the operation.
    """
    dtypes = {x.dtype for x in inputs if x is not None and x.dtype.kind == "f"}
    if operation.moves and not dtypes:
        return (_moved(operation, [x.data for x in inputs if isinstance(x, Tensor)]),)
    if len(dtypes) != 1:
        names = " and ".join(sorted(str(dtype) for dtype in dtypes))
        raise TypeError(
            f"{operation.name}: tensors must have one dtype, float32 or float64, "
            f"got {names or 'whole numbers; float() makes them real'}"
        )
    dtype = dtypes.pop()
    results, kept = operation.results(
        *(
            None if x is None else Spec(x.shape, REAL if x.dtype.kind == "f" else x.dtype)
            for x in inputs
        )
    )
    if any(isinstance(x, Tensor) and x.dtype.kind != "f" for x in inputs):  # ids come as arrays
        raise TypeError(
            f"{operation.name}: tensors must hold real numbers; float() makes whole ones real"
        )
    arrays = tuple(x.data if isinstance(x, Tensor) else x for x in inputs)
    seed = int(generator().integers(1 << 63)) if operation.draws else 0
    backend = active()
    calls[backend] += 1
    if backend == "numpy":
        with np.errstate(all="ignore"):
            found, saved = operation.forward(*arrays, seed=seed)
        outputs = [
            np.array(x, spec.dtype or dtype, order="C")
            for x, spec in zip(found, results, strict=True)
        ]
    else:
        outputs = [np.empty(spec.shape, spec.dtype or dtype) for spec in results]
        saved = [np.empty(spec.shape, spec.dtype or dtype) for spec in kept]
        run_forward(operation, arrays, outputs, saved, dtype == np.float64, seed)
    tensors = tuple(_made(array) for array in outputs)
    edges = tuple(_edge(x) for x in inputs)
    if _recording.get() and any(edge is not None for edge in edges):
        reads, keeps = operation.reads_inputs, operation.reads_outputs
        record = Record(
            operation,
            edges,
            tuple(x if x is None or i in reads else x.shape for i, x in enumerate(arrays)),
            tuple(x if i in keeps else x.shape for i, x in enumerate(outputs)),
            tuple(saved),
            seed,
            _bfloat16.get(),
        )
        for i, tensor in enumerate(tensors):
            tensor._record, tensor._output = record, i
    return tensors


def _moved(operation: Operation, arrays: Sequence[Any]) -> Tensor:
    """An operation that moves elements, of such as have no gradient."""
    operation.results(*(Spec(x.shape, x.dtype) for x in arrays))

    def move(*arrays: Array) -> Array:
        return np.array(operation.forward(*arrays, seed=0)[0][0], order="C")

    if len(arrays) == 1:
        return _made(derive(arrays[0], move))
    if tracing():
        raise RuntimeError(
            f"{operation.name}: a step that is being compiled cannot join whole numbers or masks; "
            "join them before, and give the result as a part of the batch"
        )
    return _made(move(*arrays))


def _made(array: Array) -> Tensor:
    """A tensor around an array that is as it must be."""
    tensor = Tensor.__new__(Tensor)
    tensor.data, tensor.grad, tensor.requires_grad = array, None, False
    tensor._record, tensor._output, tensor._part = None, 0, False
    return tensor


Edge = Tensor | tuple[Record, int] | None
"""A tensor that nothing made and that has a gradient, an output of a record, or nowhere."""
