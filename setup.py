"""Metadata of the package; the tools' settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version():
    """The one in coordinator/__init__.py, read as text: importing the package would need what is not installed yet."""
    text = (HERE / "coordinator" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__(?:: str)? = "([^"]+)"$', text, re.MULTILINE).group(1)


setup(
    name="coordinator",
    version=version(),
    description="Keeps every core that you can reach busy until a piece of work is done, and says what became of it",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8") if (HERE / "README.rst").exists() else "",
    long_description_content_type="text/x-rst",
    author="The coordinator developers",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    packages=find_packages(include=["coordinator", "coordinator.*"]),
    package_data={"coordinator": ["py.typed"]},
    scripts=["bin/coordinator"],
    python_requires=">=3.11",
    install_requires=[
        "click>=8.1",
        "cryptography>=41",
        "httptools>=0.6",
        "paramiko>=3.4",
        "psutil>=5.9",
        "rich>=13.7",
        "sqlalchemy>=2.0",
    ],
    extras_require={"mariadb": ["pymysql>=1.1"]},
    zip_safe=False,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
