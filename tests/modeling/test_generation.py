"""The real `generate`: greedy, beams with the paper's length penalty and maximal length, caches, a learnt task."""

import itertools
import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

from triptych import TriptychConfig, TriptychForConditionalGeneration

PAD, START, END = 0, 2, 3


def decoder_log_probabilities(model, source, mask, target):
    return model(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits.log_softmax(-1)


def outputs_alone(model, ragged, **options):
    """One call per row."""
    return [row for source in ragged.rows for row in trimmed(model.generate(source[None], **options))]


def trimmed(rows):
    """Outputs without the start, the end and what fills a batch behind it (transformers fills beams with the end)."""
    return [list(itertools.takewhile(lambda token: token not in (END, PAD), row)) for row in rows[:, 1:].tolist()]


# --- greedy


@torch.no_grad()
def test_greedy_equals_a_loop_by_hand(make_model, causal_family, scheme, words, logits_of):
    model, source = make_model(causal_family, **scheme), words(1, 5)
    output = torch.tensor([[START]]) if causal_family == "encoder_decoder" else source
    prompt = output.shape[1]
    for _ in range(12):
        scores = logits_of(model, source if causal_family == "encoder_decoder" else output, None, output)
        output = torch.cat([output, scores[:, -1].argmax(-1, keepdim=True)], dim=1)
        if output[0, -1] == END:
            break
    generated = model.generate(source, max_new_tokens=12, do_sample=False)
    assert torch.equal(generated, output)
    assert torch.equal(model.generate(source, max_new_tokens=12, do_sample=False, use_cache=False), output)
    assert generated.shape[1] > prompt


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_generates_what_its_rows_do(make_model, causal_family, scheme, make_ragged, num_beams):
    model, ragged = make_model(causal_family, **scheme), make_ragged(7, 3, 5)
    ids, mask = ragged.padded("left")
    options = {"max_new_tokens": 8, "num_beams": num_beams, "do_sample": False}
    together = model.generate(ids, attention_mask=mask, **options)
    if causal_family == "decoder":  # cut the prompts, but for one token in place of the start
        assert torch.equal(together[:, :7], ids)
        alone = [trimmed(model.generate(row[None], **options)[:, len(row) - 1 :])[0] for row in ragged.rows]
        assert trimmed(together[:, 6:]) == alone
    else:
        assert trimmed(together) == outputs_alone(model, ragged, **options)


def test_static_cache_generates_the_same(make_model, causal_family, scheme, make_ragged):
    model = make_model(causal_family, **scheme)
    ids, mask = make_ragged(7, 3).padded("left")
    options = {"attention_mask": mask, "max_new_tokens": 8, "num_beams": 3, "do_sample": False}
    static = model.generate(ids, **options, cache_implementation="static", disable_compile=True)
    assert torch.equal(static, model.generate(ids, **options))


# --- the paper's length penalty


def gnmt(length, alpha):
    return ((5 + length) / 6) ** alpha


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.5])
@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@torch.no_grad()
def test_beams_are_ranked_with_the_length_penalty_of_the_paper(make_model, make_ragged, alpha, early_stopping):
    """log P(Y|X) / ((5 + |Y|) / 6)^α, with |Y| all tokens after the start, the end among them."""
    model = make_model("encoder_decoder", logit_scale=0.15)
    source, mask = make_ragged(7, 4).padded("right")
    found = model.generate(
        source,
        attention_mask=mask,
        num_beams=6,
        num_return_sequences=6,
        max_new_tokens=9,
        do_sample=False,
        early_stopping=early_stopping,
        gnmt_length_penalty=alpha,
        sequence_bias=[[[END], 2.0]],  # ends at different lengths
        renormalize_logits=True,
        output_scores=True,
        return_dict_in_generate=True,
    )
    scores, lengths = found.sequences_scores.view(2, 6), set()
    assert (scores.diff(dim=1) <= 1e-6).all()
    for n, sequence in enumerate(found.sequences):
        row = n // 6
        logits = decoder_log_probabilities(model, source[row, None], mask[row, None], sequence[None, :-1])[0]
        logits[:, END] += 2.0
        log_p = logits.log_softmax(-1).gather(-1, sequence[1:, None])[:, 0]
        length = sequence.tolist().index(END) if END in sequence else len(sequence) - 1
        lengths.add(length)
        expected = log_p[:length].sum().item() / gnmt(length, alpha)
        assert scores.flatten()[n].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert len(lengths) > 1


