"""Properties of kernels and formats, on inputs that hypothesis draws: the same ones in every run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from safetensors.numpy import save

from edge_lorahub.bench.cells import Cells
from edge_lorahub.bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from edge_lorahub.bundle.manifest import Slot
from edge_lorahub.composition.stack import make_stack
from edge_lorahub.errors import JournalError, ModuleFileError
from edge_lorahub.label_logits import LabelLogits
from edge_lorahub.lora.pair import Lora
from edge_lorahub.search.budget import Budget
from edge_lorahub.search.journal import Journal
from edge_lorahub.search.strategy import Observation
from edge_lorahub.tensors.quantization import quantize, quantize_rows
from edge_lorahub.tensors.safetensors_file import open_tensors

Float32 = NDArray[np.float32]
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
SLOTS = [Slot("a.q", "q", 5, 3, 0), Slot("b.v", "v", 4, 6, 4096)]
numbers = st.floats(-4, 4, width=32, allow_subnormal=False)
weights_of_a_module = st.floats(-1.5, 1.5, width=32, allow_subnormal=False)


class Source:
    """A module in memory: for each of its slots an A (r, d_in) and a B (d_out, r), of which Lora holds the pair."""

    def __init__(self, name: str, pairs: dict[str, Lora]) -> None:
        self.name, self.pairs = name, pairs
        self.shapes = {layer: (len(p.a), p.a.shape[1], len(p.b)) for layer, p in pairs.items()}

    def loras(self) -> list[tuple[str, Lora]]:
        return list(self.pairs.items())


@st.composite
def sources(draw: st.DrawFn) -> list[Source]:
    """One to four modules, of ranks 1 to 3, some without one of the slots."""
    found = []
    for index in range(draw(st.integers(1, 4))):
        pairs = {}
        for slot in draw(st.sampled_from([SLOTS, SLOTS[:1], SLOTS[1:]])):
            rank = draw(st.integers(1, 3))
            a = draw(arrays(np.float32, (rank, slot.d_in), elements=numbers))
            b = draw(arrays(np.float32, (slot.d_out, rank), elements=numbers))
            pairs[slot.name] = Lora(a, b, draw(st.sampled_from([0.0, 0.5, 2.0])))
        found.append(Source(f"module-{index}", pairs))
    return found


def change(inputs: Any, slot: Slot) -> NDArray[np.float64]:
    """What the graphs add to a slot's weight: A diag(scale) B, (d_in, d_out). They lack a slot that no module has."""
    if lora_a_name(slot.name) not in inputs.arrays:
        return np.zeros((slot.d_in, slot.d_out))
    a, scale, b = (inputs.arrays[name(slot.name)] for name in (lora_a_name, lora_scale_name, lora_b_name))
    return np.asarray((a.astype(np.float64) * scale) @ b.astype(np.float64))


def formula(modules: list[Source], weights: Float32, slot: Slot, composition: str) -> NDArray[np.float64]:
    """The plain formulas: sum w_i s_i B_i A_i; or (sum w_i s_i B_i)(sum w_i A_i), with ranks padded by zeros."""
    here = [
        (float(w), module.pairs[slot.name])
        for w, module in zip(weights, modules, strict=True)
        if slot.name in module.pairs
    ]
    if composition == "exact":
        return np.asarray(
            sum(
                (w * p.scale * p.b.astype(float) @ p.a.astype(float) for w, p in here),
                np.zeros((slot.d_out, slot.d_in)),
            )
        ).T
    rank = max((len(p.a) for _, p in here), default=0)
    a, b = np.zeros((rank, slot.d_in)), np.zeros((slot.d_out, rank))
    for w, p in here:
        a[: len(p.a)] += w * p.a.astype(float)
        b[:, : len(p.a)] += w * p.scale * p.b.astype(float)
    return (b @ a).T


@pytest.mark.filterwarnings("ignore:.*so it changes nothing")
@pytest.mark.parametrize("composition", ["exact", "paper"])
@quick
@given(data=st.data(), modules=sources())
def test_composing_is_the_formula(data: st.DataObject, modules: list[Source], composition: str) -> None:
    weights = data.draw(arrays(np.float32, len(modules), elements=weights_of_a_module))

    class Bundle:
        slots, precision = SLOTS, "fp32"

    inputs = make_stack(modules, Bundle(), composition).inputs()  # type: ignore[arg-type]
    inputs.compose(weights.astype(np.float64))
    for slot in SLOTS:
        expected = formula(modules, weights, slot, composition)
        np.testing.assert_allclose(change(inputs, slot), expected, rtol=1e-5, atol=1e-3)


@quick
@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=40),
              elements=st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)))  # fmt: skip
