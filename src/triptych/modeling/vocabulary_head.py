"""The map from hidden states to logits over a vocabulary, and the loss of the predicted tokens.

Shapes: B batch, T positions, d residual width, V tokens of the vocabulary.
"""

import torch
from torch import Tensor, nn

from .base import TriptychPreTrainedModel
from .losses import token_cross_entropy


def keep_positions(hidden: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """The hidden states whose logits are needed: (B, T, d) → (B, kept, d).

    `logits_to_keep` is the number of last positions (0: all positions), or positions (kept,) for all rows, or
    positions (B, kept) for each row, or a mask (B, T) of bools, which gives (number of True, d).
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

    No other class turns hidden states into logits over a vocabulary, or into a loss over tokens. So a subclass that
    computes one of them in another way, for example a loss over pieces of the vocabulary, overrides only `logits` or
    `token_loss`.
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def add_lm_head(self, vocab_size: int, transform: nn.Module | None = None) -> None:
        """Creates the map to a vocabulary. `__init__` calls this after the body has been made.

        Args:
            vocab_size: V.
            transform: a module that is applied to the hidden states before the map, (…, d) → (…, d).
        """
        self.transform = nn.Identity() if transform is None else transform
        self.lm_head = nn.Linear(self.config.hidden_size, vocab_size, bias=self.config.head_bias)

    def logits(self, hidden: Tensor) -> Tensor:
        """The scores of all tokens: (…, d) → (…, V). The scale is applied before the bias is added."""
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
        """Cross-entropy of the labels that hidden states predict; see `token_cross_entropy`.

        Args:
            hidden: (…, d) the hidden states that the body returns.
            labels: (…) token ids, or -100 at positions that predict nothing. A head that shifts labels has done so
                already.
            num_items_in_batch: the number by which the sum is divided; by default the number of labels that count.
            label_smoothing: by default the value of the configuration in training mode (section 5.4), and 0 in
                evaluation mode. There the loss is the negative log-likelihood, by which models can be compared.
            logits: (…, V), the result of `logits(hidden)`, if the caller has computed it already.

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
        """Logits and loss for the hidden states of the body (B, T, d); None in place of the one that is not needed.

        Args:
            labels: (B, T), or (B, kept) if `logits_to_keep` chooses positions; None: no loss is computed.
            logits_to_keep: see `keep_positions`.
            skip_logits: whether only the loss is returned. Then nothing holds the logits (B, T, V) after the loss is
                computed.

        Raises:
            ValueError: neither logits nor a loss is needed; or the labels have another shape than the hidden states.
        """
        if skip_logits and labels is None:
            raise ValueError("skip_logits=True asks for the loss alone, which needs labels")
        hidden = keep_positions(hidden, logits_to_keep)
        logits = None if skip_logits else self.logits(hidden)
        loss = None if labels is None else self.token_loss(hidden, labels, num_items_in_batch, logits=logits)
        return logits, loss
