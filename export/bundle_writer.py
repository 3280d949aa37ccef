"""The whole export: a checkpoint or a GGUF file in, a bundle's folder out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_lorahub._version import __version__
from edge_lorahub.bundle.architectures import ENCODER_DECODER, PRECISIONS, TASK_TYPES, graphs_of
from edge_lorahub.bundle.manifest import BUNDLE_FILES, MANIFEST, TOKENIZER, WEIGHTS, Baked, Manifest, Slot
from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.bundle.weights_sample import sample_digest
from edge_lorahub.composition.adapter import Adapter, check_adapter
from edge_lorahub.composition.prompt_record import warn_of_other_prompt
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning, SettingsError
from edge_lorahub.files.outputs import check_output_folder, output_folder, sha256
from edge_lorahub.files.user_path import user_path
from edge_lorahub.messages import some_of

from .blocks.form import Form
from .blocks.onnx_graph import WeightFile
from .families import find_family
from .families.protocol import Writer
from .merging.layers import warn_of_other_base
from .merging.merged_tensors import MergedTensors
from .open_source import open_source
from .prompts import freeze
from .prompts.token_check import check_tokens
from .source.chat_templates import NONE
from .source.model_source import ModelSource, Tensors, TextTokens


def export(
    source: str | Path,
    out: str | Path,
    *,
    slots: Sequence[str] | None = None,
    precision: str = "fp32",
    chat_template: str | None = None,
    template_arguments: Mapping[str, Any] | None = None,
    prompt: Prompt | None = None,
    adapter: Adapter | None = None,
    revision: str | None = None,
    force: bool = False,
    check: Callable[[Path], None] | None = None,
) -> Manifest:
    """Writes a bundle from a model of one of `families.FAMILIES`.

    source is a Hugging Face checkpoint's folder, a Hub id or a GGUF file, slots the kinds of linear layers that take a
    LoRA, of those that the family has (T5: q, k, v, o, wi, wi_0, wi_1, wo; decoder-only models: q_proj, k_proj, v_proj,
    o_proj, gate_proj, up_proj, down_proj); None: q and v in T5, all of them in decoder-only models. precision "int8"
    holds the base's matrices in eight bits; norms and attention stay float32, and so does LoRA but in the graphs that
    adapt uses. chat_template: of the model's chat templates, which are rendered into the bundle's prompt, the name of
    one, a Jinja file instead, or "none"; None: its default one, where it has any. template_arguments are further
    variables of it, as enable_thinking. prompt: texts to take in the place of a template's. adapter: is added to the
    weights, which are then quantized with it, and the manifest says so. check gets the finished folder before it
    becomes `out`; what it raises leaves no bundle.
    Raises CheckpointError, SettingsError, MissingPathError, MissingDependencyError, OutputExistsError or HubError, and
    ModuleMismatchError or ModuleFileError for the adapter; `out` appears only when it is complete.
    """
    out = user_path(out)
    if prompt is not None and (chat_template is not None or template_arguments):
        raise SettingsError("a prompt and a chat template; give one of them")
    if prompt is not None and not isinstance(prompt, Prompt):
        raise SettingsError(f"prompt must be a Prompt, got {prompt!r:.80}")
    check_adapter(adapter)
    if precision not in PRECISIONS:
        raise SettingsError(f"precision {precision!r} is unknown; choose {' or '.join(PRECISIONS)}")
    check_output_folder(out, force=force, names=BUNDLE_FILES)  # before a download
    model = open_source(source, revision)
    family = find_family(model.config, model.config_path)
    config = family.read(model.config, model.config_path)
    known = family.slot_kinds(config)
    if isinstance(slots, str):
        raise SettingsError(f"slots must be a list of kinds of layers, got the text {slots!r:.40}")
    kinds = family.usual_kinds(config) if slots is None else tuple(slots)
    _check_slots(kinds, known)
    model.check(family.architecture)
    tokens = family.text_tokens(config, model)
    if prompt is not None:
        _check_prompt(prompt, family.architecture, tokens)
    else:
        prompt = _prompt(model, family.architecture, tokens, chat_template, template_arguments)
    graphs = graphs_of(family.architecture, precision)
    if adapter is not None:
        warn_of_other_base(adapter, model.base_model, TASK_TYPES[family.architecture], model.path)
        warn_of_other_prompt(adapter, prompt)
    with output_folder(out, force=force, names=BUNDLE_FILES) as work, model.open() as opened:
        merged = None if adapter is None else MergedTensors(opened, adapter, known)
        tensors: Tensors = opened if merged is None else merged
        tokens.tokenizer.save(str(work / TOKENIZER))
        weights = WeightFile(work / WEIGHTS)
        found: tuple[Slot, ...] = ()
        try:
            write: Writer = family.writer(config, tensors, weights)
            # the files of one variant may serve both roles
            for files, graph in {graph.files: graph for graph in graphs}.items():
                written = write(Form(precision, graph.role, graph.variant, frozenset(kinds)))
                for file, one in zip(files, written.graphs, strict=True):
                    one.save(work / file)
                found = found or written.slots
        finally:
            digest = weights.close()
        if merged is not None:
            merged.check_all_merged()
        _warn_of_unused(model.path, [name for name in tensors.unused() if not family.is_left_over(name)])
        manifest = Manifest(
            architecture=family.architecture,
            model=family.model(config, tokens, model.base_model),
            precision=precision,
            slots=found,
            slot_kinds=known,
            graphs=graphs,
            least_onnxruntime=".".join(map(str, family.least_onnxruntime(config))),
            tool_version=__version__,
            sha256={
                name: digest if name == WEIGHTS else sha256(work / name)
                for name in BUNDLE_FILES
                if (work / name).is_file()
            },
            prompt=prompt,
            baked=() if adapter is None else (Baked(adapter.name, adapter.sha256),),
            weights_sample=sample_digest(work / WEIGHTS),
        )
        (work / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        if check is not None:
            check(work)
    return manifest


def _prompt(
    model: ModelSource, architecture: str, tokens: TextTokens, choice: str | None, arguments: Mapping[str, Any] | None
) -> Prompt:
    """The texts of the model's chat template; none where it has no template."""
    template = model.chat_template(choice)
    if template is None:
        if arguments:
            raise SettingsError(f"{model.path}: arguments for a chat template, and there is none to give them to")
        return Prompt()
    if architecture == ENCODER_DECODER:
        raise CheckpointError(
            f"{template.where}: encoder-decoders are run without a chat template; export with the chat template {NONE}"
        )
    return freeze(template, tokens.tokenizer, tokens.special.end_token_ids, arguments=arguments)


def _check_prompt(prompt: Prompt, architecture: str, tokens: TextTokens) -> None:
    """Raises SettingsError or CheckpointError for texts that a model of this kind cannot be run with."""
    if architecture != ENCODER_DECODER:
        if prompt.end:
            check_tokens(prompt, "the prompt", tokens.tokenizer, tokens.special.end_token_ids)
    elif prompt.lead or prompt.end:
        raise SettingsError("an encoder-decoder has no place for a prompt's lead and end; leave them empty")


def _warn_of_unused(where: Path, unused: Sequence[str]) -> None:
    """Tensors that the family has no place for: more layers than config.json says, an adapter that is not merged."""
    if unused:
        warnings.warn(
            f"{where}: {len(unused)} of its tensors are no part of the model that config.json describes, and are not "
            f"used: {some_of(unused, 3)}",
            EdgeLorahubWarning,
            stacklevel=3,
        )


def _check_slots(slots: Sequence[str], known: Sequence[str]) -> None:
    if not slots:
        raise SettingsError(f"no slots; name at least one of {', '.join(known)}")
    unknown = [slot for slot in slots if slot not in known]
    if unknown:
        raise SettingsError(f"unknown slot {', '.join(map(repr, unknown))}; this checkpoint has {', '.join(known)}")
