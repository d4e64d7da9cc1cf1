"""Pre-trained vectors by name, in the shape of gensim.downloader: ``info()`` and ``load(name)``.

The catalogue is that of the models of https://github.com/piskvorky/gensim-data (its list.json:
names, sizes, MD5 sums); the files come from there. A download that breaks off is kept
(``<file>.part``) and continues where it stopped, on the next attempt or the next call; what arrives
is compared with its checksum before it gets its name.

``FIRTH_DATA_DIR`` is the folder of the files (by default ~/.cache/firth); files that gensim has
downloaded (``GENSIM_DATA_DIR``, ~/gensim-data) are used where they are. ``FIRTH_DOWNLOAD_URL`` is
the address of a mirror that has ``<name>/<file name>``.
"""

from __future__ import annotations

import copy
import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from firth.progress import progress_bar

if TYPE_CHECKING:
    from firth.words import KeyedVectors

URL = "https://github.com/piskvorky/gensim-data/releases/download"
BASE_DIR = os.environ.get("FIRTH_DATA_DIR") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "firth"
)
_GENSIM_DIR = os.environ.get("GENSIM_DATA_DIR") or os.path.expanduser("~/gensim-data")

_ATTEMPTS = 5  # without progress
_PROGRESS = 1 << 16  # bytes
_PAUSE = 1.0  # seconds before the second attempt, then doubled
_TIMEOUT = 30.0  # seconds without an answer
_BLOCK = 1 << 20
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_GLOVE = "https://nlp.stanford.edu/projects/glove/"
_PDDL = "http://opendatacommons.org/licenses/pddl/"
_WIKIPEDIA = "Wikipedia 2014 + Gigaword 5 (6B tokens, uncased)"
_TWITTER = "Twitter (2B tweets, 27B tokens, 1.2M vocab, uncased)"
_FASTTEXT = "Wikipedia 2017, UMBC webbase corpus and statmt.org news dataset (16B tokens)"
# name, words, dimensions, bytes, MD5, what it was trained on, license, where to read more
_MODELS: list[tuple[str, int, int, int, str, str, str, str]] = [
    ("fasttext-wiki-news-subwords-300", 999999, 300, 1005007116,
     "de2bb3a20c46ce65c9c131e1ad9a77af", _FASTTEXT,
     "https://creativecommons.org/licenses/by-sa/3.0/",
     "https://fasttext.cc/docs/en/english-vectors.html"),
    ("conceptnet-numberbatch-17-06-300", 1917247, 300, 1225497562,
     "fd642d457adcd0ea94da0cd21b150847", "ConceptNet, word2vec, GloVe, and OpenSubtitles 2016",
     "https://github.com/commonsense/conceptnet-numberbatch/blob/master/LICENSE.txt",
     "https://github.com/commonsense/conceptnet-numberbatch"),
    ("word2vec-ruscorpora-300", 184973, 300, 208427381,
     "9bdebdc8ae6d17d20839dd9b5af10bc4", "Russian National Corpus (about 250M words)",
     "https://creativecommons.org/licenses/by/4.0/deed.en", "http://rusvectores.org/en/"),
    ("word2vec-google-news-300", 3000000, 300, 1743563840,
     "a5e5354d40acb95f9ec66d5977d140ef", "Google News (about 100 billion words)",
     "not found", "https://code.google.com/archive/p/word2vec/"),
    ("glove-wiki-gigaword-50", 400000, 50, 69182535,
     "c289bc5d7f2f02c6dc9f2f9b67641813", _WIKIPEDIA, _PDDL, _GLOVE),
    ("glove-wiki-gigaword-100", 400000, 100, 134300434,
     "40ec481866001177b8cd4cb0df92924f", _WIKIPEDIA, _PDDL, _GLOVE),
    ("glove-wiki-gigaword-200", 400000, 200, 264336934,
     "59652db361b7a87ee73834a6c391dfc1", _WIKIPEDIA, _PDDL, _GLOVE),
    ("glove-wiki-gigaword-300", 400000, 300, 394362229,
     "29e9329ac2241937d55b852e8284e89b", _WIKIPEDIA, _PDDL, _GLOVE),
    ("glove-twitter-25", 1193514, 25, 109885004,
     "50db0211d7e7a2dcd362c6b774762793", _TWITTER, _PDDL, _GLOVE),
    ("glove-twitter-50", 1193514, 50, 209216938,
     "c168f18641f8c8a00fe30984c4799b2b", _TWITTER, _PDDL, _GLOVE),
    ("glove-twitter-100", 1193514, 100, 405932991,
     "b04f7bed38756d64cf55b58ce7e97b15", _TWITTER, _PDDL, _GLOVE),
    ("glove-twitter-200", 1193514, 200, 795373100,
     "e52e8392d1860b95d5308a525817d8f9", _TWITTER, _PDDL, _GLOVE),
]  # fmt: skip

