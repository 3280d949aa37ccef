"""transformers' model of a checkpoint, for the comparison of an export with it."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edge_lorahub.errors import (
    CheckpointError,
    EdgeLorahubError,
    EdgeLorahubWarning,
    MissingDependencyError,
    SettingsError,
)
from edge_lorahub.runtime.tokens import Ids
from edge_lorahub.tensors.safetensors_file import Float32

from ..families.t5.config import read_t5_config
from ..families.t5.embeddings import HEAD, find_embeddings
from ..source.checkpoint import Checkpoint

_EXTRA = "pip install 'edge-lorahub[optimum]'"


def check_installed() -> str:
    """What is compared with, by name and version. Raises MissingDependencyError, which says why it cannot be used."""
    for name in ("torch", "transformers", "transformers.models.t5.modeling_t5", "transformers.models.mt5.modeling_mt5"):
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


def logits(folder: Path, ids: Ids, mask: Ids, labels: Ids, start: int) -> Float32:
    """transformers' logits (B, S, V) of a checkpoint in float32, for int64 texts (B, T), their mask and labels (B, S).

    start: the token before the first label. Raises CheckpointError where transformers cannot compute them.
    """
    import torch

    shifted = np.full_like(labels, start)
    shifted[:, 1:] = labels[:, :-1]
    texts = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": shifted}
    try:
        with torch.no_grad():
            output = _model(folder)(**{name: torch.tensor(array) for name, array in texts.items()})
    except (EdgeLorahubError, MemoryError):
        raise
    except Exception as error:
        raise CheckpointError(
            f"{folder}: not verified, as transformers fails: {type(error).__name__}: {error}"
        ) from error
    result: Float32 = output.logits.numpy()
    return result


def _model(folder: Path) -> Any:
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, __version__

    settings = AutoConfig.from_pretrained(folder)
    config = read_t5_config(folder)
    with Checkpoint(folder) as checkpoint, warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)  # the export gave them
        embeddings = find_embeddings(config, checkpoint)
        # transformers 4 scales what a tied head reads, and no other
        known = embeddings.head is None if embeddings.scaled else HEAD in checkpoint
    if int(__version__.partition(".")[0]) < 5:
        if not known or embeddings.embedding == HEAD:
            raise SettingsError(
                f"{folder}: transformers {__version__} reads such an embedding or head in another way than "
                "transformers 5; --verify this checkpoint with that"
            )
        # it would tie every head that transformers 5 saved
        settings.tie_word_embeddings = embeddings.scaled
    return AutoModelForSeq2SeqLM.from_pretrained(folder, config=settings).float().eval()
