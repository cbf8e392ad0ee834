"""The servers and the measurements of run.sh."""

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parent / "artifacts" / "benchmarks"
CERTIFICATE, KEY = BUILD / "certificate.pem", BUILD / "key.pem"


@dataclass(frozen=True)
class Server:
    """How to start a server. {port} stands for the port."""

    label: str
    command: tuple[str, ...]
    plain: tuple[str, ...] = ()     # arguments without TLS and with HTTP/1.1
    tls: tuple[str, ...] = ()
    http2: tuple[str, ...] = ()
    load: tuple[str, ...] = ()      # arguments of the load generator
    group_path: str = "/rooms/{g}"
    speed: float = 1.0              # a factor for the number of messages, so that a run with a slow server does not take longer
    single_speed: float = 1.0       # the factor for measurements with one message at a time
    has_collect: bool = False


def dotnet(project: str) -> tuple[str, ...]:
    return ("dotnet", str(HERE / project / "bin" / "Release" / "net10.0" / f"{project}.dll"))


def kestrel(scheme: str, *options: str) -> tuple[str, ...]:
    prefix = "--Kestrel:Endpoints:Benchmark:"
    return (f"{prefix}Url={scheme}://127.0.0.1:{{port}}", *(prefix + option for option in options))


KESTREL = {
    "plain": kestrel("http"),
    "tls": kestrel("https", f"Certificate:Path={CERTIFICATE}", f"Certificate:KeyPath={KEY}"),
    "http2": kestrel("http", "Protocols=Http2"),
    "has_collect": True,
}

BUN_PROGRAM = HERE / "peers" / "node_modules" / "@oven"
OURS = Server("**this library**", dotnet("Broadcast.BenchmarkServer"), **KESTREL)
SIGNALR = Server("SignalR, JSON", dotnet("SignalR.BenchmarkServer"), load=("--dialect", "signalr-json"), group_path="/ws?group={g}",
                 speed=0.25, single_speed=0.5, **KESTREL)
MESSAGEPACK = Server("SignalR, MessagePack", dotnet("SignalR.BenchmarkServer"), load=("--dialect", "signalr-messagepack"),
                     group_path="/ws?group={g}", speed=0.25, single_speed=0.5, **KESTREL)
BUN = Server("Bun `publish`", ("{bun}", str(HERE / "peers" / "bun.js"), "{port}"), tls=("--tls", str(CERTIFICATE), str(KEY)))
WS = Server("npm `ws`", ("node", str(HERE / "peers" / "ws.js"), "{port}"), speed=0.05, single_speed=0.5)
FASTAPI = Server("FastAPI", ("/usr/bin/python3", "-m", "uvicorn", "--app-dir", str(HERE / "peers"), "fastapi_server:app", "--host", "127.0.0.1",
                             "--port", "{port}", "--log-level", "critical", "--ws", "websockets"), speed=0.01, single_speed=0.15)
LOOP = Server("bare C loop over `send()`", (str(BUILD / "loop"), "{port}"))


@dataclass(frozen=True)
class Configuration:
    """A server with options. A measurement compares configurations."""

    name: str
    server: Server
    label: str = ""
    arguments: tuple[str, ...] = ()     # of the server
    load: tuple[str, ...] = ()          # of the load generator
    environment: dict = field(default_factory=dict)
    tls: bool = False
    http2: bool = False
    speed: float | None = None
    full_only: bool = False
    warms_up: bool = True
    has_viewer: bool = False        # A client has an open page of the dashboard.

    @property
    def title(self):
        return self.label or self.server.label


@dataclass(frozen=True)
class Metric:
    title: str
    unit: str
    value: object                   # from the result of the load generator to a number
    digits: int
    more_is_better: bool = False


def per_delivery(key, factor=1.0):
    return lambda result: result[key] * factor / result["delivered"] if result["delivered"] else 0


def kilobytes_per_connection(key):
    return lambda result: (result[key] - result["memory_before_kb"]) / result["connections"] if key in result else None


