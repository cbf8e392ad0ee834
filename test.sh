#!/usr/bin/env bash
# This script builds the solution and runs its tests. The CI server runs the script three times: without an option, with --more, and
# with --native. The script installs missing tools as Debian packages. So every test can run, and a skipped test counts as a failure.
#   ./test.sh                    runs the tests of the library, Redis, the demo and the recipes.
#   ./test.sh --more             runs library tests that start a server a second time, with open requests. Also tests the packages, runs
#                                the tests of states and random schedules with the assertions of a debug build, runs other random tests
#                                with more rounds, and runs the long tests of the demo.
#   ./test.sh --native           compiles the demo with native AOT and tests the native program.
#   ./test.sh --fuzz [SECONDS]   sends random client data to the endpoint for SECONDS (default: 300).
#   ./test.sh --soak [MINUTES]   runs 2,000 clients for MINUTES (default: 5). A tenth of the clients is slow.
set -euo pipefail
cd "$(dirname "$0")"
# The build and the tests start many short processes. In short processes, profile-guided optimization costs more time than it saves.
export DOTNET_TieredPGO=0
# By default, xUnit prints only the first 50 characters of a compared string.
export XUNIT_PRINT_MAX_STRING_LENGTH=1000

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
# docs/check.py needs the next two packages.
/usr/bin/python3 -c 'import yaml' 2>/dev/null || missing+=(python3-yaml)
[ -x /usr/sbin/haproxy ] || missing+=(haproxy)
[ -x /usr/bin/chromium-headless-shell ] || missing+=(chromium-headless-shell)
command -v curl >/dev/null || missing+=(curl)
command -v git >/dev/null || missing+=(git)
[ -x /usr/sbin/nginx ] || missing+=(nginx-light)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v pkill >/dev/null || missing+=(procps)
command -v redis-server >/dev/null || missing+=(redis-server)
[ -x /usr/sbin/nutcracker ] || missing+=(nutcracker)
if [ "${1:-}" = --native ]; then
  # The native compiler needs a linker and zlib. docs/check.py needs a C++ compiler.
  command -v clang++ >/dev/null || command -v g++ >/dev/null || missing+=(clang)
  [ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev)
fi
install "${missing[@]}"

# The tests run the published npm client, in the version of package-lock.json.
npm=tests/WebDemo.Tests/npm
[ "$npm/node_modules/.package-lock.json" -nt "$npm/package-lock.json" ] ||
  npm ci --prefix "$npm" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null

# Each report ends with the numbers of succeeded, failed and skipped tests. This function adds up one of these numbers.
count() { { cat "$reports"/* 2>/dev/null || true; } | sed -n "s/^ *$1: *\([0-9][0-9]*\).*/\1/p" | awk '{ sum += $1 } END { print sum + 0 }'; }
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
  .ci/build tests/WebDemo.Tests -p:RunAnalyzers=false
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

# A source line of the packages has at most 120 columns.
long=$(find src \( -name '*.cs' -o -name '*.js' -o -name '*.css' \) -not -path '*/obj/*' -not -path '*/bin/*' -exec awk 'length > 120 { print FILENAME ":" FNR }' {} +)
[ -z "$long" ] || { echo "These lines have more than 120 columns:"; echo "$long"; exit 1; }

# The analyzers need a third of the CPU time of a build. So .ci/run runs the analyzers afterwards, with the build of the whole solution.
.ci/build tests/Tests.slnf -p:RunAnalyzers=false

# A release build omits each Debug.Assert. So the tests of states and random schedules also run in a debug build.
[ "${1:-}" != --more ] || .ci/build tests/Broadcast.Middleware.Tests -p:Configuration=Debug -p:RunAnalyzers=false

reports=$(mktemp -d)
classes=$(mktemp)
# If no job runs, kill fails. Without "|| true", this failure would become the status of the script.
trap 'kill $(jobs -p) 2>/dev/null || true; cat "$reports"/* 2>/dev/null || true; rm -rf "$reports" "$classes"' EXIT
# Runs a test project in the background.
jobs=()
run() {
  local report=$1 project=$2
  shift 2
  ${priority:-} dotnet test --configuration "${configuration:-Release}" --no-build --project "tests/$project" "$@" >"$reports/$report" 2>&1 &
  jobs+=($!)
}

# With open requests, Kestrel sends. This option of the server affects only classes that start a server.
find tests/Broadcast.Middleware.Tests -name '*Tests.cs' -not -path '*/obj/*' -not -path '*/bin/*' |
  xargs grep -lE 'BroadcastApp|RawClient|EventClient|Stall\.' | xargs grep -L 'choosesSends: true' |
  sed "s|^tests/||; s|\.cs$||; s|/|.|g" | sort >"$classes"
export BROADCAST_TEST_SERVER_CLASSES=$classes

# Many tests wait for a timer, a socket or another process. So the projects run in parallel.
echo "The tests run. The script prints their reports at the end."
if [ "${1:-}" = --more ]; then
  [ $# = 1 ] || { echo "--more has no other options."; exit 1; }
  mapfile -t names <"$classes"
  BROADCAST_TEST_OPEN_REQUESTS=1 run open Broadcast.Middleware.Tests --filter-class "${names[@]}"
  configuration=Debug run assertions Broadcast.Middleware.Tests --filter-class '*.StateTransitionTests' '*.ScheduleTests' '*.RecoveryTests' \
    '*.ReliableTests' '*ModelTests' '*StressTests' '*RaceTests' '*WriterTests' '*.ReconnectSessionTests'
  # These tests have the longest random parts. Without an option, the script runs a quarter of their rounds.
  BROADCAST_TEST_EFFORT=4 run effort Broadcast.Middleware.Tests --filter-class '*.MessageReaderTests' '*.GroupStateFeedTests' \
    '*.InlineSendsTests' '*.WakeUpTests' '*.MessageInflaterTests' '*.JsonRequestTests' '*.GroupStateRequestTests'
  run packages Broadcast.Packages.Tests
  DOTNET_TC_CallCounting=0 run demo WebDemo.Tests --filter-trait Run=More
else
  # Some tests of the library need a process for themselves, for example because they measure its memory. These tests run one after the
  # other and take the longest time. So the other tests have a lower priority.
  run alone Broadcast.Middleware.Tests --filter-trait Run=Alone "$@"
  priority="nice -n 5"
  run library Broadcast.Middleware.Tests --filter-not-trait Run=Alone "$@"
  run redis Broadcast.Middleware.Redis.Tests "$@"
  # The tests of the demo start many servers, and each server runs only for seconds. So the servers do not compile their code again with
  # optimization. This saves a quarter of the CPU time of these tests.
  DOTNET_TC_CallCounting=0 run demo WebDemo.Tests --filter-not-trait Run=More "$@"
  run recipes Broadcast.Recipes.Tests "$@"
fi

status=0
for job in "${jobs[@]}"; do wait "$job" || status=$?; done
# Until here, the trap prints the reports of a script that ends early.
trap - EXIT
cat "$reports"/*
summarize "$status" || status=1
rm -rf "$reports" "$classes"
exit "$status"
