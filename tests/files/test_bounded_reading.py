"""Small files that would take much memory or time: refused, or read, within bounds."""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bounded import bounded
from charsmaps import charsmap
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers
from torch_files import archive, mapping, number, program, state_dict, storage, tensor

from edge_lorahub.errors import EdgeLorahubError, ExamplesError, ModuleFileError
from edge_lorahub.examples.example import read_examples
from edge_lorahub.files.outputs import read_json
from edge_lorahub.lora.layer_patterns import Endings, check_patterns, whole
from edge_lorahub.lora.loading import load_module
from edge_lorahub.lora.name_patterns import Budget, Name
from edge_lorahub.tensors.torch_zip import read_state_dict

READ_BIN = "edge_lorahub.tensors.torch_zip.read_state_dict(path)"
READ_EXAMPLES = "edge_lorahub.read_examples(path)"
READ_MODULE = "edge_lorahub.Modules.load(path)"


@pytest.fixture
def bin_file(tmp_path: Path) -> Path:
    return tmp_path / "adapter_model.bin"


# Patterns for which Python's own matcher has more ways than can be tried, and one that goes through all names.
ENDLESS = ("(a+)+b", "((((.*)*)*)*)*0", "(.*)*.*.*.*.*.*x", "(([a-z.]|[a-z])+)+!", "(((.?){1000}){1000}){1000}0")


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize("pattern", ENDLESS)
def test_no_pattern_of_a_module_takes_forever(
    module_folders: list[Path], tmp_path: Path, field: str, pattern: str
) -> None:
    folder = tmp_path / "module"
    shutil.copytree(module_folders[0], folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings[field] = {pattern: 4} if field.endswith("_pattern") else pattern
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    assert bounded(READ_MODULE, folder).startswith(("read", "refused"))


def _module(folder: Path, layers: list[str], **settings: object) -> Path:
    """A module of rank 1 with those layers."""
    from safetensors.numpy import save_file

    one = np.ones((1, 1), np.float32)
    save_file(
        {f"base_model.model.{layer}.lora_{side}.weight": one for layer in layers for side in "AB"},
        folder / "adapter_model.safetensors",
    )
    fields = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q", "v"], **settings}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    return folder


_LAYERS = [
    f"{stack}.block.{block}.layer.{place}.{attention}.{kind}"
    for stack in ("encoder", "decoder")
    for block in range(36)
    for place, attention in ((0, "SelfAttention"), (1, "EncDecAttention"))
    for kind in "qv"
]
_LONG = [f"{'a' * 400}{number:03}.q" for number in range(60)]
_LETTERS = [chr(0x4E00 + place) for place in range(5000)]


@pytest.mark.parametrize("form", ["{}", r"^{}", r"({})", r"{}$", r"(?:{})"])
def test_a_pattern_for_every_layer_is_read_again_and_again(tmp_path: Path, form: str) -> None:
    """Each layer of 288 is named in both mappings, as some tools write them."""
    patterns = {form.format(layer.replace(".", r"\.")): number for number, layer in enumerate(_LAYERS, 1)}
    module = load_module(_module(tmp_path, _LAYERS, rank_pattern=dict.fromkeys(patterns, 1), alpha_pattern=patterns))
    assert module.scales == {layer: number for number, layer in enumerate(_LAYERS, 1)}
    for _ in range(30):
        assert [lora.scale for _, lora in module.loras()] == list(module.scales.values())


@pytest.mark.parametrize(
    ("layers", "settings"),
    [
        (["q"], {"rank_pattern": {f"(a{number}f)": 1 for number in range(100_000)}}),
        (_LONG, {"rank_pattern": {f"(a{number}f)": 1 for number in range(2000)}}),
        (_LONG, {"rank_pattern": {"[a-z.]?" * 280 + "z": 2}, "target_modules": "[a-z.0-9]?" * 180 + ".*q"}),
        (_LONG, {"rank_pattern": {f"[{''.join(_LETTERS[n : n + 1900])}]": 2 for n in range(25)}}),
        (_LONG, {"rank_pattern": {"".join(f"[a-z{one}]?" for one in _LETTERS[n : n + 200]): 2 for n in range(20)}}),
        (_LONG, {"alpha_pattern": {"(?=a*(?=a*z))*" * 100: 2}}),
        (_LONG, {"exclude_modules": ".*(?=.*(?=.*(?=.*z)))"}),
        (_LONG, {"rank_pattern": {"." * 400 + str(number): 2 for number in range(30_000)}}),
        (
            [f"{'a.' * 200}{number:03}.q" for number in range(4000)],
            {"layers_to_transform": [1], "layers_pattern": ["a", "b"] * 8},
        ),
    ],
    ids=["parsing", "patterns", "literals", "classes", "many classes", "looks", "looks within", "dots", "lists"],
)
def test_patterns_cost_no_more_than_they_may(tmp_path: Path, layers: list[str], settings: dict[str, object]) -> None:
    folder = _module(tmp_path, layers, **settings)
    size = sum(file.stat().st_size for file in folder.iterdir())
    end = bounded(READ_MODULE, folder, megabytes=500 + 4 * size // 1_000_000)
    assert end.startswith(("read", "refused"))


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?i)Q", "(?P<x>a)(?P=x)", "(?<=a|bc)d", "(" * 5000 + ")" * 5000])
def test_patterns_that_cannot_be_bounded_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ModuleFileError, match="name the layers instead"):
        check_patterns([pattern], tmp_path)


