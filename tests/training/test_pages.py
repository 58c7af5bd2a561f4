"""The commands of docs/training/ run as they are shown, on small files and tiny models with the names of a page."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from console import run_here
from tiny import word_tokenizer
from triptych.tokenization import load_tokenizers, train_tokenizer

PAGES = Path(__file__).parents[2] / "docs" / "training"
# What bounds a training that would take an hour, and the size of a new model.
BOUNDS = "--max_steps 2 --logging_steps 1 --cpu --cpu_threads 1 --report_to none"
PAIRS = [(f"the house {i}", f"das Haus {i}") for i in range(12)]
SIZES = "--hidden_size 32 --num_attention_heads 2 --intermediate_size 64 --encoder_layers 1 --decoder_layers 1"
SIZES += " --tokenizer_model word --vocab_size 60"
WORDS = sorted({word for pair in PAIRS for text in pair for word in text.split()})


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page that are called `bash` or `python`."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """The command lines of a page."""
    return [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]


def write_pairs(*names: str) -> None:
    for name in names:
        rows = "".join(f"{source}\t{target}\n" for source, target in PAIRS)
        Path(name).write_text(f"source\ttarget\n{rows}", encoding="utf-8")


def make_encoder_decoder(name: str, model: str, config: str, start: int) -> None:
    """A tiny encoder–decoder of transformers, with a tokenizer; `start` is the token from which the decoder starts."""
    tokenizer = word_tokenizer(WORDS)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32}
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": start}
    torch.manual_seed(0)
    fields = getattr(transformers, config)(**sizes, **heads, **tokens)
    getattr(transformers, model)(fields).save_pretrained(name)
    tokenizer.save_pretrained(name)


def make_marian(name: str) -> None:
    make_encoder_decoder(name, "MarianMTModel", "MarianConfig", start=0)


def prepare_checkpoints() -> None:
    make_marian("Helsinki-NLP/opus-mt-en-de")
    write_pairs("pairs.tsv", "more.tsv")


def check_checkpoints() -> None:
    assert type(transformers.AutoModelForSeq2SeqLM.from_pretrained("marian/hf")).__name__ == "MarianMTModel"
    for name in ("translator", "better", "frozen", "adapted", "marian", "two", "divided", "zero"):
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(name)
        assert type(model).__name__ == "TriptychForConditionalGeneration"
        assert load_tokenizers(name)[0]("the house").input_ids


def make_published(name: str, config: transformers.PreTrainedConfig, model_class: type) -> None:
    """A tiny checkpoint of transformers, with a tokenizer."""
    torch.manual_seed(0)
    model_class(config).save_pretrained(name)
    word_tokenizer(WORDS).save_pretrained(name)


def small(config_class: type, **sizes: int) -> transformers.PreTrainedConfig:
    """A configuration for the tokenizer of these tests."""
    return config_class(vocab_size=4 + len(WORDS), pad_token_id=0, bos_token_id=2, eos_token_id=3, **sizes)


def make_encoders_and_a_decoder() -> None:
    bert = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    for name in ("google-bert/bert-base-uncased", "google-bert/bert-base-cased"):
        make_published(name, small(transformers.BertConfig, **bert), transformers.BertForMaskedLM)
    make_published(
        "FacebookAI/roberta-base", small(transformers.RobertaConfig, **bert), transformers.RobertaForMaskedLM
    )
    distil = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    make_published(
        "distilbert/distilbert-base-uncased",
        small(transformers.DistilBertConfig, **distil),
        transformers.DistilBertForMaskedLM,
    )
    gpt2 = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    make_published("openai-community/gpt2", small(transformers.GPT2Config, **gpt2), transformers.GPT2LMHeadModel)


def prepare_classification() -> None:
    make_encoders_and_a_decoder()
    for name in ("train", "validation", "test"):
        rows = "".join(f"{source}\t{'even' if row % 2 else 'odd'}\n" for row, (source, _) in enumerate(PAIRS))
        Path(f"{name}.tsv").write_text(f"text\tlabel\n{rows}")
    pairs = [{"premise": a, "hypothesis": b, "label": row % 3} for row, (a, b) in enumerate(PAIRS)]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    Path("stars.csv").write_text("text,label\n" + "".join(f"{a},{row % 5}\n" for row, (a, _) in enumerate(PAIRS)))


def check_classification() -> None:
    for name, problem, labels in (
        ("classifier", "single_label_classification", {"even", "odd"}),
        ("entailment", "single_label_classification", {"0", "1", "2"}),
        ("stars", "regression", {"LABEL_0"}),
    ):
        config = transformers.AutoConfig.from_pretrained(name)
        assert (config.problem_type, set(config.id2label.values())) == (problem, labels)
    [answer] = transformers.pipeline("text-classification", "classifier", device="cpu")("the house 3")
    assert answer["label"] in ("even", "odd")
    assert len(Path("classifier/test_predictions.jsonl").read_text().splitlines()) == len(PAIRS)


def prepare_tagging() -> None:
    make_encoders_and_a_decoder()
    for name in ("train.conllu", "dev.conllu", "test.conllu", "eng.train", "eng.testa", "eng.testb"):
        blocks = []
        for source, _ in PAIRS:
            words = enumerate(zip(source.split(), ("DET", "NOUN", "NUM"), ("O", "B-X", "I-X"), strict=True), start=1)
            if name.endswith("conllu"):
                nothing = "\t_" * 6
                blocks.append("".join(f"{n}\t{word}\t_\t{tag}{nothing}\n" for n, (word, tag, _) in words))
            else:
                blocks.append("".join(f"{word} {tag} {entity}\n" for _, (word, tag, entity) in words))
        Path(name).write_text("\n".join(blocks))


def check_tagging() -> None:
    for name, tags in (("tagger", {"DET", "NOUN", "NUM"}), ("entities", {"O", "B-X", "I-X"})):
        assert set(transformers.AutoConfig.from_pretrained(name).id2label.values()) == tags
        answers = transformers.pipeline("token-classification", name, device="cpu", ignore_labels=[])("the house 3")
        assert {answer["entity"] for answer in answers} <= tags
        assert len(Path(f"{name}/test_predictions.jsonl").read_text().splitlines()) == len(PAIRS)


def prepare_summarization() -> None:
    make_encoder_decoder("facebook/bart-base", "BartForConditionalGeneration", "BartConfig", start=3)
    Path("news").mkdir()
    for columns, names in (
        (("text", "summary"), ("train.jsonl", "validation.jsonl", "test.jsonl")),
        (("article", "highlights"), ("news/train.jsonl",)),
    ):
        rows = "".join(json.dumps(dict(zip(columns, pair, strict=True))) + "\n" for pair in PAIRS)
        for name in names:
            Path(name).write_text(rows, encoding="utf-8")


def check_summarization() -> None:
    assert len(Path("summarizer/test_predictions.txt").read_text(encoding="utf-8").splitlines()) == len(PAIRS)
    assert {"rouge1", "rouge2", "rougeL", "rougeLsum"} <= json.loads(
        Path("summarizer/test_metrics.json").read_text()
    ).keys()
    options = transformers.GenerationConfig.from_pretrained("news-summarizer")
    assert (options.num_beams, options.max_new_tokens) == (4, 256)


def prepare_translation() -> None:
    write_pairs("pairs.tsv", "validation.tsv", "test.tsv", "more.tsv")


def check_translation() -> None:
    assert len(Path("translator/test_translations.txt").read_text(encoding="utf-8").splitlines()) == len(PAIRS)
    names = ("num_beams", "gnmt_length_penalty", "max_length_beyond_source")
    first, second = (transformers.GenerationConfig.from_pretrained(name) for name in ("translator", "better"))
    assert [getattr(first, name) for name in names] == [getattr(second, name) for name in names]


def prepare_question_answering() -> None:
    contexts = [f"Kim {number} is in Oslo." for number in range(8)]
    rows = [
        {
            "id": f"q{number}",
            "question": "Where is Kim?",
            "answers": [{"text": "Oslo", "answer_start": 12}] if number % 2 else [],
            "is_impossible": not number % 2,
        }
        for number in range(8)
    ]
    paragraphs = [{"context": context, "qas": [row]} for context, row in zip(contexts, rows, strict=True)]
    whole = {"version": "v2.0", "data": [{"title": "Kim", "paragraphs": paragraphs}]}
    for name in ("train-v2.0.json", "dev-v2.0.json"):
        Path(name).write_text(json.dumps(whole), encoding="utf-8")
    answers = {"text": ["Oslo"], "answer_start": [12]}
    lines = [{"question": "Where is Kim?", "context": context, "answers": answers} for context in contexts]
    Path("questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    tokenizer = train_tokenizer([*contexts, "Where is Kim?"] * 9, "wordpiece", 90, "encoder")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(**sizes, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    torch.manual_seed(0)
    transformers.BertForMaskedLM(config).save_pretrained("google-bert/bert-base-uncased")
    tokenizer.save_pretrained("google-bert/bert-base-uncased")


def check_question_answering() -> None:
    assert {"HasAns_f1", "NoAns_f1", "exact_match", "f1"} <= json.loads(
        Path("reader/test_metrics.json").read_text()
    ).keys()
    assert json.loads(Path("better/test_metrics.json").read_text()).keys() == {"exact_match", "f1"}
    assert json.loads(Path("predictions.json").read_text()).keys() == {f"q{number}" for number in range(8)}


TEXTS = [f"the old house {i} is near the river\nit has {i} windows\na tree stands before it" for i in range(12)]


def make_language_model(name: str, model: transformers.PreTrainedModel, kind: str, family: str) -> None:
    """A tiny language model of transformers, with a tokenizer that is trained."""
    model.save_pretrained(name)
    train_tokenizer(TEXTS, kind, 300, family).save_pretrained(name)


def prepare_texts() -> None:
    for split in ("train", "validation", "test"):
        Path(f"{split}.txt").write_text("\n".join(TEXTS).replace("\n", " . "), encoding="utf-8")
    Path("documents.txt").write_text("\n\n".join(TEXTS), encoding="utf-8")


def prepare_causal_lm() -> None:
    prepare_texts()
    config = transformers.GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=128)
    make_language_model("openai-community/gpt2", transformers.GPT2LMHeadModel(config), "bpe", "decoder")


def check_causal_lm() -> None:
    for name in ("gpt", "gpt2", "streamed"):
        [output] = transformers.pipeline("text-generation", model=name)("the old", max_new_tokens=2)
        assert output["generated_text"].startswith("the old")
    scores = json.loads(Path("gpt/test_metrics.json").read_text())
    page = (PAGES / "pretrain-causal-lm.md").read_text(encoding="utf-8")
    assert {name for name in scores if f"`{name}`" not in page} == set()


def prepare_masked_lm() -> None:
    prepare_texts()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=300, max_position_embeddings=128, **sizes)
    name = "google-bert/bert-base-uncased"
    make_language_model(name, transformers.BertForMaskedLM(config), "wordpiece", "encoder")


def check_masked_lm() -> None:
    for name in ("bert", "adapted"):
        assert len(transformers.pipeline("fill-mask", model=name)("the old [MASK]", top_k=2)) == 2
    model = transformers.AutoModelForPreTraining.from_pretrained("pairs")
    assert type(model).__name__ == "TriptychEncoderForPreTraining"
    scores = json.loads(Path("pairs/test_metrics.json").read_text())
    page = (PAGES / "pretrain-masked-lm.md").read_text(encoding="utf-8")
    assert {name for name in scores if f"`{name}`" not in page} == set()


def prepare_sizes() -> None:
    write_pairs("pairs.tsv")


def check_sizes() -> None:
    assert sorted(path.name for path in Path().iterdir()) == ["pairs.tsv", "translator"]
    config = transformers.AutoConfig.from_pretrained("translator")
    assert (config.encoder_layers, config.hidden_size) == (2, 128)  # the first row of the table


def prepare_running() -> None:
    make_marian("Helsinki-NLP/opus-mt-en-de")
    write_pairs("pairs.tsv", "validation.tsv")


def check_running() -> None:
    for name in ("translator", "patient", "small", "cached"):
        assert transformers.AutoModelForSeq2SeqLM.from_pretrained(name).config.hidden_size == 16
    assert list(Path("cache").glob("*.arrow"))


# Page → what makes the files that it names, and what looks at the results.
USES: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "checkpoints": (prepare_checkpoints, check_checkpoints),
    "finetune-classification": (prepare_classification, check_classification),
    "finetune-tagging": (prepare_tagging, check_tagging),
    "finetune-question-answering": (prepare_question_answering, check_question_answering),
    "train-summarization": (prepare_summarization, check_summarization),
    "train-translation": (prepare_translation, check_translation),
    "pretrain-causal-lm": (prepare_causal_lm, check_causal_lm),
    "pretrain-masked-lm": (prepare_masked_lm, check_masked_lm),
    "sizes": (prepare_sizes, check_sizes),
    "running": (prepare_running, check_running),
}


def test_every_page_is_run():
    assert sorted(USES) == sorted(path.stem for path in PAGES.glob("*.md"))


@pytest.mark.slow
@pytest.mark.integrations("peft", "deepspeed")
@pytest.mark.parametrize("page", USES)
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare, check = USES[page]
    prepare()
    lines = commands(page)
    assert lines
    for line in lines:
        words = [*shlex.split(line), *BOUNDS.split(), *(SIZES.split() if " --preset " in line else [])]
        if words[0] == "triptych":
            run_here(words[1:])
        else:
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
            environment = os.environ | {"PATH": path, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(words, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    check()
