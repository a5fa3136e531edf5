"""How `--help` reads: a sentence, the options by what they are for, examples, exit codes; plain anywhere.

An option says with `rich_help_panel` which of `PANELS` it belongs to. What follows `Examples:` in a command's
docstring is shown behind the options, line by line, and the epilog behind that, as it stands.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup

WHAT = "What to do"
MODELS = "Models"
LIMITS = "Limits"
OUTPUT = "Output"
OTHER = "Other"
PANELS = (WHAT, MODELS, LIMITS, OUTPUT, OTHER)
"""The headings, in the order in which they stand."""

_NAMES_COLUMNS = 30
_GLUE = "\N{NO-BREAK SPACE}"
"""Stands in for a blank at which no line may break, until all lines are broken."""
_EXAMPLES = "Examples:"


def env(name: str) -> str:
    """Return the words for the variable of an option, which stay on one line."""
    return f"[env:{_GLUE}{name}]"


class Page(TyperCommand):
    """A command whose help is a page."""

    def get_help(self, ctx: Any) -> str:
        """Return the whole page."""
        return super().get_help(ctx).replace(_GLUE, " ")

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is typer's
        """Write what the command does."""
        about = (self.help or "").partition(_EXAMPLES)[0]
        _write_paragraphs(formatter, about)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, under headings where some of them are of another kind."""
        panels: dict[str, list[tuple[str, str]]] = {panel: [] for panel in PANELS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels[_panel(parameter)].append((_names(parameter, record[0]), record[1]))
        if not panels[MODELS]:
            panels = {"Options": [row for rows in panels.values() for row in rows]}
        widest = max(len(names) for rows in panels.values() for names, _ in rows)
        for heading, rows in panels.items():
            if rows:
                with formatter.section(heading):
                    aligned = [(names.ljust(min(widest, _NAMES_COLUMNS)), text) for names, text in rows]
                    formatter.write_dl(aligned, col_max=_NAMES_COLUMNS)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is typer's
        """Write the examples, and the epilog as it stands."""
        examples = (self.help or "").partition(_EXAMPLES)[2]
        _write_lines(formatter, "Examples", examples)
        heading, _, rest = (self.epilog or "").partition("\n")
        _write_lines(formatter, heading, rest)


class Cover(TyperGroup):
    """The program's own page: the commands, and what to begin with."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is typer's
        """Write what the program does."""
        _write_paragraphs(formatter, (self.help or "").partition(_EXAMPLES)[0])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands before the options."""
        self.format_commands(ctx, formatter)
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is typer's
        """Write what to begin with."""
        _write_lines(formatter, "To begin", (self.help or "").partition(_EXAMPLES)[2])


def _panel(parameter: Any) -> str:
    panel = getattr(parameter, "rich_help_panel", None)
    return panel if panel in PANELS else WHAT if parameter.param_type_name == "argument" else OTHER


def _names(parameter: Any, record: str) -> str:
    """Return what an argument or option is called; typer's own words for an argument name its type too."""
    return str(parameter.metavar) if parameter.param_type_name == "argument" else record


def _write_paragraphs(formatter: Any, text: str) -> None:
    for paragraph in text.strip().split("\n\n"):
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(" ".join(paragraph.split()))


def _write_lines(formatter: Any, heading: str, text: str) -> None:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if not lines:
        return
    with formatter.section(heading):
        for line in lines:
            formatter.write(f"  {line.strip() if heading != 'Exit codes' else line}\n")
