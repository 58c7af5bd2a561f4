"""Models travel through a Hub on this machine: pushed, loaded by name, with the package and without it."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from textwrap import dedent

import pytest

from local_hub import LocalHub
from triptych.hub import code_files

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]


@pytest.fixture
def hub():
    with LocalHub() as hub:
        yield hub


@pytest.fixture
def run(hub, tmp_path):
    """Runs a program against the Hub and returns what it printed; `alone`: where the package is not installed."""

    def run(program: str, *, alone: bool = False, **options) -> str:
        environment = {**os.environ, **hub.environment(tmp_path / "cache", **options)}
        program = dedent(program)
        command = [sys.executable, "-c", program]
        if alone:
            environment.pop("PYTHONPATH", None)
            site = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n"
            command = [sys.executable, "-S", "-c", site + program]
        else:
            environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), environment.get("PYTHONPATH", "")])
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{done.stderr}\n{hub.log[-5:]}"
        return done.stdout

    return run


def test_a_model_is_pushed_and_loaded_by_its_name(hub, run):
    run("""
        from tiny import make_model, number_tokenizer
        from huggingface_hub import HfApi
        model = make_model("encoder_decoder")
        number_tokenizer().push_to_hub("tester/translator")
        model.push_to_hub("tester/translator", commit_message="The first one", max_shard_size="20KB")
        HfApi().create_tag("tester/translator", tag="v1")
        model.lm_head.weight.data.mul_(2)
        model.push_to_hub("tester/translator", max_shard_size="20KB")
        HfApi().create_branch("tester/translator", branch="bare")
        model.config.push_to_hub("tester/secret", private=True, code=False)
    """)
    files, first = hub.files("tester/translator"), hub.files("tester/translator", "v1")
    assert {name: files[name].decode() for name in code_files()} == code_files()
    assert "model.safetensors.index.json" in first
    assert "model.safetensors.index.json" in files
    assert hub.repositories["tester/secret"].private
    assert not any(name.endswith(".py") for name in hub.files("tester/secret"))
    computed = {}
    for alone in (False, True):
        computed[alone] = run(
            f"""
            import torch, transformers
            {"pass" if alone else "import triptych"}
            from huggingface_hub import snapshot_download
            load = transformers.AutoModelForSeq2SeqLM.from_pretrained
            x = torch.arange(5, 12)[None]
            for revision in ("main", "v1", "bare"):
                model = load("tester/translator", revision=revision, trust_remote_code={alone}).eval()
                assert type(model).__module__.startswith("transformers_modules" if {alone} else "triptych")
                print("RESULT", revision, model(input_ids=x, decoder_input_ids=x).logits.double().sum().item())
            pipe = transformers.pipeline("translation", model="tester/translator", trust_remote_code=True)
            assert type(pipe).__module__.startswith("transformers_modules" if {alone} else "triptych")
            print("RESULT", pipe("7 8 9", max_new_tokens=4, num_beams=2))
            model.push_to_hub("tester/again-{alone}")
            transformers.AutoConfig.from_pretrained("tester/again-{alone}", trust_remote_code=True)
            """,
            alone=alone,
        )
    results = [[line for line in text.splitlines() if line.startswith("RESULT")] for text in computed.values()]
    assert results[0] == results[1]
    main, tagged, branch = (line.split()[-1] for line in results[0][:3])
    assert "translation_text" in results[0][3]
    assert main == branch != tagged
    for alone in (False, True):
        again = hub.files(f"tester/again-{alone}")
        assert {name: again[name].decode() for name in code_files()} == code_files()
        auto_map = json.loads(again["config.json"])["auto_map"]
        assert auto_map["AutoModelForSeq2SeqLM"] == "modeling_triptych.TriptychForConditionalGeneration"


def test_an_upload_that_breaks_off_leaves_the_old_revision_and_is_repeated(hub, run):
    push = """
        from tiny import make_model
        make_model("decoder", seed={seed}).push_to_hub("tester/model", max_shard_size="20KB")
    """
    run(push.format(seed=0))
    before = dict(hub.files("tester/model"))
    attempt = """
        from tiny import make_model
        try:
            make_model("decoder", seed=1).push_to_hub("tester/model", max_shard_size="20KB")
        except Exception as error:
            print("FAILED", type(error).__name__)
    """
    hub.refuse_large_files_after = 1
    assert "FAILED" in run(attempt)
    assert hub.files("tester/model") == before
    hub.refuse_large_files_after, hub.refuse_commits = None, True
    assert "FAILED" in run(attempt)
    assert hub.files("tester/model") == before
    hub.refuse_commits = False
    sent = len([entry for entry in hub.log if entry[1].startswith("/storage/")])
    run(push.format(seed=1))
    assert hub.files("tester/model") != before
    assert len([entry for entry in hub.log if entry[1].startswith("/storage/")]) == sent  # no large file is sent twice


def test_the_weights_of_an_earlier_model_do_not_stay(hub, run):
    """transformers reads model.safetensors where there is one, and would take it in place of newer shards."""
    run("""
        from tiny import make_model
        from huggingface_hub import HfApi
        make_model("decoder", seed=0).push_to_hub("tester/model")
        HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo="model_card.safetensors", repo_id="tester/model")
        make_model("decoder", seed=1).push_to_hub("tester/model", max_shard_size="20KB")
    """)
    files = hub.files("tester/model")
    shards = [name for name in files if name.startswith("model-")]
    assert len(shards) > 1
    assert "model.safetensors" not in files
    assert files["model_card.safetensors"] == b"mine"
    run("""
        from tiny import make_model
        from triptych import TriptychDecoderForCausalLM
        load = TriptychDecoderForCausalLM.from_pretrained
        assert load("tester/model").lm_head.weight.equal(make_model("decoder", seed=1).lm_head.weight)
        make_model("decoder", seed=2).push_to_hub("tester/model", revision="smaller")
        make_model("decoder", seed=2).save_pretrained("model", push_to_hub=True, repo_id="tester/model")
        make_model("decoder", seed=2).config.push_to_hub("tester/model")
    """)
    for revision in ("main", "smaller"):
        names = hub.files("tester/model", revision)
        assert {name for name in names if name.startswith(("model.", "model-"))} == {"model.safetensors"}


def test_a_pickle_in_a_repository_is_not_downloaded(hub, run):
    run("""
        from tiny import make_model
        from huggingface_hub import HfApi
        make_model("decoder").config.push_to_hub("tester/pickled")
        HfApi().upload_file(path_or_fileobj=b"pickle", path_in_repo="pytorch_model.bin", repo_id="tester/pickled")
    """)
    shown = run("""
        import triptych, transformers
        for load in (
            triptych.TriptychDecoderForCausalLM.from_pretrained,
            transformers.AutoModelForCausalLM.from_pretrained,
            lambda name: triptych.pipeline("text-generation", name),
        ):
            try:
                load("tester/pickled")
            except (OSError, ValueError) as error:
                print("REFUSED", "only weights in safetensors are read" in str(error))
    """)
    assert shown.count("REFUSED True") == 3
    assert not any("pytorch_model.bin" in path and method == "GET" for method, path, _ in hub.log)


def test_what_cannot_be_read_is_refused_in_one_line(hub, run):
    run("""
        from tiny import make_model
        make_model("encoder").push_to_hub("tester/gated")
        make_model("encoder").push_to_hub("tester/secret", private=True)
    """)
    hub.repositories["tester/gated"].gated = True
    shown = run(
        """
        import transformers, triptych
        for name in ("tester/nothing", "tester/gated", "tester/secret"):
            for load in (triptych.TriptychEncoderForMaskedLM.from_pretrained, triptych.from_hf):
                try:
                    load(name)
                except Exception as error:
                    print("REFUSED", name, type(error).__name__, str(error).replace(chr(10), " | "))
        """,
        token=None,
    )
    lines = [line for line in shown.splitlines() if line.startswith("REFUSED")]
    assert len(lines) == 6
    for line in lines:
        name = line.split()[1]
        assert f"there is no model {name}" in line or "gated" in line.lower()


def test_a_loaded_model_is_there_without_the_hub(hub, run):
    run("""
        from tiny import make_model
        make_model("decoder").push_to_hub("tester/model")
    """)
    load = """
        import os
        {offline}
        import triptych
        print(type(triptych.TriptychDecoderForCausalLM.from_pretrained("tester/model")).__name__)
    """
    run(load.format(offline=""))
    requests = len(hub.log)
    assert "TriptychDecoderForCausalLM" in run(load.format(offline="os.environ['HF_HUB_OFFLINE'] = '1'"))
    assert len(hub.log) == requests


def test_trainer_pushes_the_code(hub, run):
    run("""
        from tiny import make_model, words
        from transformers import Trainer, TrainingArguments
        rows = [{"input_ids": row, "labels": row} for row in words(4, 6)]
        arguments = TrainingArguments(
            "trained", max_steps=1, push_to_hub=True, hub_model_id="tester/trained", report_to="none", use_cpu=True
        )
        trainer = Trainer(make_model("decoder"), arguments, train_dataset=rows)
        trainer.train()
        trainer.push_to_hub(blocking=True)
    """)
    files = hub.files("tester/trained")
    assert {"config.json", "model.safetensors", "README.md", *code_files()} <= files.keys()


TRAIN = """
    from triptych_command import main
    from pathlib import Path
    import sys
    Path("texts.txt").write_text("the light is on\\n" * 30 + "the door is closed\\n" * 30)
    sizes = "--hidden_size 32 --num_attention_heads 2 --intermediate_size 32 --num_hidden_layers 1 --vocab_size 300"
    sys.argv = ["triptych", "pretrain-causal-lm", "--train_file", "texts.txt", "--output_dir", "trained", "--cpu"]
    sys.argv += [*sizes.split(), "--max_steps", "2", "--report_to", "none", "--push_to_hub", {name!r}, "--hub_private"]
    sys.stderr = sys.stdout
    try:
        main()
    except SystemExit as ended:
        print("ENDED", ended.code)
