"""Every way of transformers' `generate` to choose tokens, in both causal families: against uncached references."""

import pytest
import torch
from transformers import (
    CompileConfig,
    DynamicCache,
    EncoderDecoderCache,
    LogitsProcessor,
    LogitsProcessorList,
    QuantizedCache,
    cache_utils,
)
from transformers.generation.streamers import BaseStreamer

PAD, START, END = 0, 2, 3
STEPS = 8


@pytest.fixture
def next_logits(logits_of):
    """Uncached logits of the token after `output` (the prompt among it, for a decoder), each row alone: (B, V)."""

    def compute(model, source, output):
        sources = source if model.config.is_encoder_decoder else output
        rows = zip(sources, output, strict=True)
        return torch.cat([logits_of(model, s[None], None, o[None], use_cache=False)[:, -1] for s, o in rows])

    return compute


def first_ids(model, source):
    """What the output starts with."""
    return torch.full((len(source), 1), START) if model.config.is_encoder_decoder else source


def by_hand(model, source, choose, steps=STEPS):
    """Append what `choose` takes for the output so far; rows that have ended are padded."""
    output = first_ids(model, source)
    ended = torch.zeros(len(source), dtype=torch.bool)
    for _ in range(steps):
        tokens = choose(output).masked_fill(ended, PAD)
        output, ended = torch.cat([output, tokens[:, None]], dim=1), ended | (tokens == END)
        if ended.all():
            break
    return output


# --- greedy, sampled, beams: with a cache or without, each kind


MODES = {
    "greedy": {},
    "sample": {"do_sample": True, "temperature": 0.7, "top_k": 20, "num_return_sequences": 2},
    "beam": {"num_beams": 3, "num_return_sequences": 2},
    "beam-sample": {"num_beams": 3, "do_sample": True, "num_return_sequences": 2},
}


@pytest.mark.parametrize("mode", MODES)
def test_no_cache_changes_what_is_generated(make_model, causal_family, scheme, make_ragged, mode):
    model = make_model(causal_family, **scheme, logit_scale=0.3)
    ids, mask = make_ragged(7, 3, 5).padded("left")

    def run(**options):
        torch.manual_seed(5)
        options = {"do_sample": False, **MODES[mode], **options}
        return model.generate(ids, attention_mask=mask, max_new_tokens=STEPS, **options)

    expected = run(use_cache=False)
    assert len(expected) == 3 * MODES[mode].get("num_return_sequences", 1)
    assert torch.equal(run(), expected)
    assert torch.equal(run(cache_implementation="static", disable_compile=True), expected)
    assert torch.equal(run(prefill_chunk_size=2), expected)


@torch.no_grad()
def test_sampling_by_hand(make_model, causal_family, scheme, words, next_logits):
    """Temperature, the k likeliest, of these the likeliest until p is reached; then a draw from the same generator."""
    model, source = make_model(causal_family, **scheme, logit_scale=0.3), words(2, 5)
    rows = source.repeat_interleave(2, dim=0)

    def choose(output):
        logits = next_logits(model, rows, output) / 0.8
        logits[logits < logits.topk(30).values[:, -1:]] = float("-inf")
        probabilities, order = logits.softmax(-1).sort(descending=True)
        beyond = probabilities.cumsum(-1) - probabilities >= 0.9
        logits = logits.scatter(1, order, logits.gather(1, order).masked_fill(beyond, float("-inf")))
        return torch.multinomial(logits.softmax(-1), 1)[:, 0]

    torch.manual_seed(11)
    expected = by_hand(model, rows, choose)
    torch.manual_seed(11)
    options = {"do_sample": True, "temperature": 0.8, "top_k": 30, "top_p": 0.9, "num_return_sequences": 2}
    found = model.generate(source, max_new_tokens=STEPS, **options)
    assert torch.equal(found, expected)
    assert not torch.equal(found[0], found[1])


