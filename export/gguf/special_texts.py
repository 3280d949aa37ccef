"""Tokens that are special by their texts, as llama.cpp of 2026 has them: the types in a file are not always right."""

# They end a turn or a text, and are control tokens whatever their type in the file.
ENDS = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "[e~[",
]
# Of other architectures: llama.cpp takes them for special ones whatever their type.
OTHERS = [
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<turn|>",
    "<|tool_response>",
    "<|channel|>",
    "<|message|>",
    "<|start|>",
    "<|constrain|>",
]
# For filling in the middle of code, by the keys that give their ids. Where a file has none of a group's keys, one of
# the group that is in the vocabulary is a control token.
MIDDLE = {
    ("fim_pre_token_id", "prefix_token_id"): [
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<\uff5cfim\u2581begin\uff5c>",
        "<PRE>",
        "\u2581<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ],
    ("fim_suf_token_id", "suffix_token_id"): [
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<\uff5cfim\u2581hole\uff5c>",
        "<SUF>",
        "\u2581<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ],
    ("fim_mid_token_id", "middle_token_id"): [
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<\uff5cfim\u2581end\uff5c>",
        "<MID>",
        "\u2581<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ],
    ("fim_pad_token_id",): [
        "<|fim_pad|>",
        "<fim-pad>",
        "<fim_pad>",
        "<PAD>",
        "[PAD]",
    ],
    ("fim_rep_token_id",): [
        "<|fim_repo|>",
        "<|repo_name|>",
        "<fim-repo>",
        "<REPO>",
        "<reponame>",
    ],
    ("fim_sep_token_id",): [
        "<|file_sep|>",
    ],
}
