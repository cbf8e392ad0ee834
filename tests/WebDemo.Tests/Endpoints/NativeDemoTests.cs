namespace WebDemo.Tests;

/// <summary>Tests that this run tests the program that it should test.</summary>
public sealed class NativeDemoTests(DemoServer server)
{
    /// <summary>A native demo does not contain the JIT compiler. Without this check, a run could test WebDemo.dll by mistake.</summary>
    [Fact]
    public async Task Demo_ProgramOfThisRun_LoadsJitCompilerOnlyWithoutNativeProgram()
    {
        Assert.Equal("Healthy", await server.Http.GetStringAsync(new Uri("/health", UriKind.Relative), TestContext.Current.CancellationToken));
        Assert.Equal(DemoServer.NativeProgram is null, server.HasLoaded("libclrjit.so"));
    }
}
