#!/usr/bin/env bash
# This script builds the solution and runs all tests. Library tests that start a server run a second time, with open requests.
# The script installs missing tools as Debian packages. So every test can run, and a skipped test counts as a failure.
#   ./test.sh                    runs the tests.
#   ./test.sh --native           compiles the demo with native AOT and tests the native program.
#   ./test.sh --fuzz [SECONDS]   sends random client data to the endpoint for SECONDS (default: 300).
#   ./test.sh --soak [MINUTES]   runs 2,000 clients for MINUTES (default: 5). A tenth of the clients is slow.
set -euo pipefail
cd "$(dirname "$0")"
# The build and the tests start many short processes. In short processes, profile-guided optimization costs more time than it saves.
export DOTNET_TieredPGO=0

install() {
  [ $# -gt 0 ] || return 0
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

case ${1:-} in
  --soak)
    dotnet build tests/Broadcast.Soak --configuration Release
    exec dotnet tests/Broadcast.Soak/bin/Release/net10.0/Broadcast.Soak.dll samples/WebDemo/bin/Release/net10.0/WebDemo.dll "${2:-5}"
    ;;
  --fuzz)
    command -v afl-fuzz >/dev/null || install afl++
    dotnet tool restore
    rm -rf artifacts/fuzz artifacts/fuzz-findings
    dotnet publish tests/Broadcast.Fuzz --configuration Release --output artifacts/fuzz
    dotnet sharpfuzz artifacts/fuzz/Broadcast.Middleware.dll
    export AFL_SKIP_BIN_CHECK=1 AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_UI=1 AFL_NO_AFFINITY=1
    afl-fuzz -i tests/Broadcast.Fuzz/corpus -o artifacts/fuzz-findings -t 5000 -m none -V "${2:-300}" -- dotnet artifacts/fuzz/Broadcast.Fuzz.dll
    findings=$(find artifacts/fuzz-findings/default/crashes artifacts/fuzz-findings/default/hangs -name 'id:*' | wc -l)
    echo "$(sed -n 's/^execs_done *: *//p' artifacts/fuzz-findings/default/fuzzer_stats) inputs, $findings findings"
    exit $((findings > 0))
    ;;
esac

missing=()
/usr/bin/python3 -c 'import websockets' 2>/dev/null || missing+=(python3-websockets)
[ -x /usr/bin/chromium-headless-shell ] || missing+=(chromium-headless-shell)
command -v curl >/dev/null || missing+=(curl)
command -v git >/dev/null || missing+=(git)
[ -x /usr/sbin/nginx ] || missing+=(nginx-light)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v redis-server >/dev/null || missing+=(redis-server)
[ -x /usr/sbin/nutcracker ] || missing+=(nutcracker)
if [ "${1:-}" = --native ]; then
  # The native compiler needs a linker and zlib.
  command -v clang >/dev/null || command -v gcc >/dev/null || missing+=(clang)
  [ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev)
fi
install "${missing[@]}"

# The tests run the published npm client, in the version of package-lock.json.
npm=tests/WebDemo.Tests/npm
[ "$npm/node_modules/.package-lock.json" -nt "$npm/package-lock.json" ] ||
  npm ci --prefix "$npm" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null

# Each report ends with the numbers of succeeded, failed and skipped tests. This function adds up one of these numbers.
count() { { cat "$reports"/{library,open,redis,demo,packages,recipes} 2>/dev/null || true; } | sed -n "s/^ *$1: *\([0-9][0-9]*\).*/\1/p" | awk '{ sum += $1 } END { print sum + 0 }'; }
summarize() {
  local passed failed skipped
  passed=$(count succeeded) failed=$(count failed) skipped=$(count skipped)
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$1" = 0 ] && [ "$passed" -gt 0 ] && [ "$failed" = 0 ] && [ "$skipped" = 0 ]
}

