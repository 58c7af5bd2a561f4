"""Every option of transformers' `from_pretrained` is honoured by `from_hf`, or refused by name before any work."""

import ast
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from transformers import (
    AutoConfig,
    BertConfig,
    BertForSequenceClassification,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MarianConfig,
    MarianMTModel,
    PreTrainedModel,
)

import triptych
from triptych.conversion import CannotExpress, options
from triptych.conversion.directories import convert_directory

TINY = {"vocab_size": 53, "num_attention_heads": 2, "max_position_embeddings": 20, "num_hidden_layers": 2}
BERT = {**TINY, "hidden_size": 16, "intermediate_size": 24, "num_labels": 3}
IDS = torch.tensor([[5, 6, 7, 8]])
CONVERT = Path(__file__).parents[2] / "scripts" / "convert.py"


@pytest.fixture(scope="module")
def theirs() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**BERT)).eval()


@pytest.fixture(scope="module")
def bert(theirs, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("bert")
    theirs.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("gpt2")
    GPT2LMHeadModel(GPT2Config(**TINY, n_embd=16, bos_token_id=1, eos_token_id=2)).save_pretrained(directory)
    return directory


def options_of_transformers() -> set[str]:
    """The names that `from_pretrained` takes, or takes from its keyword arguments."""
    tree = ast.parse(inspect.cleandoc(inspect.getsource(PreTrainedModel.from_pretrained)).split("\n", 1)[1])
    popped = {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "kwargs.pop"
        and isinstance(call.args[0], ast.Constant)
    }
    ignored = {
        name.value
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For) and isinstance(loop.iter, ast.List)
        for name in loop.iter.elts
        if isinstance(name, ast.Constant)
    }
    named = inspect.signature(PreTrainedModel.from_pretrained).parameters
    return {*named, *popped, *ignored} - {"cls", "pretrained_model_name_or_path", "model_args", "kwargs"}


def test_every_option_of_transformers_has_its_place():
    own = {"config", "output_loading_info", "torch_dtype"}
    known = {*options.FILES, *options.WEIGHTS, *options.RESULT, *options.REFUSED, *own}
    found = {name for name in options_of_transformers() if not name.startswith("_") or name == "_fast_init"}
    assert len(found) > 30
    assert found <= known, found - known


@pytest.mark.parametrize("name", options.REFUSED)
def test_what_is_refused_is_named_before_any_work(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name}='x' is no option of a conversion; {options.REFUSED[name][:9]}"):
        triptych.from_hf(tmp_path / "nowhere", **{name: "x"})


def test_what_is_switched_off_is_not_refused(bert):
    assert triptych.from_hf(bert, trust_remote_code=False, quantization_config=None)


def test_weights_that_could_run_code_are_refused(tmp_path):
    with pytest.raises(ValueError, match="weights_only=False would run code"):
        triptych.from_hf(tmp_path / "nowhere", weights_only=False)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"num_lables": 5}, "did you mean 'num_labels'"),
        ({"dtpye": "auto"}, "did you mean 'dtype'"),
        ({"zzz": 1}, "BertConfig$"),
    ],
)
def test_what_is_unknown_is_named(bert, given, hint):
    with pytest.raises(ValueError, match=f"'{next(iter(given))}' is neither.*{hint}"):
        triptych.from_hf(bert, **given)


@pytest.mark.parametrize("number", [0, -1, 10**12, "3", 2.5, True, None])
def test_what_is_no_number_of_labels_is_refused(bert, number):
    with pytest.raises(ValueError, match=f"num_labels={number!r} must be a whole number from 1 to 1000000$"):
        triptych.from_hf(bert, num_labels=number)


def test_fields_of_the_configuration(bert):
    ours = triptych.from_hf(bert, hidden_dropout_prob=0.3, classifier_dropout=0.4, id2label={0: "a", 1: "b", 2: "c"})
    assert (ours.config.dropout, ours.dropout.p, ours.config.id2label[2]) == (0.3, 0.4, "c")
    assert ours.model.layers[0].dropout.p == 0.3


