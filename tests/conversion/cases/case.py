"""What a case is: a configuration class of transformers and its fields, tiny."""

from dataclasses import dataclass
from typing import Any

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WORDS = {"vocab_size": 53, **TOKENS}


@dataclass(frozen=True)
class Case:
    """`classes` are the model classes that it is tried with; by default all that the architecture's table names."""

    name: str
    config: str
    fields: dict[str, Any]
    classes: tuple[str, ...] = ()
