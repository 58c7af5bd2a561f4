"""Loads models and pipelines where the package is not installed, by the code that travelled with them, and saves what
they compute.

    python -S without_package.py SITE_PACKAGES JOB.json

Without `-S`, Python would read the .pth file by which the package is installed.
"""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path += sys.argv[1].split(os.pathsep)

import torch
import transformers
from safetensors.torch import load_file, save_file


def tensors(outputs) -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in outputs.items() if isinstance(value, torch.Tensor)}


def answer(entry: dict) -> None:
    """Saves the outputs of a pipeline, and those of the same one when it has been saved and loaded again."""
    directory = Path(entry["directory"])
    refused = None
    try:
        transformers.pipeline(entry["task"], model=str(directory), trust_remote_code=False)
    except ValueError as error:
        refused = str(error)
    assert refused is not None
    assert "trust_remote_code=True" in refused
    for source, output in ((directory, "outputs"), (directory / "again", "outputs_again")):
        pipe = transformers.pipeline(entry["task"], model=str(source), trust_remote_code=True)
        assert type(pipe).__module__.startswith("transformers_modules.")
        assert not any(name.partition(".")[0] == "triptych" for name in sys.modules)
        found = pipe(entry["inputs"], batch_size=2, **entry["options"])
        (directory / f"{output}-{entry['task']}.json").write_text(json.dumps(found))
        if source == directory:
            pipe.save_pretrained(directory / "again")


def main(job: dict) -> None:
    assert find_spec("triptych") is None, "the package can be imported here"
    for entry in job.get("pipelines", []):
        answer(entry)
    for entry in job.get("models", []):
        directory = Path(entry["directory"])
        inputs = load_file(directory / "inputs.safetensors")
        for source, output in ((directory, "outputs"), (directory / "again", "outputs_again")):
            auto_class = getattr(transformers, entry["auto_class"])
            model = auto_class.from_pretrained(source, trust_remote_code=True).eval()
            assert type(model).__name__ == entry["class"]
            assert not any(name.partition(".")[0] == "triptych" for name in sys.modules)
            with torch.no_grad():
                computed = tensors(model(**inputs))
            if entry["generates"]:
                options = {"num_beams": 3, "do_sample": False, **entry["generation"]}
                start = {name: value for name, value in inputs.items() if name in ("input_ids", "attention_mask")}
                computed["generated"] = model.generate(**start, **options).contiguous()
            save_file(computed, directory / f"{output}.safetensors")
            if source == directory:
                model.save_pretrained(directory / "again")
        config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=True)
        assert type(config).__name__ == entry["config_class"]


main(json.loads(Path(sys.argv[2]).read_text()))
