"""Tensors that other programs name in ways that say too little: refused by name, with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_lorahub import Modules
from edge_lorahub.errors import EdgeLorahubError

KOHYA = "kohya's naming, in which a layer's dots are underscores"
NAMES = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight": KOHYA,
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight": KOHYA,
    "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha": KOHYA,
    "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight": KOHYA,
    "model.layers.0.self_attn.q_proj.lora_up.weight": KOHYA,
    "unet.down_blocks.0.attn1.processor.to_q_lora.down.weight": "diffusers' own naming",
    "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight": "diffusers' own naming",
    "lora_unet_mid_block_attn1_to_k.hada_w1_a": "LyCORIS, which is no plain LoRA",
    "lora_unet_mid_block_attn1_to_k.lokr_w1": "LyCORIS, which is no plain LoRA",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("alone", [True, False])
def test_they_are_refused(name: str, alone: bool, tmp_path: Path) -> None:
    """As the file that they usually are, and in a PEFT folder."""
    folder = tmp_path / "module"
    folder.mkdir()
    file = folder / ("mine.safetensors" if alone else "adapter_model.safetensors")
    save_file({name: np.ones((2, 2), np.float32)}, file)
    if not alone:
        settings = {"peft_type": "LORA", "r": 2, "target_modules": ["q"]}
        (folder / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(EdgeLorahubError, match=NAMES[name]) as caught:
        Modules.load(file if alone else folder)
    assert name in str(caught.value)


def test_peft_names_alone_are_no_module(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file({"base_model.model.q.lora_A.weight": np.ones((2, 2), np.float32)}, file)
    with pytest.raises(EdgeLorahubError, match=r"x\.safetensors: a file, where a folder was expected"):
        Modules.load(file)
