"""Rows of tokens in uint8: every number to half a step of its own row, whatever the rows beside it are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from edge_lorahub.export.blocks.onnx_graph import Graph, WeightFile
from edge_lorahub.export.blocks.products import Lora
from edge_lorahub.export.blocks.row_products import RowProducts
from edge_lorahub.export.blocks.token_quantization import ZERO, Rows, quantize_by_magnitude, quantize_by_range
from edge_lorahub.machine.onnx_runtime import ort
from edge_lorahub.tensors.quantization import quantize_rows

Float32 = NDArray[np.float32]


def run(graph: Graph, path: Path, **inputs: NDArray[np.generic]) -> list[Float32]:
    graph.save(path)
    return list(ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs))


def rows_of(x: Float32, path: Path, *, by_range: bool) -> tuple[Float32, Float32]:
    """What the values stand for, and the scales (N, 1)."""
    g = Graph("rows")
    g.input("x", ("N", x.shape[1]))
    rows = quantize_by_range(g, "x") if by_range else quantize_by_magnitude(g, "x")
    g.output(g.op("Cast", [rows.values], to=TensorProto.FLOAT), "values", ("N", x.shape[1]))
    g.output(rows.scale, "scale", ("N", 1))
    if isinstance(rows, Rows):
        g.output(rows.shift, "shift", ("N", 1))
    values, scale, *shift = run(g, path, x=x)
    return (values - ZERO + (shift[0] if shift else 0)) * scale, scale


def kinds_of_rows() -> Float32:
    """Ordinary numbers, a single large one on either side, all of one sign, zeros, tiny and huge ones."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((9, 200)).astype(np.float32)
    rows[1, 5], rows[2, 6] = 500, -500
    rows[3], rows[4] = np.abs(rows[3]) + 3, -np.abs(rows[4]) - 3
    rows[5] = 0
    rows[6] *= 1e-20
    rows[7] *= 1e20
    rows[8] = 7.5
    return rows


@pytest.mark.parametrize("by_range", [True, False])
def test_every_number_is_within_half_a_step(tmp_path: Path, by_range: bool) -> None:
    x = kinds_of_rows()
    found, scale = rows_of(x, tmp_path / "rows.onnx", by_range=by_range)
    # where a row's ends both lie between steps, the last of them is cut off: half a step more
    assert (np.abs(found - x) <= scale * (1.001 if by_range else 0.501)).all()
    assert (np.abs(found - x) <= scale * 0.501).mean() > 0.99
    assert (found[5] == 0).all()


def test_steps_are_spread_over_what_there_is(tmp_path: Path) -> None:
    x = kinds_of_rows()
    _, by_range = rows_of(x, tmp_path / "range.onnx", by_range=True)
    _, by_magnitude = rows_of(x, tmp_path / "magnitude.onnx", by_range=False)
    expected = (np.maximum(x.max(axis=1), 0) - np.minimum(x.min(axis=1), 0)) / 255
    filled = expected > 0
    np.testing.assert_allclose(by_range[filled, 0], expected[filled], rtol=1e-6)
    # a large number on one side: about half as wide, and never wider
    assert (by_range[[1, 2, 3, 4, 8]] < 0.51 * by_magnitude[[1, 2, 3, 4, 8]]).all()
    assert (by_range[filled] <= by_magnitude[filled]).all()


def test_rows_do_not_depend_on_each_other(tmp_path: Path) -> None:
    x = kinds_of_rows()
    together, _ = rows_of(x, tmp_path / "rows.onnx", by_range=True)
    for row, expected in zip(x, together, strict=True):
        np.testing.assert_array_equal(rows_of(row[None], tmp_path / "row.onnx", by_range=True)[0][0], expected)


@pytest.mark.parametrize("lora", ["none", "float32", "int8"])
def test_a_product_is_that_of_what_the_values_stand_for(tmp_path: Path, lora: str) -> None:
    """Against NumPy in float64, with the rows and matrices as they were rounded."""
    rng = np.random.default_rng(1)
    x = kinds_of_rows()[[0, 1, 2, 3, 4, 5, 8]]
    w, a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((48, 200), (200, 6), (6, 48)))
    w += 0.5  # columns whose sums are far from 0
    scale = rng.uniform(0.5, 1.5, 6).astype(np.float32)
    weights = WeightFile(tmp_path / "weights.bin")
    g = Graph("product", weights)
    g.input("x", ("N", 200))
    kind = TensorProto.INT8 if lora == "int8" else TensorProto.FLOAT
    inputs: dict[str, NDArray[np.generic]] = {"x": x}
    names = None
    if lora != "none":
        names = Lora(g.input("a", (200, "r"), kind), g.input("scale", ("r",)), g.input("b", ("r", 48), kind))
        held = [quantize_rows(np.ascontiguousarray(a.T)), quantize_rows(b)] if lora == "int8" else []
        inputs |= {"a": a, "scale": scale, "b": b}
        if held:
            (a_values, a_scales), (b_values, b_scales) = held
            inputs |= {"a": np.ascontiguousarray(a_values.T), "b": b_values, "scale": scale * a_scales * b_scales}
            a, b = (a_values * a_scales[:, None]).T, b_values * b_scales[:, None]
    products = RowProducts(lambda name, shape: w.reshape(shape), weights, int8_lora=lora == "int8")
    g.output(products.linear(g, "x", "w", 200, 48, lora=names), "y", ("N", 48))
    weights.close()
    (found,) = run(g, tmp_path / "product.onnx", **inputs)
    rows = rows_of(x, tmp_path / "rows.onnx", by_range=True)[0].astype(np.float64)
    values, scales = quantize_rows(w)
    expected = rows @ (values * scales[:, None].astype(np.float64)).T
    tolerance = 1e-5
    if lora != "none":
        # with A and B in float32 the LoRA reads x itself; in int8 its middle is rounded once more
        expected += ((x if lora == "float32" else rows) @ a * scale) @ b
        tolerance = 1e-5 if lora == "float32" else 2e-2
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
