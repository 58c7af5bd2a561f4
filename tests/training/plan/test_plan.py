"""A run without a preset: what is not given is planned, what is given wins, and a resumed run keeps its plan."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file

from triptych.training import LoopArguments
from triptych.training.plan import given_options
from triptych.training.plan.plan import make_plan, recorded_plan
from triptych.training.plan.table import Resources
from triptych.training.plan.tokens import estimated_tokens
from triptych.training.script import read_options
from triptych.training.tasks.translation import TranslationArguments, TranslationTask
from triptych.training.training import Training

LOOP = {"max_steps": 2, "report_to": "none", "cpu_threads": 1, "cpu": True}
LAPTOP = Resources(480_000, "cpu", 1, 2, minutes=15)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pairs.tsv"
    rows = [f"{a} {b}\t{b.upper()} {a.upper()}\n" for a in ("one", "two", "three") for b in ("red", "blue")]
    path.write_text("source\ttarget\n" + "".join(rows))
    return path


@pytest.fixture
def make(file, tmp_path):
    """A run of the first row of the table; `line` stands for a command line."""

    def training(line="", loop=None, config=None, **options):
        AcceleratorState._reset_state(True)
        if line:
            words = ["--train_file", str(file), "--output_dir", str(tmp_path / "run"), *line.split()]
            arguments, loop_arguments, fields, given, _ = read_options(TranslationTask, args=words)
            return Training(TranslationTask(arguments, fields), loop_arguments, given)
        task = TranslationTask(TranslationArguments(train_file=[str(file)], **options), config)
        return Training(task, LoopArguments(output_dir=str(tmp_path / "run"), **(LOOP | (loop or {}))))

    return training


def test_the_plan_decides_sizes_update_optimizer_and_schedule(make):
    run = make()
    config, loop, schedule = run.task.config, run.loop, run.loop.updater.schedule
    assert (config.encoder_layers, config.decoder_layers, config.hidden_size) == (2, 2, 128)
    assert (config.num_attention_heads, config.intermediate_size, config.initializer) == (4, 512, "normal")
    assert (run.task.arguments.vocab_size, run.train_batches.max_tokens) == (2000, 1000)
    assert (loop.arguments.optimizer, loop.arguments.max_grad_norm) == ("muon", 1.0)
    assert (schedule.name, schedule.learning_rate, schedule.warmup_ratio) == ("linear", 4e-3, 0.05)
    assert config.label_smoothing == 0.1  # of the paper's model, from which the plan departs
    summary = " ".join("\n".join(run.summary()).split())
    assert "plan about 36 tokens for 2 updates (of at most a day) on 1 × 1 thread, 1,440 core-minutes" in summary
    assert "row 1 of the table for a new encoder-decoder" in summary
    assert "optimizer muon" in summary
    assert "learning_rate 0.004" in summary
    assert "planned: " in summary


def test_with_a_preset_nothing_is_planned(make):
    run = make(preset="tiny", vocab_size=300)
    assert run.plan is None
    assert run.loop.arguments == LoopArguments(run.arguments.output_dir, **LOOP)
    assert run.task.arguments.max_tokens == 8192
    assert "plan" not in {line.split()[0] for line in run.summary()}


def test_what_is_given_wins_also_where_it_is_the_usual_value(make):
    line = "--max_steps 2 --optimizer adamw --max_tokens 8192 --hidden_size 64 --vocab_size 300 --dropout 0.1"
    run = make(f"{line} --cpu --report_to none")
    assert (run.task.config.hidden_size, run.task.config.encoder_layers) == (64, 2)
    assert run.arguments.optimizer == "adamw"
    assert run.arguments.learning_rate == pytest.approx(0.3 * 4e-3)  # muon's would be too large
    assert run.task.arguments.max_tokens == 8192
    assert {"optimizer", "max_tokens", "hidden_size", "vocab_size", "dropout"}.isdisjoint(run.plan.options)


@pytest.mark.parametrize(
    ("given", "absent", "kept"),
    [
        ({"warmup_steps": 7}, {"warmup_ratio"}, {"learning_rate"}),
        ({"lr_scheduler": "noam"}, {"warmup_ratio", "learning_rate"}, {"optimizer"}),
        ({"tokenizer": "directory"}, {"vocab_size"}, {"max_tokens"}),
        ({"lr_scheduler": "cosine"}, set(), {"warmup_ratio", "learning_rate"}),
        ({"evaluation_steps": 7}, {"evaluation_minutes"}, {"save_minutes"}),
        ({"save_steps": 7}, {"save_minutes"}, {"evaluation_minutes"}),
    ],
)
def test_options_that_are_another_way_to_say_the_same(given, absent, kept):
    options = make_plan("encoder-decoder", LAPTOP, given).options
    assert not options.keys() & (absent | given.keys())
    assert options.keys() >= kept
    loop = {**{k: v for k, v in given.items() if k != "tokenizer"}, **options}
    LoopArguments("run", **{k: v for k, v in loop.items() if k in LoopArguments.__dataclass_fields__})


def test_a_time_is_divided_by_evaluations_and_checkpoints():
    options = make_plan("encoder", LAPTOP, {}).options
    assert (options["evaluation_minutes"], options["save_minutes"]) == (3.0, 3.0)
    assert "save_minutes" not in make_plan("encoder", Resources(480_000, "cpu", epochs=3.0), {}).options


def test_the_plan_of_a_checkpoint():
    options = make_plan("encoder", LAPTOP, {}, hidden_size=768).options
    assert (options["optimizer"], options["learning_rate"], options["num_train_epochs"]) == ("adamw", 5e-5, 3.0)
    assert "num_hidden_layers" not in options
    assert "num_train_epochs" not in make_plan("encoder", LAPTOP, {"max_minutes": 15}, hidden_size=768).options
    adapters = make_plan("encoder", LAPTOP, {"lora_rank": 8}, hidden_size=768).options
    assert adapters["learning_rate"] == pytest.approx(5 * 5e-5)


@pytest.mark.parametrize(
    ("given", "optimizers", "optimizer", "rate"),
    [
        ({}, ("adam", "adamw", "muon"), "muon", 0.005),
        ({}, ("adam", "adamw"), "adamw", 0.3 * 0.005),  # as with DeepSpeed's ZeRO
        ({"lora_rank": 8}, ("adam", "adamw", "muon"), "adamw", 5 * 0.3 * 0.005),
        ({"optimizer": "adam"}, ("adam", "adamw", "muon"), None, 0.3 * 0.005),
        ({"optimizer": "muon", "lora_rank": 8}, ("adam", "adamw", "muon"), None, 5 * 0.005),
    ],
)
def test_where_muon_is_not_possible(given, optimizers, optimizer, rate):
    options = make_plan("encoder", LAPTOP, given, hidden_size=128, optimizers=optimizers).options
    assert options.get("optimizer") == optimizer
    assert options["learning_rate"] == pytest.approx(rate)


@pytest.mark.slow
def test_a_checkpoint_is_trained_further_by_its_plan(make, tmp_path):
    make(loop={"learning_rate": 1e-3}, preset="tiny", vocab_size=300).run()
    start = tmp_path / "start"
    (tmp_path / "run").rename(start)
    run = make(f"--model {start} --max_steps 2 --cpu --report_to none")
    assert (run.arguments.optimizer, run.arguments.lr_scheduler) == ("muon", "linear")
    assert (run.arguments.learning_rate, run.task.config.hidden_size) == (5e-3, 32)
    assert run.run().step == 2


def test_an_update_holds_the_longest_row(make, file):
    with open(file, "a") as rows:
        rows.write(f"{'one ' * 1200}\tONE\n")
    assert make().train_batches.max_tokens > 1200
    with pytest.raises(ValueError, match="Set max_tokens to"):
        make("--max_steps 2 --max_tokens 1000 --cpu --report_to none")


def test_a_killed_and_resumed_run_keeps_its_plan(make, tmp_path, monkeypatch):
    limits = {"max_steps": 4, "save_steps": 2}
    make(loop=limits).run()
    unbroken = load_file(tmp_path / "run" / "model.safetensors")
    (tmp_path / "run").rename(tmp_path / "unbroken")
    killed = make(loop=limits)
    loss = killed.task.loss

    def until_the_kill(*arguments):
        if killed.loop.state.step == 3:
            raise InterruptedError
        return loss(*arguments)

    killed.task.loss = until_the_kill
    with pytest.raises(InterruptedError):
        killed.run()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["identity"]["plan"]["hidden_size"] == 128

    monkeypatch.setattr("triptych.training.plan.of_run.make_plan", None)  # a resumed run makes none
    run = make(loop=limits | {"resume": True, "max_minutes": 1e9})
    assert "as at the start of the run" in "\n".join(run.summary())
    assert run.run().step == 4
    resumed = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in unbroken.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loop": {"optimizer": "adam"}}, "arguments.optimizer was 'muon', now 'adam'"),
        ({"config": {"encoder_layers": 1}}, "model.encoder_layers was 2, now 1"),
        ({"preset": "tiny"}, "arguments.lr_scheduler was 'linear', now 'noam'"),
        ({"validation_split": 0.5}, "data.validation_split was 0.05, now 0.5"),
    ],
)
def test_another_option_is_refused_on_resume(make, change, message):
    make().run()
    loop = change.pop("loop", {}) | {"resume": True}
    with pytest.raises(ValueError, match=message):
        make(loop=loop, **change).run()


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        (None, "started with --preset, so there is no plan"),
        ({"hidden_size": "64"}, "hidden_size='64', which no plan says"),
        ({"output_dir": "elsewhere"}, "output_dir='elsewhere', which no plan says"),
        ({"max_tokens": True}, "max_tokens=True, which no plan says"),
        ([1], r"plan=\[1\], which no plan says"),
    ],
)
def test_a_record_without_a_plan_is_refused(recorded, message):
    with pytest.raises(ValueError, match=message):
        recorded_plan(recorded, set())


def test_a_recorded_plan_leaves_out_what_is_given_and_stays_recorded():
    recorded = {"optimizer": "muon", "max_tokens": 1000}
    plan = recorded_plan(recorded, {"optimizer"})
    assert (plan.options, plan.record) == ({"max_tokens": 1000}, recorded)


def test_a_limit_that_is_given_later_replaces_the_planned_epochs():
    recorded = make_plan("encoder", LAPTOP, {}, hidden_size=768).options
    assert recorded_plan(dict(recorded), {"seed"}).options["num_train_epochs"] == 3.0
    assert "num_train_epochs" not in recorded_plan(dict(recorded), {"max_steps"}).options


def test_fields_are_checked_before_the_data_are_read(make, file):
    file.unlink()
    with pytest.raises(StrictDataclassError, match="dropout"):
        make(config={"dropout": 7.0})
    with pytest.raises(ValueError, match="is not a multiple of num_attention_heads=7"):
        make(config={"num_attention_heads": 7})
    with pytest.raises(FileNotFoundError):  # three heads suit the width of some rows, though not that of the preset
        make(config={"num_attention_heads": 3})


def test_options_of_a_caller_without_a_command_line():
    loop = LoopArguments("run", max_steps=3, optimizer="adam")
    # The loop's options decide greater_is_better by themselves.
    assert given_options(loop) == {"output_dir", "max_steps", "optimizer", "greater_is_better"}
    assert given_options(TranslationArguments(corpus="en-de", evaluation_pairs=3)) == {"corpus", "evaluation_pairs"}


def test_a_recipe_without_a_preset_takes_the_size_of_the_recipe():
    words = ["--corpus", "en-de", "--output_dir", "run", "--recipe", "transformer-big"]
    arguments, loop, _, given, _ = read_options(TranslationTask, args=words)
    assert (arguments.preset, loop.optimizer) == ("transformer-big", "adam")
    assert {"optimizer", "warmup_steps", "corpus"} <= given
    assert "weight_decay" not in given


@pytest.mark.parametrize(("model", "expected"), [("bpe", 8 // 4 + 4), ("character", 8 + 4), ("word", 1 + 4)])
def test_tokens_are_estimated_by_bytes(model, expected):
    from datasets import Dataset

    rows = Dataset.from_dict({"source": ["ab", "ß"], "target": ["c", "def"], "label": [1, 2]})
    assert estimated_tokens(rows, ("source", "target"), model) == expected
    assert estimated_tokens(rows.to_iterable_dataset(), ("source",)) is None


def test_tokens_of_lists_and_of_columns_that_are_absent():
    from datasets import Dataset

    rows = Dataset.from_dict({"tokens": [["abcd", "efgh"], ["ijkl"]], "tags": [[0, 1], [0]]})
    assert estimated_tokens(rows, ("tokens", "absent")) == 3 + 2
    assert estimated_tokens(rows, ("tags",)) == 2  # no text
