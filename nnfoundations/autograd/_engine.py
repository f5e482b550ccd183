"""Reverse-mode differentiation: record the operations, then go back through them once.

A `Value` is an array, the operation that made it, and the values that the operation used. `backward` goes
through all values behind a result, the newest first. So the gradient of a value is complete, with every use
of it, before it is passed on. The derivatives are in the table `OPERATIONS`; this file contains none.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any, TypeAlias, Union

import numpy as np

from nnfoundations.autograd._arrays import integers, numbers, unbroadcast
from nnfoundations.autograd._operations import OPERATIONS, UFUNCS
from nnfoundations.errors import DtypeError, ShapeError
from nnfoundations.formulas import Array

__all__ = ["Operand", "Value", "apply", "as_value"]

Operand: TypeAlias = Union["Value", Array, float]
Axis: TypeAlias = int | tuple[int, ...] | None

_creation = count()


class Value:
    """A number or an array with the operation that made it.

    Args:
        data: a number, a list or an array; integers become float64.
        operation: name of the operation in `OPERATIONS`; empty for a leaf.
        parents: operands of the operation.
        options: its options.

    Attributes:
        data: the array. That of a leaf may be changed in place between a backward and the next forward.
        grad: the gradient of the last `backward` with respect to this value; None before. Each backward sets
            it, and does not add to it.
        operation: name of the operation that made it.
        parents: operands of the operation; a leaf has none.
        options: options of the operation.
        created: number of values created before this one.

    Raises:
        DtypeError: data is complex, masked, np.matrix, or not of numbers.

    >>> x = Value([1.0, 2.0, 3.0])
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    array([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "created", "data", "grad", "operation", "options", "parents")

    def __init__(
        self,
        data: Any,
        *,
        operation: str = "",
        parents: tuple["Value", ...] = (),
        options: dict[str, Any] | None = None,
    ) -> None:
        self.data: Array = np.asarray(data) if operation else numbers(data)
        if self.data.dtype.kind != "f":
            self.data = self.data.astype(np.float64)
        self.grad: Array | None = None
        self.operation, self.parents, self.options = operation, parents, options or {}
        self.created = next(_creation)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return int(self.data.ndim)

    def item(self) -> float:
        """Convert a value of one number to a float.

        Returns:
            The number.
        """
        return float(self.data.item())

    def backward(self, grad: Array | None = None) -> None:
        """Set `grad` of this value and of all values that it was computed from.

        Args:
            grad: gradient of the loss with respect to this value, in its shape; None is 1, for a value of one
                number.

        Raises:
            ShapeError: grad is None for an array, or has another shape.
        """
        if grad is None and self.data.size != 1:
            raise ShapeError(
                f"backward needs a gradient for a value of shape {self.shape}; got none. "
                "Reduce the value to one number first, with sum() or mean(), or call backward(grad)."
            )
        grad = np.ones_like(self.data) if grad is None else numbers(grad).astype(self.data.dtype)
        if grad.shape != self.shape:
            raise ShapeError(
                f"backward needs a gradient of shape {self.shape}; got {grad.shape}. Reshape it."
            )
        gradients: dict[int, Array] = {id(self): grad}
        for value in self.ancestry():
            value.grad = gradients.pop(id(value))
            if not value.operation:
                value.grad = np.array(value.grad)  # a copy, so that it can be clipped in place
                continue
            operands = [parent.data for parent in value.parents]
            differentiate = OPERATIONS[value.operation].backward
            parts = differentiate(value.grad, value.data, *operands, **value.options)
            for parent, g in zip(value.parents, parts, strict=True):
                g = unbroadcast(g, parent.shape).astype(parent.data.dtype, copy=False)
                known = gradients.get(id(parent))
                gradients[id(parent)] = g if known is None else known + g

    def ancestry(self) -> list["Value"]:
        """List this value and all values that it was computed from, the newest first.

        Returns:
            The values; each stands before its parents.
        """
        found, to_visit = {id(self): self}, [self]
        while to_visit:
            for parent in to_visit.pop().parents:
                if id(parent) not in found:
                    found[id(parent)] = parent
                    to_visit.append(parent)
        return sorted(found.values(), key=lambda value: -value.created)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Operand, **options: Any) -> "Value":
        """Let NumPy's functions take a Value: np.exp(x) is exp(x), and array + x is add(array, x).

        Raises:
            TypeError: the table has no such function, or the result would go into a plain array.
        """
        if method != "__call__" or options or ufunc not in UFUNCS:
            known = ", ".join(f"np.{one.__name__}" for one in UFUNCS)
            came = f"np.{ufunc.__name__}" + (" in place" if "out" in options else "")
            raise TypeError(
                f"Value supports {known}, none of them in place; got {came}. "
                "Write it with the operations in OPERATIONS, as in a = a + x."
            )
        return apply(UFUNCS[ufunc], *operands)

    def __add__(self, other: Operand) -> "Value":
        return apply("add", self, other)

    def __sub__(self, other: Operand) -> "Value":
        return apply("sub", self, other)

    def __mul__(self, other: Operand) -> "Value":
        return apply("mul", self, other)

    def __truediv__(self, other: Operand) -> "Value":
        return apply("div", self, other)

    def __pow__(self, other: Operand) -> "Value":
        return apply("pow", self, other)

    def __matmul__(self, other: Operand) -> "Value":
        return apply("matmul", self, other)

    def __radd__(self, other: Operand) -> "Value":
        return apply("add", other, self)

    def __rsub__(self, other: Operand) -> "Value":
        return apply("sub", other, self)

    def __rmul__(self, other: Operand) -> "Value":
        return apply("mul", other, self)

    def __rtruediv__(self, other: Operand) -> "Value":
        return apply("div", other, self)

    def __rpow__(self, other: Operand) -> "Value":
        return apply("pow", other, self)

    def __rmatmul__(self, other: Operand) -> "Value":
        return apply("matmul", other, self)

    def __neg__(self) -> "Value":
        return apply("neg", self)

    def __getitem__(self, index: Any) -> "Value":
        return apply("getitem", self, index=index)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise DtypeError("A Value does not convert to an array, which has no gradient. Use x.data instead.")

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ShapeError(
                f"A Value is true or false if it is one number; got shape {self.shape}. "
                "Test its array, as in (x.data > 0).all()."
            )
        return bool(self.data.item())

    def __eq__(self, other: object) -> Any:
        """Compare the numbers, as NumPy does."""
        return self.data == (other.data if isinstance(other, Value) else other)

    def __ne__(self, other: object) -> Any:
        return self.data != (other.data if isinstance(other, Value) else other)

    __hash__ = object.__hash__  # as torch's tensors: a set or a dict holds a value by identity

    def __iter__(self) -> Iterator["Value"]:
        if not self.ndim:
            raise ShapeError("Iteration needs a Value with rows; got one number. Use the value itself.")
        return (self[row] for row in range(len(self.data)))

    def sum(self, axis: Axis = None, keepdims: bool = False) -> "Value":
        """Sum the entries, over all axes or some.

        Args:
            axis: one axis or several; None for all.
            keepdims: keep these axes, with size 1.

        Returns:
            The reduced value.
        """
        return apply("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> "Value":
        """Average the entries, over all axes or some.

        Args:
            axis: one axis or several; None for all.
            keepdims: keep these axes, with size 1.

        Returns:
            The reduced value.
        """
        return apply("mean", self, axis=axis, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> "Value":
        """Take the largest entry, over all axes or some.

        Args:
            axis: one axis or several; None for all.
            keepdims: keep these axes, with size 1.

        Returns:
            The reduced value.
        """
        return apply("max", self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> "Value":
        """Change the shape.

        Args:
            *shape: the sizes, one by one or as one tuple; -1 for the size that is left over.

        Returns:
            The value in the new shape.
        """
        return apply("reshape", self, shape=integers(shape))

    def transpose(self, *axes: Any) -> "Value":
        """Reorder the axes.

        Args:
            *axes: the axes, one by one or as one tuple; none for the reverse order.

        Returns:
            The value with reordered axes.
        """
        return apply("transpose", self, axes=integers(axes) or tuple(reversed(range(self.ndim))))

    def __repr__(self) -> str:
        return f"Value({self.data}{', ' if self.operation else ''}{self.operation})"


def apply(operation: str, *operands: Operand, **options: Any) -> Value:
    """Compute one operation of the table, and record it.

    Numbers, and arrays of integers, take the dtype of the other operand. Raises ShapeError if the operation
    does not accept these shapes, DtypeError if an operand is neither a number nor an array.
    """
    dtype = next((operand.data.dtype for operand in operands if isinstance(operand, Value)), None)
    parents = tuple(as_value(operand, dtype) for operand in operands)
    try:
        data = OPERATIONS[operation].forward(*(parent.data for parent in parents), **options)
    except ValueError as error:
        came = " and ".join(str(parent.shape) for parent in parents)
        came += "".join(f", {name}={option}" for name, option in options.items())
        raise ShapeError(
            f"{operation} needs shapes that fit; got {came}. Reshape or transpose one of them first."
        ) from error
    return Value(data, operation=operation, parents=parents, options=options)


def as_value(operand: Operand, dtype: Any) -> Value:
    """Return a Value; numbers, and arrays of integers, are converted to this dtype."""
    if isinstance(operand, Value):
        return operand
    array = numbers(operand)
    keeps = dtype is None or (array.ndim and array.dtype.kind == "f")
    return Value(array if keeps else array.astype(dtype))
