"""The one exception that a user is meant to read."""


class Failure(Exception):
    """Something that the user can mend: the message says what is wrong and what to do. Ends the run with status 2."""
