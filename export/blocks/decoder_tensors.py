"""Which tensors of a checkpoint a decoder-only model is made of, in any of the layouts in which they are saved."""

from __future__ import annotations

from edge_lorahub.bundle.manifest import EMBEDDING
from edge_lorahub.errors import CheckpointError
from edge_lorahub.tensors.safetensors_file import Float32

from ..source.model_source import Tensors
from .decoder_config import DecoderConfig


class DecoderTensors:
    """A checkpoint's tensors under the names of the whole model, and the embedding as `bundle.manifest.EMBEDDING`.

    head: the path of the head, None where it is the embedding.
    """

    def __init__(self, config: DecoderConfig, checkpoint: Tensors) -> None:
        """Raises CheckpointError where there is no embedding, or config.json and the file differ about the head."""
        self._checkpoint = checkpoint
        self._names = config.names
        self._embedding = f"{config.names.prefix}.{config.names.embedding}.weight"
        # a file of the model without its head has names without the prefix
        self._bare = self._embedding not in checkpoint and self._without_prefix(self._embedding) in checkpoint
        if self._saved(self._embedding) not in checkpoint:
            raise self._no_embedding()
        self.head = self._find_head(config)

    def read(self, name: str, shape: tuple[int, ...]) -> Float32:
        """One tensor as float32, by its name in the whole model."""
        return self._checkpoint.read(self._saved(self._embedding if name == EMBEDDING else name), shape)

    def _saved(self, name: str) -> str:
        return self._without_prefix(name) if self._bare else name

    def _without_prefix(self, name: str) -> str:
        return name.removeprefix(f"{self._names.prefix}.")

    def _find_head(self, config: DecoderConfig) -> str | None:
        """The file decides where config.json says nothing; where it says something, both must agree."""
        checkpoint, name = self._checkpoint, f"{self._names.head}.weight"
        if name not in checkpoint:
            if config.tied is False:
                raise CheckpointError(
                    f"{checkpoint.folder}: tensor {name} is missing, and config.json says that the head is not the "
                    "embedding (tie_word_embeddings); is the checkpoint complete?"
                )
            return None
        if config.tied is False:
            return self._names.head
        if checkpoint.equal(self._saved(self._embedding), name):
            return None
        if config.tied or config.tied_by_default:
            raise CheckpointError(
                f"{checkpoint.folder}: tensor {name} differs from the embedding, but config.json says that they are "
                "one (tie_word_embeddings); versions of transformers differ in which they take, so write false there, "
                "or remove the tensor"
            )
        return self._names.head

    def _no_embedding(self) -> CheckpointError:
        wanted, folder = self._embedding, self._checkpoint.folder
        ends = (wanted, self._without_prefix(wanted))
        found = next((name for name in self._checkpoint.names for end in ends if name.endswith(f".{end}")), None)
        hint = "is the checkpoint complete?"
        if found is not None:
            prefix = next(found.removesuffix(end) for end in ends if found.endswith(f".{end}"))
            hint = f"names begin with {prefix!r}, as a wrapper's do: save the model that is inside it"
        return CheckpointError(f"{folder}: no embedding: tensor {wanted} is not there; {hint}")
