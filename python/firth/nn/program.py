"""A training step compiled: the calls of native code that one step made, run again without Python.

For the first step of a shape the tape lists the calls and does not make them: forward, backward,
clipping, the optimizer. Arrays that somebody outside holds (parameters, buffers, the optimizer's
state, the batch, the loss) stay where they are; all others get a place in one arena, shared by
arrays that are not needed at the same time. Then the list is run, as at each step from then on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from firth import _native
from firth.kernels._dispatch import active, active_level
from firth.nn import tape
from firth.nn.module import Module, Parameter, version
from firth.nn.tape import Array, Call, Check, Derived, Tensor, Traced, tensors_of

_ALIGNMENT = 64  # of places in the arena, in bytes
_DTYPES = [np.dtype(dtype) for dtype in (np.float32, np.int64, np.float64, np.bool_)]


class TrainingStep:
    """A step of training as one call: forward, loss, backward, clipping and the optimizer.

    Parameters
    ----------
    model : Module
    loss : callable
        ``loss(model, *batch)`` gives the loss, a single number; ``batch`` as tensors.
    optimizer : Optimizer
    clip_norm : float, optional
        Gradients are scaled down where their norm, all parameters together, is greater.
    bfloat16 : bool
        Products round their operands to bfloat16; sums, parameters and all else stay float32.

    Notes
    -----
    A step is compiled for each shape of the batch and for training and evaluation mode, when first
    needed. What the model decides by values, or by anything else that changes from step to step, is
    decided then: such a model is trained without compiling. Values of tensors cannot be looked at,
    and arrays must be parameters, buffers, or part of the batch: both are refused.

    With the backend numpy nothing is compiled.

    Raises
    ------
    ValueError
        The optimizer has no parameter of the model.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Tensor],
        optimizer: Any,
        *,
        clip_norm: float | None = None,
        bfloat16: bool = False,
    ) -> None:
        check_optimizer("TrainingStep", model, optimizer)
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.clip_norm, self.bfloat16 = clip_norm, bfloat16
        self._parameters = list(model.parameters())
        self._programs: dict[Any, _Compiled] = {}

    def __call__(self, *batch: Any) -> float:
        """Take a step; the loss before it.

        Raises
        ------
        FloatingPointError
            The loss is not finite. The parameters have been changed by it.
        ValueError
            The batch is empty.
        TypeError, RuntimeError
            The loss is no tensor of one number, or does not depend on parameters.
        """
        arrays = [_array(x) for x in batch]
        key = self._key(arrays)
        if key[0] == "numpy":
            with tape.bfloat16_products(self.bfloat16):
                loss, _ = self._step([tape.Tensor(x) for x in arrays])
            self.model.zero_grad()
            return _finite(loss.item())
        compiled = self._programs.get(key)
        if compiled is None or not compiled.fresh():
            compiled = self._compile(arrays)
            key = self._key(arrays)  # attributes that forward sets have changed the version
            kept = {old: one for old, one in self._programs.items() if old[1][0] == key[1][0]}
            self._programs = {**kept, key: compiled}  # others are not asked for again
        return _finite(compiled.run(arrays, self.optimizer))

    def _key(self, arrays: list[Array]) -> tuple[Any, ...]:
        """What a compiled step depends on."""
        return (
            active(),
            version(),
            self.optimizer.updates(),
            self.optimizer.generation,
            *[(x.shape, x.dtype) for x in arrays],
            *[p.requires_grad for p in self._parameters],
        )

    def _step(self, batch: list[Tensor]) -> tuple[Tensor, Array]:
        """A step on the tape: the loss, and the gradient by it, from which backward starts."""
        for i, x in enumerate(batch):
            if not x.data.size:
                raise ValueError(f"TrainingStep: batch[{i}] must not be empty, got shape {x.shape}")
        self.model.zero_grad()
        loss = self.loss(self.model, *batch)
        if not isinstance(loss, Tensor) or loss.data.size != 1:
            got = loss.shape if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"TrainingStep: loss must return a tensor of one number, got {got}")
        if loss._record is None:
            raise RuntimeError("TrainingStep: no parameter that requires a gradient made the loss")
        start = np.ones(loss.shape, loss.dtype)
        tape.walk(loss, start)
        self.optimizer.step(clip_norm=self.clip_norm)
        return loss, start

    def _compile(self, arrays: list[Array]) -> _Compiled:
        """List the calls of a step."""
        self._parameters = list(self.model.parameters())
        calls: list[Traced] = []
        # Copies: an array that is given twice has two places, for the next batch may have two.
        batch = [tape.Tensor(x.copy()) for x in arrays]
        before = [(m, dict(vars(m)), dict(m._buffers)) for m in self.model.modules()]
        try:
            with tape.bfloat16_products(self.bfloat16), tape.trace(calls):
                loss, start = self._step(batch)
            held = [*self._held(calls), start]
            given = [x.data for x in batch]
            return _Compiled(calls, self._parameters, held, given, loss.data, self.optimizer)
        except BaseException:
            for module, attributes, buffers in before:  # what forward has set has no values
                for table, values in ((vars(module), attributes), (module._buffers, buffers)):
                    table.clear()
                    table.update(values)
            raise
        finally:
            self.model.zero_grad()

    def _held(self, traced: Sequence[Traced]) -> list[Array]:
        """Arrays that are seen outside of a step, those that forward makes attributes included."""
        calls = [call for call in traced if isinstance(call, Call)]
        made = {id(array) for call in calls for array in call.outputs}
        attributes = [value for m in self.model.modules() for value in vars(m).values()]
        shown = [x.data for x in tensors_of(attributes) if id(x.data) in made]
        buffers = [buffer for _, buffer in self.model.named_buffers()]
        return [*buffers, *self.optimizer.arrays(), *shown]


