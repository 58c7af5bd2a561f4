"""Tensor parallelism: heads, inner features and words are divided, in every family and position scheme."""

import pytest
import torch

import triptych

GENERATIVE = ["TriptychForConditionalGeneration", "TriptychDecoderForCausalLM"]
BIASES = {"attention_bias": True, "attention_output_bias": True, "feed_forward_bias": True, "head_bias": True}
VARIANTS = {
    "learned": {"positions": "learned", **BIASES},
    "sinusoidal": {"positions": "sinusoidal"},
    "rotary": {"positions": "rotary", "residual": "parallel", "norm": "rms"},
    "relative": {"positions": "relative"},
    "grouped": {"feed_forward": "gated", "num_key_value_heads": 2, "head_dim": 6, "value_head_dim": 10},
    "untied": {"tie_word_embeddings": False, "residual": "pre"},
    "uneven": {"intermediate_size": 63, "vocab_size": 101},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_one_process(two_processes, make_job, assert_equal_to_alone, language_model, variant):
    job = make_job(language_model, **VARIANTS[variant])
    answers = two_processes.run("tensor_parallel", **job)
    assert_equal_to_alone(job, answers)
    assert all(answer["share"] < 0.6 for answer in answers)


def test_a_vocabulary_per_language(two_processes, make_job, assert_equal_to_alone):
    job = make_job("TriptychForConditionalGeneration", share_encoder_decoder_embeddings=False, decoder_vocab_size=97)
    assert_equal_to_alone(job, two_processes.run("tensor_parallel", **job))


@pytest.mark.parametrize("variant", ["relative", "grouped"])
@pytest.mark.parametrize("head", GENERATIVE)
def test_generates_the_same(two_processes, make_job, head, variant):
    job = make_job(head, **VARIANTS[variant])
    job["batch"] = {"input_ids": job["batch"]["input_ids"][:1]}
    expected = getattr(triptych, head).from_pretrained(job["model"])
    expected = expected.generate(job["batch"]["input_ids"], max_new_tokens=8, do_sample=False, pad_token_id=0)
    for answer in two_processes.run("generate", division={"tp_size": 2}, **job):
        assert torch.equal(answer["tokens"], expected)


@pytest.mark.parametrize(
    ("division", "sizes", "message"),
    [
        ({"tp_size": 2}, {"num_attention_heads": 1}, "tp_size=2 does not divide num_attention_heads=1"),
        ({"tp_size": 2}, {"num_key_value_heads": 1}, "tp_size=2 does not divide num_key_value_heads=1"),
        ({"pp_size": 2}, {}, "pipeline parallelism is not supported"),
    ],
)
def test_a_division_that_the_model_does_not_allow(two_processes, make_job, division, sizes, message):
    job = make_job("TriptychDecoderForCausalLM", **sizes)
    for answer in two_processes.run("refuse", division=division, **job):
        assert message in answer["message"]
