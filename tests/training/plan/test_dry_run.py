"""`--dry_run` and the forecast, as a user sees them."""

import re

import pytest
from accelerate.state import AcceleratorState

from triptych.training.plan.dry_run import size
from triptych.training.script import train
from triptych.training.tasks.translation import TranslationTask

TINY = "--hidden_size 16 --num_attention_heads 2 --intermediate_size 32 --vocab_size 300 --cpu --cpu_threads 1"
TINY += " --report_to none --tokenizer_model word --validation_split 0"


@pytest.fixture
def command(tmp_path):
    """Runs the training of 60 pairs of "a b" and "A B": three tokens on each side, with the end."""
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n" + "".join(f"one x{i % 3}\tONE Y{i % 3}\n" for i in range(60)))

    def run(line):
        AcceleratorState._reset_state(True)
        words = ["--train_file", str(path), "--output_dir", str(tmp_path / "run"), *TINY.split(), *line.split()]
        train(TranslationTask, None, words)

    return run


def test_a_dry_run_tells_everything_and_writes_nothing(command, tmp_path, capsys):
    command("--dry_run --max_tokens 66 --num_train_epochs 3")
    told = " ".join(capsys.readouterr().out.split())
    # 11 pairs of 3 + 3 tokens make 66, so there are five full updates, and one with the five pairs that are left.
    assert "batches 6 updates an epoch, of 5 / 11 / 11 rows and 30 / 66 / 66 tokens with padding" in told
    assert "360 tokens an epoch, 0.0% of the updates is padding; longest: 3 source, 3 target" in told
    assert re.search(r"memory weights [\d.]+ kB, gradients [\d.]+ kB, optimizer [\d.]+ kB, for each process", told)
    assert re.search(r"at most [\d.]+ [MG]B were in use", told)
    assert re.search(r"forecast about 18 updates, 3 epochs, in about [\d.e-]+ minutes \([\d.e-]+ seconds", told)
    assert told.endswith("nothing is trained or written (--dry_run)")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.tsv"]


def test_padding_is_counted(command, tmp_path, capsys):
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\none\tONE\none x x x\tONE\n")
    command("--dry_run --max_tokens 100 --max_steps 1")
    told = capsys.readouterr().out
    # Sources of 2 and 5 tokens, targets of 2: 11 tokens in 2 × (5 + 2) places.
    assert "of 2 / 2 / 2 rows and 14 / 14 / 14 tokens with padding" in told
    assert "11 tokens an epoch, 21.4% of the updates is padding; longest: 5 source, 2 target" in told


def test_where_a_time_is_given_the_run_begins_with_a_forecast(command, tmp_path, capsys):
    command("--max_minutes 0.004 --preset tiny")
    told = capsys.readouterr().err
    forecast = told.index("forecast    about ")
    assert told.index("output_dir") < forecast < told.index("step ")
    assert "epochs, in the 0.004 minutes" in told
    assert "warning: the training ends within the warm-up of 4,000 updates" in told
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_without_a_time_nothing_is_measured(command, capsys):
    command("--max_steps 1")
    assert "forecast" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 B"), (999, "999 B"), (17_000, "17 kB"), (999.9e6, "1 GB"), (1.25e9, "1.25 GB"), (5e13, "5e+04 GB")],
)
def test_bytes(number, expected):
    assert size(number) == expected
