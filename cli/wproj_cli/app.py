"""The app: a new verb is a file in `commands` and a line here."""

from typing import Annotated

import typer

from wproj_cli.commands.audit import audit
from wproj_cli.commands.check import check
from wproj_cli.commands.diff import diff
from wproj_cli.commands.explain import explain
from wproj_cli.commands.init import init
from wproj_cli.commands.ls import ls
from wproj_cli.commands.project import project
from wproj_cli.commands.schema import schema

# Plain help can be copied, does not wrap at 80 columns, and starts in half the time.
app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def describe(
    version: Annotated[  # answered in main, before Typer is imported
        bool, typer.Option("-V", "--version", help="Print the version and exit.")
    ] = False,
    debug: Annotated[  # taken out in main, wherever it stands
        bool, typer.Option("--debug", help="Show where an error comes from.")
    ] = False,
) -> None:
    """Project the weights of saved neural networks onto constraint sets."""


for command in (ls, audit, project, check, diff, explain, init, schema):
    app.command()(command)
