"""An adapter: what composing modules gives. A PEFT folder on disk, with a sidecar that says how it came about."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..bundle.architectures import TASK_TYPES
from ..bundle.manifest import Manifest
from ..errors import EdgeLorahubWarning, SettingsError
from ..files.outputs import digests_of, output_folder
from ..files.user_path import user_path
from ..lora.loading import load_module
from ..lora.modules import Modules, check_fit, warn_if_baked
from ..lora.pair import Lora, identity
from ..lora.peft_config import CONFIG
from ..lora.peft_files import SAFETENSORS, write_peft
from ..messages import check_whole
from ..search.evaluations import EVALUATIONS, Evaluations
from .exact import ExactStack
from .inputs import LoraInputs, used_slots
from .kernels import truncate
from .record import Record, Truncation
from .record_check import warn_of_other_bundle
from .record_file import SIDECAR, OldRecordError, read_record, write_record

# what --force may overwrite: the sidecar tells an adapter of ours from somebody's module
ADAPTER_FILES = (SIDECAR, CONFIG, SAFETENSORS, EVALUATIONS)
# A truncation that loses more of the change than this is warned about: it may answer otherwise than was learned.
_MUCH_LOST = 0.1


@dataclass(frozen=True)
class Adapter:
    """LoRA pairs by linear layer, and how they came about: `record`, None for an adapter of other origin.

    task_type: one of `bundle.architectures.TASK_TYPES`, None: not known.

    evaluations: what the search for it has seen, to be saved beside it; `load_evaluations` reads them back.
    """

    name: str
    base_model: str
    pairs: Mapping[str, Lora]
    record: Record | None = None
    evaluations: Evaluations | None = field(default=None, repr=False, compare=False)
    task_type: str | None = None

    @property
    def shapes(self) -> Mapping[str, tuple[int, int, int]]:
        return {layer: (lora.a.shape[0], lora.a.shape[1], lora.b.shape[0]) for layer, lora in self.pairs.items()}

    @property
    def sha256(self) -> str:
        """Which adapter it is, as `Module.sha256`; computed anew each time."""
        return identity(self.loras())

    def loras(self) -> Iterable[tuple[str, Lora]]:
        return self.pairs.items()

    def inputs(self, manifest: Manifest) -> LoraInputs:
        """The graphs' inputs with this adapter in them.

        Raises ModuleMismatchError if it does not fit, and ModuleFileError for numbers that are not finite. Warns if it
        is baked into the bundle already.
        """
        check_fit(self.shapes, self.name, manifest)
        if manifest.baked:
            warn_if_baked(self.name, self.sha256, manifest)
        inputs = ExactStack.of([self], used_slots([self], manifest.slots)).inputs()
        inputs.compose(np.ones(1))
        return inputs

    @property
    def rank(self) -> int:
        """The largest rank of its layers."""
        return max(int(lora.a.shape[0]) for lora in self.pairs.values())

    def truncated(self, rank: int) -> tuple[Adapter, float]:
        """The nearest adapter of at most that rank (by SVD, in the Frobenius norm), and its error.

        The error is relative, over all layers: |delta - truncated delta| / |delta|. Warns where it is above 0.1.
        """
        check_whole("rank", rank, least=1)
        self.check()
        pairs, dropped, whole = {}, 0.0, 0.0
        for layer, lora in self.pairs.items():
            a, b, lost, total = truncate(lora.a.T, lora.scaled_b().T, rank)
            pairs[layer] = Lora(a.T, b.T, 1.0)
            dropped, whole = dropped + lost, whole + total
        error = float(np.sqrt(dropped / whole)) if whole else 0.0
        if error > _MUCH_LOST:
            warnings.warn(
                f"rank {rank} loses {error:.0%} of the adapter's change, so it may answer otherwise than the whole "
                f"adapter of rank {self.rank}; try a higher rank",
                EdgeLorahubWarning,
                stacklevel=2,
            )
        record = None if self.record is None else replace(self.record, truncation=Truncation(rank, error))
        return replace(self, pairs=pairs, record=record), error

    def check(self) -> None:
        """Raises ModuleFileError for numbers that are not finite in float32."""
        for layer, lora in self.pairs.items():
            lora.check(*(f"{self.name}: {layer}.lora_{side}" for side in "AB"))

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Writes the PEFT folder and the sidecar.

        Raises OutputExistsError, or ModuleFileError for numbers that are not finite; what is on disk stays until then.
        """
        self.check()
        with output_folder(user_path(folder), force=force, names=ADAPTER_FILES) as work:
            write_peft(work, self.base_model, self.pairs, self.task_type)
            if self.evaluations is not None:
                self.evaluations.save(work)
            if self.record is not None:
                write_record(work, self.record, self.sha256, digests_of(work, ADAPTER_FILES))


def check_adapter(adapter: object) -> None:
    """Raises SettingsError for what is neither an adapter nor None."""
    if adapter is not None and not isinstance(adapter, Adapter):
        raise SettingsError(f"an adapter must be an Adapter, got {adapter!r:.80}; load_adapter makes one of a folder")


def load_adapter(source: str | Path, manifest: Manifest | None = None) -> Adapter:
    """Reads an adapter, or any single LoRA module, from a PEFT folder or the Hub.

    With a manifest, checks that it fits that bundle, and warns where the base model has another name, or where the
    adapter was learned with another. A record without a format version is left out, with a warning. Raises
    ModuleFileError, also for a record that is damaged or newer and for matrices that are not its own,
    ModuleMismatchError, MissingPathError or HubError.
    """
    module = load_module(source)
    if manifest is not None:
        Modules([module]).check_fit(manifest)
    try:
        record = read_record(module)
    except OldRecordError as error:
        warnings.warn(
            f"{error}; it is not read, and the adapter is used as any other LoRA module",
            EdgeLorahubWarning,
            stacklevel=2,
        )
        record = None
    if manifest is not None and record is not None:
        warn_of_other_bundle(module.name, module.sha256, record, manifest)
    task_type = module.task_type if manifest is None else TASK_TYPES[manifest.architecture]
    return Adapter(module.name, module.base_model, dict(module.loras()), record, task_type=task_type)


def from_pairs(pairs: Mapping[str, Lora], manifest: Manifest, name: str, record: Record | None = None) -> Adapter:
    """An adapter for a bundle, of composed pairs; of none where every weight is 0."""
    if not pairs:
        # peft has no adapter of rank 0, so one of zeros stands for it
        first = manifest.slots[0]
        pairs = {first.name: Lora(np.zeros((1, first.d_in), np.float32), np.zeros((first.d_out, 1), np.float32), 1.0)}
    return Adapter(name, manifest.model.base_model, pairs, record, task_type=TASK_TYPES[manifest.architecture])
