"""What pytest has to know about transformers' tests, and where not to look for ours."""

import pytest

collect_ignore = ["stand_ins"]
pytest.register_assert_rewrite("transformers_tests.pipelines")

MARKERS = (
    "accelerate_tests",
    "flash_attn_test",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "is_expert_parallel_test",
    "is_fsdp_test",
    "is_pipeline_test",
    "is_tensor_parallel_test",
    "is_training_test",
    "torch_compile_test",
)


def pytest_configure(config: pytest.Config) -> None:
    for name in MARKERS:
        config.addinivalue_line("markers", f"{name}: transformers' own")
