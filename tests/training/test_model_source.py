"""Training that starts from a checkpoint: of this package, or of an architecture of transformers."""

import json

import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import triptych
from tiny import make_model, word_tokenizer, words
from triptych.tokenization import load_tokenizers, train_tokenizer
from triptych.training import LoopArguments, model_source
from triptych.training.labels import checkpoint_names
from triptych.training.model_source import choose_family, configuration_of, load_checkpoint
from triptych.training.script import train
from triptych.training.tasks.translation import TranslationArguments, TranslationTask
from triptych.training.training import Training

SIZES = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24} | SIZES
HF_CONFIGS = {
    "bert": transformers.BertConfig(**BERT),
    "roberta": transformers.RobertaConfig(**BERT),
    "distilbert": transformers.DistilBertConfig(**SIZES, dim=16, n_layers=2, n_heads=2, hidden_dim=24),
    "gpt2": transformers.GPT2Config(**SIZES, n_embd=16, n_layer=2, n_head=2, n_positions=32),
    "llama": transformers.LlamaConfig(**BERT),
    "bart": transformers.BartConfig(
        **SIZES, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=32, decoder_start_token_id=3,
    ),
}  # fmt: skip
# What was published, and the head that a user wants.
HEADS = [
    ("bert", "BertForMaskedLM", "ForMaskedLM", "TriptychEncoderForMaskedLM"),
    ("bert", "BertForMaskedLM", "ForSequenceClassification", "TriptychEncoderForSequenceClassification"),
    ("bert", "BertModel", "ForTokenClassification", "TriptychEncoderForTokenClassification"),
    ("llama", "LlamaForCausalLM", "ForSequenceClassification", "TriptychDecoderForSequenceClassification"),
    ("roberta", "RobertaForMaskedLM", "ForQuestionAnswering", "TriptychEncoderForQuestionAnswering"),
    ("distilbert", "DistilBertForMaskedLM", "ForSequenceClassification", "TriptychEncoderForSequenceClassification"),
    ("gpt2", "GPT2LMHeadModel", "ForSequenceClassification", "TriptychDecoderForSequenceClassification"),
    ("llama", "LlamaForCausalLM", "ForTokenClassification", "TriptychDecoderForTokenClassification"),
    ("bart", "BartForConditionalGeneration", "ForSequenceClassification", "TriptychForSequenceClassification"),
]
AUTO = {
    "ForMaskedLM": transformers.AutoModelForMaskedLM,
    "ForSequenceClassification": transformers.AutoModelForSequenceClassification,
    "ForTokenClassification": transformers.AutoModelForTokenClassification,
    "ForQuestionAnswering": transformers.AutoModelForQuestionAnswering,
}
CONFIG = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.1}
LOOP = {"max_steps": 4, "lr_scheduler": "constant", "warmup_steps": 0, "learning_rate": 1e-2, "optimizer": "adam"}
WORDS = ["one", "two", "three", "four", "red", "blue", "ONE", "TWO", "THREE", "FOUR", "RED", "BLUE"]
LOOP |= {"report_to": "none", "cpu_threads": 1, "cpu": True, "best_metric": "none"}


def published(kind, name, directory):
    """A tiny random checkpoint of a class of transformers."""
    torch.manual_seed(0)
    model = getattr(transformers, name)(HF_CONFIGS[kind])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(directory)
    return str(directory)


@pytest.mark.parametrize(("kind", "stored", "head", "ours"), HEADS)
def test_a_new_head_starts_as_in_transformers(kind, stored, head, ours, tmp_path):
    source = published(kind, stored, tmp_path / "hf")
    labels = {} if head in ("ForMaskedLM", "ForQuestionAnswering") else {"num_labels": 4}
    torch.manual_seed(1)
    theirs = AUTO[head].from_pretrained(source, **labels).eval()
    torch.manual_seed(1)
    model, new = load_checkpoint(source, getattr(triptych, ours), labels)
    assert type(model).__name__ == ours
    assert bool(new) == (head != "ForMaskedLM")
    assert set(new) <= dict(model.named_parameters()).keys()
    ids = torch.cat([words(2, 9, vocab_size=40), torch.full((2, 1), 3)], dim=1)  # BART pools at the end token
    expected, given = theirs(input_ids=ids), model.eval()(input_ids=ids)
    names = ("start_logits", "end_logits") if head == "ForQuestionAnswering" else ("logits",)
    for name in names:
        torch.testing.assert_close(given[name], expected[name], atol=2e-5, rtol=1e-4)


