using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/streaming.md.</summary>
static class StreamingGuide
{
    public static void Add(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.Groups["/answers/*"] = new() { HistoryMessages = 10_000, ReplayOnJoin = 10_000 });
    }

    public static void Map(WebApplication app)
    {
        app.MapBroadcast("/answers/{id}").Use((context, next) => Task.CompletedTask);   // read-only

        app.MapPost("/questions/{id}", async (string id, string question, Assistant assistant, IBroadcaster broadcaster) =>
        {
            var readers = Recipients.Group($"/answers/{id}");
            await foreach (var word in assistant.AnswerAsync(question)) await broadcaster.PublishAsync(word, readers);
            return Results.NoContent();
        });
    }

    public static void Rows(WebApplication app)
    {
        app.MapBroadcast("/export").Use(async (context, next) =>
        {
            var table = context.Services.GetRequiredService<SalesTable>();
            await foreach (var row in table.ReadAsync(context.Text, context.Connection.ConnectionAborted))
            {
                var result = await context.ReplyAsync(row);       // waits while the client is too far behind
                if (result.LocalRecipients == 0) return;          // the client has disconnected
            }
        });
    }
}

sealed class Assistant
{
    public async IAsyncEnumerable<string> AnswerAsync(string question)
    {
        foreach (var word in question.Split(' '))
        {
            await Task.Yield();
            yield return word;
        }
    }
}

sealed class SalesTable
{
    public async IAsyncEnumerable<string> ReadAsync(
        string year, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (var row = 1; row <= 100; row++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            await Task.Yield();
            yield return $"{year}: row {row}";
        }
    }
}
