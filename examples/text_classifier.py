"""Word vectors as features of a text classifier: with one labelled document a kind, they know more.

A perceptron tells from a paragraph whether it is of a fairy tale, a speech, a traveller's diary ...
One document of each of ten kinds has a label. TF-IDF knows the words of these only; word vectors,
trained on all paragraphs without labels, put words that it never saw near those that it saw.

python examples/text_classifier.py (reads ../shared/data/docs; a few seconds)
"""

from pathlib import Path

import numpy as np

import firth
from firth.words import TfidfVectorizer

DOCS = Path(__file__).resolve().parents[2] / "shared" / "data" / "docs"

# The kind of a document stands in its name: grimm_cinderella.txt. The first line is the title.
documents: dict[str, list[list[str]]] = {}
for path in sorted(DOCS.glob("*.txt")):
    paragraphs = [p for p in path.read_text().split("\n\n")[1:] if len(p.split()) >= 20]
    documents.setdefault(path.name.split("_")[0], []).append(paragraphs)
texts = [text for kind in documents.values() for paragraphs in kind for text in paragraphs]
print(f"{len(texts):,} paragraphs of {len(documents)} kinds: {', '.join(documents)}")

# Without labels: the vectors, and how common each word is. The words of both have the same order.
tfidf = TfidfVectorizer(min_df=3).fit(texts)
words = tfidf.get_feature_names_out()
sentences = list(map(tfidf.build_analyzer(), texts))
model = firth.Word2Vec(
    sentences, vector_size=100, sg=1, min_count=3, epochs=5, sample=1e-3, workers=1, seed=1
)
vectors = model.wv[words]
print("near 'king':", ", ".join(word for word, _ in model.wv.most_similar("king", topn=5)))


def mean_vectors(texts: list[str]) -> np.ndarray:
    """The mean (n, 100) of each text's words, the rarer the heavier, with length 1."""
    means = tfidf.transform(texts) @ vectors
    return means / np.linalg.norm(means, axis=1, keepdims=True)


centre = mean_vectors(texts).mean(axis=0)
scores = []
for seed in range(5):  # which document of a kind has a label
    rng = np.random.default_rng(seed)
    labelled: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for kind, of_kind in documents.items():
        chosen = rng.integers(len(of_kind))
        for i, paragraphs in enumerate(of_kind):
            (labelled if i == chosen else others).extend((text, kind) for text in paragraphs)
    (x, y), (unseen, kinds) = (map(list, zip(*part, strict=True)) for part in (labelled, others))

    perceptron = firth.Perceptron(class_weight="balanced", random_state=0)
    of_words = perceptron.fit(tfidf.transform(x), y).score(tfidf.transform(unseen), kinds)
    perceptron.fit(mean_vectors(x) - centre, y)
    of_vectors = perceptron.score(mean_vectors(unseen) - centre, kinds)
    scores.append((of_words, of_vectors))
    print(f"{len(x):4} labelled: TF-IDF {of_words:.1%}, word vectors {of_vectors:.1%} of the rest")

of_words, of_vectors = np.mean(scores, axis=0)
print(f"mean: TF-IDF {of_words:.1%}, word vectors {of_vectors:.1%} right")
assert of_vectors > of_words + 0.05
