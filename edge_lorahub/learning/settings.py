"""The settings of an adaptation."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..composition.stack import COMPOSITIONS
from ..errors import SettingsError
from ..files.typed_json import LARGEST_INT
from ..runtime.tokens import BATCH_TOKENS
from ..search.settings import CMA, SearchSettings

# By a field's annotation: what its value must be, and the types of those that are. True is no number here.
_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "str": ("a text", (str,)),
    "bool": ("True or False", (bool,)),
}


@dataclass(frozen=True)
class Settings(SearchSettings):
    """Everything that an adaptation depends on besides its inputs; checks itself.

    composition is "exact" (delta = sum w_i B_i A_i) or "paper" (delta = (sum w_i B_i)(sum w_i A_i)); None: exact, and
    paper with the optimizer "reference". Texts of more tokens than the limits are cut. racing: CMA-ES stops a
    candidate that cannot be among the best of its generation any more; the result is the same without it.
    batch_tokens: the most tokens, with their padding, that are evaluated at once; less takes less memory and more time.
    """

    composition: str | None = None
    max_input_tokens: int = 2048
    max_output_tokens: int = 2048
    racing: bool = True
    batch_tokens: int = BATCH_TOKENS

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_kind(field.name, str(field.type), getattr(self, field.name))
        if self.composition is not None and self.composition not in COMPOSITIONS:
            raise SettingsError(f"composition {self.composition!r} is unknown; choose {' or '.join(COMPOSITIONS)}")
        # logits answer nearly linearly to the weights in exact composition alone
        if self.surrogate and not (self.optimizer == CMA and self.chosen_composition == "exact"):
            raise SettingsError("a surrogate assists the optimizer cma in exact composition; leave one of these out")
        super().__post_init__()
        self._refuse_unused({"racing": True})
        for name, least in (("max_input_tokens", 2), ("max_output_tokens", 2), ("batch_tokens", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @property
    def chosen_composition(self) -> str:
        """The composition that is in force."""
        return self.preset.composition if self.composition is None else self.composition

    @property
    def assistable(self) -> bool:
        """Whether a surrogate could propose candidates."""
        return super().assistable and self.chosen_composition == "exact"


def _check_kind(name: str, annotation: str, value: object) -> None:
    kind = annotation.removesuffix(" | None")
    what, types = _KINDS[kind]
    if value is None and kind != annotation:
        return
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
        raise SettingsError(f"{name} must be {what}{' or None' if kind != annotation else ''}, got {value!r:.80}")
    # so that a record can hold it; its digits are not shown, as there may be too many of them
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        raise SettingsError(f"{name} must be at most 2^63 - 1")
    if types == (int, float):
        try:
            float(value)  # type: ignore[arg-type]
        except OverflowError:
            raise SettingsError(f"{name} must be a number, got a whole number that is too large for one") from None
