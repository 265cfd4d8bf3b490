"""Runs pytest as `python -m pytest` does, and writes each result as one record to standard output.

Executed as `python -c`, inside the sandbox, with pytest's own arguments. A record is U+001E, one line of JSON and a
line end (RFC 7464), so it can be told from what pytest and the tests print. Categories are asked from pytest's own
`pytest_report_teststatus`, so the counts are those of pytest's last line.
"""
import json
import os
import sys
import time

# A duplicate, since pytest points descriptor 1 elsewhere while a test runs. It is not inherited by children.
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
    line = b"\x1e" + json.dumps(fields).encode("ascii") + b"\n"
    try:
        while line:
            line = line[os.write(records, line):]
    except OSError:
        pass  # A test closed every descriptor. The missing end record says that the report is not complete.


def place(report):
    """Where it failed: the crash itself, or the last frame that is not library code."""
    crash = getattr(report.longrepr, "reprcrash", None)
    frames = []
    if crash is not None:
        frames.append((str(crash.path), crash.lineno))
    for entry in reversed(getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", [])):
        location = getattr(entry, "reprfileloc", None)
        if location is not None:
            frames.append((str(location.path), location.lineno))
    for path, line in frames:
        full = os.path.abspath(path)
        if "site-packages" not in full and full.startswith(os.getcwd() + os.sep):
            return full, line
    location = getattr(report, "location", None)
    if location is not None and location[0]:
        return os.path.abspath(location[0]), (location[1] or 0) + 1
    return None, None


def message(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return crash.message
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    lines = [line for line in str(report.longrepr or "").splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return "\n".join(errors) if errors else (lines[-1] if lines else "")


OUTCOMES = {
    "passed": "passed",
    "failed": "failed",
    "error": "error",
    "skipped": "skipped",
    "xfailed": "expected_failure",
    "xpassed": "unexpected_pass",
    "subtests passed": "subtest_passed",
    "subtests failed": "failed",
    "subtests skipped": "skipped",
}


class Recorder:
    def __init__(self):
        self.config = None

    def pytest_configure(self, config):
        self.config = config

    def pytest_runtest_logstart(self, nodeid, location):
        record(r="begin", name=nodeid)

    def pytest_runtest_logreport(self, report):
        status = self.config.hook.pytest_report_teststatus(report=report, config=self.config)
        category = status[0] if status else ""
        outcome = OUTCOMES.get(category)
        if outcome is None:
            return  # "" is a passed setup or teardown; "rerun" and other plugins' words are not results.
        name = report.nodeid
        context = getattr(report, "context", None)
        if context is not None:  # A subtest, named as pytest's own summary names it.
            told = getattr(context, "msg", None)
            name += " [%s]" % told if told is not None else ""
            pairs = sorted(dict(getattr(context, "kwargs", None) or {}).items())
            name += " (%s)" % ", ".join("%s=%s" % pair for pair in pairs) if pairs else ""
        if outcome in ("passed", "subtest_passed", "unexpected_pass", "expected_failure"):
            record(r="test", name=name, outcome=outcome, ms=round(report.duration * 1000, 3))
            return
        path, line = place(report)
        if outcome == "skipped":
            record(r="test", name=name, outcome=outcome, message=cut(message(report), 300))
            return
        captured = "".join("%s\n%s\n" % (title, text.rstrip("\n")) for title, text in report.sections)
        record(
            r="test",
            name=name,
            outcome=outcome,
            phase=report.when,
            file=path,
            line=line,
            ms=round(report.duration * 1000, 3),
            message=cut(message(report), 2000),
            detail=cut(report.longreprtext, 12000),
            output=cut(captured, 8000),
        )

    def pytest_collectreport(self, report):
        if report.failed:
            path = os.path.abspath(report.nodeid) if report.nodeid.endswith(".py") else None
            record(
                r="test",
                name=report.nodeid or "collection",
                outcome="error",
                phase="collect",
                file=path,
                message=cut(message(report), 2000),
                detail=cut(report.longreprtext, 12000),
                output="",
            )
        elif report.skipped:
            record(r="test", name=report.nodeid, outcome="skipped", message=cut(message(report), 300))

    def pytest_sessionfinish(self, session, exitstatus):
        record(r="end", ms=round((time.monotonic() - begun) * 1000, 3), counts=counts)


try:
    import pytest
except ImportError as error:
    record(r="unavailable", message=str(error))
    sys.exit(1)

if sys.path and sys.path[0] == "":
    sys.path[0] = os.getcwd()
sys.argv[0] = os.path.join(os.path.dirname(pytest.__file__), "__main__.py")
sys.exit(pytest.main(sys.argv[1:], plugins=[Recorder()]))
