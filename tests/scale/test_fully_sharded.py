"""FSDP2: every parameter is divided, gathered unit by unit, and equals one process."""

import pytest

VARIANTS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "pre": {"residual": "pre"},
    "post": {"residual": "post"},
    "relative": {"positions": "relative"},
}


@pytest.mark.parametrize("strategy", ["fully_sharded", "fully_sharded_by_accelerate"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_one_process(two_processes, make_job, assert_equal_to_alone, language_model, variant, strategy):
    job = make_job(language_model, **VARIANTS[variant])
    answers = two_processes.run(strategy, **job)
    assert_equal_to_alone(job, answers)
    assert all(answer["share"] < 0.6 for answer in answers)


@pytest.mark.parametrize("tied", [True, False])
def test_a_vocabulary_per_language(two_processes, make_job, assert_equal_to_alone, tied):
    separate = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 97, "tie_word_embeddings": tied}
    job = make_job("TriptychForConditionalGeneration", **separate)
    assert_equal_to_alone(job, two_processes.run("fully_sharded", **job))
