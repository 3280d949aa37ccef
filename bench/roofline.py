"""What the machine can do: matrix products through ONNX Runtime, and memory bandwidth; and what composing reaches.

The products are those of one candidate. In T5: all linear layers of the encoder over the texts' tokens, those of the
decoder over the answers' tokens (its cross keys and values over the texts', unless the graphs are absorbed), and the
head. In a decoder-only model: all linear layers over the tokens of texts and answers, of the last layer only keys and
values, and what is above them over the answers' tokens. They run alone, in sessions of one thread that as many threads
of ours use at once, as candidates do.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from threadpoolctl import ThreadpoolController

from edge_lorahub.bundle.manifest import Slot
from edge_lorahub.composition.paper import Int8PaperStack, PaperStack
from edge_lorahub.composition.stack import Stack
from edge_lorahub.errors import EdgeLorahubError
from edge_lorahub.machine.onnx_runtime import ort
from edge_lorahub.search.settings import POPULATION
from edge_lorahub.testing.random_models import SIZES, is_decoder_only, linear_layers, usual_kinds

from .latency import RandomLora
from .load import ANSWER_TOKENS, Load
from .report import Report, Row, environment

# Of modules in int8 against float32, relative, in the Frobenius norm: 0.01 for normal numbers.
_CLOSE = 0.03
# larger than any cache that these processors have
_ARRAY_BYTES = 1 << 28


@dataclass(frozen=True)
class Product:
    """A matrix product (m, k) x (k, n)."""

    m: int
    k: int
    n: int

    @property
    def operations(self) -> int:
        return 2 * self.m * self.k * self.n


@dataclass(frozen=True)
class Work:
    """A candidate of a size: the tokens that are read of all texts, those that are predicted, whether T5 is absorbed.

    A decoder-only model reads the answers as well, but for their last tokens.
    """

    size: str
    texts: int
    answers: int
    absorbed: bool


def products(work: Work) -> Counter[Product]:
    """The products of one candidate, with how often each comes."""
    size, decoder_only = SIZES[work.size], is_decoder_only(work.size)
    of_texts = _reads_texts_as_decoder if decoder_only else _reads_texts_as_t5
    found: Counter[Product] = Counter()
    for name, d_in, d_out in linear_layers(work.size):
        found[Product(work.texts if of_texts(work, name) else work.answers, d_in, d_out)] += 1
    found[Product(work.answers, size["hidden_size" if decoder_only else "d_model"], size["vocab_size"])] += 1
    return found


def _reads_texts_as_t5(work: Work, name: str) -> bool:
    if name.endswith(("EncDecAttention.k", "EncDecAttention.v")):
        return not work.absorbed
    return name.startswith("encoder")


def _reads_texts_as_decoder(work: Work, name: str) -> bool:
    last = f"layers.{SIZES[work.size]['num_hidden_layers'] - 1}."
    return last not in name or name.endswith(("k_proj", "v_proj"))


def operations(work: Work) -> int:
    """Additions and multiplications of a candidate's products."""
    return sum(product.operations * count for product, count in products(work).items())


