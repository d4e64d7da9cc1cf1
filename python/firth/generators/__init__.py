"""Generators: models that continue a text, a token after the other."""
