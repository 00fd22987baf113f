"""The command line: a file for each command, others for the options that several share."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command; an `InputError` becomes one line and exit code 2."""
    from schnetgeo.cli.shell import run  # with all that the commands import

    run(arguments)
