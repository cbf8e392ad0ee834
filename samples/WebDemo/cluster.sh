#!/usr/bin/env bash
# This script runs Redis and three nodes of the demo until Ctrl+C. The nodes listen on http://localhost:5001, :5002 and :5003.
# Clients of one node receive the messages of the other nodes. The script needs redis-server and the .NET SDK.
set -euo pipefail
cd "$(dirname "$0")"

dotnet build --configuration Release
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
redis-server --port 6390 --save "" --appendonly no >/dev/null &
for node in 1 2 3; do
  # Only the first node publishes prices.
  dotnet bin/Release/net10.0/WebDemo.dll --urls "http://localhost:500$node" --Broadcast:Redis:Configuration=localhost:6390 \
    --Prices=$([ $node = 1 ] && echo true || echo false) &
done
wait
