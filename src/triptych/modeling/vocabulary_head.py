"""The map from hidden states to logits over a vocabulary, and the loss of the predicted tokens.

Shapes: B batch, T positions, d residual width, V tokens of the vocabulary.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils.import_utils import is_tracing

from .base import TriptychPreTrainedModel
from .labels import IGNORED
from .losses import CHUNK, check_shapes, row_slices, token_cross_entropy


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

    Class attributes:
        has_few_labels: whether most positions have no label, as in masked language modelling. Then the positions that
            have one are looked up on an accelerator, too, for which the CPU waits: to map all positions takes longer.
    """

    has_few_labels: ClassVar[bool] = False
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
            logits: (…, V), the result of `logits(hidden)`, if the caller has computed it already. Otherwise only the
                hidden states that have a label are mapped to the vocabulary, where that saves work; see `labelled`.

        Raises:
            ValueError: labels and hidden states have different shapes.
            IndexError: a label is neither -100 nor in the vocabulary.
        """
        if label_smoothing is None:
            label_smoothing = self.config.label_smoothing if self.training else 0.0
        if logits is None:
            hidden, labels = self.labelled(hidden, labels)
            logits = self.logits(hidden)
        return token_cross_entropy(logits, labels, label_smoothing, num_items_in_batch)

    def labelled(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden states that have a label other than -100, and these labels: (…, d), (…) → (N, d), (N,).

        What has no label adds nothing to the loss, so it need not be mapped to the vocabulary. Everything is returned
        as it is where looking up the labels costs more than it saves (on an accelerator, unless `has_few_labels`), and
        in a compiled model, whose shapes must not depend on values.

        Raises:
            ValueError: labels and hidden states have different shapes.
        """
        looks_up = labels.device.type == "cpu" or (self.has_few_labels and labels.device.type != "meta")
        if not looks_up or is_tracing(labels):
            return hidden, labels
        check_shapes(labels, hidden)
        hidden, labels = hidden.flatten(0, -2), labels.flatten()
        places = (labels != IGNORED).nonzero()[:, 0]
        if len(places) == len(labels):
            return hidden, labels
        return hidden.index_select(0, places.to(hidden.device)), labels.index_select(0, places)

    @torch.no_grad()
    def predictions_of_labels(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """How well hidden states predict labels: the negative log-likelihoods (…), and whether each label is the most
        probable token (…). Where the label is -100 they are 0 and False. There is no gradient.

        The logits of a few positions at a time are in memory, never those of all.

        Args:
            hidden, labels: see `token_loss`.
        """
        found, known = self.labelled(hidden, labels.to(hidden.device))
        known = known.flatten()
        losses = torch.zeros(len(known), dtype=torch.float32, device=hidden.device)
        right = torch.zeros(len(known), dtype=torch.bool, device=hidden.device)
        for rows in row_slices(len(known), max(1, CHUNK // self.lm_head.out_features)):
            logits = self.logits(found.flatten(0, -2)[rows]).float()
            losses[rows] = F.cross_entropy(logits, known[rows], ignore_index=IGNORED, reduction="none")
            right[rows] = logits.argmax(-1) == known[rows]
        places = (labels != IGNORED).to(hidden.device)
        counts = known != IGNORED
        return (
            torch.zeros(labels.shape, device=hidden.device).masked_scatter(places, losses[counts]),
            torch.zeros_like(places).masked_scatter(places, right[counts]),
        )

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
