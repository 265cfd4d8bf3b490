import socket
import sys
import unittest

import pytest


def test_ok():
    pass


def test_bad():
    print("printed here")
    print("on standard error", file=sys.stderr)
    assert {"a": 1} == {"a": 2}


@pytest.mark.parametrize("value", [1, "a b", "::"])
def test_param(value):
    assert value != 1


@pytest.fixture
def broken():
    raise RuntimeError("setup broke")


def test_setup(broken):
    pass


@pytest.fixture
def late():
    yield
    raise RuntimeError("teardown broke")


def test_teardown(late):
    pass


@pytest.mark.skip(reason="not now")
def test_skip():
    pass


@pytest.mark.xfail
def test_expected():
    assert 0


@pytest.mark.xfail
def test_unexpected():
    pass


@pytest.mark.xfail(strict=True)
def test_strict():
    pass


class TestClass:
    def test_method(self):
        pass


class TestSubs(unittest.TestCase):
    def test_sub(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertNotEqual(i, 1)


def test_own_subs(subtests):
    for i in range(2):
        with subtests.test(msg="part", i=i):
            assert i == 0


def test_connect():
    socket.create_connection(("127.0.0.1", 9))
