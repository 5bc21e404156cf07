"""A group of commands that answers a name it does not have."""

import difflib

import click

from clipclean.untrusted import printable


class AdvisingGroup(click.Group):
    """A group which says what to call instead of a command that it does not have."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with advice for a name that is none of the group's commands."""
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(self.advice(ctx, name))
        return super().resolve_command(ctx, args)

    def advice(self, ctx: click.Context, name: str, /) -> str:
        """That there is no such command, and what to call instead."""
        return f"There is no command '{printable(name)}'. {self.instead(ctx, name)}"

    def instead(self, ctx: click.Context, name: str, /) -> str:
        """The command that is called nearly so, or all."""
        names = self.list_commands(ctx)
        close = difflib.get_close_matches(name, names, n=1)
        return f"Did you mean '{close[0]}'?" if close else f"'{ctx.command_path}' has {', '.join(names)}."
