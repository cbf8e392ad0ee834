using WebDemo.Tests;
using Xunit.Sdk;
using Xunit.v3;

// Most tests wait for a server, a browser or a timer. More tests than processors can therefore run at the same time.
[assembly: Parallelization(Mode = ParallelMode.Collections, MaxThreads = 4)]

// All browser tests share one browser process. Each test opens a window of its own, which shares no state with the others.
[assembly: AssemblyFixture(typeof(BrowserFixture))]

// Tests that use only their own rooms and groups share this server.
// A test class that needs a server for itself declares IClassFixture<DemoServer>, which replaces the shared one.
[assembly: AssemblyFixture(typeof(DemoServer))]
