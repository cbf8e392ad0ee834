#!/usr/bin/env bash
# This script builds the benchmark servers and the load generator, compares this library with other servers, and writes the results to
# docs/internals/performance.md. The script uses only the loopback interface. It installs missing tools as Debian and npm packages.
#   benchmarks/run.sh              runs the short set, in about 15 minutes.
#   benchmarks/run.sh --full       runs all measurements with five rounds and more messages.
#   benchmarks/run.sh CASE…        runs some measurements. With --docs, also writes their results to the documents.
#   benchmarks/run.sh --help       prints all options.
set -euo pipefail
cd "$(dirname "$0")"

install() {
  [ $# -gt 0 ] || return 0
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

case " $* " in
  *" --help "* | *" -h "* | *" --list "* | *" --docs-only "*) exec /usr/bin/python3 bench.py "$@" ;;
esac

missing=()
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
[ -e /usr/include/openssl/ssl.h ] || missing+=(libssl-dev)
[ -e /usr/include/nghttp2/nghttp2.h ] || missing+=(libnghttp2-dev)
[ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev)
command -v openssl >/dev/null || missing+=(openssl)
command -v setpriv >/dev/null || missing+=(util-linux)
[ -x /usr/bin/python3 ] || missing+=(python3)
for module in fastapi uvicorn websockets; do
  /usr/bin/python3 -c "import $module" 2>/dev/null || missing+=("python3-$module")
done
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
install "${missing[@]}"

output=../artifacts/benchmarks
mkdir -p "$output"
# The package of Bun contains the program, so no install script needs to run.
[ peers/node_modules/.package-lock.json -nt peers/package-lock.json ] ||
  npm ci --prefix peers --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
flags=(-O2 -Wall -Wextra -Werror)
gcc "${flags[@]}" -o "$output/fanload" load/*.c -lssl -lcrypto -lnghttp2 -lz
gcc "${flags[@]}" -o "$output/loop" peers/loop.c
[ -e "$output/certificate.pem" ] ||
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=localhost \
    -keyout "$output/key.pem" -out "$output/certificate.pem" 2>/dev/null
# Start no build servers, because they would use CPU time and memory during the measurements.
for project in Broadcast.BenchmarkServer SignalR.BenchmarkServer; do
  dotnet build "$project" --configuration Release --verbosity quiet -nologo -nodeReuse:false -p:UseSharedCompilation=false >"$output/build.log" ||
    { cat "$output/build.log"; exit 1; }
done

exec /usr/bin/python3 bench.py "$@"
