"""
Trains a small Transformer to translate English into German, scores it and translates with it.

    make demo                         (or: python scripts/demo.py)
    make demo ARGS="--max_minutes 1"  (any option of train_translation.py)

The model is a small version of the paper's model: post-norm, sinusoidal positions, ReLU, and one embedding matrix for
source, target and output. Its size and its training are what every run gets that names only data and time. Training
takes five minutes on two CPU cores. A demo that was killed continues at its last checkpoint. A demo that is complete
is not repeated; `--overwrite` starts over.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from triptych.data import load_corpus
from triptych.files import read_object
from triptych.training.command_line import run_script
from triptych.training.script import parse_options
from triptych.training.tasks.translation import TranslationTask

SCRIPTS = Path(os.path.relpath(Path(__file__).parent))
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"]
# Data, time, and what is reported and kept. Sizes, optimizer and schedule are those of docs/training/sizes.md.
TRAINING = "--corpus en-de --max_minutes 5 --keep_checkpoints 1 --evaluation_pairs 100"
EXAMPLES = 10
SENTENCES = ["The window is open.", "Turn on the light in the kitchen.", "Please enter your password."]


def run(*command: str) -> None:
    """Prints and runs a command. If it fails, the demo ends. The command has already printed the error."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    try:
        subprocess.run(command, check=True)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


def train(output_dir: Path, options: list[str]) -> None:
    """Starts a run, continues a run that was killed, or does nothing if the run is complete."""
    complete, started = (output_dir / "test_metrics.json").exists(), (output_dir / "run.json").exists()
    if complete and "--overwrite" not in options:
        print(f"{output_dir} holds a trained model; `make demo ARGS=--overwrite` trains it anew.", flush=True)
        return
    if started and "--overwrite" not in options:
        options = [*options, "--resume"]
    script = str(SCRIPTS / "train_translation.py")
    run(*LAUNCH, script, *TRAINING.split(), "--output_dir", str(output_dir), *options)


def show(output_dir: Path) -> None:
    """Prints examples from the whole test part, and the scores on it."""
    pairs = load_corpus("en-de")["test"]
    outputs = (output_dir / "test_translations.txt").read_text(encoding="utf-8").splitlines()
    rows = list(zip(pairs["source"], pairs["target"], outputs, strict=True))
    for source, reference, output in rows[:: len(rows) // EXAMPLES][:EXAMPLES]:
        print(f"\n  source     {source}\n  reference  {reference}\n  output     {output}")
    scores = read_object(output_dir / "test_metrics.json", "start over with --overwrite")
    print(f"\nBLEU {scores['bleu']:.1f}, chrF {scores['chrf']:.1f} on {len(rows)} held-out pairs")
    print(f"({scores['bleu_signature']})", flush=True)


def translate(output_dir: Path) -> None:
    """Translates some sentences in a new process, which needs only the directory."""
    command = [sys.executable, str(SCRIPTS / "translate.py"), str(output_dir)]
    run(*command, *SENTENCES)
    print(f"\nTo translate something else:\n\n  {shlex.join(command)} 'Your sentence.'")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output_dir", type=Path, default=Path("runs", "demo"))
    arguments, options = parser.parse_known_args()
    # An unknown option is an error, even if nothing is left to train.
    parse_options(TranslationTask, args=["--corpus", "en-de", "--output_dir", str(arguments.output_dir), *options])
    train(arguments.output_dir, options)
    show(arguments.output_dir)
    translate(arguments.output_dir)


if __name__ == "__main__":
    run_script(main)
