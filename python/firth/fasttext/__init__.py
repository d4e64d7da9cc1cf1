"""Facebook fastText's Python module: the same functions and methods on firth's own code.

>>> import firth.fasttext as fasttext
>>> model = fasttext.load_model("lid.176.ftz")                  # doctest: +SKIP
>>> model.predict("Wie geht es dir?", k=2)                      # doctest: +SKIP

Names, argument order, defaults and results are those of the package fasttext. Lists are classified
on all threads (`firth.set_num_threads`). Other than there:

- training starts from a whole random matrix whatever the number of threads;
- ``thread`` is by default what `firth.set_num_threads` says;
- files that cannot be opened raise OSError, damaged ones FormatError, rows out of range IndexError;
- `Model.get_subwords` of a pruned model gives the n-grams that are left, with their rows;
- automatic tuning (``autotune...``) is not offered.

Sources: Joulin et al. 2016, Bag of Tricks for Efficient Text Classification; Joulin et al. 2016,
FastText.zip; fastText's src/.
"""

from __future__ import annotations

from firth.fasttext import FastText
from firth.fasttext.meter import Meter
from firth.fasttext.model import BOW, EOS, EOW, Model, load_model, tokenize
from firth.fasttext.training import resume, train_supervised, train_unsupervised

__all__ = [
    "BOW",
    "EOS",
    "EOW",
    "FastText",
    "Meter",
    "Model",
    "load_model",
    "resume",
    "tokenize",
    "train_supervised",
    "train_unsupervised",
]