_ATOMS = st.sampled_from(
    [*"abq", r"\.", ".", "[ab]", "[^a]", "[a-q_]", r"\d", r"\D", r"\w", r"\b", "^", "$", "(?=a)", "(?!b)", "(?<=a)",
     "(?<!ab)", ""]
)  # fmt: skip
_PATTERNS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,2}", "{,2}"])).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    ),
    max_leaves=5,
)


@given(_PATTERNS, st.text("abq.1_", min_size=1, max_size=7))
def test_patterns_match_as_in_python(pattern: str, name: str) -> None:
    import re

    path = Path("adapter_config.json")
    text = Name(name, Budget(path))
    assert whole(pattern, path)(text) == (re.fullmatch(pattern, name) is not None)
    assert (Endings([pattern], path).first(text) is not None) == _is_ending(pattern, name)


def _is_ending(pattern: str, name: str) -> bool:
    """peft's `get_pattern_key`."""
    import re

    return re.match(rf"(.*\.)?({pattern})$", name) is not None


_NAMES = st.lists(st.sampled_from([*"ab1_.", r"\.", r"\-", "-"]), min_size=1, max_size=5).map("".join)


@given(st.lists(st.one_of(_NAMES, _PATTERNS), max_size=6), st.text("ab.1_-\n", min_size=1, max_size=7))
def test_the_first_of_some_patterns_is_pefts(patterns: list[str], name: str) -> None:
    """Also among names, which are looked up, and in which a dot that is not escaped is any character."""
    path = Path("adapter_config.json")
    found = Endings(patterns, path).first(Name(name, Budget(path)))
    assert found == next((pattern for pattern in patterns if _is_ending(pattern, name)), None)


def test_many_views_of_one_storage(bin_file: Path) -> None:
    # 2 MB of float32 under 4,000 names, each of them all of it, or every number twice
    count = 500_000
    where = storage("FloatStorage", "0", count)
    entries = {f"x{i}": tensor(where, (count,)) for i in range(4000)}
    archive(bin_file, program(mapping(entries)), {"0": bytes(4 * count)})
    assert "more than 4 times as large as the file" in bounded(READ_BIN, bin_file)


def test_two_names_of_one_tensor_are_read(bin_file: Path) -> None:
    data = np.arange(12, dtype=np.float16)
    where = storage("HalfStorage", "0", 12)
    archive(bin_file, program(mapping({"x": tensor(where, (3, 4)), "y": tensor(where, (4, 3))})), {"0": data.tobytes()})
    assert read_state_dict(bin_file)["y"].tolist() == data.reshape(4, 3).tolist()


