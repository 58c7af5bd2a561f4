"""Vectors of texts: those of sentence-transformers, for every pooling and family; and the search in them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import triptych
from local_hub import LocalHub
from tiny import make_model, number_tokenizer
from triptych.pipelines.embeddings import Embedder, Recipe, SearchIndex, read_recipe
from triptych.pipelines.embeddings.pooling import POOLINGS, SIMILARITIES, pool

TEXTS = ["5 6 7 8", "90 80 70 60 50 40 30", "9", "12 13", "44 45 46 47 48 49 50 51 52 53"]
OLD = {
    "word_embedding_dimension": 32,
    "pooling_mode_cls_token": True,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
}
STEPS = {
    "": "sentence_transformers.models.Transformer",
    "1_Pooling": "sentence_transformers.models.Pooling",
    "2_Normalize": "sentence_transformers.models.Normalize",
}


def write_recipe(folder: Path, pooling: dict[str, Any], normalize: bool = False, **others: Any) -> None:
    """The files of sentence-transformers beside a model."""
    names = list(STEPS)[: 3 if normalize else 2]
    steps = [{"idx": n, "name": str(n), "path": name, "type": STEPS[name]} for n, name in enumerate(names)]
    (folder / "modules.json").write_text(json.dumps(steps))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if normalize:
        (folder / "2_Normalize").mkdir(exist_ok=True)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20, **others.pop("lengths", {})}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(others))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By family: a directory with a model without a head, and its tokenizer."""
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2, "initializer_factor": 4.0}
    config = transformers.T5Config(vocab_size=97, decoder_start_token_id=0, **sizes)
    models = {family: make_model(family).base_model for family in ("encoder", "decoder")}
    models["encoder_decoder"] = transformers.T5Model(config)
    made = {}
    for family, model in models.items():
        made[family] = tmp_path_factory.mktemp(family)
        model.save_pretrained(made[family])
        number_tokenizer().save_pretrained(made[family])
    return made


