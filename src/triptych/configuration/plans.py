"""How a model is divided between processes, in the words of transformers' `DistributedConfig`.

A plan maps the modules of the body to what happens to them; `*` stands for every layer.
"""

import itertools
from typing import Any

# Megatron-LM (Shoeybi et al. 2019, section 3): whole heads and whole inner features, one sum where they come together.
ATTENTION = {"q_proj": "colwise", "k_proj": "colwise", "v_proj": "colwise", "o_proj": "rowwise"}
FEED_FORWARD = {
    "plain": {"up_proj": "colwise", "down_proj": "rowwise"},
    "gated": {"gate_proj": "colwise", "up_proj": "colwise", "down_proj": "rowwise"},
}
HEADWISE_TABLE = "embedding_headwise"  # the name of the style in modeling/parallelism.py


def tensor_parallel_plan(config: Any) -> dict[str, str]:
    """Heads, inner features and the vocabulary are divided; norms and learned positions are not."""
    plan = dict.fromkeys(config.embedding_names, "embedding_rowwise")
    for stack, attentions in config.stacks.items():
        side = config.stack_config(stack)
        sublayers = {**dict.fromkeys(attentions, ATTENTION), "feed_forward": FEED_FORWARD[side.feed_forward]}
        for sublayer, maps in sublayers.items():
            plan |= {f"{stack}layers.*.{sublayer}.{name}": style for name, style in maps.items()}
        if side.positions == "relative":
            plan[f"{stack}positions.table"] = HEADWISE_TABLE
    return plan


def fully_sharded_plan(config: Any) -> dict[str, str]:
    """One unit for each layer, each embedding and the norm at the end; the rest is the unit of the model itself.

    That is where a matrix belongs that is read in two places, as embedding and as map to the vocabulary: in a unit of
    its own, the other place would go on reading what it was before a step of the optimizer.
    """
    own_unit = config.embedding_names[:-1] if config.tie_word_embeddings else config.embedding_names
    plan = dict.fromkeys(own_unit, "free_full_weight")
    for stack in config.stacks:
        plan[f"{stack}layers.*"] = "free_full_weight"
        if config.stack_config(stack).residual != "post":  # which ends in no norm of its own
            plan[f"{stack}norm"] = "keep_full_weight"
    return plan


def check_parallelism(config: Any, distributed_config: Any, is_tied: bool) -> None:
    """Raises ValueError where the processes cannot share the model, before any weight is read.

    Args:
        is_tied: whether the output projection is an embedding matrix.
    """
    processes, shards = distributed_config.tp_size, distributed_config.fsdp_size
    sides = [config.stack_config(stack) for stack in config.stacks]
    for side, name in itertools.product(sides, ("num_attention_heads", "num_key_value_heads")):
        heads = getattr(side, name)
        if heads % processes:
            raise ValueError(
                f"tp_size={processes} does not divide {name}={heads}: every process takes whole heads; choose a "
                f"divisor of {heads}, or divide the model with fsdp_size"
            )
    if distributed_config.pp_size > 1:
        raise ValueError(
            f"pp_size={distributed_config.pp_size}: pipeline parallelism is not supported, as only the first of the "
            "stages may add positions; use tp_size or fsdp_size"
        )
    words, parts = getattr(config, "target_vocab_size", config.vocab_size), processes * shards
    if is_tied and min(processes, shards) > 1 and words % parts:
        raise ValueError(
            f"tp_size={processes} with fsdp_size={shards} cannot share a tied matrix of {words} words, which is no "
            f"multiple of {parts}; use resize_token_embeddings with pad_to_multiple_of={parts}"
        )