def test_entries_within_entries(bin_file: Path) -> None:
    """A zip of which every entry is all that lies behind its header, the headers of the others among it."""
    count, size = 1500, 2_000_000
    names = [f"adapter_model/data/{i:04}" for i in range(count)]
    header = 30 + len(names[0])
    body = b""
    directory = b""
    length = header * count + size
    for index, name in enumerate(names):
        inner = length - header * (index + 1)
        fields = (20, 0, 0, 0, 0, 0, inner, inner, len(name), 0)
        body += struct.pack("<4s5H3I2H", b"PK\3\4", *fields) + name.encode()
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, *fields, 0, 0, 0, 0, header * index) + name.encode()
    body += bytes(size)
    entries = {f"x{i}": tensor(storage("FloatStorage", f"{i:04}", 1), (250_000,)) for i in range(count)}
    pickled = program(mapping(entries))
    name = "adapter_model/data.pkl"
    fields = (20, 0, 0, 0, 0, 0, len(pickled), len(pickled), len(name), 0)
    directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, *fields, 0, 0, 0, 0, len(body)) + name.encode()
    body += struct.pack("<4s5H3I2H", b"PK\3\4", *fields) + name.encode() + pickled
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count + 1, count + 1, len(directory), len(body), 0)
    bin_file.write_bytes(body + directory + end)
    assert zipfile.is_zipfile(bin_file)
    assert "within another entry" in bounded(READ_BIN, bin_file)


def test_forty_thousand_storages(bin_file: Path) -> None:
    tensors = {f"x{i}": np.ones(1, np.float32) for i in range(40_000)}
    assert "no single data.pkl of a sensible size" in bounded(READ_BIN, state_dict(bin_file, tensors))
    few = {f"x{i}": np.ones(1, np.float32) for i in range(8_000)}
    assert bounded(READ_BIN, state_dict(bin_file, few)) == "read"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"N" * 15_000_000, "no single data.pkl of a sensible size"),
        (b"N" * 3_000_000, "opcodes"),
        (b"(" * 3_000_000, "opcodes"),
        (b"}" + number(7 << 1000) + b"q\0" + b"0" + b"h\0Ns" * 100_000, "larger than any tensor"),
    ],
    ids=["15 MB", "3 million", "marks", "large numbers"],
)
def test_megabytes_of_opcodes(bin_file: Path, body: bytes, words: str) -> None:
    assert words in bounded(READ_BIN, archive(bin_file, program(body)))