def check_optimizer(function: str, model: Module, optimizer: Any) -> None:
    """Raise ValueError where an optimizer is of another model, which would not be trained."""
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(f"{function}: optimizer has no parameter of the model")


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"TrainingStep: the loss is {loss}")
    return loss


def _array(x: Any) -> Array:
    """A batch's array as tensors hold it."""
    if isinstance(x, np.ndarray) and x.flags.c_contiguous and x.dtype in _DTYPES:
        return x
    return x.data if isinstance(x, Tensor) else Tensor(x).data


class _Compiled:
    """A native program, and the places of the batch in it."""

    def __init__(
        self,
        traced: Sequence[Traced],
        parameters: list[Parameter],
        held: list[Array],
        batch: list[Array],
        loss: Array,
        optimizer: Any,
    ) -> None:
        calls = [call for call in traced if isinstance(call, Call)]
        # Other arrays than the batch's are the same at each step.
        self._checks: list[tuple[int, Callable[[Array], None]]] = []
        self._derived: list[tuple[int, Derived]] = []
        numbers = {id(array): i for i, array in enumerate(batch)}
        known = {id(array) for array in [*held, *[p.data for p in parameters]]}
        for one in traced:
            if isinstance(one, Check) and id(one.array) in numbers:
                self._checks.append((numbers[id(one.array)], one.check))
            elif isinstance(one, Derived):
                if id(one.array) in numbers:
                    numbers[id(one.made)] = len(batch) + len(self._derived)
                    self._derived.append((numbers[id(one.array)], one))
                elif one.array is not one.made and id(one.array) not in known:
                    continue  # who knows what that is made of
                known.add(id(one.made))
                held.append(one.made)
        self.loss, self.stepped = loss, optimizer.stepped()
        self._changed = [
            p.data
            for group, steps in zip(optimizer.param_groups, self.stepped, strict=True)
            for p, step in zip(group["params"], steps[2:], strict=True)
            if step
        ]
        self._parameters = [(p, p.data) for p in parameters]
        self._held = held
        self._draws = any(call.seed is not None for call in calls)
        layout = _Layout([loss, *held, *[p.data for p in parameters]], batch)
        seeds: dict[int | None, int] = {None: 0}
        listed = [
            (
                call.name,
                call.gradients is not None,
                call.bfloat16,
                call.seed is not None,
                seeds.setdefault(call.seed, len(seeds)),
                call.add,
                call.options,
                *(layout.places(arrays) for arrays in _arrays_of(call)),
            )
            for call in calls
        ]
        places, arena = layout.arrange(calls)
        self.arena = arena
        self._batch = layout.places(batch)
        self._program = _native.nn.Program(
            active_level(), f64=calls[0].f64, arena=arena, places=places, calls=listed
        )

    def fresh(self) -> bool:
        """Whether the parameters' arrays are those that were compiled."""
        return all(p.data is data for p, data in self._parameters)

    def run(self, batch: list[Array], optimizer: Any) -> float:
        """Take a step; the loss before it."""
        arrays = list(batch)
        for i, one in self._derived:
            one.made[...] = one.function(arrays[i])
            arrays.append(one.made)
        for i, check in self._checks:
            check(arrays[i])
        seed = int(tape.generator().integers(1 << 63)) if self._draws else 0
        optimizer.advance(self.stepped)
        self._program.run(self._batch, batch, seed)
        tape.wrote(*self._changed)
        return float(self.loss.item())


