#!/usr/bin/env bash
# Fetches the libraries that the pages use, exactly these versions of them, and checks them against their known hashes.
# The files are committed: nobody needs npm to build or run the demo.
set -euo pipefail
cd "$(dirname "$0")"

# The chart of the prices.
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

# The client of the groups, in one file with all it needs: what the tests run too, and as their package-lock.json names and hashes it.
cp ../../tests/WebDemo.Tests/npm/package{,-lock}.json "$work"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
bundle=$OLDPWD/wwwroot/lib/web-pubsub-client
rm -rf "$bundle"
echo 'export * from "@azure/web-pubsub-client";' |
  npx esbuild --bundle --minify --format=esm --platform=browser --target=es2022 --legal-comments=none --log-level=error \
    --metafile=meta.json --outfile="$bundle/web-pubsub-client.min.js"

# Of each package that something in it is from: its name, and the terms.
node -p '
  const inputs = Object.values(require("./meta.json").outputs).flatMap(output => Object.entries(output.inputs));
  const packages = inputs.map(([file, { bytesInOutput }]) => bytesInOutput && /(?<=^node_modules\/)(@[^/]+\/)?[^/]+/.exec(file)?.[0]);
  [...new Set(packages)].filter(Boolean).sort().join("\n")' |
  while read -r package; do
    echo "$package $(node -p "require('./node_modules/$package/package.json').version")"
    echo
    tr -d '\r' < "node_modules/$package/LICENSE"
    echo
  done > "$bundle/LICENSE"
