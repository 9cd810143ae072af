"""What a user has to be told, and nothing else of it: no traceback."""


class Problem(Exception):
    """Something is wrong with what was given: one sentence that says what, and what to do."""
