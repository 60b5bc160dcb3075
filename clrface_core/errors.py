"""The one exception that CLR-Face raises for bad input: its text is a sentence for the user."""


class CLRFaceError(ValueError):
    """Bad input. The message says what was expected, what came, and what to do."""
