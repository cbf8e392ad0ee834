namespace WebDemo.Tests;

/// <summary>Checks which program the tests of this run use: the native demo, or WebDemo.dll.</summary>
public sealed class NativeDemoTests(DemoServer server)
{
    /// <summary>A native demo does not contain the JIT compiler. Without this check, a run could test WebDemo.dll by mistake.</summary>
    [Fact]
    public async Task Demo_NativeOrManaged_LoadsJitCompilerOnlyIfManaged()
    {
        Assert.Equal("Healthy", await server.Http.GetStringAsync(new Uri("/health", UriKind.Relative), TestContext.Current.CancellationToken));
        Assert.Equal(DemoServer.NativeProgram is null, server.HasLoaded("libclrjit.so"));
    }
}