_CORPORA = (
    "20-newsgroups", "fake-news", "patent-2017", "quora-duplicate-questions",
    "semeval-2016-2017-task3-subtaskA-unannotated", "semeval-2016-2017-task3-subtaskBC", "text8",
    "wiki-english-20171001",
)  # fmt: skip

_CATALOGUE: dict[str, dict[str, Any]] = {
    name: {
        "num_records": words,
        "file_size": size,
        "base_dataset": base,
        "license": license,
        "parameters": {"dimension": dimension},
        "description": f"{words:,} vectors of {dimension} dimensions: {base}.",
        "read_more": [more],
        "checksum": md5,
        "file_name": f"{name}.gz",
        "parts": 1,
    }
    for name, words, dimension, size, md5, base, license, more in _MODELS
}


def info(
    name: str | None = None, show_only_latest: bool = True, name_only: bool = False
) -> dict[str, Any]:
    """What there is to load.

    Parameters
    ----------
    name : str, optional
        A model; without it, all models are listed.
    show_only_latest : bool
        Accepted for compatibility with gensim; there is one version of each.
    name_only : bool
        Return only names.

    Returns
    -------
    dict
        What is known of the model (size, checksum, license, ...); or ``{"corpora": ...,
        "models": ...}``, each a dict from names to such dicts or, with ``name_only``, a list of
        names. There are no corpora.

    Raises
    ------
    ValueError
        There is no model of this name; the message lists them.
    """
    if name is not None:
        return copy.deepcopy(_entry("info", name))
    if name_only:
        return {"corpora": [], "models": list(_CATALOGUE)}
    return {"corpora": {}, "models": copy.deepcopy(_CATALOGUE)}


def load(name: str, return_path: bool = False) -> KeyedVectors | str:
    """Load pre-trained vectors, downloading them first if necessary.

    Parameters
    ----------
    name : str
        One of ``info(name_only=True)["models"]``.
    return_path : bool
        Do not load the file, only return its path.

    Returns
    -------
    KeyedVectors, or str
        The vectors, or with ``return_path`` the path of their file.

    Raises
    ------
    ValueError
        There is no model of this name; the message lists them.
    OSError
        The download failed; the received part is kept, and the next call continues from there.
    """
    entry = _entry("load", name)
    path = os.path.join(BASE_DIR, name, entry["file_name"])
    gensims = os.path.join(_GENSIM_DIR, name, entry["file_name"])
    if not os.path.exists(path):
        if os.path.exists(gensims):
            path = gensims
        else:
            address = os.environ.get("FIRTH_DOWNLOAD_URL") or URL
            url = f"{address.rstrip('/')}/{name}/{entry['file_name']}"
            _download(url, path, entry["file_size"], entry["checksum"])
    if return_path:
        return path
    from firth.words.vector_files import load_vectors

    return load_vectors(path)


def _entry(function: str, name: str) -> dict[str, Any]:
    if name not in _CATALOGUE:
        problem = f"no model {name!r}"
        if name in _CORPORA:
            problem = f"{name!r} is a corpus, and corpora are not offered"
        raise ValueError(f"{function}: {problem}; the models are {', '.join(_CATALOGUE)}")
    return _CATALOGUE[name]