METRICS = {
    "rate": Metric("deliveries/s", "M", lambda r: r["delivered"] / r["seconds"] / 1e6, 2, True),
    "small_rate": Metric("deliveries/s", "k", lambda r: r["delivered"] / r["seconds"] / 1e3, 0, True),
    "bytes": Metric("payload per second", "GB", lambda r: r["payload_bytes"] / r["seconds"] / 1e9, 2, True),
    "cpu": Metric("CPU per delivery", "µs", per_delivery("server_cpu_seconds", 1e6), 2),
    "cpu_second": Metric("CPU time per second", "ms", lambda r: r["server_cpu_seconds"] * 1e3 / r["seconds"], 0),
    "wire": Metric("bytes per delivery", "B", per_delivery("wire_bytes"), 0),
    "p50": Metric("p50", "ms", lambda r: r["p50_us"] / 1e3, 2),
    "p99": Metric("p99", "ms", lambda r: r["p99_us"] / 1e3, 2),
    "growth": Metric("peak memory growth", "MB", lambda r: (r["memory_peak_kb"] - r["memory_start_kb"]) / 1024, 0),
    "idle": Metric("memory per idle connection", "KB", kilobytes_per_connection("memory_idle_kb"), 1),
    "collected": Metric("after a garbage collection", "KB", kilobytes_per_connection("memory_collected_kb"), 1),
}


@dataclass(frozen=True)
class Measurement:
    name: str
    title: str
    text: str                       # {messages} stands for the number of messages, without the factor of a slow server
    metrics: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    load: tuple[str, ...]
    messages: int
    connections: int = 200
    single: bool = False            # one message at a time
    groups: int = 1
    idle: float = 0.0
    full_only: bool = False
    plot: tuple[str, ...] = ()

    @property
    def reference(self):
        return self.configurations[0]


def configurations(*servers, **options):
    names = {id(OURS): "ours", id(SIGNALR): "signalr-json", id(MESSAGEPACK): "signalr-messagepack", id(BUN): "bun", id(WS): "ws",
             id(FASTAPI): "fastapi", id(LOOP): "loop"}
    return tuple(Configuration(names[id(server)], server, **options) for server in servers)


def saturated(name, size, messages, window, metrics, servers, **options):
    return Measurement(
        name, f"Saturated: {size:,} bytes", f"200 connections, {{messages}} messages of {size:,} bytes, {window} in flight.", metrics,
        configurations(*servers), ("--size", str(size), "--window", str(window)), messages, **options)


OPEN_REQUESTS = ("--Server:HandsOverConnections=false",)
QUEUED_SENDS = ("--Server:SendsInline=false",)
SERVER_OPTIONS = (
    Configuration("default", OURS, "**handover, inline sends** (default)"),
    Configuration("open-requests", OURS, "open requests, inline sends", OPEN_REQUESTS),
    Configuration("queued-sends", OURS, "handover, sends of Kestrel", QUEUED_SENDS),
    Configuration("neither", OURS, "open requests, sends of Kestrel", OPEN_REQUESTS + QUEUED_SENDS, full_only=True),
)
DEVELOPMENT = {"ASPNETCORE_ENVIRONMENT": "Development"}
VIEWERS = (
    Configuration("without-page", OURS, "without a page", environment=DEVELOPMENT, speed=1.0),
    Configuration("with-page", OURS, "with an open page", environment=DEVELOPMENT, speed=1.0, has_viewer=True),
)
DEFAULT_RUNTIME = {"DOTNET_TieredPGO": "1", "DOTNET_TC_CallCountingDelayMs": "100"}

