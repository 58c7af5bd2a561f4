"""Question answering and summarization: two processes learn what one learns, and write the same predictions."""

import json
import os
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

LAUNCHER = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCHER += ["--main_process_port", "0", "-m", "triptych"]  # any free one: other tests run beside this one
# Adam with a small epsilon makes large steps of rounding errors where a gradient is zero.
OPTIONS = (
    "--max_steps 4 --lr_scheduler constant --learning_rate 1e-3 --warmup_steps 0 --adam_epsilon 1e-2 --logging_steps 1"
)
OPTIONS += " --report_to none --cpu_threads 1 --dropout 0 --tokenizer_model word --vocab_size 60 --hidden_size 16"
OPTIONS += " --num_attention_heads 2 --train_file rows.jsonl --validation_file rows.jsonl --test_file rows.jsonl"
CITIES = ("Oslo", "Rome", "Lima")
ROWS = {
    "finetune-question-answering": [
        {
            "question": "where is Kim",
            "context": f"Kim {'was and ' * (number % 5)}is in {CITIES[number % 3]}",
            "answers": {"text": [CITIES[number % 3]], "answer_start": [10 + 8 * (number % 5)]},
        }
        for number in range(21)
    ],
    "train-summarization": [
        {"text": f"Kim {'was and ' * (number % 5)}is in {CITIES[number % 3]}", "summary": CITIES[number % 3]}
        for number in range(21)
    ],
}
SIZES = {
    "finetune-question-answering": "--preset tiny-encoder --attention_dropout 0 --max_tokens 200 --max_length 20",
    "train-summarization": "--preset tiny --max_tokens 150 --num_beams 2",
}


@pytest.mark.slow
@pytest.mark.parametrize("command", ROWS)
def test_two_processes_give_the_weights_and_the_predictions_of_one(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[command]))
    options = [*OPTIONS.split(), *SIZES[command].split()]
    AcceleratorState._reset_state(True)
    import_module(f"triptych.commands.{command.replace('-', '_')}").main([*options, "--cpu", "--output_dir", "one"])
    line = [*LAUNCHER, command, *options, "--output_dir", "two"]
    done = subprocess.run(line, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 × cpu" in done.stderr
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-6, rtol=1e-5)
    metrics = [json.loads((tmp_path / name / "test_metrics.json").read_text()) for name in ("one", "two")]
    assert metrics[0] == pytest.approx(metrics[1])
    losses = [
        [line["loss"] for line in map(json.loads, (tmp_path / name / "metrics.jsonl").open()) if "loss" in line]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
