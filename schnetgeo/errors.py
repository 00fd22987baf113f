"""The one error that is the user's to mend."""

import re

_DROP = re.compile(r"drop=\(([^)]*)\)")
_ARGUMENT = re.compile(r"\b(format|\w+_key|\w+_unit)=('[^']*'|\"[^\"]*\")")
_QUOTED = re.compile(r"'([^']*)'")
_LONGEST = 1000  # characters


class InputError(ValueError):
    """Input that breaks a rule: the message names the place, the rule, the value and the remedy.

    The command line prints the message alone and exits with code 2. What a message quotes may come
    from a stranger's file, so it is one line of at most 1,000 characters without control
    characters.
    """

    def __init__(self, message: object):
        super().__init__(one_line(str(message)))


def one_line(text: str) -> str:
    """The same text as a terminal may have it: control characters escaped, its middle cut out."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 300]} … {text[-290:]}"
    if not text.isprintable():
        text = " ".join(text.split("\n")).replace("\t", " ")
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text[: 2 * _LONGEST]


def as_options(message: str) -> str:
    """A message whose advice is written as on the command line: drop=('a',) as --drop a."""
    message = _DROP.sub(lambda m: f"--drop {' '.join(_QUOTED.findall(m[1]))}", message)
    return _ARGUMENT.sub(lambda m: f"--{m[1].replace('_', '-')}={m[2].strip(chr(39))}", message)
