"""A wheel with the library in it, where PLANRT_BUNDLE names one: it is for this kind of machine then, and any Python."""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

LIBRARY = os.environ.get("PLANRT_BUNDLE")


class BuildWithLibrary(build_py):
    def run(self):
        super().run()
        if LIBRARY:
            shutil.copyfile(LIBRARY, Path(self.build_lib) / "planrt" / "libplanrt.so.0")


class WheelOfPlatform(bdist_wheel):
    def get_tag(self):
        _python, _abi, platform = super().get_tag()
        return ("py3", "none", platform)


class WithLibrary(Distribution):
    def has_ext_modules(self):
        return bool(LIBRARY)


setup(distclass=WithLibrary, cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": WheelOfPlatform})