CASES: dict[str, dict[str, Any]] = {
    **{word: {"pooling": {"embedding_dimension": 32, "pooling_mode": word}} for word in POOLINGS},
    "two poolings, and a length of 1": {
        "pooling": {"embedding_dimension": 32, "pooling_mode": ["max", "mean"]},
        "normalize": True,
    },
    "flags of older versions": {"pooling": OLD, "normalize": True},
    "no flag": {"pooling": {"word_embedding_dimension": 32}},
    "a prompt": {
        "pooling": {"embedding_dimension": 32, "pooling_mode": "mean"},
        "prompts": {"query": "20 21 22 ", "document": ""},
        "default_prompt_name": "query",
    },
    **{
        f"a prompt that is not pooled, {word}": {
            "pooling": {"embedding_dimension": 32, "pooling_mode": word, "include_prompt": False},
            "prompts": {"query": "20 21 22 "},
            "default_prompt_name": "query",
        }
        for word in POOLINGS
    },
}


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder_decoder"])
def test_the_vectors_are_those_of_sentence_transformers(family: str, folders, library):
    """In one test for each family, because each case is a model that is loaded again."""
    sentence_transformers = library("sentence_transformers")
    folder = folders[family]
    loaded = transformers.AutoModel.from_pretrained(folder)
    ours = triptych.from_hf(loaded) if family == "encoder_decoder" else loaded
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for name, case in CASES.items():
        write_recipe(folder, **case)
        theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        expected = theirs.encode(TEXTS, convert_to_tensor=True)
        found = Embedder(ours, tokenizer, read_recipe(str(folder))).embed(TEXTS, batch_size=2)
        assert found.dtype == torch.float32
        torch.testing.assert_close(
            found, expected, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
        similar = theirs.similarity(expected[:1], expected)
        torch.testing.assert_close(Embedder(ours, tokenizer, Recipe()).similarity(expected[:1], expected), similar)


@pytest.fixture
def folder(folders) -> Path:
    write_recipe(folders["encoder"], **CASES["a prompt"])
    return folders["encoder"]


@pytest.fixture
def embedder(folder: Path) -> Embedder:
    return Embedder.from_pretrained(folder)


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder_decoder"])
def test_neither_the_batch_nor_the_order_changes_a_vector(family: str):
    """A tokenizer without a padding token will do."""
    tokenizer = number_tokenizer()
    tokenizer.pad_token = None
    embedder = Embedder(make_model(family), tokenizer, Recipe(pooling=("mean", "lasttoken", "cls", "max")))
    single = torch.stack([embedder.embed(text) for text in TEXTS])
    assert single.shape == (len(TEXTS), embedder.width) == (len(TEXTS), 4 * 32)
    for texts, size in ((TEXTS, 3), (tuple(TEXTS), 100), (iter(TEXTS), 2)):
        torch.testing.assert_close(embedder.embed(texts, batch_size=size), single, rtol=1e-4, atol=1e-5)
    backwards = embedder.embed(TEXTS[::-1], batch_size=2)
    torch.testing.assert_close(backwards.flip(0), single, rtol=1e-4, atol=1e-5)
    assert embedder.embed([]).shape == (0, 4 * 32)


def test_of_a_model_with_a_head_the_body_is_used(embedder: Embedder):
    model = make_model("encoder")
    assert type(model) is triptych.TriptychEncoderForMaskedLM
    found = Embedder(model.train(), embedder.tokenizer, embedder.recipe).embed(TEXTS)
    assert not model.training
    torch.testing.assert_close(found, embedder.embed(TEXTS))


def test_prompts_are_given_by_name_or_as_text(embedder: Embedder):
    by_default = embedder.embed(TEXTS[0])
    for options in ({"prompt_name": "query"}, {"prompt": "20 21 22 "}):
        assert torch.equal(embedder.embed(TEXTS[0], **options), by_default)
    assert torch.equal(embedder.embed("20 21 22 " + TEXTS[0], prompt=""), by_default)
    assert torch.equal(embedder.embed(TEXTS[0], prompt_name="document"), embedder.embed(TEXTS[0], prompt=""))
    with pytest.raises(ValueError, match="no prompt 'title'; its prompts are: query, document"):
        embedder.embed(TEXTS, prompt_name="title")
    with pytest.raises(ValueError, match="give prompt='a' or prompt_name='query', not both"):
        embedder.embed(TEXTS, prompt="a", prompt_name="query")


def test_what_the_caller_says_comes_first(folder: Path):
    write_recipe(folder, **CASES["max"])
    expected = Embedder.from_pretrained(folder).embed(TEXTS)
    for pooling in ("max", ["max"]):
        write_recipe(folder, **CASES["mean"])
        found = Embedder.from_pretrained(folder, pooling=pooling, normalize=True).embed(TEXTS)
        torch.testing.assert_close(found, torch.nn.functional.normalize(expected))


def test_the_pipeline_reads_the_recipe_and_takes_its_options(folder: Path):
    write_recipe(folder, **CASES["a prompt that is not pooled, max"], similarity_fn_name="euclidean")
    pipe = triptych.pipeline("sentence-similarity", str(folder))
    embedder = Embedder.from_pretrained(folder)
    assert pipe.embedder.recipe == embedder.recipe
    vectors = embedder.embed(TEXTS)
    expected = -(vectors[0] - vectors[1:]).norm(dim=-1)
    inputs = {"source_sentence": TEXTS[0], "sentences": TEXTS[1:]}
    assert pipe(inputs) == pytest.approx(expected.tolist(), rel=1e-4)
    other = triptych.pipeline("sentence-similarity", str(folder), pooling="cls", normalize=True, prompt="30 31 ")
    assert other.embedder.recipe.pooling == ("cls",)
    vectors = Embedder.from_pretrained(folder, pooling="cls", normalize=True).embed(TEXTS, prompt="30 31 ")
    assert other(inputs) == pytest.approx((-(vectors[0] - vectors[1:]).norm(dim=-1)).tolist(), rel=1e-4)


def test_where_nothing_says_how_a_warning_does(tmp_path: Path, caplog):
    make_model("encoder").save_pretrained(tmp_path)
    number_tokenizer().save_pretrained(tmp_path)
    assert Embedder.from_pretrained(tmp_path).recipe == Recipe(pooling=("mean",))
    assert "nothing says how it makes a vector" in caplog.text
    caplog.clear()
    assert Embedder.from_pretrained(tmp_path, pooling="cls").recipe == Recipe(pooling=("cls",))
    assert not [record for record in caplog.records if record.name.startswith("triptych")]


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        (
            " ".join(TEXTS),
            {},
            ValueError,
            r"text 0 has 27 tokens, the model takes 20: .*; split it, or pass truncation",
        ),
        (["5", ""], {"prompt": ""}, ValueError, "text 1 has no tokens: ''"),
        (["5", 6], {}, TypeError, "takes strings, not 6, which is item 1"),
        (5, {}, TypeError, "takes strings, lists or iterators of them, not 5"),
        (TEXTS, {"batch_size": 0}, ValueError, "batch_size=0 must be at least 1"),
    ],
)
def test_mistakes(embedder: Embedder, texts, options, error, message):
    with pytest.raises(error, match=message):
        embedder.embed(texts, **options)


def test_a_text_that_is_too_long_is_cut_if_that_is_asked_for(embedder: Embedder):
    long = " ".join(TEXTS)
    assert torch.equal(embedder.embed(long, truncation=True), embedder.embed(" ".join(long.split()[:17])))


