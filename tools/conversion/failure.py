"""The exception for errors that users can fix."""


class Failure(Exception):
    """An error that the user can fix: the message says what is wrong and what to do. Ends the run with status 2."""
