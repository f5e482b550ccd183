"""What is raised where a finding is to end the run."""

from nnfoundations.diagnostics._finding import Finding


class FaultError(RuntimeError):
    """A run was ended by its diagnostics. `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding

    def __str__(self) -> str:
        return str(self.finding)
