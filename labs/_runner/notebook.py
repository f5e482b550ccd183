"""From the percent source of a lab's notebook to an executed notebook, a report, and a student's edition.

Executed twice on the same results, the files are the same, byte for byte.
"""

import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nnfoundations.labs._runner.lab import Lab, lab_folder
from nnfoundations.cli import write_whole

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["build", "execute", "write_notebook"]

STUDENT_ONLY, SOLUTION, PAGE = "student", "solution", "page"
"""Tags of cells. The report hides the code of `page` cells; `task` cells are for the reader."""


def write_notebook(lab: Lab, out: Path, *, student: bool = False) -> Path:
    """Execute the notebook of a lab on its results, and export it.

    Args:
        lab: the lab.
        out: the folder of its results: NAME.ipynb and report.html are written there.
        student: also write NAME_student.ipynb, without solutions and not executed.

    Returns:
        The report.
    """
    import nbformat

    notebook = execute(build(lab), out)
    write_whole(out / f"{lab.name}.ipynb", nbformat.writes(notebook) + "\n")
    if student:
        edition = build(lab, student=True)
        write_whole(out / f"{lab.name}_student.ipynb", nbformat.writes(edition) + "\n")
    report = out / "report.html"
    write_whole(report, _page(lab, notebook))
    return report


def build(lab: Lab, *, student: bool = False) -> "NotebookNode":
    """The notebook of a lab, not executed.

    Args:
        lab: the lab.
        student: leave out the cells tagged `solution`, and keep those tagged `student`.
    """
    import jupytext

    source = (lab_folder(lab.name) / "notebook.py").read_text(encoding="utf-8")
    notebook = jupytext.reads(source, fmt="py:percent")
    dropped = SOLUTION if student else STUDENT_ONLY
    notebook.cells = [cell for cell in notebook.cells if dropped not in cell.metadata.get("tags", [])]
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02}"  # jupytext's are random
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: "NotebookNode", folder: Path) -> "NotebookNode":
    """Execute a notebook in place, in a kernel of this Python.

    Args:
        notebook: not executed.
        folder: its working folder.

    Returns:
        The notebook.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised an exception.
    """
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    metadata = dict(notebook.metadata)
    environment = dict(os.environ) | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    with TemporaryDirectory() as sockets:
        manager = AsyncKernelManager(kernel_name="python3")
        if os.name == "posix":  # files, not ports: nobody else on the machine can connect
            manager.transport, manager.ip = "ipc", f"{sockets}/kernel"
        # The command is given, because a kernel named `python3` may be that of another environment.
        assert manager.kernel_spec is not None
        manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        client = NotebookClient(
            notebook, km=manager, timeout=300, startup_timeout=300, record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )  # fmt: skip
        client.execute(env=environment, cleanup_kc=True)
    notebook.metadata = metadata  # nbclient adds the version of Python
    for cell in notebook.cells:
        _merge_streams(cell)
    return notebook


def _merge_streams(cell: Any) -> None:
    """Text that arrives in several messages would split differently each time."""
    merged: list[Any] = []
    for output in cell.get("outputs", []):
        if (
            merged
            and output.output_type == "stream" == merged[-1].output_type
            and output.name == merged[-1].name
        ):
            merged[-1].text += output.text
        else:
            merged.append(output)
    if "outputs" in cell:
        cell.outputs = merged


def _page(lab: Lab, notebook: "NotebookNode") -> str:
    """One HTML file that needs no other: pictures are inside, and there is no script."""
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.remove_input_tags = {PAGE}
    config.TagRemovePreprocessor.enabled = True
    config.HTMLExporter.preprocessors = ["nbconvert.preprocessors.TagRemovePreprocessor"]
    exporter = HTMLExporter(config=config, template_name="basic", exclude_input_prompt=True,
                            exclude_output_prompt=True, exclude_anchor_links=True)  # fmt: skip
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL)
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    colours = HtmlFormatter(style="default").get_style_defs(".highlight")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{lab.name}: {lab.question}</title>\n<style>\n{colours}\n{css}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
