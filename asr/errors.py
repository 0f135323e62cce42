"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake in what was asked for. One line: the file, the value, the mend.

    The command line prints it without a traceback and exits with status 2.
    """
