"""What a search takes of an earlier adapter: its weights to begin with, and what the search for it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import SettingsError, warn

if TYPE_CHECKING:
    from ..bundle.manifest import Manifest
    from ..bundle.prompt import Prompt
    from ..learning.settings import Settings
    from ..lora.modules import Modules
    from ..search.evaluations import Evaluations


def weights_of(
    adapter: str, settings: Settings, manifest: Manifest, modules: Modules, prompt: Prompt
) -> Mapping[str, float]:
    """The weights by module in an adapter's record, which is compared with the bundle, the modules and the prompt."""
    from ..composition.prompt_record import warn_of_prompt_other_than
    from ..composition.record_check import warn_of_other_bundle, warn_of_other_modules
    from ..composition.record_file import OldRecordError, read_record
    from ..lora.loading import load_module
    from ..search.settings import CMA

    if settings.optimizer != CMA:
        raise SettingsError(f"--warm-start is for --optimizer {CMA}, not {settings.optimizer}")
    module = load_module(adapter)
    try:
        record = read_record(module)
    except OldRecordError as error:
        raise SettingsError(f"{error}; adapt again to have weights to start from") from error
    if record is None:
        raise SettingsError(f"{adapter}: no record of weights to start from; name an adapter that `adapt` has saved")
    warn_of_other_bundle(module.name, module.sha256, record, manifest)
    warn_of_other_modules(module.name, record, modules)
    warn_of_prompt_other_than(module.name, record, prompt)
    composition = record.settings.composition
    if composition != settings.chosen_composition:
        warn(
            f"{adapter}: its weights were found in {composition} composition, and mean something else in "
            f"{settings.chosen_composition}"
        )
    return record.weights


def seen_by(reuse: str | None, warm_start: str | None, settings: Settings, prompt: Prompt) -> Evaluations | None:
    """What the search for an earlier adapter has seen; warns where that was with another prompt.

    None for no adapter, and where the search has no use for it. `weights_of` has warned of a warm start's.
    """
    from ..hub.resolve import module_folder
    from ..search.evaluations import EVALUATIONS, load_evaluations

    if reuse is None:
        # without the surrogate no candidate of it would come again
        return None if warm_start is None or not settings.assisted else load_evaluations(warm_start)
    if not settings.assisted:
        raise SettingsError("--reuse is for the surrogate, which assists --optimizer cma in exact composition")
    if not (module_folder(reuse) / EVALUATIONS).exists():
        raise SettingsError(f"{reuse}: no {EVALUATIONS} in it; name an adapter that `adapt` has saved")
    if warm_start != reuse:
        if warm_start is not None:
            warn(
                f"--reuse {reuse} is used, and not what the search for {warm_start} has seen: its weights alone are "
                "taken"
            )
        _warn_of_other_prompt(reuse, prompt)
    return load_evaluations(reuse)


def _warn_of_other_prompt(adapter: str, prompt: Prompt) -> None:
    from ..composition.prompt_record import warn_of_prompt_other_than
    from ..composition.record_file import OldRecordError, read_record
    from ..lora.loading import load_module

    module = load_module(adapter)
    try:
        record = read_record(module)
    except OldRecordError:  # it has no prompt to compare
        return
    if record is not None:
        warn_of_prompt_other_than(module.name, record, prompt)