def _arrays_of(call: Call) -> tuple[Sequence[Array | tuple[int, ...] | None], ...]:
    return call.inputs, call.outputs, call.saved, call.gradients or (), call.into


class _Layout:
    """Numbers of arrays, and where those of the arena are in it."""

    def __init__(self, outside: Iterable[Array], batch: Iterable[Array]) -> None:
        self._numbers: dict[Any, int] = {}
        self._arrays: list[Array | tuple[int, ...]] = []
        self._held = list(outside)
        self._outside = set(self.places([*self._held, *batch]))

    def places(self, arrays: Sequence[Array | tuple[int, ...] | None]) -> list[int]:
        """A number for each array, -1 for those that are absent."""
        return [-1 if x is None else self._place(x) for x in arrays]

    def _place(self, x: Array | tuple[int, ...]) -> int:
        key: Any = x
        if isinstance(
            x, np.ndarray
        ):  # all live as long as this does, so the memory tells them apart
            key = x.__array_interface__["data"][0], x.shape, x.dtype.str
            if x.size == 0:
                key = id(x)
        number = self._numbers.setdefault(key, len(self._arrays))
        if number == len(self._arrays):
            self._arrays.append(x)
        return number

    def arrange(
        self, calls: Sequence[Call]
    ) -> tuple[list[tuple[Array | tuple[int, ...], int | None]], int]:
        """The places of a program, and how large its arena is, in bytes."""
        lives = self._lives(calls)
        offsets: dict[int, int] = {}
        arena = 0
        # The largest first, each at the lowest place that is free for as long as it lives.
        for number in sorted(lives, key=lambda n: -self._bytes(n)):
            first, last = lives[number]
            taken = sorted(
                (offset, offset + self._bytes(other))
                for other, offset in offsets.items()
                if lives[other][0] <= last and lives[other][1] >= first
            )
            at = 0
            for begin, end in taken:
                if at + self._bytes(number) <= begin:
                    break
                at = max(at, end)
            offsets[number] = at
            arena = max(arena, at + self._bytes(number))
        return [(x, offsets.get(i)) for i, x in enumerate(self._arrays)], arena

    def _bytes(self, number: int) -> int:
        array = self._arrays[number]
        assert isinstance(array, np.ndarray)
        return -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT

    def _lives(self, calls: Sequence[Call]) -> dict[int, tuple[int, int]]:
        """The first and the last call that uses each array of the arena."""
        lives: dict[int, tuple[int, int]] = {}
        for time, call in enumerate(calls):
            written = set(self.places(call.outputs)) | set(self.places(call.saved))
            if call.gradients is not None:
                written = {
                    place for i, place in enumerate(self.places(call.into)) if not call.add >> i & 1
                }
            for arrays in _arrays_of(call):
                for x, number in zip(arrays, self.places(arrays), strict=True):
                    if not isinstance(x, np.ndarray) or number in self._outside:
                        continue
                    if number not in lives and number not in written:
                        if any(np.may_share_memory(x, held) for held in self._held):
                            self._outside.add(number)  # a part of what somebody holds
                            continue
                        raise ValueError(
                            f"TrainingStep: {call.name} reads an array of shape {x.shape} that is "
                            "no parameter, no buffer and no part of the batch"
                        )
                    lives[number] = lives.get(number, (time, time))[0], time
        return lives
