"""adapter_model.bin is read without torch: what torch.save writes, and what is damaged or is no state dict."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import FALSE, NONE, archive, call, mapping, name, number, program, state_dict, storage, tensor, text

from edge_lorahub.errors import ModuleFileError
from edge_lorahub.tensors.torch_zip import read_state_dict

A = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
FLOATS = {"0": A.tobytes()}
PLAIN = tensor(storage("FloatStorage", "0", 12), (3, 4))


@pytest.fixture
def bin_file(tmp_path: Path) -> Path:
    return tmp_path / "adapter_model.bin"


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(ModuleFileError) as error:
        read_state_dict(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_state_dict_comes_back_in_its_order_and_bit_for_bit(bin_file: Path) -> None:
    tensors = {"second": A, "first": np.array([[np.pi]], np.float32), "third": np.zeros((0, 4), np.float32)}
    found = read_state_dict(state_dict(bin_file, tensors))
    assert list(found) == list(tensors)
    for key, array in tensors.items():
        assert found[key].dtype == np.float32
        assert found[key].shape == array.shape
        assert found[key].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("FloatStorage", A.astype("<f4").tobytes()),
        ("HalfStorage", A.astype("<f2").tobytes()),
        ("DoubleStorage", A.astype("<f8").tobytes()),
        # bfloat16 is the upper half of a float32
        ("BFloat16Storage", (A.view(np.uint32) >> 16).astype("<u2").tobytes()),
    ],
)
def test_every_floating_type_becomes_float32(bin_file: Path, kind: str, data: bytes) -> None:
    archive(bin_file, program(mapping({"x": tensor(storage(kind, "0", 12), (3, 4))})), {"0": data})
    found = read_state_dict(bin_file)["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, A)


def test_offsets_strides_and_shared_storages(bin_file: Path) -> None:
    where = storage("FloatStorage", "0", 12)
    entries = {
        "row": tensor(where, (4,), offset=4),
        "transposed": tensor(where, (4, 3), (1, 4)),
        "column": tensor(where, (3,), (4,), offset=1),
        "corner": tensor(where, (2, 2), (4, 1), offset=6),
        "scalar": tensor(where, (), offset=11),
    }
    found = read_state_dict(archive(bin_file, program(mapping(entries)), FLOATS))
    np.testing.assert_array_equal(found["row"], A[1])
    np.testing.assert_array_equal(found["transposed"], A.T)
    np.testing.assert_array_equal(found["column"], A[:, 1])
    np.testing.assert_array_equal(found["corner"], A[1:, 2:])
    assert found["scalar"] == A[2, 3]
    assert all(array.flags.c_contiguous for array in found.values())


def test_parameters_and_the_older_rebuilder_are_read_too(bin_file: Path) -> None:
    hooks = call(name("collections", "OrderedDict"))
    parameter = call(name("torch._utils", "_rebuild_parameter"), PLAIN, FALSE, hooks)
    where = storage("FloatStorage", "0", 12)
    old = call(name("torch._utils", "_rebuild_tensor"), where, number(0), b"K\x0c\x85", b"K\x01\x85")
    found = read_state_dict(archive(bin_file, program(mapping({"p": parameter, "old": old})), FLOATS))
    np.testing.assert_array_equal(found["p"], A)
    np.testing.assert_array_equal(found["old"], A.ravel())


def test_a_plain_dict_is_a_state_dict_too(bin_file: Path) -> None:
    archive(bin_file, program(b"}" + text("x") + PLAIN + b"s"), FLOATS)
    np.testing.assert_array_equal(read_state_dict(bin_file)["x"], A)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (tensor(storage("FloatStorage", "0", 12), (3, 4), offset=1), "tensor x reaches past its storage"),
        (tensor(storage("FloatStorage", "0", 12), (2, 2), (11, 2)), "tensor x reaches past its storage"),
        (tensor(storage("FloatStorage", "0", 12), (1,), offset=12), "tensor x reaches past its storage"),
        (tensor(storage("FloatStorage", "0", 12), (4, 4), (0, 1)), "tensor x is larger than its storage"),
        (tensor(storage("FloatStorage", "0", 12), (1 << 40, 1 << 40), (0, 0)), "tensor x is larger than its storage"),
        (tensor(storage("FloatStorage", "0", 12), (3,), offset=-1), "impossible shape"),
        (tensor(storage("FloatStorage", "0", 12), (3,), (-1,), offset=5), "impossible shape"),
        (tensor(storage("FloatStorage", "0", 12), (-1, 4), (4, 1)), "impossible shape"),
        (tensor(storage("FloatStorage", "0", 12), (1 << 62,), (1,)), "impossible shape"),
        (tensor(storage("FloatStorage", "0", 12), (3, 4), (1,)), "impossible shape"),
        (tensor(NONE, (3, 4)), "without a storage"),
        (tensor(storage("FloatStorage", "7", 12), (3, 4)), "storage 7 is not in the archive"),
        (tensor(storage("LongStorage", "0", 6), (6,)), "tensor x is a LongStorage, not floating point"),
        (number(3), "entry 'x' is not a tensor"),
        (mapping({"y": PLAIN}), "entry 'x' is not a tensor"),
        (storage("FloatStorage", "0", 12), "entry 'x' is not a tensor"),
        (name("torch", "FloatStorage"), "entry 'x' is not a tensor"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(bin_file: Path, body: bytes, message: str) -> None:
    assert message in refusal(archive(bin_file, program(mapping({"x": body})), FLOATS))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (PLAIN, "not a state dict"),
        (number(5), "holds a int, not a state dict"),
        (b"}" + number(1) + PLAIN + b"s", "entry 1 is not a tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(bin_file: Path, body: bytes, message: str) -> None:
    assert message in refusal(archive(bin_file, program(body), FLOATS))


def test_a_compressed_storage_is_refused(bin_file: Path) -> None:
    archive(bin_file, program(mapping({"x": PLAIN})), FLOATS, zipfile.ZIP_DEFLATED)
    assert "data/0 is compressed" in refusal(bin_file)


def test_a_storage_shorter_than_it_should_be_is_refused(bin_file: Path) -> None:
    archive(bin_file, program(mapping({"x": PLAIN})), {"0": A.tobytes()[:-4]})
    assert "tensor x" in refusal(bin_file)
    archive(bin_file, program(mapping({"x": PLAIN})), {"0": A.tobytes()[:-1]})
    assert "damaged" in refusal(bin_file)


def test_two_pickles_are_refused(bin_file: Path) -> None:
    state_dict(bin_file, {"x": A})
    with zipfile.ZipFile(bin_file, "a") as file:
        file.writestr("other/data.pkl", program(mapping({"x": PLAIN})))
    assert "no single data.pkl" in refusal(bin_file)


def test_two_storages_of_one_key_are_refused(bin_file: Path) -> None:
    state_dict(bin_file, {"x": A})
    with zipfile.ZipFile(bin_file, "a") as file:
        file.writestr("other/data/0", A.tobytes())
    assert "storage 0" in refusal(bin_file)


def test_a_zip_without_a_pickle_is_refused(bin_file: Path) -> None:
    with zipfile.ZipFile(bin_file, "w") as file:
        file.writestr("readme.txt", "hello")
    assert "no single data.pkl" in refusal(bin_file)


def test_a_big_endian_file_is_refused(bin_file: Path) -> None:
    with zipfile.ZipFile(bin_file, "w") as file:
        file.writestr("a/data.pkl", program(mapping({"x": PLAIN})))
        file.writestr("a/byteorder", "big")
        file.writestr("a/data/0", A.byteswap().tobytes())
    assert "big-endian" in refusal(bin_file)


def test_the_format_before_torch_1_6_is_refused_with_a_hint(bin_file: Path) -> None:
    # torch.save(..., _use_new_zipfile_serialization=False) starts with these three pickles
    legacy = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    bin_file.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in legacy))
    message = refusal(bin_file)
    assert "saved before torch 1.6" in message
    assert "save it again" in message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", b"\x80\x02}q\x00."])
def test_what_is_no_zip_is_refused(bin_file: Path, content: bytes) -> None:
    bin_file.write_bytes(content)
    assert "not in torch's zip format" in refusal(bin_file)


def test_an_lfs_pointer_is_told_from_damage(bin_file: Path) -> None:
    bin_file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    assert "a Git LFS pointer" in refusal(bin_file)


def read_or_refuse(path: Path) -> None:
    """Arrays or one error that names the file; anything else that is raised fails the test."""
    found, message = {}, str(path)
    try:
        found = read_state_dict(path)
    except ModuleFileError as error:
        message = str(error)
    assert str(path) in message
    assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in found.values())


FUZZ = settings(max_examples=300, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
FLIPS = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(1, 255)), max_size=3)


def damaged(data: bytes, flips: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for position, mask in flips:
        changed[position % len(changed)] ^= mask
    return bytes(changed[: max(0, len(changed) - cut)])


@FUZZ
@given(flips=FLIPS, cut=st.one_of(st.just(0), st.integers(0, 2000)))
def test_a_damaged_archive_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.bin"
    state_dict(path, {"x": A, "y": A[0]})
    path.write_bytes(damaged(path.read_bytes(), flips, cut))
    read_or_refuse(path)


@FUZZ
@given(flips=FLIPS, cut=st.one_of(st.just(0), st.integers(0, 300)))
def test_a_damaged_pickle_in_a_sound_archive_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int
) -> None:
    pickled = damaged(program(mapping({"x": PLAIN})), flips, cut)
    read_or_refuse(archive(tmp_path_factory.getbasetemp() / "fuzzed-pickle.bin", pickled, FLOATS))
