"""From arguments to an exit code. Torch and Lightning are imported only by the commands that need them."""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from nnfoundations import __version__
from nnfoundations.cli._configs import ConfigNameError, resolve_configs, run_name
from nnfoundations.cli._environment import TorchvisionMismatchError, import_lightning

HELP = """\
nnfoundations: train, test and look into networks on PyTorch Lightning

  nnfoundations fit --config digits        train and test; 1,797 real digits, half a minute
  nnfoundations fit --config mnist         784-256-128-10 on MNIST
  nnfoundations validate --config digits --ckpt_path PATH
  nnfoundations test     --config digits --ckpt_path PATH
  nnfoundations predict  --config digits --ckpt_path PATH      predictions.csv, a row a sample
  nnfoundations data mnist                 fetch, check and describe a data set; --list names them
  nnfoundations fit --config digits --print_config=skip_null   all that can be changed, as YAML
  nnfoundations fit --help                 every option
  nnfoundations --version

A value of --config that ends in .yaml is a path, any other the name of a packaged config. Several are
composed from left to right; flags after them win."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 the run failed, 2 the command is wrong.

    Args:
        argv: the arguments after `nnfoundations`; None takes those of the process.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["--version"]:
        print(f"nnfoundations {__version__}")
        return 0
    if args[:1] in ([], ["-h"], ["--help"]):
        print(HELP)
        return 0
    # Threads that spin while they wait cost 40 times the step beside a busy neighbour. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        args, configs = resolve_configs(args)
        import_lightning()
    except ConfigNameError as error:
        print(f"nnfoundations: {error}", file=sys.stderr)
        return 2
    except TorchvisionMismatchError as error:
        print(f"nnfoundations: {error}", file=sys.stderr)
        return 1

    if args[0] == "data":
        from nnfoundations.cli._data import data_command

        return data_command(args[1:])

    from nnfoundations._errors import OptionError
    from nnfoundations.cli._command import FoundationsCLI  # needs Lightning, as does the next
    from nnfoundations.datamodules import DataFilesError

    try:
        with warnings.catch_warnings():
            FoundationsCLI(args, run_name(configs))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except OptionError as error:
        print(f"nnfoundations: {error}", file=sys.stderr)
        return 2
    except DataFilesError as error:
        # Its message says what to do; a traceback would bury it.
        print(f"nnfoundations: {error}", file=sys.stderr)
        return 1
    except Exception:  # whatever fails in a user's run: its traceback, and the exit code of a failed run
        traceback.print_exc()
        return 1
    return 0


def run() -> None:
    """The console script."""
    sys.exit(main())
