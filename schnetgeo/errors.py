"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Input that breaks a rule: the message names the place, the rule, the value and the remedy.

    The command line prints the message alone and exits with code 2.
    """
