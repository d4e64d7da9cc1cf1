"""`firth train`: checks, arguments of the model, preparation of texts, output files."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from commands import WORDS, Trainer, error, run, vectors
from firth import KeyedVectors
from firth.cli import main
from firth.formats import container
from firth.words.corpus import Corpus, FileCorpus, WordCounts


def test_train_passes_options_on(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.checkpoint = True
    assert main(["train", "corpus.txt"]) == 0
    assert capsys.readouterr().out.startswith("words.firth: 6 words, 3 dimensions, ")
    assert KeyedVectors.load("words.firth").index_to_key == WORDS
    assert not Path("words.firth.checkpoint").exists()
    options = (
        "--dim 300 --window 7 --min-count 1 --negative 9 --sample 0 --epochs 2 --seed 0 "
        "--alpha 0.05 --mode independent --workers 3 -o out.firth"
    )
    assert main(["train", "corpus.txt", *options.split()]) == 0
    assert main(["train", "corpus.txt", "--model", "cbow", "--hs"]) == 0
    assert main(["train", "corpus.txt", "--hs", "--negative", "3"]) == 0
    common = {"sg": 1}
    plain = {"workers": None, "checkpoint": "words.firth.checkpoint"}
    assert trainer.calls == [
        common | plain,
        {
            **common, "workers": 3, "checkpoint": "out.firth.checkpoint", "vector_size": 300,
            "window": 7, "min_count": 1, "negative": 9, "sample": 0.0, "epochs": 2, "seed": 0,
            "alpha": 0.05, "negatives": "independent",
        },
        common | plain | {"sg": 0, "hs": 1, "negative": 0},
        common | plain | {"hs": 1, "negative": 3},
    ]  # fmt: skip


def test_interrupt_and_resume(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.outcome = KeyboardInterrupt()
    assert main(["train", "corpus.txt", "-o", "out.firth"]) == 130
    assert "nothing was saved" in capsys.readouterr().err
    trainer.checkpoint = True
    assert main(["train", "corpus.txt", "-o", "out.firth"]) == 130
    message = capsys.readouterr().err
    command = "firth train corpus.txt -o out.firth --resume"
    assert message == (
        f"\nfirth: interrupted; the state is in out.firth.checkpoint; continue with: {command}\n"
    )
    assert not Path("out.firth").exists()
    assert "remove the file to start anew" in error(capsys, *command.split()[1:-1])
    assert "leave it out" in error(capsys, *command.split()[1:], "--dim", "3")
    trainer.outcome = None
    assert main(command.split()[1:]) == 0
    assert trainer.calls[-1]["resumed"]
    assert Path("out.firth").exists()
    assert not Path("out.firth.checkpoint").exists()
    capsys.readouterr()
    assert "there is no out.firth.checkpoint" in error(capsys, *command.split()[1:])


def test_train_checks_before_it_starts(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert error(capsys, "train", "none.txt") == "none.txt: no such file or directory"
    assert "directory" in error(capsys, "train", ".")
    for content, message in {
        b"": "is empty",
        b"text\0text": "is not text, it has a NUL at byte 4",
        b"x" * (2 << 20) + b"\0": f"NUL at byte {2 << 20}",
        "text".encode("utf-16"): "is UTF-16",
    }.items():
        Path("bad.txt").write_bytes(content)
        assert message in error(capsys, "train", "bad.txt")
    assert "no/folder does not exist" in error(capsys, "train", "corpus.txt", "-o", "no/folder/x")
    assert "is a folder" in error(capsys, "train", "corpus.txt", "-o", ".")
    assert "is the input" in error(capsys, "train", "corpus.txt", "-o", "./corpus.txt")
    if os.name == "posix" and os.getuid() != 0:
        (here / "locked").mkdir(mode=0o500)
        assert "cannot be written" in error(capsys, "train", "corpus.txt", "-o", "locked/x")
    assert trainer.calls == []


def test_training_that_fails(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("words.firth").read_bytes()
    for outcome, message in [
        (OSError(errno.ENOSPC, "No space left on device", "words.firth"), "the disk is full"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (ValueError("Word2Vec: no word occurs\n5 times"), "Word2Vec: no word occurs 5 times"),
        (RuntimeError("no vocabulary"), "no vocabulary"),
        (MemoryError("80 GB"), "not enough memory: 80 GB"),
    ]:
        trainer.outcome = outcome
        assert message in error(capsys, "train", "corpus.txt")
        assert Path("words.firth").read_bytes() == before


def test_train_glove(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(firth, "GloVe", Trainer)
    monkeypatch.setattr(Trainer, "kind", "glove")
    Trainer.calls, Trainer.outcome, Trainer.checkpoint = [], KeyboardInterrupt(), True
    options = "--dim 20 --window 3 --epochs 4 --alpha 0.1 --x-max 10 --memory 1.5"
    start = ["train", "corpus.txt", "-o", "out.firth", "--model", "glove"]
    assert main([*start, *options.split()]) == 130
    command = "firth train corpus.txt -o out.firth --resume"
    assert f"continue with: {command}\n" in capsys.readouterr().err
    assert Trainer.calls == [
        {
            "workers": None, "checkpoint": "out.firth.checkpoint",
            "vector_size": 20, "window": 3, "epochs": 4, "eta": 0.1, "x_max": 10.0, "memory": 1.5,
        }
    ]  # fmt: skip
    Trainer.outcome = None
    assert main(command.split()[1:]) == 0
    assert Trainer.calls[-1]["resumed"]
    capsys.readouterr()
    message = error(capsys, *start, "--negative", "3", "--mode", "shared")
    assert message == "--negative, --mode: not an option of --model glove"
    assert "--x-max: not an option of --model skipgram" in error(
        capsys, "train", "corpus.txt", "--x-max", "3"
    )


def test_train_fasttext(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--model fasttext --dim 8 --bucket 500 --min-n 2 --max-n 4 --workers 1"
    for name in ("f.firth", "f.bin", "f.vec"):
        assert main(["train", "corpus.txt", "-o", name, *options.split()]) == 0
    printed = capsys.readouterr()
    assert printed.err == (
        "firth: warning: f.vec: without the n-grams, so unknown words have no vectors there; "
        "firth's format keeps them, save_facebook_model writes fastText's\n"
    )
    kept = KeyedVectors.load("f.firth")
    assert (kept.bucket, kept.min_n, kept.max_n, kept.vector_size) == (500, 2, 4, 8)
    theirs = firth.fasttext.load_model("f.bin")
    assert (theirs.bucket, theirs.minn, theirs.maxn, theirs.model) == (500, 2, 4, "skipgram")
    rows = np.concatenate([kept.vectors_vocab, kept.vectors_ngrams])
    np.testing.assert_array_equal(theirs.get_input_matrix(), rows)
    assert main(["similar", "f.firth", "kings", "-n", "1"]) == 0
    assert len(capsys.readouterr().out.split()) == 2
    assert "--bucket: not an option of --model cbow" in error(
        capsys, "train", "corpus.txt", "--model", "cbow", "--bucket", "5"
    )
    assert "--x-max: not an option of --model fasttext" in error(
        capsys, "train", "corpus.txt", "--model", "fasttext", "--x-max", "5"
    )


def test_fasttext_is_resumed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(firth, "FastText", Trainer, raising=False)
    monkeypatch.setattr(Trainer, "kind", "fasttext")
    Trainer.calls, Trainer.outcome, Trainer.checkpoint = [], None, True
    container.write("out.firth.checkpoint", "fasttext", {})
    assert main(["train", "corpus.txt", "-o", "out.firth", "--resume"]) == 0
    assert Trainer.calls[-1]["resumed"]
    capsys.readouterr()
    container.write("out.firth.checkpoint", "keyedvectors", {})
    assert "holds word vectors, not a model in training" in error(
        capsys, "train", "corpus.txt", "-o", "out.firth", "--resume"
    )


def test_the_output_goes_by_its_suffix(
    here: Path, trainer: type[Trainer], capsys: pytest.CaptureFixture[str]
) -> None:
    from firth.words.vector_files import sniff

    for name, format in {
        "r.txt": "word2vec", "r.vec": "word2vec", "r.vec.gz": "word2vec",
        "r.bin": "word2vec-binary", "r.firth": "firth", "r": "firth", "r.model": "firth",
    }.items():  # fmt: skip
        assert main(["train", "corpus.txt", "-o", name]) == 0
        assert sniff(name) == format
        assert main(["similar", name, "king", "-n", "1"]) == 0
        assert capsys.readouterr().out.endswith("0.9996  queen\n")
    assert ".zip is read only" in error(capsys, "train", "corpus.txt", "-o", "r.zip")
    assert len(trainer.calls) == 7


RAW = "The King, and the Queen! The king's MEN\n" * 50


@pytest.mark.parametrize("packed", [None, gzip, lzma, bz2])
@pytest.mark.parametrize(
    ("option", "words"),
    [(None, "The King, and the Queen! king's MEN"), ("--lower", "the king, and queen! king's men"),
     ("--tokenize", "the king and queen men")],
)  # fmt: skip
def test_a_text_is_prepared(
    here: Path, capsys: pytest.CaptureFixture[str], packed: Any, option: str | None, words: str
) -> None:
    text = RAW.encode()
    Path("raw.txt").write_bytes(text if packed is None else packed.compress(text))
    options = [option] if option else []
    assert main(["train", "raw.txt", "-o", "raw.firth", "--dim", "4", *options]) == 0
    printed = capsys.readouterr()
    assert sorted(KeyedVectors.load("raw.firth").index_to_key) == sorted(words.split())
    if option:
        assert printed.err == ""
    else:
        assert printed.err.startswith("firth: hint: raw.txt looks like raw text: ")
        assert "--tokenize" in printed.err
        assert printed.err.count("\n") == 1
    assert main(["train", "corpus.txt", "-o", "raw.firth", "--dim", "4"]) == 0
    assert capsys.readouterr().err == ""


def test_a_text_from_standard_input(here: Path) -> None:
    for text in (RAW.encode(), gzip.compress(RAW.encode())):
        command = [sys.executable, "-m", "firth", "train", "-", "-o", "raw.firth", "--tokenize"]
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "queen" in KeyedVectors.load("raw.firth")
    done = subprocess.run(command[:-1], input=RAW.encode(), capture_output=True, check=False)
    assert b"hint: standard input looks like raw text" in done.stderr
    for text, message in {b"": "is empty", b"a\0b": "is not text", gzip.compress(b""): "is empty",
                          "text".encode("utf-16"): "is UTF-16"}.items():  # fmt: skip
        done = subprocess.run(command[:-1], input=text, capture_output=True, check=False)
        assert done.returncode == 2
        assert done.stderr.decode().startswith(f"firth: error: standard input: {message}")
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        assert done.returncode == 2, "what is no text is none once it is prepared"


@pytest.mark.skipif(os.name != "posix", reason="a named pipe")
def test_a_text_from_a_pipe(here: Path) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text(RAW))
    writer.start()
    assert main(["train", "pipe", "-o", "raw.firth", "--dim", "4", "--lower"]) == 0
    writer.join()
    assert "queen!" in KeyedVectors.load("raw.firth")


def test_a_prepared_text_is_resumed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []

    class Reader(Trainer):
        def build_vocab(self, text: Corpus) -> None:
            texts.append([list(sentence) for sentence in text])
            self.wv = vectors()

    monkeypatch.setattr(firth, "Word2Vec", Reader, raising=False)
    Trainer.calls, Trainer.outcome, Trainer.checkpoint = [], KeyboardInterrupt(), True
    Path("raw.txt").write_text(RAW)
    start = ["train", "raw.txt", "-o", "raw.firth", "--lower", "--tokenize"]
    assert main(start) == 130
    command = "firth train raw.txt -o raw.firth --lower --tokenize --resume"
    assert f"continue with: {command}\n" in capsys.readouterr().err
    Trainer.outcome = None
    assert main(command.split()[1:]) == 0
    assert texts == [[["the", "king", "and", "the", "queen", "the", "king", "men"]] * 50] * 2


def test_train_and_ask_for_real(here: Path) -> None:
    # Two topics that never meet: a word's neighbours are words of its own topic.
    rng = np.random.default_rng(0)
    topics = [["cat", "dog", "horse", "cow", "sheep"], ["red", "green", "blue", "white", "black"]]
    lines = [" ".join(rng.choice(topics[row % 2], 8)) for row in range(2000)]
    Path("corpus.txt").write_text("\n".join(lines) + "\n")
    options = "--dim 16 --epochs 10 --sample 0 --workers 1 -o out.firth"
    done = run("train", "corpus.txt", *options.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out.firth: 10 words, 16 dimensions")
    done = run("similar", "out.firth", "cat", "-n", "4")
    assert {line.split()[1] for line in done.stdout.splitlines()} == set(topics[0]) - {"cat"}
    assert sorted(os.listdir()) == ["corpus.txt", "out.firth", "words.firth"]
    done = run("train", "corpus.txt", "--model", "glove", "--dim", "8", "-o", "glove.firth")
    assert done.returncode == 0, done.stderr
    os.unlink("glove.firth")
    done = run("train", "corpus.txt", "--min-count", "100000", "-o", "none.firth")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("firth: error: ")
    assert not Path("none.firth").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_ctrl_c_while_the_result_is_saved(tmp_path, monkeypatch, capsys, number, code):
    """The file is finished first: without it the whole run would be lost."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("the cat and the dog\n" * 200)
    save = KeyedVectors.save

    def interrupted_save(self, fname):
        os.kill(os.getpid(), number)
        save(self, fname)

    monkeypatch.setattr(KeyedVectors, "save", interrupted_save)
    assert main(["train", "corpus.txt", "-o", "w.firth"]) == code
    assert "w.firth is complete" in capsys.readouterr().err
    assert "cat" in KeyedVectors.load("w.firth")
    assert not Path("w.firth.checkpoint").exists()


