"""Where an adapter attaches when its configuration names no `target_modules`."""

import sys

# What our projections are called. Llama calls its own the same, so what peft knows of Llama holds for our models.
PROJECTIONS = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})


def tell_peft(model_type: str) -> None:
    """Enter `model_type` in peft's tables of default targets, if peft is loaded: nobody else has to have it."""
    constants = vars(sys.modules.get("peft.utils.constants", object))
    for name, table in constants.items():
        if name.startswith("TRANSFORMERS_MODELS_TO_") and name.endswith("_MODULES_MAPPING"):
            targets = table.get("llama")
            if targets and PROJECTIONS.issuperset(targets):
                table.setdefault(model_type, list(targets))
