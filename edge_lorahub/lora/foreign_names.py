"""Names of tensors that other programs give to a LoRA, which say too little to be read: refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import ModuleFileError
from ..tensors.safetensors_file import open_tensors

# kohya's sd-scripts write a layer's dots as underscores: lora_unet_down_blocks_0_..., lora_te1_text_model_....
_KOHYA = re.compile(r"lora_(unet|te|transformer|prior|llm|text_encoder)\d*_.+|.+\.lora_(down|up|mid)\.weight|.+\.alpha")
# diffusers' own of before it took peft's.
_DIFFUSERS = re.compile(r".+[._]lora(_linear_layer)?\.(down|up)\.weight|.*\.processor\..+")
# lycoris': other products than B A.
_LYCORIS = re.compile(r".+\.(hada_w[12]_[ab]|lokr_w[12](_[ab])?|oft_blocks|oft_diag|on_input|diff|diff_b|w_norm)")
_REMEDY = "save it with peft, or convert it to peft's names (base_model.model.LAYER.lora_A.weight) where it was made"


def foreign(name: str) -> str | None:
    """What kind of a tensor it is by its name, and what to do; None where no other program is known to write it."""
    if _LYCORIS.fullmatch(name):
        return "LyCORIS, which is no plain LoRA; train a LoRA of linear layers with peft"
    if _KOHYA.fullmatch(name):
        return (
            "kohya's naming, in which a layer's dots are underscores, so that its layers are not sure, as for Stable "
            f"Diffusion's U-Net and text encoders; {_REMEDY}"
        )
    if _DIFFUSERS.fullmatch(name):
        return f"diffusers' own naming, for image models; {_REMEDY}"
    return None


def first_foreign(names: Iterable[str]) -> tuple[str, str] | None:
    """The first name of another program's, and what is said of it."""
    return next(((name, what) for name in names if (what := foreign(name)) is not None), None)


def refuse_tensor_file(path: Path) -> None:
    """Refuses a file of tensors whose names are another program's; of others says nothing. Raises ModuleFileError."""
    if path.suffix != ".safetensors":
        return
    with open_tensors(path, ModuleFileError) as tensors:
        found = first_foreign(tensors.names)
    if found is not None:
        raise ModuleFileError(f"{path}: tensor {found[0]:.200} is not supported: {found[1]}")
