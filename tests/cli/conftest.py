"""A folder with files to work on, files of every wrong kind, a stand-in for training."""

from __future__ import annotations

from pathlib import Path

import pytest

import firth
from commands import Trainer, vectors


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with vectors and a corpus."""
    monkeypatch.chdir(tmp_path)
    vectors().save("words.firth")
    Path("corpus.txt").write_text("the king and the queen\n" * 20)
    return tmp_path


@pytest.fixture
def wrong(here: Path) -> dict[str, str]:
    """Files that hold no vectors, and the error for each."""
    Path("folder").mkdir()
    Path("empty").write_bytes(b"")
    Path("prose").write_text("It was a dark night.\nNobody slept.\n")
    Path("bytes").write_bytes(bytes(range(256)) * 10)
    Path("labelled").write_text("__label__a king queen\n__label__b man woman\n" * 20)
    model = firth.fasttext.train_supervised("labelled", dim=4, epoch=1, verbose=0)
    model.save_model("supervised.bin")
    Path("tabs.txt").write_text("2 2\nking\t1\t2\nqueen\t3\t4\n")
    Path("tabs").write_text("king\t1\t2\nqueen\t3\t4\n")
    return {
        "none": "no such file or directory",
        "folder": "is not a folder of spaCy's vectors or of model2vec",
        "empty": "is empty",
        "prose": "is not a file of vectors",
        "bytes": "is not a file of vectors",
        "supervised.bin": "is a supervised model of fastText: firth.fasttext.load_model reads it",
        "tabs.txt": "row 0 must be a word and 2 numbers, got b'king\\t1\\t2' (tabs do not separate",
        "tabs": "row 0 must be a word and 2 numbers, got b'king\\t1\\t2' (tabs do not separate",
    }


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> type[Trainer]:
    Trainer.calls, Trainer.outcome, Trainer.checkpoint = [], None, False
    monkeypatch.setattr(firth, "Word2Vec", Trainer, raising=False)
    return Trainer
