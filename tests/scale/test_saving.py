"""A divided model saves what one process would: whole weights, that the step has changed, to load anywhere."""

import pytest
import torch

import triptych


@pytest.mark.parametrize("strategy", ["tensor_parallel", "fully_sharded"])
def test_saves_whole_weights(two_processes, make_job, alone, tmp_path, language_model, strategy):
    job = make_job(language_model)
    two_processes.run(strategy, save_to=str(tmp_path / "divided"), **job)
    alone({**job, "save_to": str(tmp_path / "alone")})
    divided, whole, before = (
        getattr(triptych, language_model).from_pretrained(directory).state_dict()
        for directory in (tmp_path / "divided", tmp_path / "alone", job["model"])
    )
    assert divided.keys() == whole.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(divided[name], weight, atol=1e-5, rtol=1e-4)
    assert not torch.equal(before["lm_head.weight"], whole["lm_head.weight"])