REFUSED: dict[str, tuple[str, Any, str]] = {
    "no list": ("modules.json", {"a": 1}, "is no step with `type` and `path`"),
    "a step outside": (
        "modules.json",
        [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "../other"}],
        "is no step with `type` and `path`, the name of a folder",
    ),
    "an unknown step": (
        "modules.json",
        [
            {"type": f"a.{kind}", "path": path}
            for path, kind in {"": "Transformer", "1": "Pooling", "2": "Dense"}.items()
        ],
        "has the steps Transformer, Pooling, Dense; known are Transformer, Pooling or .*SentenceTransformer",
    ),
    "an unknown pooling": (
        "1_Pooling/config.json",
        {"pooling_mode": "median"},
        r"pooling_mode=\['median'\] cannot be used",
    ),
    "an unknown flag": ("1_Pooling/config.json", {"pooling_mode_median": True}, "pooling_mode_median=True cannot"),
    "a flag that is a word": ("1_Pooling/config.json", {"pooling_mode_cls_token": "no"}, "expected is bool"),
    "a length of 0": ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length=0 .*at least 1"),
    "a length that is a flag": ("sentence_bert_config.json", {"max_seq_length": True}, "expected is int"),
    "another output": (
        "sentence_bert_config.json",
        {"modality_config": {"text": {"method": "get_text_features"}}},
        "modality_config.text={'method': 'get_text_features'} cannot be used",
    ),
    "another task": (
        "sentence_bert_config.json",
        {"transformer_task": "fill-mask"},
        "transformer_task='fill-mask' can",
    ),
    "a length of questions": (
        "sentence_bert_config.json",
        {"query_length": 9},
        "query_length=9 .*SentenceTransformer",
    ),
    "vectors of tokens": (
        "2_Normalize/config.json",
        {"module_input_name": "token_embeddings"},
        "module_input_name='tok",
    ),
    "no pooling": ("1_Pooling/config.json", {"pooling_mode": []}, r"pooling_mode=\[\] cannot be used"),
    "a prompt that is a number": ("config_sentence_transformers.json", {"prompts": {"query": 5}}, "prompts.query=5"),
    "a prompt that is not there": (
        "config_sentence_transformers.json",
        {"prompts": {"a": "b"}, "default_prompt_name": "query"},
        "default_prompt_name='query' cannot be used; the prompts are a",
    ),
    "an unknown measure": ("config_sentence_transformers.json", {"similarity_fn_name": "jaccard"}, "known are cosine"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_ask_for_something_else_are_refused(name: str, tmp_path: Path):
    write_recipe(tmp_path, **CASES["two poolings, and a length of 1"])
    assert read_recipe(str(tmp_path)) == Recipe(("max", "mean"), normalize=True, max_tokens=20)
    file, content, message = REFUSED[name]
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_recipe(str(tmp_path))


def test_a_damaged_or_missing_file_is_named(tmp_path: Path):
    write_recipe(tmp_path, **CASES["max"])
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": ')
    with pytest.raises(ValueError, match=r"1_Pooling/config\.json is damaged"):
        read_recipe(str(tmp_path))
    (tmp_path / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"'1_Pooling', but 1_Pooling/config\.json is missing"):
        read_recipe(str(tmp_path))
    (tmp_path / "modules.json").unlink()
    assert read_recipe(str(tmp_path)) is None


def test_texts_in_lower_case_are_as_the_file_says(folder: Path):
    write_recipe(folder, **CASES["mean"], lengths={"do_lower_case": True})
    seen: list[str] = []
    embedder = Embedder.from_pretrained(folder)
    tokenizer = embedder.tokenizer
    embedder.tokenizer = type(
        "Listening",
        (),
        {
            "__call__": lambda self, texts, **options: seen.extend(texts) or tokenizer(texts, **options),
            "__getattr__": lambda self, name: getattr(tokenizer, name),
        },
    )()
    embedder.embed(["5 A"])
    assert seen == ["5 a"]


def test_the_poolings_of_one_text():
    """By hand; the last token is padding, and the first one belongs to a prompt."""
    hidden = torch.tensor([[[9.0], [1.0], [4.0], [100.0]]])
    mask = torch.tensor([[1, 1, 1, 0]])
    expected = {
        "mean": 2.5,
        "cls": 1,
        "lasttoken": 4,
        "max": 4,
        "mean_sqrt_len_tokens": 5 / 2**0.5,
        "weightedmean": 2.8,
    }
    assert expected.keys() == POOLINGS.keys()
    found = pool(hidden.bfloat16(), mask, list(expected), left_out=1)
    torch.testing.assert_close(found, torch.tensor([list(expected.values())], dtype=torch.float32))


def by_hand(similarity: str, question: Tensor, vectors: Tensor) -> list[float]:
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "cosine": lambda a, b: torch.cosine_similarity(a, b, dim=0),
        "dot": torch.dot,
        "euclidean": lambda a, b: -(a - b).norm(),
        "manhattan": lambda a, b: -(a - b).abs().sum(),
    }
    return [functions[similarity](question, vector).item() for vector in vectors]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_search_finds_the_nearest_texts(similarity: str, folder: Path, monkeypatch):
    write_recipe(folder, **CASES["mean"], similarity_fn_name=similarity, prompts={"query": "7 8 ", "passage": "9 "})
    embedder = Embedder.from_pretrained(folder)
    index = SearchIndex(embedder, iter(TEXTS), batch_size=2)
    assert len(index) == len(TEXTS)
    assert torch.allclose(index.vectors, embedder.embed(TEXTS, prompt="9 "), atol=1e-5)
    questions = ["9 10", "5 6"]
    monkeypatch.setattr("triptych.pipelines.embeddings.search.BLOCK", 1)
    found = index.query(questions, top_k=3)
    for question, of_question in zip(questions, found, strict=True):
        scores = by_hand(similarity, embedder.embed(question, prompt="7 8 "), index.vectors)
        rows = sorted(range(len(TEXTS)), key=lambda row: -scores[row])[:3]
        assert [hit["row"] for hit in of_question] == rows
        assert [hit["text"] for hit in of_question] == [TEXTS[row] for row in rows]
        assert [hit["score"] for hit in of_question] == pytest.approx(
            [scores[row] for row in rows], rel=1e-4, abs=1e-5
        )
    one = index.query(questions[0], top_k=3)
    assert [hit["row"] for hit in one] == [hit["row"] for hit in found[0]]
    assert len(index.query("9", top_k=100)) == len(TEXTS)
    assert index.query([]) == []
    assert len(index.query("5 6", prompt_name="passage", top_k=1)) == 1


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_faiss_finds_what_the_matrix_finds(similarity: str, folder: Path, needs):
    needs("faiss")
    write_recipe(folder, **CASES["mean"], similarity_fn_name=similarity)
    embedder = Embedder.from_pretrained(folder)
    exact = SearchIndex(embedder, TEXTS).query(TEXTS[:3], top_k=4)
    found = SearchIndex(embedder, TEXTS, engine="faiss").query(TEXTS[:3], top_k=4)
    for of_one, expected in zip(found, exact, strict=True):
        assert [hit["row"] for hit in of_one] == [hit["row"] for hit in expected]
        assert [hit["score"] for hit in of_one] == pytest.approx([hit["score"] for hit in expected], rel=1e-4)