def _download(url: str, path: str, size: int, md5: str) -> None:
    """Download to ``path``, continuing an earlier download in ``path``.part."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = f"{path}.part"
    while not os.path.exists(path):
        with open(part, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another process may be downloading it: then wait
            if os.path.exists(part) and os.path.samestat(os.stat(part), os.fstat(file.fileno())):
                _complete(url, part, file, size, md5)
                os.replace(part, path)


def _complete(url: str, part: str, file: Any, size: int, md5: str) -> None:
    _check_space(part, size - file.tell())
    label = os.path.basename(part).removesuffix(".part")
    with progress_bar(size, "B", label, begun=file.tell()) as bar:
        for _ in range(2):  # the parts may come from two versions: start again
            _fetch(url, file, size, bar)
            if _md5(part) == md5:
                os.fsync(file.fileno())
                return
            file.truncate(0)
    os.unlink(part)
    raise OSError(f"{url}: the file that arrived does not match its checksum; removed")


def _check_space(part: str, needed: int) -> None:
    free = shutil.disk_usage(os.path.dirname(part)).free
    if free < needed:
        raise OSError(
            f"{os.path.dirname(part)}: the disk has {free / 1e6:,.0f} MB free, "
            f"the download takes {needed / 1e6:,.0f} MB"
        )


def _md5(path: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _fetch(url: str, file: Any, size: int, bar: Any) -> None:
    """Append the rest of the file, as often as it takes; OSError when nothing arrives any more.

    An attempt has made progress when the file is longer by a hundredth (at most `_PROGRESS` bytes)
    than after every earlier one. Some servers send the file from the start again: an attempt that
    stops at the same place has made none.
    """
    least = min(_PROGRESS, size // 100 + 1)
    failures = 0
    furthest = file.seek(0, os.SEEK_END)
    while True:
        try:
            if _fetch_once(url, file, size, bar):
                return
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise OSError(f"{url}: {error.code} {error.reason}") from None
            reason = f"{error.code} {error.reason}"
            error.close()
        except (OSError, http.client.HTTPException) as error:  # no host, a timeout, a reset
            if getattr(error, "errno", None) in _DISK:
                raise
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        except ValueError as error:  # an invalid address, ours or of a redirect
            raise OSError(f"{url}: {error}") from None
        reached = file.seek(0, os.SEEK_END)
        if reached >= furthest + least:
            failures, furthest = 0, reached
        else:
            failures += 1
        if failures == _ATTEMPTS:
            raise OSError(
                f"{url}: {reason}; gave up after {failures} attempts. "
                f"{file.tell() / 1e6:,.1f} of {size / 1e6:,.1f} MB are there, "
                "and the next call goes on with them"
            )
        time.sleep(_PAUSE * 2 ** (failures - 1) if failures else 0)


def _fetch_once(url: str, file: Any, size: int, bar: Any) -> bool:
    """One request; whether the file is whole by what the server said of its length."""
    have = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "firth", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # Nothing beyond what we have: it is complete, or too long and not this file.
        error.close()
        if have != size:
            file.truncate(0)
        return bool(have == size)
    with response:
        if response.status != 206:
            have = 0  # the whole file is coming
            file.truncate(0)
        else:
            part = str(response.headers.get("Content-Range", ""))
            if not part.startswith(f"bytes {have}-"):
                file.truncate(0)
                raise http.client.HTTPException("sends another part than was asked for")
            whole = part.rpartition("/")[2]
            if whole not in ("*", str(size)):
                raise http.client.HTTPException(f"has a file of {whole} bytes, wanted {size}")
        bar.update(have - bar.n)
        length = response.headers.get("Content-Length")
        known = length and length.isascii() and length.isdigit() and len(length) < 20
        total = have + int(length) if known else size
        while block := response.read(_BLOCK):
            have += len(block)
            if have > size + _BLOCK:
                file.truncate(0)
                raise http.client.HTTPException(f"sends more than the {size} bytes it should")
            file.write(block)
            file.flush()
            bar.update(len(block))
    return bool(have >= total)
