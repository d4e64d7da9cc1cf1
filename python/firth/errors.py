"""The one exception class that firth adds to Python's own."""


class FormatError(ValueError):
    """A file is not what its name or header promises; the message gives path and byte offset."""
