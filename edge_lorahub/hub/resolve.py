"""From what the user names (a local folder or a Hugging Face Hub id) to a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import HubError, HubUnreachableError, MissingPathError, SettingsError
from ..files.kinds import HUB_ID, ONNX_ADAPTER, kind_of
from ..files.user_path import user_path
from .asking import asking
from .stored_name import stored_name

_CHECKPOINT_FILES = (
    "config.json", "generation_config.json",
    "model.safetensors", "model.safetensors.index.json", "model-*.safetensors",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "additional_chat_templates/*.jinja",
    "spiece.model", "vocab.json", "merges.txt",
)  # fmt: skip
# An adapter's record is part of it: it has the prompt that the adapter is used with.
_CONFIG = ("adapter_config.json", "edge_lorahub.json")
_CARD = ("README.md", "LICENSE")
# of peft, and of mlx_lm
_TENSORS = ("adapter_model.safetensors", "adapters.safetensors")
_SAFETENSORS = (*_CONFIG, *_TENSORS)
_PICKLED = (*_CONFIG, "adapter_model.bin")


def checkpoint_folder(source: str | Path, revision: str | None = None) -> Path:
    """The local folder of a checkpoint, downloaded from the Hub if `source` is not a folder.

    Raises MissingPathError, HubError, or SettingsError for a revision of a local folder.
    """
    return _local(source, revision) or _download(str(source), revision, _CHECKPOINT_FILES)


def repository_files(repository: str, revision: str | None = None) -> list[str]:
    """The names of all files of a repository on the Hub; none where it cannot be reached."""
    from huggingface_hub import HfApi

    try:
        with asking():
            return HfApi().list_repo_files(repository, revision=revision)
    except Exception:  # noqa: BLE001  # of several HTTP libraries; what is named only makes a message better
        return []


def module_folder(source: str | Path, revision: str | None = None, *, card: bool = False) -> Path:
    """The local folder of a LoRA module, downloaded from the Hub if `source` is not a folder or an adapter file.

    adapter_model.bin is fetched only where there is no safetensors file; with `card` the model card and the license
    too. Raises what `checkpoint_folder` does, which says of a name in the local store how that is used.
    """
    try:
        return _module_folder(source, revision, card=card)
    except (HubError, MissingPathError) as error:
        stored = stored_name(source)
        if stored is None:
            raise
        raise type(error)(f"{error}; {stored}") from error


def _module_folder(source: str | Path, revision: str | None, *, card: bool) -> Path:
    local = _local(source, revision, files=(ONNX_ADAPTER,))
    if local is not None:
        return local
    more = _CARD if card else ()
    folder = _download(str(source), revision, (*_SAFETENSORS, *more))
    if not (folder / "adapter_config.json").exists():
        raise HubError(f"{source}: the Hub has no adapter_config.json there, so it is not a LoRA module")
    if any((folder / name).exists() for name in _TENSORS):
        return folder
    return _download(str(source), revision, (*_PICKLED, *more))


def _local(source: str | Path, revision: str | None, files: Sequence[str] = ()) -> Path | None:
    """files: how the names of files end that are taken as well as folders."""
    path = user_path(source)
    is_one = path.is_file() and path.suffix in files
    if is_one or (path.is_dir() and source != ""):  # an empty shell variable is not the working folder
        if revision is not None:
            raise SettingsError(
                f"{path}: a local {'file' if is_one else 'folder'}, which has no revision {revision:.80}; leave the "
                "revision out, or name the repository on the Hub"
            )
        return path
    if path.is_file():
        inside = f"; name its folder, {path.parent}" if kind_of(path.parent) else ""
        raise MissingPathError(f"{path}: a file, where a folder was expected{inside}")
    if isinstance(source, Path) or not HUB_ID.fullmatch(source):
        raise MissingPathError(f"{source or repr(source)}: no such folder, and not a Hub id (owner/name)")
    return None


def _download(repository: str, revision: str | None, files: Sequence[str]) -> Path:
    """Fetches files through huggingface_hub, so HF_HOME, HF_HUB_OFFLINE, HF_TOKEN and its cache apply."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = repository if revision is None else f"{repository} at revision {revision}"
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files)))
    except HFValidationError as error:
        raise MissingPathError(f"{repository}: no such folder, and not a Hub id ({error})") from error
    except GatedRepoError as error:
        raise HubError(f"{where}: access is restricted; accept its terms on the Hub and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise HubError(f"{repository}: no revision {revision} on the Hub") from error
    except RepositoryNotFoundError as error:
        raise HubError(f"{where}: neither a local folder nor a repository on the Hub") from error
    except LocalEntryNotFoundError as error:
        raise HubUnreachableError(
            f"{where}: not a local folder, not in the local Hub cache, and the Hub cannot be reached; "
            "check the spelling, the connection and HF_HUB_OFFLINE"
        ) from error
    except OSError as error:
        raise HubError(f"{where}: the download failed ({error})") from error
