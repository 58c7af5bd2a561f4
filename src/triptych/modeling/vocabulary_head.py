"""From hidden states to logits over a vocabulary, and to the loss of the tokens that are asked for.

Shapes: B batch, T positions, d residual width, V words of the vocabulary.
"""

import torch
from torch import Tensor, nn

from .base import TriptychPreTrainedModel
from .losses import token_cross_entropy


def keep_positions(hidden: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """The positions whose logits are asked for: (B, T, d) → (B, kept, d).

    `logits_to_keep` is a number (the last so many; 0: all), positions (kept,) for all rows, positions (B, kept) for
    each row, or a mask (B, T) of bools, which gives (number of True, d).
    """
    if isinstance(logits_to_keep, int):
        return hidden[:, -logits_to_keep:]
    if logits_to_keep.dtype == torch.bool:
        return hidden[logits_to_keep]
    if logits_to_keep.ndim == 2:
        return hidden.take_along_dim(logits_to_keep[..., None], dim=1)
    return hidden[:, logits_to_keep]


class VocabularyHead(TriptychPreTrainedModel):
    """The linear map to a vocabulary, which every language model has, and the loss over its logits.

    No other class turns hidden states into logits or into a loss over tokens. A copy of a model that computes either
    in another way, for example a loss over pieces of the vocabulary, overrides `logits` or `token_loss` alone.
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def add_lm_head(self, vocab_size: int, transform: nn.Module | None = None) -> None:
        """Create the map to a vocabulary; called in `__init__`, after the body has been made.

        Args:
            vocab_size: V.
            transform: what is applied to the hidden states before the map, (…, d) → (…, d); by default nothing.
        """
        self.transform = nn.Identity() if transform is None else transform
        self.lm_head = nn.Linear(self.config.hidden_size, vocab_size, bias=self.config.head_bias)

    def logits(self, hidden: Tensor) -> Tensor:
        """The scores of all words: (…, d) → (…, V). The scale comes before the bias, as in T5 and PaLM."""
        logits: Tensor = self.lm_head(self.transform(hidden) * self.config.logit_scale)
        return logits

    def token_loss(
        self,
        hidden: Tensor,
        labels: Tensor,
        num_items_in_batch: Tensor | int | None = None,
        label_smoothing: float | None = None,
        logits: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy of the labels that hidden states are asked for; see `token_cross_entropy`.

        Args:
            hidden: (…, d), as the body returns them.
            labels: (…) token ids, -100 where none is asked for. They are shifted already where a head shifts them.
            num_items_in_batch: the number by which the sum is divided; by default the number of labels that count.
            label_smoothing: by default what the configuration says while the model trains (section 5.4), and 0 in
                evaluation mode: there the loss is the negative log-likelihood, by which models can be compared.
            logits: (…, V), `logits(hidden)`, where the caller has computed them already.

        Raises:
            ValueError: labels and hidden states have different shapes.
            IndexError: a label is neither -100 nor in the vocabulary.
        """
        if label_smoothing is None:
            label_smoothing = self.config.label_smoothing if self.training else 0.0
        if logits is None:
            logits = self.logits(hidden)
        return token_cross_entropy(logits, labels, label_smoothing, num_items_in_batch)

    def logits_and_loss(
        self,
        hidden: Tensor,
        labels: Tensor | None,
        num_items_in_batch: Tensor | int | None = None,
        logits_to_keep: int | Tensor = 0,
        skip_logits: bool = False,
    ) -> tuple[Tensor | None, Tensor | None]:
        """What a forward returns for the body's hidden states (B, T, d): logits and loss, None for what is not asked.

        Args:
            labels: (B, T), or (B, kept) where `logits_to_keep` chooses positions.
            logits_to_keep: see `keep_positions`.
            skip_logits: return the loss alone. Then nothing has to hold the logits (B, T, V) after the loss is known.

        Raises:
            ValueError: neither logits nor a loss is asked for; or labels of another shape.
        """
        if skip_logits and labels is None:
            raise ValueError("skip_logits=True asks for the loss alone, which needs labels")
        hidden = keep_positions(hidden, logits_to_keep)
        logits = None if skip_logits else self.logits(hidden)
        loss = None if labels is None else self.token_loss(hidden, labels, num_items_in_batch, logits=logits)
        return logits, loss