def test_another_number_of_labels(bert, theirs):
    with pytest.raises(RuntimeError, match=r"size mismatch|ignore_mismatched_sizes"):
        triptych.from_hf(bert, num_labels=5)
    ours, report = triptych.from_hf(bert, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True)
    assert ours.config.num_labels == ours(IDS).logits.shape[-1] == 5
    assert {name for name, *_ in report["mismatched_keys"]} == {"classifier.weight", "classifier.bias"}
    assert torch.equal(ours.model.embed_tokens.weight, theirs.bert.embeddings.word_embeddings.weight)
    back = triptych.to_hf(ours)
    assert (back.config.num_labels, back.classifier.out_features) == (5, 5)


def test_the_report_of_loading(bert, theirs):
    ours, report = triptych.from_hf(bert, output_loading_info=True)
    assert set(report) == set(BertForSequenceClassification.from_pretrained(bert, output_loading_info=True)[1])
    assert not any(report.values())
    assert torch.allclose(ours(IDS).logits, theirs(IDS).logits, atol=1e-6)
    assert triptych.from_hf(bert, output_loading_info=False).config.num_labels == 3


@pytest.mark.parametrize("as_path", [True, False])
def test_another_configuration(bert, theirs, tmp_path, as_path):
    config = BertConfig(**{**BERT, "layer_norm_eps": 1e-3})
    before = config.to_dict()
    config.save_pretrained(tmp_path)
    given = tmp_path if as_path else config
    ours = triptych.from_hf(bert, config=given, num_labels=3)
    assert ours.config.norm_eps == 1e-3
    assert config.to_dict() == before
    expected = BertForSequenceClassification.from_pretrained(bert, config=config)
    assert torch.allclose(ours(IDS).logits, expected(IDS).logits, atol=1e-6)
    with pytest.raises(ValueError, match=r"config is a GPT2Config, but .* holds BertConfig"):
        triptych.from_hf(bert, config=GPT2Config())


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("value", ["bfloat16", torch.bfloat16])
def test_precision(bert, name, value):
    assert triptych.from_hf(bert, **{name: value}).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["attn_implementation"])
def test_the_kernel_is_that_of_the_result(bert, name):
    assert triptych.from_hf(bert, **{name: "eager"}).config._attn_implementation == "eager"
    with pytest.raises(ValueError, match="no_such_kernel"):
        triptych.from_hf(bert, **{name: "no_such_kernel"})


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}, {"": "disk"}])
def test_devices_are_those_of_the_result(bert, theirs, tmp_path, device_map):
    ours = triptych.from_hf(bert, device_map=device_map, offload_folder=tmp_path)
    on_disk = device_map == {"": "disk"}
    assert {p.device.type for p in ours.parameters()} == {"meta" if on_disk else "cpu"}
    assert torch.allclose(ours(IDS).logits, theirs(IDS).logits, atol=1e-6)
    if on_disk:
        with pytest.raises(ValueError, match=r"weights that are not in memory.*load it without device_map"):
            triptych.to_hf(ours)
        offloaded = BertForSequenceClassification.from_pretrained(bert, device_map=device_map, offload_folder=tmp_path)
        with pytest.raises(ValueError, match=r"weights that are not in memory.*load it without device_map"):
            triptych.from_hf(offloaded)


def test_files_elsewhere(bert, theirs, tmp_path):
    shutil.copytree(bert, tmp_path / "inner" / "model")
    with pytest.raises((OSError, ValueError)):
        triptych.from_hf(tmp_path / "inner")
    ours = triptych.from_hf(tmp_path / "inner", subfolder="model", use_safetensors=True)
    assert torch.allclose(ours(IDS).logits, theirs(IDS).logits, atol=1e-6)
    (tmp_path / "inner" / "model" / "model.safetensors").rename(
        tmp_path / "inner" / "model" / "model.fp16.safetensors"
    )
    with pytest.raises(OSError, match="model"):
        triptych.from_hf(tmp_path / "inner" / "model")
    assert triptych.from_hf(tmp_path / "inner" / "model", variant="fp16").config.num_labels == 3


