"""Beside pyproject.toml for one thing: builds begin empty. Setuptools would pack modules that an earlier build left."""

import shutil

from setuptools import setup
from setuptools.command.build import build


class EmptyBuild(build):
    """`build` after its folder of packages is removed."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build": EmptyBuild})