def test_int8_is_off_by_half_a_step(matrix: Float32) -> None:
    for values, scales in (quantize_rows(matrix), quantize(matrix)):
        steps = np.broadcast_to(np.reshape(scales, (-1, 1)), matrix.shape).astype(float)
        assert values.dtype == np.int8
        assert values.min() >= -127
        assert (steps > 0).all()
        error = np.abs(values * steps - matrix)
        assert (error <= 0.5001 * steps).all()
        assert (values[matrix == 0] == 0).all()
    rows, scales = quantize_rows(matrix)
    full = np.abs(matrix).max(axis=1) > 1e-30  # below, 1/127 of it is no ordinary number
    assert (np.abs(rows[full]).max(axis=1, initial=0) == 127).all()


_TENSORS = st.sampled_from([np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.uint8]).flatmap(
    lambda kind: arrays(np.float32, array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4), elements=numbers).map(
        lambda array: array.astype(kind)
    )
)


@quick
@given(st.dictionaries(st.text(min_size=1, max_size=12).filter(lambda n: n != "__metadata__"), _TENSORS, max_size=4))
def test_safetensors_are_what_the_library_wrote(tensors: dict[str, NDArray[Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(save(tensors))
        with open_tensors(path, ModuleFileError) as ours:
            assert sorted(ours.names) == sorted(tensors)
            for name, array in tensors.items():
                assert ours.shape(name) == array.shape
                if array.dtype.kind in "iu":
                    with pytest.raises(ModuleFileError, match="only F64, F32, F16, BF16 can be read"):
                        ours.read(name)
                    continue
                found = ours.read(name)
                assert found.dtype == np.float32
                np.testing.assert_array_equal(found, array.astype(np.float32))
                if len(array):
                    np.testing.assert_array_equal(ours.rows(name, 0, 2), array[:2].astype(np.float32))


_any_float = st.floats(width=64)
_float32 = st.floats(width=32)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    weights = draw(arrays(np.float64, 3, elements=_any_float.filter(np.isfinite)))
    loss = draw(st.one_of(st.just(np.inf), _any_float.filter(np.isfinite)))
    losses = draw(st.none() | arrays(np.float64, 2, elements=st.just(np.nan) | _any_float.filter(np.isfinite)))
    tokens, kept = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    logits = LabelLogits(
        draw(arrays(np.int64, (tokens, kept), elements=st.integers(0, 2**31 - 1))),
        draw(arrays(np.float32, (tokens, kept), elements=_float32)),
        draw(arrays(np.float32, tokens, elements=_float32)),
    )
    return Observation(weights, loss, losses, draw(st.sampled_from([None, logits])))


@quick
@given(
    groups=st.lists(st.lists(observations(), min_size=1, max_size=2), max_size=3),
    budget=st.integers(1, 10**6),
    torn=st.floats(0, 1),
)
def test_a_journal_is_read_back_to_the_last_bit(
    groups: list[list[Observation]], budget: int, torn: float, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, "digest", resume=False, overwrite=True)
    journal.fix_budget(Budget(budget, "réason\n"))
    for group in groups:
        journal.record(group, 0.25)
    journal.close()
    data = path.read_bytes()
    again = Journal(path, "digest", resume=True)
    again.close()
    written = [one for group in groups for one in group]
    assert again.fix_budget(Budget(1, "other")) == Budget(budget, "réason\n")
    assert len(again.known) == len(written)
    for found, one in zip(again.known, written, strict=True):
        assert found.weights.tobytes() == one.weights.tobytes()
        assert found.loss == one.loss
        np.testing.assert_array_equal(found.losses, one.losses)
        assert (found.logits is None) == (one.logits is None)
        if found.logits is not None and one.logits is not None:
            for name in ("tokens", "logits", "rest"):
                np.testing.assert_array_equal(getattr(found.logits, name), getattr(one.logits, name))
    # torn anywhere behind the first line, it has the groups that are whole
    head = data.index(b"\n") + 1
    end = head + int(torn * (len(data) - head))
    path.write_bytes(data[:end])
    again = Journal(path, "digest", resume=True)
    again.close()
    lines = data[head:end].count(b"\n")
    assert len(again.known) == sum(map(len, groups[: max(0, lines - 1)]))
    assert path.read_bytes() == data[: data.rfind(b"\n", 0, end) + 1]


_keys = st.tuples(st.text(max_size=8), st.integers(-(2**70), 2**70))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@quick
@given(cells=st.dictionaries(_keys, _json, max_size=4), setting=st.text(max_size=5))
def test_cells_are_read_back(cells: dict[tuple[str, int], Any], setting: str, tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    path.unlink(missing_ok=True)
    first = Cells(path, ("name", "number"), {"x": setting}, resume=False)
    for key, value in cells.items():
        first.record(key, value)
    first.close()
    again = Cells(path, ("name", "number"), {"x": setting}, resume=True)
    again.close()
    assert {key: again[key] for key in cells} == cells
    assert len(again) == len(cells)
    with pytest.raises(JournalError, match="other settings"):
        Cells(path, ("name", "number"), {"x": setting + "y"}, resume=True)
