"""Batch, layer and RMS normalization of rows."""

import numpy as np

from nnfoundations import formulas
from nnfoundations.errors import OptionError, ShapeError
from nnfoundations.numpy._check import as_rows, check_dtype, check_eps, check_gradient, check_sizes
from nnfoundations.numpy._layer import XP, Array, Layer

__all__ = ["BatchNorm", "LayerNorm", "RMSNorm"]


class BatchNorm(Layer):
    r"""Batch normalization: each feature to mean 0 and variance 1 over the batch, then y = n w + b.

    Training uses the mean and the biased variance of the batch, and moves the running statistics towards
    them by `momentum`, the variance unbiased, as in torch. Evaluation uses the running statistics.

    Shape: x `(N, num_features)` -> the same; N at least 2 in training.

    Args:
        num_features: features of a row.
        eps: number added to the variance.
        momentum: weight of the newest batch in the running statistics, from 0 to 1.
        dtype: dtype of the parameters and statistics.

    Raises:
        ShapeError: num_features is below 1; at a call, x has one row in training.
        DtypeError: dtype is not a floating-point dtype.
        OptionError: eps or momentum is outside its range.

    Source: Ioffe and Szegedy 2015, algorithm 1 and section 3.1.
    """

    def __init__(
        self, num_features: int, *, eps: float = 1e-5, momentum: float = 0.1, dtype: str = "float32"
    ) -> None:
        super().__init__()
        check_sizes("BatchNorm", num_features=num_features)
        check_dtype("BatchNorm", dtype)
        check_eps("BatchNorm", eps)
        if momentum is None or not 0 <= momentum <= 1:
            raise OptionError(f"BatchNorm needs a momentum from 0 to 1; got {momentum}. 0.1 is usual.")
        self.eps, self.momentum = float(eps), float(momentum)  # NumPy numbers would promote x
        self.parameters = {"weight": np.ones(num_features, dtype), "bias": np.zeros(num_features, dtype)}
        self.buffers = {
            "running_mean": np.zeros(num_features, dtype),
            "running_var": np.ones(num_features, dtype),
        }

    def forward(self, x: Array) -> Array:
        weight, bias = self.parameters["weight"], self.parameters["bias"]
        x = as_rows("BatchNorm", x, len(weight), weight.dtype)
        y: Array
        if not self.training:
            mean, variance = self.buffers["running_mean"], self.buffers["running_var"]
            y = formulas.standardize_by(x, mean, variance, weight, bias, along=(1,), eps=self.eps, xp=XP)
            # Copies, because the next training step changes the statistics in place.
            self._kept = (x, mean.copy(), variance.copy(), True)
            return y
        if len(x) < 2:
            raise ShapeError(
                f"BatchNorm needs 2 rows or more in training; got x of shape {x.shape}. "
                "Use a larger batch, or call eval() first."
            )
        y, mean, variance = formulas.standardize(x, weight, bias, over=(0,), along=(1,), eps=self.eps, xp=XP)
        unbiased = variance * (len(x) / (len(x) - 1))
        for name, value in (("running_mean", mean), ("running_var", unbiased)):
            self.buffers[name] += self.momentum * (value[0] - self.buffers[name])
        self._kept = (x, mean, variance, False)
        return y

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        x, mean, variance, fixed = self.kept
        check_gradient("BatchNorm", grad_output, x.shape)
        weight, wanted = self.parameters["weight"], (grad_input, True, True)
        if fixed:
            grad_x, grad_weight, grad_bias = formulas.standardize_by_backward(
                grad_output, x, weight, mean, variance, along=(1,), eps=self.eps, wanted=wanted, xp=XP
            )
        else:
            grad_x, grad_weight, grad_bias = formulas.standardize_backward(
                grad_output, None, None, x, weight, mean, variance,
                over=(0,), along=(1,), eps=self.eps, wanted=wanted, xp=XP,
            )  # fmt: skip
        self.gradients = {"weight": grad_weight, "bias": grad_bias}
        return grad_x


class LayerNorm(Layer):
    r"""Layer normalization: each row to mean 0 and variance 1 over its features, then y = n w + b.

    Shape: x `(N, num_features)` -> the same.

    Args:
        num_features: features of a row.
        eps: number added to the variance.
        dtype: dtype of the parameters.

    Raises:
        ShapeError: num_features is below 1.
        DtypeError: dtype is not a floating-point dtype.
        OptionError: eps is negative.

    Source: Ba, Kiros and Hinton 2016, eq. 3.
    """

    def __init__(self, num_features: int, *, eps: float = 1e-5, dtype: str = "float32") -> None:
        super().__init__()
        check_sizes("LayerNorm", num_features=num_features)
        check_dtype("LayerNorm", dtype)
        check_eps("LayerNorm", eps)
        self.eps = float(eps)
        self.parameters = {"weight": np.ones(num_features, dtype), "bias": np.zeros(num_features, dtype)}

    def forward(self, x: Array) -> Array:
        weight, bias = self.parameters["weight"], self.parameters["bias"]
        x = as_rows("LayerNorm", x, len(weight), weight.dtype)
        y: Array
        y, mean, variance = formulas.standardize(x, weight, bias, over=(1,), along=(1,), eps=self.eps, xp=XP)
        self._kept = (x, mean, variance)
        return y

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        x, mean, variance = self.kept
        check_gradient("LayerNorm", grad_output, x.shape)
        grad_x, grad_weight, grad_bias = formulas.standardize_backward(
            grad_output, None, None, x, self.parameters["weight"], mean, variance,
            over=(1,), along=(1,), eps=self.eps, wanted=(grad_input, True, True), xp=XP,
        )  # fmt: skip
        self.gradients = {"weight": grad_weight, "bias": grad_bias}
        return grad_x


class RMSNorm(Layer):
    r"""RMS normalization: each row divided by the root of its mean square, then y = n w.

    Shape: x `(N, num_features)` -> the same.

    Args:
        num_features: features of a row.
        eps: number added to the mean square.
        dtype: dtype of the weight.

    Raises:
        ShapeError: num_features is below 1.
        DtypeError: dtype is not a floating-point dtype.
        OptionError: eps is negative.

    Source: Zhang and Sennrich 2019, eq. 4.
    """

    def __init__(self, num_features: int, *, eps: float = 1e-5, dtype: str = "float32") -> None:
        super().__init__()
        check_sizes("RMSNorm", num_features=num_features)
        check_dtype("RMSNorm", dtype)
        check_eps("RMSNorm", eps)
        self.eps = float(eps)
        self.parameters = {"weight": np.ones(num_features, dtype)}

    def forward(self, x: Array) -> Array:
        weight = self.parameters["weight"]
        x = as_rows("RMSNorm", x, len(weight), weight.dtype)
        y: Array
        y, mean_square = formulas.rms_norm(x, weight, eps=self.eps, xp=XP)
        self._kept = (x, mean_square)
        return y

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        x, mean_square = self.kept
        check_gradient("RMSNorm", grad_output, x.shape)
        grad_x, grad_weight = formulas.rms_norm_backward(
            grad_output, None, x, self.parameters["weight"], mean_square,
            eps=self.eps, wanted=(grad_input, True), xp=XP,
        )  # fmt: skip
        self.gradients = {"weight": grad_weight}
        return grad_x
