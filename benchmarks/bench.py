"""Runs the measurements. run.sh builds everything and starts this program."""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone

import report
from suite import BUILD, BUN_PROGRAM, HERE, MEASUREMENTS

MAX_START_SECONDS, MAX_RUN_SECONDS = 60, 180
FILES_PER_SERVER = 500      # files that a server needs in addition to its connections
ERRORS = re.compile(r"^(fail|crit):|Unhandled exception", re.MULTILINE)


class RunFailed(Exception):
    pass


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def accepts(port):
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def bun_program():
    programs = sorted(BUN_PROGRAM.glob("bun-linux-*/bin/bun"))
    programs = [program for program in programs if "musl" not in str(program) and "android" not in str(program)]
    if not programs:
        raise SystemExit("Bun is missing. Delete benchmarks/peers/node_modules and start run.sh again.")
    return str(programs[0])


class RunningServer:
    """A server process. The process ends at the end of the "with" block, or when this program ends."""

    def __init__(self, configuration):
        self.port = free_port()
        server = configuration.server
        connection = server.tls if configuration.tls else server.http2 if configuration.http2 else server.plain
        values = {"port": self.port, "bun": bun_program()}
        command = [argument.replace("{port}", str(values["port"])).replace("{bun}", values["bun"])
                   for argument in (*server.command, *connection, *configuration.arguments)]
        self.log = open(BUILD / "server.log", "w+", encoding="utf-8", errors="replace")
        # DOTNET_TieredPGO of the caller would override the project's setting.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DOTNET_Tiered", "DOTNET_TC_"))}
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT, env={**environment, **configuration.environment})
        end = time.monotonic() + MAX_START_SECONDS
        while not accepts(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RunFailed(f"The server did not start: {self.last_lines()}")
            time.sleep(0.02)

    def last_lines(self):
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().splitlines() if line.strip() and not line.startswith("   at ")]
        return " ".join(lines[-3:])[:300] or "no output"

    def check(self):
        """Fails if the server has ended or has logged an error."""
        if self.process.poll() is not None:
            raise RunFailed(f"The server ended with status {self.process.returncode}: {self.last_lines()}")
        self.log.seek(0)
        if ERRORS.search(self.log.read()):
            raise RunFailed(f"The server logged an error: {self.last_lines()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()


class Viewer(threading.Thread):
    """A client that receives and requests the same data as an open page of the dashboard that shows all connections."""

    REQUESTS = ({"type": "groups", "search": ""}, {"type": "group", "name": ""}, {"type": "nodes"})
    SECONDS_PER_REFRESH = 5

    def __init__(self, port):
        super().__init__(daemon=True)
        self.address, self.received, self.error = f"127.0.0.1:{port}/broadcast/ws", [], None
        self.stopped = threading.Event()

    def run(self):
        try:
            asyncio.run(self.view())
        except Exception as error:
            self.error = error

    async def view(self):
        import websockets  # The other measurements do not need this module.
        origin = f"http://{self.address.split('/')[0]}"
        async with websockets.connect(f"ws://{self.address}", origin=origin) as socket:
            refreshed = 0
            while not self.stopped.is_set():
                if time.monotonic() - refreshed > self.SECONDS_PER_REFRESH:
                    refreshed = time.monotonic()
                    for number, request in enumerate(self.REQUESTS):
                        await socket.send(json.dumps({"id": number, **request}))
                with contextlib.suppress(asyncio.TimeoutError):
                    message = json.loads(await asyncio.wait_for(socket.recv(), 0.5))
                    self.received.append((time.monotonic(), message["type"]))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended = time.monotonic()
        self.stopped.set()
        self.join(MAX_START_SECONDS)

    def check(self, seconds):
        """Fails if the server has not sent about one sample per second and an answer for each request in the last seconds."""
        if self.error:
            raise RunFailed(f"The page of the dashboard failed: {self.error}")
        types = [type for moment, type in self.received if moment > self.ended - seconds]
        samples, answers = types.count("sample"), sum(types.count(request["type"]) for request in self.REQUESTS)
        if samples < seconds * 0.8 or answers < len(self.REQUESTS) * int(seconds / self.SECONDS_PER_REFRESH):
            raise RunFailed(f"The page of the dashboard received only {samples} samples and {answers} answers in {seconds:.0f} seconds.")


def load(server, *arguments):
    command = ["setpriv", "--pdeathsig", "KILL", str(BUILD / "fanload"), "--port", str(server.port), "--pid", str(server.process.pid), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = process.communicate(timeout=MAX_RUN_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"The load generator did not end in {MAX_RUN_SECONDS} seconds.") from error
    finally:
        process.kill()
        process.wait()
    # The server's failure explains a failure of the load generator, so report it first.
    server.check()
    if process.returncode not in (0, 1):
        raise RunFailed(errors.strip() or f"The load generator ended with status {process.returncode}.")
    result = json.loads(output)
    expected = result.setdefault("expected", 0)
    if process.returncode or result["delivered"] != expected:
        raise RunFailed(f"{result['delivered']:,} of {expected:,} messages arrived, {result['misordered']:,} out of order, "
                        f"{result['malformed']:,} malformed, {result['closed']:,} connections closed.")
    return result


def load_arguments(measurement, configuration, connections, groups):
    arguments = ["--connections", str(connections), "--groups", str(groups), *measurement.load, *configuration.server.load, *configuration.load]
    if groups > 1:
        arguments += ["--path", configuration.server.group_path]
    if configuration.tls:
        arguments.append("--tls")
    return arguments


def warm_up(server, measurement, configuration):
    groups = min(measurement.groups, 5)
    arguments = load_arguments(measurement, configuration, 20, groups)
    if "--stalled" in arguments:
        position = arguments.index("--stalled")
        del arguments[position:position + 2]
    # Later options override earlier options.
    messages = max(50, int(3000 * configuration.server.speed))
    load(server, *arguments, "--connections", "20", "--messages", str(messages), "--rate", "0", "--window", "16", "--size", "512")


def run(measurement, configuration, scale):
    server_speed = configuration.server.single_speed if measurement.single else configuration.server.speed
    speed = server_speed if configuration.speed is None else configuration.speed
    messages = max(5 if measurement.messages else 0, round(measurement.messages * speed * scale))
    connections = min(measurement.connections, max(50, round(measurement.connections * scale)))
    groups = min(measurement.groups, max(1, round(measurement.groups * scale)))
    arguments = load_arguments(measurement, configuration, connections, groups)
    if measurement.idle:
        arguments += ["--idle", str(measurement.idle)]
        if configuration.server.has_collect:
            arguments += ["--collect", "/collect"]
    elif connections >= 5000:
        arguments += ["--idle", "0.5"]
    with RunningServer(configuration) as server:
        if configuration.warms_up:
            warm_up(server, measurement, configuration)
        if not configuration.has_viewer:
            return load(server, *arguments, "--messages", str(messages))
        with Viewer(server.port) as viewer:
            result = load(server, *arguments, "--messages", str(messages))
        viewer.check(result["seconds"])
        return result


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def field(path, name):
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith(name):
                return line[len(name):].strip(" \t\n:=").strip('"')
    return "unknown"


def environment(rounds, scale):
    runtimes = re.findall(r"^Microsoft\.AspNetCore\.App (10\S+)", output_of("dotnet", "--list-runtimes"), re.MULTILINE)
    npm = json.loads((HERE / "peers" / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "commit": output_of("git", "-C", str(HERE), "rev-parse", "--short", "HEAD"),
        "processor": field("/proc/cpuinfo", "model name"),
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": field("/etc/os-release", "PRETTY_NAME"),
        "kernel": platform.release(),
        "dotnet": runtimes[-1] if runtimes else "unknown",
        "bun": npm["bun"],
        "ws": npm["ws"],
        "node": output_of("node", "--version").lstrip("v"),
        "fastapi": output_of("dpkg-query", "-W", "-f", "${Version}", "python3-fastapi"),
        "rounds": rounds,
        "scale": scale,
        "busy_processors": busy_processors(),
    }


def processor_ticks():
    """Returns the busy ticks and all ticks of all processors together."""
    ticks = [int(value) for value in field("/proc/stat", "cpu ").split()]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def busy_processors():
    """Returns how many processors other programs use, as an average over two seconds."""
    busy, total = processor_ticks()
    time.sleep(2)
    later_busy, later_total = processor_ticks()
    return round((later_busy - busy) / max(1, later_total - total) * os.cpu_count(), 2)


def check_file_limit(measurements):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = max(measurement.connections for measurement in measurements) + FILES_PER_SERVER
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"A process may open {hard:,} files, but the measurements need {needed:,}. Raise the limit: ulimit -Hn {needed}")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description="Compares this library with other WebSocket servers.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="measurements to run; --list prints their names")
    parser.add_argument("--full", action="store_true", help="run all measurements, with five rounds and three times the messages")
    parser.add_argument("--rounds", type=int, help="rounds per measurement (default: 3, with --full: 5)")
    parser.add_argument("--scale", type=float, help="multiply the number of messages; a value below 1 also reduces the connections and groups, and does not write the documents "
                             "(default: 1, with --full: 3)")
    parser.add_argument("--docs", action="store_true", help="with CASE: also write the results to the documents")
    parser.add_argument("--no-docs", action="store_true", help="do not write the documents")
    parser.add_argument("--docs-only", action="store_true", help="write the documents from the stored results, without measurements")
    parser.add_argument("--list", action="store_true", help="print the names of the measurements")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.list:
        for measurement in MEASUREMENTS:
            print(f"{measurement.name:24}{measurement.title}{' (--full)' if measurement.full_only else ''}")
        return 0
    if arguments.docs_only:
        report.write_documents(report.read_results())
        return 0
    names = {measurement.name for measurement in MEASUREMENTS}
    if unknown := set(arguments.cases) - names:
        raise SystemExit(f"Unknown measurement: {', '.join(sorted(unknown))}. These measurements exist: {', '.join(sorted(names))}.")
    measurements = [measurement for measurement in MEASUREMENTS
                    if measurement.name in arguments.cases or not arguments.cases and (arguments.full or not measurement.full_only)]
    rounds = arguments.rounds or (5 if arguments.full else 3)
    scale = arguments.scale or (3 if arguments.full else 1)
    check_file_limit(measurements)
    # sys.exit runs the "finally" blocks, which end the servers. Without a handler, a background job of a shell ignores SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    facts = environment(rounds, scale)
    if facts["busy_processors"] > report.MAX_BUSY_PROCESSORS:
        print(f"Warning: other programs use {facts['busy_processors']:.1f} of {facts['processors']} processors. This changes the results.",
              file=sys.stderr)

    start, failed, results = time.monotonic(), 0, {}
    for measurement in measurements:
        measurement_start = time.monotonic()
        chosen = [configuration for configuration in measurement.configurations if arguments.full or not configuration.full_only]
        runs = {configuration.name: [] for configuration in chosen}
        # A B C, A B C, ...: a change of the machine's speed affects all configurations.
        for index in range(rounds):
            for configuration in chosen:
                try:
                    runs[configuration.name].append(run(measurement, configuration, scale))
                except RunFailed as error:
                    failed += 1
                    runs[configuration.name].append({"error": str(error)})
                    print(f"ERROR in {measurement.name}, {configuration.name}, round {index + 1}: {error}", file=sys.stderr)
        results[measurement.name] = {"environment": facts, "runs": runs}
        print(report.console_table(measurement, runs, time.monotonic() - measurement_start), flush=True)
        (BUILD / "results.json").write_text(report.format_results(results), encoding="utf-8")

    # Measure again, because other programs may have started during the run.
    facts["busy_processors"] = max(facts["busy_processors"], busy_processors())
    (BUILD / "results.json").write_text(report.format_results(results), encoding="utf-8")
    minutes = (time.monotonic() - start) / 60
    print(f"{sum(len(runs) for result in results.values() for runs in result['runs'].values())} runs in {minutes:.1f} minutes, {failed} failed. "
          f"Results: {BUILD / 'results.json'}")
    writes = arguments.docs or not arguments.cases
    if writes and not arguments.no_docs and scale >= 1:
        report.write_documents({**report.read_results(), **results})
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
