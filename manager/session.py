"""What every command needs: the settings, the account, the terminal, and what is done with a plan."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from container.modeling.settings import Settings
from manager.aws import Aws
from manager.console import Terminal
from manager.plan import Executor, Plan


@dataclass(frozen=True)
class Session:
    """One call of the command line."""

    settings: Settings
    aws: Aws
    terminal: Terminal
    executor: Executor
    image_format: Literal["docker", "directory"]
    """What an image is to the account: layers in a registry, or a directory on the same machine."""
    project_root: Path
    command: str
    """How this command line was called, up to its actions, for the commands that it suggests."""

    def carry_out(self, plan: Plan) -> None:
        """Do, or show, what is planned.

        Raises:
            AwsError: a call is no valid request, or AWS refused it.
        """
        self.executor(plan, self.aws, self.terminal)
