"""`import triptych` is quiet, and brings nothing along that only training, plotting or scoring needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "datasets",
    "evaluate",
    "matplotlib",
    "pandas",
    "peft",
    "pyarrow",
    "rouge_score",
    "sacrebleu",
    "sklearn",
    "tensorboard",
}
OURS = "-- what transformers itself imports may say something, torchao for one --"

PROGRAM = """
import json, sys
# What our models stand on, so that only what we add is counted.
import torch, transformers.generation, transformers.modeling_utils, transformers.models.auto
before = set(sys.modules)
print("{ours}", file=sys.stderr, flush=True)
import {module}
with open(sys.argv[1], "w") as file:
    json.dump(sorted(set(sys.modules) - before), file)
"""


@pytest.mark.parametrize("module", ["triptych", "triptych.pipelines"])
def test_import_is_quiet_and_light(tmp_path: Path, module: str):
    command = [
        sys.executable,
        "-W",
        "default",
        "-c",
        PROGRAM.format(module=module, ours=OURS),
        str(tmp_path / "modules.json"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (result.returncode, result.stdout, result.stderr.partition(f"{OURS}\n")[2]) == (0, "", "")
    loaded = json.loads((tmp_path / "modules.json").read_text())
    assert module in loaded
    assert not HEAVY & {name.split(".")[0] for name in loaded}
    assert "transformers.pipelines" not in loaded