def test_too_little_room_is_an_error_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("the cat and the dog\n" * 200)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert main(["train", "corpus.txt", "-o", "w.firth"]) == 2
    assert "MB free" in capsys.readouterr().err
    assert not Path("w.firth").exists()


def test_diverged_training_replaces_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    lines = (" ".join(f"w{i}" for i in rng.integers(0, 10, 200)) for _ in range(200))
    Path("corpus.txt").write_text("\n".join(lines))
    Path("w.firth").write_bytes(b"old")
    arguments = ["--alpha", "1e30", "--sample", "0", "--workers", "1"]
    assert main(["train", "corpus.txt", "-o", "w.firth", *arguments]) == 2
    assert "diverged" in capsys.readouterr().err
    assert Path("w.firth").read_bytes() == b"old"


_ENDING = [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), _ENDING)
def test_other_signals_are_as_ctrl_c(
    here: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    """Batch systems send SIGTERM before they kill: the run must not be lost."""
    Path("corpus.txt").write_text("the cat and the dog sat on a mat\n" * 2000)
    later = threading.Timer(2, os.kill, (os.getpid(), number))
    later.start()
    assert main(["train", "corpus.txt", "-o", "w.firth", "--epochs", "1000000"]) == code
    assert (
        "firth: terminated; the state is in w.firth.checkpoint; continue with: firth train "
        in capsys.readouterr().err
    )
    assert Path("w.firth.checkpoint").exists()
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize(("number", "code"), _ENDING)
def test_in_the_background_of_a_script(
    here: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    """Where a shell without job control has Ctrl-C ignored."""
    Path("corpus.txt").write_text("the cat and the dog sat on a mat\n" * 2000)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        later = threading.Timer(2, os.kill, (os.getpid(), number))
        later.start()
        assert main(["train", "corpus.txt", "-o", "w.firth", "--epochs", "1000000"]) == code
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert "terminated; the state is in w.firth.checkpoint" in capsys.readouterr().err
    assert Path("w.firth.checkpoint").exists()


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGHUP])
def test_ignored_signals_stay_ignored(
    here: Path, monkeypatch: pytest.MonkeyPatch, ignored: signal.Signals
) -> None:
    """As SIGHUP is under nohup, and SIGINT in the background of a script."""
    Path("corpus.txt").write_text("the cat and the dog sat on a mat\n" * 200)
    count = FileCorpus.count

    def struck(text: FileCorpus) -> WordCounts:
        os.kill(os.getpid(), ignored)
        return count(text)

    monkeypatch.setattr(FileCorpus, "count", struck)
    before = signal.signal(ignored, signal.SIG_IGN)
    try:
        assert main(["train", "corpus.txt", "-o", "w.firth"]) == 0
        assert signal.getsignal(ignored) == signal.SIG_IGN
    finally:
        signal.signal(ignored, before)


def test_progress_without_a_terminal(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As under nohup: lines of the log, every ten seconds."""
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    Path("text").write_text("one two three four\n" * 50)
    train = ["train", "text", "--dim", "4", "--min-count", "1", "--epochs", "3"]
    assert main(train) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(firth.progress, "_SECONDS", 0.0)
    assert main(train) == 0
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("firth: training: 100.0% of 600 words, ")
    assert "epoch 3/3, loss " in line


def test_a_warning_is_a_message_of_the_command(here: Path) -> None:
    options = "--hs --negative 2 --min-count 1 --dim 4 --epochs 1 --sample 0"
    done = run("train", "corpus.txt", *options.split())
    assert done.returncode == 0
    assert "\nfirth: Both hierarchical softmax and negative sampling are activated." in (
        f"\n{done.stderr}"
    )
    assert "Warning" not in done.stderr
