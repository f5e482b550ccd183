"""Reverse-mode differentiation: remember what was computed, then go back through it once.

A `Value` is an array, the operation that made it and the values that went in. `backward` goes through all
that a result was made of, the youngest first: so a value's gradient is complete, from every use of it, before
it is passed on. Mathematics is in the table `OPERATIONS`, and nowhere here.
"""

from itertools import count
from typing import Any, TypeAlias, Union

import numpy as np

from nnfoundations._errors import DtypeError, ShapeError
from nnfoundations.autograd._operations import OPERATIONS, UFUNCS
from nnfoundations.formulas import Array

__all__ = ["Operand", "Value", "apply", "as_value"]

Operand: TypeAlias = Union["Value", Array, float]
Axis: TypeAlias = int | tuple[int, ...] | None

_births = count()


class Value:
    """A number or an array that remembers how it was made.

    Attributes:
        data: the array. A leaf's may be changed in place, between a backward and the next forward.
        grad: of the last `backward` in this value; None before. Set, not added to.
        operation, parents, options: the name in `OPERATIONS`, and what it was applied to; a leaf has none.

    >>> x = Value([1.0, 2.0, 3.0])
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    array([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "born", "data", "grad", "operation", "options", "parents")

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
        self.born = next(_births)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        return int(self.data.ndim)

    def item(self) -> float:
        return float(self.data.item())

    def backward(self, grad: Array | None = None) -> None:
        """Set `grad` of this value and of all that it was made of.

        Args: grad: of the loss in this value, in its shape; None is 1, for a value that is one number.
        Raises: ShapeError: None for an array, or another shape.
        """
        if grad is None and self.data.size != 1:
            raise ShapeError(
                f"backward needs a gradient for a value of shape {self.shape}; got none. "
                "Reduce the value to one number first, by sum() or mean(), or give backward(grad)."
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
                value.grad = np.array(value.grad)  # its own, to be clipped in place
                continue
            rule = OPERATIONS[value.operation].backward
            arrays = [parent.data for parent in value.parents]
            for parent, g in zip(
                value.parents, rule(value.grad, value.data, *arrays, **value.options), strict=True
            ):
                g = unbroadcast(g, parent.shape).astype(parent.data.dtype, copy=False)
                known = gradients.get(id(parent))
                gradients[id(parent)] = g if known is None else known + g

    def ancestry(self) -> list["Value"]:
        """This value and all that it was made of, the youngest first: each before what it was made from."""
        found, open_ = {id(self): self}, [self]
        while open_:
            for parent in open_.pop().parents:
                if id(parent) not in found:
                    found[id(parent)] = parent
                    open_.append(parent)
        return sorted(found.values(), key=lambda value: -value.born)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Operand, **options: Any) -> "Value":
        """NumPy's own functions of a Value: np.exp(x) is exp(x), and array + x is add(array, x).

        Raises: TypeError: one that the table has not, or one into an array, which would remember nothing.
        """
        if method != "__call__" or options or ufunc not in UFUNCS:
            known = ", ".join(f"np.{one.__name__}" for one in UFUNCS)
            came = f"np.{ufunc.__name__}" + (" in place" if "out" in options else "")
            raise TypeError(
                f"Value takes {known}, and none in place; got {came}. "
                "Write it with what OPERATIONS has, as a = a + x."
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

    def sum(self, axis: Axis = None, keepdims: bool = False) -> "Value":
        return apply("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> "Value":
        return apply("mean", self, axis=axis, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> "Value":
        return apply("max", self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> "Value":
        """The sizes one by one, or as one tuple."""
        return apply("reshape", self, shape=_integers(shape))

    def transpose(self, *axes: Any) -> "Value":
        """The axes one by one, or as one tuple; without them in reverse order."""
        return apply("transpose", self, axes=_integers(axes) or tuple(reversed(range(self.ndim))))

    def __repr__(self) -> str:
        return f"Value({self.data}{', ' if self.operation else ''}{self.operation})"


def apply(operation: str, *operands: Operand, **options: Any) -> Value:
    """One operation of the table, remembered. Numbers, and integers in an array, take the others' dtype.

    Raises: ShapeError: it does not take these shapes. DtypeError: an operand is neither number nor array.
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
    """A leaf of what is none; numbers, and integers in an array, in this dtype."""
    if isinstance(operand, Value):
        return operand
    array = numbers(operand)
    keeps = dtype is None or (array.ndim and array.dtype.kind == "f")
    return Value(array if keeps else array.astype(dtype))


def numbers(given: Any) -> Array:
    """Raises: DtypeError: it is neither a number nor an array of them."""
    try:
        array = np.asarray(given)
    except ValueError:  # rows of unlike lengths, or a Value within a list
        array = np.empty(0, object)
    if array.dtype.kind not in "fiub":
        raise DtypeError(
            f"Value needs a number or an array of them; got {given!r}. Give floats, in rows of one length."
        )
    return array


def _integers(given: tuple[Any, ...]) -> tuple[int, ...]:
    """As NumPy's methods take them: one by one, or as one tuple."""
    one = len(given) == 1 and not isinstance(given[0], int | np.integer)
    return tuple(given[0] or ()) if one else given


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """The sum over what broadcasting repeated: the gradient of an array of this shape."""
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    repeated = tuple(i for i, size in enumerate(shape) if size == 1 and grad.shape[i] != 1)
    return grad.sum(axis=repeated, keepdims=True) if repeated else grad