def test_a_head_that_transformers_lacks(tmp_path):
    source = published("roberta", "RobertaForMaskedLM", tmp_path / "hf")
    model, new = load_checkpoint(source, triptych.TriptychEncoderForNextSentencePrediction, {})
    stored = load_file(tmp_path / "hf" / "model.safetensors")
    assert torch.equal(
        model.state_dict()["model.embed_tokens.weight"], stored["roberta.embeddings.word_embeddings.weight"]
    )
    assert new


def test_a_head_that_calls_its_body_by_another_name(tmp_path):
    """transformers' class of Llama for question answering does not find the weights of a Llama."""
    source = published("llama", "LlamaForCausalLM", tmp_path / "hf")
    model, new = load_checkpoint(source, triptych.TriptychDecoderForQuestionAnswering, {})
    body = triptych.from_hf(source).model.state_dict()
    assert all(torch.equal(tensor, body[name]) for name, tensor in model.model.state_dict().items())
    assert new == ["qa_outputs.bias", "qa_outputs.weight"]


def test_a_head_of_ours_with_other_labels(tmp_path):
    former = make_model("TriptychEncoderForSequenceClassification")
    former.save_pretrained(tmp_path / "former")
    labels = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    model, new = load_checkpoint(str(tmp_path / "former"), type(former), labels)
    assert new == ["classifier.bias", "classifier.weight"]
    assert model.config.num_labels == 2
    for name, tensor in former.state_dict().items():
        if name not in new:
            assert torch.equal(model.state_dict()[name], tensor), name


def test_a_checkpoint_in_half_precision_is_trained_in_float32(tmp_path):
    make_model("decoder").to(torch.bfloat16).save_pretrained(tmp_path / "half")
    model, _ = load_checkpoint(str(tmp_path / "half"), triptych.TriptychDecoderForCausalLM, {})
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_fields_that_change_the_weights_are_refused(tmp_path):
    make_model("decoder").save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"intermediate_size=40: .*such as model.layers.0.*--model"):
        load_checkpoint(str(tmp_path / "model"), triptych.TriptychDecoderForCausalLM, {"intermediate_size": 40})
    model, new = load_checkpoint(str(tmp_path / "model"), triptych.TriptychDecoderForCausalLM, {"dropout": 0.4})
    assert not new
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} >= {0.4}


def test_a_damaged_body_is_refused(tmp_path):
    model = make_model("encoder")
    weights = {name: tensor for name, tensor in model.state_dict().items() if "layers.1.self_attention.q" not in name}
    model.save_pretrained(tmp_path / "model", state_dict=weights)
    with pytest.raises(
        ValueError, match=r"does not give 2 weights of TriptychEncoderForMaskedLM, such as model.layers"
    ):
        load_checkpoint(str(tmp_path / "model"), type(model), {})


