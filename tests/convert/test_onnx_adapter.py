"""`convert --to onnx-adapter`: ONNX Runtime alone, with our graphs and its own adapter file, gives the same logits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import Result
from decoders import TINY, export_decoder, random_texts, task_of, write_checkpoint, write_decoder_module
from scores import forced

from edge_lorahub import Model, load, load_adapter
from edge_lorahub.export import export
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.testing.random_models import write_module

Run = Callable[..., Result]


def session_of(bundle: Path, graph: str) -> ort.InferenceSession:
    return ort.InferenceSession(bundle / f"{graph}.onnx", providers=["CPUExecutionProvider"])


def with_adapter(
    session: ort.InferenceSession, file: Path, inputs: dict[str, np.ndarray], outputs: list[str] | None = None
) -> dict[str, np.ndarray]:
    """A run with an active adapter.

    Python's `run`, unlike the other languages', asks for every input by name; what the adapter has goes first.
    """
    adapter, options = ort.LoraAdapter(), ort.RunOptions()
    adapter.Load(str(file))
    options.add_active_adapter(adapter)
    read = {value.name: value for value in session.get_inputs()}
    sizes = {name: [d if isinstance(d, int) else 0 for d in read[name].shape] for name in read if ".lora_" in name}
    idle = {name: np.zeros(shape, np.float32) for name, shape in sizes.items()}
    names = outputs or [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {**idle, **inputs}, options), strict=True))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_encoder_and_a_decoder(
    precision: str, run: Run, checkpoint: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    # slots that the module has not are part of the graphs too
    export(checkpoint, bundle, slots=["q", "k", "v", "wo"], precision=precision)
    model = load(bundle, threads=1)
    out = tmp_path / "out"
    result = run("convert", module_folders[0], "--to", "onnx-adapter", "--bundle", bundle, "--out", out)
    assert result.exit_code == 0, result.output
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(3, 128, (2, 9)), rng.integers(3, 128, (2, 4))
    mask = np.ones_like(ids)
    mask[1, 6:] = 0
    truth = forced(Runner(model, "score", load_adapter(module_folders[0]).inputs(model.manifest)), ids, mask, labels)
    source = {"input_ids": ids, "attention_mask": mask}
    encoded = with_adapter(session_of(bundle, "encoder"), out / "encoder.onnx_adapter", source)
    logits = with_adapter(session_of(bundle, "decoder"), out / "decoder.onnx_adapter", {
        **_caches(model, len(ids)), **encoded, "attention_mask": mask, "past_tokens": np.array(0),
        "input_ids": np.concatenate([np.zeros((2, 1), np.int64), labels[:, :-1]], axis=1),
    }, ["logits"])["logits"]  # fmt: skip
    assert np.abs(logits - truth).max() <= 1e-6 * np.abs(truth).max()
    plain = forced(Runner(model, "score", load_adapter(module_folders[1]).inputs(model.manifest)), ids, mask, labels)
    assert np.abs(logits - plain).max() > 1e-3 * np.abs(truth).max()


def _caches(model: Model, rows: int) -> dict[str, np.ndarray]:
    config = model.manifest.model
    empty = np.zeros((rows, config.kv_heads, 0, config.head_size), np.float32)
    return {f"past.{layer}.{part}": empty for layer in range(config.layers) for part in ("key", "value")}


def test_a_decoder_only_model(run: Run, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "llama", TINY["llama"])
    module = write_decoder_module(tmp_path / "module", TINY["llama"], kinds=("q_proj", "down_proj"))
    exported = export_decoder(checkpoint, tmp_path / "bundle")
    out = tmp_path / "out"
    result = run("convert", module, "--to", "onnx-adapter", "--bundle", exported.out, "--out", out)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.glob("*.onnx_adapter")} == {"score.onnx_adapter", "generate.onnx_adapter"}
    (text,) = random_texts(96, (11,), common=5)
    count = len(text.ids)
    # one text alone: nothing is packed
    places = np.arange(count)
    logits = with_adapter(session_of(exported.out, "score"), out / "score.onnx_adapter", {
        "input_ids": text.ids, "positions": places, "rows": places[None], "places": places, "scored": places,
        "scored_rows": places[None], "scored_places": places,
    }, ["logits"])["logits"]  # fmt: skip
    lora = load_adapter(module).inputs(exported.model.manifest)
    runner = Runner(exported.model, "score", lora)
    batches = exported.model.architecture.batches(exported.model.tokens, task_of([text]), range(1), 10**9)
    (scoring,) = exported.model.architecture.scorings(runner, batches)
    (truth,) = scoring.run()
    found = logits[text.start - 1 : -1]
    assert np.abs(found - truth).max() <= 1e-5 * np.abs(truth).max()


def test_parameters_are_inputs_by_name(run: Run, bundle: Path, module_folders: list[Path], tmp_path: Path) -> None:
    """As `run_with_ort_values` takes them; those of a layer give the change of its weight."""
    run("convert", module_folders[0], "--to", "onnx-adapter", "--bundle", bundle, "--out", tmp_path / "out")
    changes = {
        layer: lora.scale * (lora.b @ lora.a).T.astype(np.float64)
        for layer, lora in load_adapter(module_folders[0]).loras()
    }
    found = set()
    for file in (tmp_path / "out").glob("*.onnx_adapter"):
        adapter = ort.AdapterFormat.read_adapter(str(file))
        # views of its memory, which older versions free with it
        arrays = {name: value.numpy().copy() for name, value in adapter.get_parameters().items()}
        graph = {value.name for value in session_of(bundle, file.stem).get_inputs()}
        assert arrays.keys() == {name for name in graph if ".lora_" in name}
        for name in (name for name in arrays if name.endswith(".lora_A")):
            layer = name.removesuffix(".lora_A")
            product = (arrays[name] * arrays[f"{layer}.lora_scale"]) @ arrays[f"{layer}.lora_B"]
            np.testing.assert_allclose(product, changes[layer], rtol=0, atol=1e-6)
            found.add(layer)
    assert found == changes.keys()


def test_an_adapter_for_another_model_is_refused(fails: Callable[..., str], bundle: Path, tmp_path: Path) -> None:
    other = write_module(tmp_path / "other", "tiny-t5", seed=1, kinds=("q", "wi"))
    line = fails("convert", other, "--to", "onnx-adapter", "--bundle", bundle, "--out", tmp_path / "out")
    assert "is not a slot" in line or "has shape" in line
    assert not (tmp_path / "out").exists()
    assert json.loads((bundle / "manifest.json").read_text())["baked"] == []
