"""The two ends of an answer: for every position, a score for the first and one for the last; and the loss of both.

Shapes: B batch, T positions, d residual width.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from .base import TriptychPreTrainedModel
from .labels import count_labels, inside
from .losses import span_loss
from .outputs import with_recorded
from .pooling import row_tokens

Pair = tuple[Any, Any]  # one value for the first position, one for the last
ENDS = 2  # an answer has two ends, its first position and its last


class SpanHead(TriptychPreTrainedModel):
    """The map from every position to the two ends of an answer, and the loss over the positions that are not masked.

    An answer has two ends, whatever `config.num_labels` says. transformers' Trainer counts only `labels`, so it gives
    no numbers to this head. Then every piece of an update has the same weight, as with transformers' heads. The result
    does not depend on how the update is cut if every piece has the same number of answers that are not cut off.
    """

    output_class: ClassVar[Any]

    def add_span_map(self) -> None:
        """Creates the map. `__init__` calls this after the body has been made."""
        self.qa_outputs = nn.Linear(self.config.hidden_size, ENDS)

    def answered(self, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """The tokens or vectors at the scored positions, (B, T) or (B, T, d), and their attention mask."""
        raise NotImplementedError

    def count_items(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Extends `TriptychPreTrainedModel.count_items`: counts first and last positions that are not cut off."""
        tokens = row_tokens(*self.answered(inputs))
        start, end = (count_labels(inside(inputs[name], tokens)) for name in ("start_positions", "end_positions"))
        return {"num_items_in_batch": start, "num_ends_in_batch": end}

    def span_output(self, outputs: Any, inputs: Mapping[str, Any], positions: Pair, numbers: Pair) -> Any:
        """The output of the head for the outputs of the body.

        Args:
            positions: the first and the last positions of the answers, (B,) each, or None.
            numbers: the numbers of first and of last positions that count in the whole update, or None.
        """
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if positions[0] is not None and positions[1] is not None:
            tokens = row_tokens(start_logits, self.answered(inputs)[1])
            loss = span_loss(start_logits, end_logits, *positions, tokens, *numbers)
        return with_recorded(self.output_class, outputs, loss=loss, start_logits=start_logits, end_logits=end_logits)
