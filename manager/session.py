"""What every command needs: the settings, the account, the terminal, and what is done with a plan."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from container.modeling.settings import Settings
from manager.aws import Aws
from manager.console import Terminal
from manager.plan import Executor, Plan

# Docker's client takes long to import, and most commands do without.
if TYPE_CHECKING:
    from manager.image import Flavor


@dataclass(frozen=True)
class Session:
    """One call of the command line."""

    settings: Settings
    aws: Aws
    terminal: Terminal
    executor: Executor
    flavor: "Flavor"
    """The kind of image that the account runs."""
    project_root: Path
    confirm: Callable[[str, str], None]
    """Puts a question to the user, who says yes by typing the given word; raises `RefusedError` otherwise."""
    command: str
    """How this command line was called, up to its actions, for the commands that it suggests."""

    def carry_out(self, plan: Plan) -> None:
        """Do, or show, what is planned.

        Raises:
            AwsError: a call is no valid request, or AWS refused it.
        """
        self.executor(plan, self.aws, self.terminal)
