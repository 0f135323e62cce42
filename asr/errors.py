"""The exceptions that the command line turns into one line and an exit status."""


class AsrError(Exception):
    """The base of the errors that this package raises on purpose; its message is one line."""


class UserError(AsrError):
    """The request is wrong and the user can fix it. Exit status 2.

    The message names the file, the value and the fix.
    """


class Failed(AsrError):
    """The request is right but could not be carried out. Exit status 1.

    The message says what failed, what that means, and what to try.
    """
