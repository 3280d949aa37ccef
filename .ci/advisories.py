"""Fails where pip-audit's report names an advisory; says so where there is no report, or it could look nothing up."""

import json
import sys
from pathlib import Path

try:
    packages = json.loads(Path(sys.argv[1]).read_text())["dependencies"]
except (OSError, ValueError):
    packages = []
looked_up = [package for package in packages if "vulns" in package]
found = [(package, advisory) for package in looked_up for advisory in package["vulns"]]
for package, advisory in found:
    mended = ", ".join(advisory["fix_versions"]) or "no version yet"
    print(f"{package['name']} {package['version']}: {advisory['id']}, mended in {mended}")
if len(looked_up) < len(packages) or not packages:
    print(f"no advisories can be had here for {len(packages) - len(looked_up) or 'any'} packages: left out")
sys.exit(bool(found))
