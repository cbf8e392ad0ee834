using WebDemo.Tests;
using Xunit.Sdk;
using Xunit.v3;

// Most tests wait for a server, a browser or a timer. So four tests run in parallel, even on fewer processors.
[assembly: Parallelization(Mode = ParallelMode.Collections, MaxThreads = 4)]

// All browser tests share one browser process. Each test opens its own window, which shares no state with other windows.
[assembly: AssemblyFixture(typeof(BrowserFixture))]

// Tests that use only their own rooms and groups share this server.
// A test class that needs its own server declares IClassFixture<DemoServer>, which replaces the shared server.
[assembly: AssemblyFixture(typeof(DemoServer))]
