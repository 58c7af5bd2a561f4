import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import triptych

from . import running

run, command, ENVIRONMENT = running.run, running.command, running.ENVIRONMENT

TWO_PROCESSES = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
TWO_PROCESSES += ("--main_process_port", "0")  # any free one: other tests run beside this one


def history(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def complaint(done):
    """The one line that a refused run writes."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def test_trains_evaluates_and_tells(translator):
    done, directory = translator
    assert done.returncode == 0, done.stderr
    for expected in ("1 × cpu", "300 train, 20 validation, 30 test pairs", "tiny: "):
        assert expected in done.stderr
        assert expected not in done.stdout
    assert "step 60 | minutes" in done.stderr
    scores = json.loads((directory / "test_metrics.json").read_text())
    assert scores["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert f"test BLEU {scores['bleu']:.2f}" in done.stdout
    assert len((directory / "test_translations.txt").read_text().splitlines()) == 30
    losses = [line["loss"] for line in history(directory) if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    assert {"validation_loss", "bleu", "chrf"} <= history(directory)[-1].keys()
    assert list((directory / "tensorboard").glob("events*"))


def test_the_directory_loads_with_the_options_of_generation(translator):
    done, directory = translator
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    assert type(model) is triptych.TriptychForConditionalGeneration
    generation = model.generation_config
    assert (generation.num_beams, generation.max_length_beyond_source) == (4, 50)
    chosen = r"chosen by bleu on 5 validation rows \(0\.0: |the usual one: bleu on 5 validation rows"
    assert re.search(f"length penalty {generation.gnmt_length_penalty}, ({chosen})", done.stderr)
    assert model.config.hidden_size == 32
    assert model.generate(**tokenizer(["one red house"], return_tensors="pt")).shape[0] == 1
    [output] = triptych.pipeline("translation", model=str(directory))("one red house")
    assert set(output["translation_text"].split()) <= set(running.WORDS.values())


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(options, tmp_path):
    # Adam with a small epsilon makes large steps of rounding errors where a gradient is zero.
    same = options | {"max_steps": 6, "dropout": 0.0, "adam_epsilon": 1e-3, "evaluation_pairs": 7}
    one = run("train_translation.py", output_dir=tmp_path / "one", **same)
    assert one.returncode == 0, one.stderr
    two = run("train_translation.py", output_dir=tmp_path / "two", launcher=TWO_PROCESSES, **same)
    assert two.returncode == 0, two.stderr
    assert "2 × cpu" in two.stderr
    expected, weights = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5)
    for first, second in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        for name in first.keys() - {"minutes", "tokens_per_second", "padding", "memory_gb", "mfu"}:
            assert second[name] == pytest.approx(first[name], rel=1e-4), name


@pytest.mark.slow
def test_a_killed_run(options, tmp_path):
    directory = tmp_path / "run"
    endless = options | {"max_steps": 1_000_000, "save_steps": 5}
    process = subprocess.Popen(
        command("train_translation.py", output_dir=directory, **endless), env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    while not list(directory.glob("checkpoint-?")) and not list(directory.glob("checkpoint-??")):
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    AutoModelForSeq2SeqLM.from_pretrained(directory)

    refused = complaint(run("train_translation.py", output_dir=directory, **endless))
    assert "holds a run" in refused
    assert "--resume" in refused
    assert "--overwrite" in refused
    steps = max(line["step"] for line in history(directory)) + 10
    resumed = run("train_translation.py", output_dir=directory, resume=True, **(endless | {"max_steps": steps}))
    assert resumed.returncode == 0, resumed.stderr
    assert f"continuing from {directory / 'checkpoint-'}" in resumed.stderr
    numbers = [line["step"] for line in history(directory) if "loss" in line]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == steps


@pytest.mark.slow
def test_ctrl_c_reaches_all_processes_and_the_named_command_goes_on(options, tmp_path):
    """A terminal sends the signal to the data workers, too."""
    endless = options | {"max_minutes": 60, "dataloader_workers": 2, "warmup_steps": 1}
    line = command("train_translation.py", output_dir=tmp_path / "run", **endless)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(line, env=ENVIRONMENT, text=True, start_new_session=True, **pipes)
    said = ""
    while "step 10 | " not in said:
        said += process.stderr.readline() or pytest.fail(said)
    os.killpg(process.pid, signal.SIGINT)
    said += process.stderr.read()
    assert process.wait() == 130, said
    assert "stopped by SIGINT; everything is in " in said
    named = said.splitlines()[-1].strip()
    assert named.endswith(" --resume")
    steps = max(entry["step"] for entry in history(tmp_path / "run"))
    done = subprocess.run(f"{named} --max_steps {steps + 5}", shell=True, env=ENVIRONMENT, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert history(tmp_path / "run")[-1]["step"] == steps + 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 5}, r"train data: row \d+ .*max_tokens=5"),
        *(
            pytest.param(changes, message, marks=pytest.mark.slow)
            for changes, message in (
                ({"hidden_size": 33}, "hidden_size=33 is not a multiple of num_attention_heads=2"),
                ({"preset": "transformer-huge"}, r"'transformer-huge' \(did you mean transformer-"),
                ({"train_file": "absent.tsv"}, "absent.tsv does not exist"),
                ({"corpus": "en-de"}, "give one source of data, not corpus and files"),
                ({"max_steps": 0}, "max_steps=0 must be greater than 0"),
                ({"recipe": "t5-small"}, "the recipe of t5-small .* optimizer.name='adafactor'"),
            )
        ),
    ],
)
def test_mistakes_are_told_in_one_line(options, tmp_path, changes, message):
    line = complaint(run("train_translation.py", output_dir=tmp_path / "new", **(options | changes)))
    assert re.search(message, line), line
    assert not (tmp_path / "new").exists()


def test_a_directory_of_something_else(options, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    line = complaint(run("train_translation.py", output_dir=tmp_path, overwrite=True, **options))
    assert "is not empty and holds no run (it has thesis.tex)" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
