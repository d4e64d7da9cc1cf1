"""Word vectors."""

KeyedVectors = Word2Vec = None
