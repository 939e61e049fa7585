"""What goes wrong in the sandbox, named by what the person at the terminal does next.

SandboxError              one sentence that says what to do; the command line prints it and nothing else
|- NotSupported           this machine cannot run the sandbox at all
|- BinariesMissing        build them first, or say where they are
|- BuildFailed            the Go build stopped; what was compiled is kept, so running it again resumes
|- StateRefused           the state folder is not ours, or what was asked does not go with what runs on it
|  `- StateInUse          another supervisor was faster
`- ComponentFailed        a part did not start; its log says why
   `- AddressInUse        somebody took the port first: choose another and start again
"""

# ruff: noqa: N818 - named by what happened and not by the word Error, as the tree above

from __future__ import annotations

from pathlib import Path


class SandboxError(Exception):
    """The root of the tree. Its text is for a person, and names the next step."""


class NotSupported(SandboxError):
    pass


class BinariesMissing(SandboxError):
    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(
            f"{', '.join(names)} not found. Run `tradingbot-sandbox tools`, "
            "or set KUBEBUILDER_ASSETS to a folder that has them."
        )
        self.names = names


class BuildFailed(SandboxError):
    pass


class StateRefused(SandboxError):
    pass


class StateInUse(StateRefused):
    pass


class ComponentFailed(SandboxError):
    def __init__(self, component: str, what: str, *, last_line: str, log: Path) -> None:
        said = f" It said: {last_line}." if last_line else ""
        super().__init__(f"{component} {what}.{said} The whole log: {log}")
        self.component = component
        self.log = log


class AddressInUse(ComponentFailed):
    pass
