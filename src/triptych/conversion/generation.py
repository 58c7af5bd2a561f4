"""The generation options of a model that goes to transformers, which does not have all of them."""

import copy
from typing import Any

from transformers.utils import logging

from ..modeling.generation_options import PAPER_OPTIONS, take_generation_config
from .limits import position_limit

logger = logging.get_logger(__name__)

LENGTHS = ("max_length", "max_new_tokens")


def give_generation_config(hf_model: Any, model: Any) -> None:
    """Gives a model of transformers the generation options of a Triptych model, as far as transformers has them.

    The paper's options become the nearest ones of transformers, and a warning says so. Without a limit of the length,
    transformers would end every text after 20 tokens.
    """
    given = getattr(model, "generation_config", None)
    take_generation_config(hf_model, given)
    if given is None or not hf_model.can_generate():
        return
    stated = {name: value for name in PAPER_OPTIONS if (value := getattr(given, name, None)) is not None}
    nearest: dict[str, Any] = {}
    if "max_length_beyond_source" in stated and all(getattr(given, name, None) is None for name in LENGTHS):
        nearest["max_length"] = position_limit(hf_model.config, "decoder") or model.config.max_position_embeddings
    if "gnmt_length_penalty" in stated and getattr(given, "length_penalty", None) is None:
        nearest["length_penalty"] = stated["gnmt_length_penalty"]
    if nearest:
        config = hf_model.generation_config = copy.deepcopy(hf_model.generation_config)
        for name, value in nearest.items():
            setattr(config, name, value)
        logger.warning(
            f"transformers has no {', '.join(f'{name}={value}' for name, value in stated.items())}; "
            f"{type(hf_model).__name__} gets {', '.join(f'{name}={value}' for name, value in nearest.items())}, "
            "so that beams may be ranked in another order"
        )