def test_the_family(tmp_path):
    source = published("bert", "BertForMaskedLM", tmp_path / "hf")
    assert choose_family(source, None, ["decoder", "encoder"]) == "encoder"
    assert choose_family(None, "tiny-decoder", ["encoder", "decoder"]) == "decoder"
    assert choose_family(None, None, ["encoder", "decoder"]) == "encoder"
    with pytest.raises(
        ValueError, match="its family is encoder, but this task trains a model of the family encoder-decoder"
    ):
        choose_family(source, None, ["encoder-decoder"])
    with pytest.raises(ValueError, match="--preset tiny-decoder: its family is decoder"):
        choose_family(None, "tiny-decoder", ["encoder"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        choose_family(str(tmp_path / "nowhere"), None, ["encoder"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id2label": {"0": "no", "2": "yes"}}, "id2label has the numbers 0, 2, and not those from 0 on; complete it"),
        (
            {"id2label": 5},
            r"damaged \(id2label=5 is not an object with numbers as keys and texts as values\); remove id2label",
        ),
        ({"id2label": {"first": "a"}}, "is not an object with numbers as keys"),
        ({"num_attention_heads": "many"}, "num_attention_heads.*; correct it, or copy or download"),
    ],
)
@pytest.mark.parametrize("is_ours", [True, False])
def test_a_damaged_configuration_is_named_with_file_field_and_remedy(changes, message, is_ours, tmp_path):
    if is_ours:
        make_model("TriptychEncoderForSequenceClassification").save_pretrained(tmp_path / "a")
    else:
        published("bert", "BertForSequenceClassification", tmp_path / "a")
    file = tmp_path / "a" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ValueError, match=message) as raised:
        checkpoint_names(configuration_of(str(tmp_path / "a")))
    assert str(file) in str(raised.value)


# ---- whole runs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def training(train_file):
    def make(output_dir, config=None, loop=None, **options):
        AcceleratorState._reset_state(True)
        arguments = TranslationArguments(train_file=[str(train_file)], max_tokens=40, **options)
        return Training(
            TranslationTask(arguments, config), LoopArguments(output_dir=str(output_dir), **LOOP | (loop or {}))
        )

    return make


@pytest.fixture
def translator(training, tmp_path):
    """The directory of a trained translator."""
    new = {"preset": "tiny", "tokenizer_model": "word", "vocab_size": 50}
    training(tmp_path / "translator", CONFIG, **new).run()
    return tmp_path / "translator"


def weights_of(directory):
    return load_file(directory / "model.safetensors")


def test_a_translator_continues_with_one_option(training, translator, tmp_path):
    run = training(tmp_path / "more", model=str(translator))
    for name, tensor in weights_of(translator).items():
        assert torch.equal(run.task.model.state_dict()[name], tensor), name
    assert run.task.tokenizer.get_vocab() == load_tokenizers(translator)[0].get_vocab()
    assert f"model       {translator}: " in "\n".join(run.summary())
    assert "new weights" not in "\n".join(run.summary())
    run.run()
    assert any(not torch.equal(weights_of(translator)[name], t) for name, t in weights_of(tmp_path / "more").items())


def test_the_configuration_of_a_checkpoint_is_read_once(translator, train_file, tmp_path, monkeypatch):
    read, sources = model_source.read_config, []
    monkeypatch.setattr(model_source, "read_config", lambda source: sources.append(source) or read(source))
    words = ["--model", str(translator), "--train_file", str(train_file), "--output_dir", str(tmp_path / "more")]
    AcceleratorState._reset_state(True)
    train(
        TranslationTask,
        args=[*words, *["--dry_run", "--max_tokens", "40", "--cpu", "--cpu_threads", "1", "--report_to", "none"]],
    )
    assert sources == [str(translator)]


def test_another_vocabulary(training, translator, tmp_path):
    former = load_tokenizers(translator)[0]
    tokenizer = train_tokenizer(["two red", "blue eleven"], "word", 50)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    model = training(tmp_path / "more", model=str(translator), tokenizer=str(tmp_path / "tokenizer")).task.model
    assert model.config.vocab_size == len(tokenizer)
    rows = weights_of(translator)["model.embed_tokens.weight"]
    kept = model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("two")]
    assert torch.equal(kept, rows[former.convert_tokens_to_ids("two")])


def test_tokens_that_were_added_get_rows(training, translator, tmp_path):
    tokenizer = load_tokenizers(translator)[0]
    tokenizer.add_tokens(["<place>", "<name>"])
    tokenizer.save_pretrained(translator)
    model = training(tmp_path / "more", model=str(translator)).task.model
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)


@pytest.mark.integrations("peft")
def test_adapters_are_trained_alone_resumed_and_merged(training, translator, tmp_path):
    options = {"model": str(translator), "lora_rank": 2, "lora_dropout": 0.1}
    run = training(tmp_path / "whole", loop={"save_steps": 2}, **options)
    trained = [name for name, parameter in run.task.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert "of them trained)" in "\n".join(run.summary())
    run.run()

    training(tmp_path / "parts", loop={"save_steps": 2, "max_steps": 2}, **options).run()
    again = training(tmp_path / "parts", loop={"save_steps": 2, "resume": True}, **options)
    again.run()
    whole, parts, former = (weights_of(d) for d in (tmp_path / "whole", tmp_path / "parts", translator))
    assert whole.keys() == former.keys()  # plain weights, which load without peft
    for name, tensor in whole.items():
        assert torch.equal(parts[name], tensor), name
        assert torch.equal(former[name], tensor) != ("q_proj.weight" in name or "v_proj.weight" in name), name

    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "whole").eval()
    batch = {"input_ids": words(2, 5, vocab_size=12), "labels": words(2, 4, vocab_size=12)}
    torch.testing.assert_close(run.task.model.eval()(**batch).loss, loaded(**batch).loss)
    with pytest.raises(ValueError, match="model"):
        training(tmp_path / "parts", loop={"resume": True}, **options | {"lora_rank": 3}).run()


