"""How a model is divided between processes, in the words of transformers' `DistributedConfig`.

A plan maps modules of the body to the way in which they are divided. `*` stands for every layer.
"""

import itertools
from typing import Any

# Megatron-LM (Shoeybi et al. 2019, section 3): each process computes whole heads and whole inner features. The results
# of all processes are summed behind the output maps.
ATTENTION = {"q_proj": "colwise", "k_proj": "colwise", "v_proj": "colwise", "o_proj": "rowwise"}
FEED_FORWARD = {
    "plain": {"up_proj": "colwise", "down_proj": "rowwise"},
    "gated": {"gate_proj": "colwise", "up_proj": "colwise", "down_proj": "rowwise"},
}
HEADWISE_TABLE = "embedding_headwise"  # the name of the style in modeling/parallelism.py


def tensor_parallel_plan(config: Any) -> dict[str, str]:
    """The plan of `tp_size`: heads, inner features and the vocabulary are divided, norms and positions are not."""
    plan = dict.fromkeys(config.embedding_names, "embedding_rowwise")
    for stack, attentions in config.stacks.items():
        side = config.stack_config(stack)
        sublayers = {**dict.fromkeys(attentions, ATTENTION), "feed_forward": FEED_FORWARD.get(side.feed_forward, {})}
        for sublayer, maps in sublayers.items():
            plan |= {f"{stack}layers.*.{sublayer}.{name}": style for name, style in maps.items()}
        if side.positions == "relative":
            plan[f"{stack}positions.table"] = HEADWISE_TABLE
    return plan


def fully_sharded_plan(config: Any) -> dict[str, str]:
    """The plan of `fsdp_size`: one unit for each layer, each embedding and the last norm.

    All other parameters belong to the unit of the whole model. A tied matrix, which is both embedding and map to the
    vocabulary, belongs there, too: in a separate unit, the map would read the values from before the optimizer's step.
    """
    own_unit = config.embedding_names[:-1] if config.tie_word_embeddings else config.embedding_names
    plan = dict.fromkeys(own_unit, "free_full_weight")
    for stack in config.stacks:
        plan[f"{stack}layers.*"] = "free_full_weight"
        if (
            config.stack_config(stack).residual != "post"
        ):  # with "post", each layer ends with a norm, and the stack has no other
            plan[f"{stack}norm"] = "keep_full_weight"
    return plan


def check_parallelism(config: Any, distributed_config: Any, is_tied: bool) -> None:
    """Refuses a division that the model does not allow, before any weight is read.

    Args:
        is_tied: whether the output projection is an embedding matrix.

    Raises:
        ValueError: heads or vocabulary cannot be divided evenly, or pipeline parallelism is asked for.
    """
    processes, shards = distributed_config.tp_size, distributed_config.fsdp_size
    sides = [config.stack_config(stack) for stack in config.stacks]
    for side, name in itertools.product(sides, ("num_attention_heads", "num_key_value_heads")):
        heads = getattr(side, name)
        if heads % processes:
            raise ValueError(
                f"tp_size={processes} does not divide {name}={heads}, and every process needs whole heads; choose a "
                f"divisor of {heads}, or divide the model with fsdp_size"
            )
    if distributed_config.pp_size > 1:
        raise ValueError(
            f"pp_size={distributed_config.pp_size}: pipeline parallelism is not supported, because only the first "
            "stage may add positions; use tp_size or fsdp_size"
        )
    words, parts = getattr(config, "target_vocab_size", config.vocab_size), processes * shards
    if is_tied and min(processes, shards) > 1 and words % parts:
        raise ValueError(
            f"tp_size={processes} with fsdp_size={shards} cannot share a tied matrix of {words} words, which is not "
            f"a multiple of {parts}; use resize_token_embeddings with pad_to_multiple_of={parts}"
        )
