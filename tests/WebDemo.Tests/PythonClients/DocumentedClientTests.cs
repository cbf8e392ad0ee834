using System.Text.RegularExpressions;

namespace WebDemo.Tests;

/// <summary>Runs the Python client of docs/guides/clients.md.</summary>
[Collection<RestartCollection>]
public sealed partial class DocumentedClientTests(RestartedServer restarted)
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task PythonClient_ServerRestarts_ConnectsAgain()
    {
        var problem = await PythonClient.FindProblemAsync();
        Assert.SkipUnless(problem is null, problem ?? "");
        var markdown = await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "clients.md"), Token);
        var program = Block().Match(markdown).Groups[1].Value;
        var server = await restarted.GetAsync();

        using var client = PythonClient.Start("-c", program, $"ws://{server.Url.Authority}/ws");
        try
        {
            Assert.Equal("hello from Python", await client.StandardOutput.ReadLineAsync(Token));
            await server.KillAsync();
            await server.StartAsync();
            Assert.Equal("hello from Python", await client.StandardOutput.ReadLineAsync(Token));
        }
        finally
        {
            client.Kill();
        }
    }

    [GeneratedRegex("```python\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Block();
}
