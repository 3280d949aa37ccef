"""The merge kernels: how weights w and modules make one adapter. Pure NumPy, in place.

N modules, weights w (N,). Module i has A_i (d_in, r_i) and B_i (r_i, d_out), with its scale s_i folded into
B_i (the matrices are transposed against PEFT's files, so that x A B is a row-major product).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

# Bytes that are worked on at a time: a block of W's product stays in the second-level cache.
_BLOCK_BYTES = 1 << 20


def compose_paper(weights: Float32, stack: Float32, out: Float32) -> None:
    """Paper mode (arXiv 2307.13269, equation 1): A = sum w_i A_i, B = sum w_i B_i, into `out`.

    weights (N,) with out (P,), or a population (C, N) with out (C, P); stack (N, P) holds one module's
    matrices a row.
    """
    np.matmul(weights, stack, out=out)  # (N,) @ (N, P) -> (P,)


def compose_exact(weights: Float32, owners: NDArray[np.intp], out: Float32) -> None:
    """Exact mode: delta = sum w_i A_i B_i, with all A_i side by side and all B_i stacked, w in the middle.

    The matrices stay as they are; what is composed is the middle. owners (R,) has the module of each of the
    R columns of the A's; weights (N,) with out (R,), or a population (C, N) with out (C, R).
    """
    # mode: anything but "raise" lets take write straight into out, without a copy
    np.take(weights, owners, axis=-1, out=out, mode="clip")


def merge_dense(weight: Float32, a: Float32, scale: Float32, b: Float32) -> None:
    """W += A diag(scale) B, in place: the weighted sum of the modules' products, baked into a layer.

    weight (d_in, d_out), a (d_in, R), scale (R,), b (R, d_out): R the ranks of all modules together.
    """
    middle = scale[:, None] * b  # (R, d_out)
    rows = max(1, _BLOCK_BYTES // max(1, weight[0].nbytes))
    product = np.empty((min(rows, len(weight)), weight.shape[1]), np.float32)
    for start in range(0, len(weight), rows):
        block = weight[start : start + rows]
        # a whole product at once would need a second array of the size of W
        np.matmul(a[start : start + rows], middle, out=product[: len(block)])
        block += product[: len(block)]


def truncate(a: Float32, b: Float32, rank: int) -> tuple[Float32, Float32, float, float]:
    """The best approximation of A B of a given rank (Eckart-Young), without forming A B.

    a (d_in, R), b (R, d_out) -> (d_in, k), (k, d_out) with k = min(rank, R), and the squared Frobenius norms
    of what was dropped and of the whole. QR of both sides leaves a core of R x R for the SVD.
    """
    q_a, r_a = np.linalg.qr(a.astype(np.float64))
    q_b, r_b = np.linalg.qr(b.T.astype(np.float64))
    u, sigma, vt = np.linalg.svd(r_a @ r_b.T, full_matrices=False)
    kept = min(rank, len(sigma))
    root = np.sqrt(sigma[:kept])
    squares = sigma**2
    return (
        ((q_a @ u[:, :kept]) * root).astype(np.float32),
        (root[:, None] * (vt[:kept] @ q_b.T)).astype(np.float32),
        float(squares[kept:].sum()),
        float(squares.sum()),
    )
