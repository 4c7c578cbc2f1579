"""The module as pip has installed it, in the small internet of tests/python.rs."""

import os
import pathlib

import pytest

import mtasts


@pytest.fixture
def context():
    with mtasts.Context() as context:
        yield context


@pytest.fixture
def configuration():
    return pathlib.Path(os.environ["MTASTS_CONFIG"])


@pytest.fixture
def chain():
    """Certificates that mx.good.test could show, by a name of tests/c/chains.rs."""

    def read(name):
        directory = pathlib.Path(os.environ["TEST_CHAINS"]) / name
        return [(directory / f"{at}.der").read_bytes() for at in range(len(list(directory.iterdir())))]

    return read


@pytest.fixture
def root():
    return pathlib.Path(os.environ["TEST_ROOT"])
