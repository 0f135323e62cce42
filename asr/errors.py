"""The exceptions that the command line turns into one line and an exit status."""


class UserError(Exception):
    """A mistake in what was asked for; the user can mend it. Exit status 2.

    One line: the file, the value, the mend.
    """


class Failed(Exception):
    """What was asked for was right, and it did not work. Exit status 1.

    One line: what failed, what it means, what to try.
    """
