#!/usr/bin/env bash
# This script checks the documents and builds the site in artifacts/site. It fails at a broken link, at a page that no table of contents
# lists, and at code with a syntax error. The site includes the API reference of all packages.
#   docs/build.sh            checks and builds.
#   docs/build.sh --serve    also serves the site at http://localhost:8080.
set -euo pipefail
cd "$(dirname "$0")/.."

/usr/bin/python3 docs/check.py
dotnet tool restore >/dev/null
rm -rf artifacts/site
# The API reference comes from the assemblies and their XML docs. Inherited docs repeat some parameters, and docfx warns about these
# parameters. So show only errors.
.ci/build src/Packages.slnf --verbosity quiet
rm -rf docs/reference/api
dotnet docfx metadata docs/docfx.json --logLevel error
dotnet docfx build docs/docfx.json --warningsAsErrors --logLevel warning
/usr/bin/python3 docs/check.py --write-llms artifacts/site
echo "The site is in artifacts/site."
[ "${1:-}" != --serve ] || exec dotnet docfx serve artifacts/site
