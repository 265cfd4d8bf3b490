import os

x: int = "a"


def f(  ):
    return y