@torch.no_grad()
def test_beam_search_finds_the_best_of_all(make_model):
    """With as many beams as there are outputs the search is exhaustive: the best by the paper's score wins."""
    model = make_model("encoder_decoder", vocab_size=6, logit_scale=0.3, seed=4)
    source, steps = torch.tensor([[5, 4, 5]]), 3
    every = torch.cartesian_prod(*[torch.arange(6)] * steps)
    targets = torch.cat([torch.full((len(every), 1), START), every], dim=1)
    log_p = decoder_log_probabilities(model, source.expand(len(every), -1), None, targets[:, :-1])
    log_p = log_p.gather(-1, every[..., None])[..., 0]
    winners = set()
    for alpha in (0.0, 0.6, 4.0):
        best = {}
        for tokens, row in zip(every.tolist(), log_p, strict=True):
            length = tokens.index(END) + 1 if END in tokens else steps
            best[tuple(tokens[:length])] = row[:length].sum().item() / gnmt(length, alpha)
        expected = max(best, key=best.get)
        found = model.generate(
            source,
            num_beams=216,
            max_new_tokens=steps,
            do_sample=False,
            gnmt_length_penalty=alpha,
            early_stopping="never",
        )
        assert tuple(found[0, 1 : 1 + len(expected)].tolist()) == expected
        winners.add(expected)
    assert len({len(winner) for winner in winners}) > 1  # the penalty did change who wins


@torch.no_grad()
def test_length_penalty_of_a_decoder_counts_new_tokens_only(make_model, words, logits_of):
    model, prompt = make_model("decoder", logit_scale=0.3), words(1, 6)
    found = model.generate(
        prompt,
        num_beams=3,
        max_new_tokens=5,
        do_sample=False,
        gnmt_length_penalty=1.0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    tokens = found.sequences[0]
    log_p = logits_of(model, tokens[None, :-1]).log_softmax(-1)[0, 5:].gather(-1, tokens[6:, None])
    length = len(tokens) - 6
    assert found.sequences_scores[0].item() == pytest.approx(log_p.sum().item() / gnmt(length, 1.0), rel=1e-4)


# --- options in generation_config


OPTIONS = {"gnmt_length_penalty": 0.6, "max_length_beyond_source": 4}


def test_options_survive_saving(make_model, words, tmp_path):
    model, source = make_model("encoder_decoder"), words(2, 5)
    expected = model.generate(source, num_beams=4, do_sample=False, **OPTIONS)
    for name, value in OPTIONS.items():
        setattr(model.generation_config, name, value)
    model.generation_config.num_beams = 4
    assert torch.equal(model.generate(source, do_sample=False), expected)
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert {name: saved[name] for name in OPTIONS} == OPTIONS
    assert saved.get("length_penalty") in (None, 1.0)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert torch.equal(loaded.generate(source, do_sample=False), expected)
    assert expected.shape[1] <= 1 + 5 + 4


def scores_of(model, source, **options):
    found = model.generate(
        source,
        num_beams=4,
        max_new_tokens=8,
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    return found.sequences_scores


def test_an_argument_wins_over_the_stored_option(make_model, words):
    model, source = make_model("encoder_decoder"), words(2, 5)
    weak, strong = scores_of(model, source, gnmt_length_penalty=0.2), scores_of(model, source, gnmt_length_penalty=2.0)
    assert not torch.allclose(weak, strong)
    model.generation_config.gnmt_length_penalty = 2.0
    assert torch.equal(scores_of(model, source), strong)
    assert torch.equal(scores_of(model, source, gnmt_length_penalty=0.2), weak)
    assert torch.equal(scores_of(model, source), strong)  # the argument was for one call


def test_options_in_a_generation_config_of_the_call(make_model, words):
    model, source = make_model("encoder_decoder"), words(2, 5)
    given = GenerationConfig(num_beams=3, do_sample=False, decoder_start_token_id=START, pad_token_id=PAD, **OPTIONS)
    expected = model.generate(source, num_beams=3, do_sample=False, **OPTIONS)
    assert torch.equal(model.generate(source, generation_config=given, eos_token_id=END), expected)


def test_an_assigned_generation_config_is_copied(make_model, causal_family):
    model, given = make_model(causal_family), GenerationConfig(num_beams=3, gnmt_length_penalty=0.6)
    model.generation_config = given
    options = model.generation_config
    assert type(given) is GenerationConfig
    assert (options.num_beams, options.gnmt_length_penalty) == (3, 0.6)
    given.num_beams = 5
    assert options.num_beams == 3
    model.generation_config = options
    assert model.generation_config is options


# --- the paper's maximal length


NEVER_ENDS = {"suppress_tokens": [END, PAD], "do_sample": False}


@pytest.mark.parametrize("margin", [0, 1, 5])
def test_output_ends_beyond_its_own_source(make_model, make_ragged, margin):
    model = make_model("encoder_decoder")
    source, mask = make_ragged(7, 2, 4).padded("right")
    output = model.generate(source, attention_mask=mask, max_length_beyond_source=margin, **NEVER_ENDS)
    assert [len(row) for row in trimmed(output)] == [7 + margin, 2 + margin, 4 + margin]
    alone = model.generate(words_of(source, mask, 1), max_length_beyond_source=margin, **NEVER_ENDS)
    assert trimmed(alone) == trimmed(output)[1:2]


def words_of(source, mask, row):
    return source[row][mask[row].bool()][None]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 4}, {"num_beams": 4, "num_return_sequences": 3}])
