"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import nnfoundations

MODULES = [
    module.name
    for module in pkgutil.walk_packages(nnfoundations.__path__, "nnfoundations.")
    if not module.name.endswith(("__main__", ".notebook"))  # the notebook of a lab is cells, not a module
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed
