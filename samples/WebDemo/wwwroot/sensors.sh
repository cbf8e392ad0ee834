#!/bin/sh
# This script sends the readings of five sensors to the demo, twice per second, until Ctrl+C. It needs curl and awk.
# Usage: sh sensors.sh [URL]
url=${1:-http://localhost:5000}
second=0
while :; do
  second=$((second + 1))
  for sensor in cellar garden kitchen office roof; do
    # The readings of a sensor follow a slow wave with a little noise.
    value=$(awk -v s="$second" -v n="$sensor" 'BEGIN { srand(); l = length(n); printf "%.2f", 12 + l + 3 * sin(s / (6 + l) + l) + rand() / 2 }')
    curl --silent --show-error --fail --data "$value" "$url/sensors/$sensor" || exit 1
  done
  sleep 0.5
done
