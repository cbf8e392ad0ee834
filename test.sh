#!/usr/bin/env bash
# Builds and runs every test. What the tests need beside the .NET SDK is installed from Debian's packages where it is missing.
# A skipped test counts as a failure: here, everything can run.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
/usr/bin/python3 -c 'import websockets' 2>/dev/null || missing+=(python3-websockets)
[ -x /usr/bin/chromium ] || missing+=(chromium)
if [ ${#missing[@]} -gt 0 ]; then
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

dotnet build Broadcast.sln --configuration Release
dotnet pack src/Broadcast.Middleware --configuration Release --no-build --output artifacts

report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
dotnet test --solution Broadcast.sln --configuration Release --no-build "$@" 2>&1 | tee "$report" || status=$?

count() { sed -n "s/^ *$1: *\([0-9][0-9]*\).*/\1/p" "$report" | tail -n 1; }
passed=$(count succeeded) failed=$(count failed) skipped=$(count skipped)
echo "${passed:-0} passed, ${failed:-0} failed, ${skipped:-0} skipped"
[ "$status" = 0 ] && [ "${passed:-0}" -gt 0 ] && [ "${failed:-0}" = 0 ] && [ "${skipped:-0}" = 0 ]
