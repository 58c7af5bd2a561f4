"""DDP: every head equals one process, and leaves no parameter without a gradient."""

import triptych


def test_every_head_equals_one_process_and_uses_all_parameters(two_processes, make_job, assert_equal_to_alone, head):
    job = make_job(head)
    answers = two_processes.run("data_parallel", **job)
    assert_equal_to_alone(job, answers)
    parameters = dict(getattr(triptych, head).from_pretrained(job["model"]).named_parameters())
    assert all(answer["gradients"].keys() == parameters.keys() for answer in answers)