@pytest.mark.integrations("peft")
def test_a_rank_that_is_not_low_is_refused(training, translator, tmp_path):
    with pytest.raises(ValueError, match=r"--lora_rank 16: .*_proj, which maps 16 numbers to 16, .* below 16 only"):
        training(tmp_path / "more", model=str(translator), lora_rank=16)
    assert not (tmp_path / "more").exists()
    training(tmp_path / "more", model=str(translator), lora_rank=15)


def test_frozen_parameters_stay(training, translator, tmp_path):
    run = training(tmp_path / "more", model=str(translator), freeze=["model.encoder.*", "*.bias"])
    run.run()
    former, after = weights_of(translator), weights_of(tmp_path / "more")
    for name, tensor in former.items():
        frozen = name.startswith("model.encoder.") or name.endswith(".bias")
        assert torch.equal(after[name], tensor) == frozen, name
    with pytest.raises(ValueError, match=r"--freeze layers.0.\* fits no parameter; their names are like model\."):
        training(tmp_path / "other", model=str(translator), freeze=["layers.0.*"])
    with pytest.raises(ValueError, match=r"--freeze \* leaves nothing to train"):
        training(tmp_path / "other", model=str(translator), freeze=["*"])
    assert not (tmp_path / "other").exists()


def test_a_public_translator_and_the_native_class_of_the_result(training, tmp_path):
    source = published("bart", "BartForConditionalGeneration", tmp_path / "hf")
    word_tokenizer(WORDS).save_pretrained(source)
    run = training(tmp_path / "run", model=source, to_hf=True, freeze=["model.encoder.*"])
    run.run()
    assert run.write_hf() == tmp_path / "run" / "hf"
    native = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run" / "hf").eval()
    assert type(native) is transformers.BartForConditionalGeneration
    assert load_tokenizers(tmp_path / "run" / "hf")[0].get_vocab() == run.task.tokenizer.get_vocab()
    batch = {"input_ids": words(2, 5, vocab_size=16), "labels": words(2, 4, vocab_size=16)}
    torch.testing.assert_close(native(**batch).loss, run.task.model.eval()(**batch).loss, atol=2e-5, rtol=1e-4)
    assert "hf" in json.loads((tmp_path / "run" / "run.json").read_text())["files"]
    training(tmp_path / "run", model=source, loop={"overwrite": True}).run()
    assert not (tmp_path / "run" / "hf").exists()


@pytest.mark.parametrize("separate", [False, True])
def test_a_new_translator_with_the_default_configuration_is_written_as_marian(training, tmp_path, separate):
    """transformers alone opens the directory, and gives the same translations by beam search."""
    new = {"preset": "tiny", "tokenizer_model": "word", "vocab_size": 50, "separate_vocabularies": separate}
    run = training(tmp_path / "run", CONFIG, to_hf=True, **new)
    run.run()
    place = run.write_hf()
    native = transformers.AutoModelForSeq2SeqLM.from_pretrained(place).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    assert type(native) is transformers.MarianMTModel
    assert (place / "target_tokenizer").is_dir() == separate
    ours = triptych.TriptychForConditionalGeneration.from_pretrained(tmp_path / "run").eval()
    assert native.generation_config.num_beams == ours.generation_config.num_beams == 4
    inputs = tokenizer(["one red", "four blue"], return_tensors="pt", padding=True)
    options = {"gnmt_length_penalty": None, "length_penalty": native.generation_config.length_penalty}
    expected = ours.generate(**inputs, **options, max_new_tokens=12)
    assert torch.equal(native.generate(**inputs, max_new_tokens=12), expected)


def test_what_contradicts(training, translator, tmp_path):
    with pytest.raises(ValueError, match=r"--model .* and --preset tiny"):
        training(tmp_path / "run", model=str(translator), preset="tiny")
    with pytest.raises(ValueError, match="are one directory"):
        training(translator, model=str(translator), loop={"overwrite": True})
    assert weights_of(translator)