@pytest.mark.parametrize("ends", [False, True])
def test_batched_equals_single_with_a_maximal_length(make_model, make_ragged, options, side, ends):
    model, ragged = make_model("encoder_decoder", logit_scale=0.3), make_ragged(7, 2, 4)
    ids, mask = ragged.padded(side)
    options = {**options, "do_sample": False, "max_length_beyond_source": 3, "gnmt_length_penalty": 0.6}
    options |= {} if ends else {"suppress_tokens": [END, PAD]}
    together = trimmed(model.generate(ids, attention_mask=mask, **options))
    assert together == outputs_alone(model, ragged, **options)


def test_maximal_length_holds_for_samples(make_model, make_ragged):
    model = make_model("encoder_decoder")
    source, mask = make_ragged(7, 2).padded("right")
    torch.manual_seed(0)
    options = {**NEVER_ENDS, "do_sample": True, "num_return_sequences": 3, "max_length_beyond_source": 2}
    output = model.generate(source, attention_mask=mask, **options)
    assert [len(row) for row in trimmed(output)] == [9, 9, 9, 4, 4, 4]


def test_maximal_length_from_embeddings_or_encoder_outputs(make_model, words):
    model, source = make_model("encoder_decoder"), words(2, 5)
    options = {"max_length_beyond_source": 2, **NEVER_ENDS}
    expected = model.generate(source, **options)
    assert expected.shape == (2, 8)
    assert torch.equal(model.generate(input_ids=source, **options), expected)
    assert torch.equal(model.generate(inputs_embeds=model.get_input_embeddings()(source), **options), expected)
    memory = model.get_encoder()(source)
    assert torch.equal(model.generate(encoder_outputs=memory, **options), expected)


@pytest.mark.parametrize("explicit", [{"max_new_tokens": 12}, {"max_length": 13}])
def test_an_explicit_length_wins(make_model, words, explicit):
    model, source = make_model("encoder_decoder"), words(1, 4)
    assert model.generate(source, max_length_beyond_source=2, **explicit, **NEVER_ENDS).shape == (1, 13)
    model.generation_config.max_length_beyond_source = 2
    assert model.generate(source, **explicit, **NEVER_ENDS).shape == (1, 13)
    assert model.generate(source, **NEVER_ENDS).shape == (1, 7)


def test_maximal_length_needs_a_source(make_model, words):
    with pytest.raises(ValueError, match="max_length_beyond_source needs a source; use max_new_tokens"):
        make_model("decoder").generate(words(1, 3), max_length_beyond_source=2)


# --- a task is learnt, and survives the process


def digits_to_reverse(count, seed):
    """Sources of 1 to 5 digits (ids 4 to 13) and an end; targets: the digits backwards and an end."""
    generator = torch.Generator().manual_seed(seed)
    sources, labels = torch.full((count, 6), PAD), torch.full((count, 6), -100)
    for i, length in enumerate(torch.randint(1, 6, (count,), generator=generator).tolist()):
        digits = torch.randint(4, 14, (length,), generator=generator)
        end = torch.tensor([END])
        sources[i, : length + 1] = torch.cat([digits, end])
        labels[i, : length + 1] = torch.cat([digits.flip(0), end])
    return sources, (sources != PAD).long(), labels


