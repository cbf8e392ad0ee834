#!/usr/bin/env bash
# This script downloads fixed versions of the JavaScript libraries of the pages and verifies their hashes.
# The repository contains the downloaded files. So you can build and run the demo without npm.
set -euo pipefail
cd "$(dirname "$0")"

# uPlot draws the chart on the prices page.
version=1.6.32
integrity=sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" "uplot@$version" >/dev/null
tarball=$work/uplot-$version.tgz
actual=sha512-$(openssl dgst -sha512 -binary "$tarball" | base64 -w 0)
[ "$actual" = "$integrity" ] || { echo "The hash of uplot-$version.tgz is $actual, but $integrity is expected. Check the package before you change the hash." >&2; exit 1; }

tar -xzf "$tarball" -C "$work"
mkdir -p wwwroot/lib/uplot
cp "$work"/package/{LICENSE,dist/uPlot.iife.min.js,dist/uPlot.min.css} wwwroot/lib/uplot/

# The groups page uses the npm package @azure/web-pubsub-client. These commands bundle the client and its dependencies into one file.
# The package-lock.json of the tests fixes the versions and hashes, so the page and the tests use the same client.
cp ../../tests/WebDemo.Tests/npm/package{,-lock}.json "$work"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
bundle=$OLDPWD/wwwroot/lib/web-pubsub-client
rm -rf "$bundle"
echo 'export * from "@azure/web-pubsub-client";' |
  npx esbuild --bundle --minify --format=esm --platform=browser --target=es2022 --legal-comments=none --log-level=error \
    --metafile=meta.json --outfile="$bundle/web-pubsub-client.min.js"

# The file LICENSE contains the name, version and license of each package in the bundle.
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
