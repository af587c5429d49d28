"""Results as one line each; what failed is counted and becomes the exit code."""


class Report:
    def __init__(self):
        self.failures = []
        self.checks = 0

    def check(self, what, ok, detail=""):
        """One yes-or-no finding."""
        self.checks += 1
        print(f"{'ok  ' if ok else 'FAIL'} {what}{': ' + str(detail) if detail != '' else ''}", flush=True)
        if not ok:
            self.failures.append(what)
        return ok

    def equal(self, what, expected, got):
        return self.check(what, expected == got, f"{got}" if expected == got else f"expected {expected!r}, got {got!r}")

    def differences(self, what, rows, found, shown_max=5):
        """`found`: descriptions of rows that differ; there must be none."""
        self.check(what, not found, f"{rows} rows, {len(found)} differences")
        for line in found[:shown_max]:
            print(f"       {line}", flush=True)

    def attempt(self, what, call):
        """Runs a part; an exception is a failure of that part, and the rest goes on. Returns what the part returned."""
        try:
            return call()
        except Exception as failure:  # noqa: BLE001 - whatever went wrong belongs in the report
            self.check(what, False, f"{type(failure).__name__}: {str(failure)[:800]}")
            return None

    def finish(self):
        print(f"\n{self.checks} checks, {len(self.failures)} failed", flush=True)
        for what in self.failures:
            print(f"  FAIL {what}")
        return min(len(self.failures), 125)


def table(rows, header):
    """Columns padded to their widest cell, long cells cut."""
    cut = [[str(cell).replace("\n", " ")[:90] for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cut) for i in range(len(header))]
    for row in cut:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
