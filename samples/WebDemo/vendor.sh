#!/usr/bin/env bash
# Fetches the chart library that the page of prices uses, exactly this version of it, and checks it against its known hash.
# The files are committed: nobody needs npm to build or run the demo.
set -euo pipefail
cd "$(dirname "$0")"

version=1.6.32
integrity=sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" "uplot@$version" >/dev/null
tarball=$work/uplot-$version.tgz
actual=sha512-$(openssl dgst -sha512 -binary "$tarball" | base64 -w 0)
[ "$actual" = "$integrity" ] || { echo "uplot-$version.tgz is not what it was: $actual" >&2; exit 1; }

tar -xzf "$tarball" -C "$work"
mkdir -p wwwroot/lib/uplot
cp "$work"/package/{LICENSE,dist/uPlot.iife.min.js,dist/uPlot.min.css} wwwroot/lib/uplot/