class Products:
    """All products of a candidate, in the operators that the exported graphs use, one matrix for each shape.

    Layers of one shape have the matrix in common, which then stays in the cache: if anything, too fast.
    """

    def __init__(self, work: Work, precision: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        rng = np.random.default_rng(0)
        self._runs: list[tuple[ort.InferenceSession, dict[str, NDArray[np.float32]], int]] = []
        for product, count in products(work).items():
            model = _graph(product, precision, rng)
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            x = rng.standard_normal((product.m, product.k), dtype=np.float32)
            self._runs.append((session, {"x": x}, count))

    def run(self) -> None:
        for session, feed, count in self._runs:
            for _ in range(count):
                session.run(None, feed)


def _graph(product: Product, precision: str, rng: np.random.Generator) -> bytes:
    weight = rng.standard_normal((product.k, product.n), dtype=np.float32)
    if precision == "fp32":
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        weights = [onnx.numpy_helper.from_array(weight, "w")]
    else:
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            helper.make_node(
                "MatMulIntegerToFloat", ["q", "w", "s", "ws", "z"], ["y"], domain="com.microsoft"
            ),
        ]  # fmt: skip
        scale = np.abs(weight).max(axis=0) / 127
        weights = [
            onnx.numpy_helper.from_array(np.rint(weight / scale).astype(np.int8), "w"),
            onnx.numpy_helper.from_array(scale.astype(np.float32), "ws"),
        ]
    graph = helper.make_graph(
        nodes, "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (product.m, product.k))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (product.m, product.n))],
        weights,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return data


class Machine:
    """The rates of this machine on a number of threads, each measured as its best of some rounds."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._array = np.ones(_ARRAY_BYTES // 4, np.float32)
        self._parts = np.array_split(self._array, threads)

    def product_seconds(self, work: Work, precision: str, rounds: int = 3) -> float:
        """Seconds for the products of one candidate, when as many candidates as threads run at once."""
        shared = Products(work, precision)
        return self._best([shared.run] * self._threads, rounds) / self._threads

    def read_bandwidth(self, rounds: int = 5) -> float:
        """Bytes a second that all threads together read: the better of NumPy's maximum and BLAS's dot product."""
        reads: list[Callable[[NDArray[np.float32]], Any]] = [np.max, lambda part: np.dot(part, part)]
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            seconds = [
                self._best([partial(read, part) for part in self._parts], rounds)
                for read in reads
            ]  # fmt: skip
        return self._array.nbytes / min(seconds)

    def compose_seconds(self, stack: Stack, dimension: int, candidates: int, rounds: int = 5) -> float:
        """Seconds to compose so many candidates at once, each thread its part of the numbers."""
        population = np.random.default_rng(0).uniform(-1.5, 1.5, (candidates, dimension))
        out = np.empty((candidates, stack.width), np.float32)
        parts = [slice(*ends) for ends in pairwise(stack.cuts(self._threads))]
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            return self._best([partial(stack.compose, population, out, part) for part in parts], rounds)

    def _best(self, work: Sequence[Callable[[], Any]], rounds: int) -> float:
        seconds = []
        with ThreadPoolExecutor(len(work)) as pool:
            list(pool.map(lambda each: each(), work))
            for _ in range(rounds):
                start = time.perf_counter()
                list(pool.map(lambda each: each(), work))
                seconds.append(time.perf_counter() - start)
        return min(seconds)


def roofline(load: Load, threads: int) -> Report:
    """The machine's rates at a size's shapes, for both precisions, of a candidate with absorbed graphs.

    Composing (paper) is told as a share of the rate at which memory is read: of the modules' float32 bytes for each
    candidate, of which a population needs fewer and int8 a quarter, so theirs can be above 1. Raises
    EdgeLorahubError if what is composed of modules in int8 is not that of float32 to a few percent.
    """
    machine = Machine(threads)
    # what texts have in common is read once
    read = sum(load.lengths) - (load.examples - 1) * load.common
    if is_decoder_only(load.size):
        read += load.examples * (ANSWER_TOKENS - 1)  # it reads all of an answer but its last token
    # as `adapt` does it for such answers, of all published sizes
    work = Work(load.size, read, load.examples * ANSWER_TOKENS, absorbed=True)
    rows = []
    for precision in ("fp32", "int8"):
        seconds = machine.product_seconds(work, precision)
        rows.append(
            {
                "precision": precision,
                "products of a candidate, ms": round(seconds * 1e3, 2),
                "giga-operations/s": round(operations(work) / seconds / 1e9, 1),
            }
        )
    bandwidth = machine.read_bandwidth()
    facts = {
        "size": load.size,
        "examples": f"{load.examples_fact}, answers of {ANSWER_TOKENS}",
        "modules": f"{load.modules} of rank {load.rank}",
        "operations of a candidate": f"{operations(work) / 1e9:.1f} billion",
        "memory read, GB/s": round(bandwidth / 1e9, 1),
        **environment(threads),
    }
    tables = {"products": rows, "composing": _composing(machine, load, bandwidth)}
    return Report(facts, tables, {"products": "giga-operations/s"})


def _composing(machine: Machine, load: Load, bandwidth: float) -> list[Row]:
    layers = [layer for layer in linear_layers(load.size) if layer[0].rpartition(".")[2] in usual_kinds(load.size)]
    slots = [Slot(name, name.rpartition(".")[2], d_in, d_out, 0) for name, d_in, d_out in layers]
    sources = [RandomLora(slots, seed, load.rank) for seed in range(load.modules)]
    stacks: dict[str, Stack] = {"float32": PaperStack(sources, slots), "int8": Int8PaperStack(sources, slots)}
    expected, found = (_composed(stack, load.modules) for stack in stacks.values())
    if not np.linalg.norm(found - expected) <= _CLOSE * np.linalg.norm(expected):
        raise EdgeLorahubError("composing modules in int8 gives another adapter than in float32")
    rows: list[Row] = []
    for held, stack in stacks.items():
        for candidates in (1, POPULATION):
            seconds = machine.compose_seconds(stack, load.modules, candidates) / candidates
            rate = load.modules * stack.width * np.dtype(np.float32).itemsize / seconds
            rows.append(
                {
                    "modules in": held,
                    "candidates at once": candidates,
                    "a candidate, ms": round(seconds * 1e3, 2),
                    "GB/s of float32": round(rate / 1e9, 1),
                    "share of memory's rate": round(rate / bandwidth, 2),
                }
            )
    return rows


def _composed(stack: Stack, dimension: int) -> NDArray[np.float32]:
    out = np.empty((1, stack.width), np.float32)
    stack.compose(np.random.default_rng(0).uniform(-1.5, 1.5, (1, dimension)), out)
    return out