def test_options_of_generation(gpt2):
    ours = triptych.from_hf(gpt2, generation_config=GenerationConfig(num_beams=3, max_new_tokens=7))
    assert (ours.generation_config.num_beams, ours.generation_config.max_new_tokens) == (3, 7)


def test_quantised_checkpoints_are_refused(bert, tmp_path):
    """Said from config.json alone; and of a model in memory."""
    shutil.copytree(bert, tmp_path / "bert")
    path = tmp_path / "bert" / "config.json"
    quantization = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": quantization}))
    with pytest.raises(CannotExpress, match=r"quantization_config \(bitsandbytes\).*before it is quantised"):
        triptych.from_hf(tmp_path / "bert")
    live = BertForSequenceClassification(BertConfig(**BERT))
    live.config.quantization_config = quantization
    with pytest.raises(CannotExpress, match="before it is quantised"):
        triptych.from_hf(live)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_directories_in_another_precision(gpt2, tmp_path, name):
    convert_directory(gpt2, tmp_path / "ours", **{name: "float16"})
    assert AutoConfig.from_pretrained(tmp_path / "ours").dtype == torch.float16
    convert_directory(tmp_path / "ours", tmp_path / "back", to="hf", **{name: "bfloat16"})
    assert GPT2LMHeadModel.from_pretrained(tmp_path / "back").dtype == torch.bfloat16


@pytest.mark.parametrize("to", ["triptych", "hf"])
@pytest.mark.parametrize("given", [{name: "x"} for name in sorted(options.RESULT)] + [{"output_loading_info": True}])
def test_what_means_nothing_for_files_is_refused(tmp_path, given, to):
    with pytest.raises(ValueError, match=f"{next(iter(given))}=.* is no option of a conversion from files to files"):
        convert_directory(tmp_path / "nowhere", tmp_path / "there", to=to, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_the_script_converts_to_another_precision(gpt2, tmp_path, name):
    command = [sys.executable, str(CONVERT), str(gpt2), str(tmp_path / "ours"), f"--{name}", "bfloat16"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert triptych.TriptychDecoderForCausalLM.from_pretrained(tmp_path / "ours").dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertModel"])
def test_labels_ask_for_a_classification(tmp_path, name):
    """The class is that of the Auto class, the body is the checkpoint's, and the head is new."""
    theirs = getattr(transformers, name)(BertConfig(**{**BERT, "num_labels": 2}))
    theirs.save_pretrained(tmp_path)
    ours, report = triptych.from_hf(tmp_path, num_labels=3, output_loading_info=True)
    assert type(ours) is triptych.TriptychEncoderForSequenceClassification
    assert ours(IDS).logits.shape[-1] == ours.config.num_labels == 3
    assert torch.equal(ours.model.embed_tokens.weight, theirs.base_model.embeddings.word_embeddings.weight)
    assert {"classifier.weight", "classifier.bias"} <= set(report["missing_keys"])
    assert ours.classifier.weight.std() > 0
    assert type(triptych.from_hf(tmp_path)).__name__.removeprefix("TriptychEncoder") == name.removeprefix("Bert")
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    lost = next(name for name in tensors if name.endswith("layer.0.output.dense.weight"))
    del tensors[lost]
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of BertForSequenceClassification: bert\.encoder"):
        triptych.from_hf(tmp_path, num_labels=3)


def test_labels_where_no_class_has_them(tmp_path):
    sizes = {"vocab_size": 20, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    tokens = {"decoder_attention_heads": 2, "pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 1}
    MarianMTModel(MarianConfig(**sizes, **tokens)).save_pretrained(tmp_path)
    with pytest.raises(CannotExpress, match="num_labels=3: MarianMTModel has no labels, and"):
        triptych.from_hf(tmp_path, num_labels=3)
