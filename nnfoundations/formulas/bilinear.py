"""Bilinear maps of pairs of rows.

Notation: x1 rows (N, in1), x2 rows (N, in2), weight W (out, in1, in2) with one matrix W_k per output, bias b
(out,) or None, y (N, out). g = `grad_output` is the gradient of the loss with respect to y, dx the tangent of
x; a tangent that is None is zero. A matrix product with W has the axes (out, N, features). `wanted` says, in
the order x1, x2, weight, bias, which gradients are needed; the others are None.
"""

from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["bilinear", "bilinear_backward", "bilinear_jvp"]


def bilinear(x1: Array, x2: Array, weight: Array, bias: Array | None, *, xp: Namespace) -> Array:
    """Bilinear map: y_k = x1 W_k x2 + b_k.

    Args:
        x1: rows (N, in1).
        x2: rows (N, in2).
        weight: W (out, in1, in2).
        bias: b (out,), or None.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y (N, out).
    """
    products = xp.mul_(xp.matmul(x1, weight), x2)
    y = xp.transpose(xp.sum(products, -1))
    return y + (0.0 if bias is None else bias)  # a new array, not the view: it may be changed in place


def bilinear_backward(
    grad_output: Array,
    x1: Array,
    x2: Array,
    weight: Array,
    *,
    wanted: tuple[bool, bool, bool, bool],
    xp: Namespace,
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    """grad_x1 = sum_k g_k W_k x2, grad_x2 = sum_k g_k x1 W_k, grad_W_k = sum of g_k x1 x2^T over rows.

    grad_bias = sum of g over rows. x1, x2 and W are conjugated if complex.
    """
    grad_x1 = grad_x2 = grad_weight = grad_bias = None
    g = xp.expand_dims(xp.transpose(grad_output), -1)
    if wanted[0]:
        slope = xp.matmul(xp.conj(x2), xp.conj(xp.transpose(weight)))
        grad_x1 = xp.sum(xp.mul_(slope, g), 0)
    if wanted[1]:
        slope = xp.matmul(xp.conj(x1), xp.conj(weight))
        grad_x2 = xp.sum(xp.mul_(slope, g), 0)
    if wanted[2]:
        grad_weight = xp.matmul(xp.conj(xp.transpose(x1)), g * xp.conj(x2))
    if wanted[3]:
        grad_bias = xp.sum(grad_output, 0)
    return grad_x1, grad_x2, grad_weight, grad_bias


def bilinear_jvp(
    tangent_x1: Array | None,
    tangent_x2: Array | None,
    tangent_weight: Array | None,
    tangent_bias: Array | None,
    x1: Array,
    x2: Array,
    weight: Array,
    *,
    xp: Namespace,
) -> Array:
    """dy = dx1 W x2 + x1 W dx2 + x1 dW x2 + db."""
    if tangent_x1 is None:
        tangent_x1 = xp.zeros_like(x1)
    y = bilinear(tangent_x1, x2, weight, tangent_bias, xp=xp)
    if tangent_x2 is not None:
        y = y + bilinear(x1, tangent_x2, weight, None, xp=xp)
    if tangent_weight is not None:
        y = y + bilinear(x1, x2, tangent_weight, None, xp=xp)
    return y
