"""Looks up the lock's known vulnerabilities. Exits with 1 if there are any, 2 if it can't."""

import json
import subprocess
import sys
from pathlib import Path

from locked import LOCK

# In an environment of its own: it needs packages that would change the tests' environment.
AUDIT = "tool run pip-audit==2.10.1 --no-deps --disable-pip --progress-spinner=off --format=json"


def main() -> None:
    """Ask, and say what came of it."""
    uv = Path(sys.prefix, "bin", "uv")
    command = [str(uv), *AUDIT.split(), f"--requirement={LOCK}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = (done.stderr.strip() or "No answer.").splitlines()[-1]
        refuse(f"The database of vulnerabilities can't be reached: {reason}")
    left_out = [each["skip_reason"] for each in packages if "skip_reason" in each]
    found = [(each, one) for each in packages for one in each.get("vulns", [])]
    for package, one in found:
        fixed = ", ".join(one["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {one['id']}, fixed in: {fixed}")
    if left_out:
        refuse(f"{len(left_out)} of {len(packages)} packages were not looked up: {left_out[0]}")
    if found:
        sys.exit("Raise the lower bounds in pyproject.toml, and run make lock.")
    print(f"No known vulnerability in {len(packages)} packages.")


def refuse(why: str) -> None:
    """Say that this is no clean bill of health."""
    print(f"{why}\nRun make audit where PyPI itself is reached.", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