def test_a_hundred_thousand_entries(bin_file: Path) -> None:
    with zipfile.ZipFile(bin_file, "w") as file:
        file.writestr("adapter_model/data.pkl", program(mapping({})))
        for index in range(100_000):
            file.writestr(f"{index}", b"")
    assert "its directory" in bounded(READ_BIN, bin_file)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lists.jsonl", "[" + "[]," * 20_000_000 + "[]]"),
        ("lists.json", "[" + "[]," * 20_000_000 + "[]]"),
        ("lines.jsonl", "[]\n" * 20_000_000),
        ("inner.jsonl", '{"input": "a", "output": "b", "x": [' + "[]," * 20_000_000 + "[]]}"),
        ("empty.jsonl", "\n" * 59_000_000),
        ("columns.csv", "input,output" + "," * 59_000_000),
        ("cells.csv", "input,output" + ",x" * 1000 + ("\n" + "," * 1001) * 50_000),
        ("words.txt", "a" * 59_000_000),
    ],
)
def test_examples_that_are_none(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert bounded(READ_EXAMPLES, path, megabytes=500 + 4 * len(text) // 1_000_000).startswith("refused")


def test_many_examples_take_a_small_multiple_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text(
        "".join(f'{{"input": "what is number {i}, please?", "output": "it is {i}"}}\n' for i in range(100_000))
    )
    assert bounded(READ_EXAMPLES, path, megabytes=100 + 6 * path.stat().st_size // 1_000_000) == "read"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("device", ["fifo", "/dev/zero"])
def test_pipes_and_devices_where_files_are_expected(
    module_folders: list[Path], bundle: Path, checkpoint: Path, tmp_path: Path, device: str
) -> None:
    """In every folder that is read, every file in turn. Nothing waits for a writer that never comes."""
    for source, code in (
        (module_folders[0], READ_MODULE),
        (bundle, "edge_lorahub.load(path, threads=1)"),
        (checkpoint, "from edge_lorahub.export import export; export(path, path.parent / 'out')"),
    ):
        for file in sorted(path.name for path in source.iterdir()):
            folder = tmp_path / "folder"
            shutil.copytree(source, folder)
            (folder / file).unlink()
            if device == "fifo":
                os.mkfifo(folder / file)
            else:
                (folder / file).symlink_to(device)
            end = bounded(code, folder, megabytes=2000)
            assert end.startswith("refused"), (source, file, end)
            shutil.rmtree(folder)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_a_device_is_no_file_of_examples() -> None:
    for device in ("/dev/zero", "/dev/null"):
        if Path(device).exists():
            with pytest.raises(ExamplesError, match="a device"):
                read_examples(device)


def test_json_of_nothing_but_values(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"x": [' + "[]," * 3_000_000 + "[]]}")
    with pytest.raises(ModuleFileError, match="million values"):
        read_json(path, ModuleFileError)
    path.write_text(" " * 20_000_000)
    with pytest.raises(ModuleFileError, match="larger than 16 MB"):
        read_json(path, ModuleFileError)


def test_a_shard_of_many_tensors_is_opened_at_once(tmp_path: Path) -> None:
    count = 60_000
    header = {f"t{i}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i in range(count)}
    text = json.dumps(header).encode()
    shard = tmp_path / "model-00001-of-00001.safetensors"
    shard.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * count))
    index = {"weight_map": {f"t{i}": shard.name for i in range(count)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    code = "from edge_lorahub.export.source.checkpoint import Checkpoint; Checkpoint(path).__enter__()"
    assert bounded(code, tmp_path) == "read"


def test_names_that_are_too_many_or_too_long(module_folders: list[Path], tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = tmp_path / "module"
    shutil.copytree(module_folders[0], folder)
    one = np.ones((1, 1), np.float32)
    for tensors, words in (
        ({f"base_model.model.{i}.lora_A.weight": one for i in range(10_001)}, "10001 tensors"),
        ({f"base_model.model.{'x' * 1000}.lora_A.weight": one}, "a tensor's name of"),
    ):
        save_file(tensors, folder / "adapter_model.safetensors")
        with pytest.raises(EdgeLorahubError, match=words):
            load_module(folder)


def _tokenizer(**parts: object) -> str:
    return json.dumps(
        {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "model": {"type": "WordLevel", "vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"},
            **parts,
        }
    )  # fmt: skip


def _split(pattern: str) -> dict[str, object]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def _replace(pattern: dict[str, str], content: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _rules(longest: int) -> dict[str, object]:
    rules = charsmap("a", b"b" * longest + b"\0")
    assert normalizers.Precompiled(rules).normalize_str("aa") == "b" * 2 * longest
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(rules).decode()}


def _template(references: int, ids: int, **other: object) -> dict[str, object]:
    one = {"SpecialToken": {"id": "a", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    special = {"a": {"id": "a", "ids": [0] * ids, "tokens": ["a"] * ids}}
    single = [text, *[one] * references]
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special, **other}


LOAD_TOKENIZER = (
    "edge_lorahub.tokenizer.tokenizer_file.load_tokenizer(path, edge_lorahub.errors.BundleError)"
    ".encode('a' * 5000 + 'b')"
)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"pre_tokenizer": _split("(a+)+$")}, "repeats a group"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [_split("(a|a)*b")]}}, "repeats a group"),
        ({"pre_tokenizer": _split("a*a*a*a*c")}, "too many repetitions"),
        ({"pre_tokenizer": _split("a?" * 40 + "a" * 40)}, "too many ways to match"),
        ({"pre_tokenizer": _split("(a|a)" * 30 + "c")}, "too many ways to match"),
        ({"normalizer": _replace({"Regex": "(a*)*c"}, "")}, "repeats a group"),
        ({"decoder": _replace({"Regex": "(a*)*c"}, "")}, "repeats a group"),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [_replace({"String": "a"}, "aa")] * 40}},
            "a text up to 1.1e+12 times as long",
        ),
        ({"normalizer": _replace({"String": "a"}, "b" * 100_000)}, "times as long"),
        ({"normalizer": {"type": "Prepend", "prepend": "b" * 100_000}}, "times as long"),
        ({"normalizer": _rules(20_000)}, "its rules make 20000 bytes of one character"),
        ({"normalizer": {"type": "Sequence", "normalizers": [_rules(64)] * 3}}, "times as long"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 30}}, "times as long"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [_BYTES] * 30}}, "times as long"),
        ({"post_processor": _template(2000, 2000)}, "its template adds 4000000 tokens to a text"),
        ({"post_processor": _template(17, 1)}, "its template adds 17 tokens to a text"),
        ({"post_processor": {"type": "Sequence", "processors": [_template(10, 1)] * 2}}, "its template adds 20 tokens"),
        ({"post_processor": _template(1, 1, pair=[{"Sequence": {"id": "A", "type_id": 0}}] * 2)}, "repeats a text"),
        ({"pre_tokenizer": _split("a+a+b")}, "too many repetitions"),
        ({"pre_tokenizer": _split(r"\w+\d*b")}, "too many repetitions"),
        ({"pre_tokenizer": _split("a{1,9}{1,9}{1,9}b")}, "repeats a repetition"),
        ({"pre_tokenizer": _split("a{1,9}a{1,9}b")}, "too many ways to match"),
        ({"pre_tokenizer": _split("(?#[)(a+)+b(?#])")}, "a group of a kind that is not known"),
        ({"pre_tokenizer": _split(r"(?<n>a\g<n>?a?)b")}, "a group of a kind that is not known"),
        ({"pre_tokenizer": _split(r"(a)\1b")}, "which is not known"),
        ({"pre_tokenizer": _split("(?x: a + ) + b")}, "a group of a kind that is not known"),
        ({"pre_tokenizer": _split("(?=a*b)a")}, "looks around with a repetition"),
        ({"pre_tokenizer": _split("|".join(f"a+{letter}" for letter in "bcdefghijk"))}, "pass over a text 10 times"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [_split("a+b")] * 9}},
            "pass over a text 9 times",
        ),
    ],
)
def test_a_tokenizer_that_would_work_forever(tmp_path: Path, parts: dict[str, object], words: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(_tokenizer(**parts))
    assert words in bounded(LOAD_TOKENIZER, path)


@pytest.mark.parametrize(
    "parts",
    [
        {"padding": {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                     "pad_type_id": 0, "pad_token": "a"}},
        {"normalizer": _replace({"Regex": " {2,}"}, " ")},
        {"pre_tokenizer": _split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
            r"|\s+(?!\S)|\s+"
        )},
        {"pre_tokenizer": _split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")},
        {"pre_tokenizer": _split(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            _split(r"\p{N}{1,3}"), _split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
            _split(
                r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            _BYTES,
        ]}},
        {"pre_tokenizer": _split(" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+")},
        {"normalizer": _rules(33), "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        ]}},
        {"post_processor": _template(2, 1)},
    ],
    ids=[
        "padding to 10^9", "T5's spaces", "Llama 3", "GPT-2", "GPT-4o", "DeepSeek", "BLOOM", "T5", "a start and an end",
    ],
)  # fmt: skip
def test_a_tokenizer_that_people_use_is_read(tmp_path: Path, parts: dict[str, object]) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(_tokenizer(**parts))
    assert bounded(LOAD_TOKENIZER, path) == "read"
