"""What an update works through: tokens, padding, floating-point operations; and what the device could do at most."""

import sys
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from .objective import Piece

# Column of token ids → the column in which 1 marks the tokens; other columns are labels, in which -100 marks no token.
MASKS = {"input_ids": "attention_mask", "decoder_input_ids": "decoder_attention_mask"}
GIGABYTE = 1e9
# Width of the square matrices whose product measures a device: large enough to keep it busy, small enough to take
# a few thousandths of a second.
PROBE_WIDTH = {"cpu": 512}
LARGE_PROBE = 4096


def row_lengths(piece: Piece, column: str) -> Tensor:
    """Returns the number of tokens in each row of a column of the shape (rows, longest); shape (rows,)."""
    mask = piece.get(MASKS.get(column, ""))
    tokens = piece[column] != -100 if mask is None else mask
    return tokens.reshape(len(tokens), -1).sum(dim=1)


class Work:
    """
    Adds up, on the device, what pieces of this process consist of.

    Args:
        sides: side of a row → the column of its tokens; see `Task.sides`.
        device: where the sums lie.

    Attributes:
        sums: positions with padding; then for each side its tokens, and the squares of the lengths of its rows; then
            for the first two sides the products of the lengths. All since the last `clear`, in float64 where possible.
    """

    def __init__(self, sides: Mapping[str, str], device: torch.device) -> None:
        self.columns = list(sides.values())
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(2 + 2 * len(self.columns), dtype=dtype, device=device)

    def add(self, piece: Piece) -> None:
        """Counts a piece; it waits for nothing on the device."""
        columns = [column for column in self.columns if column in piece]
        lengths = [row_lengths(piece, column).to(self.sums.dtype) for column in columns]
        if not lengths:
            return
        self.sums[0] += sum(piece[column].numel() for column in columns)
        for number, of_side in enumerate(lengths):
            self.sums[1 + 2 * number] += of_side.sum()
            self.sums[2 + 2 * number] += of_side.square().sum()
        self.sums[-1] += (lengths[0] * lengths[-1]).sum()

    def clear(self) -> None:
        """Starts from 0."""
        self.sums.zero_()

    def tokens(self, sums: list[float]) -> float:
        """The tokens of all sides, of sums such as those of all processes."""
        return sum(sums[1:-1:2])

    def padding(self, sums: list[float]) -> float:
        """The share of the positions that hold no token, in [0, 1]."""
        return 1 - self.tokens(sums) / sums[0] if sums[0] else 0.0


class Operations:
    """
    Estimates the floating-point operations of training, as appendix B of PaLM (Chowdhery et al. 2022) counts them.

    A token costs 6 operations for each number in the matrices that it goes through: 2 forward and 4 backward. A layer
    of attention costs 12 × d_model for each pair of tokens that can see each other; as in that paper, the half that a
    causal mask hides counts, too. The map to the vocabulary costs 6 × its size for each item of the loss. What is
    computed twice to save memory counts once, so these are the operations of the model, not of the device.

    Args:
        model: a model of transformers. Of another module only the matrices are counted.
    """

    def __init__(self, model: nn.Module) -> None:
        config = getattr(model, "config", None)
        find: Any = getattr(model, "get_output_embeddings", None)
        output = find() if find else None
        tables = [output, *(module for module in model.modules() if isinstance(module, nn.Embedding))]
        outside = {id(p) for table in tables if table is not None for p in table.parameters()}
        matrices = {n: p.numel() for n, p in model.named_parameters() if p.ndim == 2 and id(p) not in outside}
        self.vocabulary_map = 0 if output is None else max((p.numel() for p in output.parameters()), default=0)
        self.has_two_stacks = bool(getattr(config, "is_encoder_decoder", False))
        first = sum(size for name, size in matrices.items() if ".encoder." in f".{name}")
        self.matrices: tuple[int, ...] = (
            (first, sum(matrices.values()) - first) if self.has_two_stacks else (sum(matrices.values()),)
        )
        width = getattr(config, "hidden_size", 0)
        names = ("encoder_layers", "decoder_layers") if self.has_two_stacks else ("num_hidden_layers",)
        self.attention = [width * (getattr(config, name, 0) or 0) for name in names]

    def count(self, sums: list[float], items: float) -> float:
        """Returns the operations for the sums of `Work`, and for the items that the loss is a mean over."""
        tokens, squares, products = sums[1:-1:2], sums[2:-1:2], sums[-1]
        if self.has_two_stacks:  # with one side, both stacks read it
            source, target = 0, len(tokens) - 1
            pairs = self.attention[0] * squares[source] + self.attention[1] * (squares[target] + products)
            inside = self.matrices[0] * tokens[source] + self.matrices[1] * tokens[target]
        else:
            pairs, inside = self.attention[0] * sum(squares), self.matrices[0] * sum(tokens)
        return 6 * (inside + self.vocabulary_map * items) + 12 * pairs


def peak_rate(device: torch.device, precision: str) -> float:
    """Returns the operations per second of a product of square matrices on this device, in the given precision.

    This measured rate is the peak that MFU refers to: no table of devices is needed, and a CPU has one, too.

    Args:
        precision: no, bf16 or fp16; the matrices are float32 with `no`.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    return _measured_rate(str(device), precision, threads)


@cache
def _measured_rate(device: str, precision: str, threads: int) -> float:
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    place = torch.device(device)
    width = PROBE_WIDTH.get(place.type, LARGE_PROBE)
    generator = torch.Generator(place).manual_seed(0)  # the training's own random numbers stay as they are
    matrix = torch.randn(width, width, generator=generator, device=place).to(dtype)
    fastest = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        torch.mm(matrix, matrix)
        if place.type != "cpu":
            torch.accelerator.synchronize()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * width**3 / fastest


def memory_in_use(device: torch.device) -> float:
    """Returns the most memory that was in use so far, in gigabytes (10^9 bytes).

    On a CPU it is the peak of the resident memory of this process, pages of files that it has mapped included; on
    another device it is the peak of what torch has allocated there.
    """
    module: Any = None if device.type == "cpu" else torch.get_device_module(device)
    if hasattr(module, "max_memory_allocated"):
        return float(module.max_memory_allocated(device)) / GIGABYTE
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().rss) / GIGABYTE
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIGABYTE
