using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/collaboration.md.</summary>
static class CollaborationGuide
{
    public static void Add(WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton<DocumentStore>();
        builder.Services.AddBroadcast(options => options.Groups["/documents/*"] = new() { HistoryMessages = 1000 });
    }

    public static void Map(WebApplication app)
    {
        app.MapBroadcast("/documents/{id}")
            .UseConnect(async (context, next) =>
            {
                var document = context.Services.GetRequiredService<DocumentStore>().Get(context.Connection.HomeGroup);
                var (fields, position) = await document.ReadAsync();
                await context.ReplyAsync(JsonSerializer.Serialize(fields));                              // the document
                context.Replay = position is { } last ? Replay.After(last) : Replay.Last(1000);         // then the changes after it
                await next(context);
            })
            .Use(async (context, next) =>
            {
                if (context.Text.Split('=', 2) is not [var field, var value]) return;                    // a change: "title=Plan"
                var document = context.Services.GetRequiredService<DocumentStore>().Get(context.Connection.HomeGroup);
                await document.ChangeAsync(field, value, async () =>
                {
                    await next(context);                                                                 // publishes the change
                    return context.Result.Position;
                });
            });
    }

    public static void Cursors(WebApplication app)
    {
        app.MapBroadcast("/documents/{id}/cursors").Use((context, next) =>
        {
            context.Message = context.Message with { IsTransient = true, Key = context.Connection.Id };
            context.ExcludeSender();
            return next(context);
        });
    }
}

sealed class DocumentStore
{
    readonly ConcurrentDictionary<string, Document> _documents = new();

    public Document Get(string name) => _documents.GetOrAdd(name, static _ => new());
}

sealed class Document
{
    readonly SemaphoreSlim _gate = new(1);
    readonly Dictionary<string, string> _fields = [];
    Position? _position;

    public async Task<(Dictionary<string, string> Fields, Position? Position)> ReadAsync()
    {
        await _gate.WaitAsync();
        try
        {
            return (new(_fields), _position);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Publishes one change at a time. So the document contains exactly the changes up to its position.</summary>
    public async Task ChangeAsync(string field, string value, Func<Task<Position?>> publish)
    {
        await _gate.WaitAsync();
        try
        {
            _position = await publish() ?? _position;
            _fields[field] = value;
        }
        finally
        {
            _gate.Release();
        }
    }
}