if [ "${1:-}" = --native ]; then
  # A warning of the native compiler fails the build. The build of the solution runs the analyzers, so this build omits them. Without
  # optimization, the compiler needs a third less CPU time. The checks for trimming and reflection are the same. The build has its
  # own folder, so it does not change the files of other builds.
  dotnet publish samples/WebDemo --configuration Release --use-current-runtime --artifacts-path artifacts/native --output artifacts/native/demo \
    -p:PublishAot=true -p:RunAnalyzers=false -p:Optimize=false -p:DebugType=none
  dotnet build tests/WebDemo.Tests --configuration Release
  reports=$(mktemp -d)
  trap 'rm -rf "$reports"' EXIT
  # These classes test the chat page, the event stream, the structured clients, the JSON endpoints, a cluster with Redis,
  # and the endpoints of the game, sensors, members and load pages.
  status=0
  BROADCAST_TEST_NATIVE_DEMO=$PWD/artifacts/native/demo/WebDemo dotnet test --configuration Release --no-build --project tests/WebDemo.Tests \
    --filter-class '*.NativeDemoTests' '*.ClusterTests' '*.ClusterPresenceTests' '*.NpmClientTests' '*.NpmClientRecoveryTests' '*.EventSourceTests' \
    '*.ChatRoomPageTests' '*.PublishTests' '*.BoardMessageTests' '*.GroupAuthorizationTests' '*.PriceFeedTests' '*.RollingRestartTests' \
    '*.GameTests' '*.LoadTests' '*.MembersTests' '*.SensorsTests' '*.StartPageTests' '*.TelemetryTests' \
    2>&1 | tee "$reports/demo" || status=$?
  summarize "$status"
  exit
fi

# A source line of the library has at most 120 columns.
long=$(find src -name '*.cs' -not -path '*/obj/*' -exec awk 'length > 120 { print FILENAME ":" FNR }' {} +)
[ -z "$long" ] || { echo "These lines have more than 120 columns:"; echo "$long"; exit 1; }

# The analyzers need a third of the CPU time of the build. The CI server runs them afterwards, with the build of the whole solution.
# One compiler process for all projects halves the time of the build. The process has its own name, so the script can end it.
compiler=broadcast-tests-$$
dotnet build tests/Tests.slnf --configuration Release -p:RunAnalyzers=false -p:UseSharedCompilation=true -p:SharedCompilationId=$compiler
pkill -f "pipename:$compiler" || true

reports=$(mktemp -d)
# If no job runs, kill fails. Without "|| true", this failure would become the status of the script.
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$reports"' EXIT
run() { ${priority:-} dotnet test --configuration Release --no-build --project "tests/$1" "${@:2}"; }

# In the second run of the library's tests, the HTTP request of each connection stays open, and Kestrel sends. This run contains only
# classes that start a server, because the options of the server do not affect other classes.
server_classes() {
  find "$1" -name '*Tests.cs' -not -path '*/obj/*' -not -path '*/bin/*' |
    xargs grep -lE 'BroadcastApp|RawClient|EventClient|Stall\.' | xargs grep -L 'choosesSends: true' |
    sed "s|^tests/||; s|\.cs$||; s|/|.|g" | sort
}
server_classes tests/Broadcast.Middleware.Tests >"$reports/classes"
export BROADCAST_TEST_SERVER_CLASSES=$reports/classes
mapfile -t classes <"$reports/classes"

# Many tests wait for a timer, a socket or another process. So all suites run in parallel. The library's tests take the longest time,
# because some of them must run alone. So the other suites have a lower priority.
{ run Broadcast.Middleware.Tests "$@" 2>&1 | tee "$reports/library"; } &
library=$!
priority="nice -n 5" BROADCAST_TEST_OPEN_REQUESTS=1 run Broadcast.Middleware.Tests --filter-class "${classes[@]}" "$@" >"$reports/open" 2>&1 &
open=$!
priority="nice -n 5" run Broadcast.Middleware.Redis.Tests "$@" >"$reports/redis" 2>&1 &
redis=$!
priority="nice -n 5" run WebDemo.Tests "$@" >"$reports/demo" 2>&1 &
demo=$!
priority="nice -n 5" run Broadcast.Packages.Tests "$@" >"$reports/packages" 2>&1 &
packages=$!
priority="nice -n 5" run Broadcast.Recipes.Tests "$@" >"$reports/recipes" 2>&1 &
recipes=$!

status=0
for suite in $library $open $redis $demo $packages $recipes; do wait "$suite" || status=$?; done
cat "$reports"/{open,redis,demo,packages,recipes}

summarize "$status"