def learn_to_reverse(residual):
    torch.manual_seed(0)
    sizes = {"vocab_size": 14, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
    model = TriptychForConditionalGeneration(TriptychConfig.from_preset("tiny", **sizes, residual=residual))
    steps, optimizer = 400, torch.optim.Adam(model.parameters(), betas=(0.9, 0.98), eps=1e-9, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps, pct_start=0.2)
    for step in range(steps):
        source, mask, labels = digits_to_reverse(32, seed=step)
        model(input_ids=source, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.eval()


FRESH_PROCESS = """
import json, logging, sys, warnings
import torch, transformers
import triptych
from transformers import AutoModelForSeq2SeqLM, AutoModelForCausalLM

complaints = []
class Listener(logging.Handler):
    def emit(self, record):
        complaints.append(record.getMessage())
logging.getLogger("transformers").addHandler(Listener(logging.WARNING))
warnings.simplefilter("error")  # nothing on the way of a forward pass or of generation is deprecated
directory, source, mask = sys.argv[1], *(torch.tensor(json.loads(text)) for text in sys.argv[2:])
model = AutoModelForSeq2SeqLM.from_pretrained(directory)
model.train()(input_ids=source, attention_mask=mask, labels=source).loss.backward()
model.eval()
beams = model.generate(source, attention_mask=mask, num_beams=4, gnmt_length_penalty=0.6, max_length_beyond_source=3)
decoder = triptych.TriptychDecoderForCausalLM(triptych.TriptychDecoderConfig.from_preset("tiny-decoder"))
decoder(input_ids=source, attention_mask=mask, labels=source).loss.backward()
decoder.eval().generate(source.flip(1), attention_mask=mask.flip(1), max_new_tokens=3)
encoder = triptych.TriptychEncoderForMaskedLM(triptych.TriptychEncoderConfig.from_preset("tiny-encoder"))
encoder(input_ids=source, attention_mask=mask, labels=source).loss.backward()
print(json.dumps({"beams": beams.tolist(), "complaints": complaints}))
"""


@pytest.fixture(scope="module", params=["post", "pre"])
def reverser(request):
    return learn_to_reverse(request.param)


PAPER = {"num_beams": 4, "gnmt_length_penalty": 0.6, "max_length_beyond_source": 3, "do_sample": False}


def test_reversal_is_learnt(reverser):
    source, mask, labels = digits_to_reverse(300, seed=10_000)
    output = trimmed(reverser.generate(source, attention_mask=mask, **PAPER))
    expected = trimmed(torch.nn.functional.pad(labels, (1, 0)))
    right = sum(row == wanted for row, wanted in zip(output, expected, strict=True))
    assert right >= 0.99 * len(expected)


@pytest.mark.parametrize("reverser", ["post"], indirect=True)
def test_a_fresh_process_generates_the_same_without_complaint(reverser, tmp_path):
    reverser.save_pretrained(tmp_path)
    source, mask, _ = digits_to_reverse(20, seed=10_000)
    told = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, tmp_path, json.dumps(source.tolist()), json.dumps(mask.tolist())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert answer["beams"] == reverser.generate(source, attention_mask=mask, **PAPER).tolist()
    assert answer["complaints"] == []


def scored(model, source, generation_config=None, **options):
    torch.manual_seed(0)
    found = model.generate(
        source, generation_config, output_scores=True, return_dict_in_generate=True, do_sample=False, **options
    )
    return found.sequences_scores.tolist()


def test_the_length_penalty_of_a_call_replaces_the_models(make_model, make_ragged):
    """In whichever form, and whether it comes as an argument or in a configuration."""
    model = make_model("encoder_decoder")
    source, _ = make_ragged(6).padded("right")
    options = {"num_beams": 3, "max_new_tokens": 6}
    plain, papers = (scored(model, source, **{name: 2.0}, **options) for name in ("length_penalty", PENALTY))
    assert plain != papers
    model.generation_config.gnmt_length_penalty = 0.6
    assert scored(model, source, GenerationConfig(length_penalty=2.0, **options)) == plain
    assert scored(model, source, length_penalty=2.0, **options) == plain
    papers_config = GenerationConfig(**options)
    papers_config.gnmt_length_penalty = 2.0
    assert scored(model, source, papers_config) == papers
    papers_config.length_penalty = 2.0  # two forms in one place: the paper's
    assert scored(model, source, papers_config) == papers


PENALTY, MARGIN = "gnmt_length_penalty", "max_length_beyond_source"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((PENALTY, value) for value in (float("nan"), float("inf"), "0.6", True)),
        *((MARGIN, value) for value in (-1, 2.5, "3", True, float("nan"))),
    ],
)
@pytest.mark.parametrize("place", ["call", "configuration", "model"])
def test_own_options_are_refused_by_name_before_any_work(make_model, monkeypatch, name, value, place):
    model, given, options = make_model("encoder_decoder"), GenerationConfig(), {}
    if place == "call":
        options = {name: value}
    else:
        setattr(given if place == "configuration" else model.generation_config, name, value)
    monkeypatch.setattr(model, "forward", None)
    with pytest.raises(ValueError, match=f"{name}={value!r} must be a .*number.*None"):
        model.generate(torch.tensor([[5, 6]]), given if place == "configuration" else None, **options)
