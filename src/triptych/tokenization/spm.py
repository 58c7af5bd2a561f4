"""Reading a bare SentencePiece model (`spiece.model`, `sentencepiece.bpe.model`, ...) as a fast tokenizer."""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from .models import SPACE

# The numbers of the kinds of models and of pieces in sentencepiece_model.proto.
_UNIGRAM, _BPE = 1, 2
_KINDS = {3: "word", 4: "char"}
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4


def load_sentencepiece(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a SentencePiece model, unigram or BPE; its pieces keep their ids.

    A SentencePiece model says which pieces begin, end and pad a text, but not where they stand. Here every text ends
    with the end piece, if there is one, as for T5 and Marian. The tokens are otherwise those of the library
    `sentencepiece`, which need not be installed.

    Raises:
        ValueError: the file is not a SentencePiece model, or is one of another kind; or protobuf is not installed.
    """
    proto = _read(path)
    spec, rules = proto.trainer_spec, proto.normalizer_spec
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    backend = Tokenizer(_model(path, spec, pieces))
    backend.normalizer = _normalizer(rules)
    backend.decoder = _decoder(rules.add_dummy_prefix)
    kinds = {piece.piece: piece.type for piece in proto.pieces}
    if spec.model_type == _BPE:  # a unigram model chooses these pieces by their scores
        backend.add_tokens([AddedToken(p, normalized=False) for p, kind in kinds.items() if kind == _USER_DEFINED])
    backend.add_special_tokens(
        [AddedToken(p, normalized=False, special=True) for p, kind in kinds.items() if kind in (_UNKNOWN, _CONTROL)]
    )
    ids = {role: getattr(spec, f"{role}_id") for role in ("unk", "bos", "eos", "pad")}
    roles = {role: pieces[number][0] for role, number in ids.items() if 0 <= number < len(pieces)}
    if "eos" in roles:
        end = roles["eos"]
        backend.post_processor = processors.TemplateProcessing(
            single=["$A", end], pair=["$A", end, "$B", end], special_tokens=[(end, ids["eos"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        name_or_path=str(path),
        **{f"{role}_token": piece for role, piece in roles.items()},
    )


def _read(path: Path) -> Any:
    from transformers.convert_slow_tokenizer import import_protobuf
    from transformers.tokenization_utils_base import import_protobuf_decode_error

    try:
        proto, decode_error = import_protobuf().ModelProto(), import_protobuf_decode_error()
    except ImportError as error:
        raise ValueError(f"{path}: reading a SentencePiece model needs protobuf; pip install protobuf") from error
    try:
        proto.ParseFromString(path.read_bytes())
    except decode_error as error:
        raise ValueError(f"{path} is not a SentencePiece model ({error})") from error
    if not proto.pieces:
        raise ValueError(f"{path} is not a SentencePiece model: it has no pieces")
    return proto


def _model(path: Path, spec: Any, pieces: list[tuple[str, float]]) -> models.Model:
    if spec.treat_whitespace_as_suffix or spec.model_type not in (_UNIGRAM, _BPE):
        kind = _KINDS.get(spec.model_type, "unknown") if spec.model_type not in (_UNIGRAM, _BPE) else "suffixed"
        raise ValueError(
            f"{path} is a SentencePiece model of the kind {kind!r}; only unigram and bpe models with the space before "
            "the word can be read"
        )
    if spec.model_type == _UNIGRAM:
        return models.Unigram(pieces, unk_id=spec.unk_id, byte_fallback=spec.byte_fallback)
    from transformers.tokenization_utils_sentencepiece import generate_merges

    vocabulary = {piece: number for number, (piece, _) in enumerate(pieces)}
    return models.BPE(
        vocabulary,
        generate_merges(vocabulary, dict(pieces)),
        unk_token=pieces[spec.unk_id][0],
        fuse_unk=True,
        byte_fallback=spec.byte_fallback,
    )


def _normalizer(rules: Any) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if rules.precompiled_charsmap:
        steps.append(normalizers.Precompiled(rules.precompiled_charsmap))
    if rules.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(f"^ +|[ {SPACE}]+$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if rules.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _decoder(has_dummy_prefix: bool) -> decoders.Decoder:
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if has_dummy_prefix else steps)
