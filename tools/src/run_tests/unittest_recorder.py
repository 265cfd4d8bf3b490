"""Runs unittest as `python -m unittest` does, and writes each result as one record to standard output.

Executed as `python -c`, inside the sandbox, with unittest's own arguments. A record is U+001E, one line of JSON and a
line end (RFC 7464), so it can be told from what the tests print. Standard output is flushed before each record: what
stands between `begin` and `stop` was printed by that test.
"""
import json
import os
import sys
import time
import unittest

records = os.dup(1)
begun = time.monotonic()
counts = {}


def cut(text, limit):
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= limit:
        return text
    half = limit // 2
    return "%s\n[... %d characters left out ...]\n%s" % (text[:half], len(text) - 2 * half, text[-half:])


def record(**fields):
    if fields["r"] == "test":
        counts[fields["outcome"]] = counts.get(fields["outcome"], 0) + 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # The test replaced or closed it; there is nothing of ours in it.
    line = b"\x1e" + json.dumps(fields).encode("ascii") + b"\n"
    try:
        while line:
            line = line[os.write(records, line):]
    except OSError:
        pass  # A test closed every descriptor. The missing end record says that the report is not complete.


def place(test, trace):
    """The last frame outside unittest itself, else the test's module."""
    found = None
    while trace is not None:
        if "__unittest" not in trace.tb_frame.f_globals:
            path = os.path.abspath(trace.tb_frame.f_code.co_filename)
            if "site-packages" not in path and path.startswith(os.getcwd() + os.sep):
                found = path, trace.tb_lineno
        trace = trace.tb_next
    if found:
        return found
    path = getattr(sys.modules.get(type(test).__module__), "__file__", None)
    return (os.path.abspath(path), None) if path and not path.startswith(os.path.dirname(unittest.__file__)) else (None, None)


class Result(unittest.TextTestResult):
    def startTest(self, test):
        super().startTest(test)
        record(r="begin", name=test.id())

    def stopTest(self, test):
        super().stopTest(test)
        record(r="stop", name=test.id())

    def failure(self, outcome, test, error):
        path, line = place(test, error[2])
        kind = getattr(error[0], "__name__", str(error[0]))
        record(
            r="test",
            name=test.id(),
            outcome=outcome,
            file=path,
            line=line,
            message=cut("%s: %s" % (kind, error[1]), 2000),
            detail=cut(self._exc_info_to_string(error, test), 12000),
        )

    def addSuccess(self, test):
        super().addSuccess(test)
        record(r="test", name=test.id(), outcome="passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.failure("failed", test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.failure("error", test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        record(r="test", name=test.id(), outcome="skipped", message=cut(str(reason), 300))

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        record(r="test", name=test.id(), outcome="expected_failure")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        record(r="test", name=test.id(), outcome="unexpected_pass", message="the test passed, and was expected to fail")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is None:
            record(r="test", name=subtest.id(), outcome="subtest_passed")
        elif issubclass(err[0], test.failureException):
            self.failure("failed", subtest, err)
        else:
            self.failure("error", subtest, err)


class Runner(unittest.TextTestRunner):
    resultclass = Result

    def run(self, test):
        result = super().run(test)
        record(r="end", ms=round((time.monotonic() - begun) * 1000, 3), counts=counts)
        return result


if sys.path and sys.path[0] == "":
    sys.path[0] = os.getcwd()
sys.argv[0] = "python -m unittest"
unittest.main(module=None, argv=sys.argv, testRunner=Runner)