"""


def test_a_run_pushes_its_model_and_its_card(hub, run):
    shown = run(TRAIN.format(name="trained"))
    assert f"{hub.url}/tester/trained" in shown
    assert hub.repositories["tester/trained"].private
    files = hub.files("tester/trained")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", *code_files()} <= files.keys()
    assert not [name for name in files if name.startswith(("checkpoint", "run.json", "metrics"))]
    assert "pipeline_tag: text-generation" in files["README.md"].decode()
    shown = run("""
        import transformers, triptych
        print(transformers.pipeline("text-generation", model="tester/trained")("the light", max_new_tokens=2))
    """)
    assert "generated_text" in shown


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("trained", {"token": None}, "--push_to_hub trained: "),
        ("no//name", {}, "--push_to_hub no//name: "),
        ("other/theirs", {}, "--push_to_hub other/theirs: "),
        ("trained", {"url": "http://127.0.0.1:9"}, "Connection refused"),
    ],
)
def test_a_run_that_cannot_push_is_refused_before_it_writes(hub, run, tmp_path, name, options, reason):
    hub.repositories["other/theirs"] = None  # of somebody else: this user may not create or write it
    hub.url = options.pop("url", hub.url)
    done = run(TRAIN.format(name=name), **options)
    assert reason in done
    assert "ENDED 1" in done or "ENDED 2" in done
    assert not (tmp_path / "trained").exists()
    assert "tester/trained" not in hub.repositories