def test_what_cannot_be_searched(folder: Path, monkeypatch):
    write_recipe(folder, **CASES["mean"], similarity_fn_name="manhattan")
    embedder = Embedder.from_pretrained(folder)
    with pytest.raises(ValueError, match="engine 'annoy' is unknown; known are: matrix, faiss"):
        SearchIndex(embedder, TEXTS, engine="annoy")
    with pytest.raises(ValueError, match="engine='faiss' does not compare by 'manhattan'"):
        SearchIndex(embedder, TEXTS, engine="faiss")
    with pytest.raises(ValueError, match="there is no text to search in"):
        SearchIndex(embedder, [])
    with pytest.raises(TypeError, match="needed are several texts, not one: '5 6'"):
        SearchIndex(embedder, "5 6")
    with pytest.raises(ValueError, match="top_k=0 must be at least 1"):
        SearchIndex(embedder, TEXTS).query("5", top_k=0)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    write_recipe(folder, **CASES["mean"])
    with pytest.raises(ImportError, match="engine='faiss' needs faiss: pip install faiss-cpu datasets"):
        SearchIndex(Embedder.from_pretrained(folder), TEXTS, engine="faiss")


HUB = """
    import json
    import triptych
    from huggingface_hub import HfApi
    from triptych.pipelines.embeddings import Embedder

    api = HfApi()
    api.create_repo("tester/embedder")
    api.upload_folder(repo_id="tester/embedder", folder_path=FOLDER)
    api.create_branch("tester/embedder", branch="first")
    api.delete_file("modules.json", "tester/embedder")
    pipe = triptych.pipeline("sentence-similarity", model="tester/embedder", revision="first")
    now, first = (Embedder.from_pretrained("tester/embedder", revision=name) for name in ("main", "first"))
    print("RESULT", json.dumps([each.recipe.pooling for each in (pipe.embedder, first, now)]))
"""


@pytest.mark.slow
def test_a_recipe_comes_from_the_revision_of_the_model(folder: Path, tmp_path: Path):
    """By a Hub on this machine."""
    write_recipe(folder, **CASES["max"])
    with LocalHub() as hub:
        search = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-c", dedent(HUB).replace("FOLDER", repr(str(folder)))],
            cwd=tmp_path,
            env={**os.environ, **hub.environment(tmp_path / "cache"), "PYTHONPATH": search},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    [result] = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert json.loads(result) == [["max"], ["max"], ["mean"]]
