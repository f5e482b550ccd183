"""Normalization of rows to a mean square of one.

Notation: x rows (N, features), y output, q = mean x^2 of a row, r = 1 / sqrt(q + eps), n = x r; weight w
(features,) or None. g = `grad_output` is the gradient of the loss with respect to y, h = g w that with
respect to n. dx and dw are tangents; one that is None is zero. q is an output with its own gradient and
tangent, so that second derivatives are right. `wanted` says, in the order x, weight, which gradients are
needed; the others are None.
"""

from nnfoundations.formulas._axes import affine_tangent
from nnfoundations.formulas._namespace import Array, Namespace

__all__ = ["rms_norm", "rms_norm_backward", "rms_norm_jvp"]


def rms_norm(x: Array, weight: Array | None, *, eps: float, xp: Namespace) -> tuple[Array, Array]:
    """Divide each row by its root mean square: y = n w with n = x r, r = 1 / sqrt(mean x^2 + eps).

    Args:
        x: rows (N, features).
        weight: w (features,), or None.
        eps: number added to the mean square.
        xp: array operations, from `numpy_namespace()` or `torch_namespace()`.

    Returns:
        y in the shape of x, then mean x^2 of each row (N, 1).
    """
    mean_square = xp.mean(xp.square(x), 1, keepdims=True)
    y = x * xp.rsqrt(mean_square + eps)
    if weight is not None:
        y = xp.mul_(y, weight)
    return y, mean_square


def rms_norm_backward(
    grad_output: Array,
    grad_mean_square: Array | None,
    x: Array,
    weight: Array | None,
    mean_square: Array,
    *,
    eps: float,
    wanted: tuple[bool, bool],
    xp: Namespace,
) -> tuple[Array | None, Array | None]:
    """grad_x = r (h - n mean(h n)) with n = x r, grad_weight = sum of g n; x, r, w conjugated if complex."""
    r = xp.conj(xp.rsqrt(mean_square + eps))
    conjugate = xp.conj(x)
    gn = xp.mul_(grad_output * conjugate, r)
    grad_weight = xp.sum(gn, 0) if wanted[1] else None
    if not wanted[0]:
        return None, grad_weight
    hn = gn if weight is None else xp.mul_(gn, xp.conj(weight))
    slope_x = xp.mean(hn, 1, keepdims=True) * -xp.square(r)
    del gn, hn  # frees their memory for the arrays below
    if grad_mean_square is not None:
        slope_x = slope_x + grad_mean_square * (2 / x.shape[1])
    rh = grad_output * r if weight is None else xp.mul_(grad_output * xp.conj(weight), r)
    grad_x = xp.add_(rh, conjugate * slope_x)
    return grad_x, grad_weight


def rms_norm_jvp(
    tangent_x: Array | None,
    tangent_weight: Array | None,
    x: Array,
    weight: Array | None,
    mean_square: Array,
    *,
    eps: float,
    xp: Namespace,
) -> tuple[Array, Array]:
    """dq = 2 mean(x dx) for q = mean x^2, dr = -r^3 dq / 2, dn = r dx + x dr, dy = dn w + n dw."""
    if tangent_x is None:
        tangent_x = xp.zeros_like(x)
    r = xp.rsqrt(mean_square + eps)
    half = xp.mean(x * tangent_x, 1, keepdims=True)
    tangent_n = r * tangent_x - x * (r * xp.square(r) * half)
    tangent_y = affine_tangent(tangent_n, x * r, weight, tangent_weight, None, (1,), xp)
    return tangent_y, 2 * half
