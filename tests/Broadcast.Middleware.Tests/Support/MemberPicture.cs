using System.Text.Json;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>The members that a client of a presence URL knows. A test reads the client's messages until the members match.</summary>
/// <param name="readAsync">Reads the next message.</param>
sealed class MemberPicture(Func<Task<string>> readAsync)
{
    readonly Dictionary<string, string?> _members = [];

    public MemberPicture(RawClient client) : this(() => JsonClient.ReadAsync(client))
    {
    }

    public MemberPicture(EventClient client) : this(async () => (await client.ReceiveTextAsync(1))[0])
    {
    }

    /// <summary>The state of each member as JSON, by connection ID. Null for a member without a state.</summary>
    public IReadOnlyDictionary<string, string?> Members => _members;

    public int Snapshots { get; private set; }

    public int Messages { get; private set; }

    public void Apply(string message)
    {
        using var document = JsonDocument.Parse(message);
        var isSnapshot = document.RootElement.GetProperty("type").GetString() == "snapshot";
        Assert.True(isSnapshot || document.RootElement.GetProperty("type").GetString() == "update", message);
        Messages++;
        if (isSnapshot)
        {
            Snapshots++;
            _members.Clear();
        }

        foreach (var member in document.RootElement.GetProperty("members").EnumerateArray())
        {
            var id = member.GetProperty("id").GetString()!;
            if (!member.TryGetProperty("left", out _)) _members[id] = member.TryGetProperty("state", out var state) ? state.GetRawText() : null;
            else Assert.True(_members.Remove(id), $"The member {id} left without a join: {message}");
        }
    }

    /// <summary>Reads messages until the client knows exactly these members.</summary>
    public async Task BecomesAsync(params (string Id, string? State)[] expected)
    {
        var wanted = expected.ToDictionary(static member => member.Id, static member => member.State);
        do Apply(await readAsync());
        while (_members.Count != wanted.Count || !_members.All(member => wanted.TryGetValue(member.Key, out var state) && state == member.Value));
    }
}