@torch.no_grad()
def test_beams_by_hand(make_model, causal_family, scheme, words, next_logits):
    """The three best of all continuations, step by step; no row ends."""
    model, source = make_model(causal_family, **scheme, logit_scale=0.3), words(1, 5)
    beams, scores, start = first_ids(model, source), torch.zeros(1), first_ids(model, source).shape[1]
    for _ in range(STEPS):
        log_p = next_logits(model, source.expand(len(beams), -1), beams).log_softmax(-1)
        log_p[:, END] = float("-inf")
        scores, best = (scores[:, None] + log_p).flatten().topk(3)
        vocab_size = log_p.shape[1]
        beams = torch.cat([beams[best // vocab_size], (best % vocab_size)[:, None]], dim=1)
    found = model.generate(
        source,
        max_new_tokens=STEPS,
        num_beams=3,
        num_return_sequences=3,
        do_sample=False,
        suppress_tokens=[END],
        length_penalty=0.0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    assert torch.equal(found.sequences, beams)
    assert found.sequences.shape[1] == start + STEPS
    torch.testing.assert_close(found.sequences_scores, scores, atol=1e-4, rtol=1e-4)


# --- drafts


def drafts(make_model, family, scheme):
    """Options under which tokens are drafted and then checked."""
    yield {"prompt_lookup_num_tokens": 3}
    yield {"assistant_model": make_model(family, seed=1, **scheme)}
    yield {"assistant_model": make_model(family, **scheme)}  # right in everything
    if family == "decoder":
        yield {"assistant_early_exit": 1}


def test_drafts_change_nothing(make_model, causal_family, scheme, words):
    model, source = make_model(causal_family, **scheme), words(1, 6)
    source[0, 4:] = source[0, :2]  # something to look up
    expected = model.generate(source, max_new_tokens=2 * STEPS, do_sample=False, use_cache=False)
    for options in drafts(make_model, causal_family, scheme):
        found = model.generate(source, max_new_tokens=2 * STEPS, do_sample=False, **options)
        assert torch.equal(found, expected), options.keys()


@torch.no_grad()
def test_a_right_draft_saves_steps(make_model, causal_family, words):
    model, source = make_model(causal_family), words(1, 6)
    steps = []
    model.lm_head.register_forward_hook(lambda *_: steps.append(1))
    options = {"max_new_tokens": 12, "do_sample": False, "suppress_tokens": [END]}
    model.generate(source, assistant_model=make_model(causal_family), **options)
    assert len(steps) < 12


@torch.no_grad()
def test_early_exit_drafts_with_the_first_layers(make_model, words):
    model, source = make_model("decoder", num_hidden_layers=3), words(1, 6)
    runs = [0, 0, 0]
    for i, layer in enumerate(model.model.layers):
        layer.register_forward_hook(lambda *_, i=i: runs.__setitem__(i, runs[i] + 1))
    options = {"max_new_tokens": 12, "do_sample": False, "suppress_tokens": [END]}
    expected = model.generate(source, **options)
    assert runs == [12, 12, 12]
    runs[:] = [0, 0, 0]
    assert torch.equal(model.generate(source, assistant_early_exit=1, **options), expected)
    assert runs[0] > runs[1] == runs[2] > 0


class Stop(Exception):
    pass


def test_a_failure_while_drafting_leaves_no_trace(make_model, words):
    model, source = make_model("decoder"), words(1, 6)
    expected = model.generate(source, max_new_tokens=6, do_sample=False)

    def fail(module, args, output):
        if model.config.num_hidden_layers == 1:  # in the draft
            raise Stop

    hook = model.lm_head.register_forward_hook(fail)
    with pytest.raises(Stop):
        model.generate(source, max_new_tokens=6, do_sample=False, assistant_early_exit=1)
    hook.remove()
    assert model.config.num_hidden_layers == 2
    assert torch.equal(model.generate(source, max_new_tokens=6, do_sample=False), expected)


@pytest.mark.parametrize("depth", [1, 2])
def test_early_exit_of_an_encoder_decoder_is_refused(make_model, words, depth):
    model = make_model("encoder_decoder", encoder_layers=3)
    expected = model.generate(words(1, 4), max_new_tokens=4, do_sample=False)
    with pytest.raises(ValueError, match=rf"assistant_early_exit={depth} .* decoder alone; give .* assistant_model"):
        model.generate(words(1, 4), max_new_tokens=4, assistant_early_exit=depth)
    assert model.config.encoder_layers == 3
    assert torch.equal(model.generate(words(1, 4), max_new_tokens=4, do_sample=False), expected)


@pytest.mark.parametrize("depth", [-1, 0, 2, 5])
def test_early_exit_must_leave_layers_out(make_model, words, depth):
    with pytest.raises(ValueError, match=f"assistant_early_exit={depth} .*num_hidden_layers=2; choose 1 to 1"):
        make_model("decoder").generate(words(1, 4), max_new_tokens=4, assistant_early_exit=depth)


# --- classifier-free guidance


@pytest.mark.parametrize("negative", [True, False], ids=["negative-prompt", "last-token"])
@torch.no_grad()
def test_guidance_by_hand(make_model, causal_family, scheme, make_ragged, next_logits, negative):
    """Each row alone, uncached: log p(negative) + 1.5 · (log p - log p(negative)); batches are padded on the left."""
    model = make_model(causal_family, **scheme, logit_scale=0.3)
    prompts, others = make_ragged(7, 4), make_ragged(3, 5, seed=30)
    (ids, mask), (other_ids, other_mask) = prompts.padded("left"), others.padded("left")
    options = {"negative_prompt_ids": other_ids, "negative_prompt_attention_mask": other_mask} if negative else {}
    options |= {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": [END], "guidance_scale": 1.5}
    found = model.generate(ids, attention_mask=mask, **options)
    start = first_ids(model, ids).shape[1]
    for i, (prompt, other) in enumerate(zip(prompts.rows, others.rows, strict=True)):
        other = (other if negative else prompt[-1:])[None]

        def choose(output, prompt=prompt[None], other=other):
            unguided = output
            if not model.config.is_encoder_decoder:
                unguided = torch.cat([other, output[:, prompt.shape[1] :]], dim=1)
            pair = next_logits(model, prompt, output), next_logits(model, other, unguided)
            log_p, log_q = (logits.log_softmax(-1) for logits in pair)
            guided = log_q + 1.5 * (log_p - log_q)
            guided[:, END] = float("-inf")
            return guided.argmax(-1)

        expected = by_hand(model, prompt[None], choose)
        assert found[i, start:].tolist() == expected[0, -STEPS:].tolist()


@torch.no_grad()
def test_guidance_follows_the_beams(make_model, causal_family, words, next_logits):
    model, source, other = make_model(causal_family, logit_scale=0.2), words(1, 5), words(1, 4, seed=8)
    found = model.generate(
        source,
        negative_prompt_ids=other,
        guidance_scale=1.3,
        num_beams=4,
        num_return_sequences=4,
        max_new_tokens=STEPS,
        do_sample=False,
        suppress_tokens=[END],
        length_penalty=0.0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    prompt = 0 if model.config.is_encoder_decoder else source.shape[1]
    for tokens, score in zip(found.sequences, found.sequences_scores, strict=True):
        total = 0.0
        for end in range(len(tokens) - STEPS, len(tokens)):
            output = tokens[None, :end]
            unguided = torch.cat([other, output[:, prompt:]], dim=1) if prompt else output
            log_p = next_logits(model, source, output).log_softmax(-1)
            log_q = next_logits(model, other, unguided).log_softmax(-1)
            total += (log_q + 1.3 * (log_p - log_q))[0, tokens[end]].item()
        assert score.item() == pytest.approx(total, rel=1e-3, abs=1e-3)


def test_guidance_of_embeddings_needs_a_negative_prompt(make_model, causal_family, words):
    model, source = make_model(causal_family), words(1, 4)
    options = {"min_new_tokens": 4, "max_new_tokens": 4, "do_sample": False, "guidance_scale": 1.5}
    embeds = model.get_input_embeddings()(source)
    with pytest.raises(ValueError, match="guidance_scale needs negative_prompt_ids"):
        model.generate(inputs_embeds=embeds, **options)
    guided = model.generate(inputs_embeds=embeds, negative_prompt_ids=words(1, 3), **options)
    expected = model.generate(source, negative_prompt_ids=words(1, 3), **options)
    assert guided[0, -4:].tolist() == expected[0, -4:].tolist()


# --- inputs and outputs


def test_embeddings_generate_what_their_ids_do(make_model, causal_family, scheme, make_ragged):
    model = make_model(causal_family, **scheme, embedding_scale=3.0)
    ids, mask = make_ragged(6, 4).padded("left")
    options = {"attention_mask": mask, "max_new_tokens": STEPS, "do_sample": False}
    expected = model.generate(ids, **options, use_cache=False)
    found = model.generate(inputs_embeds=model.get_input_embeddings()(ids), **options)
    assert torch.equal(found, expected if causal_family == "encoder_decoder" else expected[:, 6:])


@pytest.mark.parametrize("options", [{}, {"cache_implementation": "static", "disable_compile": True}])
@pytest.mark.parametrize("num_beams", [1, 2])
def test_outputs_begun_by_the_caller(make_model, scheme, make_ragged, options, num_beams):
    """A decoder's own prompt in an encoder–decoder, padded on the left: each row generates what it does alone."""
    model = make_model("encoder_decoder", **scheme)
    sources, begun = make_ragged(4, 7), make_ragged(5, 2, seed=60)
    (ids, mask), (decoder_ids, decoder_mask) = sources.padded("left"), begun.padded("left")
    options = {**options, "max_new_tokens": 6, "do_sample": False, "num_beams": num_beams, "suppress_tokens": [END]}
    together = model.generate(
        ids, attention_mask=mask, decoder_input_ids=decoder_ids, decoder_attention_mask=decoder_mask, **options
    )
    for row, source, start in zip(together, sources.rows, begun.rows, strict=True):
        single = model.generate(source[None], decoder_input_ids=start[None], **options, use_cache="static" in options)
        assert row[-6:].tolist() == single[0, -6:].tolist()


class Listener(BaseStreamer):
    """Remembers what it was given, piece by piece."""

    def __init__(self):
        self.pieces, self.ended = [], False

    def put(self, value):
        self.pieces.append(value.flatten().tolist())

    def end(self):
        self.ended = True


@pytest.mark.parametrize("options", [{}, {"prompt_lookup_num_tokens": 2}, {"prefill_chunk_size": 2}])
def test_tokens_are_streamed_as_they_come(make_model, causal_family, words, options):
    model, source, listener = make_model(causal_family), words(1, 5), Listener()
    found = model.generate(source, max_new_tokens=STEPS, do_sample=False, streamer=listener, **options)
    start = first_ids(model, source)
    assert listener.ended
    assert listener.pieces[0] == start[0].tolist()
    assert [token for piece in listener.pieces for token in piece] == found[0].tolist()
    if "prompt_lookup_num_tokens" not in options:
        assert [len(piece) for piece in listener.pieces[1:]] == [1] * (found.shape[1] - start.shape[1])


@pytest.mark.parametrize("num_return_sequences", [2, 3])
def test_number_of_returned_sequences(make_model, causal_family, words, num_return_sequences):
    model, source = make_model(causal_family, logit_scale=0.3), words(2, 5)
    options = {"max_new_tokens": STEPS, "num_return_sequences": num_return_sequences}
    torch.manual_seed(0)
    sampled = model.generate(source, do_sample=True, **options)
    beams = model.generate(source, do_sample=False, num_beams=3, **options)
    for found in (sampled, beams):
        assert len(found) == 2 * num_return_sequences
        assert len({tuple(row) for row in found[:num_return_sequences].tolist()}) == num_return_sequences
    assert torch.equal(beams[::num_return_sequences], model.generate(source, num_beams=3, max_new_tokens=STEPS))
    if causal_family == "decoder":
        assert torch.equal(sampled[:, :5], source.repeat_interleave(num_return_sequences, dim=0))


# --- a compiled step


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "relative"])
def test_one_graph_generates_the_same(make_model, causal_family, make_ragged, positions):
    """A static cache and a step that is compiled as a whole: one graph for all steps and both calls, no break."""
    torch._dynamo.reset()
    model = make_model(causal_family, positions=positions)
    graphs = []

    def count(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    settings = CompileConfig(backend=count, fullgraph=True, mode=None)
    settings._compile_all_devices = True
    options = {"max_new_tokens": 4, "do_sample": False, "suppress_tokens": [END]}
    for seed in (0, 1):
        ids, mask = make_ragged(7, 3, seed=seed).padded("left")
        expected = model.generate(ids, attention_mask=mask, **options, use_cache=False)
        compiled = {"cache_implementation": "static", "compile_config": settings}
        assert torch.equal(model.generate(ids, attention_mask=mask, **options, **compiled), expected)
    assert len(graphs) == 1
    assert not torch._dynamo.utils.counters["graph_break"]


# --- a quantised cache


class Follow(LogitsProcessor):
    """Makes every step take the given token, whatever the scores are."""

    def __init__(self, tokens, start):
        self.tokens, self.start = tokens, start

    def __call__(self, input_ids, scores):
        forced = torch.full_like(scores, float("-inf"))
        return forced.scatter(1, self.tokens[:, input_ids.shape[1] - self.start, None], 0.0)


BACKENDS = {
    **({"fp8": [{}]} if hasattr(cache_utils, "Fp8QuantizedLayer") else {}),  # since transformers 5.21
    "quanto": [{"nbits": n, "axis_key": 0, "axis_value": 0, "q_group_size": 8} for n in (2, 4)],
    "hqq": [{"nbits": n, "axis_key": 1, "axis_value": 1, "q_group_size": 8} for n in (2, 4, 8)],
}


BACKEND = next(iter(BACKENDS))
LIBRARIES = {"quanto": "optimum.quanto", "hqq": "hqq"}  # what a backend of transformers needs beside torch


@pytest.fixture(params=BACKENDS)
def quantizations(request, needs):
    """Options of one backend, from coarse to fine."""
    if request.param in LIBRARIES:
        needs(LIBRARIES[request.param])
    return [{"backend": request.param, "residual_length": 4, **options} for options in BACKENDS[request.param]]


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary", "relative"])
def test_quantised_cache(make_model, causal_family, words, quantizations, positions):
    """Along the same tokens the logits are nearly those of the full cache, and nearer with more bits."""
    model, source, tokens = make_model(causal_family, positions=positions), words(2, 9), words(2, 12, seed=3)
    start = first_ids(model, source).shape[1]

    def logits(**options):
        found = model.generate(
            source,
            logits_processor=LogitsProcessorList([Follow(tokens, start)]),
            max_new_tokens=12,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **options,
        )
        return torch.stack(found.logits), found.past_key_values

    exact, _ = logits()
    errors = []
    for config in quantizations:
        if config["backend"] == "fp8":
            config.pop("residual_length")
        rough, cache = logits(cache_implementation="quantized", cache_config=dict(config))
        own = cache.self_attention_cache if causal_family == "encoder_decoder" else cache
        assert isinstance(own, QuantizedCache)
        assert own.get_seq_length() == start + 11
        errors.append(((rough - exact).norm() / exact.norm()).item())
    assert errors == sorted(errors, reverse=True)
    assert 1e-6 < errors[-1] < {"fp8": 0.2, "quanto": 0.5, "hqq": 0.05}[quantizations[0]["backend"]]


def test_quantised_cache_follows_beams_and_a_cache_of_the_caller(make_model, causal_family, words, needs):
    if BACKEND in LIBRARIES:
        needs(LIBRARIES[BACKEND])
    model, source = make_model(causal_family), words(2, 6)
    beams = 3 if "fp8" in BACKENDS else 1  # before 5.21, transformers' own quantised caches do not follow beams
    options = {"max_new_tokens": 6, "do_sample": False, "num_beams": beams}
    quantized = {"cache_implementation": "quantized", "cache_config": {"backend": BACKEND, **BACKENDS[BACKEND][-1]}}
    found = model.generate(source, **options, **quantized)
    assert torch.equal(found, model.generate(source, **options, **quantized))
    config = model.config.get_text_config(decoder=True)
    given = QuantizedCache(config=config, backend=BACKEND, **BACKENDS[BACKEND][-1])
    if causal_family == "encoder_decoder":
        given = EncoderDecoderCache(given, DynamicCache(config=config))
    assert torch.equal(model.generate(source, **options, past_key_values=given), found)
