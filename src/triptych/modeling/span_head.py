"""The two ends of an answer: a score for every position to be the first, and the last; and their loss.

B batch, T positions, d residual width.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from .base import TriptychPreTrainedModel
from .labels import count_labels, inside
from .losses import span_loss
from .outputs import with_recorded
from .pooling import row_tokens

Pair = tuple[Any, Any]  # of the first position and of the last
ENDS = 2  # of an answer: its first position and its last


class SpanHead(TriptychPreTrainedModel):
    """The map from every position to the two ends of an answer, and the loss over the positions that are not masked.

    An answer has two ends whatever `config.num_labels` says. transformers' Trainer, which counts `labels` alone, gives
    no numbers; there every piece of an update has the same weight, as with transformers' heads. The result does not
    depend on the cut where every piece has the same number of answers that are not cut off.
    """

    output_class: ClassVar[Any]

    def add_span_map(self) -> None:
        """Create the map; called in `__init__`, after the body has been made."""
        self.qa_outputs = nn.Linear(self.config.hidden_size, ENDS)

    def answered(self, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """What the scored positions hold, (B, T) or (B, T, d), and their attention mask."""
        raise NotImplementedError

    def count_items(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Extends `TriptychPreTrainedModel.count_items`: the first and the last positions that were not cut off."""
        tokens = row_tokens(*self.answered(inputs))
        start, end = (count_labels(inside(inputs[name], tokens)) for name in ("start_positions", "end_positions"))
        return {"num_items_in_batch": start, "num_ends_in_batch": end}

    def span_output(self, outputs: Any, inputs: Mapping[str, Any], positions: Pair, numbers: Pair) -> Any:
        """The head's output for the body's outputs.

        Args:
            positions: the answers' first and last positions, (B,) each, or None.
            numbers: how many first and last positions count in the whole update, or None.
        """
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if positions[0] is not None and positions[1] is not None:
            tokens = row_tokens(start_logits, self.answered(inputs)[1])
            loss = span_loss(start_logits, end_logits, *positions, tokens, *numbers)
        return with_recorded(self.output_class, outputs, loss=loss, start_logits=start_logits, end_logits=end_logits)
