"""DeepSpeed ZeRO: gradients (stage 2) and parameters too (stage 3) are divided, and equal one process."""

import pytest

VARIANTS = {"default": {}, "relative": {"positions": "relative"}}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stage", [2, 3])
def test_equals_one_process(two_deepspeed_processes, make_job, assert_equal_to_alone, language_model, stage, variant):
    job = make_job(language_model, **VARIANTS[variant])
    answers = two_deepspeed_processes.run("zero", stage=stage, **job)
    assert_equal_to_alone(job, answers)
    assert all((answer["share"] < 0.6) == (stage == 3) for answer in answers)
