"""Linear layer: an affine map of rows.

Notation: x rows (N, in), weight W (out, in), bias b (out,) or None, y (N, out). g = `grad_output` is the
gradient of the loss with respect to y, dx the tangent of x; a tangent that is None is zero. `wanted` says, in
the order x, weight, bias, which gradients are needed; the others are None.
"""

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["linear", "linear_backward", "linear_jvp"]


def linear(x: Array, weight: Array, bias: Array | None, *, xp: Namespace) -> Array:
    """Affine map: y = x W^T + b.

    Args:
        x: rows (N, in).
        weight: W (out, in).
        bias: b (out,), or None.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y (N, out).
    """
    if bias is None:
        return xp.matmul(x, xp.transpose(weight))
    return xp.affine(bias, x, xp.transpose(weight))


def linear_backward(
    grad_output: Array, x: Array, weight: Array, *, wanted: tuple[bool, bool, bool], xp: Namespace
) -> tuple[Array | None, Array | None, Array | None]:
    """grad_x = g W, grad_weight = g^T x, grad_bias = sum of g over rows; W, x are conjugated if complex."""
    grad_x = xp.matmul(grad_output, xp.conj(weight)) if wanted[0] else None
    grad_weight = xp.matmul(xp.transpose(grad_output), xp.conj(x)) if wanted[1] else None
    grad_bias = xp.sum(grad_output, axis=0) if wanted[2] else None
    return grad_x, grad_weight, grad_bias


def linear_jvp(
    tangent_x: Array | None,
    tangent_weight: Array | None,
    tangent_bias: Array | None,
    x: Array,
    weight: Array,
    *,
    xp: Namespace,
) -> Array:
    """dy = dx W^T + x dW^T + db."""
    if tangent_x is None:
        tangent_x = xp.zeros_like(x)
    tangent = linear(tangent_x, weight, tangent_bias, xp=xp)
    if tangent_weight is None:
        return tangent
    return tangent + xp.matmul(x, xp.transpose(tangent_weight))
