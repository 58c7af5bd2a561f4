"""Seq2SeqTrainer that predicts with generate: the length rule of the package holds in every batch, and is saved.

transformers fills its defaults, `max_length=20` among them, into the model's generation configuration after a batch.
"""

import copy
import json
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

import trainer_run as run
from triptych import TriptychForConditionalGeneration

TRANSLATION, MARGIN, PAD, END = "TriptychForConditionalGeneration", 27, 0, 3
RULE = {"max_length_beyond_source": MARGIN, "suppress_tokens": [END]}


@pytest.fixture
def model():
    return run.make_model(TRANSLATION).eval()


def make_trainer(model, directory, **arguments):
    """Two batches in each evaluation; the second result is what the metrics see, one list for each evaluation."""
    seen = []

    def lengths(prediction):
        tokens = torch.as_tensor(prediction.predictions)
        seen.append(((tokens != PAD) & (tokens != -100)).sum(-1).tolist())  # the end is suppressed, so nothing stops
        return {"mean_length": sum(seen[-1]) / len(seen[-1])}

    arguments = {"output_dir": str(directory), "per_device_eval_batch_size": 8, **arguments}
    trainer = run.make_trainer(model, predict_with_generate=True, **arguments)
    trainer.compute_metrics = lengths
    return trainer, seen


def expected_lengths(model):
    """With the start token: as many tokens as the source has and the margin more."""
    limit = model.config.max_position_embeddings
    return [1 + min(length + MARGIN, limit) for length in run.LENGTHS]


def saved_options(directory):
    fields = json.loads((Path(directory) / "generation_config.json").read_text())
    return {name: value for name, value in fields.items() if name != "transformers_version"}


def test_every_batch_of_every_evaluation_has_the_length_of_the_rule(model, tmp_path):
    model.generation_config.update(allow_custom_entries=True, **RULE)
    before = copy.deepcopy(model.generation_config.to_dict())
    trainer, seen = make_trainer(model, tmp_path / "run", save_strategy="steps", save_steps=3)
    first = trainer.evaluate()
    trainer.train()
    second = trainer.evaluate()
    assert seen == [expected_lengths(model)] * 2
    assert min(seen[0]) > 20 + 1
    assert first["eval_mean_length"] == second["eval_mean_length"] == sum(seen[0]) / len(seen[0])
    trainer.save_model(tmp_path / "saved")
    for directory in (tmp_path / "saved", tmp_path / "run" / "checkpoint-3"):
        again = TriptychForConditionalGeneration.from_pretrained(directory)
        assert again.generation_config.max_length is None
        assert again.generation_config.max_length_beyond_source == MARGIN
        assert saved_options(directory).keys() <= {name for name, value in before.items() if value is not None}
        source = torch.tensor([[5, 6, 7]])
        assert again.generate(source).shape == (1, 1 + 3 + MARGIN)
    assert model.generation_config.to_dict() == before
    assert model.generate(torch.tensor([[5, 6, 7]])).shape == (1, 1 + 3 + MARGIN)


@pytest.mark.parametrize(
    ("arguments", "call", "longest"),
    [
        ({"generation_max_length": 20}, {}, 20),
        ({"generation_max_length": 9}, {}, 9),
        ({}, {"max_length": 20}, 20),
        ({}, {"max_new_tokens": 30}, 31),
        ({"generation_max_length": 9}, {"max_new_tokens": 5}, 6),
        ({"generation_config": GenerationConfig(max_length=20, **RULE)}, {}, 20),
        ({"generation_config": GenerationConfig(max_new_tokens=25, **RULE)}, {}, 26),
    ],
)
def test_lengths_that_the_user_gives_win(model, tmp_path, arguments, call, longest):
    model.generation_config.update(allow_custom_entries=True, **RULE)
    trainer, seen = make_trainer(model, tmp_path, **arguments)
    if "generation_config" in arguments:
        for name in ("decoder_start_token_id", "pad_token_id"):
            setattr(model.generation_config, name, getattr(model.config, name))
    trainer.evaluate(**call)
    trainer.evaluate(**call)
    assert seen == [[longest] * run.ROWS] * 2


def test_the_rule_in_the_arguments(model, tmp_path):
    tokens = {"decoder_start_token_id": 2, "pad_token_id": PAD, **RULE}
    trainer, seen = make_trainer(model, tmp_path, generation_config=GenerationConfig(**tokens))
    trainer.predict(trainer.eval_dataset)
    trainer.evaluate()
    assert seen == [expected_lengths(model)] * 2
    model.save_pretrained(tmp_path / "saved")
    assert saved_options(tmp_path / "saved") == tokens


def test_a_length_that_is_set_after_an_evaluation_is_a_setting(model, tmp_path):
    """Also the one that transformers had filled in."""
    model.generation_config.update(allow_custom_entries=True, **RULE)
    trainer, _ = make_trainer(model, tmp_path)
    trainer.evaluate()
    model.generation_config.max_length = 20
    assert model.generate(torch.tensor([[5, 6, 7]])).shape == (1, 20)
    model.save_pretrained(tmp_path / "saved")
    assert saved_options(tmp_path / "saved")["max_length"] == 20


def test_without_the_rule_nothing_is_saved_that_nobody_said(model, tmp_path):
    model.generation_config.suppress_tokens = [END]
    trainer, seen = make_trainer(model, tmp_path)
    before = model.generate(torch.tensor([[5, 6, 7]]))
    trainer.evaluate()
    trainer.evaluate()
    assert len({length for lengths in seen for length in lengths}) == 1  # not 21 for one batch and 20 for the next
    assert torch.equal(model.generate(torch.tensor([[5, 6, 7]])), before)
    model.save_pretrained(tmp_path / "saved")
    unsaid = {"max_length", "num_beams", "temperature", "top_k", "min_length", "do_sample"}
    assert not unsaid & saved_options(tmp_path / "saved").keys()


def test_a_copy_after_an_evaluation_says_what_the_original_did(model, tmp_path):
    model.generation_config.update(allow_custom_entries=True, **RULE)
    trainer, _ = make_trainer(model, tmp_path)
    trainer.evaluate()
    given = copy.deepcopy(model.generation_config)
    assert model.generate(torch.tensor([[5, 6, 7]]), generation_config=given).shape == (1, 1 + 3 + MARGIN)
    other = copy.deepcopy(model)
    assert other.generate(torch.tensor([[5, 6, 7]])).shape == (1, 1 + 3 + MARGIN)
    assert GenerationConfig.from_dict(given.to_dict()).max_length is None
