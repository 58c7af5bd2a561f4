"""Files with random content are loaded, or refused by an error that names the file, the field or the tensor.

The examples are the same in every run (`derandomize`). Memory is limited while an example runs: an allocation beyond
the limit is a MemoryError, which no property allows.
"""

import json
import resource
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from tiny import FAMILIES, make_model, model_class, number_tokenizer
from triptych.configuration import TriptychBaseConfig
from triptych.tokenization import load_tokenizers

GIBIBYTE = 2**30
few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

NUMBERS = st.one_of(
    st.integers(-5, 200),
    st.sampled_from([2**20, 2**31 - 1, 2**31, 10**12, 10**30, -(10**12), 10**400]),
    st.floats(),
    st.sampled_from([0.5, 1e-300, 1e308]),
)
WORDS = st.one_of(
    st.text(max_size=8), st.sampled_from(["full", "rotary", "../x", "/etc/passwd", "__class__", "eager"])
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
VALUES = st.recursive(
    SCALARS, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(WORDS, v, max_size=3)), max_leaves=6
)
FIELDS = sorted({name for family in FAMILIES for name in model_class(family).config_class().to_dict()})
FIELDS += ["id2label", "label2id", "num_labels", "auto_map", "quantization_config", "torch_dtype", "per_layer_config"]
FIELDS += ["transformers_weights", "attn_implementation", "decoder_overrides", "tokenizer_class", "custom_pipelines"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The content of the files of a model of each family, with a tokenizer."""
    contents: dict[str, dict[str, bytes]] = {}
    for family in FAMILIES:
        directory = tmp_path_factory.mktemp(family)
        make_model(family).save_pretrained(directory, code=False)
        number_tokenizer().save_pretrained(directory)
        contents[family] = {file.name: file.read_bytes() for file in directory.iterdir()}
    return contents


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


@contextmanager
def within_bounds(seconds: float = 10) -> Iterator[None]:
    """Limits the memory that this process may take beside what it has, and the time."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, began = resource.getrlimit(resource.RLIMIT_AS), time.process_time()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + GIBIBYTE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - began < seconds


def check(load: Any, directory: Path, *names: str) -> None:
    """The property: it loads, or an error of a known kind names the directory, a file of it, or one of `names`."""
    with within_bounds():
        try:
            load(directory)
        except (ValueError, OSError) as error:
            if not any(name in str(error) for name in (str(directory), *names)):
                raise AssertionError("the error names neither file nor field") from error


@few
@given(family=st.sampled_from([*FAMILIES]), changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
def test_any_values_of_fields(family, changes, saved, tmp_path):
    config = json.loads(saved[family]["config.json"])
    content = json.dumps(config | changes).encode()
    directory = write(tmp_path, saved[family] | {"config.json": content})
    check(model_class(family).from_pretrained, directory, *changes)


@few
@given(changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=2))
def test_any_values_of_fields_by_an_auto_class(changes, saved, tmp_path):
    """AutoConfig knows no file, and its errors of fields are those of huggingface_hub."""
    changes = {name: value for name, value in changes.items() if name != "model_type"}
    content = json.dumps(json.loads(saved["decoder"]["config.json"]) | changes).encode()
    directory = write(tmp_path, {"config.json": content})
    with within_bounds():
        try:
            assert isinstance(AutoConfig.from_pretrained(directory, trust_remote_code=False), TriptychBaseConfig)
        except Exception as error:
            if not any(name in str(error) for name in (str(directory), *changes)):
                raise AssertionError("the error names neither file nor field") from error


@few
@given(
    name=st.sampled_from(["config.json", "generation_config.json", "model.safetensors"]),
    start=st.integers(0, 4000),
    junk=st.binary(max_size=40),
    cut=st.booleans(),
)
def test_any_bytes_in_a_file_of_a_model(name, start, junk, cut, saved, tmp_path):
    content = saved["decoder"][name]
    start %= len(content)
    changed = content[:start] + junk + (b"" if cut else content[start + len(junk) :])
    directory = write(tmp_path, saved["decoder"] | {name: changed})
    # A byte in the middle can change one name of a field or of a tensor into another, which is then reported missing.
    check(model_class("decoder").from_pretrained, directory, "size", "must be", "'")


HEADER_VALUES = st.one_of(
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "I64", "F8_E4M3", "BOOL", "X9", "", 5]),
            "shape": st.lists(st.sampled_from([0, 1, 2, 8, 2**31, 2**60, -1]), max_size=4),
            "data_offsets": st.lists(st.sampled_from([0, 4, 8, 64, 2**40, 2**63, -4]), min_size=1, max_size=3),
        }
    ),
    VALUES,
)


@few
@given(
    entries=st.dictionaries(
        st.sampled_from(["__metadata__", "lm_head.weight", "model.embed_tokens.weight", "x" * 1000, ""]),
        HEADER_VALUES,
        max_size=3,
    ),
    length=st.sampled_from([None, 0, 1, 2**20, 2**60, 2**64 - 1]),
    keeps_others=st.booleans(),
)
def test_any_header_of_weights(entries, length, keeps_others, saved, tmp_path):
    content = saved["decoder"]["model.safetensors"]
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size]) if keeps_others else {}
    raw = json.dumps(header | entries).encode()
    changed = struct.pack("<Q", len(raw) if length is None else length) + raw + content[8 + size :]
    check(model_class("decoder").from_pretrained, write(tmp_path, saved["decoder"] | {"model.safetensors": changed}))


TOKENIZER_PARTS = ["added_tokens", "decoder", "model", "normalizer", "padding", "post_processor", "pre_tokenizer"]


@few
@given(changes=st.dictionaries(st.sampled_from([*TOKENIZER_PARTS, "truncation", "version"]), VALUES, max_size=2))
def test_any_parts_of_a_tokenizer(changes, saved, tmp_path):
    tokenizer = json.dumps(json.loads(saved["decoder"]["tokenizer.json"]) | changes).encode()
    check(load_tokenizers, write(tmp_path, saved["decoder"] | {"tokenizer.json": tokenizer}))


SETTINGS = ["added_tokens_decoder", "chat_template", "extra_special_tokens", "model_input_names", "model_max_length"]
SETTINGS += ["pad_token", "padding_side", "tokenizer_class", "unk_token", "auto_map", "fast_tokenizer_files"]


@few
@given(changes=st.dictionaries(st.sampled_from(SETTINGS), VALUES, max_size=2))
def test_any_settings_of_a_tokenizer(changes, saved, tmp_path):
    content = json.dumps(json.loads(saved["decoder"]["tokenizer_config.json"]) | changes).encode()
    check(load_tokenizers, write(tmp_path, saved["decoder"] | {"tokenizer_config.json": content}))


@few
@given(
    name=st.sampled_from(["tokenizer.json", "tokenizer_config.json"]),
    start=st.integers(0, 4000),
    junk=st.binary(max_size=40),
)
def test_any_bytes_in_a_file_of_a_tokenizer(name, start, junk, saved, tmp_path):
    content = saved["decoder"][name]
    start %= len(content)
    changed = content[:start] + junk + content[start + len(junk) :]
    check(load_tokenizers, write(tmp_path, saved["decoder"] | {name: changed}))
