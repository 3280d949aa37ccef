"""transformers' model of a checkpoint, for the comparison of an export with it."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np

from edge_lorahub.bundle.architectures import ENCODER_DECODER
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.errors import (
    CheckpointError,
    EdgeLorahubError,
    EdgeLorahubWarning,
    MissingDependencyError,
    SettingsError,
)
from edge_lorahub.runtime.opened import EncodedTask
from edge_lorahub.runtime.tokens import Ids
from edge_lorahub.tensors.safetensors_file import Float32

from ..families import find_family
from ..families.t5.embeddings import HEAD, find_embeddings
from ..families.t5.t5_config import read_t5_config
from ..source.model_source import ModelSource
from ..source.tokenizer_files import LOCAL
from .model_files import MODEL, model_files

_EXTRA = "pip install 'edge-lorahub[verify]'"


def check_installed() -> str:
    """What is compared with, by name and version. Raises MissingDependencyError, which says why it cannot be used."""
    models = [f"transformers.models.{name}.modeling_{name}" for name in ("t5", "mt5", "llama")]
    for name in ("torch", "transformers", *models):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name == name:
                raise MissingDependencyError(f"--verify needs {name}: {_EXTRA}") from error
            raise _broken(name, error) from error
        except Exception as error:
            raise _broken(name, error) from error
    return f"transformers {import_module('transformers').__version__}"


def _broken(name: str, error: Exception) -> MissingDependencyError:
    """A package that is there and fails: transformers wraps errors, the first of which is the cause."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return MissingDependencyError(f"--verify: importing {name} fails: {type(cause).__name__}: {cause}")


def logits(source: ModelSource, task: EncodedTask, start: int | None, adapter: Adapter | None = None) -> list[Float32]:
    """transformers' logits (S, V) at the labels of each text of a task, of a model in float32.

    start: the token before the first label, for encoder-decoders; None: the text is. adapter: is added to its weights.
    Raises CheckpointError where transformers cannot compute them.
    """
    import torch

    try:
        model = _model(source)
        with torch.no_grad():
            _add(adapter, model)
            return [_logits(model, *pair, start) for pair in zip(task.sources, task.labels, strict=True)]
    except (EdgeLorahubError, MemoryError):
        raise
    except Exception as error:
        raise CheckpointError(
            f"{source.path}: not verified, as transformers fails: {type(error).__name__}: {error}"
        ) from error


def _add(adapter: Adapter | None, model: Any) -> None:
    import torch

    for layer, lora in () if adapter is None else adapter.loras():
        model.get_submodule(layer).weight += torch.from_numpy(lora.scaled_b()) @ torch.from_numpy(lora.a)


def _logits(model: Any, ids: Ids, labels: Ids, start: int | None) -> Float32:
    import torch

    if start is None:
        output = model(input_ids=torch.tensor(np.concatenate([ids, labels[:-1]]))[None])
    else:
        shifted = np.append(start, labels[:-1])
        output = model(input_ids=torch.tensor(ids)[None], decoder_input_ids=torch.tensor(shifted)[None])
    result: Float32 = output.logits[0, -len(labels) :].numpy()
    return result


def _model(source: ModelSource) -> Any:
    """transformers' model in float32."""
    family = find_family(source.config, source.config_path)
    model = _t5(source) if family.architecture == ENCODER_DECODER else _decoder(source)
    return model.float().eval()


def _decoder(source: ModelSource) -> Any:
    from transformers import AutoModelForCausalLM

    if source.path.is_file():
        return AutoModelForCausalLM.from_pretrained(source.path.parent, gguf_file=source.path.name, **LOCAL)
    with model_files(source.path) as files:
        return AutoModelForCausalLM.from_pretrained(files, **LOCAL, **MODEL)


def _t5(source: ModelSource) -> Any:
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, __version__

    with model_files(source.path) as files:
        settings = AutoConfig.from_pretrained(files, **LOCAL)
    with source.open() as tensors, warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)  # the export gave them
        config = read_t5_config(source.config, source.config_path)
        embeddings = find_embeddings(config, tensors)
        # transformers 4 scales what a tied head reads, and no other
        known = embeddings.head is None if embeddings.scaled else HEAD in tensors
    if int(__version__.partition(".")[0]) < 5:
        if not known or embeddings.embedding == HEAD:
            raise SettingsError(
                f"{source.path}: transformers {__version__} reads such an embedding or head in another way than "
                "transformers 5; --verify this checkpoint with that"
            )
        # it would tie every head that transformers 5 saved
        if settings.tie_word_embeddings != embeddings.scaled:
            warnings.warn(
                f"{source.path}: compared with transformers {__version__} with tie_word_embeddings "
                f"{str(embeddings.scaled).lower()}, by the tensors that are in the file, and not "
                f"{str(settings.tie_word_embeddings).lower()} as config.json has it",
                EdgeLorahubWarning,
                stacklevel=3,
            )
        settings.tie_word_embeddings = embeddings.scaled
    with model_files(source.path) as files:
        return AutoModelForSeq2SeqLM.from_pretrained(files, config=settings, **LOCAL, **MODEL)
