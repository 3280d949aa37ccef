"""A stored module as a PEFT folder with a model card: for a folder here, or for the Hugging Face Hub."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..composition.record import Record
from ..composition.record_file import write_record
from ..errors import HubError, HubUnreachableError, ModuleFileError, OutputExistsError, SettingsError
from ..files.kinds import HUB_ID
from ..files.outputs import digests_of, output_folder, read_json
from ..files.user_path import user_path
from ..hub.entry import CARD, CONFIG, KEPT_FILES, LICENSE, RECORD, TENSORS, Entry
from ..lora.base_names import public_name
from ..lora.module import Module
from ..lora.peft_files import write_peft
from .card import Published, common_license
from .lineage import card_of, license_of, parts_of, record_of
from .module_hub import Hub

# What --force may overwrite: the record tells an adapter of ours from somebody's module.
_NAMES = (RECORD, CONFIG, TENSORS[0], CARD, LICENSE)
_LICENSE = re.compile(r"[\w.+-]{1,64}")


def is_hub_id(to: str) -> bool:
    """Whether a place is meant to be on the Hub: owner/name, where there is no folder `owner`."""
    return "/" in to and HUB_ID.fullmatch(to) is not None and not user_path(to).parent.exists()


def publish(
    hub: Hub, name: str, to: str, *, license: str | None = None, force: bool = False, private: bool = False
) -> str:
    """Publishes a stored module; gives the place that it can be loaded from: a folder, or an address on the Hub.

    license: in the place of the one that all its parts have. Raises StoreError, OutputExistsError, NotWritableError,
    OutputFailedError, SettingsError or HubError.
    """
    entry = hub.get(name)
    if license is not None and not _LICENSE.fullmatch(license):
        raise SettingsError(f"a license must be one of the Hub's names, as apache-2.0, got {license!r:.80}")
    if not is_hub_id(to):
        if private:
            raise SettingsError("private is for the Hub; leave it out for a folder")
        if not to:
            raise SettingsError("a place is needed: a folder, or owner/name on the Hub")
        if force:
            _refuse_module(user_path(to))
        with output_folder(user_path(to), force=force, names=_NAMES) as work:
            _write(hub, entry, work, f"./{user_path(to).name}", license)
        return to
    with tempfile.TemporaryDirectory(prefix="edge-lorahub-") as folder:
        _write(hub, entry, Path(folder), to, license)
        return _upload(Path(folder), to, force=force, private=private)


def _refuse_module(out: Path) -> None:
    """Only an adapter's folder has a record, by which it is known again as something that this command wrote."""
    if (out / CONFIG).is_file() and not (out / RECORD).exists():
        raise OutputExistsError(
            f"{out}: a module without {RECORD}, so nothing tells whether this command wrote it or somebody trained "
            "it; --force replaces adapters alone: remove the folder yourself, or choose another"
        )


def _write(hub: Hub, entry: Entry, out: Path, place: str, license: str | None) -> None:
    """Writes the folder's files. What only this machine knows, paths of the base and of the parts, is left out."""
    (module,) = hub.load([entry])
    record, parts = record_of(module), parts_of(hub, entry)
    _write_tensors(module, out)
    if (entry.folder / LICENSE).is_file():
        shutil.copyfile(entry.folder / LICENSE, out / LICENSE)
    card = Published(
        name=entry.name,
        place=place,
        base_model=entry.base_model,
        task_type=entry.task_type,
        ranks=entry.ranks,
        layers=f"{entry.layers} layers ({entry.layer_kinds})",
        sha256=entry.sha256,
        tags=entry.tags,
        license=license or license_of(entry) or common_license(parts),
        record=record,
        parts=parts,
        files=digests_of(out, (CONFIG, TENSORS[0], LICENSE)),
        earlier=card_of(entry),
    )
    (out / CARD).write_text(card.text(), encoding="utf-8")
    if record is not None:
        write_record(out, _public(record), module.sha256, digests_of(out, _NAMES[1:]))


def _write_tensors(module: Module, out: Path) -> None:
    if module.file.name != TENSORS[0]:
        # a pickle runs what is in it wherever it is loaded
        write_peft(out, module.base_model, dict(module.loras()), module.task_type)
        return
    shutil.copyfile(module.file, out / TENSORS[0])
    settings = read_json(module.folder / CONFIG, ModuleFileError)
    said = module.base_model
    if said == public_name(said):
        shutil.copyfile(module.folder / CONFIG, out / CONFIG)
    else:
        settings["base_model_name_or_path"] = public_name(said)
        (out / CONFIG).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _public(record: Record) -> Record:
    """The record with last parts in the place of paths."""
    modules = tuple(replace(each, folder=re.split(r"[/\\]", each.folder)[-1]) for each in record.modules)
    model = {**record.bundle.model}
    if isinstance(model.get("base_model"), str):
        model["base_model"] = public_name(str(model["base_model"]))
    return replace(
        record,
        modules=modules,
        base_model=public_name(record.base_model),
        bundle=replace(record.bundle, model=model),
    )


def _upload(folder: Path, repository: str, *, force: bool, private: bool) -> str:
    """One commit with all files, so that nobody finds half of them."""
    from huggingface_hub import HfApi

    api: Any = HfApi()
    found: list[str] = []
    try:
        if api.repo_exists(repository):
            found = [name for name in api.list_repo_files(repository) if name != ".gitattributes"]
            if found and not force:
                raise OutputExistsError(
                    f"{repository}: exists on the Hub already, and has {found[0]}; choose another name, or add a "
                    "commit to it with --force (force=True in Python)"
                )
        api.create_repo(repository, private=private or None, exist_ok=True)
        # a record or a pickle of what was there before would be taken for this module's
        stale = [name for name in KEPT_FILES if name in found and not (folder / name).exists()]
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Publish with edge-lorahub", delete_patterns=stale
        )
    except OutputExistsError:
        raise
    except Exception as error:  # of several HTTP libraries
        raise _hub_error(error, repository) from error
    return f"https://huggingface.co/{repository}"


def _hub_error(error: Exception, repository: str) -> HubError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403) or type(error).__name__ == "LocalTokenNotFoundError":
        return HubError(
            f"{repository}: the Hub does not let you write there; log in with `hf auth login`, or set HF_TOKEN to a "
            "token that may write"
        )
    if status is None:
        return HubUnreachableError(f"{repository}: the Hub cannot be reached, so nothing was published ({error})")
    return HubError(f"{repository}: the Hub refused it ({error})")
