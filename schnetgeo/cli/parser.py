"""jsonargparse as people read it: options with dashes, short help, errors of one line."""

import contextlib
import os
import re
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Iterator
from typing import TextIO, get_args

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from schnetgeo.errors import InputError, as_options, one_line
from schnetgeo.user_code import import_named
from schnetgeo.yaml_size import check_yaml

_LONG_OPTION = re.compile(r"--[a-zA-Z][\w.-]*")
# in texts of jsonargparse
_KEY = re.compile(r'Parser key "([\w.]+)"')
_CLASS = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_CHOICE = re.compile(r"a typing\.Literal\[(.*?)\]")
_UNION = re.compile(r"Does not validate .*? Errors: - (.*) Given value type: \S+ Given value:")
_CLASS_PATH = re.compile(r"\{'class_path': '(?:\w+\.)*(\w+)'\}")
_REQUIRED = re.compile(r"required: ((?:\w+\.)+)")
_TYPE = re.compile(r" *\((?:required, )?type: .*?(, default: .*?)?(, known subclasses: .*)?\)$")
_OUT_OF_MEMORY = re.compile("can't allocate memory|out of memory")  # of torch, on CPU and GPU
_NOTHING = (None, ", default: null", ", default: []", ", default: False")


class Help(DefaultHelpFormatter):
    """Help with defaults, without the names of types and all classes that there are."""

    def _expand_help(self, action):
        def default(match):
            return "" if match[1] in _NOTHING else f" ({match[1][2:]})"

        text = _CLASS.sub(r"\1", super()._expand_help(action))
        return _TYPE.sub(default, _CLASS_PATH.sub(r"\1", text))


class Parser(ArgumentParser):
    """jsonargparse, with --words-like-this on the outside and names_like_this inside."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, formatter_class=Help, **kwargs)

    def parse_args(self, args=None, namespace=None, **kwargs):
        args = [_underscored(a) for a in (sys.argv[1:] if args is None else args)]
        try:
            return super().parse_args(args, namespace, **kwargs)
        except UnicodeDecodeError as error:
            self.error(f"a configuration file is not UTF-8 ({error})")

    def add_class_arguments(self, *args, **kwargs):
        before = len(self._actions)
        added = super().add_class_arguments(*args, **kwargs)
        for action in self._actions[before:]:
            if action.dest.endswith(".help"):
                action.help = SUPPRESS
            if re.search(r"type\[|Callable\[|Module", str(getattr(action, "_typehint", ""))):
                action._check_type_ = _importing(action._check_type_)
        return added

    def _load_config_parser_mode(self, content, path="", *args, **kwargs):
        check_yaml(content, path)
        return super()._load_config_parser_mode(content, path, *args, **kwargs)

    def _check_value_key(self, action, value, key, cfg, append=False):
        """Values of a configuration file: one without brackets for several, a number for a word."""
        if action.nargs == "+" and value is not None and not isinstance(value, list):
            value = [value]
        if type(value) is int and str(value) in get_args(getattr(action, "_typehint", None)):
            value = str(value)  # as in precision: 64
        return super()._check_value_key(action, value, key, cfg, append)

    def format_help(self) -> str:
        return _LONG_OPTION.sub(_dashed, super().format_help())

    def error(self, message, ex=None):
        """One line, like that of an `InputError`, instead of the whole usage."""
        command = getattr(ex, "subcommand_parser", self).prog.replace(" [options]", "")
        text = _KEY.sub(r"--\1", " ".join(message.split()))
        missing = _REQUIRED.search(text)  # of a subcommand: the error is raised by the parser above
        if missing:
            command += " " + missing[1].strip(".").replace(".", " ")
            text = text.replace(missing[1], "")
        text = _UNION.sub(_alternatives, _CHOICE.sub(r"one of \1", _CLASS.sub(r"\1", text)))
        text = one_line(_LONG_OPTION.sub(_dashed, text).removesuffix("."))
        print(f"{command}: {text}; see {command} --help", file=sys.stderr)
        sys.exit(2)


def flag(parser: Parser, name: str, help: str) -> None:
    """An option that is given or not, or as --name true in scripts and configuration files."""
    parser.add_argument(name, type=bool, nargs="?", const=True, default=False, help=help)


@contextlib.contextmanager
def errors_in_one_line(prog: str) -> Iterator[None]:
    """Within the block an `InputError` becomes one line and exit code 2.

    So does what the system refuses, such as a name that is too long or memory that is not there.
    Ctrl-C is one line and exit code 130, a closed pipe nothing and 141, as the shell has it.
    """
    code = 2
    try:
        with _any_file_name(sys.stdout):
            yield
            sys.stdout.flush()  # so that a closed pipe is noticed here
    except InputError as error:
        text = as_options(str(error))
    except KeyboardInterrupt as interrupt:
        text, code = str(interrupt) or "interrupted", 130
    except BrokenPipeError:  # nobody reads on, as after | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        text = f"{error.filename or 'the system'}: {error.strerror or error}"
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error))):
            raise
        text = f"not enough memory: {error}; give fewer or smaller structures or a smaller model"
    else:
        return
    print(f"{prog}: {one_line(text)}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def _any_file_name(stream: TextIO) -> Iterator[None]:
    """Within the block a stream prints file names that are not UTF-8 with backslashes."""
    if not hasattr(stream, "reconfigure"):  # as in a notebook
        yield
        return
    before = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # a closed pipe
            stream.reconfigure(errors=before)


def _importing(check: Callable) -> Callable:
    """The same check of a value, which finds a class of the working folder too."""

    def check_imported(value, **options):
        import_named(value)
        return check(value, **options)

    return check_imported


def _underscored(argument: str) -> str:
    match = _LONG_OPTION.match(argument)
    if not match:
        return argument
    name = match.group()
    return "--" + name[2:].replace("-", "_") + argument[len(name) :]


def _dashed(match: re.Match) -> str:
    return match.group().replace("_", "-")


def _alternatives(match: re.Match) -> str:
    expected = [text.rstrip(".") for text in match[1].split(" - ") if "NoneType" not in text]
    return f"{' or '.join(expected)}. Got value:"