MEASUREMENTS = (
    saturated("saturated", 120, 20_000, 64, ("rate", "cpu", "p99"), (OURS, BUN, SIGNALR, MESSAGEPACK, WS, FASTAPI), plot=("rate", "cpu")),
    saturated("saturated-64b", 64, 20_000, 64, ("rate", "cpu", "p99"), (OURS, BUN, MESSAGEPACK)),
    saturated("saturated-1kb", 1024, 10_000, 64, ("rate", "bytes", "cpu", "p99"), (OURS, BUN, MESSAGEPACK)),
    saturated("saturated-16kb", 16 * 1024, 1_500, 16, ("bytes", "cpu", "p99"), (OURS, BUN, MESSAGEPACK), plot=("bytes",)),

    Measurement(
        "single", "One message at a time: 200 connections",
        "200 connections, {messages} messages of 120 bytes. The next publish follows when all clients have received the previous message. "
        "So each delivery needs one system call.",
        ("cpu", "small_rate", "p99"), configurations(OURS, LOOP, BUN, SIGNALR, WS, FASTAPI), ("--size", "120"), 1_500, single=True,
        plot=("cpu", "p99")),
    Measurement(
        "single-1000", "One message at a time: 1,000 connections, 1 KB",
        "1,000 connections, {messages} messages of 1,024 bytes.",
        ("cpu", "small_rate", "p99"), configurations(OURS, LOOP, BUN, SIGNALR), ("--size", "1024"), 300, connections=1_000, single=True),
    Measurement(
        "single-10000", "One message at a time: 10,000 connections",
        "10,000 connections, {messages} messages of 120 bytes.",
        ("cpu", "small_rate", "p50", "p99"), configurations(OURS, BUN, SIGNALR), ("--size", "120"), 30, connections=10_000, single=True,
        plot=("p99", "cpu")),
    Measurement(
        "paced", "1,000 messages per second",
        "100 connections, {messages} messages of 120 bytes. The latency starts at the planned time of each publish.",
        ("p50", "p99", "cpu"), tuple(
            Configuration(name, server, speed=1.0)
            for name, server in (("ours", OURS), ("loop", LOOP), ("bun", BUN), ("signalr-json", SIGNALR))),
        ("--size", "120", "--rate", "1000"), 2_000, connections=100, plot=("p99",)),
    Measurement(
        "paced-10000", "Five messages per second to 10,000 connections",
        "10,000 connections, {messages} messages of 120 bytes. The latency starts at the planned time of each publish.",
        ("p50", "p99", "cpu"), tuple(Configuration(name, server, speed=1.0) for name, server in (("ours", OURS), ("bun", BUN))),
        ("--size", "120", "--rate", "5"), 50, connections=10_000, full_only=True),
    Measurement(
        "groups", "1,000 groups of 10 members",
        "10,000 connections in 1,000 groups. One member of each group publishes. {messages} messages of 120 bytes, 64 in flight.",
        ("small_rate", "cpu", "p99"), configurations(OURS, BUN, SIGNALR), ("--size", "120", "--window", "64"), 20_000,
        connections=10_000, groups=1_000),

    Measurement(
        "stalled", "5 % of the clients never read",
        "{messages} messages of 1,000 bytes, 64 in flight. The table shows the healthy clients, which receive all messages.",
        ("p99", "rate", "growth"), (
            Configuration("ours-stalled", OURS, "**this library**, 190 healthy clients, 10 stalled clients", load=("--stalled", "10")),
            Configuration("ours-healthy", OURS, "**this library**, 190 healthy clients", load=("--connections", "190")),
            Configuration("bun-stalled", BUN, "Bun, 190 healthy clients, 10 stalled clients", load=("--stalled", "10")),
            Configuration("bun-healthy", BUN, "Bun, 190 healthy clients", load=("--connections", "190"))),
        ("--size", "1000", "--window", "64"), 10_000),

    Measurement(
        "tls", "TLS, saturated", "200 connections, {messages} messages of 120 bytes, 64 in flight, TLS 1.3.",
        ("rate", "cpu", "p99"), configurations(OURS, BUN, SIGNALR, tls=True), ("--size", "120", "--window", "64"), 10_000, plot=("cpu",)),
    Measurement(
        "tls-single", "TLS, one message at a time", "200 connections, {messages} messages of 120 bytes, TLS 1.3.",
        ("cpu", "small_rate", "p99"), configurations(OURS, BUN, SIGNALR, tls=True), ("--size", "120"), 1_000, single=True),
    Measurement(
        "clients", "Protocols of the clients",
        "One client publishes {messages} messages of 120 bytes, 64 in flight. 199 clients receive them with the protocol in the table. "
        "Reliable clients acknowledge once a second. Each client has its own TCP connection, even with HTTP/2.",
        ("rate", "cpu", "wire", "p99"), (
            Configuration("raw", OURS, "**WebSocket**"),
            Configuration("http2", OURS, "WebSocket over HTTP/2", load=("--http2",), http2=True),
            Configuration("events", OURS, "event stream", load=("--receivers", "events")),
            Configuration("events-http2", OURS, "event stream over HTTP/2", load=("--receivers", "events", "--http2"), http2=True),
            Configuration("webpubsub", OURS, "`json.webpubsub.azure.v1`", load=("--dialect", "webpubsub")),
            Configuration("webpubsub-reliable", OURS, "`json.reliable.webpubsub.azure.v1`", load=("--dialect", "webpubsub-reliable"))),
        ("--size", "120", "--window", "64"), 20_000, plot=("cpu",)),
    Measurement(
        "compressed", "Compression",
        "200 connections, {messages} JSON messages of 500 bytes, 64 in flight. The load generator offers permessage-deflate, inflates "
        "the first copy of each message, and compares the other copies with the first copy.",
        ("rate", "cpu", "wire"), (
            Configuration("ours-compressed", OURS, "**this library**, compressed", ("--Broadcast:CompressMessagesAbove=256",), ("--deflate",)),
            Configuration("ours", OURS, "**this library**, uncompressed"),
            Configuration("bun-compressed", BUN, "Bun, compressed", ("--deflate",), ("--deflate",), speed=0.2),
            Configuration("bun", BUN, "Bun, uncompressed")),
        ("--size", "500", "--window", "64", "--json"), 5_000, plot=("cpu", "wire")),

    Measurement(
        "idle", "Memory of idle connections",
        "10,000 connections without messages. The value is the growth of the resident memory of the server, divided by the number of "
        "connections. The .NET servers then run a garbage collection, and the last column shows the value after it.",
        ("idle", "collected"), (
            Configuration("ours", OURS),
            Configuration("ours-open-requests", OURS, "**this library**, open requests", OPEN_REQUESTS),
            Configuration("ours-tls", OURS, "**this library**, TLS", tls=True),
            Configuration("bun", BUN, "Bun"),
            Configuration("bun-tls", BUN, "Bun, TLS", tls=True),
            Configuration("signalr-json", SIGNALR, "SignalR"),
            Configuration("ours-activities", OURS, "**this library**, activities of the host enabled",
                          ("--Logging:LogLevel:Microsoft.AspNetCore.Hosting.Diagnostics=Warning",), full_only=True)),
        (), 0, connections=10_000, idle=1.0, plot=("idle",)),

    Measurement(
        "server-options", "Handover and inline sends, saturated", "200 connections, {messages} messages of 120 bytes, 64 in flight.",
        ("rate", "cpu", "p99"), SERVER_OPTIONS, ("--size", "120", "--window", "64"), 20_000),
    Measurement(
        "server-options-single", "Handover and inline sends, one message at a time", "200 connections, {messages} messages of 120 bytes.",
        ("cpu", "small_rate", "p99"), SERVER_OPTIONS, ("--size", "120"), 1_500, single=True),
    Measurement(
        "server-options-10000", "Handover and inline sends, 10,000 connections", "10,000 connections, {messages} messages of 120 bytes, one at a time.",
        ("cpu", "small_rate", "p99"), SERVER_OPTIONS, ("--size", "120"), 30, connections=10_000, single=True, full_only=True),
    Measurement(
        "dashboard", "Dashboard: 20,000 deliveries per second", "10,000 connections in one group, {messages} messages of 120 bytes, 2 per second.",
        ("cpu_second", "p99"), VIEWERS, ("--size", "120", "--rate", "2", "--timeout", "170"), 24, connections=10_000, full_only=True),
    Measurement(
        "dashboard-idle", "Dashboard: almost idle connections", "10,000 connections in one group, {messages} messages of 120 bytes, one every 5 seconds.",
        ("cpu_second",), VIEWERS, ("--size", "120", "--rate", "0.2", "--timeout", "170"), 4, connections=10_000, full_only=True),
    Measurement(
        "runtime", "Settings of the runtime",
        "200 connections, {messages} messages of 120 bytes, 64 in flight, immediately after the start of the server.",
        ("rate", "cpu"), (
            Configuration("tuned", OURS, "**`TieredPGO` off, call counting without a delay**", warms_up=False),
            Configuration("defaults", OURS, "defaults of .NET", environment=DEFAULT_RUNTIME, warms_up=False)),
        ("--size", "120", "--window", "64"), 20_000, full_only=True),
)
