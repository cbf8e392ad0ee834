#!/usr/bin/python3
"""Compares the CPU time per delivery of two checkouts of this repository.

    benchmarks/compare.py OLD NEW [ROUNDS]

Each checkout needs a build of benchmarks/Broadcast.BenchmarkServer (`.ci/build benchmarks/Broadcast.BenchmarkServer`), and NEW needs the
load generator that benchmarks/run.sh builds. The servers run in turns, and every second round starts with the other server. The server
and the load generator each have their own processor. Otherwise, the results of two runs of the same program differ by up to 40 %.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import accepts, free_port

SERVER = "benchmarks/Broadcast.BenchmarkServer/bin/Release/net10.0/Broadcast.BenchmarkServer.dll"
GENERATOR = "artifacts/benchmarks/fanload"
# The number of messages in flight, and the number of messages of a run.
CASES = {"saturated, 120 B": (64, 20_000), "one message at a time, 120 B": (1, 2_000)}
CONNECTIONS = 200


def pin(processor):
    return "taskset", "--cpu-list", str(processor)


def measure(checkout, generator, window, messages):
    """Returns the CPU time of the server in microseconds per delivery."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DOTNET_Tiered", "DOTNET_TC_"))}
    server = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *pin(0), "dotnet", checkout / SERVER, "--urls", f"http://127.0.0.1:{port}"],
                              stdout=subprocess.DEVNULL, env=environment)
    try:
        while not accepts(port):
            if server.poll() is not None:
                raise SystemExit(f"The server of {checkout} ended with status {server.returncode}.")
            time.sleep(0.02)
        load = [*pin(1), generator, "--port", str(port), "--pid", str(server.pid), "--groups", "1"]
        # The runtime compiles the code of the server during the first run.
        run(load, connections=20, messages=3_000, window=16, size=512)
        result = run(load, connections=CONNECTIONS, messages=messages, window=window, size=120)
        return result["server_cpu_seconds"] * 1e6 / result["delivered"]
    finally:
        server.kill()
        server.wait()


def run(load, **options):
    arguments = [argument for name, value in options.items() for argument in (f"--{name}", str(value))]
    return json.loads(subprocess.run([*load, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout)


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    checkouts, rounds = [Path(path).resolve() for path in sys.argv[1:3]], int(sys.argv[3]) if len(sys.argv) > 3 else 15
    generator = checkouts[1] / GENERATOR
    for name, (window, messages) in CASES.items():
        values = ([], [])
        for number in range(rounds):
            for index in (0, 1) if number % 2 == 0 else (1, 0):
                values[index].append(measure(checkouts[index], generator, window, messages))
        old, new = (statistics.median(list) for list in values)
        ratios = [new / old for old, new in zip(*values)]
        print(f"{name}: old {old:.3f} µs, new {new:.3f} µs, ratio of the medians {new / old:.3f}, median of the ratios "
              f"{statistics.median(ratios):.3f} [{min(ratios):.2f}..{max(ratios):.2f}], {rounds} rounds", flush=True)


if __name__ == "__main__":
    main()
