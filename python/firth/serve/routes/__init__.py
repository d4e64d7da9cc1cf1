"""Routes, one file a family: each finds a model and hands the request on."""
