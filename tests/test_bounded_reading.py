"""Small files that would take much memory or time: refused, or read, within bounds."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bounded import bounded
from hypothesis import given
from hypothesis import strategies as st
from torch_files import archive, mapping, number, program, state_dict, storage, tensor

from edge_lorahub.errors import EdgeLorahubError, ExamplesError, ModuleFileError
from edge_lorahub.examples.example import read_examples
from edge_lorahub.files.outputs import read_json
from edge_lorahub.lora.name_patterns import NameMatcher
from edge_lorahub.lora.peft_files import load_module
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


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?i)Q", "(?P<x>a)(?P=x)", "(?<=a|bc)d", "(" * 5000 + ")" * 5000])
def test_patterns_that_cannot_be_bounded_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ModuleFileError, match="name the layers instead"):
        NameMatcher(tmp_path).check(pattern)


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

    matcher = NameMatcher(Path("adapter_config.json"))
    assert matcher.whole(pattern, name) == (re.fullmatch(pattern, name) is not None)
    assert matcher.ending(pattern, name) == (re.match(rf"(.*\.)?({pattern})$", name) is not None)


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


def _replace(pattern: dict[str, str], content: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": pattern, "content": content}


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
        ({"pre_tokenizer": _split("a?" * 40 + "a" * 40)}, "too many optional parts"),
        ({"pre_tokenizer": _split("(a|a)" * 30 + "c")}, "too many groups"),
        ({"normalizer": _replace({"Regex": "(a*)*c"}, "")}, "repeats a group"),
        ({"decoder": _replace({"Regex": "(a*)*c"}, "")}, "repeats a group"),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [_replace({"String": "a"}, "aa")] * 40}},
            "a text up to 1.1e+12 times as long",
        ),
        ({"normalizer": _replace({"String": "a"}, "b" * 100_000)}, "times as long"),
        ({"normalizer": {"type": "Prepend", "prepend": "b" * 100_000}}, "times as long"),
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
    ],
    ids=["padding to 10^9", "T5", "Llama 3", "GPT-2"],
)  # fmt: skip
def test_a_tokenizer_that_people_use_is_read(tmp_path: Path, parts: dict[str, object]) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(_tokenizer(**parts))
    assert bounded(LOAD_TOKENIZER, path) == "read"
